//! A conversation with an SFTP server through `ssh`.
//!
//! `ssh` does the cryptography, finds keys and checks the host; what it says on stderr is the
//! reason when it ends. Requests are numbered, and many are under way at once.

use super::packet::{
    self, EOF, HELLO, MOST_BYTES, NO_SUCH_FILE, OK, PERMISSION_DENIED, Reply, Request,
};
use crate::archive::{Error, Result};
use crate::program::{Piped, Program};
use crate::target::place::Sftp;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The longest that a server may think about one request. A dead line is noticed by `ssh` before.
const PATIENCE: Duration = Duration::from_secs(120);

/// A conversation.
pub(super) struct Session {
    /// The target as a person wrote it.
    url: String,
    /// As ssh-keyscan takes it.
    host: String,
    ssh: Piped,
    packets: Receiver<Vec<u8>>,
    next: u32,
    /// Answers to requests that nobody has asked for yet.
    early: BTreeMap<u32, Reply>,
    extensions: Vec<String>,
    /// Whether the connection is gone, or as good as gone.
    pub(super) is_lost: bool,
    /// How many there were before: what was opened through another one is open no longer.
    pub(super) turn: u64,
}

/// The arguments of `ssh`. Its own settings hold where these say nothing: names of hosts, jumps.
fn arguments(place: &Sftp, key: Option<&Path>, known_hosts: Option<&Path>) -> Vec<String> {
    let mut args = vec!["-T".to_owned()];
    let mut option = |text: String| args.extend(["-o".to_owned(), text]);
    for fixed in [
        // Nobody is there to ask, and a host that is not known is not trusted.
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "ConnectTimeout=20",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "ForwardAgent=no",
        "ForwardX11=no",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "ControlMaster=no",
        "ControlPath=none",
        "LogLevel=ERROR",
    ] {
        option(fixed.to_owned());
    }
    // In these values % begins a token, and quotes keep blanks together.
    let quoted = |path: &Path| format!("\"{}\"", path.display().to_string().replace('%', "%%"));
    if let Some(path) = known_hosts {
        option(format!("UserKnownHostsFile={}", quoted(path)));
        option("GlobalKnownHostsFile=/dev/null".into());
    }
    if let Some(path) = key {
        option(format!("IdentityFile={}", quoted(path)));
        option("IdentitiesOnly=yes".into());
        option("IdentityAgent=none".into());
    }
    if let Some(port) = place.port {
        option(format!("Port={port}"));
    }
    if let Some(user) = &place.user {
        option(format!("User={user}"));
    }
    args.extend(["-s", "--", &place.host, "sftp"].map(str::to_owned));
    args
}

impl Session {
    pub(super) fn open(
        url: &str,
        place: &Sftp,
        key: Option<&Path>,
        known_hosts: Option<&Path>,
    ) -> Result<Self> {
        if let Some(key) = key
            && let Err(error) = std::fs::File::open(key)
        {
            // ssh would only say that the server refused whatever else it tried.
            return Err(Error::os(
                format!("opening the key {}", key.display()),
                error,
            ));
        }
        let doing = format!("connecting to {url}");
        let mut ssh = Program::Ssh.pipe(&doing, arguments(place, key, known_hosts))?;
        let mut stdout = ssh.stdout.take().expect("it was just started");
        // As many as can be under way at once: the reader never waits for long.
        let (found, packets) = sync_channel(128);
        std::thread::spawn(move || {
            // Ends with the connection, or when nobody listens any more.
            while let Some(packet) = read_packet(&mut stdout) {
                if found.send(packet).is_err() {
                    break;
                }
            }
        });
        let mut session = Self {
            url: url.to_owned(),
            host: match place.port {
                Some(port) => format!("-p {port} {}", place.host),
                None => place.host.clone(),
            },
            ssh,
            packets,
            next: 0,
            early: BTreeMap::new(),
            extensions: Vec::new(),
            is_lost: false,
            turn: 0,
        };
        session.send(&HELLO)?;
        let hello = session.packet()?;
        match packet::hello(&hello) {
            Some((3, extensions)) => session.extensions = extensions,
            Some((version, _)) => {
                return Err(session.wrong(format!("it speaks version {version} of sftp, not 3")));
            }
            None => return Err(session.wrong("it does not speak sftp".into())),
        }
        Ok(session)
    }

    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension)
    }

    fn wrong(&self, why: String) -> Error {
        Error::Target {
            target: self.url.clone(),
            why,
            cure: "look at the server's log".into(),
        }
    }

    /// Why the connection is gone: what `ssh` said last.
    fn gone(&mut self) -> Error {
        self.is_lost = true;
        let said = self.ssh.end();
        let why = match said.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(_) => said.split_whitespace().collect::<Vec<_>>().join(" "),
            None => "the connection broke off".into(),
        };
        Error::Target {
            target: self.url.clone(),
            cure: cure(&why).replace("HOST", &self.host),
            why,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(stdin) = &mut self.ssh.stdin else {
            self.is_lost = true;
            return Err(self.wrong("the connection broke off".into()));
        };
        stdin.write_all(bytes).map_err(|_| self.gone())
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        match self.packets.recv_timeout(PATIENCE) {
            Ok(packet) => Ok(packet),
            Err(RecvTimeoutError::Disconnected) => Err(self.gone()),
            Err(RecvTimeoutError::Timeout) => {
                self.is_lost = true;
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                Err(self.wrong(why))
            }
        }
    }

    /// Sends a request; its number.
    pub(super) fn ask(&mut self, request: Request) -> Result<u32> {
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        self.send(&request.bytes(id))?;
        Ok(id)
    }

    /// Waits for the answer to a request.
    pub(super) fn answer(&mut self, id: u32) -> Result<Reply> {
        loop {
            if let Some(reply) = self.early.remove(&id) {
                return Ok(reply);
            }
            let body = self.packet()?;
            let (id, reply) = packet::reply(&body)
                .ok_or_else(|| self.wrong("it answers what was not asked".into()))?;
            self.early.insert(id, reply);
        }
    }

    pub(super) fn call(&mut self, request: Request) -> Result<Reply> {
        let id = self.ask(request)?;
        self.answer(id)
    }

    /// The failure of which a status tells; `doing` is a gerund with its object.
    pub(super) fn failure(&self, doing: &str, reply: &Reply) -> Error {
        let (why, cure) = match reply {
            Reply::Status(NO_SUCH_FILE, _) => (
                "there is no such file or directory".to_owned(),
                "make the directory at the server, or correct the URL",
            ),
            Reply::Status(PERMISSION_DENIED, _) => (
                "permission denied".to_owned(),
                "let the user write there at the server: docs/targets.md shows how",
            ),
            Reply::Status(EOF, _) => ("it ended too early".into(), "run the command again"),
            Reply::Status(_, said) if !said.is_empty() && said != "Failure" => {
                (said.to_lowercase(), "look at the server's log")
            }
            Reply::Status(..) => (
                "the server could not".into(),
                "look at the server's disk and log: sftp says no more",
            ),
            _ => (
                "the server answers something else".into(),
                "look at the server's log",
            ),
        };
        let (target, why) = (self.url.clone(), format!("{doing}: {why}"));
        let cure = cure.into();
        match reply {
            Reply::Status(PERMISSION_DENIED, _) => Error::Denied { target, why, cure },
            _ => Error::Target { target, why, cure },
        }
    }

    /// A request that is answered by a status alone.
    pub(super) fn status(&mut self, doing: &str, request: Request) -> Result<()> {
        match self.call(request)? {
            Reply::Status(OK, _) => Ok(()),
            other => Err(self.failure(doing, &other)),
        }
    }

    /// A request that is answered by a handle; `None` if there is no such file.
    pub(super) fn handle(&mut self, doing: &str, request: Request) -> Result<Option<Vec<u8>>> {
        match self.call(request)? {
            Reply::Handle(handle) => Ok(Some(handle)),
            Reply::Status(NO_SUCH_FILE, _) => Ok(None),
            other => Err(self.failure(doing, &other)),
        }
    }
}

/// What helps against what `ssh` says.
fn cure(said: &str) -> &'static str {
    let table = [
        (
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            "the server is another one, or has a new key: compare it with what its owner says",
        ),
        (
            "Host key verification failed",
            "add the server's key to known_hosts: `ssh-keyscan HOST` shows it; compare it with \
             what its owner says",
        ),
        (
            "Permission denied",
            "the server does not accept the key: is its public half in authorized_keys there?",
        ),
        ("UNPROTECTED PRIVATE KEY", "chmod 0600 the key file"),
        (
            "Could not resolve hostname",
            "is the host's name right, and the network up?",
        ),
        ("Connection refused", "does the server run, at that port?"),
        ("timed out", "is the server up, and the network?"),
    ];
    let known = table.iter().find(|(words, _)| said.contains(words));
    known.map_or(
        "run the command again; `ssh -v` to the server says more",
        |(_, cure)| cure,
    )
}

fn read_packet(from: &mut impl Read) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length).ok()?;
    let length = u32::from_be_bytes(length);
    if length > MOST_BYTES {
        return None;
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body).ok()?;
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_never_told_to_trust_or_to_ask() {
        let place = Sftp {
            user: Some("u".into()),
            host: "h".into(),
            port: Some(7),
            directory: "/".into(),
        };
        let args = arguments(&place, Some(Path::new("/a b%")), Some(Path::new("/k")));
        let text = args.join(" ");
        for part in [
            "-o BatchMode=yes",
            "-o StrictHostKeyChecking=yes",
            "-o UserKnownHostsFile=\"/k\" -o GlobalKnownHostsFile=/dev/null",
            "-o IdentityFile=\"/a b%%\" -o IdentitiesOnly=yes",
            "-o Port=7 -o User=u -s -- h sftp",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

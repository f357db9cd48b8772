//! `sftp://`: a directory of another machine, through its ssh server.
//!
//! The protocol is spoken here, over the system's `ssh`, because no client library at hand syncs
//! what it wrote or names a file without replacing another. An object is written under a hidden
//! name, synced (`fsync@openssh.com`), and renamed: the plain rename of the protocol fails where
//! the name is taken, so an object is never replaced.

mod packet;
mod session;
mod source;
mod upload;

use super::place::Sftp;
use super::{Object, Target, Upload, check_name, is_partial, missing, partial};
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use packet::{Attributes, EOF, Entry, NO_SUCH_FILE, OK, Reply, Request};
use session::Session;
use source::SftpSource;
use state_api::Outcome;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use upload::SftpUpload;

/// The most that every server takes in one request.
const PIECE: usize = 32 << 10;
/// So many requests are under way at once: 2 MiB, what an ssh channel holds.
const WINDOW: usize = 64;

/// How many seconds are waited before each attempt to connect anew.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];

const READ: u32 = 1;
/// Write, create, and fail if it is there.
const NEW: u32 = 2 | 8 | 32;

/// A directory at an ssh server.
pub struct SftpTarget {
    url: String,
    directory: String,
    /// What a broken connection is made again from.
    door: Door,
    session: Mutex<Session>,
}

/// How to get in.
#[derive(Debug)]
struct Door {
    place: Sftp,
    key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
}

impl Door {
    fn open(&self, url: &str) -> Result<Session> {
        let (key, known_hosts) = (self.key.as_deref(), self.known_hosts.as_deref());
        Session::open(url, &self.place, key, known_hosts)
    }
}

impl fmt::Debug for SftpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpTarget")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl SftpTarget {
    /// Connects. The directory must exist.
    ///
    /// # Errors
    /// The server cannot be reached, is not the one that is known, or does not let us in.
    pub fn open(
        url: &str,
        place: &Sftp,
        key: Option<&Path>,
        known_hosts: Option<&Path>,
    ) -> Result<Self> {
        let door = Door {
            place: place.clone(),
            key: key.map(Path::to_owned),
            known_hosts: known_hosts.map(Path::to_owned),
        };
        let session = door.open(url)?;
        let target = Self {
            url: url.to_owned(),
            directory: place.directory.clone(),
            door,
            session: Mutex::new(session),
        };
        match target.stat("")? {
            Some(attributes) if attributes.is_directory() => Ok(target),
            Some(_) => Err(target.refused("it is no directory", "correct the URL")),
            None => Err(target.refused(
                "there is no such directory at the server",
                "make it there, or correct the URL",
            )),
        }
    }

    fn refused(&self, why: &str, cure: &str) -> Error {
        Error::Target {
            target: self.url.clone(),
            why: why.to_owned(),
            cure: cure.to_owned(),
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session
            .lock()
            .unwrap_or_else(|poison| poison.into_inner())
    }

    /// Connects anew, unless somebody else has done so since that turn. What was open is so no
    /// longer.
    fn reconnect(&self, turn: u64) -> Result<()> {
        let mut session = self.session();
        if session.turn == turn {
            *session = self.door.open(&self.url)?;
            session.turn = turn + 1;
        }
        Ok(())
    }

    /// Does what can be done again, until it is done or was refused: when the connection is lost,
    /// another one is made.
    fn again<T>(&self, work: &mut dyn FnMut(&mut Session) -> Result<T>) -> Result<T> {
        let mut once = || {
            let mut session = self.session();
            let done = work(&mut session);
            match session.is_lost {
                true => done.map_err(|lost| (lost, Some(session.turn))),
                false => done.map_err(|refused| (refused, None)),
            }
        };
        let (lost, mut turn) = match once() {
            Ok(done) => return Ok(done),
            Err((refused, None)) => return Err(refused),
            Err((lost, Some(turn))) => (lost, turn),
        };
        for pause in PAUSES {
            std::thread::sleep(Duration::from_secs(pause));
            if self.reconnect(turn).is_err() {
                continue;
            }
            match once() {
                Ok(done) => return Ok(done),
                Err((refused, None)) => return Err(refused),
                Err((_, Some(now))) => turn = now,
            }
        }
        Err(lost)
    }

    fn path(&self, name: &str) -> String {
        match name {
            "" => self.directory.clone(),
            _ => format!("{}/{name}", self.directory.trim_end_matches('/')),
        }
    }

    fn stat(&self, name: &str) -> Result<Option<Attributes>> {
        self.again(&mut |session| self.stat_in(session, name))
    }

    fn stat_in(&self, session: &mut Session, name: &str) -> Result<Option<Attributes>> {
        match session.call(Request::new(Request::STAT).string(self.path(name)))? {
            Reply::Attributes(attributes) => Ok(Some(attributes)),
            Reply::Status(NO_SUCH_FILE, _) => Ok(None),
            other => Err(session.failure(&format!("looking at {name}"), &other)),
        }
    }

    /// The entries of a directory; none if it is not there.
    fn entries(&self, name: &str) -> Result<Vec<Entry>> {
        self.again(&mut |session| self.entries_in(session, name))
    }

    fn entries_in(&self, session: &mut Session, name: &str) -> Result<Vec<Entry>> {
        let doing = format!("listing {}", self.path(name));
        let open = Request::new(Request::OPENDIR).string(self.path(name));
        let Some(handle) = session.handle(&doing, open)? else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let ended = loop {
            match session.call(Request::new(Request::READDIR).string(&handle))? {
                Reply::Names(names) => all.extend(names),
                Reply::Status(EOF, _) => break Ok(()),
                other => break Err(session.failure(&doing, &other)),
            }
        };
        session.status(&doing, Request::new(Request::CLOSE).string(&handle))?;
        ended.map(|()| all)
    }

    /// The machine's objects, unfinished ones included, by name.
    fn files(&self, machine: &str) -> Result<Vec<(String, u64)>> {
        let entries = self.entries(machine)?.into_iter();
        let files = entries.filter(|entry| entry.attributes.is_file());
        let mut files: Vec<_> = files
            .filter_map(|entry| {
                let name = String::from_utf8(entry.name).ok()?;
                Some((name, entry.attributes.size?))
            })
            .collect();
        files.sort_unstable();
        Ok(files)
    }

    fn remove(&self, name: &str) -> Result<Outcome> {
        let mut session = self.session();
        match session.call(Request::new(Request::REMOVE).string(self.path(name)))? {
            Reply::Status(OK, _) => Ok(Outcome::Made),
            Reply::Status(NO_SUCH_FILE, _) => Ok(Outcome::AlreadySo),
            other => Err(session.failure(&format!("deleting {name}"), &other)),
        }
    }

    /// The failure to write, or the reason for it that sftp has no word for.
    fn write_failure(&self, doing: &str, reply: &Reply) -> Error {
        let mut session = self.session();
        if session.has("statvfs@openssh.com") {
            let ask = Request::new(Request::EXTENDED)
                .string("statvfs@openssh.com")
                .string(&self.directory);
            if let Ok(Reply::Extended(body)) = session.call(ask)
                && packet::free_bytes(&body).is_some_and(|free| free < 1 << 20)
            {
                return Error::Target {
                    target: self.url.clone(),
                    why: format!("{doing}: no space is left there"),
                    cure: "`state archives prune`, or make room at the server".into(),
                };
            }
        }
        session.failure(doing, reply)
    }
}

impl Target for SftpTarget {
    fn url(&self) -> &str {
        &self.url
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let machines = match prefix.split_once('/') {
            Some((machine, _)) => vec![machine.to_owned()],
            None => {
                let entries = self.entries("")?.into_iter();
                let directories = entries.filter(|entry| entry.attributes.is_directory());
                let mut names: Vec<String> = directories
                    .filter_map(|entry| String::from_utf8(entry.name).ok())
                    .filter(|name| !name.starts_with('.') && name.starts_with(prefix))
                    .collect();
                names.sort_unstable();
                names
            }
        };
        let mut objects = Vec::new();
        for machine in machines {
            for (file, bytes) in self.files(&machine)? {
                let name = format!("{machine}/{file}");
                if name.starts_with(prefix) && check_name(&name).is_ok() {
                    objects.push(Object { name, bytes });
                }
            }
        }
        Ok(objects)
    }

    fn put(&self, name: &str) -> Result<Box<dyn Upload + '_>> {
        let (machine, file) = check_name(name)?;
        if self.stat(name)?.is_some() {
            return Err(self.refused(&format!("{name} is there already"), "run the command again"));
        }
        if self.stat(machine)?.is_none() {
            let make = Request::new(Request::MKDIR)
                .string(self.path(machine))
                .mode(0o700);
            self.session().status(&format!("making {machine}"), make)?;
        }
        let partial = format!("{machine}/{}", partial(file));
        let doing = format!("writing {name}");
        let open = Request::new(Request::OPEN)
            .string(self.path(&partial))
            .number(NEW)
            .mode(0o600);
        let mut session = self.session();
        let (turn, reply) = (session.turn, session.call(open)?);
        drop(session);
        let Reply::Handle(handle) = reply else {
            return Err(self.write_failure(&doing, &reply));
        };
        let open = (turn, handle);
        Ok(Box::new(SftpUpload::begin(self, name, partial, open)))
    }

    fn get(&self, name: &str) -> Result<Box<dyn Source + '_>> {
        check_name(name)?;
        let missing = || missing(name, &self.url);
        let attributes = self.stat(name)?.filter(|attributes| attributes.is_file());
        let length = attributes
            .and_then(|attributes| attributes.size)
            .ok_or_else(missing)?;
        let source = SftpSource::new(self, name, length);
        self.again(&mut |session| source.handle(session).map(drop))?;
        Ok(Box::new(source))
    }

    fn delete(&self, name: &str) -> Result<Outcome> {
        check_name(name)?;
        self.remove(name)
    }

    fn sweep(&self, prefix: &str) -> Result<u64> {
        let machine = prefix.split('/').next().unwrap_or_default();
        let mut swept = 0;
        for (file, _) in self.files(machine)? {
            if is_partial(&file) {
                self.remove(&format!("{machine}/{file}"))?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

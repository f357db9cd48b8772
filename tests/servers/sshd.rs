//! OpenSSH's server on loopback, with keys that are thrown away.

use crate::client::free_port;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Sshd {
    dir: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Sshd {
    /// Starts it. `more` is added to its settings.
    pub(crate) fn start(more: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("state-offsite-sshd-")
            .tempdir()
            .unwrap();
        let path = |name: &str| dir.path().join(name);
        for key in ["host", "key", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key))
                .status();
            assert!(made.unwrap().success());
        }
        fs::create_dir(path("srv")).unwrap();
        fs::copy(path("key.pub"), path("authorized_keys")).unwrap();
        let port = free_port();
        let host = fs::read_to_string(path("host.pub")).unwrap();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let stranger = fs::read_to_string(path("stranger.pub")).unwrap();
        fs::write(
            path("other_hosts"),
            format!("[127.0.0.1]:{port} {stranger}"),
        )
        .unwrap();
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n\
             PidFile none\nSubsystem sftp internal-sftp\n{more}\n",
            path("host").display(),
            path("authorized_keys").display()
        );
        fs::write(path("sshd_config"), settings).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-E"])
            .arg(path("log"))
            .arg("-f")
            .arg(path("sshd_config"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sshd = Self { dir, port, server };
        wait_for(port, "sshd");
        sshd
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory that the target is.
    pub(crate) fn objects(&self) -> PathBuf {
        self.path("srv")
    }

    pub(crate) fn url(&self, directory: &Path) -> String {
        format!("sftp://root@127.0.0.1:{}{}", self.port, directory.display())
    }

    /// The table of the target, with keys that can be of a stranger.
    pub(crate) fn target(&self, key: &str, known_hosts: &str) -> String {
        self.target_at(&self.objects(), key, known_hosts)
    }

    pub(crate) fn target_at(&self, directory: &Path, key: &str, known_hosts: &str) -> String {
        format!(
            "[target.nas]\nurl = \"{}\"\nkey = \"{}\"\nknown-hosts = \"{}\"\n",
            self.url(directory),
            self.path(key).display(),
            self.path(known_hosts).display()
        )
    }

    /// Kills the server and the conversations it has.
    pub(crate) fn kill(&mut self) {
        let mut children = Vec::new();
        descendants(self.server.id(), &mut children);
        self.server.kill().unwrap();
        self.server.wait().unwrap();
        Self::end(children);
    }

    /// Breaks off the conversations it has; it takes new ones.
    pub(crate) fn hang_up(&self) {
        let mut children = Vec::new();
        descendants(self.server.id(), &mut children);
        Self::end(children);
    }

    fn end(children: Vec<u32>) {
        for pid in children {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            // It may have ended with its parent.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap_or(());
        }
    }
}

/// The processes that this one started, and those that they did.
fn descendants(pid: u32, found: &mut Vec<u32>) {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    for child in children.unwrap_or_default().split_whitespace() {
        let child = child.parse().unwrap();
        found.push(child);
        descendants(child, found);
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.server.kill().unwrap_or(());
        self.server.wait().map(drop).unwrap_or(());
    }
}

/// Waits until somebody listens at the port.
pub(crate) fn wait_for(port: u16, who: &str) {
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{who} does not listen");
}

//! External programs: the one place that names and starts them.
//!
//! They are looked for in fixed directories, never in `$PATH` (in the initrd there may be none,
//! and as root it may be anybody's), speak the C locale, get no terminal to ask questions on, and
//! have a time limit. What they write to stderr is shown and never parsed.

mod enclosed;
mod watched;

pub use enclosed::Enclosed;

use state_api::{Error, Interrupt, Result};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write as _};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A program that `state` may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `apt-get`, to fetch what `state demo` lacks.
    AptGet,
    /// `bzip2`, to read an initrd.
    Bzip2,
    /// `cryptsetup`, to encrypt a new disk.
    Cryptsetup,
    /// `dracut`, to make initrds anew.
    Dracut,
    /// `git`, to ask for the commit of the configuration, and to check it out on new hardware.
    Git,
    /// `gzip`, to read an initrd.
    Gzip,
    /// `lz4`, the same.
    Lz4,
    /// `mkfs.btrfs`
    MkfsBtrfs,
    /// `mkfs.ext4`
    MkfsExt4,
    /// `mkfs.xfs`
    MkfsXfs,
    /// `mkinitcpio`, the same on Arch.
    Mkinitcpio,
    /// `modprobe`
    Modprobe,
    /// `nixos-install`, to install a restored machine's system.
    NixosInstall,
    /// `nixos-version`, to record what system an archive is of.
    NixosVersion,
    /// `ssh`, to reach targets at ssh servers.
    Ssh,
    /// `update-initramfs`, the same on Debian.
    UpdateInitramfs,
    /// `xz`, to read an initrd.
    Xz,
    /// `zfs`
    Zfs,
    /// `zpool`
    Zpool,
}

/// The first one found counts. NixOS has its programs in the last; in an initrd the first two are
/// usually one.
const DIRECTORIES: [&str; 5] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/run/current-system/sw/bin",
];
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// How much of stderr is kept: its end, where the reason is.
const TAIL_BYTES: usize = 1024;

impl Program {
    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Self::AptGet => "apt-get",
            Self::Bzip2 => "bzip2",
            Self::Cryptsetup => "cryptsetup",
            Self::Dracut => "dracut",
            Self::Git => "git",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::MkfsBtrfs => "mkfs.btrfs",
            Self::MkfsExt4 => "mkfs.ext4",
            Self::MkfsXfs => "mkfs.xfs",
            Self::Mkinitcpio => "mkinitcpio",
            Self::Modprobe => "modprobe",
            Self::NixosInstall => "nixos-install",
            Self::NixosVersion => "nixos-version",
            Self::Ssh => "ssh",
            Self::UpdateInitramfs => "update-initramfs",
            Self::Xz => "xz",
            Self::Zfs => "zfs",
            Self::Zpool => "zpool",
        }
    }

    /// The package that has it, as Debian names it.
    pub fn package(self) -> Option<&'static str> {
        Some(match self {
            Self::Bzip2 => "bzip2",
            Self::Cryptsetup => "cryptsetup-bin",
            Self::Git => "git",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::MkfsBtrfs => "btrfs-progs",
            Self::MkfsExt4 => "e2fsprogs",
            Self::MkfsXfs => "xfsprogs",
            Self::Modprobe => "kmod",
            Self::Ssh => "openssh-client",
            Self::Xz => "xz-utils",
            Self::Zfs | Self::Zpool => "zfsutils-linux",
            Self::AptGet
            | Self::Dracut
            | Self::Mkinitcpio
            | Self::NixosInstall
            | Self::NixosVersion
            | Self::UpdateInitramfs => return None,
        })
    }

    /// Where it is on this machine, if it is.
    pub fn find(self) -> Option<PathBuf> {
        DIRECTORIES
            .iter()
            .map(|dir| Path::new(dir).join(self.name()))
            .find(|path| path.is_file())
    }

    fn found(self) -> Result<PathBuf> {
        self.find().ok_or_else(|| match self.package() {
            Some(package) => missing(format!("{} (Debian: {package})", self.name())),
            None => missing(self.name()),
        })
    }

    /// Runs it to its end; `doing` is what for, as a gerund with its object.
    ///
    /// # Errors
    /// It is not installed, cannot be started, ends with anything but 0, or takes longer than
    /// `limit` (then it and everything it started are killed).
    pub fn run<A: AsRef<OsStr>>(
        self,
        doing: &str,
        args: impl IntoIterator<Item = A>,
        limit: Duration,
    ) -> Result<Vec<u8>> {
        self.run_as(&As::default(), doing, args, limit)
    }

    /// The same as somebody else, or with more environment.
    ///
    /// # Errors
    /// Those of [`Program::run`].
    pub fn run_as<A: AsRef<OsStr>>(
        self,
        by: &As<'_>,
        doing: &str,
        args: impl IntoIterator<Item = A>,
        limit: Duration,
    ) -> Result<Vec<u8>> {
        let path = self.found()?;
        let args = args
            .into_iter()
            .map(|arg| arg.as_ref().to_owned())
            .collect();
        run(self.name(), &path, args, by, doing, limit)
    }

    /// Starts it and talks to it through pipes.
    ///
    /// # Errors
    /// It is not installed or cannot be started.
    pub fn pipe<A: AsRef<OsStr>>(
        self,
        doing: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Piped> {
        let path = self.found()?;
        let failed = |error| Error::os(format!("{doing}: running {}", self.name()), error);
        let mut child = command(&path)
            .args(args)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stderr = child.stderr.take().expect("it is piped");
        Ok(Piped {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: Some(std::thread::spawn(move || tail(stderr))),
            child,
        })
    }
}

/// A program that runs and is talked to. Dropped, it is ended.
#[derive(Debug)]
pub struct Piped {
    /// What it reads.
    pub stdin: Option<ChildStdin>,
    /// What it writes.
    pub stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<io::Result<String>>>,
    child: Child,
}

impl Piped {
    /// Ends it; the end of what it wrote to stderr.
    pub fn end(&mut self) -> String {
        drop((self.stdin.take(), self.stdout.take()));
        // It ends by itself once nobody talks to it; what it has to say comes before that.
        if wait(&mut self.child, Duration::from_secs(2)).is_err() {
            return String::new();
        }
        let said = self.stderr.take().and_then(|stderr| stderr.join().ok());
        said.and_then(io::Result::ok).unwrap_or_default()
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program that the settings name, to its end. A name without a slash is looked for where
/// all programs are.
///
/// # Errors
/// Those of [`Program::run`].
pub fn custom(
    program: &Path,
    args: &[String],
    env: &[(&str, &str)],
    doing: &str,
    limit: Duration,
) -> Result<()> {
    let found = match program.components().count() {
        1 if program.is_relative() => {
            let places = DIRECTORIES.iter().map(|dir| Path::new(dir).join(program));
            places.into_iter().find(|path| path.is_file())
        }
        _ => Some(program.to_owned()),
    };
    let found = found.ok_or_else(|| missing(program.display()))?;
    let by = As {
        env,
        ..As::default()
    };
    let args = args.iter().map(OsString::from).collect();
    run("the program", &found, args, &by, doing, limit).map(drop)
}

/// On whose behalf a program runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct As<'a> {
    /// A user and a group, without further groups; only root can become anybody.
    pub owner: Option<(u32, u32)>,
    /// What it finds in its environment beside the usual.
    pub env: &'a [(&'a str, &'a str)],
    /// What it reads on standard input: secrets, which never stand on a command line. Little
    /// enough to fit into a pipe.
    pub input: &'a [u8],
}

/// Runs this very program again, on the same terminal, and waits for its end. An interruption of
/// this process is passed on and waited for all the same.
///
/// # Errors
/// It cannot be started.
pub fn ourselves<A: AsRef<OsStr>>(
    args: impl IntoIterator<Item = A>,
    interrupt: &dyn Interrupt,
) -> io::Result<ExitStatus> {
    let mut child = Command::new("/proc/self/exe").args(args).spawn()?;
    let mut was_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.is_set() && !was_told {
            was_told = true;
            // From a terminal it has had a SIGINT of its own; a second signal would end it at
            // once, so it is given time to end by itself first.
            std::thread::sleep(Duration::from_millis(500));
            if child.try_wait()?.is_none() {
                let pid = rustix::process::Pid::from_child(&child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn missing(program: impl std::fmt::Display) -> Error {
    Error::Missing {
        what: format!("the program {program}"),
    }
}

/// What all of them get. In a group of its own each is ended whole, and a Ctrl-C on the terminal
/// reaches only us, who end it in order.
fn command(path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env("LC_ALL", "C")
        .env("PATH", PATH)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

fn run(
    name: &'static str,
    path: &Path,
    args: Vec<OsString>,
    by: &As<'_>,
    doing: &str,
    limit: Duration,
) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Error::os(format!("{doing}: running {name}"), error);
    let mut command = command(path);
    if let Some((user, group)) = by.owner.filter(|_| rustix::process::geteuid().is_root()) {
        command.uid(user).gid(group);
    }
    let mut child = command
        .args(args)
        .envs(by.env.iter().copied())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    match stdin.write_all(by.input) {
        // It ended without reading: its status tells why.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(failed)?,
    }
    drop(stdin);
    let stdout = child.stdout.take().expect("it is piped");
    let stderr = child.stderr.take().expect("it is piped");
    // Each pipe has its reader, so that neither fills up while the other is waited for.
    let out = std::thread::spawn(move || whole(stdout));
    let err = std::thread::spawn(move || tail(stderr));
    let status = wait(&mut child, limit).map_err(failed)?;
    let stdout = out.join().expect("readers do not panic").map_err(failed)?;
    let stderr = err.join().expect("readers do not panic").map_err(failed)?;
    match status {
        Some(status) if status.success() => Ok(stdout),
        status => Err(Error::Tool {
            doing: doing.to_owned(),
            program: name,
            status: match status {
                Some(status) => in_words(status),
                None => format!("signal 9: it took longer than {} s", limit.as_secs()),
            },
            stderr,
        }),
    }
}

/// Waits for the child's end; `None` if the time ran out and it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            let group = rustix::process::Pid::from_child(child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn whole(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    from.read_to_end(&mut all)?;
    Ok(all)
}

/// The end of what comes, however much it is.
fn tail(mut from: impl Read) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let n = from.read(&mut chunk)?;
        if n == 0 {
            return Ok(String::from_utf8_lossy(&kept).trim().to_owned());
        }
        kept.extend_from_slice(&chunk[..n]);
        let surplus = kept.len().saturating_sub(TAIL_BYTES);
        kept.drain(..surplus);
    }
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "neither a status nor a signal".to_owned(),
    }
}

#[cfg(test)]
mod tests;

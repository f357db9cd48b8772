//! `zfs` and `zpool`: the only programs this crate starts.
//!
//! They are looked for in fixed directories (in an initrd `$PATH` may be anything), speak the C
//! locale, and get no terminal. What they write to stderr is shown and never parsed: their exit
//! status decides, and a second look. There is no time limit: what the kernel is doing for them
//! goes on when they are killed.

use state_api::{Error, Result};
use std::ffi::OsStr;
use std::io::{self, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};

/// The first one found counts. NixOS has its programs in the last.
const DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/local/sbin",
    "/run/current-system/sw/bin",
];

/// How many bytes of stderr are shown: its end, where the reason is.
const TAIL: usize = 1024;

/// Runs `zfs`. `doing` is a gerund with its object.
pub(super) fn zfs<A: AsRef<OsStr>>(
    doing: impl Into<String>,
    args: impl IntoIterator<Item = A>,
) -> Result<String> {
    run("zfs", doing.into(), args)
}

/// Runs `zpool`. `doing` is a gerund with its object.
pub(super) fn zpool<A: AsRef<OsStr>>(
    doing: impl Into<String>,
    args: impl IntoIterator<Item = A>,
) -> Result<String> {
    run("zpool", doing.into(), args)
}

/// Runs `zfs` and has what it prints read meanwhile, by `read`: to its end, or until `read` has enough (`None`).
/// `doing` is a gerund with its object.
pub(super) fn reading<A: AsRef<OsStr>, T>(
    doing: String,
    args: impl IntoIterator<Item = A>,
    read: impl FnOnce(BufReader<ChildStdout>) -> io::Result<Option<T>>,
) -> Result<Option<T>> {
    let program = "zfs";
    let failed = |error| Error::os(format!("{doing}: running {program}"), error);
    let mut child = command(program, args)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let printed = child.stdout.take().expect("it is piped");
    let read = read(BufReader::with_capacity(256 << 10, printed));
    if !matches!(read, Ok(Some(_))) {
        child.kill().map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    match read {
        Ok(None) => Ok(None),
        Ok(Some(read)) if output.status.success() => Ok(Some(read)),
        // What it says tells more than that it printed too little.
        Ok(Some(_)) => Err(unsuccessful(doing, program, &output)),
        Err(_) if !output.stderr.is_empty() => Err(unsuccessful(doing, program, &output)),
        Err(error) => Err(Error::os(doing, error)),
    }
}

fn find(program: &'static str) -> Result<PathBuf> {
    DIRECTORIES
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.is_file())
        .ok_or_else(|| Error::Missing {
            what: format!("the program {program}"),
        })
}

fn run<A: AsRef<OsStr>>(
    program: &'static str,
    doing: String,
    args: impl IntoIterator<Item = A>,
) -> Result<String> {
    let output = command(program, args)?
        .output()
        .map_err(|error| Error::os(format!("{doing}: running {program}"), error))?;
    if !output.status.success() {
        return Err(unsuccessful(doing, program, &output));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::Malformed {
        what: format!("the output of {program}"),
        why: "it is not UTF-8".into(),
    })
}

fn command<A: AsRef<OsStr>>(
    program: &'static str,
    args: impl IntoIterator<Item = A>,
) -> Result<Command> {
    let mut command = Command::new(find(program)?);
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", DIRECTORIES.join(":"))
        .stdin(Stdio::null())
        .process_group(0); // a Ctrl-C on the terminal stops us between two steps, not it in one
    Ok(command)
}

fn unsuccessful(doing: String, program: &'static str, output: &Output) -> Error {
    Error::Tool {
        doing,
        program,
        status: output.status.to_string(),
        stderr: tail(&output.stderr),
    }
}

fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(TAIL);
    String::from_utf8_lossy(&bytes[from..]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = run("zfs-no-such-program", "looking".into(), [""; 0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program zfs-no-such-program does not exist"
        );
    }

    #[test]
    fn failures_keep_the_end_of_stderr() {
        let script = "head -c 3000 /dev/zero | tr '\\0' x >&2; echo ' why' >&2; exit 3";
        let Err(Error::Tool { status, stderr, .. }) = run("sh", "trying".into(), ["-c", script])
        else {
            panic!("it succeeded");
        };
        assert_eq!(status, "exit status: 3");
        assert!(
            stderr.len() <= TAIL && stderr.ends_with("x why"),
            "{stderr}"
        );
    }
}

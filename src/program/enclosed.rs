//! A command of somebody's own that runs on another root.

use super::PATH;
use rustix::process::{Pid, Signal, kill_process};
use state_api::{Error, Interrupt, Result};
use state_linux::enclosed;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command that was sent an interruption as well ends soon.
const SOON: Duration = Duration::from_millis(500);
/// How long it may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a command runs.
#[derive(Debug, Clone, Copy)]
pub struct Enclosed<'a> {
    /// What is its `/`.
    pub root: &'a Path,
    /// What is in its environment beside what we were given.
    pub env: &'a [(&'a str, &'a str)],
    /// Whether what it prints goes to standard error: standard output is for a report.
    pub is_aside: bool,
}

impl Enclosed<'_> {
    /// Runs it on the terminal that is ours, and waits for its end and that of all it has started.
    /// This thread must have mounts of its own, and can start nothing else after this.
    ///
    /// # Errors
    /// It cannot be started; [`Error::Interrupted`], once it has ended or was killed.
    pub fn run(self, args: &[OsString], interrupt: &dyn Interrupt) -> Result<u8> {
        let Some((program, args)) = args.split_first() else {
            let what = "a command".into();
            return Err(Error::Missing { what });
        };
        let failed = |error| Error::os(format!("running {}", program.display()), error);
        let mut command = Command::new(program);
        command
            .args(args)
            .env("PATH", format!("/usr/local/sbin:/usr/local/bin:{PATH}"))
            .envs(self.env.iter().copied());
        if self.is_aside {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
            command.stdout(Stdio::from(stderr));
        }
        let terminal = enclosed::Terminal::ours();
        let mut child = enclosed::start(&mut command, self.root, &terminal).map_err(failed)?;
        let status = wait(&mut child, interrupt).map_err(failed)?;
        terminal.take_back().map_err(failed)?;
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        Ok(code(status))
    }
}

/// Waits for the end. An interruption that we were sent may have reached the command as well, or is
/// passed on. What does not end by itself is killed with all that is below it.
fn wait(child: &mut Child, interrupt: &dyn Interrupt) -> io::Result<ExitStatus> {
    let mut interrupted = None;
    let mut was_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.is_set() {
            let since = interrupted.get_or_insert_with(Instant::now).elapsed();
            if since > SOON && !was_told {
                was_told = true;
                tell(child);
            }
            if since > PATIENCE {
                child.kill()?;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Passes an interruption on to the command, the only child that the init above it has not been
/// left by others. Who cannot be told is killed in the end.
fn tell(init: &Child) {
    let init = init.id();
    let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children"));
    let first = children
        .iter()
        .flat_map(|list| list.split_whitespace())
        .next();
    let command = first.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    if let Some(command) = command {
        kill_process(command, Signal::TERM).ok();
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => 128 + signal.unwrap_or_default(),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

//! A program that a person watches: it takes long, and has much to say.

use super::{Program, command, in_words};
use rustix::process::{Pid, Signal, kill_process_group};
use state_api::{Error, Interrupt, Result};
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(10);

impl Program {
    /// Runs it to its end, however long that takes. What it prints goes to standard error, for standard output is for a report;
    /// it has nobody to ask. `doing` is what for, as a gerund with its object.
    ///
    /// # Errors
    /// It is not installed, cannot be started, or ends with anything but 0; [`Error::Interrupted`], once it and all that it
    /// started has ended.
    pub fn watched<A: AsRef<OsStr>>(
        self,
        doing: &str,
        args: impl IntoIterator<Item = A>,
        interrupt: &dyn Interrupt,
    ) -> Result<()> {
        let path = self.found()?;
        let failed =
            |error: io::Error| Error::os(format!("{doing}: running {}", self.name()), error);
        let ours = || io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
        let mut child = command(&path)
            .args(args)
            .stdin(Stdio::null())
            .stdout(ours().map_err(failed)?)
            .stderr(ours().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        match wait(&mut child, interrupt).map_err(failed)? {
            None => Err(Error::Interrupted),
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Error::Tool {
                doing: doing.to_owned(),
                program: self.name(),
                status: in_words(status),
                stderr: String::new(),
            }),
        }
    }
}

/// Waits for its end. None: it was interrupted, and is gone with all that is in its group.
fn wait(child: &mut Child, interrupt: &dyn Interrupt) -> io::Result<Option<ExitStatus>> {
    let group = Pid::from_child(child);
    let mut told: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(told.is_none().then_some(status));
        }
        match told {
            None if interrupt.is_set() => {
                kill_process_group(group, Signal::TERM)?;
                told = Some(Instant::now());
            }
            Some(since) if since.elapsed() > PATIENCE => {
                kill_process_group(group, Signal::KILL)?;
                child.wait()?;
                return Ok(None);
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! A program on a root of its own, that ends with everything it has started.

use rustix::process::{Pid, getpgrp, setpgid};
use rustix::stdio::stdin;
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

/// Starts `command` with `root` as its `/`, in a pid namespace with a `/proc` of its own. Above it
/// is an init that ends as it ends (128 and the signal, after one), and with which ends all that is
/// left in the namespace. The init is killed when the calling *thread* ends, however it does: the
/// thread has to wait for it.
///
/// The thread must have mounts of its own, and can start nothing else after this.
///
/// If the terminal is ours, the command gets it, in a process group that it sees from where it is: a
/// shell gives back to the group it was started in. Ctrl-C is heard by the command alone then, and
/// Ctrl-Z by nobody: no shell could continue it.
///
/// # Errors
/// This is not root; `root` has no `proc`; the program is not there.
pub fn start(command: &mut Command, root: &Path, terminal: &Terminal) -> io::Result<Child> {
    let has_terminal = terminal.0.is_some();
    let root = CString::new(root.as_os_str().as_bytes())?;
    // SAFETY: only sharing descriptors or memory is unsafe to end; neither flag is given.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
    // SAFETY: between fork and exec `become_init` makes system calls only: it allocates nothing
    // and takes no lock.
    unsafe { command.pre_exec(move || become_init(&root, has_terminal)) };
    command.spawn()
}

/// The first process of the namespace: sees to its end, makes its root, and goes on as a second
/// process, for which the first waits. Only the second returns from here.
fn become_init(root: &CStr, has_terminal: bool) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: a string with its nul.
    check(unsafe { libc::chroot(root.as_ptr()) })?;
    // SAFETY: a literal with its nul.
    check(unsafe { libc::chdir(c"/".as_ptr()) })?;
    let (proc, none) = (c"proc".as_ptr(), std::ptr::null());
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: literals with their nul; this filesystem takes no options.
    check(unsafe { libc::mount(proc, c"/proc".as_ptr(), proc, flags, none) })?;
    // SAFETY: both processes go on in this function, which is good between fork and exec.
    let child = unsafe { libc::fork() };
    match child {
        0 if has_terminal => {
            setpgid(None, None)?;
            put_in_front(getpgrp())
        }
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        child => wait_for(child, has_terminal),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for whoever ends, and ends with `child`.
fn wait_for(child: libc::pid_t, has_terminal: bool) -> ! {
    // The pipe by which the standard library learns that the program was started: it waits for
    // every copy to be closed. By number: `libc` has no such function for musl.
    // SAFETY: nothing here uses a descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live number.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, libc::WUNTRACED) };
        if ended != child {
            continue; // an orphan, or a signal
        }
        if libc::WIFSTOPPED(status) {
            if has_terminal {
                // SAFETY: numbers only.
                unsafe { libc::kill(-child, libc::SIGCONT) };
            }
            continue;
        }
        let code = match libc::WIFSIGNALED(status) {
            true => 128 + libc::WTERMSIG(status),
            false => libc::WEXITSTATUS(status),
        };
        // SAFETY: ends the process and runs nothing of it.
        unsafe { libc::_exit(code) }
    }
}

/// The terminal at standard input, if this process group is the one that it talks to.
#[derive(Debug)]
pub struct Terminal(Option<Pid>);

impl Terminal {
    /// Notes whether the terminal is ours.
    pub fn ours() -> Self {
        let group = tcgetpgrp(stdin()).ok();
        Self(group.filter(|group| *group == getpgrp()))
    }

    /// Takes it back, if it was ours.
    ///
    /// # Errors
    /// It is gone.
    pub fn take_back(&self) -> io::Result<()> {
        match self.0 {
            Some(group) => put_in_front(group),
            None => Ok(()),
        }
    }
}

/// Has the terminal talk to this process group. Who is not in front is stopped for asking that,
/// unless the signal is blocked.
fn put_in_front(group: Pid) -> io::Result<()> {
    // SAFETY: all-zero is a valid set.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    let mut before = mask;
    // SAFETY: the pointer is to a live set.
    unsafe { libc::sigaddset(&raw mut mask, libc::SIGTTOU) };
    // SAFETY: the pointers are to live sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const mask, &raw mut before) };
    let put = tcsetpgrp(stdin(), group);
    let none = std::ptr::null_mut();
    // SAFETY: the pointer is to a live set; where the one before it goes, nobody wants to know.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, none) };
    Ok(put?)
}

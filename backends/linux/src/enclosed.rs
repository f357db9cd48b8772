//! A program on a root of its own, that ends with everything it has started.

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
/// # Errors
/// This is not root; `root` has no `proc`; the program is not there.
pub fn start(command: &mut Command, root: &Path) -> io::Result<Child> {
    let root = CString::new(root.as_os_str().as_bytes())?;
    // SAFETY: only sharing descriptors or memory is unsafe to end; neither flag is given.
    unsafe { unshare_unsafe(UnshareFlags::NEWPID) }?;
    // SAFETY: between fork and exec `become_init` makes system calls only: it allocates nothing
    // and takes no lock.
    unsafe { command.pre_exec(move || become_init(&root)) };
    command.spawn()
}

/// The first process of the namespace: sees to its end, makes its root, and goes on as a second
/// process, for which the first waits. Only the second returns from here.
fn become_init(root: &CStr) -> io::Result<()> {
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
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        child => wait_for(child),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for whoever ends, and ends with `child`.
fn wait_for(child: libc::pid_t) -> ! {
    // The pipe by which the standard library learns that the program was started: it waits for
    // every copy to be closed.
    // SAFETY: nothing here uses a descriptor.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live number.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended != child {
            continue; // an orphan, or a signal
        }
        let code = match libc::WIFSIGNALED(status) {
            true => 128 + libc::WTERMSIG(status),
            false => libc::WEXITSTATUS(status),
        };
        // SAFETY: ends the process and runs nothing of it.
        unsafe { libc::_exit(code) }
    }
}

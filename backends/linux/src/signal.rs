//! SIGINT and SIGTERM as a flag that is asked between steps.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// The signal that arrived; a handler can reach nothing but a static.
static ARRIVED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(signal: libc::c_int) {
    ARRIVED.store(signal, Ordering::Relaxed);
}

/// Whether one of the two signals has arrived. A proof that [`catch`] was called.
#[derive(Debug, Clone, Copy)]
pub struct Flag(());

impl Flag {
    /// Whether SIGINT or SIGTERM has arrived.
    pub fn is_set(self) -> bool {
        has_arrived()
    }
}

/// Whether SIGINT or SIGTERM has arrived since they are caught.
pub fn has_arrived() -> bool {
    ARRIVED.load(Ordering::Relaxed) != 0
}

/// From now on the first SIGINT or SIGTERM only raises the flag. The second ends the process at
/// once, as a power cut would: somebody means it, or a step hangs.
///
/// System calls under way are resumed (`SA_RESTART`), so no step sees an `EINTR`.
///
/// # Errors
/// The kernel refuses the handler; it never has a reason to.
pub fn catch() -> io::Result<Flag> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all-zero is a valid `sigaction`: default action, empty mask, no flags.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe; `action` is
        // initialised and outlives the call; no old action is asked for.
        if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Flag(()))
}

/// Waits until `from` has something to read, or has ended. A read would go on waiting when a signal arrives.
///
/// # Errors
/// `Interrupted`: SIGINT or SIGTERM has arrived. Else what the kernel says.
pub fn wait_to_read(from: impl AsFd) -> io::Result<()> {
    // poll(2) is not resumed after a signal; one that arrives right before it is seen a moment later.
    const MOMENT: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 200_000_000,
    };
    while !has_arrived() {
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&MOMENT)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_signal_raises_the_flag_and_nothing_else() {
        let flag = catch().unwrap();
        assert!(!flag.is_set());
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::TERM).unwrap();
        // Delivery to another thread of this process may take a moment.
        let begun = std::time::Instant::now();
        while !flag.is_set() && begun.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        assert!(flag.is_set());
    }
}

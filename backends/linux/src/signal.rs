//! SIGINT and SIGTERM as a flag that is asked between steps.

use std::io;
use std::mem::MaybeUninit;
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
        ARRIVED.load(Ordering::Relaxed) != 0
    }
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

//! Stepping back behind everybody else, for work that nobody waits for.

use std::io;

// `IOPRIO_WHO_PROCESS` and `IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)` of `linux/ioprio.h`.
const WHO_PROCESS: libc::c_int = 1;
const CLASS_IDLE: libc::c_int = 3 << 13;

/// From now on this thread, and what it starts, gets the disk only when nobody else wants it,
/// and the processor with the lowest priority there is.
///
/// # Errors
/// The kernel was built without I/O priorities. The work can go on all the same.
pub fn step_back() -> io::Result<()> {
    rustix::process::nice(19)?;
    // SAFETY: the call takes three integers (0: the calling thread) and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

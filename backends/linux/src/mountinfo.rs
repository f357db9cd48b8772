//! `/proc/PID/mountinfo`, parsed strictly (proc_pid_mountinfo(5)).

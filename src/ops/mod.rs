//! One file per verb: look, decide, act. Returns outcomes and prints nothing.
pub mod init;

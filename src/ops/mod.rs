//! One file per verb: look, decide, act. Returns outcomes and prints nothing.
pub mod doctor;
pub mod init;
pub mod look;
pub mod status;

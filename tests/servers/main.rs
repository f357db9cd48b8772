//! Targets at real servers on loopback: OpenSSH's sshd, and moto for S3. Through the program, as
//! a person or a timer runs it: exit status, message, and what is left on both sides.
#![cfg(feature = "offsite")]

mod client;
mod gate;
mod guided;
mod moto;
mod s3;
mod s3_failures;
mod sealed;
mod sftp;
mod sshd;

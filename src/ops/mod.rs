//! One file per verb: look, decide, act. Returns outcomes and prints nothing.

pub mod act;
pub mod archives;
pub mod backup;
pub mod blank;
pub mod capture;
pub(crate) mod chain;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod drop;
mod encryption;
pub mod ignore;
pub mod init;
pub mod install_boot;
pub mod keep;
pub mod keyring;
mod learn;
pub mod look;
pub mod machines;
pub mod mount;
pub mod orphans;
pub mod provision;
pub mod prune;
pub mod rebuild;
pub mod recover;
pub mod recovery_sheet;
pub mod renew;
pub mod reset;
pub mod restore;
pub mod roots;
pub mod seal;
#[cfg(test)]
mod sim;
pub mod snapshot;
pub mod status;
pub mod watch;

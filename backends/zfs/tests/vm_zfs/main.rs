//! The engine on real OpenZFS, in a guest (`tests/vm/zfs`).
#![forbid(unsafe_code)]

mod blanks;
mod interruptions;
mod keys;
#[path = "../vm/machine.rs"]
mod machine;
mod refusals;
mod resets;

use state_api::{Error, Refusal, Result};

/// What [`machine::Machine::installed`] puts into blank.
const BLANK: &[&str] = &["etc/installed=yes"];

fn refused<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

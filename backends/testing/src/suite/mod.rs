//! What any engine must do, on simulators and on real filesystems alike.
//!
//! A suite is a table of cases over a fixture: a machine made fresh for each case. [`run`] runs
//! them all and reports every failing one, so that one broken case hides no other.

pub mod root;
pub mod store;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A case by name.
pub type Case<F> = (&'static str, fn(&mut F));

/// Runs every case on a fixture of its own.
///
/// # Panics
/// If a case failed, naming each with what it said.
pub fn run<F>(cases: &[Case<F>], mut make: impl FnMut() -> F) {
    let mut failed = Vec::new();
    for (name, case) in cases {
        let mut fixture = make();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case(&mut fixture))) {
            failed.push(format!("{name}: {}", message(&*panic)));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n\n")
    );
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "it panicked".into())
}

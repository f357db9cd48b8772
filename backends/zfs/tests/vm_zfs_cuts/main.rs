//! A reset whose power is cut. `tests/vm/zfs` runs its halves in guests with the same disk.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "the script waits for a line, and shows what was cut"
)]

#[path = "../vm/machine.rs"]
mod machine;
mod scene;
mod steps;
mod writes;

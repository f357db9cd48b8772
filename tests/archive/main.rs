//! Archives of real trees, written and read.

mod chain;
mod common;
mod damage;
mod damage_kinds;
mod extremes;
mod fidelity;
mod history;
mod hostile;
mod increments;
mod inodes;
mod looks;
mod malicious;
mod memory;
mod mutants;
mod parts;
mod path;
mod peers;
mod resume;
mod roundtrip;
mod threads;

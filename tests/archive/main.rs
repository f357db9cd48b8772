//! Archives of real trees, written and read.

mod common;
mod damage;
mod hostile;
mod malicious;
mod peers;
mod roundtrip;

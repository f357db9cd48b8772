//! The ZFS engine, on the layouts people have: `pool/local/root` with `@blank` on it.
#![deny(unsafe_code)]

mod kernel;

pub use kernel::{Dataset, DatasetKind, Kernel, Pool, Property, ZfsSnapshot};

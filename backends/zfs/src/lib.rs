//! The ZFS engine, on the layouts people have: `pool/local/root` with `@blank` on it.
//!
//! Root that is kept becomes a past root by rename, and a clone of its blank takes its place and
//! is promoted, so that blank is root's again and past roots can go one by one, in any order.
//! Nothing is converted. Root that is given up is rolled back.
#![deny(unsafe_code)]

mod blank;
mod carry;
mod changes;
mod delete;
mod engine;
mod kernel;
mod layout;
mod live;
mod name;
mod part;
mod plan;
mod stage;
mod step;
mod store;
pub mod stream;
mod survey;

pub use engine::Zfs;
pub use kernel::{Dataset, DatasetKind, Kernel, Pool, Property, ZfsSnapshot};
pub use live::Live;
pub use step::{Step, Undo};
pub use store::ZfsStore;
pub use survey::Survey;

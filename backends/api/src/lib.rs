//! The seams between `state` and the storage engines, and the words both sides use.
//!
//! Pure ground: types and traits only. Nothing here opens a file, starts a process or reads a
//! clock; what a seam needs of the world is handed to it.
#![forbid(unsafe_code)]

mod changes;
mod error;
mod execute;
mod inodes;
mod name;
mod root;
mod store;
mod view;

pub use changes::{Changes, Extent};
pub use error::{Error, Kind, Refusal, Result};
pub use execute::{
    Apply, Done, Executed, Failed, Interrupt, Never, Outcome, Plan, Step, execute, once,
};
pub use inodes::{ChangedInodes, Inodes};
pub use name::{BadName, PastRootName, SnapshotName};
pub use root::{
    Blank, Identity, Leftover, PastRoot, Renewal, Reset, Retire, RootBackend, RootCapabilities,
    RootFacts, Source,
};
pub use store::{Incoming, Shape, Snapshot, SnapshotStore, StoreCapabilities, StoreFacts};
pub use view::{Graft, View};

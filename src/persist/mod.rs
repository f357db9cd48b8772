//! The persist tree: the declared paths that survive a reset, and how each is put in place.
//!
//! Ground: [`Users`], [`Entry`], [`PersistTree`] and the plan decide, and touch nothing. Edge:
//! the survey looks and the applier acts, both through directory descriptors, never through a
//! symlink on the way. What is here must never hide or replace data that exists nowhere else.

mod anchors;
mod apply;
mod copies;
mod entry;
mod load;
mod plan;
mod seen;
mod step;
mod survey;
mod tree;
mod users;
pub mod utab;

pub use anchors::Anchors;
pub use apply::Applier;
pub use copies::Agreed;
pub use entry::{
    CONFIGURATION, Declared, Entry, EntryKind, Home, Id, Method, Ownership, REPLACED_BY_PROGRAMS,
    below, is_replaced_by_programs, parse_mode,
};
pub use load::{load, users};
pub use plan::{Verdict, When, plan};
pub use seen::{
    Copies, Digest, Hidden, Live, MachineId, MachineIds, Obstacle, Parent, Print, Seen, Source,
    Stamp,
};
pub use step::{Replaces, Step};
pub use survey::{Blank, survey};
pub use tree::{PersistTree, Problem, Problems, Unresolved};
pub use users::{User, Users};

//! The tmpfs engine: a root in memory, fresh at every boot. Nothing has to be erased; what this
//! engine owns is that root is mounted as a root must be and that the stores are not part of it,
//! that root is filled from a blank tree where the system does not fill it by itself, and that
//! what ends with the power is captured before: its past roots are archives in a store.
#![forbid(unsafe_code)]

mod act;
mod engine;
mod kernel;
mod layout;
mod live;
mod mounted;
mod plan;
mod step;
mod survey;

pub use engine::Tmpfs;
pub use kernel::{Kernel, Node, Origin, Tree, Write};
pub use live::{Craft, Live, Places};
pub use mounted::{Advice, Mounted, StoreSeen};
pub use step::Step;
pub use survey::{BlankSeen, FoundPast, Moment, Survey};

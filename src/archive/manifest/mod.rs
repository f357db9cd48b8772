//! The manifest: every path of the tree with its type, size, digest, metadata, and where its
//! bytes are. It is the authority on what an archive holds.
//!
//! Pure: what is said, never where it is stored.

mod bytes;
mod index;
mod line;
mod order;
mod record;

pub use bytes::{Bytes, Digest, hex};
pub use index::{
    BLOCK_BYTES, Block, Head, Index, MOST_BLOCK_BYTES, Missing, Parent, Part, Totals, push_line,
    records, records_where,
};
pub use line::{digest_of, inode_of, place_of};
pub use order::{Order, above, is_in, order};
pub use record::{Record, What};

use super::PATH_MAX;

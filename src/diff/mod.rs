//! What differs between two trees.

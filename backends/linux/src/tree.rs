//! Walking a tree through directory file descriptors, in a fixed order, grafts included.

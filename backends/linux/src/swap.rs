//! Exchanging a directory, or the children of a filesystem's top, for a staged tree.

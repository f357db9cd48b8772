//! All metadata of one inode: ownership, mode, times, xattrs, ACLs, inode flags.

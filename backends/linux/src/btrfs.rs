//! The btrfs ioctls of `linux/btrfs.h` and `linux/btrfs_tree.h`.

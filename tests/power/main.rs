//! Real filesystems after everything that can go wrong with them in the middle, the widely copied
//! btrfs script beside `state`.

mod btrfs;
mod keep;
mod kills;
mod machine;
mod overlay;
mod published;
mod restore;

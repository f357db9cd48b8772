//! System calls, each behind a small safe function. All `unsafe` of the project is here (and in
//! the ZFS lid). No policy: nothing here decides what to do.
#![allow(unsafe_code)]

pub mod acl;
pub mod btrfs;
pub mod confine;
pub mod enclosed;
pub mod lock;
pub mod loopback;
pub mod metadata;
pub mod mount;
pub mod mountinfo;
pub mod namespace;
pub mod note;
pub mod priority;
pub mod signal;
pub mod stat;
pub mod swap;
pub mod system;
pub mod tree;
pub mod users;
pub mod watch;

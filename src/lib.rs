//! `state` as a library: what the command line calls, floor by floor. See `docs/architecture.md`.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod archive;
pub mod ask;
pub mod boot;
pub mod bring;
pub mod captured;
pub mod cli;
pub mod cmdline;
pub mod config;
pub mod context;
pub mod copy;
pub mod diff;
pub mod engine;
pub mod failure;
pub mod inventory;
pub mod kept;
pub mod kernels;
pub mod ledger;
pub mod machine;
pub mod metrics;
pub mod ops;
pub mod paths;
pub mod persist;
pub mod program;
pub mod progress;
pub mod quarantine;
pub mod record;
pub mod retention;
pub mod settings;
pub mod target;
pub mod view;
pub mod wanted;
pub mod whole;

//! The persist tree put in place by the real program with real mounts, in namespaces.

mod harness;
mod methods;
mod mount;
mod refusals;

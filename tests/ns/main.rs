//! The persist tree put in place by the real program with real mounts, in namespaces.

mod blank;
mod capture;
mod copies;
mod diff;
mod harness;
mod keep;
mod methods;
mod mount;
mod orphans;
mod refusals;
mod stale;
mod words;

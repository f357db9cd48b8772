//! How `state` is started at boot: the units and hooks of `contrib/`, filled in from the settings.

pub mod files;
pub mod initrd;
pub mod loader;
pub mod maker;
pub mod saving;
pub mod text;
pub mod unit;
pub mod upgrade;

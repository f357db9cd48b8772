//! Archives: format 1, its writer and its strict reader. See `docs/archive-format.md`.

#[cfg(feature = "offsite")]
pub mod encryption;
#[cfg(feature = "offsite")]
pub mod signature;

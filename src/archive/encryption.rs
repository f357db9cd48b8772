//! Who can read an archive: encryption to age recipients, and reading with age identities.
//!
//! The data object becomes a standard age v1 file (<https://age-encryption.org/v1>), which `age`,
//! `rage` and their plugins open. A machine needs public keys only to make archives. Encryption
//! says nothing of who made an archive: that is what signatures are for.

mod identities;
mod recipients;
mod sealed;

pub(crate) use identities::MOST_BYTES;
pub use identities::{Decrypting, Identities, generate, pairs};
pub use recipients::{Encrypting, Ready, Recipients};
pub use sealed::{Sealed, failure};

use age::{DecryptError, EncryptError};
use std::io;

/// What can go wrong with keys.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// A recipient that is not understood.
    #[error("{0:?} is no age recipient")]
    Recipient(String),
    /// A private key in a place for public ones.
    #[error("a private key (AGE-SECRET-KEY-…) stands where a recipient (age1…) belongs")]
    PrivateKey,
    /// No recipient at all.
    #[error("there is no recipient")]
    NoRecipient,
    /// More than a label lists.
    #[error("there are more than {} recipients", recipients::MOST)]
    ManyRecipients,
    /// The identities could not be read.
    #[error("{0}")]
    Identities(String),
    /// The identities are locked, and nobody gave the right passphrase.
    #[error("it is protected by a passphrase, and {0}")]
    Locked(&'static str),
    /// None of the identities opens the archive.
    #[error("none of the keys opens it")]
    NoMatchingKey,
    /// It is not an age file, or was changed.
    #[error("{0}")]
    Decrypt(DecryptError),
    /// A plugin is missing or failed.
    #[error("{0}")]
    Plugin(String),
    /// The recipients do not go together.
    #[error("{0}")]
    Encrypt(EncryptError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl EncryptionError {
    /// A plugin that is not installed, in words of our own: the library's are several sentences.
    fn plugin(error: &age::plugin::ResolveError) -> Self {
        use age::plugin::ResolveError;
        Self::Plugin(match error {
            ResolveError::MissingPlugin { binary_name } => {
                format!("the program {binary_name} is not in $PATH")
            }
            other => other.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;

//! Who wrote an archive: OpenSSH signatures (SSHSIG) and the list of keys that are believed.
//!
//! What is signed is the small text object of an archive, which holds the digests of everything
//! else. The same is done with `ssh-keygen -Y sign -n state-archive` and checked with
//! `ssh-keygen -Y verify`; the formats are OpenSSH's `PROTOCOL.sshsig` and the section ALLOWED
//! SIGNERS of ssh-keygen(1). Pure: texts in, texts out.

mod allowed;
mod patterns;

pub use allowed::{AllowedSigners, Strange};

use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

/// The namespace of our signatures: one made for anything else is not one of ours.
pub const NAMESPACE: &str = "state-archive";

/// Why a signature is not believed, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The signing key cannot be used.
    #[error("it is no private key that can sign: {0}")]
    Key(String),
    /// The signing key is encrypted with a passphrase, and nobody is there to ask.
    #[error("it is protected by a passphrase")]
    Protected,
    /// The signing key is of another type than Ed25519.
    #[error("it is of type {0}; only ssh-ed25519 keys sign archives")]
    KeyType(String),
    /// The text is not an armored OpenSSH signature.
    #[error("it is no OpenSSH signature: {0}")]
    NoSignature(String),
    /// It was made for something else.
    #[error("it was made for {0:?}, not for an archive")]
    Namespace(String),
    /// The text was changed after it was signed, or the signature belongs to another text.
    #[error("it does not fit the text: one of the two was changed")]
    Mismatch,
    /// The key is not on the list, or not for this name, use or time.
    #[error(
        "the key {fingerprint} is not trusted for {principal}{}",
        .why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    Untrusted {
        /// The key that signed.
        fingerprint: String,
        /// The machine it claims to speak for.
        principal: String,
        /// Why not, if there is more to say than that it is not on the list.
        why: Option<String>,
    },
}

/// A private key that signs archives.
#[derive(Debug)]
pub struct Signer(PrivateKey);

impl Signer {
    /// The key in an OpenSSH private key file's text.
    ///
    /// # Errors
    /// It is no key, of another type than Ed25519, or protected by a passphrase.
    pub fn from_openssh(text: &str) -> Result<Self, SignatureError> {
        let key = PrivateKey::from_openssh(text).map_err(|e| SignatureError::Key(e.to_string()))?;
        if key.is_encrypted() {
            return Err(SignatureError::Protected);
        }
        match key.algorithm() {
            Algorithm::Ed25519 => Ok(Self(key)),
            other => Err(SignatureError::KeyType(other.to_string())),
        }
    }

    /// The armored signature of `text`.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(&self, text: &[u8]) -> Result<String, SignatureError> {
        self.0
            .sign(NAMESPACE, HashAlg::Sha512, text)
            .and_then(|signature| signature.to_pem(LineEnding::LF))
            .map_err(|e| SignatureError::Key(e.to_string()))
    }

    /// The fingerprint as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The line of an `allowed_signers` file that trusts this key for `machine`'s archives.
    ///
    /// # Errors
    /// The key cannot be written as text.
    pub fn allowed_line(&self, machine: &str) -> Result<String, SignatureError> {
        let mut key = self.0.public_key().clone();
        key.set_comment("");
        let key = key
            .to_openssh()
            .map_err(|e| SignatureError::Key(e.to_string()))?;
        Ok(format!(
            "{machine} namespaces=\"{NAMESPACE}\" {}",
            key.trim()
        ))
    }
}

/// Checks that `signature` was made over exactly `text`, for an archive, by the key it names.
/// Gives that key's fingerprint; whose it is remains to be known.
///
/// # Errors
/// It was not.
pub fn signed_by(text: &[u8], signature: &str) -> Result<String, SignatureError> {
    let signature = parse(signature)?;
    if signature.namespace() != NAMESPACE {
        return Err(SignatureError::Namespace(signature.namespace().to_owned()));
    }
    let key = PublicKey::from(signature.public_key().clone());
    key.verify(NAMESPACE, text, &signature)
        .map_err(|_| SignatureError::Mismatch)?;
    Ok(key.fingerprint(HashAlg::Sha256).to_string())
}

fn parse(signature: &str) -> Result<SshSig, SignatureError> {
    SshSig::from_pem(signature).map_err(|e| SignatureError::NoSignature(e.to_string()))
}

#[cfg(test)]
mod tests;

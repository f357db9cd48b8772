//! Decrypting: the private keys.

use super::EncryptionError;
use crate::ask::Ask;
use age::armor::ArmoredReader;
use age::secrecy::{ExposeSecret as _, SecretString};
use age::{Callbacks, DecryptError, Decryptor, IdentityFile, scrypt, x25519};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::sync::Arc;

/// How often a passphrase is asked for.
const TRIES: usize = 3;
/// The most work that a passphrase may be made to cost, as `age` bounds it: 2^22, some seconds.
const MOST_WORK: u8 = 22;
/// The largest identity file that is read.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// The private keys that open archives.
#[derive(Default)]
pub struct Identities {
    keys: Vec<Box<dyn age::Identity + Send + Sync>>,
    /// The recipients of those that are no plugin's.
    recipients: Vec<String>,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.keys.len()).finish()
    }
}

impl Identities {
    /// Adds the keys in an identity file as `age-keygen` writes it, or one that `age -p` encrypted
    /// with a passphrase: then `ask` is asked for it. `name` is how the file is called.
    ///
    /// # Errors
    /// A line is no identity, there is none, a plugin is missing, or nobody gave the passphrase.
    pub fn add(
        &mut self,
        name: &str,
        bytes: &[u8],
        ask: &Arc<dyn Ask>,
    ) -> Result<(), EncryptionError> {
        let is_age = bytes.starts_with(b"age-encryption.org/")
            || bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----");
        match is_age {
            true => self.add_lines(&unlock(name, bytes, ask.as_ref())?, ask),
            false => self.add_lines(bytes, ask),
        }
    }

    fn add_lines(&mut self, text: &[u8], ask: &Arc<dyn Ask>) -> Result<(), EncryptionError> {
        let bad = |why: &str| EncryptionError::Identities(why.to_owned());
        if text.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
            return Err(bad("an SSH key opens no archive, an age key does"));
        }
        // The library's own message has a line's number at most, never its content.
        let file = IdentityFile::from_buffer(BufReader::new(text))
            .map_err(|_| bad("it is no file of age identities (AGE-SECRET-KEY-…)"))?;
        let identities = file.with_callbacks(Person(Arc::clone(ask)));
        let identities = identities.into_identities().map_err(|error| match error {
            DecryptError::PluginResolve(error) => EncryptionError::plugin(&error),
            other => bad(&other.to_string()),
        })?;
        if identities.is_empty() {
            return Err(bad("there is no identity in it"));
        }
        self.keys.extend(identities);
        let lines = std::str::from_utf8(text).unwrap_or_default().lines();
        let native = lines.filter_map(|line| line.parse::<x25519::Identity>().ok());
        (self.recipients).extend(native.map(|key| key.to_public().to_string()));
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The recipients that these are the keys of, as far as that is known without a plugin.
    pub fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// A reader of what `input` holds encrypted. It seeks if the input does; the end of the
    /// stream is authenticated only when it has been read to its end, or its length was asked for.
    ///
    /// # Errors
    /// None of the keys opens it, or it is no age file.
    pub fn decrypt<R: BufRead>(&self, input: R) -> Result<Decrypting<R>, EncryptionError> {
        let decryptor = Decryptor::new_buffered(input).map_err(refused)?;
        let keys = self.keys.iter().map(|key| &**key as &dyn age::Identity);
        decryptor.decrypt(keys).map(Decrypting).map_err(refused)
    }
}

/// A new key: the identity as a file has it, and its recipient.
pub fn generate() -> (String, String) {
    let key = x25519::Identity::generate();
    let secret = key.to_string().expose_secret().to_owned();
    (secret, key.to_public().to_string())
}

/// The identities in a text of such files, with their recipients; nothing of plugins.
pub fn pairs(text: &str) -> Vec<(String, String)> {
    let keys = text.lines().filter_map(|line| {
        let key = line.parse::<x25519::Identity>().ok()?;
        Some((line.to_owned(), key.to_public().to_string()))
    });
    keys.collect()
}

fn refused(error: DecryptError) -> EncryptionError {
    match error {
        DecryptError::NoMatchingKeys => EncryptionError::NoMatchingKey,
        DecryptError::Plugin(_) => EncryptionError::Plugin(error.to_string()),
        DecryptError::Io(error) => EncryptionError::Io(error),
        other => EncryptionError::Decrypt(other),
    }
}

/// The content of an identity file that a passphrase protects.
fn unlock(name: &str, bytes: &[u8], ask: &dyn Ask) -> Result<Vec<u8>, EncryptionError> {
    for _ in 0..TRIES {
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(bytes)).map_err(refused)?;
        if !decryptor.is_scrypt() {
            let why = "it is encrypted, and not with a passphrase".to_owned();
            return Err(EncryptionError::Identities(why));
        }
        let Some(passphrase) = ask.secret(&format!("Passphrase of {name}:")) else {
            return Err(EncryptionError::Locked("nobody can be asked for it"));
        };
        let mut key = scrypt::Identity::new(SecretString::from(passphrase));
        key.set_max_work_factor(MOST_WORK);
        let mut text = Vec::new();
        match decryptor.decrypt([&key as &dyn age::Identity].into_iter()) {
            Ok(reader) => {
                reader.take(MOST_BYTES).read_to_end(&mut text)?;
                return Ok(text);
            }
            Err(DecryptError::DecryptionFailed) => ask.say("that passphrase is wrong"),
            Err(error) => return Err(refused(error)),
        }
    }
    Err(EncryptionError::Locked("it was not given"))
}

/// Passes the questions of plugins on.
#[derive(Clone)]
struct Person(Arc<dyn Ask>);

impl Callbacks for Person {
    fn display_message(&self, message: &str) {
        self.0.say(message);
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        self.0.choose(message, yes, no)
    }

    fn request_public_string(&self, description: &str) -> Option<String> {
        self.0.text(description)
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        self.0.secret(description).map(SecretString::from)
    }
}

/// Decrypts what is read from it.
pub struct Decrypting<R>(age::stream::StreamReader<R>);

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Seek> Seek for Decrypting<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl<R> fmt::Debug for Decrypting<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypting").finish_non_exhaustive()
    }
}

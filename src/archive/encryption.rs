//! Who can read an archive: encryption to age recipients, and reading with age identities.
//!
//! The data object becomes a standard age v1 file (<https://age-encryption.org/v1>), which `age`,
//! `rage` and their plugins open. A machine needs public keys only to make archives.

use age::{DecryptError, EncryptError, Encryptor, IdentityFile, NoCallbacks, plugin, x25519};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, BufReader, Read, Write};

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
    /// The identities could not be read.
    #[error("the identities: {0}")]
    Identities(String),
    /// None of the identities opens the archive.
    #[error("none of the keys opens it")]
    NoMatchingKey,
    /// It is not an age file, or was changed.
    #[error("{0}")]
    Decrypt(DecryptError),
    /// A recipient's plugin is missing.
    #[error("{0}")]
    Plugin(String),
    /// The recipients do not go together, or a plugin failed.
    #[error("{0}")]
    Encrypt(EncryptError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The public keys an archive is encrypted to.
pub struct Recipients {
    keys: Vec<x25519::Recipient>,
    plugins: Vec<plugin::Recipient>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipients")
            .field("keys", &self.keys.len())
            .field(
                "plugins",
                &self.plugins.iter().map(|r| r.plugin()).collect::<Vec<_>>(),
            )
            .finish()
    }
}

impl Recipients {
    /// Native recipients (`age1…`) and those of plugins (`age1yubikey1…`).
    ///
    /// # Errors
    /// One is not understood, or there is none.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, EncryptionError> {
        let (mut keys, mut plugins) = (Vec::new(), Vec::new());
        for text in texts.iter().map(AsRef::as_ref) {
            if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                return Err(EncryptionError::PrivateKey); // and never print it
            } else if let Ok(key) = text.parse() {
                keys.push(key);
            } else if let Ok(plugin) = text.parse() {
                plugins.push(plugin);
            } else {
                return Err(EncryptionError::Recipient(text.to_owned()));
            }
        }
        if keys.is_empty() && plugins.is_empty() {
            return Err(EncryptionError::NoRecipient);
        }
        Ok(Self { keys, plugins })
    }

    /// A writer that encrypts what is written to it into `output`. Only [`Encrypting::finish`]
    /// makes the result whole: without it every reader reports a truncated file.
    ///
    /// # Errors
    /// A plugin is missing or failed, or the header cannot be written.
    pub fn encrypt<W: Write>(&self, output: W) -> Result<Encrypting<W>, EncryptionError> {
        let names: BTreeSet<&str> = self.plugins.iter().map(|r| r.plugin()).collect();
        let plugins = names
            .into_iter()
            .map(|name| {
                plugin::RecipientPluginV1::new(name, &self.plugins, &[], NoCallbacks)
                    .map_err(|e| EncryptionError::Plugin(e.to_string()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let recipients = self
            .keys
            .iter()
            .map(|key| key as &dyn age::Recipient)
            .chain(plugins.iter().map(|plugin| plugin as &dyn age::Recipient));
        let encryptor = Encryptor::with_recipients(recipients).map_err(EncryptionError::Encrypt)?;
        Ok(Encrypting(encryptor.wrap_output(output)?))
    }
}

/// Encrypts what is written to it.
pub struct Encrypting<W: Write>(age::stream::StreamWriter<W>);

impl<W: Write> Encrypting<W> {
    /// Writes the last chunk and gives the output back.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> fmt::Debug for Encrypting<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypting").finish_non_exhaustive()
    }
}

/// The private keys that open archives.
pub struct Identities(Vec<Box<dyn age::Identity + Send + Sync>>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.0.len()).finish()
    }
}

impl Identities {
    /// The keys in an identity file as `age-keygen` writes it.
    ///
    /// # Errors
    /// A line is no identity, there is none, or a plugin is missing.
    pub fn parse(text: &str) -> Result<Self, EncryptionError> {
        let bad = |why: String| EncryptionError::Identities(why);
        let file = IdentityFile::from_buffer(BufReader::new(text.as_bytes()))
            .map_err(|e| bad(e.to_string()))?;
        let identities = file.into_identities().map_err(|e| bad(e.to_string()))?;
        if identities.is_empty() {
            return Err(bad("there is none in the file".into()));
        }
        Ok(Self(identities))
    }

    /// A reader of what `input` holds encrypted. It seeks if the input does; the end of the
    /// stream is authenticated only when it has been read to its end.
    ///
    /// # Errors
    /// None of the keys opens it, or it is no age file.
    pub fn decrypt<R: Read>(&self, input: R) -> Result<Decrypting<R>, EncryptionError> {
        let decryptor = age::Decryptor::new(input).map_err(EncryptionError::Decrypt)?;
        let keys = self.0.iter().map(|key| &**key as &dyn age::Identity);
        match decryptor.decrypt(keys) {
            Ok(reader) => Ok(Decrypting(reader)),
            Err(DecryptError::NoMatchingKeys) => Err(EncryptionError::NoMatchingKey),
            Err(error) => Err(EncryptionError::Decrypt(error)),
        }
    }
}

/// Decrypts what is read from it.
pub struct Decrypting<R>(age::stream::StreamReader<R>);

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + io::Seek> io::Seek for Decrypting<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl<R> fmt::Debug for Decrypting<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decrypting").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret;
    use std::io::{Cursor, Seek, SeekFrom};

    /// An identity file and its recipient.
    fn key() -> (String, String) {
        let identity = x25519::Identity::generate();
        let text = format!("# a comment\n{}\n", identity.to_string().expose_secret());
        (text, identity.to_public().to_string())
    }

    fn encrypt(recipients: &[String], data: &[u8]) -> Vec<u8> {
        let mut writer = Recipients::parse(recipients)
            .unwrap()
            .encrypt(Vec::new())
            .unwrap();
        writer.write_all(data).unwrap();
        writer.finish().unwrap()
    }

    fn decrypt(identity: &str, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let mut data = Vec::new();
        Identities::parse(identity)?
            .decrypt(sealed)?
            .read_to_end(&mut data)?;
        Ok(data)
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else() {
        let ((a, a_public), (b, b_public), (c, _)) = (key(), key(), key());
        let data = vec![7; 200_000]; // several of age's 64 KiB chunks
        let sealed = encrypt(&[a_public, b_public], &data);
        assert_eq!(decrypt(&a, &sealed).unwrap(), data);
        assert_eq!(decrypt(&b, &sealed).unwrap(), data);
        assert!(matches!(
            decrypt(&c, &sealed),
            Err(EncryptionError::NoMatchingKey)
        ));
    }

    #[test]
    fn a_cut_or_changed_stream_is_an_error() {
        let (identity, public) = key();
        let data = vec![7; 200_000];
        let sealed = encrypt(&[public], &data);
        for cut in [sealed.len() - 1, sealed.len() - 70_000, 10, 0] {
            assert!(decrypt(&identity, &sealed[..cut]).is_err(), "cut at {cut}");
        }
        for at in (0..sealed.len()).step_by(4099) {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(
                decrypt(&identity, &changed).is_err(),
                "bit flipped in byte {at}"
            );
        }
    }

    #[test]
    fn a_range_is_read_without_the_rest() {
        let (identity, public) = key();
        let data: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let sealed = encrypt(&[public], &data);
        let identities = Identities::parse(&identity).unwrap();
        let mut reader = identities.decrypt(Cursor::new(sealed)).unwrap();
        reader.seek(SeekFrom::Start(250_000)).unwrap();
        let mut part = [0; 100];
        reader.read_exact(&mut part).unwrap();
        assert_eq!(part, data[250_000..250_100]);
    }

    #[test]
    fn bad_keys_are_named_and_private_ones_are_not_printed() {
        let (identity, _) = key();
        let secret = identity.lines().nth(1).unwrap();
        for (text, wanted) in [
            ("age1", "\"age1\" is no age recipient"),
            (
                "ssh-ed25519 AAAA",
                "\"ssh-ed25519 AAAA\" is no age recipient",
            ),
            (
                secret,
                "a private key (AGE-SECRET-KEY-…) stands where a recipient (age1…) belongs",
            ),
        ] {
            assert_eq!(Recipients::parse(&[text]).unwrap_err().to_string(), wanted);
        }
        assert_eq!(
            Recipients::parse::<&str>(&[]).unwrap_err().to_string(),
            "there is no recipient"
        );
        assert!(Identities::parse("# nothing\n").is_err());
        assert!(Identities::parse("nonsense\n").is_err());
    }
}

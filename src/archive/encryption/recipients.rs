//! Encrypting: the public keys.

use super::EncryptionError;
use age::{EncryptError, Encryptor, NoCallbacks, plugin, tag, tagpq, x25519};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, Write};

/// How many recipients an archive can have: a label lists them all.
pub(super) const MOST: usize = 20;

/// The public keys an archive is encrypted to.
pub struct Recipients {
    names: Vec<String>,
    keys: Vec<Box<dyn age::Recipient + Send + Sync>>,
    plugins: Vec<plugin::Recipient>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.names).finish()
    }
}

impl Recipients {
    /// Native recipients (`age1…`) and those of plugins (`age1yubikey1…`).
    ///
    /// # Errors
    /// One is not understood, or there is none.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, EncryptionError> {
        let mut all = Self {
            names: Vec::new(),
            keys: Vec::new(),
            plugins: Vec::new(),
        };
        for text in texts.iter().map(AsRef::as_ref) {
            if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                return Err(EncryptionError::PrivateKey); // and never print it
            } else if all.names.iter().any(|name| name == text) {
                continue;
            } else if let Ok(key) = text.parse::<x25519::Recipient>() {
                all.keys.push(Box::new(key));
            } else if let Ok(key) = text.parse::<tag::Recipient>() {
                all.keys.push(Box::new(key)); // of a hardware key, without its plugin
            } else if let Ok(key) = text.parse::<tagpq::Recipient>() {
                all.keys.push(Box::new(key));
            } else if let Ok(plugin) = text.parse() {
                all.plugins.push(plugin);
            } else {
                return Err(EncryptionError::Recipient(text.to_owned()));
            }
            all.names.push(text.to_owned());
        }
        match all.names.len() {
            0 => Err(EncryptionError::NoRecipient),
            n if n > MOST => Err(EncryptionError::ManyRecipients),
            _ => Ok(all),
        }
    }

    /// The recipients in a file: one a line, and lines that begin with `#`.
    pub fn lines(text: &str) -> impl Iterator<Item = &str> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    /// How they are written.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Asks the plugins and makes the key of one archive: whatever can be wrong with recipients is
    /// known before anything is written.
    ///
    /// # Errors
    /// A plugin is missing or failed, or the recipients do not go together.
    pub fn ready(&self) -> Result<Ready, EncryptionError> {
        let names: BTreeSet<&str> = self.plugins.iter().map(|r| r.plugin()).collect();
        let plugins = names
            .into_iter()
            .map(|name| {
                plugin::RecipientPluginV1::new(name, &self.plugins, &[], NoCallbacks)
                    .map_err(|e| EncryptionError::plugin(&e))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let recipients = self
            .keys
            .iter()
            .map(|key| &**key as &dyn age::Recipient)
            .chain(plugins.iter().map(|plugin| plugin as &dyn age::Recipient));
        match Encryptor::with_recipients(recipients) {
            Ok(encryptor) => Ok(Ready(encryptor)),
            Err(error @ (EncryptError::Plugin(_) | EncryptError::Io(_))) => {
                Err(EncryptionError::Plugin(error.to_string()))
            }
            Err(error) => Err(EncryptionError::Encrypt(error)),
        }
    }
}

/// The key of one archive, wrapped for its recipients.
pub struct Ready(Encryptor);

impl Ready {
    /// A writer that encrypts what is written to it into `output`. Only [`Encrypting::finish`]
    /// makes the result whole: without it every reader reports a truncated file.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn encrypt<W: Write>(self, output: W) -> io::Result<Encrypting<W>> {
        Ok(Encrypting(self.0.wrap_output(output)?))
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
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

//! Who can read this machine's archives: encrypting what is published.

use crate::archive::Result;
use crate::archive::label::{DATA, ENCRYPTED};
use crate::context::Context;
use crate::settings::Settings;
use std::io::{self, Write};

/// Where the data of an archive is written to, encrypted if the settings say so.
pub(crate) enum Sink<'w> {
    /// As it is.
    Plain(&'w mut dyn Write),
    /// Encrypted.
    #[cfg(feature = "offsite")]
    Sealed(crate::archive::encryption::Encrypting<&'w mut dyn Write>),
}

impl Sink<'_> {
    /// Writes the end.
    pub(crate) fn finish(self) -> Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "offsite")]
            Self::Sealed(open) => match open.finish() {
                Ok(_) => Ok(()),
                Err(error) => Err(crate::archive::Error::os("encrypting the archive", error)),
            },
        }
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            #[cfg(feature = "offsite")]
            Self::Sealed(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            #[cfg(feature = "offsite")]
            Self::Sealed(out) => out.flush(),
        }
    }
}

/// How one archive is encrypted, if it is.
#[derive(Debug, Default)]
pub(crate) struct Encryption {
    /// The public keys that can read it.
    recipients: Vec<String>,
    #[cfg(feature = "offsite")]
    ready: Option<crate::archive::encryption::Ready>,
}

impl Encryption {
    pub(crate) fn recipients(&self) -> &[String] {
        &self.recipients
    }

    /// The end of the data object's name.
    pub(crate) fn suffix(&self) -> &'static str {
        match self.recipients.is_empty() {
            true => DATA,
            false => ENCRYPTED,
        }
    }
}

#[cfg(feature = "offsite")]
use crate::archive::encryption::{Recipients, generate, pairs};

/// A new key: the identity and its recipient.
#[cfg(feature = "offsite")]
pub(crate) fn new_key() -> anyhow::Result<(String, String)> {
    Ok(generate())
}

/// The identities in a file, and their recipients.
#[cfg(feature = "offsite")]
pub(crate) fn key_pairs(text: &str) -> Vec<(String, String)> {
    pairs(text)
}

/// No key can be made.
#[cfg(not(feature = "offsite"))]
pub(crate) fn new_key() -> anyhow::Result<(String, String)> {
    Err(super::seal::refused("encrypt-to"))
}

/// No key can be read.
#[cfg(not(feature = "offsite"))]
pub(crate) fn key_pairs(_: &str) -> Vec<(String, String)> {
    Vec::new()
}

#[cfg(feature = "offsite")]
impl Encryption {
    /// The recipients of `[archive] encrypt-to`. Their plugins have answered.
    pub(crate) fn of(cx: &Context, settings: &Settings) -> anyhow::Result<Self> {
        use crate::archive::encryption::EncryptionError;
        use crate::failure::{Class, Failure};
        if settings.archive.encrypt_to.is_empty() {
            return Ok(Self::default());
        }
        let mut wanted = Vec::new();
        for line in &settings.archive.encrypt_to {
            if !line.starts_with('/') {
                wanted.push(line.clone());
                continue;
            }
            let text = std::fs::read_to_string(cx.rooted(line)).map_err(|error| {
                let fact = crate::failure::plain_errnos(&error.to_string());
                Failure::new(
                    Class::Key,
                    format!("[archive] encrypt-to: reading {line}: {fact}"),
                )
            })?;
            wanted.extend(Recipients::lines(&text).map(str::to_owned));
        }
        let bad = |error: EncryptionError| {
            let fact = format!("[archive] encrypt-to: {error}");
            let cure = match error {
                EncryptionError::Plugin(_) => {
                    "nothing was archived: install the plugin where the backup runs, or encrypt \
                     to a recipient that needs none"
                }
                EncryptionError::PrivateKey => {
                    "take it out, and make a new one: `age-keygen`. `age-keygen -y FILE` prints \
                     the recipient of a key: age1…"
                }
                _ => "`age-keygen -y FILE` prints the recipient of a key: age1…",
            };
            Failure::new(Class::Key, fact).hint(cure)
        };
        let recipients = Recipients::parse(&wanted).map_err(bad)?;
        let ready = recipients.ready().map_err(bad)?;
        Ok(Self {
            recipients: recipients.names().to_vec(),
            ready: Some(ready),
        })
    }

    /// The same, and to one more key.
    pub(crate) fn and(mut self, recipient: Option<String>) -> anyhow::Result<Self> {
        if let Some(recipient) = recipient {
            self.recipients.push(recipient);
            self.ready = Some(Recipients::parse(&self.recipients)?.ready()?);
        }
        Ok(self)
    }

    /// Where the data goes through on its way to `out`.
    pub(crate) fn sink<'w>(self, out: &'w mut dyn Write) -> Result<Sink<'w>> {
        match self.ready {
            None => Ok(Sink::Plain(out)),
            Some(ready) => match ready.encrypt(out) {
                Ok(open) => Ok(Sink::Sealed(open)),
                Err(error) => Err(crate::archive::Error::os("encrypting the archive", error)),
            },
        }
    }
}

#[cfg(not(feature = "offsite"))]
impl Encryption {
    /// Refuses recipients, for whom nothing can be encrypted.
    pub(crate) fn of(_: &Context, settings: &Settings) -> anyhow::Result<Self> {
        match settings.archive.encrypt_to.is_empty() {
            true => Ok(Self::default()),
            false => Err(super::seal::refused("encrypt-to")),
        }
    }

    /// Nobody else can read what everybody can.
    pub(crate) fn and(self, _: Option<String>) -> anyhow::Result<Self> {
        Ok(self)
    }

    /// Where the data goes through on its way to `out`.
    pub(crate) fn sink<'w>(self, out: &'w mut dyn Write) -> Result<Sink<'w>> {
        Ok(Sink::Plain(out))
    }
}

//! What opens encrypted archives, and where it is looked for.
//!
//! Keys are read when the first encrypted archive is opened and not before: listing archives, and
//! reading those that are not encrypted, asks nobody for a passphrase.

use crate::archive::label::{ENCRYPTED, Label};
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use crate::ask::{Ask, Nobody};
use crate::context::Context;
use crate::settings::Settings;
use crate::target::Target;
use std::path::PathBuf;
use std::sync::Arc;

/// The files that may hold age identities. Clones share what was read.
#[derive(Debug, Clone)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
#[cfg_attr(
    not(feature = "offsite"),
    expect(dead_code, reason = "nothing can be decrypted")
)]
struct Inner {
    /// Files that a person named.
    named: Vec<PathBuf>,
    /// What is looked at if none was named, and the settings name none: a systemd credential.
    credential: Option<PathBuf>,
    ask: Arc<dyn Ask>,
    #[cfg(feature = "offsite")]
    opened: std::sync::OnceLock<open::Opened>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(Vec::new(), None, Arc::new(Nobody))
    }
}

impl Keyring {
    /// The name of the systemd credential with age identities.
    pub const CREDENTIAL: &str = "state.identity";

    /// Keys in the files `named` by a person; else in the one of `[archive] identity-file`; else
    /// in the `credential`, if there is one; and those for drills.
    pub fn new(named: Vec<PathBuf>, credential: Option<PathBuf>, ask: Arc<dyn Ask>) -> Self {
        Self(Arc::new(Inner {
            named,
            credential,
            ask,
            #[cfg(feature = "offsite")]
            opened: std::sync::OnceLock::new(),
        }))
    }

    /// The same, for archives that are read with these settings.
    pub(crate) fn with(&self, cx: &Context, settings: &Settings) -> Keys {
        let configured = settings.archive.identity_file.as_ref();
        let mut files = match (&self.0.named[..], configured, &self.0.credential) {
            ([], Some(file), _) => vec![cx.rooted(file)],
            ([], None, Some(file)) => vec![file.clone()],
            (named, ..) => named.to_vec(),
        };
        if self.0.named.is_empty() {
            // What the machine can open by itself.
            let own = super::drill::key::file(cx, settings);
            files.extend(own.filter(|file| file.exists()));
        }
        Keys {
            ring: self.clone(),
            files,
        }
    }
}

/// A keyring that knows its files.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(feature = "offsite"),
    expect(dead_code, reason = "nothing can be decrypted")
)]
pub(crate) struct Keys {
    ring: Keyring,
    files: Vec<PathBuf>,
}

impl Keys {
    /// The data of an archive, decrypted if it is encrypted.
    pub(crate) fn data<'t>(
        &self,
        target: &'t dyn Target,
        label: &Label,
    ) -> Result<Box<dyn Source + 't>> {
        let stored = target.get(&label.data_name())?;
        match label.suffix == ENCRYPTED {
            true => self.decrypted(stored, label),
            false => Ok(stored),
        }
    }
}

fn locked(label: &Label, why: impl Into<String>, cure: impl Into<String>) -> Error {
    Error::Key {
        what: format!("the archive {}", label.id),
        why: why.into(),
        cure: cure.into(),
    }
}

#[cfg(feature = "offsite")]
mod open {
    use super::*;
    use crate::archive::encryption::{EncryptionError, Identities, MOST_BYTES, Sealed, failure};
    use crate::failure::plain_errnos;
    use crate::paths::Shown;
    use std::io::Read as _;
    use std::os::unix::fs::MetadataExt as _;

    /// The keys that were read, and what hindered reading others.
    #[derive(Debug)]
    pub(super) struct Opened {
        identities: Identities,
        hindered: Vec<String>,
        /// Whether something only wants its passphrase.
        is_locked: bool,
    }

    impl Opened {
        fn read(files: &[PathBuf], ask: &Arc<dyn Ask>) -> Self {
            let mut opened = Self {
                identities: Identities::default(),
                hindered: Vec::new(),
                is_locked: false,
            };
            for file in files {
                let name = Shown(file).to_string();
                let added = read(file, &name, ask.as_ref())
                    .and_then(|bytes| opened.identities.add(&name, &bytes, ask));
                if let Err(error) = added {
                    opened.is_locked |= matches!(error, EncryptionError::Locked(_));
                    let why = plain_errnos(&error.to_string());
                    opened.hindered.push(format!("{name}: {why}"));
                }
            }
            opened
        }
    }

    impl Opened {
        /// Whether one of the keys is of a recipient that the label names.
        fn should_open(&self, label: &Label) -> bool {
            let mut own = self.identities.recipients().iter();
            own.any(|key| label.recipients.contains(key))
        }
    }

    fn read(file: &std::path::Path, name: &str, ask: &dyn Ask) -> Result<Vec<u8>, EncryptionError> {
        let open = std::fs::File::open(file)?;
        let is_shared = open.metadata()?.mode() & 0o077 != 0;
        if is_shared {
            ask.say(&format!(
                "{name} can be read by others: chmod 600 keeps the key to yourself"
            ));
        }
        let mut bytes = Vec::new();
        open.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    impl Keys {
        /// Why none of the keys opens what is encrypted to these, as far as can be told without
        /// a passphrase or a plugin's help.
        pub(crate) fn lacks(&self, recipients: &[String]) -> Option<String> {
            let inner = &self.ring.0;
            let opened = (inner.opened).get_or_init(|| Opened::read(&self.files, &inner.ask));
            let own = opened.identities.recipients();
            let may_be = opened.is_locked
                || opened.identities.len() > own.len()
                || recipients.is_empty()
                || own.iter().any(|key| recipients.contains(key));
            match &opened.hindered[..] {
                [why, ..] if !opened.is_locked => Some(why.clone()),
                _ if may_be => None,
                _ => Some("it is the key of none of the recipients".into()),
            }
        }

        pub(super) fn decrypted<'t>(
            &self,
            stored: Box<dyn Source + 't>,
            label: &Label,
        ) -> Result<Box<dyn Source + 't>> {
            let to = label.recipients.join(", ");
            let cure = "name a file with the age key (AGE-SECRET-KEY-…) of one of them: \
                        --identity FILE, or [archive] identity-file";
            if self.files.is_empty() {
                return Err(locked(label, format!("it is encrypted to {to}"), cure));
            }
            let inner = &self.ring.0;
            let opened = (inner.opened).get_or_init(|| Opened::read(&self.files, &inner.ask));
            let name = stored.name().to_owned();
            match Sealed::open(stored, &opened.identities) {
                Ok(sealed) => Ok(Box::new(sealed)),
                Err(EncryptionError::Io(error)) => Err(failure(&name, error)),
                Err(EncryptionError::Decrypt(error)) => Err(Error::damaged(name, error)),
                Err(EncryptionError::NoMatchingKey) if opened.should_open(label) => {
                    // The label is what was signed, not the header of the data.
                    let why = "a key that it was encrypted to does not open it: it was changed";
                    Err(Error::damaged(name, why))
                }
                Err(EncryptionError::NoMatchingKey) => {
                    let files: Vec<_> = self.files.iter().map(|f| Shown(f).to_string()).collect();
                    let why = match &opened.hindered[..] {
                        [] => format!("no key in {} opens it", files.join(", ")),
                        hindered => hindered.join("; "),
                    };
                    Err(locked(
                        label,
                        format!("it is encrypted to {to}: {why}"),
                        cure,
                    ))
                }
                Err(error) => Err(locked(label, error.to_string(), cure)),
            }
        }
    }
}

#[cfg(not(feature = "offsite"))]
impl Keys {
    pub(crate) fn lacks(&self, _: &[String]) -> Option<String> {
        Some("this build of state knows no keys".into())
    }

    fn decrypted<'t>(
        &self,
        _: Box<dyn Source + 't>,
        label: &Label,
    ) -> Result<Box<dyn Source + 't>> {
        Err(locked(
            label,
            "it is encrypted, and this build of state knows no keys",
            "use a state that was built with the feature `offsite`",
        ))
    }
}

//! Who made an archive: signing what is published, and whom to believe of what is read.
//!
//! Nothing of an archive is believed before its signature. It is checked against the keys in
//! `[archive] trusted-signers`, or the one that a person named; never against what lies beside
//! the archive.

use super::archives::Which;
use crate::archive::label::{Label, SIGNATURE};
use crate::archive::{Error, Result};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::settings::Settings;
use crate::target::Target;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The largest signature that is read.
const MOST_BYTES: u64 = 64 << 10;

/// What is known of who made an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Signature {
    /// There is none.
    Unsigned,
    /// There is one, and this build cannot check any.
    Unchecked,
    /// It fits, and nothing here says whose key it is.
    Unknown {
        /// The key that made it.
        key: String,
    },
    /// It was made by a key that is trusted to speak for the machine.
    Trusted {
        /// The key that made it.
        key: String,
    },
    /// It is not to be believed.
    Refused {
        /// Why not.
        why: String,
    },
}

impl Signature {
    /// In a few words, for a list. Nothing has to be said of what is as it should be.
    pub fn remark(&self) -> Option<String> {
        match self {
            Self::Trusted { .. } => None,
            Self::Unsigned => Some("unsigned".into()),
            Self::Unchecked => Some("signature not checked".into()),
            Self::Unknown { key } => Some(format!("signed by unknown {key}")),
            Self::Refused { .. } => Some("bad signature".into()),
        }
    }

    /// Refuses an archive whose signature is wrong: not even its manifest is looked at.
    ///
    /// # Errors
    /// It is wrong.
    pub(crate) fn check(&self, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Refused { why } => Err(Failure::new(
                Class::Key,
                format!("the signature of the archive {id}: {why}"),
            )
            .hint(
                "somebody else made or changed it, or the machine has a new key; nothing was \
                 changed here. If you know the key: --trust-key SHA256:…",
            )
            .into()),
            _ => Ok(()),
        }
    }

    /// Refuses an archive for which nobody vouches, unless that was allowed.
    ///
    /// # Errors
    /// Nobody does.
    pub(crate) fn demand(&self, id: &str, allow_unsigned: bool) -> anyhow::Result<()> {
        self.check(id)?;
        match self {
            Self::Trusted { .. } => Ok(()),
            _ if allow_unsigned => Ok(()),
            Self::Unknown { key } => Err(Failure::new(
                Class::Key,
                format!("the archive {id} is signed by {key}, which nothing here vouches for"),
            )
            .hint(format!(
                "name the allowed_signers file in your configuration's repository, \
                 --trusted-signers FILE; or compare the key with your recovery sheet, then say \
                 --trust-key {key}"
            ))
            .into()),
            Self::Unchecked => Err(Failure::new(
                Class::Key,
                format!("the signature of the archive {id} cannot be checked by this build"),
            )
            .hint("use a state that was built with the feature `offsite`")
            .into()),
            Self::Unsigned | Self::Refused { .. } => Err(Error::Unsigned {
                what: format!("the archive {id}"),
            }
            .into()),
        }
    }

    /// Refuses an archive that what this machine signs next would stand for: whoever signs above
    /// what others made vouches for it, so only if somebody who is believed did before, or this
    /// machine itself.
    ///
    /// # Errors
    /// Nobody did; or, where nothing is signed, its signature is wrong.
    pub(crate) fn vouch(&self, id: &str, seal: Option<&Seal>) -> anyhow::Result<()> {
        match (self, seal) {
            (_, None) => self.check(id),
            (Self::Unknown { key }, Some(seal)) if *key == seal.fingerprint() => Ok(()),
            (_, Some(_)) => self.demand(id, false),
        }
    }
}

/// What the list of those who are believed says of a key.
#[derive(Debug)]
pub(crate) struct Believed {
    /// Until when it is believed for the machine; nothing: it is not on the list.
    pub(crate) until: Option<DateTime<Utc>>,
    /// The lines of the list that are not understood.
    pub(crate) strange: Vec<String>,
}

/// The text of an archive's signature, if it has one.
fn signature(target: &dyn Target, label: &Label) -> Result<Option<Vec<u8>>> {
    // Whatever is cut off there was no signature.
    match target.read(&name(label), MOST_BYTES) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a small object and reads it back.
pub(crate) fn put(target: &dyn Target, name: &str, text: &str) -> Result<()> {
    let mut upload = target.put(name)?;
    upload
        .write_all(text.as_bytes())
        .map_err(|e| crate::target::write_failure(name, e))?;
    upload.finish()?;
    let found = target.read(name, text.len() as u64 + 1)?;
    match found == text.as_bytes() {
        true => Ok(()),
        false => Err(Error::damaged(
            name,
            "the target gives back something else than was written",
        )),
    }
}

/// The name of an archive's signature.
pub(crate) fn name(label: &Label) -> String {
    format!("{}/{}{SIGNATURE}", label.machine, label.id)
}

#[cfg(feature = "offsite")]
mod keys {
    use super::*;
    use crate::archive::signature::{AllowedSigners, SignatureError, Signer, signed_by};
    use std::path::Path;

    /// The text of the file at `path`, which a person calls `name`.
    fn read(path: &Path, name: &Path) -> anyhow::Result<String> {
        std::fs::read_to_string(path).map_err(|error| {
            let fact = crate::failure::plain_errnos(&error.to_string());
            Failure::new(Class::Key, format!("reading {}: {fact}", name.display())).into()
        })
    }

    fn bad(path: &Path, error: &SignatureError) -> anyhow::Error {
        Failure::new(Class::Key, format!("{}: {error}", path.display())).into()
    }

    /// What signs this machine's archives.
    #[derive(Debug)]
    pub(crate) struct Seal(Signer);

    impl Seal {
        /// The key of `[archive] sign-with`, if there is one.
        pub(crate) fn of(cx: &Context, settings: &Settings) -> anyhow::Result<Option<Self>> {
            let Some(path) = &settings.archive.sign_with else {
                return Ok(None);
            };
            let signer =
                Signer::from_openssh(&read(&cx.rooted(path), path)?).map_err(|e| bad(path, &e))?;
            Ok(Some(Self(signer)))
        }

        pub(crate) fn fingerprint(&self) -> String {
            self.0.fingerprint()
        }

        /// The public half: the fingerprint, and the line of an allowed_signers file.
        pub(crate) fn public(&self, machine: &str) -> anyhow::Result<(String, String)> {
            Ok((self.0.fingerprint(), self.0.allowed_line(machine)?))
        }

        /// The signature of a label, or of a proof.
        pub(crate) fn sign(&self, text: &str) -> Result<String> {
            let signed = self.0.sign(text.as_bytes());
            signed.map_err(|why| Error::damaged("signing", why))
        }
    }

    /// Whom to believe.
    #[derive(Debug)]
    pub(crate) struct Trust {
        signers: Option<AllowedSigners>,
        key: Option<String>,
        now: DateTime<Utc>,
    }

    impl Trust {
        /// The one key that a person named, else the list that a person named, else that of
        /// `[archive] trusted-signers`. Never anything that lies beside the archive.
        pub(crate) fn of(cx: &Context, settings: &Settings, which: &Which) -> anyhow::Result<Self> {
            if let Some(key) = &which.trust_key
                && !key.starts_with("SHA256:")
            {
                return Err(
                    Failure::usage(format!("{key:?} is no fingerprint of a key"))
                        .hint("`ssh-keygen -lf FILE` shows it: SHA256:…")
                        .into(),
                );
            }
            let configured = settings.archive.trusted_signers.as_ref();
            let signers = match (&which.trust_key, &which.trusted_signers, configured) {
                (Some(_), ..) | (None, None, None) => None,
                (None, Some(named), _) => Some(read(named, named)?),
                (None, None, Some(path)) => Some(read(&cx.rooted(path), path)?),
            };
            Ok(Self {
                signers: signers.map(|text| AllowedSigners::parse(&text)),
                key: which.trust_key.clone(),
                now: cx.now,
            })
        }

        /// Whether there is a key or a list that says whom to believe.
        pub(crate) fn names_somebody(&self) -> bool {
            self.signers.is_some() || self.key.is_some()
        }

        /// What is to be thought of a signature of `machine`'s text, if there is one.
        pub(crate) fn judge(
            &self,
            machine: &str,
            text: &str,
            signature: Option<&str>,
        ) -> Signature {
            let Some(signature) = signature else {
                return Signature::Unsigned;
            };
            let judged = self.check(machine, text, signature);
            judged.unwrap_or_else(|why| Signature::Refused {
                why: why.to_string(),
            })
        }

        /// What the list says of the key `fingerprint`, if there is a list.
        pub(crate) fn believed(&self, machine: &str, fingerprint: &str) -> Option<Believed> {
            let list = self.signers.as_ref()?;
            Some(Believed {
                until: list.until(machine, fingerprint),
                strange: list.strange().iter().map(ToString::to_string).collect(),
            })
        }

        fn check(
            &self,
            machine: &str,
            text: &str,
            signature: &str,
        ) -> Result<Signature, SignatureError> {
            let text = text.as_bytes();
            if let Some(signers) = &self.signers {
                let key = signers.verify(machine, text, signature, self.now)?;
                return Ok(Signature::Trusted { key });
            }
            let key = signed_by(text, signature)?;
            match &self.key {
                None => Ok(Signature::Unknown { key }),
                Some(wanted) if *wanted == key => Ok(Signature::Trusted { key }),
                Some(_) => Err(SignatureError::Untrusted {
                    fingerprint: key,
                    principal: machine.to_owned(),
                    why: None,
                }),
            }
        }
    }
}

#[cfg(not(feature = "offsite"))]
mod keys {
    use super::*;

    pub(crate) fn refused(key: &str) -> anyhow::Error {
        Failure::usage(format!(
            "[archive] {key}: this build of state knows no keys"
        ))
        .hint("use a state that was built with the feature `offsite`")
        .into()
    }

    /// What signs this machine's archives: nothing can.
    #[derive(Debug)]
    pub(crate) enum Seal {}

    impl Seal {
        /// Refuses a key that cannot be used.
        pub(crate) fn of(_: &Context, settings: &Settings) -> anyhow::Result<Option<Self>> {
            match settings.archive.sign_with {
                Some(_) => Err(refused("sign-with")),
                None => Ok(None),
            }
        }

        pub(crate) fn fingerprint(&self) -> String {
            match *self {}
        }

        pub(crate) fn public(&self, _: &str) -> anyhow::Result<(String, String)> {
            match *self {}
        }

        pub(crate) fn sign(&self, _: &str) -> Result<String> {
            match *self {}
        }
    }

    /// Whom to believe: nobody.
    #[derive(Debug)]
    pub(crate) struct Trust;

    impl Trust {
        /// Refuses keys that cannot be used.
        pub(crate) fn of(_: &Context, settings: &Settings, which: &Which) -> anyhow::Result<Self> {
            let named = which.trust_key.is_some() || which.trusted_signers.is_some();
            match named || settings.archive.trusted_signers.is_some() {
                true => Err(refused("trusted-signers")),
                false => Ok(Self),
            }
        }

        pub(crate) fn names_somebody(&self) -> bool {
            false
        }

        pub(crate) fn believed(&self, _: &str, _: &str) -> Option<Believed> {
            None
        }

        pub(crate) fn judge(&self, _: &str, _: &str, signature: Option<&str>) -> Signature {
            match signature {
                None => Signature::Unsigned,
                Some(_) => Signature::Unchecked,
            }
        }
    }
}

#[cfg(not(feature = "offsite"))]
pub(crate) use keys::refused;
pub(crate) use keys::{Seal, Trust};

impl Trust {
    /// Checks the signature of one archive.
    pub(crate) fn look(&self, target: &dyn Target, label: &Label) -> Result<Signature> {
        let signature = signature(target, label)?;
        let text = signature.as_ref().map(|text| String::from_utf8_lossy(text));
        Ok(self.judge(&label.machine, &label.to_text(), text.as_deref()))
    }
}

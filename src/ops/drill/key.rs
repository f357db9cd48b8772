//! The drill recipient: one more key that archives are encrypted to, so that a machine that has
//! only public keys can prove a restore by itself.
//!
//! It is made anew with each full archive and lies in the store, for root alone: it opens the
//! archives of that chain and no others. It is in no archive, as nothing in `.state` is.

use crate::archive::label::Label;
use crate::context::Context;
use crate::ops::encryption::{key_pairs, new_key};
use crate::settings::Settings;
use crate::whole;
use anyhow::Result;
use state_api::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Where it is in the first store that is archived.
const FILE: &str = ".state/drill.key";
/// So many are kept when full archives do not get everywhere; the newest first.
const MOST: usize = 10;

/// The keys for drills that this machine has.
#[derive(Debug, Default)]
pub(in crate::ops) struct DrillKeys {
    /// The file, where archives are to be encrypted to one.
    file: Option<PathBuf>,
    /// The identities in it, and their recipients.
    keys: Vec<(String, String)>,
    /// The file that is there although no archive is to be encrypted to such a key any more.
    stale: Option<PathBuf>,
}

/// The file with the keys for drills, whether it is there or not.
pub(in crate::ops) fn file(cx: &Context, settings: &Settings) -> Option<PathBuf> {
    let store = settings.first_archived()?;
    Some(cx.rooted(store).join(FILE))
}

impl DrillKeys {
    /// Those in the store, if `[drill] recipient` asks for one and archives are encrypted at all.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub(in crate::ops) fn of(cx: &Context, settings: &Settings) -> Result<Self> {
        let is_wanted = settings.drill.recipient && !settings.archive.encrypt_to.is_empty();
        let Some(file) = file(cx, settings) else {
            return Ok(Self::default());
        };
        if !is_wanted {
            return Ok(Self {
                stale: file.exists().then_some(file),
                ..Self::default()
            });
        }
        let text = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|e| Error::os(format!("reading {}", file.display()), e))?,
        };
        let keys = key_pairs(&text);
        Ok(Self {
            file: Some(file),
            keys,
            stale: None,
        })
    }

    /// Whether the next archive may build on one with these recipients: those that are configured,
    /// and one of ours exactly where one is wanted.
    pub(in crate::ops) fn continues(&self, configured: &[String], label: &Label) -> bool {
        match (&self.file, label.recipients.strip_prefix(configured)) {
            (None, Some([])) => true,
            (Some(_), Some([added])) => self.keys.iter().any(|(_, key)| key == added),
            _ => false,
        }
    }

    /// The recipient for the next archive, if one is wanted: that of the chain which it continues;
    /// for a full one a new one, whose key is on the disk before anything is encrypted to it.
    ///
    /// # Errors
    /// The new key cannot be written.
    pub(in crate::ops) fn next(&mut self, on: Option<&Label>) -> Result<Option<String>> {
        let Some(file) = &self.file else {
            return Ok(None);
        };
        if let Some(label) = on {
            let is_ours = |key: &&String| self.keys.iter().any(|(_, ours)| ours == *key);
            return Ok(label.recipients.last().filter(is_ours).cloned());
        }
        let (secret, recipient) = new_key()?;
        self.keys.insert(0, (secret, recipient.clone()));
        self.keys.truncate(MOST);
        write(file, &self.keys)?;
        Ok(Some(recipient))
    }

    /// A full archive is everywhere, encrypted to this one of ours: the keys of older chains go.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(in crate::ops) fn settle(&mut self, recipient: Option<&str>) -> Result<()> {
        if let Some(stale) = &self.stale {
            let gone = std::fs::remove_file(stale);
            gone.map_err(|error| Error::os(format!("deleting {}", stale.display()), error))?;
        }
        self.keys.retain(|(_, key)| Some(key.as_str()) == recipient);
        match &self.file {
            Some(file) if recipient.is_some() => write(file, &self.keys),
            _ => Ok(()),
        }
    }
}

fn write(file: &Path, keys: &[(String, String)]) -> Result<()> {
    let mut text = String::from("# Opens the archives of the last chain, for `state drill`.\n");
    for (secret, recipient) in keys {
        text += &format!("# public key: {recipient}\n{secret}\n");
    }
    Ok(whole::replace(file, 0o600, text.as_bytes())
        .map_err(|error| Error::os(format!("writing {}", file.display()), error))?)
}

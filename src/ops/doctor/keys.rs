//! Keys of archives: who could read them, and whether their signatures would be believed.

use super::{Facts, Finding, Severity};
use crate::context::Context;
use crate::failure::message;
use crate::ops::archives::{Which, machine_name};
use crate::ops::encryption::Encryption;
use crate::ops::keyring::Keyring;
use crate::ops::seal::{Believed, Seal, Trust};
use crate::paths::Shown;
use crate::settings::Settings;
use chrono::{DateTime, TimeDelta, Utc};
use std::path::PathBuf;

const CHECK: &str = "keys";
/// How long before a key ceases to be believed that is said.
const SOON: TimeDelta = TimeDelta::days(30);

/// What the keys are. What cannot be used says why.
#[derive(Debug)]
pub(in crate::ops) struct Keys {
    /// Why archives cannot be encrypted as is wanted.
    pub(in crate::ops) locked_out: Option<String>,
    /// The key that signs, if there is to be one.
    pub(in crate::ops) signs: Option<Result<String, String>>,
    /// What the list of those who are believed says of that key, if there is a list.
    pub(in crate::ops) believed: Option<Result<Believed, String>>,
    /// The key on this machine that opens archives, if there is one, and why it is of no use.
    pub(in crate::ops) identity: Option<(PathBuf, Option<String>)>,
}

/// Looks at the keys that making archives, and reading them here, would use.
pub(super) fn look(cx: &Context, settings: &Settings) -> Option<Keys> {
    if settings.target.is_empty() {
        return None;
    }
    let settings = &in_stores(cx, settings);
    let archive = &settings.archive;
    let encryption = Encryption::of(cx, settings);
    let signs = match Seal::of(cx, settings) {
        Ok(seal) => seal.map(|seal| Ok(seal.fingerprint())),
        Err(error) => Some(Err(message(&error))),
    };
    let believed = || -> anyhow::Result<Option<Believed>> {
        let (trust, machine) = (
            Trust::of(cx, settings, &Which::default())?,
            machine_name(cx, settings)?,
        );
        let key = signs.as_ref().and_then(|key| key.as_deref().ok());
        Ok(trust.believed(&machine, key.unwrap_or_default()))
    };
    let identity = archive.identity_file.as_ref().map(|file| {
        let recipients = encryption.as_ref().map_or(&[][..], Encryption::recipients);
        let keys = Keyring::default().with(cx, settings);
        (file.clone(), keys.lacks(recipients))
    });
    Some(Keys {
        believed: believed().map_err(|error| message(&error)).transpose(),
        locked_out: encryption.err().map(|error| message(&error)),
        signs,
        identity,
    })
}

/// On a machine that is looked at from outside entries are not in place: such keys are read where
/// their stores have them.
fn in_stores(cx: &Context, settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    let archive = &mut settings.archive;
    let files = [&mut archive.sign_with, &mut archive.trusted_signers];
    for file in files.into_iter().flatten() {
        let inside = file.strip_prefix("/").unwrap_or(file).to_owned();
        let mut copies = settings.persist.keys().map(|store| store.join(&inside));
        if !cx.rooted(&*file).exists()
            && let Some(copy) = copies.find(|copy| cx.rooted(copy).exists())
        {
            *file = copy;
        }
    }
    settings
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let (settings, keys) = (&facts.config.as_ref().ok()?.settings, facts.keys.as_ref()?);
    let mut findings = Vec::new();
    let mut find = |severity, fact: String, cure: &str| {
        findings.push(Finding::new(CHECK, severity, fact).cure(cure));
    };
    // Whoever keeps what is not on a disk of this machine is somebody else.
    let mut targets = settings.target.iter();
    let remote = targets.find(|(_, target)| !target.url.starts_with("file://"));
    if let (Some((name, _)), true) = (remote, settings.archive.encrypt_to.is_empty()) {
        find(
            Severity::Warn,
            format!("archives at {name} are not encrypted: whoever can read there reads them"),
            "add [archive] encrypt-to: docs/keys.md",
        );
    }
    if let Some(why) = &keys.locked_out {
        find(
            Severity::Bad,
            format!("no backup can be made: {why}"),
            "`age-keygen -y FILE` prints the recipient of a key: docs/keys.md",
        );
    }
    match &keys.signs {
        None => find(
            match remote {
                Some(_) => Severity::Warn,
                None => Severity::Note,
            },
            "archives are not signed: whoever can write to the target can put others there".into(),
            "add [archive] sign-with: docs/keys.md",
        ),
        Some(Err(why)) => find(
            Severity::Bad,
            format!("no backup can be made: {why}"),
            "[archive] sign-with names an OpenSSH key of type ed25519 without a passphrase",
        ),
        Some(Ok(key)) => believed(keys, key, facts.now, &mut find),
    }
    if let Some((file, why)) = &keys.identity {
        let file = Shown(file);
        match why {
            Some(why) => find(
                Severity::Warn,
                format!("the key that should open archives here does not: {file}: {why}"),
                "archives can only be read where a key of one of their recipients is",
            ),
            None => find(
                Severity::Note,
                format!("{file} opens archives: whoever takes this machine has the key to them"),
                "keep it elsewhere, and name it with --identity when it is needed",
            ),
        }
    }
    Some(findings)
}

/// Whether a restore here would believe what the machine signs.
fn believed(
    keys: &Keys,
    key: &str,
    now: DateTime<Utc>,
    find: &mut dyn FnMut(Severity, String, &str),
) {
    const NEW: &str = "add a line for the machine's new key to the list: docs/keys.md";
    match &keys.believed {
        None => find(
            Severity::Note,
            "nothing says whose signatures are believed: a restore asks whose key it is".into(),
            "add [archive] trusted-signers, and commit that list to your configuration",
        ),
        Some(Err(why)) => find(
            Severity::Warn,
            format!("every restore here would be refused: {why}"),
            "[archive] trusted-signers names a file like those of ssh-keygen(1)",
        ),
        Some(Ok(list)) => {
            for line in &list.strange {
                find(
                    Severity::Warn,
                    format!("the list of trusted signers, {line}: it makes nobody trusted"),
                    "see ALLOWED SIGNERS in ssh-keygen(1)",
                );
            }
            match list.until {
                None => find(
                    Severity::Warn,
                    format!("the list of trusted signers does not know {key}, which signs here"),
                    NEW,
                ),
                Some(until) if until < now => find(
                    Severity::Warn,
                    format!(
                        "{key}, which signs here, was believed until {}",
                        until.date_naive()
                    ),
                    NEW,
                ),
                Some(until) if until - now < SOON => find(
                    Severity::Warn,
                    format!(
                        "{key}, which signs here, is believed only until {}",
                        until.date_naive()
                    ),
                    NEW,
                ),
                Some(_) => {}
            }
        }
    }
}

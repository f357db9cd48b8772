//! Whether a drill can be done here, so that nobody has to think of it.

use super::{Facts, Finding, Severity};
use crate::context::Context;
use crate::ops::drill::key;
use crate::paths::Shown;
use crate::settings::Settings;
use std::path::PathBuf;

const CHECK: &str = "drill";

/// What is known of the keys that a drill would use.
#[derive(Debug)]
pub(in crate::ops) struct Drill {
    /// The file with the keys for drills, if it is there.
    pub(in crate::ops) own_key: Option<PathBuf>,
}

/// Looks for the key; nothing where no archives are made.
pub(super) fn look(cx: &Context, settings: &Settings) -> Option<Drill> {
    let has_targets = !settings.target.is_empty();
    has_targets.then(|| Drill {
        own_key: key::file(cx, settings).filter(|file| file.exists()),
    })
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let settings = &facts.config.as_ref().ok()?.settings;
    let drill = facts.drill.as_ref()?;
    let is_encrypted = !settings.archive.encrypt_to.is_empty();
    let has_identity = settings.archive.identity_file.is_some();
    // Where it is asked for, that it cannot be done ends in a `status` that wants attention.
    let severity = match settings.drill.max_age {
        Some(_) => Severity::Warn,
        None => Severity::Note,
    };
    let finding = match (&drill.own_key, settings.drill.recipient) {
        _ if !is_encrypted && settings.drill.recipient => Some((
            Severity::Note,
            "[drill] recipient does nothing: archives are not encrypted".to_owned(),
            "leave it out, or add [archive] encrypt-to: docs/keys.md",
        )),
        _ if !is_encrypted => None,
        (Some(file), true) => Some((
            Severity::Note,
            format!(
                "{} opens the archives of the last chain: whoever takes this machine has that key",
                Shown(file)
            ),
            "that is what lets a drill run by itself: docs/keys.md",
        )),
        (None, true) if !has_identity => Some((
            severity,
            "no drill can be done here yet: the key for drills comes with the next full archive"
                .to_owned(),
            "`state backup --full`",
        )),
        (_, false) if !has_identity => Some((
            severity,
            "no drill can be done here: no key on this machine opens its archives".to_owned(),
            "set recipient = true in [drill], or run `state drill --identity FILE` where your key is",
        )),
        _ => None,
    };
    let findings = finding.into_iter();
    Some(
        findings
            .map(|(severity, fact, cure)| Finding::new(CHECK, severity, fact).cure(cure))
            .collect(),
    )
}

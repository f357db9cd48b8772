//! Finding one archive, at whichever target has it.

use super::{Which, machine_of, none, targets};
use crate::archive::label::{Id, Label};
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use crate::context::Context;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::ops::chain::Parents;
use crate::ops::keyring::Keys;
use crate::ops::seal::{Signature, Trust};
use crate::settings::Settings;
use crate::target::catalog::Catalog;
use crate::target::{self, Target};

/// An archive that was chosen, and where it is.
pub(crate) struct Found {
    /// The target's name or URL.
    pub(crate) name: String,
    pub(crate) target: Box<dyn Target>,
    pub(crate) label: Label,
    /// The machine's archives there, those that it builds on among them.
    pub(crate) catalog: Catalog,
    /// The targets that could not be looked at, for those who were told to take the newest.
    pub(crate) notes: Vec<String>,
    keys: Keys,
}

impl Found {
    /// Who vouches for it.
    pub(crate) fn signature(
        &self,
        cx: &Context,
        settings: &Settings,
        which: &Which,
    ) -> anyhow::Result<Signature> {
        let trust = Trust::of(cx, settings, which)?;
        Ok(trust.look(self.target.as_ref(), &self.label)?)
    }

    /// The archives it builds on, of those that were listed when it was found.
    pub(crate) fn parents(&self) -> anyhow::Result<Parents<'_>> {
        let labels = &self.catalog.labels;
        Parents::among(labels, &self.keys, self.target.as_ref(), &self.label)
    }

    /// Its data, decrypted if it is encrypted.
    pub(crate) fn data(&self) -> Result<Box<dyn Source + '_>> {
        self.keys.data(self.target.as_ref(), &self.label)
    }
}

/// Finds the archive `id` (or `latest`) of a machine, at the first target that has it; the newest
/// over all targets for `latest`. A target that cannot be looked at may have a newer one: that is
/// noted and, where the ledger says that it has, refused.
pub(crate) fn find(
    cx: &Context,
    settings: &Settings,
    which: &Which,
    id: &str,
) -> anyhow::Result<Found> {
    find_in(cx, settings, which, id, Catalog::read)
}

/// The same for those who want this archive and nothing else: of the others, its catalog has no more than it
/// takes to know that it is the one.
pub(crate) fn find_alone(
    cx: &Context,
    settings: &Settings,
    which: &Which,
    id: &str,
) -> anyhow::Result<Found> {
    match id {
        "latest" => find_in(cx, settings, which, id, Catalog::read_newest),
        _ => find(cx, settings, which, id),
    }
}

fn find_in(
    cx: &Context,
    settings: &Settings,
    which: &Which,
    id: &str,
    read_catalog: impl Fn(&dyn Target, &str) -> Result<Catalog>,
) -> anyhow::Result<Found> {
    let machine = machine_of(cx, settings, which)?;
    let keys = which.keyring.with(cx, settings);
    let mut found: Option<Found> = None;
    let mut unreachable: Vec<(String, Error)> = Vec::new();
    let mut unusable: Option<(Id, Error)> = None;
    let mut machines = Vec::new();
    for name in targets(settings, which.from.as_deref())? {
        let read = target::open(settings, &name).and_then(|target| {
            let catalog = read_catalog(target.as_ref(), &machine)?;
            Ok((target, catalog))
        });
        let (target, catalog) = match read {
            Ok(read) => read,
            Err(error) => {
                unreachable.push((name, error));
                continue;
            }
        };
        let label = match catalog.find(id) {
            Ok(label) => Some(label.clone()),
            Err(Error::Missing { .. }) => None,
            // Another target may have the same one whole.
            Err(error) => {
                let newest = catalog
                    .ids()
                    .max()
                    .filter(|newest| unusable.as_ref().is_none_or(|(before, _)| before < newest));
                if let Some(newest) = newest {
                    unusable = Some((newest, error));
                }
                continue;
            }
        };
        let Some(label) = label else {
            let all = target::by_machine(target.list("").unwrap_or_default());
            machines.extend(all.into_keys());
            continue;
        };
        if found.as_ref().is_none_or(|found| found.label.id < label.id) {
            found = Some(Found {
                name,
                target,
                label,
                catalog,
                notes: Vec::new(),
                keys: keys.clone(),
            });
        }
    }
    if let Some((newest, error)) = unusable
        && found
            .as_ref()
            .is_none_or(|found| id == "latest" && found.label.id < newest)
    {
        return Err(error.into());
    }
    match (found, unreachable.pop()) {
        (Some(found), None) => Ok(found),
        (Some(mut found), Some(last)) => {
            unreachable.push(last);
            if id == "latest" {
                refuse_older(cx, settings, &found, &unreachable)?;
                found.notes.extend(unreachable.iter().map(|(name, error)| {
                    format!(
                        "{name} may have a newer one, and was not looked at: {}",
                        error.told()
                    )
                }));
            }
            Ok(found)
        }
        (None, Some((_, error))) => Err(error.into()),
        (None, None) => {
            let failure = none(&machine, Some(id).filter(|id| *id != "latest"));
            machines.retain(|other| *other != machine);
            machines.dedup();
            Err(match machines.is_empty() {
                true => failure,
                false => failure.hint(format!(
                    "there are archives of {}: choose with --machine",
                    machines.join(", ")
                )),
            }
            .into())
        }
    }
}

/// An older archive is never taken for the newest: not where this machine knows that it published
/// a newer one at a target that cannot be looked at now.
fn refuse_older(
    cx: &Context,
    settings: &Settings,
    found: &Found,
    unreachable: &[(String, Error)],
) -> anyhow::Result<()> {
    let (machine, older) = (&found.label.machine, found.label.id.as_str());
    // Without a ledger nothing is known: it is noted.
    let ledger = Ledger::read(cx, settings).unwrap_or_default();
    let newer = ledger.archives.iter().filter(|entry| {
        let is_sound = entry.is_complete && entry.damaged.is_none();
        is_sound && entry.machine == *machine && entry.id.as_str() > older
    });
    let there = newer.filter_map(|entry| {
        let (_, error) = unreachable.iter().find(|(name, _)| *name == entry.target)?;
        Some((entry, error))
    });
    match there.max_by(|(a, _), (b, _)| a.id.cmp(&b.id)) {
        None => Ok(()),
        Some((newest, error)) => Err(Failure::refused(format!(
            "the newest archive of {machine}, {}, is at {}, which cannot be looked at: {}",
            newest.id,
            newest.target,
            error.told()
        ))
        .hint(format!(
            "make that target reachable; or take the older one from {}: --archive {older}",
            found.name
        ))
        .into()),
    }
}

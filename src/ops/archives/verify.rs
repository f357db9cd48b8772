//! `state archives verify`: reading archives to their last byte.

use super::{Listed, Odd, Which, machine_of, none, settings, targets};
use crate::archive::label::Label;
use crate::archive::{Error, chain};
use crate::context::Context;
use crate::ledger::Ledger;
use crate::ops::backup::write_metrics;
use crate::ops::chain::Parents;
use crate::ops::keyring::Keys;
use crate::ops::seal::{Signature, Trust};
use crate::progress::{Progress, Total, Unit};
use crate::target::catalog::Catalog;
use crate::target::{self, Target};
use serde::Serialize;
use state_linux::confine::confined;
use std::collections::BTreeSet;

/// What became of verifying archives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// One after the other.
    pub archives: Vec<Verdict>,
    /// Labels that cannot be used where an archive was to be verified.
    pub unreadable: Vec<Unreadable>,
    /// Why the ledger does not say that they were verified.
    pub unnoted: Option<String>,
}

/// A label that cannot be used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unreadable {
    /// What is the matter with which object.
    #[serde(flatten)]
    pub odd: Odd,
    /// Whether a later version of `state` made it; else it is damaged.
    pub is_newer: bool,
}

/// One archive, verified.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The archive.
    pub archive: Listed,
    /// What is wrong with it.
    pub damage: Option<String>,
    /// Why nobody knows: no key opens it. Only where all archives are meant; else it is a failure.
    pub locked: Option<String>,
}

/// Reads archives to their last byte and compares everything with everything else. `id` names
/// one; by default the newest of each target.
///
/// # Errors
/// There is none, a target cannot be reached, or the run was interrupted. Damage is in the
/// report.
pub fn verify(
    cx: &Context,
    which: &Which,
    id: Option<&str>,
    all: bool,
    progress: &dyn Progress,
) -> anyhow::Result<Verified> {
    let settings = settings(cx, which)?;
    let machine = machine_of(cx, &settings, which)?;
    let trust = Trust::of(cx, &settings, which)?;
    let keys = which.keyring.with(cx, &settings);
    let mut verified = Verified {
        archives: Vec::new(),
        unreadable: Vec::new(),
        unnoted: None,
    };
    for name in targets(&settings, which.from.as_deref())? {
        let target = target::open(&settings, &name)?;
        let catalog = Catalog::read(target.as_ref(), &machine)?;
        let labels: Vec<&Label> = match id {
            Some(id) => match catalog.find(id) {
                Ok(label) => vec![label],
                Err(Error::Missing { .. }) => Vec::new(),
                Err(error) => return Err(error.into()),
            },
            None if all => catalog.labels.iter().collect(),
            None => catalog.labels.last().into_iter().collect(),
        };
        if id.is_none() {
            let newest = labels.last().map(|label| label.name());
            let is_meant = |object: &String| all || newest.as_ref().is_none_or(|n| n < object);
            let unreadable = catalog.unreadable.iter().filter(|(name, _)| is_meant(name));
            verified
                .unreadable
                .extend(unreadable.map(|(object, error)| Unreadable {
                    odd: Odd {
                        target: name.clone(),
                        object: Some(object.clone()),
                        why: error.told(),
                    },
                    is_newer: matches!(error, Error::Newer { .. }),
                }));
        }
        let mut bad = BTreeSet::new();
        let mut proven = Vec::new();
        let mut damaged = Vec::new();
        for label in with_parents(&catalog, labels) {
            let signature = trust.look(target.as_ref(), label)?;
            if let Signature::Refused { .. } = signature {
                verified.archives.push(Verdict {
                    archive: Listed::of(&name, &catalog, label, signature),
                    damage: None,
                    locked: None,
                });
                continue; // what somebody else made is not read
            }
            let doing = format!("verifying {}", label.id);
            progress.begin(&doing, Unit::Bytes, Total::Is(label.totals.bytes));
            let damage = verify_one(cx, &keys, target.as_ref(), label, progress);
            progress.end();
            let on_bad = label.parent.as_ref().filter(|parent| bad.contains(parent));
            let damage = match damage.map_err(|error| error.downcast::<Error>()) {
                Ok(()) => on_bad.map(|parent| format!("it builds on {parent}, which is damaged")),
                Err(Ok(error @ Error::Newer { .. })) => {
                    verified.unreadable.push(Unreadable {
                        odd: Odd {
                            target: name.clone(),
                            object: Some(label.data_name()),
                            why: error.told(),
                        },
                        is_newer: true,
                    });
                    continue;
                }
                Err(Ok(error @ (Error::Damaged { .. } | Error::Missing { .. }))) => {
                    Some(error.told())
                }
                // Those that are older or newer may have been made for other keys.
                Err(Ok(error @ Error::Key { .. })) if all => {
                    verified.archives.push(Verdict {
                        archive: Listed::of(&name, &catalog, label, signature),
                        damage: None,
                        locked: Some(error.told()),
                    });
                    continue;
                }
                Err(Ok(error)) => return Err(error.into()),
                Err(Err(error)) => return Err(error),
            };
            match damage {
                Some(_) => {
                    bad.insert(&label.id);
                    damaged.push(label);
                }
                None => proven.push(label),
            }
            verified.archives.push(Verdict {
                archive: Listed::of(&name, &catalog, label, signature),
                damage,
                locked: None,
            });
        }
        let noted = Ledger::change(cx, &settings, |ledger| {
            proven
                .iter()
                .for_each(|label| ledger.read_back(&name, label, cx.now));
            damaged
                .iter()
                .for_each(|label| ledger.damaged(&name, label, cx.now));
        });
        let noted = noted.map_err(anyhow::Error::from);
        let noted = noted.and_then(|ledger| write_metrics(cx, &settings, &ledger));
        if let Err(error) = noted {
            verified.unnoted = Some(crate::failure::message(&error));
        }
    }
    if verified.archives.is_empty() && verified.unreadable.is_empty() {
        return Err(none(&machine, id).into());
    }
    Ok(verified)
}

/// These archives, each after those it builds on.
fn with_parents<'a>(catalog: &'a Catalog, labels: Vec<&'a Label>) -> Vec<&'a Label> {
    let mut all: Vec<&Label> = Vec::new();
    for label in labels {
        // That one is missing is found out when it is needed.
        let parents = chain::parents(&catalog.labels, label).unwrap_or_default();
        for label in parents.into_iter().chain([label]) {
            if !all.iter().any(|there| there.id == label.id) {
                all.push(label);
            }
        }
    }
    all
}

fn verify_one(
    cx: &Context,
    keys: &Keys,
    target: &dyn Target,
    label: &Label,
    progress: &dyn Progress,
) -> anyhow::Result<()> {
    let parents = Parents::of(keys, target, label)?;
    let source = keys.data(target, label)?;
    let archive = parents.open(source.as_ref(), label)?;
    // Nothing is written: what an archive makes its reader do, it cannot do to the machine.
    Ok(confined(None, |_| {
        let mut seen = 0;
        archive.verify(cx.interrupt, &mut |now| {
            progress.advance(now.bytes - seen);
            progress.see(now.entries, now.path);
            seen = now.bytes;
        })
    })?)
}

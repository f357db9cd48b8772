//! `state archives`: what there is at the targets, and whether it is whole.

use super::chain::Parents;
use super::keyring::{Keyring, Keys};
use super::seal::{Signature, Trust};
use crate::archive::label::{Id, Label, check_machine};
use crate::archive::read::{Archive, Source};
use crate::archive::{Error, chain, machine};
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::ledger::Ledger;
use crate::progress::{Progress, Unit};
use crate::settings::Settings;
use crate::target::catalog::Catalog;
use crate::target::{self, Target};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use state_linux::confine::confined;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Which archives are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// A target, by name or URL; by default all that are configured.
    pub from: Option<String>,
    /// A machine; by default this one.
    pub machine: Option<String>,
    /// The fingerprint of the key whose signatures are believed, whatever the settings say.
    pub trust_key: Option<String>,
    /// A list of keys that are believed, instead of that of the settings.
    pub trusted_signers: Option<PathBuf>,
    /// What opens encrypted archives.
    pub keyring: Keyring,
}

/// An archive as its label describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The target's name or URL.
    pub target: String,
    /// The machine.
    pub machine: String,
    /// The archive's id.
    pub id: String,
    /// The archive it builds on.
    pub parent: Option<String>,
    /// Its place in its chain: 0 is a full archive.
    pub position: u64,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Whether everything that should be in it is.
    pub is_complete: bool,
    /// What is wrong with its data, as far as can be seen without reading it.
    pub broken: Option<String>,
    /// The public keys that it is encrypted to.
    pub encrypted_to: Vec<String>,
    /// Who vouches for it.
    pub signature: Signature,
    /// The commit of the machine's configuration.
    pub commit: Option<String>,
    /// Whether the configuration's work tree differed from it.
    pub is_dirty: bool,
    /// How many entries it has.
    pub entries: u64,
    /// The size of its content.
    pub bytes: u64,
    /// Its size as stored.
    pub data_bytes: u64,
}

impl Listed {
    fn of(target: &str, catalog: &Catalog, label: &Label, signature: Signature) -> Self {
        Self {
            target: target.to_owned(),
            machine: label.machine.clone(),
            id: label.id.to_string(),
            parent: label.parent.as_ref().map(ToString::to_string),
            position: label.position,
            time: label.time,
            is_complete: label.is_complete,
            broken: catalog.broken.get(&label.id).cloned(),
            encrypted_to: label.recipients.clone(),
            signature,
            commit: label.commit.clone(),
            is_dirty: label.is_dirty,
            entries: label.totals.entries,
            bytes: label.totals.bytes,
            data_bytes: label.data_bytes,
        }
    }
}

/// Something at a target that is no archive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Odd {
    /// The target.
    pub target: String,
    /// The object, if it is about one.
    pub object: Option<String>,
    /// What is the matter with it.
    pub why: String,
}

/// The archives there are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List {
    /// Oldest first, target by target.
    pub archives: Vec<Listed>,
    /// Labels that cannot be used, what interrupted runs left, targets that cannot be reached.
    pub odd: Vec<Odd>,
}

/// Lists the archives of a machine.
///
/// # Errors
/// No target can be reached.
pub fn list(cx: &Context, which: &Which) -> anyhow::Result<List> {
    let settings = settings(cx, which.from.as_deref())?;
    let mut list = List {
        archives: Vec::new(),
        odd: Vec::new(),
    };
    let targets = targets(&settings, which.from.as_deref())?;
    let machine = machine_of(cx, &settings, which)?;
    let trust = Trust::of(cx, &settings, which)?;
    // What it cannot say counts as not known.
    let ledger = Ledger::read(cx, &settings).unwrap_or_default();
    let mut failures = Vec::new();
    for name in &targets {
        let read = target::open(&settings, name).and_then(|target| {
            let mut catalog = Catalog::read(target.as_ref(), &machine)?;
            catalog.distrust(|label| ledger.is_damaged(name, label.id.as_str()));
            list.add(name, target.as_ref(), &catalog, &trust)
        });
        match read {
            Ok(()) => {}
            Err(error) => {
                list.odd.push(Odd {
                    target: name.clone(),
                    object: None,
                    why: error.told(),
                });
                failures.push(error);
            }
        }
    }
    match failures.pop() {
        Some(error) if failures.len() + 1 == targets.len() => Err(error.into()),
        _ => Ok(list),
    }
}

impl List {
    fn add(
        &mut self,
        target: &str,
        at: &dyn Target,
        catalog: &Catalog,
        trust: &Trust,
    ) -> crate::archive::Result<()> {
        for label in &catalog.labels {
            let signature = trust.look(at, label)?;
            self.archives
                .push(Listed::of(target, catalog, label, signature));
        }
        for (name, error) in &catalog.unreadable {
            self.odd.push(Odd {
                target: target.to_owned(),
                object: Some(name.clone()),
                why: error.told(),
            });
        }
        for object in &catalog.leftovers {
            self.odd.push(Odd {
                target: target.to_owned(),
                object: Some(object.name.clone()),
                why: "an interrupted backup left it; the next one removes it".into(),
            });
        }
        Ok(())
    }
}

/// One archive in full.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Show {
    /// Its label.
    pub archive: Listed,
    /// What machine and moment it is of.
    pub machine: machine::Machine,
    /// What should be in it and could not be had.
    pub incomplete: Vec<super::backup::Shortcoming>,
    /// What was left out on purpose.
    pub left_out: Vec<super::backup::Shortcoming>,
}

/// Shows one archive.
///
/// # Errors
/// There is none of that name, or it is damaged.
pub fn show(cx: &Context, which: &Which, id: &str) -> anyhow::Result<Show> {
    let settings = settings(cx, which.from.as_deref())?;
    let found = find(cx, &settings, which, id)?;
    let signature = found.signature(cx, &settings, which)?;
    signature.check(found.label.id.as_str())?;
    let source = found.data()?;
    let archive = Archive::open(source.as_ref(), &found.label)?;
    let index = archive.index();
    Ok(Show {
        archive: Listed::of(&found.name, &found.catalog, &found.label, signature),
        machine: archive.machine().clone(),
        incomplete: index.incomplete.iter().map(Into::into).collect(),
        left_out: index.left_out.iter().map(Into::into).collect(),
    })
}

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
    let settings = settings(cx, which.from.as_deref())?;
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
                });
                continue; // what somebody else made is not read
            }
            let doing = format!("verifying {}", label.id);
            progress.begin(&doing, Unit::Bytes, Some(label.totals.bytes));
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
        let noted = noted.and_then(|ledger| super::backup::write_metrics(cx, &settings, &ledger));
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

fn none(machine: &str, id: Option<&str>) -> Failure {
    let what = id.map_or("an archive".to_owned(), |id| format!("the archive {id}"));
    Failure::new(
        Class::NoSuchArchive,
        format!("{what} of {machine} does not exist"),
    )
    .hint("`state archives list --machines` shows what there is")
}

/// An archive that was chosen, and where it is.
pub(crate) struct Found {
    /// The target's name or URL.
    pub(crate) name: String,
    pub(crate) target: Box<dyn Target>,
    pub(crate) label: Label,
    pub(crate) catalog: Catalog,
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

    /// The archives it builds on.
    pub(crate) fn parents(&self) -> anyhow::Result<Parents<'_>> {
        Parents::of(&self.keys, self.target.as_ref(), &self.label)
    }

    /// Its data, decrypted if it is encrypted.
    pub(crate) fn data(&self) -> crate::archive::Result<Box<dyn Source + '_>> {
        self.keys.data(self.target.as_ref(), &self.label)
    }
}

/// Finds the archive `id` (or `latest`) of a machine, at the first target that has it; the newest
/// over all targets for `latest`.
pub(crate) fn find(
    cx: &Context,
    settings: &Settings,
    which: &Which,
    id: &str,
) -> anyhow::Result<Found> {
    let machine = machine_of(cx, settings, which)?;
    let keys = which.keyring.with(cx, settings);
    let mut found: Option<Found> = None;
    let mut unreachable = None;
    let mut unusable: Option<(Id, Error)> = None;
    let mut machines = Vec::new();
    for name in targets(settings, which.from.as_deref())? {
        let read = target::open(settings, &name).and_then(|target| {
            let catalog = Catalog::read(target.as_ref(), &machine)?;
            Ok((target, catalog))
        });
        let (target, catalog) = match read {
            Ok(read) => read,
            Err(error) => {
                unreachable = Some(error);
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
    match (found, unreachable) {
        (Some(found), _) => Ok(found),
        (None, Some(error)) => Err(error.into()),
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

pub(crate) fn machine_of(
    cx: &Context,
    settings: &Settings,
    which: &Which,
) -> anyhow::Result<String> {
    match &which.machine {
        Some(machine) => {
            check_machine(machine).map_err(Failure::usage)?;
            Ok(machine.clone())
        }
        None => machine_name(cx, settings),
    }
}

/// The targets that are meant.
pub(crate) fn targets(settings: &Settings, from: Option<&str>) -> anyhow::Result<Vec<String>> {
    let targets: Vec<String> = match from {
        Some(name) => vec![name.to_owned()],
        None => target::configured(settings).map(str::to_owned).collect(),
    };
    if targets.is_empty() {
        return Err(Failure::usage("there is no target to look for archives at")
            .hint("add [target.NAME] with a url, or name one: --from file:///mnt/usb/state")
            .into());
    }
    Ok(targets)
}

/// The settings; none are needed where the target is a URL, as on a machine that is not there
/// yet.
pub(crate) fn settings(cx: &Context, from: Option<&str>) -> anyhow::Result<Settings> {
    let is_url = from.is_some_and(|from| from.contains("://"));
    match config::load(cx) {
        Err(_) if is_url && cx.config_file.is_none() => Ok(Settings::default()),
        settings => settings,
    }
}

/// The machine's name in archives.
///
/// # Errors
/// It has none, or one that is no name.
pub(crate) fn machine_name(cx: &Context, settings: &Settings) -> anyhow::Result<String> {
    let name = match &settings.machine.name {
        Some(name) => name.clone(),
        None => match std::fs::read_to_string(cx.rooted("/etc/hostname")) {
            Ok(text) => text.trim().to_owned(),
            Err(_) if cx.root_dir == Path::new("/") => {
                let uname = rustix::system::uname();
                uname
                    .nodename()
                    .to_str()
                    .context("reading the host name")?
                    .to_owned()
            }
            Err(_) => String::new(),
        },
    };
    check_machine(&name).map_err(|why| {
        let fact = match name.is_empty() {
            true => "this machine has no name: no [machine] name and no host name".to_owned(),
            false => format!("{name:?} cannot be the machine's name: {why}"),
        };
        Failure::usage(fact).hint("set [machine] name in state.toml")
    })?;
    Ok(name)
}

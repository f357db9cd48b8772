//! `state backup`: snapshot, archive, publish, read back.

mod before;
mod cache;
mod commit;
mod consolidate;
mod fan;
mod make;
mod origin;
mod pipe;
mod publish;
mod report;
mod sources;
pub(super) mod system;
mod turn;

pub(crate) use commit::look as commit;
pub use consolidate::{Consolidated, consolidate};
pub(crate) use origin::{Frozen, Origin};
pub use report::{Published, Report, Shortcoming, Source};
pub(crate) use sources::is_of_archive;
pub use turn::run;
pub(crate) use turn::write_metrics;

use super::archives::{Which, machine_name};
use super::drill::key::DrillKeys;
use super::drill::learn;
use super::encryption::Encryption;
use super::seal::{Seal, Signature, Trust};
use crate::archive::label::{Id, Label};
use crate::archive::machine::Machine;
use crate::archive::{Error, FORMAT, MOST_CHAIN};
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::ledger::Ledger;
use crate::persist::{PersistTree, Users};
use crate::progress::{Progress, Total, Unit};
use crate::settings::{ConfigRepo, Settings};
use crate::target::catalog::Catalog;
use crate::target::{self, Target};
use anyhow::Context as _;
use before::{Choice, Terms, has_commit};
use cache::Cache;
use chrono::SecondsFormat;
use make::make;
use publish::publish;
use sources::Sources;

/// What is asked of a backup.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The target, by name or URL; by default all that are configured.
    pub to: Option<String>,
    /// A full archive, whatever there is already.
    pub full: bool,
}

/// Makes an archive and publishes it.
///
/// # Errors
/// Nothing was published at any target. A target that failed beside one that did not, and what
/// could not be read, are in the report.
fn archive(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let machine = machine_name(cx, &settings)?;
    let tree = persist_tree(cx, &settings)?;
    let names: Vec<&str> = match &options.to {
        Some(name) => vec![name],
        None => target::configured(&settings).collect(),
    };
    if names.is_empty() {
        return Err(
            Failure::usage("there is no target to publish an archive at")
                .hint("add [target.NAME] with a url, or name one: --to file:///mnt/usb/state")
                .into(),
        );
    }
    let seal = Seal::of(cx, &settings)?;
    let encryption = Encryption::of(cx, &settings)?;
    let mut drill_keys = DrillKeys::of(cx, &settings)?;
    let trust = Trust::of(cx, &settings, &Which::default());
    let look = |config: &ConfigRepo| commit::look(&cx.rooted(&config.repo), &config.repo);
    let config = settings.config.as_ref().map(look);
    let config = match (config, &settings.config) {
        (Some(Ok(found)), Some(wanted)) if found.is_dirty && wanted.require_clean => {
            let repo = wanted.repo.display();
            return Err(Failure::refused(format!("{repo} differs from its commit"))
                .hint("commit the changes, or set require-clean = false in [config]")
                .into());
        }
        (Some(Err(error)), Some(wanted)) if wanted.require_clean => return Err(error.into()),
        (config, _) => config,
    };
    let lock = match cx.dry_run {
        true => None,
        false => Some(cx.lock()?),
    };
    let mut sources = Sources::survey(
        cx,
        &tree,
        settings.root.is_some(),
        &settings.archive.exclude,
    )?;
    let mut report = Report::planned(&machine, &names, &sources, &tree);
    let config = match config {
        Some(Ok(found)) => Some(found),
        Some(Err(error)) => {
            report
                .notes
                .push(format!("the configuration's commit is not known: {error}"));
            None
        }
        None => None,
    };
    report.set_config(config.as_ref());
    let trust = match trust {
        Ok(trust) => Some(trust),
        // That is of importance to a restore; an archive is better than none.
        Err(error) => {
            let why = crate::failure::message(&error);
            report
                .notes
                .push(format!("a restore here would be refused: {why}"));
            None
        }
    };
    report.encrypted_to = encryption.recipients().to_vec();
    report.signed_by = seal.as_ref().map(Seal::fingerprint);
    if cx.dry_run {
        return Ok(report);
    }

    let opened: Vec<_> = names
        .iter()
        .map(|name| open(&settings, name, &machine))
        .collect();
    // What it cannot say counts as not known; that it cannot be read is said at the end.
    let ledger = Ledger::read(cx, &settings).unwrap_or_default();
    let mut catalogs = Vec::new();
    let mut targets: Vec<(usize, Box<dyn Target>)> = Vec::new();
    for (n, opened) in opened.into_iter().enumerate() {
        match opened {
            Ok((target, mut catalog)) => {
                catalog.distrust_damaged(|label| ledger.is_damaged(names[n], label.id.as_str()));
                targets.push((n, target));
                catalogs.push(catalog);
            }
            Err(error) if names.len() == 1 => return Err(anyhow::Error::from(error)),
            Err(error) => report.targets[n].failed = Some(error.told()),
        }
    }
    if let Some(trust) = &trust {
        let there = targets.iter().zip(&catalogs);
        let there = there.map(|((n, target), catalog)| (names[*n], target.as_ref(), catalog));
        learn_proofs(cx, &settings, &machine, there, &ledger, trust, &mut report);
    }
    let others: Vec<Id> = catalogs.iter().flat_map(Catalog::ids).collect();
    if others.iter().any(|id| id.time() > cx.now) {
        report
            .notes
            .push("the clock stands before the newest archive's time".into());
    }
    let id = Id::new(cx.now, random()?, &others);
    let mut head = Machine {
        format: FORMAT,
        tool: concat!("state ", env!("CARGO_PKG_VERSION")).into(),
        id: id.to_string(),
        parent: None,
        machine: machine.clone(),
        time: cx.now.to_rfc3339_opts(SecondsFormat::Secs, true),
        root: settings
            .root
            .as_ref()
            .map(|root| crate::engine::name(root).to_owned()),
        stores: Vec::new(),
        config: config.clone(),
        nixos: system::nixos(cx),
        users: system::names(cx, "/etc/passwd"),
        groups: system::names(cx, "/etc/group"),
    };
    match head.shorten() {
        0 => {}
        n => report.notes.push(format!(
            "the names of {n} users and groups are not in it: a restore gives their files to the same \
             numbers"
        )),
    }

    let cache = Cache::of(&cx.rooted(&sources.0[0].path));
    let terms = Terms {
        most: u64::from(settings.archive.full_every).min(MOST_CHAIN as u64),
        suffix: encryption.suffix(),
        recipients: encryption.recipients(),
        drill_keys: &drill_keys,
        stores: &sources.names(),
        seal: seal.as_ref(),
        trust: trust.as_ref(),
    };
    let pairs = targets.iter().zip(&catalogs);
    let pairs: Vec<_> = pairs
        .map(|((_, target), catalog)| (target.as_ref(), catalog))
        .collect();
    let is_same = |label: &Label| {
        !options.full
            && has_commit(label, config.as_ref())
            && tree.unresolved().is_empty()
            && sources.are_as_in(&label.id)
    };
    if let Some(last) = before::unchanged(&pairs, &terms, is_same) {
        report.unchanged(Some(last), targets.iter().map(|(n, _)| *n));
        return Ok(report);
    }
    let choice = match options.full {
        true => None,
        false => match Choice::of(&pairs, &terms, &cache) {
            Ok(choice) => Some(choice),
            Err(why) => {
                report.full_because = Some(why);
                None
            }
        },
    };

    keeping(cache.prepare(), &mut report);
    let drill_key = drill_keys.next(choice.as_ref().map(|choice| &choice.label))?;
    let encryption = encryption.and(drill_key.clone())?;
    report.encrypted_to = encryption.recipients().to_vec();
    let last = choice.as_ref().map(|choice| &choice.label.id);
    report.notes.extend(sources.freeze(&id, last)?);
    let refs: Vec<&dyn Target> = targets.iter().map(|(_, target)| target.as_ref()).collect();
    let made = make(
        cx,
        &settings,
        encryption,
        &tree,
        &mut sources,
        head,
        choice.as_ref(),
        about(&catalogs),
        &refs,
        progress,
    );
    let Some((label, written, outcomes)) = made? else {
        report.notes.extend(sources.thaw());
        let last = choice.as_ref().map(|choice| &choice.label);
        report.unchanged(last, targets.iter().map(|(n, _)| *n));
        return Ok(report);
    };
    report.made(&label, &written);
    let published = Total::Is(label.data_bytes.saturating_mul(targets.len() as u64));
    progress.begin("verifying what was published", Unit::Bytes, published);
    for ((n, target), outcome) in targets.iter().zip(outcomes) {
        let published = outcome
            .and_then(|()| publish(cx, target.as_ref(), &label, seal.as_ref(), progress))
            .and_then(|()| {
                let trust = trust.as_ref();
                trust
                    .map(|trust| trust.look(target.as_ref(), &label))
                    .transpose()
            });
        match published {
            Ok(signature) => {
                report.targets[*n].is_published = true;
                if let Some(Signature::Refused { why }) = signature {
                    let note = format!("a restore here would refuse its signature: {why}");
                    report.notes.push(note);
                }
            }
            Err(Error::Other(state_api::Error::Interrupted)) => {
                return Err(state_api::Error::Interrupted.into());
            }
            Err(error) if names.len() == 1 => return Err(error.into()),
            Err(error) => report.targets[*n].failed = Some(error.told()),
        }
    }
    progress.end();
    if !report.targets.iter().any(|target| target.is_published) {
        return Err(Failure::new(Class::Partial, "no target took the archive").into());
    }
    if label.is_complete {
        keeping(cache.keep(&label, &written.manifest), &mut report);
    }
    if label.position == 0
        && !report.is_partial()
        && let Err(error) = drill_keys.settle(drill_key.as_deref())
    {
        let why = crate::failure::message(&error);
        report
            .notes
            .push(format!("older keys for drills stay: {why}"));
    }
    // The next run builds on what every target has.
    let notes = match report.is_partial() {
        true => sources.thaw(),
        false => sources.keep(),
    };
    for note in notes {
        // What could not be deleted at first cannot be now.
        if !report.notes.contains(&note) {
            report.notes.push(note);
        }
    }
    // What earlier runs left, now that something newer is known to be whole.
    for ((n, target), catalog) in targets.iter().zip(&catalogs) {
        if report.targets[*n].is_published && label.is_complete {
            for object in &catalog.leftovers {
                match target.delete(&object.name) {
                    Ok(_) => report.targets[*n].removed.push(object.name.clone()),
                    Err(error) => report
                        .notes
                        .push(format!("a leftover stays: {}", error.told())),
                }
            }
        }
    }
    drop(lock);
    report.executed = true;
    Ok(report)
}

/// How much a full archive will hold: what the last one did.
fn about(catalogs: &[Catalog]) -> Total {
    let labels = catalogs.iter().flat_map(|catalog| &catalog.labels);
    let last = labels
        .filter(|label| label.position == 0)
        .max_by_key(|label| &label.id);
    last.map_or(Total::Unknown, |last| Total::About(last.totals.bytes))
}

/// Notes the proofs that were made elsewhere. What cannot be read is no reason to do without an
/// archive.
fn learn_proofs<'t>(
    cx: &Context,
    settings: &Settings,
    machine: &str,
    targets: impl Iterator<Item = (&'t str, &'t dyn Target, &'t Catalog)>,
    ledger: &Ledger,
    trust: &Trust,
    report: &mut Report,
) {
    let mut news = Vec::new();
    for (name, target, catalog) in targets {
        let (of, there) = ((name, machine), (target, catalog));
        match learn::look(cx, settings, of, there, ledger, trust) {
            Ok(proof) => news.extend(proof),
            Err(error) => report.notes.push(error.told()),
        }
    }
    if news.is_empty() {
        return;
    }
    let noted = Ledger::change(cx, settings, |ledger| {
        news.into_iter().for_each(|proof| ledger.drilled(proof));
    });
    if let Err(error) = noted {
        report.notes.push(crate::failure::message(&error.into()));
    }
}

/// Says so if the manifest cannot be kept: that is no reason to do without an archive.
fn keeping(outcome: std::io::Result<()>, report: &mut Report) {
    if let Err(error) = outcome {
        let why = crate::failure::plain_errnos(&error.to_string());
        let note = format!("keeping the manifest: {why}; the next archive may be a full one");
        if !report.notes.contains(&note) {
            report.notes.push(note);
        }
    }
}

/// The declared persist tree, with this machine's users.
pub(crate) fn persist_tree(cx: &Context, settings: &Settings) -> anyhow::Result<PersistTree> {
    let text = |path: &str| std::fs::read(cx.rooted(path)).unwrap_or_default();
    let users = Users::parse(&text("/etc/passwd"), &text("/etc/group"));
    PersistTree::resolve(settings, &users)
        .map_err(|problems| Failure::usage(problems.to_string()).into())
}

fn random() -> anyhow::Result<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("asking for randomness")?;
    Ok(u32::from_le_bytes(bytes))
}

fn open(
    settings: &Settings,
    name: &str,
    machine: &str,
) -> crate::archive::Result<(Box<dyn Target>, Catalog)> {
    let target = target::open(settings, name)?;
    target.sweep(&format!("{machine}/"))?;
    let catalog = Catalog::read(target.as_ref(), machine)?;
    Ok((target, catalog))
}

//! `state archives consolidate`: a full archive out of one that builds on others. The machine is
//! not read: this works wherever the archives and the keys are.

use super::cache::Cache;
use super::pipe;
use super::publish::{publish, store};
use super::{random, write_metrics};
use crate::archive::label::{Id, Label};
use crate::archive::machine::Machine;
use crate::archive::write::again;
use crate::context::Context;
use crate::failure::Failure;
use crate::ledger::Ledger;
use crate::ops::archives::{self, Which};
use crate::ops::drill::key::DrillKeys;
use crate::ops::encryption::Encryption;
use crate::ops::seal::Seal;
use crate::progress::{Progress, Total, Unit};
use crate::target::catalog::Catalog;
use serde::Serialize;
use state_linux::confine::confined;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What consolidating did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Consolidated {
    /// The target.
    pub target: String,
    /// The machine.
    pub machine: String,
    /// The archive that was read.
    pub of: String,
    /// How many archives it needs, itself counted.
    pub chain: usize,
    /// The full archive that holds the same; none if nothing was done.
    pub id: Option<String>,
    /// Its size as stored.
    pub data_bytes: u64,
    /// The key that signed it.
    pub signed_by: Option<String>,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// Makes a full archive of the one called `id`, at the target where that is.
///
/// # Errors
/// There is no such archive, it or one of its chain is damaged, nobody vouches for it, or the new
/// one could not be published. Until it is, nothing is listed.
pub fn consolidate(
    cx: &Context,
    which: &Which,
    id: &str,
    progress: &dyn Progress,
) -> anyhow::Result<Consolidated> {
    let settings = archives::settings(cx, which)?;
    let found = archives::find(cx, &settings, which, id)?;
    let signature = found.signature(cx, &settings, which)?;
    let seal = Seal::of(cx, &settings)?;
    signature.vouch(found.label.id.as_str(), seal.as_ref())?;
    refuse_older(&found.catalog, &found.label)?;
    let encryption = Encryption::of(cx, &settings)?;
    let mut drill_keys = DrillKeys::of(cx, &settings)?;
    let mut report = Consolidated {
        target: found.name.clone(),
        machine: found.label.machine.clone(),
        of: found.label.id.to_string(),
        chain: found.label.position as usize + 1,
        id: None,
        data_bytes: 0,
        signed_by: seal.as_ref().map(Seal::fingerprint),
        notes: found.notes.clone(),
    };
    if found.label.position == 0 || cx.dry_run {
        return Ok(report);
    }
    let _lock = cx.lock()?;
    let target = found.target.as_ref();
    let catalog = Catalog::read(target, &found.label.machine)?;
    refuse_older(&catalog, &found.label)?;
    let others: Vec<_> = catalog.ids().collect();
    let new = Id::new(cx.now, random()?, &others);
    let parents = found.parents()?;
    let source = found.data()?;
    let archive = parents.open(source.as_ref(), &found.label)?;
    let machine = Machine {
        tool: concat!("state ", env!("CARGO_PKG_VERSION")).into(),
        id: new.to_string(),
        parent: None,
        ..archive.machine().clone()
    };
    // The machine's next archive is to build on it; nobody else's has that key. Those of older
    // chains stay until a full archive is everywhere.
    let is_own = archives::machine_name(cx, &settings).is_ok_and(|name| name == machine.machine);
    let encryption = match is_own {
        true => encryption.and(drill_keys.next(None)?)?,
        false => encryption,
    };
    let label = Label {
        id: new,
        parent: None,
        position: 0,
        suffix: encryption.suffix().into(),
        recipients: encryption.recipients().to_vec(),
        ..found.label.clone()
    };
    // Whatever an archive makes its reader do, it can write nowhere.
    let bytes = Total::About(confined(None, |_| archive.data_bytes())?);
    progress.begin("consolidating", Unit::Bytes, bytes);
    let mut seen = 0;
    let made = store(cx, &[target], label, encryption, &mut |out| {
        let level = settings.archive.level;
        pipe::confined(out, |out| {
            again(&archive, &machine, level, out, cx.interrupt, &mut |now| {
                progress.advance(now.bytes - seen);
                progress.see(now.entries, now.path);
                seen = now.bytes;
            })
        })
    });
    progress.end();
    let (label, written, outcomes) = made?;
    outcomes.into_iter().collect::<Result<(), _>>()?;
    let bytes = Total::Is(label.data_bytes);
    progress.begin("verifying what was published", Unit::Bytes, bytes);
    let published = publish(cx, target, &label, seal.as_ref(), progress);
    progress.end();
    published?;
    let noted = Ledger::change(cx, &settings, |ledger| {
        ledger.consolidated(&found.name, &label, found.label.id.as_str(), cx.now);
    });
    let noted = noted.map_err(anyhow::Error::from);
    if let Err(error) = noted.and_then(|ledger| write_metrics(cx, &settings, &ledger)) {
        report.notes.push(crate::failure::message(&error));
    }
    // The next archive builds on this one, if its manifest is where the last one's was.
    let is_latest = catalog
        .latest()
        .is_some_and(|latest| latest.id == found.label.id);
    let stores = &archive.machine().stores;
    if let (true, Some(first)) = (is_latest, stores.first()) {
        let store = cx.rooted(Path::new(OsStr::from_bytes(&first.path.0)));
        let cache = Cache::of(&store);
        if cache.has(&found.label)
            && let Err(error) = cache.add(&label, &written.manifest)
        {
            let why = crate::failure::plain_errnos(&error.to_string());
            report.notes.push(format!("keeping the manifest: {why}"));
        }
    }
    report.data_bytes = label.data_bytes;
    report.id = Some(label.id.to_string());
    Ok(report)
}

/// What is published last is the newest: a restore would take the older content for it.
fn refuse_older(catalog: &Catalog, label: &Label) -> anyhow::Result<()> {
    let is_newer = |other: &&Label| other.is_complete && other.id > label.id;
    match catalog.labels.iter().rev().find(is_newer) {
        Some(newer) if label.is_complete && label.position > 0 => Err(Failure::refused(format!(
            "{} is newer than {}, which would become the newest by being consolidated",
            newer.id, label.id
        ))
        .hint("consolidate the newest; restore an older one with `state restore --archive ID`")
        .into()),
        _ => Ok(()),
    }
}

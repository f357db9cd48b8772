//! What a restore would bring onto a disk that is not laid out yet: everything that can be known to be
//! wrong with an archive is known before the disk is touched.

use super::{Options, Report, Restored, drift, owners::Used, place, scan::scan};
use crate::context::Context;
use crate::failure::Failure;
use crate::ops::archives;
use crate::persist;
use crate::progress::Progress;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Finds the archive, checks who made it, and reads its manifest. The stores go to their places below
/// `--into`.
///
/// # Errors
/// There is no such archive, it is damaged, or no key opens it.
pub fn foresee(cx: &Context, options: &Options, progress: &dyn Progress) -> anyhow::Result<Report> {
    let settings = archives::settings(cx, &options.which)?;
    let id = options.archive.as_deref().unwrap_or("latest");
    let found = archives::find(cx, &settings, &options.which, id)?;
    let signature = found.signature(cx, &settings, &options.which)?;
    signature.check(found.label.id.as_str())?;
    let parents = found.parents()?;
    let source = found.data()?;
    let archive = parents.open(source.as_ref(), &found.label)?;
    let into = options.into.as_deref().unwrap_or(Path::new("/mnt"));
    let mut report = Report::of(&found.name, &archive, signature);
    report.stores = (archive.machine().stores.iter())
        .map(|store| {
            let name = Path::new(OsStr::from_bytes(&store.path.0));
            Restored::new(name.to_owned(), place::below(into, name))
        })
        .collect();
    let mut used = Used::default();
    scan(&archive, None, cx.watch(progress), &mut |record| {
        used.see(&record);
        let store = &mut report.stores[record.store];
        store.entries += 1;
        store.bytes = store.bytes.saturating_add(record.what.data_bytes());
    })?;
    report.machine_root = Some(into.to_owned());
    report.notes = drift::notes(cx, &settings, archive.machine(), true);
    let owners = crate::archive::owners::Owners::default();
    report.notes.extend(used.notes(archive.machine(), &owners));
    // A system is there already where another partition is for the store.
    let here = persist::users(into, &settings).unwrap_or_default();
    report
        .notes
        .extend(used.strangers(archive.machine(), &here, true));
    report.notes.extend(found.notes.iter().cloned());
    Ok(report)
}

impl Report {
    /// Refuses a disk on which there would be no room.
    ///
    /// # Errors
    /// It is too small.
    pub fn demand_room(&self, on: &Path, bytes: u64) -> anyhow::Result<()> {
        let of = |store: &Restored| {
            store
                .bytes
                .saturating_add(store.entries.saturating_mul(4096))
        };
        let needed: u64 = self.stores.iter().map(of).fold(0, u64::saturating_add);
        if needed <= bytes {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(Failure::refused(format!(
            "{} has {} MiB, and the archive needs {} MiB",
            on.display(),
            bytes >> 20,
            mib(needed)
        ))
        .hint("nothing was changed: use a larger disk")
        .into())
    }
}

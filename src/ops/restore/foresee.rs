//! What a restore would bring onto a disk that is not laid out yet: everything that can be known to be
//! wrong with an archive is known before the disk is touched.

use super::{Opened, Report, Restored, drift, owners::Used, place};
use crate::context::Context;
use crate::failure::Failure;
use crate::persist;
use crate::progress::Progress;
use crate::settings::Settings;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

pub(super) fn foresee(
    cx: &Context,
    opened: &Opened<'_>,
    settings: &Settings,
    progress: &dyn Progress,
) -> anyhow::Result<Report> {
    let archive = &opened.archive;
    let into = opened
        .chosen
        .options
        .into
        .as_deref()
        .unwrap_or(Path::new("/mnt"));
    let mut report = opened.report();
    report.stores = (archive.machine().stores.iter())
        .map(|store| {
            let name = Path::new(OsStr::from_bytes(&store.path.0));
            Restored::new(name.to_owned(), place::below(into, name))
        })
        .collect();
    let mut used = Used::default();
    let weights = opened.weights(cx.watch(progress))?;
    for (store, weight) in report.stores.iter_mut().zip(weights) {
        used.add(&weight.used);
        (store.entries, store.bytes) = (weight.entries, weight.bytes);
    }
    report.machine_root = Some(into.to_owned());
    report.notes = drift::notes(cx, settings, archive.machine(), true);
    let owners = crate::archive::owners::Owners::default();
    report.notes.extend(used.notes(archive.machine(), &owners));
    // A system is there already where another partition is for the store.
    let here = persist::users(into, settings).unwrap_or_default();
    report
        .notes
        .extend(used.strangers(archive.machine(), &here, true));
    report.notes.extend(opened.notes());
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

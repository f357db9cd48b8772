//! Going through a manifest to plan a restore.

use super::Task;
use super::owners::Used;
use crate::archive::manifest::Record;
use crate::archive::read::Archive;
use crate::archive::{Error, Result};
use crate::progress::{Total, Unit, Watch};
use state_linux::confine::confined;

/// Hands over every record of `archive` that is about the path `under`, or of all of it: what can be
/// known to be wrong with it is known before anything is written. It is read where nothing can be
/// written, for nobody knows what it makes its reader do.
pub(super) fn scan(
    archive: &Archive<'_>,
    under: Option<&[u8]>,
    watch: Watch<'_>,
    see: &mut (dyn FnMut(Record) + Send),
) -> Result<()> {
    let total = match under {
        Some(_) => Total::Unknown,
        None => Total::Is(archive.index().totals.entries),
    };
    watch.stage("reading the manifest", Unit::Items, total, || {
        confined(None, |_| {
            for record in archive.records_of(&archive.scope(under)?) {
                if watch.interrupt.is_set() {
                    return Err(Error::Other(state_api::Error::Interrupted));
                }
                let (record, _) = record?;
                watch.progress.see(0, &record.path);
                watch.progress.advance(1);
                see(record);
            }
            Ok(())
        })
    })
}

/// How much there is for each task, and whose it is.
pub(super) fn weigh(
    archive: &Archive<'_>,
    tasks: &mut [Task],
    used: &mut Used,
    watch: Watch<'_>,
) -> Result<()> {
    let mut sums = vec![None; archive.machine().stores.len()];
    for task in &*tasks {
        sums[task.store] = Some((0, 0));
    }
    scan(archive, None, watch, &mut |record| {
        if let Some((entries, bytes)) = &mut sums[record.store] {
            used.see(&record);
            *entries += 1;
            *bytes = u64::saturating_add(*bytes, record.what.data_bytes());
        }
    })?;
    for task in tasks {
        (task.entries, task.bytes) = sums[task.store].unwrap_or_default();
    }
    Ok(())
}

//! Going through a manifest to plan a restore.

use super::owners::Used;
use crate::archive::manifest::Record;
use crate::archive::read::Archive;
use crate::archive::{Error, Result};
use crate::progress::{Total, Unit, Watch};
use state_linux::confine::confined;

/// Hands over every record of `archive` that is about the path `under`, or of all of it: what can be
/// known to be wrong with it is known before anything is written. It is read where nothing can be
/// written, for nobody knows what it makes its reader do.
fn scan(
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

/// How much there is of something, and whose it is.
#[derive(Debug, Default)]
pub(super) struct Weight {
    pub(super) entries: u64,
    /// The size of the content, as far as the manifest tells it.
    pub(super) bytes: u64,
    pub(super) used: Used,
}

impl Weight {
    fn see(&mut self, record: &Record) {
        self.used.see(record);
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(record.what.data_bytes());
    }
}

/// One path, and what is below it.
#[derive(Debug)]
pub(super) struct Part {
    /// The number of the store that it is in.
    pub(super) store: usize,
    pub(super) weight: Weight,
}

/// How much there is of each store.
pub(super) fn weigh(archive: &Archive<'_>, watch: Watch<'_>) -> Result<Vec<Weight>> {
    let stores = archive.machine().stores.iter();
    let mut weights: Vec<_> = stores.map(|_| Weight::default()).collect();
    scan(archive, None, watch, &mut |record| {
        weights[record.store].see(&record);
    })?;
    Ok(weights)
}

/// How much there is of `path`; nothing: the archive has no such path.
pub(super) fn part(archive: &Archive<'_>, path: &[u8], watch: Watch<'_>) -> Result<Option<Part>> {
    let mut part: Option<Part> = None;
    scan(archive, Some(path), watch, &mut |record| {
        let is_below = |rest: &[u8]| rest.is_empty() || rest.starts_with(b"/");
        if record.path == path {
            part.get_or_insert_with(|| Part {
                store: record.store,
                weight: Weight::default(),
            });
        }
        if let Some(part) = part.as_mut().filter(|part| part.store == record.store)
            && record.path.strip_prefix(path).is_some_and(is_below)
        {
            part.weight.see(&record);
        }
    })?;
    Ok(part)
}

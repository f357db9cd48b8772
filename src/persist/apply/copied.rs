//! Carrying one file over to the other side.

use super::{Applier, Failed, stale};
use crate::anchor::Anchor;
use crate::bring::{self, Expects};
use crate::paths::Shown;
use crate::persist::copies::print_in;
use crate::persist::seen::{Digest, Stamp};
use crate::persist::step::Replaces;
use crate::persist::survey::stamp;
use crate::quarantine::{Batch, DAYS, Why};
use state_api::{Error, Outcome, Refusal, View};
use state_linux::stat::{Kind, Stat};
use state_linux::users;
use std::ffi::OsStr;
use std::path::Path;

impl Applier<'_> {
    /// Copies the file at `from` to `to`. It stands there whole and on the disk, and is what was
    /// seen, or nothing has changed.
    pub(super) fn carry(
        &mut self,
        from: &Path,
        to: &Path,
        replaces: &Replaces,
        digest: &Digest,
    ) -> Result<Outcome, Failed> {
        let (anchor, rest) = self.anchors.locate(from)?;
        let view = View::live(anchor.directory(Path::new(""))?.into());
        let (parent, name) = self.parent(to)?;
        let is_expected = |was: &Stat| match replaces {
            Replaces::Nothing => false,
            Replaces::EmptyDirectory => was.kind == Kind::Directory,
            Replaces::File(expected) => was.kind == Kind::File && stamp(was) == *expected,
            Replaces::Link(_) => was.kind == Kind::Symlink,
        };
        let is_whole = |made: &Anchor, name: &OsStr| {
            let is = print_in(made, Path::new(name))?;
            Ok(is.is_some_and(|is| is.digest == *digest))
        };
        let interrupt = self.interrupt;
        let expects = Expects {
            is_whole: &is_whole,
            is_replaceable: &is_expected,
        };
        bring::replace(&view, rest, (&parent, name), &expects, interrupt)?;
        Ok(Outcome::Made)
    }

    /// Copies the machine's file into the store, unless somebody is writing it.
    pub(super) fn save(
        &mut self,
        path: &Path,
        source: &Path,
        replaces: &Replaces,
        digest: &Digest,
    ) -> Result<Outcome, Failed> {
        let (_, stat) = self.here(path)?;
        let outcome = match users::writers(stat.id)?.first() {
            None => self.carry(path, source, replaces, digest)?,
            Some(writer) => {
                let fact = format!("{writer} is writing it");
                let cure = "it is saved when it has been closed".to_owned();
                return Err(Error::Refused(Refusal::Unsafe { fact, cure }).into());
            }
        };
        Ok(outcome)
    }

    /// Gives the store's file a second name in the quarantine.
    pub(super) fn set_aside(&mut self, source: &Path, was: Stamp) -> Result<Outcome, Failed> {
        let (store, rest) = self.anchors.locate(source)?;
        let (_, stat) = self.here(source)?;
        if stamp(&stat) != was {
            return Err(stale(source));
        }
        let why = (self.now, DAYS, Why::Replaced);
        let batch = Batch::begin(store, why, vec![rest.to_owned()])?;
        batch.link(store, rest)?;
        let (source, name) = (Shown(source), &batch.name);
        self.notes.push(format!(
            "{source} had changed as well: it is kept as quarantine {name} (`state orphans`)"
        ));
        Ok(Outcome::Made)
    }
}

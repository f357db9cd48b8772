//! The archive that is restored: found, judged and opened once. The plan that is shown is made of it, and
//! it is what is restored then, whatever has been published meanwhile.

use super::scan::{self, Part, Weight};
use super::{Options, Report, foresee, path, stores};
use crate::archive::Result;
use crate::archive::read::{Archive, Source};
use crate::context::Context;
use crate::ops::archives::{self, Found};
use crate::ops::chain::Parents;
use crate::ops::seal::Signature;
use crate::progress::{Progress, Watch};
use crate::settings::Settings;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

/// An archive that was found, and who vouches for it. Nothing of its data has been read.
pub struct Chosen<'o> {
    pub(super) options: &'o Options,
    /// As they were when it was found.
    settings: Settings,
    pub(super) found: Found,
    signature: Signature,
}

/// Finds the archive that is meant and looks at its signature. What is going to be executed at once, not
/// planned first, has to be vouched for here already.
///
/// # Errors
/// There is no such archive, its signature is wrong, or nobody vouches for it.
pub fn choose<'o>(cx: &Context, options: &'o Options) -> anyhow::Result<Chosen<'o>> {
    let settings = archives::settings(cx, &options.which)?;
    let id = options.archive.as_deref().unwrap_or("latest");
    let found = archives::find_alone(cx, &settings, &options.which, id)?;
    let signature = found.signature(cx, &settings, &options.which)?;
    let id = found.label.id.as_str();
    match cx.dry_run {
        true => signature.check(id)?,
        false => signature.demand(id, options.allow_unsigned)?,
    }
    Ok(Chosen {
        options,
        settings,
        found,
        signature,
    })
}

impl Chosen<'_> {
    /// Finds its data and that of the archives it builds on.
    ///
    /// # Errors
    /// Something of it is missing, or no key opens it.
    pub fn data(&self) -> anyhow::Result<Data<'_>> {
        Ok(Data {
            chosen: self,
            parents: self.found.parents()?,
            source: self.found.data()?,
        })
    }
}

/// The data of an archive that was chosen, decrypted if it is encrypted.
pub struct Data<'c> {
    chosen: &'c Chosen<'c>,
    parents: Parents<'c>,
    source: Box<dyn Source + 'c>,
}

impl Data<'_> {
    /// Opens it, where nothing can be written.
    ///
    /// # Errors
    /// It is damaged, or another archive than its label says.
    pub fn open(&self) -> anyhow::Result<Opened<'_>> {
        let label = &self.chosen.found.label;
        Ok(Opened {
            chosen: self.chosen,
            signature: self.chosen.signature.clone(),
            archive: self.parents.open(self.source.as_ref(), label)?,
            weights: OnceCell::new(),
            part: OnceCell::new(),
        })
    }
}

/// An archive that is restored, or of which a plan is made, or first one and then the other. What has been
/// read of it for the plan is not read again.
pub struct Opened<'c> {
    pub(super) chosen: &'c Chosen<'c>,
    pub(super) signature: Signature,
    pub(super) archive: Archive<'c>,
    weights: OnceCell<Vec<Weight>>,
    part: OnceCell<Part>,
}

impl Opened<'_> {
    /// Makes the plan, if the run is a dry one, or restores. A declared store that is in use is exchanged
    /// by the next boot. Where it goes is looked at anew each time: somebody may have thought about
    /// the plan for an hour.
    ///
    /// # Errors
    /// It is damaged or unsigned, there is no room, or what is there is in use and cannot wait for a
    /// boot. Nothing was changed.
    pub fn run(&self, cx: &Context, progress: &dyn Progress) -> anyhow::Result<Report> {
        if !cx.dry_run {
            let id = self.archive.label().id.as_str();
            self.signature
                .demand(id, self.chosen.options.allow_unsigned)?;
        }
        let settings = self.settings(cx)?;
        match &self.chosen.options.path {
            Some(path) => path::run(cx, self, &settings, path, progress),
            None => stores(cx, self, &settings, progress),
        }
    }

    /// What would be brought onto a disk that is not laid out yet: everything that can be known to be wrong
    /// with an archive is known before the disk is touched. The stores go to their places below
    /// `--into`.
    ///
    /// # Errors
    /// It is damaged.
    pub fn foresee(&self, cx: &Context, progress: &dyn Progress) -> anyhow::Result<Report> {
        foresee::foresee(cx, self, &self.chosen.settings, progress)
    }

    /// Believes the key that it is signed with and that nothing here knew: a person vouches for it.
    pub fn trust(&mut self) {
        if let Signature::Unknown { key } = &self.signature {
            self.signature = Signature::Trusted { key: key.clone() };
        }
    }

    /// The settings that say where it goes: for the plan, which comes at once, those by which it was
    /// found.
    fn settings(&self, cx: &Context) -> anyhow::Result<Cow<'_, Settings>> {
        Ok(match cx.dry_run {
            true => Cow::Borrowed(&self.chosen.settings),
            false => Cow::Owned(archives::settings(cx, &self.chosen.options.which)?),
        })
    }

    /// A report that says which archive it is, and nothing of stores yet.
    pub(super) fn report(&self) -> Report {
        let target = &self.chosen.found.name;
        Report::of(target, &self.archive, self.signature.clone())
    }

    /// The targets that could not be looked at, where the newest was asked for.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.chosen.found.notes.iter().cloned()
    }

    /// How much there is of each of its stores, in their order.
    pub(super) fn weights(&self, watch: Watch<'_>) -> Result<&[Weight]> {
        if let Some(weights) = self.weights.get() {
            return Ok(weights);
        }
        let weights = scan::weigh(&self.archive, watch)?;
        Ok(self.weights.get_or_init(|| weights))
    }

    /// What there is of the one path that is meant, which is `path` in its store.
    pub(super) fn part(&self, path: &[u8], watch: Watch<'_>) -> Result<Option<&Part>> {
        if self.part.get().is_none()
            && let Some(part) = scan::part(&self.archive, path, watch)?
        {
            return Ok(Some(self.part.get_or_init(|| part)));
        }
        Ok(self.part.get())
    }
}

impl fmt::Debug for Chosen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen")
            .field("label", &self.found.label)
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data")
            .field("chosen", &self.chosen)
            .field("parents", &self.parents)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("archive", &self.archive)
            .field("signature", &self.signature)
            .finish_non_exhaustive()
    }
}

//! How root goes back to blank: pure functions of a survey.

use crate::delete::demolish;
use crate::layout::Layout;
use crate::shown::Shown;
use crate::survey::{Found, Reading, Staged, is_exact_copy};
use crate::{Node, Step, Subvolume, Survey};
use chrono::DateTime;
use state_api::{Error, PastRootName, Plan, Refusal, Reset, Result, Retire, Source, once};
use std::path::{Path, PathBuf};

/// Plans a reset.
pub(crate) fn reset(layout: &Layout, survey: &Survey, ask: &Reset) -> Result<Plan<Step>> {
    let reading = Reading { layout, survey };
    let draft = Draft { reading, ask };
    let is_about_blank = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::NoBlank { .. } | Refusal::BlankWritten { .. }
        )
    };
    // Whether blank can be used is asked where it is used.
    let refusal = reading.refusals().into_iter().find(|r| !is_about_blank(r));
    if let (Some(refusal), true) = (&refusal, ask.source.is_some()) {
        return Err(refusal.clone().into());
    }
    let steps = draft.steps()?;
    match refusal {
        Some(refusal) if !steps.is_empty() => Err(refusal.into()),
        _ => Ok(Plan { steps }),
    }
}

/// A reset on its way to a plan.
#[derive(Clone, Copy)]
struct Draft<'a> {
    reading: Reading<'a>,
    ask: &'a Reset,
}

impl<'a> Draft<'a> {
    fn survey(self) -> &'a Survey {
        self.reading.survey
    }

    fn layout(self) -> &'a Layout {
        self.reading.layout
    }

    fn steps(self) -> Result<Vec<Step>> {
        let (layout, survey) = (self.layout(), self.survey());
        let mut steps = Vec::new();
        if crate::blank::in_use(self.reading).is_none() {
            steps.extend(crate::blank::settle(layout, survey));
        }
        let scratch = self.destroy(&survey.scratch);
        match survey.root.subvolume() {
            Some(root) => {
                if self.default_was_root(&survey.staged) || self.default_was_root(&survey.scratch) {
                    steps.push(self.set_default());
                }
                steps.extend(scratch);
                self.with_root(root, &mut steps)?;
            }
            // The default subvolume cannot be deleted before another one is the default.
            None if self.default_was_root(&survey.scratch) => {
                self.without_root(&mut steps)?;
                steps.extend([self.set_default(), Step::Commit]);
                steps.extend(scratch);
            }
            None => {
                steps.extend(scratch);
                self.without_root(&mut steps)?;
            }
        }
        once(&mut steps, |step| {
            matches!(step, Step::MakeDirectory { .. })
        });
        Ok(steps)
    }

    /// What cannot be deleted would be half deleted, and in the way of every later reset.
    fn check_deletable(self) -> Result<()> {
        let survey = self.survey();
        let default = survey.filesystem.default_subvolume;
        let Some(held) = survey.root.nested.iter().find(|n| n.id == default) else {
            return Ok(());
        };
        Err(Refusal::Unsafe {
            fact: format!(
                "{} is the default subvolume and lies inside root",
                Shown(&held.at)
            ),
            cure: "`btrfs subvolume set-default` makes another one the default".into(),
        }
        .into())
    }

    fn destroy(self, found: &Found) -> Vec<Step> {
        let mut steps = demolish(found, &found.at);
        if !steps.is_empty() {
            steps.push(Step::Commit);
        }
        steps
    }

    fn with_root(self, root: &Subvolume, steps: &mut Vec<Step>) -> Result<()> {
        let survey = self.survey();
        let staged = self.reading.staged();
        // What an interrupted run made and nobody used since is this run's fresh root.
        let is_unfinished =
            matches!(staged, Staged::Outgoing(_)) || survey.scratch.subvolume().is_some();
        let source = match &self.ask.source {
            Some(source) => Some(self.source(source)?),
            None => None,
        };
        let rotate =
            source.filter(|source| !(is_unfinished && is_exact_copy(&survey.root, source)));
        match staged {
            Staged::Nothing => {}
            Staged::Copy(_) => steps.extend(self.destroy(&survey.staged)),
            Staged::Outgoing(outgoing) => {
                let name = self.leftover_name(outgoing, rotate.is_some())?;
                steps.extend(self.put_away(outgoing, &name));
            }
        }
        if let Some(source) = rotate {
            steps.extend(self.rotate(root, source)?);
        }
        Ok(())
    }

    /// Root is missing: it is made of what there is.
    fn without_root(self, steps: &mut Vec<Step>) -> Result<()> {
        let (layout, survey) = (self.layout(), self.survey());
        let staged = self.reading.staged();
        let become_root = |id| Step::Rename {
            from: layout.staged(),
            to: layout.root.clone(),
            id,
        };
        if let (Staged::Outgoing(outgoing), None) = (staged, &self.ask.source) {
            steps.extend([become_root(Some(outgoing.id)), Step::Commit]);
            return Ok(());
        }
        let source = self.source(self.ask.source.as_ref().unwrap_or(&Source::Blank))?;
        match staged {
            Staged::Copy(copy) if is_exact_copy(&survey.staged, source) => {
                steps.extend([become_root(Some(copy.id)), Step::Commit]);
                return Ok(());
            }
            Staged::Copy(_) => steps.extend(self.destroy(&survey.staged)),
            Staged::Outgoing(outgoing) => {
                let name = self.leftover_name(outgoing, false)?;
                steps.extend(self.put_away(outgoing, &name));
            }
            Staged::Nothing => {}
        }
        self.stage(source, &layout.staged(), steps);
        steps.push(become_root(None));
        if self.default_was_root(&survey.staged) {
            steps.push(self.set_default());
        }
        steps.push(Step::Commit);
        Ok(())
    }

    /// A fresh root in the place of the outgoing one, which is put away or given up.
    fn rotate(self, root: &Subvolume, source: &Found) -> Result<Vec<Step>> {
        let (layout, survey) = (self.layout(), self.survey());
        let mut steps = Vec::new();
        if root.is_read_only {
            // A read-only subvolume cannot move to another directory.
            steps.push(Step::SetReadOnly {
                at: layout.root.clone(),
                read_only: false,
            });
        }
        // A root that is kept is exchanged with a name from which it is put away, whoever finds
        // it there. One that is given up is exchanged with a name whose content nobody wants.
        let with = match &self.ask.retire {
            Retire::Keep(name) => {
                self.check_free(name)?;
                layout.staged()
            }
            Retire::GiveUp => {
                self.check_deletable()?;
                steps.extend(self.reserve());
                layout.scratch()
            }
        };
        self.stage(source, &with, &mut steps);
        steps.push(Step::Exchange {
            name: layout.root.clone(),
            with: with.clone(),
            outgoing: root.id,
        });
        let ours = [&survey.root, &survey.staged, &survey.scratch];
        if ours.into_iter().any(|found| self.default_was_root(found)) {
            steps.push(self.set_default());
        }
        steps.push(Step::Commit);
        match &self.ask.retire {
            Retire::Keep(name) => {
                let writable = Subvolume {
                    is_read_only: false,
                    ..root.clone()
                };
                steps.extend(self.put_away(&writable, name));
            }
            Retire::GiveUp => {
                let mut outgoing = survey.root.clone();
                if let Node::Subvolume(top) = &mut outgoing.node {
                    top.is_read_only = false; // cleared above
                }
                steps.extend(demolish(&outgoing, &with));
                steps.push(Step::Commit);
            }
        }
        Ok(steps)
    }

    /// A writable copy of a subvolume under a name that is free by now. One with others in it is
    /// built where nobody takes a part of it for the whole.
    fn stage(self, source: &Found, at: &Path, steps: &mut Vec<Step>) {
        // Nested subvolumes belong to a past root; blank is what it holds itself.
        let is_blank = source.at == self.layout().blank;
        if is_blank || source.nested.is_empty() {
            steps.push(Step::Snapshot {
                from: source.at.clone(),
                to: at.to_owned(),
                read_only: false,
            });
            return;
        }
        let build = self.layout().scratch();
        steps.extend(self.reserve());
        steps.push(Step::Snapshot {
            from: source.at.clone(),
            to: build.clone(),
            read_only: false,
        });
        let built = |nested: &Path| -> PathBuf {
            build.join(nested.strip_prefix(&source.at).unwrap_or(nested))
        };
        for nested in &source.nested {
            steps.extend([
                Step::RemoveDirectory {
                    at: built(&nested.at),
                },
                Step::Snapshot {
                    from: nested.at.clone(),
                    to: built(&nested.at),
                    read_only: false,
                },
            ]);
        }
        let read_only = source.nested.iter().filter(|nested| nested.is_read_only);
        steps.extend(read_only.map(|nested| Step::SetReadOnly {
            at: built(&nested.at),
            read_only: true,
        }));
        if at != build {
            steps.extend([
                Step::Commit,
                Step::Rename {
                    from: build,
                    to: at.to_owned(),
                    id: None,
                },
            ]);
        }
    }

    fn reserve(self) -> Option<Step> {
        (self.survey().reserved_dir == Node::Missing).then(|| Step::MakeDirectory {
            at: crate::layout::RESERVED.into(),
        })
    }

    /// Whether the default subvolume is this one: it was root when a mount without `subvol=` was
    /// to get root.
    fn default_was_root(self, found: &Found) -> bool {
        let default = self.survey().filesystem.default_subvolume;
        found.subvolume().is_some_and(|top| top.id == default)
    }

    fn set_default(self) -> Step {
        Step::SetDefault {
            at: self.layout().root.clone(),
        }
    }

    /// Makes what is under the staged name a past root.
    fn put_away(self, outgoing: &Subvolume, name: &PastRootName) -> Vec<Step> {
        let (layout, survey) = (self.layout(), self.survey());
        let mut steps = Vec::new();
        if outgoing.is_read_only {
            steps.push(Step::SetReadOnly {
                at: layout.staged(),
                read_only: false,
            });
        }
        if survey.past_roots_dir == Node::Missing {
            steps.push(Step::MakeDirectory {
                at: layout.past_roots(),
            });
        }
        steps.extend([
            Step::Rename {
                from: layout.staged(),
                to: layout.past(name),
                id: Some(outgoing.id),
            },
            Step::Commit,
        ]);
        steps
    }

    fn is_taken(self, name: &PastRootName) -> bool {
        let survey = self.survey();
        self.reading.past(name).is_some() || survey.taken.iter().any(|taken| taken == name.as_str())
    }

    fn check_free(self, name: &PastRootName) -> Result<()> {
        if self.is_taken(name) {
            return Err(Refusal::Unsafe {
                fact: format!("{} exists already", Shown(&self.layout().past(name))),
                cure: "keep root under another name".into(),
            }
            .into());
        }
        Ok(())
    }

    /// The name of a root that an earlier run did not put away: the one given for this run's, or
    /// one like it if that is needed too.
    fn leftover_name(self, outgoing: &Subvolume, is_needed: bool) -> Result<PastRootName> {
        match &self.ask.retire {
            Retire::Keep(name) if !is_needed => {
                self.check_free(name)?;
                Ok(name.clone())
            }
            Retire::Keep(name) => (2..)
                .filter_map(|n| format!("{name}-{n}").parse().ok())
                .find(|like: &PastRootName| !self.is_taken(like))
                .ok_or_else(|| {
                    Refusal::Unsafe {
                        fact: format!("no name like {name} is left"),
                        cure: "keep root under a shorter name".into(),
                    }
                    .into()
                }),
            // It was kept by a run that meant to keep it. It gets the time it was made at, as old
            // as a past root can be, so that retention takes it next.
            Retire::GiveUp => {
                let made = DateTime::from_timestamp(outgoing.otime_seconds, 0).unwrap_or_default();
                let uuid: String = outgoing.uuid.iter().map(|b| format!("{b:02x}")).collect();
                Ok(PastRootName::new(made, &uuid, |name| self.is_taken(name)))
            }
        }
    }

    /// What the new root is made from, if it can be.
    fn source(self, source: &Source) -> Result<&'a Found> {
        let survey = self.survey();
        match source {
            Source::Blank => {
                if let Some(refusal) = self.reading.unusable_blank() {
                    return Err(refusal.into());
                }
                if self.ask.needs_init && !survey.blank_has_init {
                    return Err(Refusal::BlankWithoutInit {
                        blank: Shown(&survey.blank.at).to_string(),
                    }
                    .into());
                }
                Ok(&survey.blank)
            }
            Source::Past(name) => match self.reading.past(name) {
                Some(past) => Ok(&past.found),
                None => Err(Error::Missing {
                    what: format!("past root {name}"),
                }),
            },
        }
    }
}

//! How root goes back to what is installed: pure functions of a survey.

use crate::layout::{self, PAST_ROOTS, ROOT, SCRATCH, STAGED};
use crate::survey::{FoundPast, Staged, origin};
use crate::{Node, Origin, Step, Survey};
use state_api::{Error, PastRootName, Plan, Refusal, Reset, Result, Retire, Source, once};
use std::path::Path;

/// Plans a reset.
pub(crate) fn reset(survey: &Survey, ask: &Reset) -> Result<Plan<Step>> {
    // Whether the lower layer can be used is asked where it is used.
    let refusal = survey.obstacles().into_iter().next();
    if let (Some(refusal), true) = (&refusal, ask.source.is_some()) {
        return Err(refusal.clone().into());
    }
    let steps = Draft { survey, ask }.steps()?;
    match refusal {
        Some(refusal) if !steps.is_empty() => Err(refusal.into()),
        _ => Ok(Plan { steps }),
    }
}

/// Plans how one past root is deleted: it goes among the scratch in one act, and is deleted there.
pub(crate) fn past_root(survey: &Survey, name: &PastRootName) -> Result<Plan<Step>> {
    let Some(past) = survey.past(name) else {
        return Err(Error::Missing {
            what: format!("past root {name}"),
        });
    };
    if past.is_pinned {
        return Err(Refusal::pinned(name).into());
    }
    let needed_by = survey.needing(name);
    if !needed_by.is_empty() {
        return Err(Refusal::Held {
            snapshot: format!("past root {name}"),
            by: needed_by,
        }
        .into());
    }
    if let Some(refusal) = survey.obstacles().into_iter().find(is_read_only) {
        return Err(refusal.into());
    }
    let at = survey.free_scratch(past.origin.sequence);
    let mut steps: Vec<Step> = reserve(survey).into_iter().collect();
    steps.extend([
        Step::Rename {
            from: layout::past(name),
            to: at.clone(),
            sequence: past.origin.sequence,
        },
        Step::Commit,
    ]);
    steps.extend([Step::Remove { at }, Step::Commit]);
    Ok(Plan { steps })
}

/// Plans how the scratch is emptied.
pub(crate) fn tidy(survey: &Survey) -> Result<Plan<Step>> {
    if survey.scratch.is_empty() {
        return Ok(Plan::nothing());
    }
    if let Some(refusal) = survey.obstacles().into_iter().find(is_read_only) {
        return Err(refusal.into());
    }
    let all = survey.scratch.iter();
    let remove = all.map(|at| Step::Remove { at: at.clone() });
    Ok(remove.chain([Step::Commit]).collect())
}

fn is_read_only(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::ReadOnly { .. })
}

fn reserve(survey: &Survey) -> Option<Step> {
    (survey.scratch_dir == Node::Missing).then(|| Step::MakeDirectory { at: SCRATCH.into() })
}

/// A reset on its way to a plan.
#[derive(Clone, Copy)]
struct Draft<'a> {
    survey: &'a Survey,
    ask: &'a Reset,
}

impl<'a> Draft<'a> {
    fn steps(self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        if self.survey.top == Node::Missing && self.ask.source.is_some() {
            steps.push(Step::MakeDirectory { at: "".into() });
        }
        match origin(&self.survey.root) {
            Some(root) => self.with_root(root, &mut steps)?,
            None => self.without_root(&mut steps)?,
        }
        once(&mut steps, |step| {
            matches!(step, Step::MakeDirectory { .. })
        });
        Ok(steps)
    }

    fn with_root(self, root: &Origin, steps: &mut Vec<Step>) -> Result<()> {
        let fresh = match &self.ask.source {
            Some(source) => Some(self.fresh(source)?),
            None => None,
        };
        match self.survey.staged() {
            Staged::Nothing => {}
            Staged::Fresh(staged) => steps.extend(self.discard(STAGED, staged)),
            Staged::Outgoing(outgoing) => {
                let name = self.leftover_name(fresh.is_some())?;
                steps.extend(put_away(self.survey, outgoing, &name));
            }
        }
        if let Some(fresh) = fresh {
            steps.extend(self.rotate(root, fresh)?);
        }
        Ok(())
    }

    /// Root is missing: the machine has never been reset, or somebody took its layers away.
    fn without_root(self, steps: &mut Vec<Step>) -> Result<()> {
        if let Staged::Outgoing(outgoing) = self.survey.staged() {
            if self.ask.source.is_none() {
                steps.extend([
                    Step::Rename {
                        from: STAGED.into(),
                        to: ROOT.into(),
                        sequence: outgoing.sequence,
                    },
                    Step::Commit,
                ]);
                return Ok(());
            }
            let name = self.leftover_name(false)?;
            steps.extend(put_away(self.survey, outgoing, &name));
        }
        // A boot that skips its reset needs a layer to write to as well; the first one is empty.
        let fresh = self.fresh(self.ask.source.as_ref().unwrap_or(&Source::Blank))?;
        if self.survey.top == Node::Missing {
            steps.push(Step::MakeDirectory { at: "".into() });
        }
        steps.extend([
            Step::MakeRoot {
                at: ROOT.into(),
                origin: fresh,
            },
            Step::Commit,
        ]);
        Ok(())
    }

    /// A fresh root in the place of the outgoing one, which is put away or given up.
    fn rotate(self, root: &Origin, fresh: Origin) -> Result<Vec<Step>> {
        let survey = self.survey;
        let mut steps = Vec::new();
        // A root that is kept is exchanged with a name from which it is put away, whoever finds it
        // there. One that is given up is exchanged with a name where nobody looks for anything.
        let with = match &self.ask.retire {
            Retire::Keep(_) => STAGED.into(),
            Retire::GiveUp => {
                steps.extend(reserve(survey));
                survey.free_scratch(fresh.sequence)
            }
        };
        steps.extend([
            Step::MakeRoot {
                at: with.clone(),
                origin: fresh,
            },
            Step::Exchange {
                name: ROOT.into(),
                with,
                outgoing: root.sequence,
            },
            Step::Commit,
        ]);
        if let Retire::Keep(name) = &self.ask.retire {
            if survey.is_taken(name) {
                return Err(Refusal::Unsafe {
                    fact: format!("{} exists already", layout::past(name).display()),
                    cure: "keep root under another name".into(),
                }
                .into());
            }
            steps.extend(put_away(survey, root, name));
        }
        Ok(steps)
    }

    /// Out of the way, in one act; what takes time is done after the boot.
    fn discard(self, from: &str, what: &Origin) -> Vec<Step> {
        let mut steps: Vec<Step> = reserve(self.survey).into_iter().collect();
        steps.extend([
            Step::Rename {
                from: from.into(),
                to: self.survey.free_scratch(what.sequence),
                sequence: what.sequence,
            },
            Step::Commit,
        ]);
        steps
    }

    /// The name of a root that an earlier run did not put away: the one given for this run's, or
    /// one like it if that is needed too.
    fn leftover_name(self, is_needed: bool) -> Result<PastRootName> {
        let name = match &self.ask.retire {
            Retire::Keep(name) if !is_needed => Some(name.clone()),
            Retire::Keep(name) => (2..)
                .map_while(|n| format!("{name}-{n}").parse().ok())
                .find(|like| !self.survey.is_taken(like)),
            // It was kept by a run that meant to keep it; retention takes it as the oldest.
            Retire::GiveUp => (1..)
                .map_while(|n| format!("19700101T000000Z-{n}").parse().ok())
                .find(|like| !self.survey.is_taken(like)),
        };
        match name {
            Some(name) if !self.survey.is_taken(&name) => Ok(name),
            _ => Err(Refusal::Unsafe {
                fact: "no name is left for the root that is not yet put away".into(),
                cure: "keep root under a shorter name".into(),
            }
            .into()),
        }
    }

    /// What the new root begins with, if it can.
    fn fresh(self, source: &Source) -> Result<Origin> {
        let survey = self.survey;
        let lower = match (survey.unusable_lower(), &survey.lower) {
            (None, Some(lower)) => lower,
            (refusal, _) => {
                return Err(refusal.expect("a missing lower layer is unusable").into());
            }
        };
        if self.ask.needs_init && !lower.has_init {
            return Err(Refusal::BlankWithoutInit {
                blank: lower.name.clone(),
            }
            .into());
        }
        let over = match source {
            Source::Blank => None,
            Source::Past(name) => Some(self.bootable(name, &lower.identity.0)?.name.clone()),
        };
        Ok(Origin {
            sequence: survey.next_sequence(),
            lower: lower.identity.0.clone(),
            over,
        })
    }

    /// A layer fits the lower one that it was written above, and no other.
    fn bootable(self, name: &PastRootName, lower: &str) -> Result<&'a FoundPast> {
        let Some(past) = self.survey.past(name) else {
            return Err(Error::Missing {
                what: format!("past root {name}"),
            });
        };
        if past.origin.lower != lower {
            return Err(Refusal::Unsafe {
                fact: format!("past root {name} belongs to the system before its last upgrade"),
                cure: format!("bring single files back: `state roots recover --from {name} PATH`"),
            }
            .into());
        }
        Ok(past)
    }
}

/// Makes what is under the staged name a past root.
fn put_away(survey: &Survey, outgoing: &Origin, name: &PastRootName) -> Vec<Step> {
    let mut steps = Vec::new();
    if survey.past_roots_dir == Node::Missing {
        steps.push(Step::MakeDirectory {
            at: Path::new(PAST_ROOTS).into(),
        });
    }
    steps.extend([
        Step::Rename {
            from: STAGED.into(),
            to: layout::past(name),
            sequence: outgoing.sequence,
        },
        Step::Commit,
    ]);
    steps
}

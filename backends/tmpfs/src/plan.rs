//! What is to be done: pure functions of a survey.

use crate::layout::{self, BLANK, DISCARDED, PREVIOUS, STAGED};
use crate::survey::Moment;
use crate::{Node, Step, Survey};
use state_api::{Error, PastRootName, Plan, Refusal, Reset, Result, Source};
use std::path::PathBuf;

fn rename(from: &str, to: &str) -> Step {
    Step::Rename {
        from: from.into(),
        to: to.into(),
    }
}

/// Plans a reset: in the initrd root is filled; later there is nothing to do but to check it.
pub(crate) fn reset(survey: &Survey, ask: &Reset) -> Result<Plan<Step>> {
    if let Some(Source::Past(name)) = &ask.source {
        return Err(Refusal::Unsafe {
            fact: format!("a root in memory cannot be started from past root {name}"),
            cure: "boot without `state.root=`, and bring back what is missing: \
                   `state roots recover PATH`"
                .into(),
        }
        .into());
    }
    let wrong = match survey.moment {
        Moment::Living => survey.mounted.refusals(),
        Moment::Filling => survey.refusals(),
    };
    if let Some(refusal) = wrong.into_iter().next() {
        return Err(refusal.into());
    }
    let (Moment::Filling, Some(blank)) = (survey.moment, &survey.blank) else {
        return Ok(Plan::nothing());
    };
    let tree = blank.usable().expect("or there had been a refusal");
    if ask.needs_init && !tree.has_init {
        return Err(Refusal::BlankWithoutInit {
            blank: blank.name.clone(),
        }
        .into());
    }
    let mut steps = finish_renaming(survey);
    steps.push(Step::Fill);
    Ok(Plan { steps })
}

/// A blank that an interrupted run did not give its name gets it.
fn finish_renaming(survey: &Survey) -> Vec<Step> {
    match survey.is_renaming() {
        true => vec![rename(STAGED, BLANK), Step::Commit],
        false => Vec::new(),
    }
}

/// Plans how root as it is becomes the blank.
///
/// Every name holds a complete tree or is one of those that are only ever deleted. The one moment
/// without a blank is between two renames, and who finds it there gives the new one its name.
pub(crate) fn take_blank(survey: &Survey) -> Result<Plan<Step>> {
    let Some(blank) = &survey.blank else {
        return Err(Error::Unsupported {
            engine: "tmpfs",
            what: "a blank without `device`, the filesystem that it is on,",
        });
    };
    if survey.blank_is_image() {
        return Err(Refusal::Unsafe {
            fact: format!("{} is an image", blank.name),
            cure: "make it anew with what made it; or name a directory as `blank`".into(),
        }
        .into());
    }
    if blank.node == Node::Other {
        return Err(Refusal::NotWhatItClaims {
            name: blank.name.clone(),
            expected: "a directory with a system in it".into(),
        }
        .into());
    }
    let mut steps = finish_renaming(survey);
    let has_blank = survey.has(BLANK) || survey.is_renaming();
    let discard = |steps: &mut Vec<Step>, name: &str| {
        steps.extend([
            rename(name, DISCARDED),
            Step::Commit,
            Step::Remove {
                at: DISCARDED.into(),
            },
        ]);
    };
    if survey.has(DISCARDED) {
        steps.push(Step::Remove {
            at: DISCARDED.into(),
        });
    }
    if survey.has(STAGED) && !survey.is_renaming() {
        discard(&mut steps, STAGED);
    }
    steps.extend([Step::CopyRoot { to: STAGED.into() }, Step::Commit]);
    if has_blank {
        if survey.has(PREVIOUS) {
            steps.extend([rename(PREVIOUS, DISCARDED), Step::Commit]);
        }
        steps.extend([rename(BLANK, PREVIOUS), Step::Commit]);
    }
    steps.extend([rename(STAGED, BLANK), Step::Commit]);
    if has_blank && survey.has(PREVIOUS) {
        steps.push(Step::Remove {
            at: DISCARDED.into(),
        });
    }
    Ok(Plan { steps })
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
    if let Some(refusal) = survey.not_what_they_claim() {
        return Err(refusal.into());
    }
    let at = survey.free_scratch(past.sequence);
    let mut steps = Vec::new();
    if survey.scratch_dir == Node::Missing {
        steps.push(Step::MakeDirectory {
            at: layout::scratch_dir(),
        });
    }
    steps.extend([
        Step::Rename {
            from: layout::past(name),
            to: at.clone(),
        },
        Step::Commit,
        Step::Remove { at },
    ]);
    Ok(Plan { steps })
}

/// Plans how everything that nobody wants is deleted.
pub(crate) fn tidy(survey: &Survey) -> Plan<Step> {
    let idle = survey.idle_blanks();
    let mut steps = Vec::new();
    let mut all: Vec<PathBuf> = survey.scratch.clone();
    for name in idle {
        if name == STAGED {
            // While it is being deleted it must not be taken for a blank.
            if survey.has(DISCARDED) {
                continue;
            }
            steps.extend([rename(STAGED, DISCARDED), Step::Commit]);
            all.push(DISCARDED.into());
        } else {
            all.push(name.into());
        }
    }
    steps.extend(all.into_iter().map(|at| Step::Remove { at }));
    Plan { steps }
}

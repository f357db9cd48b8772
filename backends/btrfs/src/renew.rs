//! Renewing the blank in a writable copy of it, the draft, and taking the renewal back.
//!
//! Resets know nothing of the draft: one that a cut left waits for the next renewal, or for
//! `state roots gc`. It becomes the blank as root does, by a read-only copy that is exchanged with
//! it: a blank was never written to.

use crate::blank::{after_settling, check, clear, replace};
use crate::delete::demolish;
use crate::layout::Layout;
use crate::shown::Shown;
use crate::survey::{Found, Reading};
use crate::{Step, Survey};
use state_api::{Error, Plan, Refusal, Renewal, Result};

/// Plans a part of a renewal.
pub(crate) fn plan(layout: &Layout, survey: &Survey, what: Renewal) -> Result<Plan<Step>> {
    check(layout, survey)?;
    if !survey.draft.is_missing() && survey.draft.subvolume().is_none() {
        return Err(Refusal::NotWhatItClaims {
            name: Shown(&survey.draft.at).to_string(),
            expected: "a subvolume".into(),
        }
        .into());
    }
    let steps = match what {
        Renewal::Begin => begin(layout, survey)?,
        Renewal::Adopt => {
            let mut steps = replace(layout, survey, draft(survey)?);
            steps.extend(give_up(survey));
            steps
        }
        Renewal::GiveUp => give_up(survey),
        Renewal::Undo => undo(layout, survey)?,
    };
    Ok(Plan { steps })
}

/// Plans how a draft goes that a cut left; nothing while it is in use.
pub(crate) fn tidy(layout: &Layout, survey: &Survey) -> Result<Plan<Step>> {
    let reading = Reading { layout, survey };
    let steps = match reading.mounted_below(&survey.draft.at).next() {
        None if !survey.filesystem.is_read_only => give_up(survey),
        _ => Vec::new(),
    };
    Ok(Plan { steps })
}

fn draft(survey: &Survey) -> Result<&Found> {
    match survey.draft.subvolume() {
        Some(_) => Ok(&survey.draft),
        None => Err(Error::Missing {
            what: Shown(&survey.draft.at).to_string(),
        }),
    }
}

fn give_up(survey: &Survey) -> Vec<Step> {
    let mut steps = demolish(&survey.draft, &survey.draft.at);
    if !steps.is_empty() {
        steps.push(Step::Commit);
    }
    steps
}

fn begin(layout: &Layout, survey: &Survey) -> Result<Vec<Step>> {
    let reading = Reading { layout, survey };
    if let Some(refusal) = reading.unusable_blank() {
        return Err(refusal.into());
    }
    let mut steps = give_up(survey);
    steps.push(Step::Snapshot {
        from: layout.blank.clone(),
        to: layout.draft(),
        read_only: false,
    });
    Ok(steps)
}

fn undo(layout: &Layout, survey: &Survey) -> Result<Vec<Step>> {
    let previous = after_settling(survey);
    let Some(top) = previous.as_ref().and_then(Found::subvolume) else {
        return Err(Error::Missing {
            what: Shown(&layout.previous()).to_string(),
        });
    };
    if !top.is_read_only || top.ctransid > top.otransid {
        return Err(Refusal::BlankWritten {
            blank: Shown(&layout.previous()).to_string(),
        }
        .into());
    }
    let mut steps = clear(layout, survey);
    steps.push(match survey.blank.subvolume() {
        Some(blank) => Step::Exchange {
            name: layout.blank.clone(),
            with: layout.previous(),
            outgoing: blank.id,
        },
        None => Step::Rename {
            from: layout.previous(),
            to: layout.blank.clone(),
            id: Some(top.id),
        },
    });
    steps.push(Step::Commit);
    Ok(steps)
}

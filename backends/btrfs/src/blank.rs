//! The blank, the one before it, and what an interrupted change of them leaves.
//!
//! A new blank is staged beside the present one and exchanged with it, so that there is never a
//! moment without a blank. The same name then holds the old one until it is the previous one;
//! ids tell which of the two it is, as they do for root.

use crate::delete::demolish;
use crate::layout::{Layout, RESERVED};
use crate::shown::Shown;
use crate::survey::{Found, Reading};
use crate::{Node, Step, Survey};
use state_api::{Leftover, Plan, Refusal, Result};
use std::path::Path;

/// What is under the name of the staged blank.
enum StagedBlank<'a> {
    Nothing,
    /// A copy of root that never became blank.
    New(&'a Found),
    /// A blank that was replaced and is to become the previous one.
    Old(&'a Found),
}

fn staged(survey: &Survey) -> StagedBlank<'_> {
    match (survey.blank_staged.subvolume(), survey.blank.subvolume()) {
        (None, _) => StagedBlank::Nothing,
        (Some(staged), Some(blank)) if staged.id > blank.id => {
            StagedBlank::New(&survey.blank_staged)
        }
        _ => StagedBlank::Old(&survey.blank_staged),
    }
}

pub(crate) fn leftovers(survey: &Survey) -> impl Iterator<Item = Leftover> {
    let name = |found: &Found| Shown(&found.at).to_string();
    let staged = match staged(survey) {
        StagedBlank::Nothing => None,
        StagedBlank::New(found) => Some(Leftover::Staged { name: name(found) }),
        StagedBlank::Old(found) => Some(Leftover::Outgoing { name: name(found) }),
    };
    let superseded = survey.superseded.subvolume().map(|_| {
        let name = name(&survey.superseded);
        match survey.previous.subvolume() {
            Some(_) => Leftover::Staged { name },
            None => Leftover::Outgoing { name },
        }
    });
    staged.into_iter().chain(superseded)
}

/// Makes the replaced blank the previous one; the one before that goes last.
fn retire(layout: &Layout, survey: &Survey, id: u64, previous: Option<&Found>) -> Vec<Step> {
    let mut steps = Vec::new();
    // Either of the two, as a run before this one left them.
    let older = previous.or_else(|| survey.superseded.subvolume().map(|_| &survey.superseded));
    if let Some(previous) = previous {
        steps.push(Step::Rename {
            from: layout.previous(),
            to: layout.superseded(),
            id: previous.subvolume().map(|subvolume| subvolume.id),
        });
    }
    steps.extend([
        Step::Rename {
            from: layout.blank_staged(),
            to: layout.previous(),
            id: Some(id),
        },
        Step::Commit,
    ]);
    if let Some(older) = older {
        steps.extend(demolish(older, &layout.superseded()));
        steps.push(Step::Commit);
    }
    steps
}

/// Finishes what an interrupted change of the blank left behind.
pub(crate) fn settle(layout: &Layout, survey: &Survey) -> Vec<Step> {
    let mut steps = Vec::new();
    let previous = survey.previous.subvolume().map(|_| &survey.previous);
    let superseded = survey.superseded.subvolume();
    if let (Some(_), Some(_)) = (previous, superseded) {
        steps.extend(demolish(&survey.superseded, &survey.superseded.at));
        steps.push(Step::Commit);
    }
    match (staged(survey), superseded) {
        (StagedBlank::Old(old), _) => {
            let id = old.subvolume().map_or(0, |subvolume| subvolume.id);
            steps.extend(retire(layout, survey, id, previous));
            return steps;
        }
        (StagedBlank::New(new), _) => {
            steps.extend(demolish(new, &new.at));
            steps.push(Step::Commit);
        }
        (StagedBlank::Nothing, _) => {}
    }
    if let (None, Some(superseded)) = (previous, superseded) {
        steps.extend([
            Step::Rename {
                from: layout.superseded(),
                to: layout.previous(),
                id: Some(superseded.id),
            },
            Step::Commit,
        ]);
    }
    steps
}

/// Where a blank, or the place one is made in, is mounted; what is mounted is never renamed or deleted.
pub(crate) fn in_use(reading: Reading<'_>) -> Option<Refusal> {
    let survey = reading.survey;
    [
        &survey.blank,
        &survey.blank_staged,
        &survey.previous,
        &survey.superseded,
        &survey.scratch,
        &survey.draft,
    ]
    .into_iter()
    .find_map(|found| {
        let mounted = reading.mounted_below(&found.at).next()?;
        Some(Refusal::InUse {
            what: Shown(&found.at).to_string(),
            by: format!("a mount at {}", Shown(&mounted.at)),
        })
    })
}

/// Plans how root becomes the blank.
pub(crate) fn take(layout: &Layout, survey: &Survey) -> Result<Plan<Step>> {
    check(layout, survey)?;
    if survey.root.subvolume().is_none() {
        return Err(Refusal::Unsafe {
            fact: format!("{} does not exist", Shown(&survey.root.at)),
            cure: "`state reset` makes it from blank".into(),
        }
        .into());
    }
    Ok(Plan {
        steps: replace(layout, survey, &survey.root),
    })
}

/// Refuses to touch a blank that is not what it claims, or in use.
pub(crate) fn check(layout: &Layout, survey: &Survey) -> Result<()> {
    let reading = Reading { layout, survey };
    let matters = |refusal: &Refusal| {
        // A mounted root can be copied, whatever lies in it; and blank is about to be replaced.
        !matches!(
            refusal,
            Refusal::RootMounted { .. } | Refusal::NoBlank { .. } | Refusal::BlankWritten { .. }
        ) && !is_only_mounted(reading, refusal)
    };
    if let Some(refusal) = reading.refusals().into_iter().find(matters) {
        return Err(refusal.into());
    }
    match in_use(reading) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

/// What comes before any change of the blank: what an interrupted run left behind is finished.
pub(crate) fn clear(layout: &Layout, survey: &Survey) -> Vec<Step> {
    let mut steps = Vec::new();
    // A root that was given up and is still the default cannot be deleted: the reset that was
    // interrupted would have made root the default next.
    let given_up = survey.scratch.subvolume();
    if given_up.is_some_and(|top| top.id == survey.filesystem.default_subvolume) {
        steps.push(Step::SetDefault {
            at: layout.root.clone(),
        });
    }
    steps.extend(settle(layout, survey));
    steps
}

/// A copy of `source` in the place of the blank, which becomes the previous one.
pub(crate) fn replace(layout: &Layout, survey: &Survey, source: &Found) -> Vec<Step> {
    let mut steps = clear(layout, survey);
    steps.extend(stage(layout, survey, source));
    let Some(blank) = survey.blank.subvolume() else {
        steps.extend([
            Step::Rename {
                from: layout.blank_staged(),
                to: layout.blank.clone(),
                id: None,
            },
            Step::Commit,
        ]);
        return steps;
    };
    steps.extend([
        Step::Exchange {
            name: layout.blank.clone(),
            with: layout.blank_staged(),
            outgoing: blank.id,
        },
        Step::Commit,
    ]);
    steps.extend(retire(
        layout,
        &Survey {
            superseded: nothing_at(&survey.superseded),
            ..survey.clone()
        },
        blank.id,
        after_settling(survey).as_ref(),
    ));
    steps
}

/// A read-only copy of `source` under the name of the staged blank.
///
/// A snapshot has a directory in place of every subvolume inside its source in which nothing can
/// ever be made, and every root made from it would have it too: an ordinary one takes its place
/// first.
fn stage(layout: &Layout, survey: &Survey, source: &Found) -> Vec<Step> {
    let snapshot = |from: &Path| Step::Snapshot {
        from: from.to_owned(),
        to: layout.blank_staged(),
        read_only: true,
    };
    let nested = &source.nested;
    if nested.is_empty() {
        return vec![snapshot(&source.at)];
    }
    let build = layout.scratch();
    let mut steps = demolish(&survey.scratch, &build);
    if survey.reserved_dir == Node::Missing {
        steps.push(Step::MakeDirectory {
            at: RESERVED.into(),
        });
    }
    steps.push(Step::Snapshot {
        from: source.at.clone(),
        to: build.clone(),
        read_only: false,
    });
    let is_outermost = |at: &Path| {
        let mut others = nested.iter().filter(|other| other.at != at);
        !others.any(|other| at.starts_with(&other.at))
    };
    for nested in nested.iter().filter(|nested| is_outermost(&nested.at)) {
        let at = build.join(nested.at.strip_prefix(&source.at).unwrap_or(&nested.at));
        steps.extend([
            Step::RemoveDirectory { at: at.clone() },
            Step::MakeDirectoryLike {
                at,
                like: nested.at.clone(),
            },
        ]);
    }
    steps.push(snapshot(&build));
    steps.push(Step::Delete {
        at: build,
        id: None,
    });
    steps
}

fn nothing_at(found: &Found) -> Found {
    Found {
        at: found.at.clone(),
        node: Node::Missing,
        nested: Vec::new(),
    }
}

/// The previous blank, once [`settle`] is through: what it deletes is gone, what it renames has
/// that name.
pub(crate) fn after_settling(survey: &Survey) -> Option<Found> {
    let heir = match staged(survey) {
        StagedBlank::Old(old) => Some(old),
        _ => [&survey.previous, &survey.superseded]
            .into_iter()
            .find(|found| found.subvolume().is_some()),
    };
    heir.cloned()
}

/// Whether a refusal speaks of a mounted volume inside root, which a copy of root leaves alone.
fn is_only_mounted(reading: Reading<'_>, refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::InsideRoot { .. }) && !reading.inside_root().contains(refusal)
}

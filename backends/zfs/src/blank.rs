//! Taking a new blank, and finishing one whose taking was interrupted.
//!
//! ZFS cannot exchange two names, so the new blank is taken as `BLANK-next` first; then the old
//! one becomes `BLANK-previous` and the new one `BLANK`. Whoever finds a `-next` and no blank
//! finishes the renames.

use crate::layout::{Layout, split};
use crate::plan::{destroy, free};
use crate::survey::Reading;
use crate::{Step, Survey, ZfsSnapshot};
use state_api::{Plan, Refusal, Result};

/// Finishes an interrupted taking: the steps, and the survey as it is after them.
pub(crate) fn settle(layout: &Layout, survey: &Survey) -> (Vec<Step>, Survey) {
    let reading = Reading { layout, survey };
    let mut settled = survey.clone();
    let staged: Vec<_> = reading.staged_blanks().collect();
    let rel = |s: &ZfsSnapshot| split(&s.name).0[layout.root.len()..].to_owned();
    if !staged
        .iter()
        .any(|next| reading.blank_of(&rel(next)).is_none())
    {
        return (Vec::new(), settled);
    }
    let mut steps = Vec::new();
    for next in staged {
        if let Some(blank) = reading.blank_of(&rel(next)) {
            let holder = split(&blank.name).0;
            steps.push(rename(blank, holder, &layout.previous()));
        }
        steps.push(rename(next, split(&next.name).0, &layout.blank));
    }
    for step in &steps {
        if let Step::Rename { from, to, .. } = step {
            for snapshot in settled.snapshots.iter_mut().filter(|s| s.name == *from) {
                snapshot.name.clone_from(to);
            }
            let others = settled.past_roots.iter_mut().chain(&mut settled.staged);
            for dataset in settled.root.iter_mut().chain(others) {
                if dataset.origin.as_deref() == Some(from) {
                    dataset.origin = Some(to.clone());
                }
            }
        }
    }
    (steps, settled)
}

/// Plans how the present root becomes the blank.
pub(crate) fn take(layout: &Layout, survey: &Survey) -> Result<Plan<Step>> {
    let (mut steps, survey) = settle(layout, survey);
    let reading = Reading {
        layout,
        survey: &survey,
    };
    let fatal = |r: &Refusal| {
        !matches!(
            r,
            Refusal::RootMounted { .. } | Refusal::NoBlank { .. } | Refusal::InUse { .. }
        )
    };
    if let Some(refusal) = reading.refusals().into_iter().find(fatal) {
        return Err(refusal.into());
    }
    if reading.root().is_none() {
        return Err(Refusal::NotWhatItClaims {
            name: layout.root.clone(),
            expected: "a dataset that exists".into(),
        }
        .into());
    }
    // A root with a blank of its own looks finished: it would never be promoted, and with a key of
    // its own could never be renamed again.
    let mut datasets = reading.survey.root.iter();
    if datasets.any(|d| reading.unpromoted(d).is_some()) {
        return Err(Refusal::Unsafe {
            fact: "an interrupted reset is not finished".into(),
            cure: "the next reset finishes it".into(),
        }
        .into());
    }
    for stale in reading.staged_blanks() {
        free(stale)?;
        steps.push(destroy(stale));
    }
    let tree = reading.tree(&layout.root);
    let next = layout.next();
    steps.push(Step::Snapshot {
        names: tree
            .iter()
            .map(|(_, d)| format!("{}@{next}", d.name))
            .collect(),
    });

    let blanks: Vec<_> = tree
        .iter()
        .filter_map(|(rel, _)| reading.blank_of(rel))
        .collect();
    let holders = || blanks.iter().map(|blank| split(&blank.name).0);
    let is_free = |short: &String| holders().all(|h| reading.snapshot(h, short).is_none());
    let older = (2..)
        .map(|n| format!("{}-{n}", layout.previous()))
        .find(is_free)
        .expect("one of infinitely many names is free");
    let replaced: Vec<_> = holders()
        .filter_map(|h| reading.snapshot(h, &layout.previous()))
        .collect();
    for previous in &replaced {
        steps.push(rename(previous, split(&previous.name).0, &older));
    }
    for blank in &blanks {
        steps.push(rename(blank, split(&blank.name).0, &layout.previous()));
    }
    for (_, d) in &tree {
        steps.push(Step::Rename {
            from: format!("{}@{next}", d.name),
            to: format!("{}@{}", d.name, layout.blank),
            guid: None,
            undo: None,
        });
    }

    // Blanks before the previous one go as soon as no past root is a clone of them.
    let prefix = format!("{}-", layout.previous());
    let oldest = holders()
        .flat_map(|h| reading.snapshots_of(h))
        .filter(|s| split(&s.name).1.starts_with(&prefix) && free(s).is_ok())
        .map(destroy);
    steps.extend(oldest);
    for previous in replaced.into_iter().filter(|s| free(s).is_ok()) {
        steps.push(Step::Destroy {
            name: format!("{}@{older}", split(&previous.name).0),
            guid: previous.guid,
        });
    }
    Ok(Plan { steps })
}

fn rename(snapshot: &ZfsSnapshot, dataset: &str, short: &str) -> Step {
    Step::Rename {
        from: snapshot.name.clone(),
        to: format!("{dataset}@{short}"),
        guid: Some(snapshot.guid),
        undo: None,
    }
}

//! Deleting one past root, and nothing that anything else needs.

use crate::layout::{Layout, split};
use crate::plan::{destroy, free};
use crate::survey::{Reading, is_pinned};
use crate::{Dataset, Step, Survey, ZfsSnapshot};
use state_api::{Error, PastRootName, Plan, Refusal, Result};

/// Plans how a past root is deleted.
///
/// A snapshot of it that root or other past roots are clones of (its blank while a reset is
/// unfinished, or the source of a root made from it) goes over to one of them first.
pub(crate) fn past_root(
    layout: &Layout,
    survey: &Survey,
    past: &PastRootName,
) -> Result<Plan<Step>> {
    let reading = Reading { layout, survey };
    let top = layout.past(past);
    let tree = reading.tree(&top);
    let Some((_, dataset)) = tree.first() else {
        return Err(Error::Missing {
            what: format!("past root {past}"),
        });
    };
    if survey.pool.is_read_only {
        return Err(Refusal::ReadOnly {
            what: format!("pool {}", survey.pool.name),
        }
        .into());
    }
    if is_pinned(dataset) {
        return Err(Refusal::pinned(past).into());
    }
    if reading.unretired().iter().any(|d| d.name == top) || reading.root().is_none() {
        return Err(Refusal::Unsafe {
            fact: format!("an interrupted reset has not put {past} away to the end"),
            cure: "the next reset finishes it".into(),
        }
        .into());
    }
    for (_, d) in &tree {
        if let Some(at) = d.mounted_at.first() {
            return Err(Refusal::InUse {
                what: d.name.clone(),
                by: format!("a mount at {}", at.display()),
            }
            .into());
        }
    }

    let mut promotes = Vec::new();
    let mut destroys = Vec::new();
    for (_, d) in &tree {
        let mut own: Vec<_> = reading.snapshots_of(&d.name).collect();
        let needed = own.iter().rposition(|s| !s.clones.is_empty());
        if let Some(newest) = needed {
            let moved: Vec<_> = own.drain(..=newest).collect();
            let origin = moved[newest];
            let heir = reading.heir(&top, &moved).ok_or_else(|| Refusal::Held {
                snapshot: origin.name.clone(),
                by: origin.clones.clone(),
            })?;
            promotes.push(Step::Promote {
                dataset: heir.name.clone(),
                origin_guid: origin.guid,
            });
        }
        for snapshot in own {
            free(snapshot)?;
            let is_the_blank = reading
                .blank_of("")
                .is_some_and(|b| b.guid == snapshot.guid);
            if is_the_blank {
                return Err(Refusal::Unsafe {
                    fact: format!("{} is the only blank there is", snapshot.name),
                    cure: "reset root, or take a new blank from it, first".into(),
                }
                .into());
            }
            destroys.push(destroy(snapshot));
        }
    }
    destroys.extend(tree.iter().rev().map(|(_, d)| Step::Destroy {
        name: d.name.clone(),
        guid: d.guid,
    }));
    promotes.extend(destroys);
    Ok(Plan { steps: promotes })
}

impl<'a> Reading<'a> {
    /// The dataset that takes over the snapshots in `moved`: a clone of the last of them, of our
    /// family, outside `top`, and with none of their names taken. Root first, then the oldest.
    fn heir(self, top: &str, moved: &[&ZfsSnapshot]) -> Option<&'a Dataset> {
        let clones = &moved.last()?.clones;
        let takes = |name: &String| {
            let heir = self.dataset(name)?;
            let is_outside = crate::layout::below(top, name).is_none() && !self.is_in_staging(heir);
            let has_room = moved
                .iter()
                .all(|s| self.snapshot(name, split(&s.name).1).is_none());
            (is_outside && has_room).then_some(heir)
        };
        let is_past = |d: &Dataset| crate::layout::below(&self.layout.root, &d.name).is_none();
        clones
            .iter()
            .filter_map(takes)
            .min_by_key(|d| (is_past(d), d.createtxg))
    }
}

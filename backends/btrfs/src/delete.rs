//! Deleting a subvolume with all that lies in it.

use crate::layout::Layout;
use crate::shown::Shown;
use crate::survey::{Found, Reading};
use crate::{Step, Survey};
use state_api::{Error, PastRootName, Plan, Refusal, Result};
use std::path::{Path, PathBuf};

/// The steps that delete what was found, which by then is called `now`: from the innermost
/// subvolume outwards, each one by its id. Read-only flags that would stand in the way go first.
pub(crate) fn demolish(found: &Found, now: &Path) -> Vec<Step> {
    let Some(top) = found.subvolume() else {
        return Vec::new();
    };
    let renamed = |at: &Path| -> PathBuf {
        let rest = at.strip_prefix(&found.at).unwrap_or(at);
        if rest.as_os_str().is_empty() {
            now.to_owned()
        } else {
            now.join(rest)
        }
    };
    let all: Vec<(u64, &Path, bool)> = [(top.id, found.at.as_path(), top.is_read_only)]
        .into_iter()
        .chain(
            found
                .nested
                .iter()
                .map(|nested| (nested.id, nested.at.as_path(), nested.is_read_only)),
        )
        .collect();
    let holds_another = |at: &Path| {
        all.iter()
            .any(|(_, other, _)| *other != at && other.starts_with(at))
    };
    let clearing = all
        .iter()
        .filter(|(_, at, is_read_only)| *is_read_only && holds_another(at))
        .map(|(_, at, _)| Step::SetReadOnly {
            at: renamed(at),
            read_only: false,
        });
    let deleting = all.iter().rev().map(|(id, at, _)| Step::Delete {
        at: renamed(at),
        id: Some(*id),
    });
    clearing.chain(deleting).collect()
}

/// Plans how one past root is deleted.
pub(crate) fn past_root(
    layout: &Layout,
    survey: &Survey,
    name: &PastRootName,
) -> Result<Plan<Step>> {
    let reading = Reading { layout, survey };
    let Some(past) = reading.past(name) else {
        return Err(Error::Missing {
            what: format!("past root {name}"),
        });
    };
    let refused = |refusal: Refusal| Err(refusal.into());
    if survey.filesystem.is_read_only {
        return refused(Refusal::ReadOnly {
            what: format!("the filesystem {}", survey.filesystem.uuid),
        });
    }
    if past.is_pinned {
        return refused(Refusal::pinned(name));
    }
    // A machine that boots an old root by its name still has it mounted: the kernel would delete
    // it all the same.
    let found = &past.found;
    if let Some(mounted) = reading.mounted_below(&found.at).next() {
        return refused(Refusal::InUse {
            what: Shown(mounted.root.strip_prefix("/").unwrap_or(&mounted.root)).to_string(),
            by: format!("a mount at {}", Shown(&mounted.at)),
        });
    }
    let ids = found.subvolume().map(|top| top.id);
    let mut ids = ids.into_iter().chain(found.nested.iter().map(|n| n.id));
    if ids.any(|id| id == survey.filesystem.default_subvolume) {
        return refused(Refusal::Unsafe {
            fact: format!("past root {name} holds the default subvolume"),
            cure: "`btrfs subvolume set-default` makes another one the default".into(),
        });
    }
    let inside = layout
        .protected
        .iter()
        .find(|path| path.starts_with(&found.at));
    if let Some(inside) = inside {
        return refused(Refusal::InUse {
            what: Shown(inside).to_string(),
            by: "the configuration".into(),
        });
    }
    if survey.root.is_missing() {
        return refused(Refusal::Unsafe {
            fact: "there is no root: an interrupted reset has to be finished first".into(),
            cure: "the next reset finishes it".into(),
        });
    }
    let mut steps = demolish(found, &found.at);
    steps.push(Step::Commit);
    Ok(Plan { steps })
}

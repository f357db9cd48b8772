//! What was seen, and how it is read: which dataset holds blank, what an interrupted reset left.

use crate::layout::{Layout, below, split};
use crate::{Dataset, DatasetKind, Pool, Property, ZfsSnapshot};
use chrono::DateTime;
use serde::Serialize;
use state_api::{Blank, Identity, Leftover, PastRoot, PastRootName, Refusal, RootFacts};
use std::path::Path;

/// Everything a plan is made from, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The pool.
    pub pool: Pool,
    /// Root and every dataset below it, parents first; empty if root is missing.
    pub root: Vec<Dataset>,
    /// The dataset past roots are children of, and every dataset below it; empty if missing.
    pub past_roots: Vec<Dataset>,
    /// A root that is being made beside root, and every dataset below it. Only looked for where
    /// root is missing or has children.
    pub staged: Vec<Dataset>,
    /// The snapshots and bookmarks of all of these.
    pub snapshots: Vec<ZfsSnapshot>,
    /// Whether blank holds an init; `None` if there is no blank or it cannot be opened.
    pub blank_has_init: Option<bool>,
}

/// A survey read by the names of one machine.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub layout: &'a Layout,
    pub survey: &'a Survey,
}

impl<'a> Reading<'a> {
    pub(crate) fn root(self) -> Option<&'a Dataset> {
        self.survey.root.first()
    }

    fn all(self) -> impl Iterator<Item = &'a Dataset> {
        let Survey {
            root,
            past_roots,
            staged,
            ..
        } = self.survey;
        root.iter().chain(past_roots).chain(staged)
    }

    pub(crate) fn dataset(self, name: &str) -> Option<&'a Dataset> {
        self.all().find(|d| d.name == name)
    }

    /// `top` and what is below it, parents first, each with what its name adds to `top`.
    pub(crate) fn tree(self, top: &str) -> Vec<(&'a str, &'a Dataset)> {
        self.all()
            .filter_map(|d| below(top, &d.name).map(|rel| (rel, d)))
            .collect()
    }

    pub(crate) fn snapshots_of(self, dataset: &str) -> impl Iterator<Item = &'a ZfsSnapshot> {
        self.survey
            .snapshots
            .iter()
            .filter(move |s| split(&s.name).0 == dataset)
    }

    pub(crate) fn snapshot(self, dataset: &str, short: &str) -> Option<&'a ZfsSnapshot> {
        let name = format!("{dataset}@{short}");
        self.survey.snapshots.iter().find(|s| s.name == name)
    }

    /// Past roots by our naming, oldest first.
    pub(crate) fn past_roots(self) -> Vec<(PastRootName, &'a Dataset)> {
        let mut found: Vec<_> = self
            .survey
            .past_roots
            .iter()
            .filter(|d| d.kind == DatasetKind::Filesystem)
            .filter_map(|d| Some((self.layout.past_name(&d.name)?, d)))
            .collect();
        found.sort_by_key(|(_, d)| d.createtxg);
        found
    }

    /// Past roots that were renamed and not put away to the end, oldest first.
    pub(crate) fn unretired(self) -> Vec<&'a Dataset> {
        let retired = |top: &Dataset| self.tree(&top.name).iter().all(|(_, d)| is_retired(d));
        self.past_roots()
            .into_iter()
            .map(|(_, d)| d)
            .filter(|d| !retired(d))
            .collect()
    }

    /// The past root that was root when an interrupted reset began. Meaningful only while root is
    /// missing.
    pub(crate) fn outgoing(self) -> Option<&'a Dataset> {
        let unretired = self.unretired();
        let holder = self.blank_holder();
        unretired
            .iter()
            .find(|d| Some(d.name.as_str()) == holder)
            .or(unretired.last())
            .copied()
    }

    /// The snapshot `dataset` came from, if that is a blank under a past root: it was cloned and
    /// not promoted.
    pub(crate) fn unpromoted(self, dataset: &Dataset) -> Option<&'a ZfsSnapshot> {
        let origin = dataset.origin.as_deref()?;
        let (holder, short) = split(origin);
        below(&self.layout.past_roots, holder)?;
        (short == self.layout.blank).then_some(())?;
        self.survey.snapshots.iter().find(|s| s.name == origin)
    }

    /// The dataset that has the blank: root; or, while a reset is unfinished or after a past root
    /// was booted, a past root.
    pub(crate) fn blank_holder(self) -> Option<&'a str> {
        let has_blank = |d: &&Dataset| self.snapshot(&d.name, &self.layout.blank).is_some();
        if let Some(root) = self.root() {
            if has_blank(&root) {
                return Some(&root.name);
            }
            if let Some(origin) = self.unpromoted(root) {
                return Some(split(&origin.name).0);
            }
        }
        // The newest is the one that was root last.
        let past = self.past_roots();
        past.into_iter()
            .map(|(_, d)| d)
            .rev()
            .find(has_blank)
            .map(|d| d.name.as_str())
    }

    /// The blank of root (`rel` empty) or of what is below it.
    pub(crate) fn blank_of(self, rel: &str) -> Option<&'a ZfsSnapshot> {
        let own = format!("{}{rel}", self.layout.root);
        let own_blank = self.snapshot(&own, &self.layout.blank);
        // Root may be promoted already and its child not yet.
        let origin = || self.unpromoted(self.dataset(&own)?);
        own_blank.or_else(origin).or_else(|| {
            let holder = self.blank_holder()?;
            self.snapshot(&format!("{holder}{rel}"), &self.layout.blank)
        })
    }

    /// Blanks that were being taken when something stopped it, while the old blank still is one.
    pub(crate) fn staged_blanks(self) -> impl Iterator<Item = &'a ZfsSnapshot> {
        let next = self.layout.next();
        self.survey
            .root
            .iter()
            .filter_map(move |d| self.snapshot(&d.name, &next))
    }

    /// What speaks against a reset, worst first.
    pub(crate) fn refusals(self) -> Vec<Refusal> {
        let mut found = Vec::new();
        let Layout {
            root,
            blank,
            past_roots,
            ..
        } = self.layout;
        if self.survey.pool.is_read_only {
            found.push(Refusal::ReadOnly {
                what: format!("pool {}", self.survey.pool.name),
            });
        }
        if self.layout.is_top_level() {
            found.push(Refusal::RootIsTopLevel);
        }
        for top in [root, past_roots] {
            if self
                .dataset(top)
                .is_some_and(|d| d.kind != DatasetKind::Filesystem)
            {
                found.push(Refusal::NotWhatItClaims {
                    name: top.clone(),
                    expected: "a filesystem".into(),
                });
            }
        }
        for dataset in &self.survey.root {
            if let Some(at) = dataset.mounted_at.first() {
                found.push(Refusal::RootMounted {
                    root: dataset.name.clone(),
                    at: at.clone(),
                });
            }
        }
        for dataset in self.unretired() {
            if let Some(at) = dataset.mounted_at.first() {
                found.push(Refusal::InUse {
                    what: dataset.name.clone(),
                    by: format!("a mount at {}", at.display()),
                });
            }
        }
        if self.blank_of("").is_none() {
            found.push(Refusal::NoBlank {
                blank: format!("{root}@{blank}"),
                root_exists: self.root().is_some(),
            });
        }
        found.extend(self.child_refusals());
        found.extend(self.staged_refusal());
        found
    }

    /// Children that would be put away with root and not come back.
    pub(crate) fn child_refusals(self) -> Vec<Refusal> {
        let root = &self.layout.root;
        let children = self.tree(root);
        let children = children.iter().filter(|(rel, _)| !rel.is_empty());
        children
            .filter_map(|(rel, d)| match d.kind {
                _ if self.is_protected(d) => Some(Refusal::InsideRoot {
                    what: d.name.clone(),
                    root: root.clone(),
                }),
                DatasetKind::Volume => Some(Refusal::InsideRoot {
                    what: d.name.clone(),
                    root: root.clone(),
                }),
                DatasetKind::Filesystem if self.blank_of(rel).is_none() => {
                    Some(Refusal::ChildWithoutBlank {
                        child: d.name.clone(),
                    })
                }
                DatasetKind::Filesystem => None,
            })
            .collect()
    }

    /// Whether a dataset holds a store.
    fn is_protected(self, dataset: &Dataset) -> bool {
        let mount_point = property(dataset, "mountpoint").map(Path::new);
        self.layout.protected.contains(&dataset.name)
            || mount_point.is_some_and(|at| self.layout.protected_paths.iter().any(|p| p == at))
    }

    pub(crate) fn leftovers(self) -> Vec<Leftover> {
        let outgoing = self.unretired().into_iter().map(|d| Leftover::Outgoing {
            name: d.name.clone(),
        });
        let staged = self.staged_blanks().map(|s| Leftover::Staged {
            name: s.name.clone(),
        });
        let beside = self.survey.staged.first().map(|d| Leftover::Staged {
            name: d.name.clone(),
        });
        outgoing.chain(staged).chain(beside).collect()
    }

    pub(crate) fn facts(self) -> RootFacts {
        let time = |seconds| DateTime::from_timestamp(seconds, 0);
        RootFacts {
            root: self.layout.root.clone(),
            exists: self.root().is_some(),
            mounted_at: self
                .root()
                .map(|d| d.mounted_at.clone())
                .unwrap_or_default(),
            blank: self.blank_of("").map(|s| Blank {
                name: s.name.clone(),
                identity: Identity(s.guid.to_string()),
                taken_at: time(s.creation_seconds),
            }),
            previous_blank: None,
            past_roots: self
                .past_roots()
                .into_iter()
                .map(|(name, d)| PastRoot {
                    rotated_at: name.rotated_at(),
                    sequence: d.createtxg,
                    is_pinned: is_pinned(d),
                    needed_by: Vec::new(),
                    name,
                })
                .collect(),
            leftovers: self.leftovers(),
            refusals: self.refusals(),
        }
    }
}

pub(crate) fn property<'a>(dataset: &'a Dataset, name: &str) -> Option<&'a str> {
    let found = dataset.properties.iter().find(|p| p.name == name)?;
    Some(&found.value)
}

pub(crate) fn is_pinned(dataset: &Dataset) -> bool {
    property(dataset, crate::layout::PINNED) == Some("on")
}

/// Whether a dataset has what every past root has in the end.
pub(crate) fn is_retired(dataset: &Dataset) -> bool {
    dataset.kind == DatasetKind::Volume
        || retirement(dataset)
            .iter()
            .all(|p| match property(dataset, &p.name) {
                Some("off") if p.name == "canmount" => true,
                value => value == Some(&p.value),
            })
}

/// What a past root gets: it is not mounted by anybody unasked, cannot be changed by mistake, and
/// gives back the space it had reserved.
pub(crate) fn retirement(dataset: &Dataset) -> Vec<Property> {
    let mut properties = vec![
        Property::new("canmount", "noauto"),
        Property::new("readonly", "on"),
    ];
    for name in ["reservation", "refreservation"] {
        if property(dataset, name).is_some_and(|value| value != "0") {
            properties.push(Property::new(name, "0"));
        }
    }
    properties
}

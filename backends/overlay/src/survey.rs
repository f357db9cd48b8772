//! What a look found: pure data, and what follows from it.

use crate::layout::{self, PAST_ROOTS, ROOT, SCRATCH, STAGED};
use crate::{Disk, Lower, Mounted, Node, Origin};
use serde::Serialize;
use state_api::{Blank, Leftover, PastRoot, PastRootName, Refusal, RootFacts};
use std::path::{Path, PathBuf};

/// A past root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPast {
    /// Its name.
    pub name: PastRootName,
    /// What it was begun with.
    pub origin: Origin,
    /// Whether a mark pins it.
    pub is_pinned: bool,
}

/// Everything that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The filesystem of the upper layers.
    pub disk: Disk,
    /// The lower layer.
    pub lower: Option<Lower>,
    /// The directory that holds all of the following.
    pub top: Node,
    /// The root.
    pub root: Node,
    /// What is staged to become root, or was root a moment ago.
    pub staged: Node,
    /// The directory of past roots.
    pub past_roots_dir: Node,
    /// The directory of what nobody wants.
    pub scratch_dir: Node,
    /// What is in it.
    pub scratch: Vec<PathBuf>,
    /// The past roots, oldest first.
    pub past_roots: Vec<FoundPast>,
    /// Other names in the directory of past roots.
    pub taken: Vec<String>,
    /// The mounted overlays.
    pub mounts: Vec<Mounted>,
}

/// What stands under the name of the staged root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged<'a> {
    Nothing,
    /// Younger than root: nobody has booted it.
    Fresh(&'a Origin),
    /// A root that people lived in.
    Outgoing(&'a Origin),
}

pub(crate) fn origin(node: &Node) -> Option<&Origin> {
    match node {
        Node::Root(origin) => Some(origin),
        _ => None,
    }
}

impl Survey {
    pub(crate) fn past(&self, name: &PastRootName) -> Option<&FoundPast> {
        self.past_roots.iter().find(|past| past.name == *name)
    }

    /// Tells a root that nobody booted from one that is not yet put away: the names are exchanged
    /// and say nothing, but the one that was made later has the greater number. Without a root
    /// beside it, it counts as one that people lived in.
    pub(crate) fn staged(&self) -> Staged<'_> {
        match (origin(&self.staged), origin(&self.root)) {
            (None, _) => Staged::Nothing,
            (Some(staged), Some(root)) if staged.sequence > root.sequence => Staged::Fresh(staged),
            (Some(staged), _) => Staged::Outgoing(staged),
        }
    }

    /// The number of the next root that is made.
    pub(crate) fn next_sequence(&self) -> u64 {
        let ours = [&self.root, &self.staged].into_iter().filter_map(origin);
        let all = ours.chain(self.past_roots.iter().map(|past| &past.origin));
        all.map(|origin| origin.sequence + 1).max().unwrap_or(1)
    }

    /// Those that cannot be seen any more without this past root.
    pub(crate) fn needing(&self, name: &PastRootName) -> Vec<String> {
        let ours = [(ROOT, &self.root), (STAGED, &self.staged)];
        let ours = ours
            .into_iter()
            .filter_map(|(at, node)| Some((at.to_owned(), origin(node)?)));
        let past = self
            .past_roots
            .iter()
            .map(|past| (format!("past root {}", past.name), &past.origin));
        ours.chain(past)
            .filter(|(_, origin)| origin.over.as_ref() == Some(name))
            .map(|(who, _)| who)
            .collect()
    }

    /// Everything that speaks against a reset, worst first.
    fn refusals(&self) -> Vec<Refusal> {
        let mut all = self.obstacles();
        all.extend(self.unusable_lower());
        all
    }

    /// What speaks against touching the layers at all, whatever lies below them.
    pub(crate) fn obstacles(&self) -> Vec<Refusal> {
        let mut all = self.not_what_they_claim();
        for mounted in &self.mounts {
            if mounted.root == Path::new(ROOT) || mounted.root == Path::new(STAGED) {
                all.push(Refusal::RootMounted {
                    root: mounted.root.display().to_string(),
                    at: mounted.at.clone(),
                });
            }
        }
        if self.disk.is_read_only {
            all.push(Refusal::ReadOnly {
                what: self.disk.name.clone(),
            });
        }
        all
    }

    fn not_what_they_claim(&self) -> Vec<Refusal> {
        let roots = [(ROOT, &self.root), (STAGED, &self.staged)];
        let directories = [
            ("the directory of the upper layers", &self.top),
            (PAST_ROOTS, &self.past_roots_dir),
            (SCRATCH, &self.scratch_dir),
        ];
        let roots = roots.into_iter().filter_map(|(name, node)| match node {
            Node::Missing | Node::Root(_) => None,
            Node::Directory | Node::Other => Some((name, "a root of ours, with its layers")),
        });
        let directories = directories
            .into_iter()
            .filter_map(|(name, node)| match node {
                Node::Missing | Node::Directory => None,
                Node::Root(_) | Node::Other => Some((name, "an ordinary directory")),
            });
        roots
            .chain(directories)
            .map(|(name, expected)| Refusal::NotWhatItClaims {
                name: name.into(),
                expected: expected.into(),
            })
            .collect()
    }

    /// Why the lower layer cannot be gone back to.
    pub(crate) fn unusable_lower(&self) -> Option<Refusal> {
        match &self.lower {
            None => Some(Refusal::NoBlank {
                blank: "the lower layer".into(),
                root_exists: origin(&self.root).is_some(),
            }),
            // What changes below a layer shows through it in ways that nobody has defined.
            Some(lower) if lower.is_writable => Some(Refusal::Unsafe {
                fact: format!("{} is mounted writable", lower.name),
                cure: "mount it read-only: `ro`, not `rw`, on the kernel command line".into(),
            }),
            Some(_) => None,
        }
    }

    pub(crate) fn facts(&self) -> RootFacts {
        let lower = match self.unusable_lower() {
            None => self.lower.as_ref(),
            Some(_) => None,
        };
        RootFacts {
            root: format!("{ROOT} on {}", self.disk.name),
            exists: origin(&self.root).is_some(),
            mounted_at: self
                .mounts
                .iter()
                .filter(|mounted| mounted.root == Path::new(ROOT))
                .map(|mounted| mounted.at.clone())
                .collect(),
            blank: lower.map(|lower| Blank {
                name: lower.name.clone(),
                identity: lower.identity.clone(),
                taken_at: None,
            }),
            previous_blank: None,
            past_roots: self
                .past_roots
                .iter()
                .map(|past| PastRoot {
                    name: past.name.clone(),
                    rotated_at: past.name.rotated_at(),
                    sequence: past.origin.sequence,
                    is_pinned: past.is_pinned,
                    needed_by: self.needing(&past.name),
                })
                .collect(),
            leftovers: match self.staged() {
                Staged::Nothing => Vec::new(),
                Staged::Fresh(_) => vec![Leftover::Staged {
                    name: STAGED.into(),
                }],
                Staged::Outgoing(_) => vec![Leftover::Outgoing {
                    name: STAGED.into(),
                }],
            },
            refusals: self.refusals(),
        }
    }

    /// Whether a past root, or something else in their directory, has this name.
    pub(crate) fn is_taken(&self, name: &PastRootName) -> bool {
        self.past(name).is_some() || self.taken.iter().any(|taken| taken == name.as_str())
    }

    /// Where a root goes that nobody wants.
    pub(crate) fn free_scratch(&self, sequence: u64) -> PathBuf {
        (sequence..)
            .map(layout::scratch)
            .find(|at| !self.scratch.contains(at))
            .expect("one of so many numbers is free")
    }
}

//! What a look found: pure data, and what follows from it.

use crate::layout::{self, BLANK, STAGED};
use crate::{Mounted, Node, Tree};
use serde::Serialize;
use state_api::{Blank, Leftover, PastRoot, PastRootName, Refusal, RootFacts};
use std::path::PathBuf;

/// A captured root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPast {
    /// Its name.
    pub name: PastRootName,
    /// Its number: the younger of two has the greater one.
    pub sequence: u64,
    /// Whether a mark pins it.
    pub is_pinned: bool,
}

/// When this is: what is right then differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// In the initrd: root is there and has to be filled.
    Filling,
    /// Root is complete, and the stores are mounted.
    Living,
}

/// What there is to fill root from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlankSeen {
    /// Where it is, for people.
    pub name: String,
    /// What stands under its name.
    pub node: Node,
    /// The same as something to fill root from.
    pub tree: Option<Tree>,
    /// A complete new blank that has not got its name yet.
    pub staged: Node,
    /// The same as something to fill root from.
    pub staged_tree: Option<Tree>,
    /// The one before it.
    pub previous: Node,
    /// What is being deleted.
    pub discarded: Node,
    /// A new blank that was not finished.
    pub building: Node,
}

/// Everything that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// When it was looked at.
    pub moment: Moment,
    /// Root as it is mounted.
    pub mounted: Mounted,
    /// Whether nothing is in root yet; asked only where it has to be filled.
    pub is_empty: bool,
    /// What there is to fill root from; `None`: nobody fills it, or the system does.
    pub blank: Option<BlankSeen>,
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
}

impl BlankSeen {
    /// What root is filled from: the blank, or a new one that an interrupted run did not give its
    /// name.
    pub(crate) fn usable(&self) -> Option<&Tree> {
        match self.node {
            Node::Missing => self.staged_tree.as_ref(),
            _ => self.tree.as_ref(),
        }
    }

    fn refusals(&self, root_exists: bool) -> Option<Refusal> {
        match (&self.node, self.usable()) {
            (_, Some(_)) => None,
            (Node::Missing, None) => Some(Refusal::NoBlank {
                blank: self.name.clone(),
                root_exists,
            }),
            (_, None) => Some(Refusal::NotWhatItClaims {
                name: self.name.clone(),
                expected: "a directory with a system in it, or an image of one".into(),
            }),
        }
    }
}

impl Survey {
    pub(crate) fn past(&self, name: &PastRootName) -> Option<&FoundPast> {
        self.past_roots.iter().find(|past| past.name == *name)
    }

    /// Whether a past root, or something else in their directory, has this name.
    pub fn is_taken(&self, name: &PastRootName) -> bool {
        self.past(name).is_some() || self.taken.iter().any(|taken| taken == name.as_str())
    }

    /// The number of the next root that is captured.
    pub(crate) fn next_sequence(&self) -> u64 {
        let all = self.past_roots.iter().map(|past| past.sequence + 1);
        all.max().unwrap_or(1)
    }

    /// Where a past root goes that nobody wants.
    pub(crate) fn free_scratch(&self, sequence: u64) -> PathBuf {
        (sequence..)
            .map(layout::scratch)
            .find(|at| !self.scratch.contains(at))
            .expect("one of so many numbers is free")
    }

    /// Everything that speaks against root as it is, worst first.
    pub(crate) fn refusals(&self) -> Vec<Refusal> {
        let mut all = match self.moment {
            Moment::Filling => self.cannot_be_filled(),
            Moment::Living => self.mounted.refusals(),
        };
        if let Some(blank) = &self.blank {
            all.extend(blank.refusals(self.mounted.is_tmpfs()));
        }
        all
    }

    fn cannot_be_filled(&self) -> Vec<Refusal> {
        let at = self.mounted.at.display();
        if !self.mounted.is_tmpfs() {
            return vec![Refusal::Unsafe {
                fact: format!("no tmpfs is mounted at {at}"),
                cure: "the initrd's sysroot.mount has to mount one: make the initrd anew".into(),
            }];
        }
        match self.is_empty {
            true => self.mounted.wrong_mode().into_iter().collect(),
            false => vec![Refusal::Unsafe {
                fact: format!(
                    "{at} already holds something: an earlier run did not get to its end"
                ),
                cure: format!(
                    "`umount {at} && systemctl start sysroot.mount` begins with an empty one"
                ),
            }],
        }
    }

    pub(crate) fn facts(&self) -> RootFacts {
        let mounted = &self.mounted;
        RootFacts {
            root: match mounted.is_tmpfs() {
                true => format!("the tmpfs at {}", mounted.at.display()),
                false => format!("root at {}", mounted.at.display()),
            },
            exists: mounted.is_tmpfs(),
            mounted_at: mounted
                .is_tmpfs()
                .then(|| mounted.at.clone())
                .into_iter()
                .collect(),
            blank: self.blank.as_ref().and_then(|blank| {
                let tree = blank.usable()?;
                Some(Blank {
                    name: blank.name.clone(),
                    identity: tree.identity.clone(),
                    taken_at: tree.made_at,
                })
            }),
            previous_blank: None,
            past_roots: self
                .past_roots
                .iter()
                .map(|past| PastRoot {
                    name: past.name.clone(),
                    rotated_at: past.name.rotated_at(),
                    sequence: past.sequence,
                    is_pinned: past.is_pinned,
                    needed_by: Vec::new(),
                })
                .collect(),
            leftovers: self.leftovers(),
            refusals: self.refusals(),
        }
    }

    fn leftovers(&self) -> Vec<Leftover> {
        let Some(blank) = &self.blank else {
            return Vec::new();
        };
        let name = STAGED.to_owned();
        match (&blank.staged, &blank.node) {
            (Node::Missing, _) => Vec::new(),
            // Nothing else has the system in it.
            (_, Node::Missing) => vec![Leftover::Outgoing { name }],
            _ => vec![Leftover::Staged { name }],
        }
    }

    /// The names of things of ours that are something else.
    pub(crate) fn not_what_they_claim(&self) -> Option<Refusal> {
        let directories = [
            (layout::PAST_ROOTS.to_owned(), &self.past_roots_dir),
            (
                layout::scratch_dir().display().to_string(),
                &self.scratch_dir,
            ),
        ];
        let mut wrong = directories
            .into_iter()
            .filter(|(_, node)| !matches!(node, Node::Missing | Node::Directory));
        wrong.next().map(|(name, _)| Refusal::NotWhatItClaims {
            name,
            expected: "an ordinary directory".into(),
        })
    }

    pub(crate) fn blank_is_image(&self) -> bool {
        let blank = self.blank.as_ref();
        blank.is_some_and(|blank| blank.node == Node::File)
    }

    /// What nobody wants of the blanks.
    pub(crate) fn idle_blanks(&self) -> Vec<&'static str> {
        let Some(blank) = &self.blank else {
            return Vec::new();
        };
        let has_blank = blank.node != Node::Missing && blank.node != Node::Other;
        [
            (layout::BUILDING, blank.building != Node::Missing),
            (layout::DISCARDED, blank.discarded != Node::Missing),
            // Beside a blank it is a copy that nobody has started from.
            (STAGED, has_blank && blank.staged != Node::Missing),
        ]
        .into_iter()
        .filter(|(_, is_there)| *is_there)
        .map(|(name, _)| name)
        .collect()
    }

    /// Whether a new blank waits for its name.
    pub(crate) fn is_renaming(&self) -> bool {
        let blank = self.blank.as_ref();
        blank.is_some_and(|blank| blank.node == Node::Missing && blank.staged == Node::Directory)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let Some(blank) = &self.blank else {
            return false;
        };
        let node = match name {
            BLANK => &blank.node,
            STAGED => &blank.staged,
            layout::PREVIOUS => &blank.previous,
            _ => &blank.discarded,
        };
        *node != Node::Missing
    }
}

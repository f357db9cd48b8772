//! What a look at the filesystem found: pure data, and what follows from it.

use crate::layout::{Layout, is_inside};
use crate::shown::{Shown, lossy};
use crate::{Filesystem, Mounted, Node, Subvolume};
use serde::Serialize;
use state_api::{Blank, Identity, Leftover, PastRoot, PastRootName, Refusal, RootFacts};
use std::path::{Path, PathBuf};

/// A subvolume inside another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nested {
    /// Its id.
    pub id: u64,
    /// Its path from the top level.
    #[serde(serialize_with = "lossy")]
    pub at: PathBuf,
    /// `BTRFS_SUBVOL_RDONLY`.
    pub is_read_only: bool,
}

/// What stands under one of our names, and the subvolumes inside it, parents before children.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Where it was looked for, from the top level.
    #[serde(serialize_with = "lossy")]
    pub at: PathBuf,
    /// What is there.
    pub node: Node,
    /// The subvolumes inside it.
    pub nested: Vec<Nested>,
}

impl Found {
    /// The subvolume, if it is one.
    pub(crate) fn subvolume(&self) -> Option<&Subvolume> {
        match &self.node {
            Node::Subvolume(subvolume) => Some(subvolume),
            _ => None,
        }
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.node == Node::Missing
    }
}

/// A subvolume in the directory of past roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundPast {
    /// Its name.
    pub name: PastRootName,
    /// The subvolume.
    pub found: Found,
    /// Whether a mark pins it.
    pub is_pinned: bool,
}

/// Everything that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Survey {
    /// The filesystem.
    pub filesystem: Filesystem,
    /// The root.
    pub root: Found,
    /// Its blank.
    pub blank: Found,
    /// What is staged to become root, or was root a moment ago.
    pub staged: Found,
    /// What nobody wants.
    pub scratch: Found,
    /// The blank before the present one.
    pub previous: Found,
    /// What is staged to become blank, or was blank a moment ago.
    pub blank_staged: Found,
    /// The previous blank that is being replaced.
    pub superseded: Found,
    /// The copy of blank that a renewal works in.
    pub draft: Found,
    /// The directory of past roots.
    pub past_roots_dir: Node,
    /// The directory of the pins.
    pub pins_dir: Node,
    /// The directory that is reserved for us.
    pub reserved_dir: Node,
    /// The past roots, oldest first (by id).
    pub past_roots: Vec<FoundPast>,
    /// Other names in the directory of past roots, as far as they are text.
    pub taken: Vec<String>,
    /// Where this filesystem is mounted.
    pub mounts: Vec<Mounted>,
    /// Whether an init is found in blank.
    pub blank_has_init: bool,
    /// Whether a Nix store lies in root itself and not in blank.
    pub nix_in_root: bool,
}

/// What stands under the name of the staged root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Staged<'a> {
    Nothing,
    /// An exact, untouched copy of something that is still there, younger than root: nobody has
    /// booted it, and nothing is lost with it.
    Copy(&'a Subvolume),
    /// Anything else: it counts as a root that people lived in.
    Outgoing(&'a Subvolume),
}

/// Whether `copy` holds exactly what `of` holds: it is a snapshot of it, and neither was written
/// to since.
pub(crate) fn is_exact_copy(copy: &Found, of: &Found) -> bool {
    let (Some(copy_of), Some(original)) = (copy.subvolume(), of.subvolume()) else {
        return false;
    };
    copy_of.parent_uuid == original.uuid
        && copy_of.ctransid <= copy_of.otransid
        && original.ctransid <= copy_of.otransid
        && copy.nested.is_empty()
}

/// A survey together with the names it was made by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) survey: &'a Survey,
}

impl<'a> Reading<'a> {
    pub(crate) fn past(self, name: &PastRootName) -> Option<&'a FoundPast> {
        self.survey
            .past_roots
            .iter()
            .find(|past| past.name == *name)
    }

    /// Tells a copy that nobody booted from a root that is not yet put away. The two names are
    /// exchanged, so the name says nothing; but subvolume ids only grow, so that the staged copy
    /// of a root is younger than it, and an outgoing root is older than the one in its place.
    /// And what is to be destroyed must besides be worthless: every byte of it is in the
    /// subvolume it was copied from, which still exists. What is not proven is outgoing.
    pub(crate) fn staged(self) -> Staged<'a> {
        let survey = self.survey;
        let Some(staged) = survey.staged.subvolume() else {
            return Staged::Nothing;
        };
        let is_younger = survey
            .root
            .subvolume()
            .is_none_or(|root| staged.id > root.id);
        let past = survey.past_roots.iter().map(|past| &past.found);
        let mut sources = [&survey.blank, &survey.previous, &survey.superseded]
            .into_iter()
            .chain(past);
        if is_younger && sources.any(|source| is_exact_copy(&survey.staged, source)) {
            Staged::Copy(staged)
        } else {
            Staged::Outgoing(staged)
        }
    }

    /// Where something at or below `top` is mounted.
    pub(crate) fn mounted_below(self, top: &Path) -> impl Iterator<Item = &'a Mounted> {
        let top = Path::new("/").join(top);
        let mounts = self.survey.mounts.iter();
        mounts.filter(move |mounted| mounted.root.starts_with(&top))
    }

    /// Everything that speaks against changing root, worst first.
    pub(crate) fn refusals(self) -> Vec<Refusal> {
        let (layout, survey) = (self.layout, self.survey);
        if layout.root.as_os_str().is_empty() {
            return vec![Refusal::RootIsTopLevel];
        }
        let mut all = self.not_what_they_claim();
        all.extend(self.mounted());
        all.extend(self.inside_root());
        if survey.filesystem.is_read_only {
            all.push(Refusal::ReadOnly {
                what: format!("the filesystem {}", survey.filesystem.uuid),
            });
        }
        all.extend(self.unusable_blank());
        all
    }

    fn not_what_they_claim(self) -> Vec<Refusal> {
        let (layout, survey) = (self.layout, self.survey);
        let subvolumes = [
            &survey.root,
            &survey.blank,
            &survey.staged,
            &survey.scratch,
            &survey.previous,
            &survey.blank_staged,
            &survey.superseded,
        ];
        let no_subvolume = |found: &&&Found| !found.is_missing() && found.subvolume().is_none();
        let mut all: Vec<Refusal> = subvolumes
            .iter()
            .filter(no_subvolume)
            .map(|found| Refusal::NotWhatItClaims {
                name: Shown(&found.at).to_string(),
                expected: "a subvolume".into(),
            })
            .collect();
        for (path, node) in [
            (layout.past_roots(), &survey.past_roots_dir),
            (layout.pins(), &survey.pins_dir),
            (crate::layout::RESERVED.into(), &survey.reserved_dir),
        ] {
            if *node == Node::Other {
                all.push(Refusal::NotWhatItClaims {
                    name: Shown(&path).to_string(),
                    expected: "a directory".into(),
                });
            }
        }
        all
    }

    /// A mounted subvolume can be renamed and even deleted without a word from the kernel; the
    /// machine would run on under the other name.
    fn mounted(self) -> Vec<Refusal> {
        let survey = self.survey;
        let mut all = Vec::new();
        for found in [&survey.root, &survey.staged, &survey.scratch] {
            for mounted in self.mounted_below(&found.at) {
                let path = mounted.root.strip_prefix("/").unwrap_or(&mounted.root);
                let nested = found
                    .nested
                    .iter()
                    .find(|nested| path.starts_with(&nested.at));
                all.push(match nested {
                    Some(nested) => Refusal::InsideRoot {
                        what: format!("{}, mounted at {},", Shown(&nested.at), Shown(&mounted.at)),
                        root: Shown(&found.at).to_string(),
                    },
                    None => Refusal::RootMounted {
                        root: Shown(&found.at).to_string(),
                        at: mounted.at.clone(),
                    },
                });
            }
        }
        all
    }

    pub(crate) fn inside_root(self) -> Vec<Refusal> {
        let layout = self.layout;
        let root = Shown(&layout.root).to_string();
        let past_roots = layout.past_roots();
        let mut inside: Vec<String> = [&layout.blank, &past_roots]
            .into_iter()
            .chain(&layout.protected)
            .filter(|path| is_inside(path, &layout.root))
            .map(|path| Shown(path).to_string())
            .collect();
        if self.survey.nix_in_root {
            inside.push("the Nix store".into());
        }
        inside
            .into_iter()
            .map(|what| Refusal::InsideRoot {
                what,
                root: root.clone(),
            })
            .collect()
    }

    /// Why blank cannot be gone back to.
    pub(crate) fn unusable_blank(self) -> Option<Refusal> {
        let survey = self.survey;
        let blank = Shown(&survey.blank.at).to_string();
        match survey.blank.subvolume() {
            None if survey.blank.is_missing() => Some(Refusal::NoBlank {
                blank,
                root_exists: survey.root.subvolume().is_some(),
            }),
            None => None, // said already: it is not what it claims
            Some(found) if !found.is_read_only || found.ctransid > found.otransid => {
                Some(Refusal::BlankWritten { blank })
            }
            Some(_) => None,
        }
    }

    pub(crate) fn facts(self) -> RootFacts {
        let survey = self.survey;
        let blank = match self.unusable_blank() {
            None => survey.blank.subvolume(),
            Some(_) => None,
        };
        let name = |found: &Found| Shown(&found.at).to_string();
        let mut leftovers = Vec::new();
        match self.staged() {
            Staged::Nothing => {}
            Staged::Copy(_) => leftovers.push(Leftover::Staged {
                name: name(&survey.staged),
            }),
            Staged::Outgoing(_) => leftovers.push(Leftover::Outgoing {
                name: name(&survey.staged),
            }),
        }
        if survey.scratch.subvolume().is_some() {
            leftovers.push(Leftover::Staged {
                name: name(&survey.scratch),
            });
        }
        leftovers.extend(crate::blank::leftovers(survey));
        RootFacts {
            root: format!("{} on {}", name(&survey.root), survey.filesystem.uuid),
            exists: survey.root.subvolume().is_some(),
            mounted_at: self
                .mounted_below(&survey.root.at)
                .map(|mounted| mounted.at.clone())
                .collect(),
            blank: blank.map(|top| told(&survey.blank, top)),
            previous_blank: survey
                .previous
                .subvolume()
                .map(|top| told(&survey.previous, top)),
            past_roots: survey
                .past_roots
                .iter()
                .map(|past| PastRoot {
                    name: past.name.clone(),
                    rotated_at: past.name.rotated_at(),
                    sequence: past.found.subvolume().map_or(0, |subvolume| subvolume.id),
                    is_pinned: past.is_pinned,
                    needed_by: Vec::new(),
                })
                .collect(),
            leftovers,
            refusals: self.refusals(),
        }
    }
}

/// A blank in the words every engine shares.
fn told(found: &Found, top: &Subvolume) -> Blank {
    Blank {
        name: Shown(&found.at).to_string(),
        identity: identity(top),
        taken_at: chrono::DateTime::from_timestamp(top.otime_seconds, 0),
    }
}

/// Which subvolume, in which state.
pub(crate) fn identity(subvolume: &Subvolume) -> Identity {
    let uuid: String = subvolume
        .uuid
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Identity(format!("{uuid}:{}", subvolume.ctransid))
}

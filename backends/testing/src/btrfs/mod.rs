//! A machine on a simulated btrfs.

mod acts;
mod disk;
mod kernel;
mod scene;

use crate::rig::World;
use crate::sim::{self, Sim};
use crate::tape::Tape;
use crate::tree::Tree;
use disk::Disk;
use state_btrfs::TOP_LEVEL;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where past roots are, from the top level.
pub const PAST_ROOTS: &str = "past-roots";

/// Where things are on a simulated filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The root subvolume.
    pub root: PathBuf,
    /// Its blank.
    pub blank: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            root: "root".into(),
            blank: "root-blank".into(),
        }
    }
}

impl Layout {
    fn previous(&self) -> PathBuf {
        let mut name = self.blank.clone().into_os_string();
        name.push("-previous");
        name.into()
    }

    fn draft(&self) -> PathBuf {
        let mut name = self.blank.clone().into_os_string();
        name.push(".draft");
        name.into()
    }
}

/// A mount of a subvolume, or of a directory in it.
#[derive(Debug, Clone)]
struct Mount {
    volume: u64,
    inside: PathBuf,
    at: PathBuf,
}

/// A simulated machine on btrfs.
#[derive(Debug, Clone)]
pub struct Machine {
    layout: Layout,
    tape: Tape<Disk>,
    mounts: Vec<Mount>,
    commits_by_itself: bool,
}

/// A complete, deterministic btrfs in memory, stricter than the real one: what the kernel lets
/// pass silently and no engine may do (renaming or deleting something mounted) panics.
///
/// The value is a handle: clones are the same machine. [`fork`](crate::rig::Rig::fork) makes
/// another one.
pub type SimBtrfs = Sim<Machine>;

impl Default for SimBtrfs {
    fn default() -> Self {
        Self::new(Layout::default())
    }
}

/// Where a root can be in the end.
fn places_of_roots(layout: &Layout, past: &BTreeMap<String, Tree>) -> Vec<PathBuf> {
    let past = past.keys().map(|name| Path::new(PAST_ROOTS).join(name));
    past.chain([layout.root.clone()]).collect()
}

impl sim::Machine for Machine {
    type Disk = Disk;

    fn tape(&self) -> &Tape<Disk> {
        &self.tape
    }

    fn tape_mut(&mut self) -> &mut Tape<Disk> {
        &mut self.tape
    }

    fn unmount_all(&mut self) {
        self.mounts.clear();
    }

    fn with(&self, mut disk: Disk) -> Self {
        // Mounting after a cut begins a new transaction.
        disk.commit();
        Self {
            layout: self.layout.clone(),
            tape: Tape::new(disk),
            mounts: Vec::new(),
            commits_by_itself: self.commits_by_itself,
        }
    }

    fn world(&self) -> World {
        let (disk, layout) = (self.tape.now(), &self.layout);
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let mut world = World {
            root: disk
                .id_at(&layout.root)
                .ok()
                .and_then(|_| kernel::tree_at(disk, &layout.root)),
            blank: kernel::tree_at(disk, &layout.blank),
            previous: kernel::tree_at(disk, &layout.previous()),
            draft: kernel::tree_at(disk, &layout.draft()),
            ..World::default()
        };
        // The top level's plain files and directories, without those that are ours.
        let mut plain = kernel::tree_at(disk, Path::new("")).expect("the top level");
        for child in disk.children(TOP_LEVEL).expect("the top level") {
            plain.retain(|path, _| !path.starts_with(&child.path));
            let tree = || kernel::tree_at(disk, &child.path).expect("a child is there");
            let name = child.path.strip_prefix(PAST_ROOTS);
            let known = [
                &layout.root,
                &layout.blank,
                &layout.previous(),
                &layout.draft(),
            ];
            if known.iter().any(|path| child.path.starts_with(path)) {
                continue;
            } else if let Ok(name) = name {
                if name.components().count() == 1 {
                    world.past.insert(shown(name), tree());
                }
            } else if child.path.starts_with(".state") {
                if child.path.components().count() == 2 {
                    world.strays.insert(shown(&child.path), tree());
                }
            } else if child.parent == TOP_LEVEL {
                let ours = known.iter().any(|path| {
                    let beside = child.path.parent() == path.parent();
                    let rest = shown(&child.path);
                    let rest = rest.strip_prefix(&shown(path)).unwrap_or_default();
                    beside && (rest.starts_with('.') || rest.starts_with("-previous"))
                });
                let place = if ours {
                    &mut world.strays
                } else {
                    &mut world.bystanders
                };
                place.insert(shown(&child.path), tree());
            }
        }
        let pins: Vec<String> = plain
            .keys()
            .filter_map(|path| {
                path.strip_prefix(Path::new(PAST_ROOTS).join(".pinned"))
                    .ok()
            })
            .map(shown)
            .filter(|name| !name.is_empty())
            .collect();
        plain.retain(|path, _| !path.starts_with(PAST_ROOTS) && path != Path::new(".state"));
        world.bystanders.insert("<the top level>".into(), plain);
        let default = disk.path_of(disk.default).expect("the default exists");
        // A default inside a root goes where that root goes.
        let roots = places_of_roots(layout, &world.past);
        let inside = roots
            .iter()
            .find_map(|root| default.strip_prefix(root).ok());
        let default = match inside {
            Some(inside) if !inside.as_os_str().is_empty() => Path::new("<a root>").join(inside),
            _ => default.clone(),
        };
        let flag = |path: &Path| match disk.id_at(path) {
            Ok(id) => disk
                .volume(id)
                .expect("found")
                .info
                .is_read_only
                .to_string(),
            Err(_) => "missing".into(),
        };
        world.standing = BTreeMap::from([
            ("default".into(), shown(&default)),
            ("root is read-only".into(), flag(&layout.root)),
            ("blank is read-only".into(), flag(&layout.blank)),
            ("pins".into(), pins.join(" ")),
        ]);
        world
    }

    fn live(sim: &SimBtrfs, note: &str) -> bool {
        let root = sim.layout().root;
        // A read-only root can be booted, and nobody can live in it.
        let is_root = sim.seen(|disk| {
            let volume = disk.id_at(&root).and_then(|id| disk.volume(id));
            volume.is_ok_and(|volume| !volume.info.is_read_only)
        });
        if is_root {
            sim.live_in(&root, note);
        }
        is_root
    }

    fn work(sim: &SimBtrfs, note: &str) -> bool {
        let draft = sim.layout().draft();
        let is_there = sim.seen(|disk| disk.id_at(&draft).is_ok());
        if is_there {
            sim.live_in(&draft, note);
        }
        is_there
    }
}

impl SimBtrfs {
    fn live_in(&self, at: &Path, note: &str) {
        self.put(at.join(note), note);
        self.volume(at.join(format!("machines of {note}")));
        self.put(at.join(format!("machines of {note}/inner")), note);
    }
}

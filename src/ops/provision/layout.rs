//! What a new disk is to look like: volumes, where each is mounted, and the lines that say so. Pure.

use crate::failure::Failure;
use crate::paths::{self, Shown};
use crate::settings::{OnFailure, PastRoots, Root};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The engine of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// A subvolume.
    Btrfs,
    /// A dataset.
    Zfs,
    /// Memory; the device holds the store.
    Tmpfs,
    /// An installed system below; the device holds the store and the layers.
    Overlay,
}

/// A filesystem on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filesystem {
    /// btrfs
    Btrfs,
    /// ext4
    Ext4,
    /// xfs
    Xfs,
}

impl Filesystem {
    /// As the kernel calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Btrfs => "btrfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// What is wanted of a new disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The engine of root.
    pub backend: Backend,
    /// The filesystem that holds the store, where the engine leaves a choice.
    pub store_on: Option<Filesystem>,
    /// The stores, by where they are on the machine; the first holds the configuration.
    pub stores: Vec<PathBuf>,
    /// Further volumes that no reset touches.
    pub volumes: Vec<PathBuf>,
    /// Whether the empty root is what root is at every boot, as on NixOS.
    pub takes_blank: bool,
    /// The pool, or the dataset that everything is made in.
    pub pool: String,
}

/// Where a volume's content lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In memory.
    Memory,
    /// In whatever is mounted there already: the installed system below an overlay.
    Installed,
    /// The filesystem as a whole.
    Top,
    /// A subvolume at the top level.
    Subvolume(String),
    /// A dataset.
    Dataset(String),
    /// A directory in the volume that is mounted at this path.
    Directory(PathBuf),
}

/// A volume, and where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Volume {
    /// Where on the machine.
    pub at: PathBuf,
    /// Where its content lies.
    pub place: Place,
}

/// What the disk is to look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The engine of root.
    pub backend: Backend,
    /// The filesystem on the device; none for a pool.
    pub filesystem: Option<Filesystem>,
    /// The volumes in the order they are mounted, root first.
    pub volumes: Vec<Volume>,
    /// The store that holds the configuration.
    pub store: PathBuf,
    /// Whether blank is taken of the empty root.
    pub takes_blank: bool,
    /// The pool, or the dataset that everything is made in.
    pub pool: String,
}

/// The name of a volume: its path in one word.
fn name(at: &Path) -> String {
    let words: Vec<_> = at
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join("-")
}

impl Layout {
    /// Decides.
    ///
    /// # Errors
    /// What is wanted cannot be had together.
    pub(super) fn of(wanted: &Wanted) -> anyhow::Result<Self> {
        let filesystem = match (wanted.backend, wanted.store_on) {
            (Backend::Zfs, None) => None,
            (Backend::Btrfs, None | Some(Filesystem::Btrfs)) => Some(Filesystem::Btrfs),
            (Backend::Tmpfs | Backend::Overlay, chosen) => Some(chosen.unwrap_or(Filesystem::Ext4)),
            (Backend::Zfs, Some(other)) | (Backend::Btrfs, Some(other)) => {
                let fact = format!(
                    "root and store share the device, which cannot be {} too",
                    other.name()
                );
                return Err(Failure::usage(fact)
                    .hint("leave --store-on out, or take --backend tmpfs")
                    .into());
            }
        };
        let normal = |path: &PathBuf| {
            let is_plain = |path: &Path| {
                path.to_str().is_some_and(|text| {
                    !text.contains(|c: char| {
                        c.is_whitespace() || c.is_control() || "\"\\@#,:".contains(c)
                    })
                })
            };
            match paths::normal(path) {
                Ok(path) if is_plain(&path) => Ok(path),
                Ok(path) => Err(Failure::usage(format!(
                    "{} cannot be the name of a volume",
                    Shown(&path)
                ))),
                Err(why) => Err(Failure::usage(format!("{} {why}", Shown(path)))),
            }
        };
        let stores = wanted
            .stores
            .iter()
            .map(normal)
            .collect::<Result<Vec<_>, _>>()?;
        let volumes = wanted
            .volumes
            .iter()
            .map(normal)
            .collect::<Result<Vec<_>, _>>()?;
        let store = stores
            .first()
            .cloned()
            .ok_or_else(|| Failure::usage("there is to be no store"))?;
        let root = Volume {
            at: "/".into(),
            place: match wanted.backend {
                Backend::Btrfs => Place::Subvolume("root".into()),
                Backend::Zfs => Place::Dataset(format!("{}/local/root", wanted.pool)),
                Backend::Tmpfs => Place::Memory,
                Backend::Overlay => Place::Installed,
            },
        };
        let mut all = vec![root];
        match filesystem {
            Some(Filesystem::Ext4 | Filesystem::Xfs) => all.extend(whole(&stores, &volumes)?),
            Some(Filesystem::Btrfs) => all.extend(stores.iter().chain(&volumes).map(|at| Volume {
                at: at.clone(),
                place: Place::Subvolume(name(at)),
            })),
            None => {
                let of = |class: &str, at: &PathBuf| Volume {
                    at: at.clone(),
                    place: Place::Dataset(format!("{}/{class}/{}", wanted.pool, name(at))),
                };
                all.extend(stores.iter().map(|at| of("safe", at)));
                all.extend(volumes.iter().map(|at| of("local", at)));
            }
        }
        // What lies in another one is mounted after it.
        all.sort_by(|a, b| {
            a.at.iter()
                .count()
                .cmp(&b.at.iter().count())
                .then(a.at.cmp(&b.at))
        });
        for (n, volume) in all.iter().enumerate() {
            let is_taken = |other: &Volume| other.at == volume.at || other.place == volume.place;
            if all[..n].iter().any(is_taken) || RESERVED.contains(&&*name(&volume.at)) {
                let fact = format!("{} has the place of another volume", Shown(&volume.at));
                return Err(Failure::usage(fact).into());
            }
        }
        Ok(Self {
            backend: wanted.backend,
            filesystem,
            volumes: all,
            store,
            takes_blank: wanted.takes_blank
                && matches!(wanted.backend, Backend::Btrfs | Backend::Zfs),
            pool: wanted.pool.clone(),
        })
    }

    /// The `[root]` of the machine. `uuid` is the filesystem's.
    pub(super) fn root(&self, uuid: &str) -> Root {
        let device = Path::new("/dev/disk/by-uuid").join(uuid);
        let (past_roots, on_failure) = (PastRoots::default(), OnFailure::default());
        match self.backend {
            Backend::Btrfs => Root::Btrfs {
                device,
                subvolume: "root".into(),
                blank: None,
                past_roots,
                on_failure,
            },
            Backend::Zfs => Root::Zfs {
                dataset: format!("{}/local/root", self.pool),
                blank: "blank".into(),
                past_roots,
                on_failure,
            },
            Backend::Tmpfs => Root::in_memory(Some(MEMORY.into())),
            Backend::Overlay => Root::above(device, self.is_whole(&self.store)),
        }
    }

    /// Whether what is mounted there is a filesystem as a whole.
    fn is_whole(&self, at: &Path) -> bool {
        let mut volumes = self.volumes.iter();
        volumes.any(|volume| volume.at == at && volume.place == Place::Top)
    }

    /// The lines of fstab(5), for a system that has the file.
    pub(super) fn fstab(&self, uuid: &str) -> Vec<String> {
        let line = |volume: &Volume| {
            let at = volume.at.display();
            // The initrd puts early entries in place, and they lie in the store.
            let early = match volume.at == Path::new("/") {
                true => "",
                false => ",x-initrd.mount",
            };
            Some(match &volume.place {
                Place::Installed => return None,
                Place::Memory => format!("tmpfs / tmpfs mode=0755,size={MEMORY} 0 0"),
                Place::Top => {
                    let kind = self.filesystem.map_or("auto", Filesystem::name);
                    let check = if kind == "ext4" { 2 } else { 0 };
                    format!("UUID={uuid} {at} {kind} noatime{early} 0 {check}")
                }
                Place::Subvolume(name) => {
                    format!("UUID={uuid} {at} btrfs subvol={name},noatime{early} 0 0")
                }
                Place::Dataset(name) => format!("{name} {at} zfs noatime{early} 0 0"),
                Place::Directory(from) if *from == volume.at => return None, // it is there already
                Place::Directory(from) => {
                    format!("{} {at} none bind{early} 0 0", from.display())
                }
            })
        };
        self.volumes.iter().filter_map(line).collect()
    }
}

/// Names at the top level that mean something else.
const RESERVED: [&str; 4] = ["root-blank", "past-roots", ".state", "lost+found"];
/// The most that a root in memory takes.
pub(super) const MEMORY: &str = "50%";

/// On a filesystem without volumes the store is all of it; or one volume is, and the store a
/// directory in that.
fn whole(stores: &[PathBuf], volumes: &[PathBuf]) -> anyhow::Result<Vec<Volume>> {
    let top = |at: &Path| Volume {
        at: at.to_owned(),
        place: Place::Top,
    };
    match (stores, volumes) {
        ([store], []) => Ok(vec![top(store)]),
        ([store], [volume]) => {
            let store = Volume {
                at: store.clone(),
                place: Place::Directory(volume.join("persist")),
            };
            Ok(vec![top(volume), store])
        }
        _ => Err(Failure::usage(format!(
            "ext4 and xfs hold one store and one further volume, not {} and {}",
            stores.len(),
            volumes.len()
        ))
        .hint("take btrfs (--store-on btrfs) or ZFS")
        .into()),
    }
}

#[cfg(test)]
mod tests;

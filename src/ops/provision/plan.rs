//! What is still to be done, from what was seen. Pure.

use super::layout::{Layout, Place};
use super::step::Step;
use state_api::Plan;
use std::path::{Path, PathBuf};

/// What was seen of the disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The device that the filesystem or pool is made on: inside, where it is encrypted.
    pub(super) device: PathBuf,
    /// What has to be given up first: the device, the word, and what it is.
    pub(super) gives_up: Option<(PathBuf, String, String)>,
    /// What is to be encrypted, by the name it is opened by.
    pub(super) encrypt: Option<Encrypt>,
    /// Whether the filesystem or the pool is there.
    pub(super) is_formatted: bool,
    /// The volumes that are there.
    pub(super) present: Vec<Place>,
    pub(super) has_blank: bool,
    /// The volumes that are mounted in place.
    pub(super) mounted: Vec<Place>,
    /// The files that are there.
    pub(super) written: Vec<PathBuf>,
}

/// A device that is to be encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encrypt {
    pub(super) device: PathBuf,
    pub(super) mapper: String,
    pub(super) is_made: bool,
    pub(super) is_open: bool,
}

/// The steps that are left. `files` are those of the store, with what they say.
pub(super) fn plan(
    layout: &Layout,
    seen: &Seen,
    into: &Path,
    files: &[(PathBuf, String)],
) -> Plan<Step> {
    let mut steps = Vec::new();
    if let Some((device, word, what)) = &seen.gives_up {
        steps.push(Step::Erase {
            device: device.clone(),
            word: word.clone(),
            what: what.clone(),
        });
    }
    if let Some(encrypt) = &seen.encrypt {
        if !encrypt.is_made {
            steps.push(Step::Encrypt {
                device: encrypt.device.clone(),
            });
        }
        if !encrypt.is_open {
            steps.push(Step::Open {
                device: encrypt.device.clone(),
                mapper: encrypt.mapper.clone(),
            });
        }
    }
    if !seen.is_formatted {
        steps.push(match layout.filesystem {
            Some(filesystem) => Step::Format {
                filesystem,
                device: seen.device.clone(),
            },
            None => Step::MakePool {
                pool: layout.pool.clone(),
                device: seen.device.clone(),
            },
        });
    }
    for volume in &layout.volumes {
        let is_made = matches!(volume.place, Place::Subvolume(_) | Place::Dataset(_));
        if is_made && !seen.present.contains(&volume.place) {
            steps.push(Step::Make {
                place: volume.place.clone(),
            });
        }
    }
    // Before anything is mounted in root, so that it is as empty as it can be.
    if layout.takes_blank && !seen.has_blank {
        steps.push(Step::TakeBlank);
    }
    for volume in &layout.volumes {
        if !seen.mounted.contains(&volume.place) && volume.place != Place::Installed {
            steps.push(Step::Mount {
                place: volume.place.clone(),
                at: below(into, &volume.at),
            });
        }
    }
    // The configuration last: a store that has it counts as complete.
    for (file, text) in files.iter().rev() {
        if !seen.written.contains(file) {
            steps.push(Step::Write {
                file: file.clone(),
                text: text.clone(),
            });
        }
    }
    Plan { steps }
}

/// A path of the machine where the machine is mounted.
pub(super) fn below(into: &Path, at: &Path) -> PathBuf {
    match at.strip_prefix("/") {
        Ok(at) if at.as_os_str().is_empty() => into.to_owned(),
        Ok(at) => into.join(at),
        Err(_) => into.join(at),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::{Backend, Filesystem, Wanted};
    use super::*;

    fn layout(backend: Backend, store_on: Option<Filesystem>) -> Layout {
        Layout::of(&Wanted {
            backend,
            store_on,
            stores: vec!["/persist".into()],
            volumes: vec!["/nix".into()],
            takes_blank: true,
            pool: "rpool".into(),
        })
        .unwrap()
    }

    fn shown(layout: &Layout, seen: &Seen) -> Vec<String> {
        let files = [("/mnt/persist/etc/state/state.toml".into(), "text".into())];
        let plan = plan(layout, seen, Path::new("/mnt"), &files);
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_empty_device_becomes_a_layout() {
        let seen = Seen {
            device: "/dev/vda2".into(),
            ..Seen::default()
        };
        assert_eq!(
            shown(&layout(Backend::Btrfs, None), &seen),
            [
                "make a filesystem, btrfs, on /dev/vda2",
                "make the subvolume root",
                "make the subvolume nix",
                "make the subvolume persist",
                "take blank of the empty root",
                "mount the subvolume root at /mnt",
                "mount the subvolume nix at /mnt/nix",
                "mount the subvolume persist at /mnt/persist",
                "write /mnt/persist/etc/state/state.toml",
            ]
        );
        assert_eq!(
            shown(&layout(Backend::Zfs, None), &seen),
            [
                "make the pool rpool on /dev/vda2",
                "make the dataset rpool/local/root",
                "make the dataset rpool/local/nix",
                "make the dataset rpool/safe/persist",
                "take blank of the empty root",
                "mount the dataset rpool/local/root at /mnt",
                "mount the dataset rpool/local/nix at /mnt/nix",
                "mount the dataset rpool/safe/persist at /mnt/persist",
                "write /mnt/persist/etc/state/state.toml",
            ]
        );
    }

    #[test]
    fn what_is_given_up_and_encrypted_comes_first() {
        let seen = Seen {
            device: "/dev/mapper/store".into(),
            gives_up: Some(("/dev/vda2".into(), "ext4:1".into(), "ext4 (1)".into())),
            encrypt: Some(Encrypt {
                device: "/dev/vda2".into(),
                mapper: "store".into(),
                is_made: false,
                is_open: false,
            }),
            ..Seen::default()
        };
        assert_eq!(
            shown(&layout(Backend::Tmpfs, None), &seen),
            [
                "give up what /dev/vda2 holds, for ever: ext4 (1)",
                "encrypt /dev/vda2 (LUKS)",
                "open /dev/vda2 as /dev/mapper/store",
                "make a filesystem, ext4, on /dev/mapper/store",
                "mount a tmpfs at /mnt",
                "mount the filesystem at /mnt/nix",
                "mount the directory /nix/persist at /mnt/persist",
                "write /mnt/persist/etc/state/state.toml",
            ]
        );
    }

    #[test]
    fn what_is_there_is_gone_on_with() {
        let layout = layout(Backend::Btrfs, None);
        let mut seen = Seen {
            is_formatted: true,
            present: vec![
                Place::Subvolume("root".into()),
                Place::Subvolume("nix".into()),
            ],
            ..Seen::default()
        };
        assert_eq!(
            shown(&layout, &seen)[..2],
            ["make the subvolume persist", "take blank of the empty root"]
        );
        seen.present.push(Place::Subvolume("persist".into()));
        seen.mounted.clone_from(&seen.present);
        seen.has_blank = true;
        assert_eq!(
            shown(&layout, &seen),
            ["write /mnt/persist/etc/state/state.toml"]
        );
        seen.written
            .push("/mnt/persist/etc/state/state.toml".into());
        assert_eq!(shown(&layout, &seen), Vec::<String>::new());
    }
}

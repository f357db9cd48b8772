//! The volume that is erased.

use super::super::value::{bad_dataset, bad_snapshot, is_tmpfs_size};
use super::Check;
use crate::paths;
use crate::settings::Root;
use crate::settings::node::Way;
use std::path::Path;

impl Check<'_> {
    pub(super) fn root(&mut self, root: &Root) {
        let top = Way::default().key("root");
        match root {
            Root::Btrfs {
                device,
                subvolume,
                blank,
                ..
            } => {
                self.device(&top, device);
                let volumes = [("subvolume", Some(subvolume)), ("blank", blank.as_ref())];
                for (key, path) in volumes {
                    if let Some(Err(why)) = path.map(|path| paths::normal_below(path)) {
                        self.wrong(
                            &top.key(key),
                            format!("`{key}` {why}"),
                            "it is a path from the filesystem's top level, without a leading slash: root, @, system/root",
                        );
                    }
                }
                if let Some(blank) = blank {
                    let way = top.key("blank");
                    if blank == subvolume {
                        self.wrong(
                            &way,
                            "`blank` is the root subvolume itself",
                            "it is a snapshot beside it",
                        );
                    } else if blank.starts_with(subvolume) {
                        self.wrong(
                            &way,
                            "`blank` lies inside the root subvolume",
                            "it would be put away with the first reset; it belongs beside root",
                        );
                    }
                }
            }
            Root::Zfs { dataset, blank, .. } => {
                if let Some(why) = bad_dataset(dataset) {
                    self.wrong(
                        &top.key("dataset"),
                        format!("{dataset:?} cannot be a dataset: {why}"),
                        "as in rpool/local/root",
                    );
                }
                if let Some(why) = bad_snapshot(blank) {
                    self.wrong(
                        &top.key("blank"),
                        format!("{blank:?} cannot be a snapshot's name: {why}"),
                        "it is the part after the @ of rpool/local/root@blank",
                    );
                }
            }
            Root::Overlay {
                device, directory, ..
            } => {
                self.device(&top, device);
                if let Err(why) = paths::normal_below(directory) {
                    self.wrong(
                        &top.key("directory"),
                        format!("`directory` {why}"),
                        "it is a path from the filesystem's top, without a leading slash: state/layers",
                    );
                }
            }
            Root::Tmpfs {
                size,
                device,
                blank,
                capture,
                ..
            } => {
                if let Some(device) = device {
                    self.device(&top, device);
                }
                if let Err(why) = paths::normal_below(blank) {
                    self.wrong(
                        &top.key("blank"),
                        format!("`blank` {why}"),
                        "it is a path from the filesystem's top, without a leading slash: state/blank",
                    );
                }
                if capture.time_limit == 0 {
                    self.wrong(
                        &top.key("capture").key("time-limit"),
                        "`time-limit` leaves no time for anything",
                        "`past-roots = { last = 0 }` captures nothing",
                    );
                }
                if size.as_deref().is_some_and(|size| !is_tmpfs_size(size)) {
                    self.wrong(
                        &top.key("size"),
                        "`size` is not a size as tmpfs(5) writes it",
                        "a share of the memory, \"25%\", or a number with k, m or g: \"2g\"",
                    );
                }
            }
        }
    }
    fn device(&mut self, root: &Way, device: &Path) {
        if !device.is_absolute() {
            self.wrong(
                &root.key("device"),
                "`device` is not an absolute path",
                "name it as /dev/disk/by-uuid/… or /dev/disk/by-partlabel/…",
            );
        }
    }
}

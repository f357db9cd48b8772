//! What to propose for a machine. Pure, but for what [`Look`] is asked.

use super::import::Imported;
use super::keep::{entries, is_host_key, volumes_of_their_own};
use super::store::{how_to_make_a_store, is_apart, store_of};
use super::{Todo, named_store};
use crate::machine::Machine;
use crate::paths::Shown;
use crate::persist;
use crate::settings::{OnFailure, PastRoots, Root};
use state_linux::mountinfo::Mount;
use std::path::{Path, PathBuf};

/// What is asked of the file system.
pub(super) trait Look {
    /// What a path is, a link not followed.
    fn seen(&self, path: &Path) -> Option<Seen>;
    /// The names in a directory, sorted.
    fn names(&self, dir: &Path) -> Vec<String>;
    /// Whether two paths lead to one device.
    fn names_one_device(&self, a: &Path, b: &Path) -> bool;
    /// A file's text; empty if it cannot be read.
    fn text(&self, path: &Path) -> String;
}

/// What a path is.
pub(super) struct Seen {
    pub(super) is_directory: bool,
    pub(super) is_file: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

/// A first configuration, and what was seen on the way to it.
pub(super) struct Proposal {
    pub(super) name: Option<String>,
    /// Root, or why it cannot be erased.
    pub(super) root: Result<Root, String>,
    pub(super) store: PathBuf,
    pub(super) store_is_mounted: bool,
    pub(super) directories: Vec<ProposedEntry>,
    pub(super) files: Vec<ProposedEntry>,
    /// The list that was brought over, instead of entries found here.
    pub(super) imported: Option<Imported>,
    pub(super) found: Vec<String>,
    pub(super) todo: Vec<Todo>,
}

/// One entry with the reason for it.
pub(super) struct ProposedEntry {
    pub(super) path: PathBuf,
    pub(super) why: &'static str,
    pub(super) user: Option<String>,
    pub(super) group: Option<String>,
    pub(super) mode: Option<u32>,
}

/// What is done about a root that is the filesystem's top level.
pub(super) const OUT_OF_THE_TOP_LEVEL: &str = "from a live medium, snapshot it into a subvolume `root` and mount that as root; then run `state init` again";

/// Decides.
pub(super) fn propose(
    machine: &Machine,
    store: Option<&Path>,
    imported: Option<Imported>,
    look: &dyn Look,
) -> anyhow::Result<Proposal> {
    let mut found = vec![who(machine)];
    let mut todo = Vec::new();
    let mut root = root(machine, look, &mut found, &mut todo);
    let (store, store_is_mounted) = match store {
        Some(store) => {
            let store = named_store(store)?;
            let is_mounted = is_apart(machine, &store, look);
            (store, is_mounted)
        }
        None => store_of(machine, look),
    };
    // Elsewhere than on NixOS somebody has to fill a root in memory.
    if let (Ok(Root::Tmpfs { device: place, .. }), Some(mount), true, false) = (
        &mut root,
        machine.mount_of(&store),
        store_is_mounted,
        machine.distribution.is_nixos,
    ) {
        *place = Some(device(machine, mount, look));
    }
    // What knows no blank lies below an overlay, where another filesystem can hold what is written.
    if let (true, Some(mount)) = (store_is_mounted, machine.mount_of(&store))
        && can_lie_below(machine, mount)
    {
        let is_whole = mount.at == store && mount.root == Path::new("/");
        root = Ok(Root::above(device(machine, mount, look), is_whole));
        found.push("it knows no blank: it stays what it is, and what is written comes into a layer above it, beside the store".into());
    }
    found.push(match machine.mount_of(&store) {
        Some(mount) if store_is_mounted => format!(
            "{} {} {}: the store",
            Shown(&store),
            if mount.at == store { "is" } else { "lies on" },
            volume(mount, &mount.root)
        ),
        _ => "no filesystem or volume beside root could be the store".into(),
    });
    if !store_is_mounted {
        todo.push(Todo {
            fact: format!("no store is mounted at {}", Shown(&store)),
            cure: how_to_make_a_store(machine, &store),
        });
    }
    let (directories, files) = match &imported {
        None => entries(machine, &store, look),
        Some(imported) => {
            found.push(imported.summary());
            let others = imported.stores.keys().filter(|other| **other != store);
            if imported.stores.len() > 1 {
                todo.push(Todo {
                    fact: "the content of all stores would be archived".into(),
                    cure: "give a store `class = \"local\"` or \"cache\" if that is not wanted; the first that is archived holds the configuration".into(),
                });
            }
            for other in others.filter(|other| !is_apart(machine, other, look)) {
                todo.push(Todo {
                    fact: format!("no store is mounted at {}", Shown(other)),
                    cure: how_to_make_a_store(machine, other),
                });
            }
            (Vec::new(), Vec::new())
        }
    };
    let keys = files
        .iter()
        .filter(|entry| is_host_key(&entry.path))
        .count();
    if keys > 0 {
        found.push(format!("files of ssh host keys: {keys}"));
    }
    if imported.is_none() {
        found.extend(volumes_of_their_own(machine, &store));
    }
    if !machine.people.is_empty() {
        let names: Vec<&str> = machine
            .people
            .iter()
            .map(|person| person.name.as_str())
            .collect();
        found.push(format!("people: {}", names.join(", ")));
    }
    let sources: Vec<PathBuf> = match &imported {
        None => (directories.iter().chain(&files))
            .map(|entry| persist::below(&store, &entry.path))
            .collect(),
        Some(imported) => imported.sources()?,
    };
    let is_new = |source: &&PathBuf| look.seen(source).is_none();
    let new = sources.iter().filter(is_new).count();
    if new > 0 {
        todo.push(Todo {
            fact: format!("{new} of {} entries are not in the store yet", sources.len()),
            cure: format!(
                "copy each as it is, `cp -a --parents PATH {}`: `state mount` never hides what exists nowhere else",
                Shown(&store)
            ),
        });
    }
    if let Some(imported) = &imported {
        todo.push(Todo {
            fact: format!("{} puts the same paths in place", imported.origin.name()),
            cure: "take its module out of the machine's configuration when `state` comes in".into(),
        });
    }
    advise(machine, &root, &mut todo);
    let is_name = |name: &String| {
        name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    Ok(Proposal {
        name: machine.hostname.clone().filter(is_name),
        root,
        store,
        store_is_mounted,
        directories,
        files,
        imported,
        found,
        todo,
    })
}

fn who(machine: &Machine) -> String {
    let system = machine
        .distribution
        .name
        .as_deref()
        .unwrap_or("a Linux system");
    match &machine.hostname {
        Some(name) => format!("{system}, called {name}"),
        None => system.to_owned(),
    }
}

/// `the btrfs subvolume root on /dev/vda2`
fn volume(mount: &Mount, root: &Path) -> String {
    let source = Shown(Path::new(&mount.source));
    match mount.filesystem.to_str() {
        Some("btrfs") if root == Path::new("/") => {
            format!("the top level of the btrfs on {source}")
        }
        Some("btrfs") => {
            let subvolume = root.strip_prefix("/").unwrap_or(root);
            format!("the btrfs subvolume {} on {source}", Shown(subvolume))
        }
        Some("zfs") => format!("the ZFS dataset {source}"),
        Some("tmpfs") => "a tmpfs".into(),
        Some(other) => format!("{other} on {source}"),
        None => format!("a filesystem on {source}"),
    }
}

fn root(
    machine: &Machine,
    look: &dyn Look,
    found: &mut Vec<String>,
    todo: &mut Vec<Todo>,
) -> Result<Root, String> {
    let Some(mount) = machine.root() else {
        return Err("it is not mounted here".into());
    };
    found.push(format!("root is {}", volume(mount, &mount.root)));
    let past_roots = PastRoots::default();
    let on_failure = OnFailure::default();
    match mount.filesystem.to_str() {
        Some("btrfs") => {
            for who in machine.root_by_id() {
                todo.push(Todo {
                    fact: format!(
                        "{who} mounts root by its subvolume id, which the first reset changes"
                    ),
                    cure: format!("write subvol={} in place of subvolid=…", Shown(&mount.root)),
                });
            }
            let subvolume = mount
                .root
                .strip_prefix("/")
                .unwrap_or(&mount.root)
                .to_owned();
            if subvolume.as_os_str().is_empty() {
                todo.push(Todo {
                    fact: "root is the filesystem's top level, which cannot be exchanged".into(),
                    cure: OUT_OF_THE_TOP_LEVEL.into(),
                });
                return Err("it is the filesystem's top level".into());
            }
            let device = device(machine, mount, look);
            if !["/dev/disk", "/dev/mapper"]
                .iter()
                .any(|dir| device.starts_with(dir))
            {
                todo.push(Todo {
                    fact: format!("{} is a name that another device may get", Shown(&device)),
                    cure: "name it in the configuration as /dev/disk/by-uuid/…; `blkid` tells the UUID".into(),
                });
            }
            Ok(Root::Btrfs {
                device,
                subvolume,
                blank: None,
                past_roots,
                on_failure,
            })
        }
        Some("zfs") => Ok(Root::Zfs {
            dataset: mount.source.to_string_lossy().into_owned(),
            blank: "blank".into(),
            past_roots,
            on_failure,
        }),
        Some("tmpfs") => Ok(Root::in_memory(
            machine
                .fstab
                .iter()
                .find(|line| line.at == Path::new("/"))
                .and_then(|line| {
                    line.options
                        .split(',')
                        .find_map(|option| option.strip_prefix("size="))
                })
                .map(str::to_owned),
        )),
        other => Err(format!(
            "{} knows no blank. `backend = \"overlay\"` leaves what is installed as it is and erases what \
             is written above it; `backend = \"tmpfs\"` copies it into memory. See docs/boot.md",
            other.unwrap_or("its filesystem")
        )),
    }
}

/// Whether root is installed on a filesystem that only an overlay can erase, and `upper` another.
fn can_lie_below(machine: &Machine, upper: &Mount) -> bool {
    let Some(root) = machine.root().filter(|_| !machine.distribution.is_nixos) else {
        return false;
    };
    let is_one_of =
        |mount: &Mount, names: &[&str]| names.iter().any(|name| mount.filesystem == *name);
    is_one_of(root, &["ext4", "xfs", "f2fs"])
        && is_one_of(upper, &["ext4", "xfs", "btrfs"])
        && root.device != upper.device
}

/// The device by a name that does not change.
fn device(machine: &Machine, mount: &Mount, look: &dyn Look) -> PathBuf {
    const BY_UUID: &str = "/dev/disk/by-uuid";
    let source = Path::new(&mount.source);
    let by_uuid = look
        .names(Path::new(BY_UUID))
        .into_iter()
        .map(|name| Path::new(BY_UUID).join(name))
        .find(|link| look.names_one_device(link, source));
    let in_fstab = || {
        let line = machine.fstab.iter().find(|line| line.at == mount.at)?;
        let named = line.source.to_str()?;
        match named.split_once('=') {
            Some(("UUID", uuid)) => Some(Path::new(BY_UUID).join(uuid.trim_matches('"'))),
            Some(_) => None,
            None => named.starts_with("/dev/disk/").then(|| named.into()),
        }
    };
    by_uuid
        .or_else(in_fstab)
        .unwrap_or_else(|| source.to_owned())
}

/// What has to be known or done before the first reset.
fn advise(machine: &Machine, root: &Result<Root, String>, todo: &mut Vec<Todo>) {
    let mut add = |fact: &str, cure: &str| {
        todo.push(Todo {
            fact: fact.to_owned(),
            cure: cure.to_owned(),
        });
    };
    let is_filled = matches!(
        root,
        Ok(Root::Tmpfs {
            device: Some(_),
            ..
        })
    );
    let erases = is_filled || matches!(root, Ok(Root::Btrfs { .. } | Root::Zfs { .. }));
    let nix_lies_in_root = || match (machine.root(), machine.mount_of(Path::new("/nix"))) {
        (Some(root), Some(nix)) => Machine::is_same_volume(root, nix),
        _ => false,
    };
    if machine.distribution.is_nixos && root.is_ok() && nix_lies_in_root() {
        add(
            "/nix lies inside root, and with it the whole system",
            "move it to a volume of its own, mounted at /nix with neededForBoot",
        );
    }
    if erases && !machine.distribution.is_nixos {
        add(
            "programs and accounts lie inside root: what is installed or added after blank was taken is gone after the next boot",
            "install first, then take blank; take it anew after each upgrade",
        );
    }
    if matches!(root, Ok(Root::Overlay { .. })) {
        add(
            "what is installed or added later is gone after the next boot",
            "install first; to upgrade, boot once without the overlay (docs/boot.md)",
        );
        if machine.fstab.iter().any(|line| line.at == Path::new("/")) {
            add(
                "/etc/fstab has a line for /: the system would make what is installed writable by it",
                "`state init --migrate` takes it out",
            );
        }
    }
    add(
        "nothing of this happens at boot yet",
        match machine.distribution.is_nixos {
            true => "import contrib/nixos/module.nix",
            false => "`state init --install-boot`; docs/boot.md says what that does",
        },
    );
    if erases {
        add(
            "blank has to be taken",
            "`state blank take`, last, when root is as it shall be at every boot",
        );
    }
}

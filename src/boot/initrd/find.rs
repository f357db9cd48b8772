//! Where the initrds of a machine are, by the names that their makers and boot loaders give them.

use crate::anchor::Anchor;
use crate::context::RUN_DIR;
use crate::kernels;
use crate::machine::Machine;
use crate::settings::Root;
use std::io;
use std::path::{Path, PathBuf};

/// Where boot loaders look; the last two are EFI's own partition.
pub const DIRS: [&str; 3] = ["/boot", "/efi", "/boot/efi"];

/// An initrd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// What its name and that of its kernel have in common; `None` for one with its kernel in it.
    pub key: Option<String>,
}

/// The initrds of a machine, and the kernels that have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// The initrds, that of the newest kernel first.
    pub images: Vec<Image>,
    /// Which of them starts next unless somebody says otherwise: so many of the first.
    pub next: usize,
    /// The newest kernel, if it has no initrd beside it while others do.
    pub bare: Option<String>,
}

/// Whether one of [`DIRS`] is no part of root: a filesystem of its own, or a directory on one.
pub fn is_apart(machine: &Machine, dir: &Path) -> bool {
    let below_root = dir.ancestors().filter(|at| at.parent().is_some());
    below_root
        .into_iter()
        .any(|at| machine.mount_at(at).is_some())
}

/// Whether the root that runs lies above what the boot loader reads, or in memory: what is written
/// into it never gets there.
pub fn is_covered(machine: &Machine, root: &Root) -> bool {
    let running = machine.root().and_then(|mount| mount.filesystem.to_str());
    matches!(
        (running, root),
        (Some("overlay"), Root::Overlay { .. }) | (Some("tmpfs"), Root::Tmpfs { .. })
    )
}

/// Where the boot loader of a machine finds [`DIRS`], as paths of that machine: it knows no overlay
/// and no memory, and reads what is on the disk.
pub fn dirs(machine: &Machine, root: Option<&Root>) -> Vec<PathBuf> {
    let seen = |dir: &str| match root {
        Some(root) if is_covered(machine, root) && !is_apart(machine, Path::new(dir)) => match root
        {
            Root::Overlay { .. } => {
                let lower = Path::new("/").join(RUN_DIR).join("overlay/lower");
                Some(lower.join(dir.trim_start_matches('/')))
            }
            // That filesystem is not mounted, as far as anybody knows.
            _ => None,
        },
        _ => Some(dir.into()),
    };
    DIRS.into_iter().filter_map(seen).collect()
}

/// Finds them in these directories.
///
/// # Errors
/// A directory cannot be read.
pub fn find(root: &Anchor, dirs: &[PathBuf]) -> io::Result<Images> {
    let (mut images, mut kernels) = (Vec::new(), Vec::new());
    for dir in dirs {
        let Some(boot) = kernels::directory(root, dir)? else {
            continue;
        };
        kernels.extend(kernels::files(&boot)?);
        let mut add = |name: String, key: Option<String>| {
            images.push(Image {
                path: dir.join(name),
                key,
            });
        };
        for name in kernels::names(&boot, Path::new(""))? {
            if let Some(key) = key(&name) {
                add(name.clone(), Some(key.to_owned()));
            }
            // As kernel-install(8) has it: MACHINE-ID/VERSION/initrd.
            if kernels::is_machine_id(&name) {
                for version in kernels::names(&boot, Path::new(&name))? {
                    let key = format!("{name}/{version}");
                    for file in kernels::names(&boot, Path::new(&key))? {
                        if file.starts_with("initrd") {
                            add(format!("{key}/{file}"), Some(key.clone()));
                        }
                    }
                }
            }
        }
        for name in kernels::names(&boot, Path::new("EFI/Linux"))? {
            if name.ends_with(".efi") {
                add(format!("EFI/Linux/{name}"), None);
            }
        }
    }
    Ok(order(images, kernels))
}

fn order(mut images: Vec<Image>, mut kernels: Vec<kernels::Kernel>) -> Images {
    kernels.sort_by(|a, b| kernels::compare(&a.version, &b.version));
    let newest = kernels.pop();
    let is_next = |image: &Image| match (&image.key, &newest) {
        (Some(key), Some(newest)) => *key == newest.key,
        _ => true,
    };
    images.sort_by_key(|image| !is_next(image));
    let next = images.iter().filter(|image| is_next(image)).count();
    Images {
        bare: newest
            .filter(|_| next == 0 && !images.is_empty())
            .map(|newest| newest.version),
        images,
        next,
    }
}

/// What an initrd's name has in common with its kernel's. What is only there to rescue a machine
/// mounts no root by itself.
fn key(name: &str) -> Option<&str> {
    const NAMES: [(&str, &str); 5] = [
        ("initrd.img-", ""),
        ("initramfs-", ".img"),
        ("initrd-", ".img"),
        ("initrd-", ""),
        ("initramfs-genkernel-x86_64-", ""),
    ];
    let other = [
        "fallback", "rescue", "kdump", ".old", ".bak", ".dpkg-", ".new", ".tmp",
    ];
    if other.iter().any(|part| name.contains(part)) {
        return None;
    }
    NAMES
        .iter()
        .find_map(|(before, after)| name.strip_prefix(before)?.strip_suffix(after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn found(files: &[&str]) -> (Vec<String>, usize, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let at = dir.path().join(file);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, "").unwrap();
        }
        let images = find(&Anchor::open(dir.path()).unwrap(), &DIRS.map(PathBuf::from)).unwrap();
        let paths = images.images.iter();
        let paths = paths.map(|image| image.path.display().to_string());
        (paths.collect(), images.next, images.bare)
    }

    /// A machine of which only the mounts are told.
    fn machine(mounts: &[(&str, &str)]) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let line = |(at, kind): &(&str, &str)| format!("1 1 0:1 / {at} rw - {kind} none rw\n");
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        let mounts: String = mounts.iter().map(line).collect();
        fs::write(dir.path().join("proc/self/mountinfo"), mounts).unwrap();
        Machine::look(&crate::context::Context::below(dir.path())).unwrap()
    }

    #[test]
    fn a_boot_loader_reads_what_is_on_the_disk() {
        let root = |text: &str| -> Option<Root> {
            let text = format!("[root]\nbackend = {text}");
            text.parse::<crate::settings::Settings>().unwrap().root
        };
        let btrfs = root("\"btrfs\"\ndevice = \"/dev/x\"\nsubvolume = \"root\"");
        let overlay = root("\"overlay\"\ndevice = \"/dev/x\"");
        let tmpfs = root("\"tmpfs\"");
        let lower = "/run/state/overlay/lower";
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a Option<Root>, &'a [&'a str]);
        let table: &[Row<'_>] = &[
            (&[("/", "btrfs")], &btrfs, &DIRS),
            (&[("/", "overlay")], &None, &DIRS),
            // Not yet, or for once without it.
            (&[("/", "ext4")], &overlay, &DIRS),
            (
                &[("/", "overlay")],
                &overlay,
                &[
                    &format!("{lower}/boot"),
                    &format!("{lower}/efi"),
                    &format!("{lower}/boot/efi"),
                ],
            ),
            (
                &[("/", "overlay"), ("/boot/efi", "vfat")],
                &overlay,
                &[
                    &format!("{lower}/boot"),
                    &format!("{lower}/efi"),
                    "/boot/efi",
                ],
            ),
            (
                &[("/", "overlay"), ("/boot", "ext4")],
                &overlay,
                &["/boot", &format!("{lower}/efi"), "/boot/efi"],
            ),
            (&[("/", "ext4")], &tmpfs, &DIRS),
            (&[("/", "tmpfs")], &tmpfs, &[]),
            (&[("/", "tmpfs"), ("/efi", "vfat")], &tmpfs, &["/efi"]),
        ];
        for (mounts, root, expected) in table {
            let found = dirs(&machine(mounts), root.as_ref());
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(found, expected, "{mounts:?}");
        }
    }

    #[test]
    fn each_maker_names_them_in_its_way() {
        let id = "0123456789abcdef0123456789abcdef";
        type Row<'a> = (&'a [&'a str], &'a [&'a str], usize, Option<&'a str>);
        let table: &[Row<'_>] = &[
            (&["etc/fstab"], &[], 0, None),
            (
                &[
                    "boot/vmlinuz-6.1.0-9",
                    "boot/vmlinuz-6.1.0-10",
                    "boot/initrd.img-6.1.0-9",
                    "boot/initrd.img-6.1.0-10",
                    "boot/initrd.img-6.1.0-10.old",
                ],
                &["/boot/initrd.img-6.1.0-10", "/boot/initrd.img-6.1.0-9"],
                1,
                None,
            ),
            (
                &[
                    "boot/vmlinuz-6.9.1.fc41",
                    "boot/initramfs-6.9.1.fc41.img",
                    "boot/initramfs-0-rescue-12.img",
                ],
                &["/boot/initramfs-6.9.1.fc41.img"],
                1,
                None,
            ),
            (
                &[
                    "boot/vmlinuz-linux",
                    "boot/initramfs-linux.img",
                    "boot/initramfs-linux-fallback.img",
                ],
                &["/boot/initramfs-linux.img"],
                1,
                None,
            ),
            (
                &["boot/vmlinuz-6.4", "boot/vmlinuz-6.5", "boot/initrd-6.4"],
                &["/boot/initrd-6.4"],
                0,
                Some("6.5"),
            ),
            (
                &[
                    &format!("efi/{id}/6.9/linux"),
                    &format!("efi/{id}/6.9/initrd.img"),
                    "efi/EFI/Linux/arch.efi",
                ],
                &[
                    &format!("/efi/{id}/6.9/initrd.img"),
                    "/efi/EFI/Linux/arch.efi",
                ],
                2,
                None,
            ),
        ];
        for (files, paths, next, bare) in table {
            let expected = (
                paths.iter().map(ToString::to_string).collect(),
                *next,
                bare.map(str::to_owned),
            );
            assert_eq!(found(files), expected, "{files:?}");
        }
    }
}

//! Kernels and their modules: what starts next, and whether a root can follow it.
//!
//! A boot loader takes the newest kernel it finds, unless somebody told it otherwise. A root without
//! modules for that kernel comes up without network and half its disks.

use crate::anchor::Anchor;
use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Where kernels are, by the names that distributions give them.
const NAMES: [&str; 4] = ["vmlinuz-", "vmlinux-", "kernel-", "Image-"];
/// Where modules are: the second on systems that have not merged the two.
const MODULES: [&str; 2] = ["usr/lib/modules", "lib/modules"];

/// A kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What its file has in its name that its initrd has too.
    pub key: String,
    /// Its version.
    pub version: String,
}

/// The versions of the kernels in boot directories, each of a root, oldest first. One that is not
/// there holds none.
///
/// # Errors
/// One cannot be read.
pub fn in_boot<'a>(
    dirs: impl IntoIterator<Item = (&'a Anchor, &'a Path)>,
) -> io::Result<Vec<String>> {
    let mut versions = Vec::new();
    for (root, dir) in dirs {
        if let Some(boot) = directory(root, dir)? {
            versions.extend(files(&boot)?.into_iter().map(|kernel| kernel.version));
        }
    }
    versions.sort_by(|a, b| compare(a, b));
    versions.dedup();
    Ok(versions)
}

/// The kernels in a boot directory.
///
/// # Errors
/// It cannot be read.
pub fn files(boot: &Anchor) -> io::Result<Vec<Kernel>> {
    let mut kernels = Vec::new();
    for name in names(boot, Path::new(""))? {
        let named = NAMES.iter().find_map(|prefix| name.strip_prefix(prefix));
        if let Some(named) = named {
            let told = boot.read(Path::new(&name)).and_then(told_version)?;
            kernels.push(Kernel {
                key: named.to_owned(),
                version: told.unwrap_or_else(|| named.to_owned()),
            });
        }
        // As kernel-install(8) has it: MACHINE-ID/VERSION/linux.
        if is_machine_id(&name) {
            for version in names(boot, Path::new(&name))? {
                let key = format!("{name}/{version}");
                if boot.read(&Path::new(&key).join("linux")).is_ok() {
                    kernels.push(Kernel { key, version });
                }
            }
        }
    }
    Ok(kernels)
}

/// Whether a directory's name is the machine's id, which boot loaders' entries are told apart by.
pub fn is_machine_id(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The versions that a root has modules for.
///
/// # Errors
/// They cannot be read.
pub fn modules(root: &Anchor) -> io::Result<Vec<String>> {
    let mut versions = Vec::new();
    for dir in MODULES {
        match root.open_within(Path::new(dir)) {
            Ok(dir) => versions.extend(names(&dir, Path::new(""))?),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(versions)
}

/// The kernel that would start a root that has no modules for it. A root without any modules has a
/// kernel that wants none.
pub fn stranger(boot: &[String], modules: &[String]) -> Option<String> {
    let newest = boot.last()?;
    (!modules.is_empty() && !modules.contains(newest)).then(|| newest.clone())
}

/// The release of the kernel that runs (`uname -r`); `None` where there is no /proc to tell.
pub fn running(root_dir: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root_dir.join("proc/sys/kernel/osrelease")).ok()?;
    let release = text.trim();
    (!release.is_empty()).then(|| release.to_owned())
}

fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The names in a directory, as far as they are text; none where there is no directory.
///
/// # Errors
/// It cannot be read.
pub fn names(dir: &Anchor, path: &Path) -> io::Result<Vec<String>> {
    match dir.directory(path) {
        Ok(dir) => {
            let names = state_linux::tree::names(&dir)?.into_iter();
            Ok(names.filter_map(|name| name.into_string().ok()).collect())
        }
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What an x86 kernel says of itself (`Documentation/arch/x86/boot.rst`: `HdrS` at 0x202, and at 0x20e
/// where the text is, 0x200 short): `/boot/vmlinuz-linux` has no version in its name.
fn told_version(kernel: std::os::fd::OwnedFd) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    File::from(kernel).take(1 << 16).read_to_end(&mut head)?;
    let text = || {
        let at = head.get(0x20e..0x210)?;
        let at = usize::from(u16::from_le_bytes([at[0], at[1]])) + 0x200;
        let text = head.get(at..)?.split(|byte| *byte == 0).next()?;
        let version = std::str::from_utf8(text).ok()?.split(' ').next()?;
        (!version.is_empty()).then(|| version.to_owned())
    };
    Ok(match head.get(0x202..0x206) {
        Some(b"HdrS") => text(),
        _ => None,
    })
}

/// Which of two versions is older: numbers count as numbers.
pub fn compare(a: &str, b: &str) -> Ordering {
    let parts = |version: &str| -> Vec<(u64, String)> {
        let mut parts = Vec::new();
        let mut rest = version;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit());
            let (number, after) = rest.split_at(digits.unwrap_or(rest.len()));
            let next = after.find(|c: char| c.is_ascii_digit());
            let (text, after) = after.split_at(next.unwrap_or(after.len()));
            // A candidate (`6.1-rc1`, `6.1~rc1`) comes before what it is one for.
            let text = text.replace("-rc", "\0rc").replace('~', "\0");
            parts.push((number.parse().unwrap_or(u64::MAX), text));
            rest = after;
        }
        parts
    };
    let (one, other) = (parts(a), parts(b));
    one.cmp(&other).then_with(|| a.cmp(b))
}

/// The open directory `/boot` of a root, if it has one.
///
/// # Errors
/// It cannot be opened.
pub fn boot_of(root: &Anchor) -> io::Result<Option<Anchor>> {
    directory(root, Path::new("boot"))
}

/// An open directory of a root, if it has it.
///
/// # Errors
/// It cannot be opened.
pub fn directory(root: &Anchor, path: &Path) -> io::Result<Option<Anchor>> {
    match root.open_within(path) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn versions_are_ordered_as_people_order_them() {
        let ordered = [
            "5.10.0-9-amd64",
            "5.10.0-10-amd64",
            "6.1.0-rc2-amd64",
            "6.1.0-9-amd64",
            "6.1.0-18-amd64",
            "6.12.48+deb13-amd64",
            "6.12.48+deb13-cloud-amd64",
        ];
        let mut shuffled = ordered;
        shuffled.reverse();
        shuffled.sort_by(|a, b| compare(a, b));
        assert_eq!(shuffled, ordered);
    }

    #[test]
    fn kernels_are_found_by_name_by_header_and_by_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let mut kernel = vec![0; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        kernel[0x300..0x314].copy_from_slice(b"6.9.1-arch1-1 (x@y) ");
        fs::write(at("vmlinuz-linux"), kernel).unwrap();
        fs::write(at("vmlinuz-6.1.0-9-amd64"), "no header").unwrap();
        fs::write(at("initrd.img-6.1.0-9-amd64"), "").unwrap();
        let id = "0123456789abcdef0123456789abcdef";
        fs::create_dir_all(at(&format!("{id}/6.11.4-300.fc41"))).unwrap();
        fs::create_dir_all(at(&format!("{id}/6.12.0-1.fc41"))).unwrap();
        fs::write(at(&format!("{id}/6.11.4-300.fc41/linux")), "").unwrap();
        let root = Anchor::open(dir.path()).unwrap();
        let found = in_boot(["", "none"].map(|dir| (&root, Path::new(dir)))).unwrap();
        assert_eq!(found, ["6.1.0-9-amd64", "6.9.1-arch1-1", "6.11.4-300.fc41"]);
    }

    #[test]
    fn a_root_follows_a_kernel_that_it_has_modules_for() {
        let list = |versions: &[&str]| -> Vec<String> {
            versions.iter().map(|&version| version.to_owned()).collect()
        };
        for (boot, modules, expected) in [
            (&["1", "2"][..], &["1", "2"][..], None),
            (&["1", "2"], &["1"], Some("2")),
            (&["1"], &["1", "2"], None),
            (&["1"], &[], None),
            (&[], &["1"], None),
        ] {
            let found = stranger(&list(boot), &list(modules));
            assert_eq!(found.as_deref(), expected, "{boot:?} {modules:?}");
        }
    }
}

//! How the root in memory is mounted, and what is wrong with it. Judging is pure.

use serde::Serialize;
use state_api::Refusal;
use state_linux::mountinfo::Mount;
use std::path::{Path, PathBuf};

/// The root as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mounted {
    /// Where it was looked for.
    pub at: PathBuf,
    /// The type of the filesystem mounted there; `None`: nothing is mounted there (yet).
    pub filesystem: Option<String>,
    /// The permission bits of its top directory.
    pub mode: u32,
    /// The limit of its size that it was mounted with; `None` is the kernel's own, half of memory.
    pub size_bytes: Option<u64>,
    /// The limit that was declared, as tmpfs(5) writes it.
    pub declared_size: Option<String>,
    /// The stores, and what each is part of.
    pub stores: Vec<StoreSeen>,
}

/// What was seen of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreSeen {
    /// Where it is on the machine.
    pub path: PathBuf,
    /// The type of the filesystem that holds it; `None`: the root itself, it is not mounted.
    pub filesystem: Option<String>,
}

/// Something to mend that loses nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The bare fact.
    pub fact: String,
    /// The cure.
    pub cure: String,
}

impl Mounted {
    /// Reads off the list of mounts what concerns the root at `root`, whose top has this mode.
    pub fn new(
        root: &Path,
        declared_size: Option<&str>,
        stores: &[PathBuf],
        mounts: &[Mount],
        mode: u32,
    ) -> Self {
        // Of several mounts at one place the last is the one that is seen.
        let at = |path: &Path| mounts.iter().rev().find(|mount| mount.at == path);
        let name = |mount: &Mount| mount.filesystem.to_string_lossy().into_owned();
        let is_no_initramfs = |mount: &&Mount| mount.filesystem != "rootfs";
        let mounted = at(root).filter(is_no_initramfs);
        let store = |path: &PathBuf| {
            let below = root.join(path.strip_prefix("/").unwrap_or(path));
            let holder = below
                .ancestors()
                .take_while(|above| above.starts_with(root) && *above != root)
                .find_map(at);
            StoreSeen {
                path: path.clone(),
                filesystem: holder.map(name),
            }
        };
        Self {
            at: root.to_owned(),
            filesystem: mounted.map(name),
            mode,
            size_bytes: mounted.and_then(|mount| bytes(mount.filesystem_option("size")?.to_str()?)),
            declared_size: declared_size.map(str::to_owned),
            stores: stores.iter().map(store).collect(),
        }
    }

    /// Whether the root is there, and is in memory.
    pub fn is_tmpfs(&self) -> bool {
        self.filesystem.as_deref() == Some("tmpfs")
    }

    /// What makes this root unfit, worst first. A root that is not mounted yet is no fault: in the
    /// initrd it comes later.
    pub fn refusals(&self) -> Vec<Refusal> {
        let Some(filesystem) = &self.filesystem else {
            return Vec::new();
        };
        let at = self.at.display();
        if !self.is_tmpfs() {
            return vec![Refusal::Unsafe {
                fact: format!("{at} is on {filesystem}, not a tmpfs: nothing forgets it"),
                cure: "mount a tmpfs as root, or declare the engine that root is on".into(),
            }];
        }
        let unmounted = self
            .stores
            .iter()
            .filter(|store| store.filesystem.is_none());
        let mut refusals: Vec<_> = unmounted
            .map(|store| Refusal::Unsafe {
                fact: format!("the store {} is not mounted", store.path.display()),
                cure: "mount it before anything is put in place from it: what is written there \
                       now is lost at the next boot"
                    .into(),
            })
            .collect();
        refusals.extend(self.wrong_mode());
        refusals
    }

    pub(crate) fn wrong_mode(&self) -> Option<Refusal> {
        let at = self.at.display();
        (self.mode != 0o755).then(|| Refusal::Unsafe {
            fact: format!("{at} has mode {:04o}: sshd refuses logins", self.mode),
            cure: "mount the root with the option mode=0755".into(),
        })
    }

    /// What should be mended.
    pub fn advice(&self) -> Vec<Advice> {
        if !self.is_tmpfs() {
            return Vec::new();
        }
        let in_memory = (self.stores.iter())
            .filter(|store| store.filesystem.as_deref() == Some("tmpfs"))
            .map(|store| Advice {
                fact: format!("the store {} is in memory too", store.path.display()),
                cure: "mount it from a disk: what is in it now is lost at the next boot".into(),
            });
        in_memory.chain(self.size_advice()).collect()
    }

    fn size_advice(&self) -> Option<Advice> {
        let at = self.at.display();
        let declared = self.declared_size.as_deref();
        let cure = |size: &str| format!("mount the root with the option size={size}");
        match (self.size_bytes, declared) {
            (None, _) => Some(Advice {
                fact: format!("{at} has no size of its own: it may fill half of memory"),
                cure: cure(declared.unwrap_or("25%")),
            }),
            // A share of memory cannot be compared with what the kernel made of it.
            (Some(is), Some(declared)) => (bytes(declared)? != is).then(|| Advice {
                fact: format!("{at} is limited to {is} bytes, and declared as {declared}"),
                cure: cure(declared),
            }),
            (Some(_), None) => None,
        }
    }
}

/// A size as tmpfs(5) writes it: digits with `k`, `m` or `g`. Not a percentage.
fn bytes(size: &str) -> Option<u64> {
    let (digits, unit) = match size.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&size[..size.len() - 1], 1 << 10),
        b'm' => (&size[..size.len() - 1], 1 << 20),
        b'g' => (&size[..size.len() - 1], 1 << 30),
        _ => (size, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_linux::mountinfo;

    const RIGHT: &str = "\
21 1 0:20 / / rw,relatime shared:1 - tmpfs none rw,size=2097152k,mode=755
22 21 0:21 / /proc rw - proc proc rw
30 21 254:1 / /persist\\040of\\040me rw - ext4 /dev/vda1 rw
31 21 254:1 /var/lib/x /var/lib/x rw - ext4 /dev/vda1 rw
";

    fn mounted(text: &str, stores: &[&str], size: Option<&str>, mode: u32) -> Mounted {
        let mounts = mountinfo::parse(text.as_bytes()).unwrap();
        let stores: Vec<_> = stores.iter().map(PathBuf::from).collect();
        Mounted::new(Path::new("/"), size, &stores, &mounts, mode)
    }

    fn facts(mounted: &Mounted) -> Vec<String> {
        mounted.refusals().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_root_as_it_must_be() {
        let mounted = mounted(RIGHT, &["/persist of me/deep"], Some("2g"), 0o755);
        let expected = Mounted {
            at: "/".into(),
            filesystem: Some("tmpfs".into()),
            mode: 0o755,
            size_bytes: Some(2 << 30),
            declared_size: Some("2g".into()),
            stores: vec![StoreSeen {
                path: "/persist of me/deep".into(),
                filesystem: Some("ext4".into()),
            }],
        };
        assert_eq!(mounted, expected);
        assert_eq!(facts(&mounted), Vec::<String>::new());
        assert_eq!(mounted.advice(), []);
    }

    #[test]
    fn what_makes_a_root_unfit() {
        let two_roots = RIGHT.to_owned() + "40 21 254:1 / / rw - ext4 /dev/vda1 rw\n";
        for (text, store, mode, expected) in [
            (
                two_roots.as_str(),
                "/persist of me",
                0o755,
                vec!["/ is on ext4, not a tmpfs: nothing forgets it"],
            ),
            (
                RIGHT,
                "/persist of me",
                0o1777,
                vec!["/ has mode 1777: sshd refuses logins"],
            ),
            (
                RIGHT,
                "/persist",
                0o700,
                vec![
                    "the store /persist is not mounted",
                    "/ has mode 0700: sshd refuses logins",
                ],
            ),
            // In the initrd: only its own root is there.
            (
                "1 1 0:2 / / rw - rootfs rootfs rw\n",
                "/persist",
                0o755,
                vec![],
            ),
            (
                "22 1 0:21 / /proc rw - proc proc rw\n",
                "/persist",
                0o755,
                vec![],
            ),
        ] {
            assert_eq!(
                facts(&mounted(text, &[store], None, mode)),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_should_be_mended() {
        let in_memory = RIGHT.to_owned() + "41 21 0:33 / /mem rw - tmpfs none rw\n";
        let expected = Advice {
            fact: "the store /mem is in memory too".into(),
            cure: "mount it from a disk: what is in it now is lost at the next boot".into(),
        };
        assert_eq!(
            mounted(&in_memory, &["/mem"], None, 0o755).advice(),
            [expected]
        );
        let unlimited = "21 1 0:20 / / rw - tmpfs none rw,mode=755\n";
        let fact = |text, size| {
            let advice = mounted(text, &[], size, 0o755).advice();
            advice
                .first()
                .map(|advice| format!("{}; {}", advice.fact, advice.cure))
        };
        let unbounded = "/ has no size of its own: it may fill half of memory; mount the root with \
                         the option size=25%";
        let other = "/ is limited to 2147483648 bytes, and declared as 512m; mount the root with \
                     the option size=512m";
        for (text, size, expected) in [
            (RIGHT, None, None),
            (RIGHT, Some("25%"), None),
            (RIGHT, Some("2097152k"), None),
            (RIGHT, Some("512m"), Some(other)),
            (unlimited, None, Some(unbounded)),
            (unlimited, Some("25%"), Some(unbounded)),
        ] {
            assert_eq!(fact(text, size).as_deref(), expected, "{text} {size:?}");
        }
    }
}

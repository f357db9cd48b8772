//! What boot loaders hand to the kernel: the entries of their menus. Pure.

use crate::cmdline::{self, Words};
use crate::settings::Root;
use std::path::Path;

/// An entry of a boot menu that starts a Linux system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What people see.
    pub title: String,
    /// The words of the kernel command line.
    pub words: Vec<String>,
}

/// An entry in a file of its own, as systemd-boot and GRUB have them
/// (<https://uapi-group.org/specifications/specs/boot_loader_specification>); `None` for what is no
/// kernel.
pub fn file(name: &str, text: &str) -> Option<Entry> {
    let values = |key: &str| {
        let lines = text.lines().filter_map(|line| {
            let (found, value) = line.trim().split_once(char::is_whitespace)?;
            (found == key).then(|| value.trim().to_owned())
        });
        lines.collect::<Vec<_>>()
    };
    if values("linux").is_empty() {
        return None;
    }
    let title = values("title").pop();
    Some(Entry {
        title: title.unwrap_or_else(|| name.trim_end_matches(".conf").to_owned()),
        words: cmdline::split(&values("options").join(" ")),
    })
}

/// An image that brings its own kernel command line.
pub fn image(name: &str, command_line: &str) -> Entry {
    Entry {
        title: name.to_owned(),
        words: cmdline::split(command_line),
    }
}

/// The entries of a `grub.cfg`, as `grub-mkconfig` writes it. What has no `root=` is no system.
pub fn grub(text: &str) -> Vec<Entry> {
    let mut title = "";
    let mut entries = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("menuentry ") {
            let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
            title = match quote {
                Some(quote) => rest[1..].split(quote).next().unwrap_or_default(),
                None => rest.split_whitespace().next().unwrap_or_default(),
            };
        }
        let Some((command, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        if matches!(command, "linux" | "linux16" | "linuxefi") {
            let words = cmdline::split(rest);
            if words.iter().any(|word| word.starts_with("root=")) {
                entries.push(Entry {
                    title: title.to_owned(),
                    words,
                });
            }
        }
    }
    entries
}

impl Entry {
    /// What the last of several says.
    fn value(&self, key: &str) -> Option<&str> {
        let mut words = self.words.iter().rev();
        words.find_map(|word| word.strip_prefix(key))
    }

    /// Whether it starts the declared root, as far as that can be told: not another system, or
    /// another root of this one.
    pub fn starts(&self, root: &Root) -> bool {
        let named = self.value("root=");
        match root {
            Root::Btrfs {
                device, subvolume, ..
            } => {
                let is_other_device = match (named.and_then(uuid), uuid_of(device)) {
                    (Some(named), Some(declared)) => named != declared,
                    _ => false,
                };
                // Without one the filesystem's own default is mounted.
                let is_other_subvolume = self
                    .flag("subvol=")
                    .is_some_and(|name| Path::new(name.trim_matches('/')) != subvolume.as_path());
                !is_other_device && !is_other_subvolume
            }
            Root::Zfs { dataset, .. } => {
                let named = named.and_then(|named| {
                    let named = named.strip_prefix("zfs:").or(named.strip_prefix("ZFS="));
                    named.filter(|named| !matches!(*named, "AUTO" | "auto"))
                });
                named.is_none_or(|named| named.trim_end_matches('/') == dataset)
            }
            // Named is a device that is there: what is installed, or any.
            Root::Overlay { .. } | Root::Tmpfs { .. } => true,
        }
    }

    /// A mount option of root.
    fn flag(&self, key: &str) -> Option<&str> {
        let flags = self.value("rootflags=")?;
        flags
            .split(',')
            .rev()
            .find_map(|flag| flag.strip_prefix(key))
    }

    /// What keeps a boot with it from being reset: the word, and what comes of it.
    pub fn faults(&self, root: &Root) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut fault = |word: &str, what: &str| faults.push((word.to_owned(), what.to_owned()));
        match Words::of(self.words.clone()) {
            Err(bad) => fault(&bad.word, &format!("a reset refuses that: {}", bad.why)),
            Ok(words) => {
                if words.skip {
                    fault("state.skip", "root is left as it is");
                } else if words.root.is_some() {
                    let word = self.value("state.root=").unwrap_or_default();
                    fault(&format!("state.root={word}"), "it starts a past root");
                }
            }
        }
        for word in &self.words {
            let masked = ["systemd.mask=", "rd.systemd.mask="];
            let masked = masked.iter().find_map(|key| word.strip_prefix(key));
            if masked.is_some_and(|unit| unit.starts_with("state-") || unit == "sysroot.mount") {
                fault(word, "no reset runs");
            }
        }
        if matches!(root, Root::Btrfs { .. }) && self.flag("subvolid=").is_some() {
            let word = format!("rootflags={}", self.value("rootflags=").unwrap_or_default());
            fault(&word, "the first reset changes that id");
        }
        let is_written = self
            .words
            .iter()
            .rfind(|word| matches!(&***word, "ro" | "rw"));
        if matches!(root, Root::Overlay { .. }) && is_written.is_some_and(|word| word == "rw") {
            fault("rw", "a lower layer that can be written is refused");
        }
        faults
    }
}

fn uuid(root: &str) -> Option<&str> {
    root.strip_prefix("UUID=")
        .or_else(|| uuid_of(Path::new(root)))
}

fn uuid_of(device: &Path) -> Option<&str> {
    device.strip_prefix("/dev/disk/by-uuid").ok()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(words: &str) -> Entry {
        image("debian.efi", words)
    }

    fn root(text: &str) -> Root {
        let settings: crate::settings::Settings = text.parse().unwrap();
        settings.root.unwrap()
    }

    fn btrfs() -> Root {
        root(
            "[root]\nbackend = \"btrfs\"\ndevice = \"/dev/disk/by-uuid/ab-12\"\nsubvolume = \"@/root\"",
        )
    }

    fn zfs() -> Root {
        root("[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"")
    }

    fn overlay() -> Root {
        root("[root]\nbackend = \"overlay\"\ndevice = \"/dev/disk/by-uuid/ab-12\"")
    }

    #[test]
    fn an_entry_has_a_file_of_its_own() {
        let text = "# made by kernel-install\ntitle   Debian GNU/Linux\nlinux /6.1/linux\n\
                    options root=UUID=ab-12 ro\noptions \"dyndbg=file x +p\" quiet\n";
        let words = ["root=UUID=ab-12", "ro", "dyndbg=file x +p", "quiet"];
        let expected = Entry {
            title: "Debian GNU/Linux".into(),
            words: words.map(str::to_owned).into(),
        };
        assert_eq!(file("id-6.1.conf", text), Some(expected));
        let bare = file("id-6.1.conf", "linux /6.1/linux\ntitles x\n").unwrap();
        assert_eq!((&*bare.title, bare.words.len()), ("id-6.1", 0));
        assert_eq!(file("x.conf", "title Firmware\nefi /shell.efi\n"), None);
    }

    #[test]
    fn grub_has_them_in_one() {
        let text = "\
set default=\"0\"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
\tlinux\t/vmlinuz-6.1 root=UUID=ab-12 ro  quiet
\tinitrd\t/initrd.img-6.1
}
submenu 'Advanced options' {
\tmenuentry \"Debian, with Linux 6.1 (recovery mode)\" {
\t\tlinux\t/vmlinuz-6.1 root=UUID=ab-12 ro single
\t}
}
menuentry memtest {
\tlinux16 /memtest86+.bin
}
";
        let told: Vec<(String, String)> = grub(text)
            .into_iter()
            .map(|entry| (entry.title, entry.words.join(" ")))
            .collect();
        let expected = [
            ("Debian GNU/Linux", "/vmlinuz-6.1 root=UUID=ab-12 ro quiet"),
            (
                "Debian, with Linux 6.1 (recovery mode)",
                "/vmlinuz-6.1 root=UUID=ab-12 ro single",
            ),
        ];
        assert_eq!(told, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn another_system_is_told_apart() {
        let table: [(Root, &str, bool); 14] = [
            (btrfs(), "root=UUID=ab-12 rootflags=subvol=@/root", true),
            (
                btrfs(),
                "root=/dev/disk/by-uuid/ab-12 rootflags=noatime,subvol=/@/root",
                true,
            ),
            (btrfs(), "root=UUID=ab-12", true),
            (btrfs(), "root=/dev/mapper/root", true),
            (btrfs(), "init=/nix/store/abc/init", true),
            (btrfs(), "root=UUID=ab-13 rootflags=subvol=@/root", false),
            (btrfs(), "root=UUID=ab-12 rootflags=subvol=root", false),
            (btrfs(), "root=UUID=ab-13 root=UUID=ab-12", true),
            (zfs(), "root=zfs:AUTO", true),
            (zfs(), "root=ZFS=rpool/local/root", true),
            (zfs(), "root=zfs:rpool/local/other", false),
            (zfs(), "quiet", true),
            (overlay(), "root=UUID=ab-13", true),
            (Root::in_memory(None), "root=UUID=ab-13", true),
        ];
        for (root, words, expected) in table {
            assert_eq!(entry(words).starts(&root), expected, "{words}");
        }
    }

    #[test]
    fn what_keeps_a_boot_from_being_reset_is_found() {
        let table: [(Root, &str, &[&str]); 11] = [
            (
                btrfs(),
                "root=UUID=ab-12 rw quiet state.debug state.skip=no",
                &[],
            ),
            (
                btrfs(),
                "state.skip",
                &["state.skip: root is left as it is"],
            ),
            (
                btrfs(),
                "state.skip=perhaps",
                &["state.skip=perhaps: a reset refuses that: it has to be yes or no"],
            ),
            (
                btrfs(),
                "state.root=past/latest",
                &["state.root=past/latest: it starts a past root"],
            ),
            (
                btrfs(),
                "systemd.mask=cups.service rd.systemd.mask=state-reset.service",
                &["rd.systemd.mask=state-reset.service: no reset runs"],
            ),
            (
                btrfs(),
                "rootflags=subvolid=256,noatime",
                &["rootflags=subvolid=256,noatime: the first reset changes that id"],
            ),
            (zfs(), "rootflags=subvolid=256 rw", &[]),
            (overlay(), "ro quiet", &[]),
            (overlay(), "quiet", &[]),
            (
                overlay(),
                "ro rw",
                &["rw: a lower layer that can be written is refused"],
            ),
            (overlay(), "rw ro", &[]),
        ];
        for (root, words, expected) in table {
            let faults = entry(words).faults(&root).into_iter();
            let told: Vec<String> = faults
                .map(|(word, what)| format!("{word}: {what}"))
                .collect();
            assert_eq!(told, *expected, "{words}");
        }
    }
}

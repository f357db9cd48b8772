//! The boot loader: its entries start the declared root, and say nothing that keeps it from being
//! reset.

use super::{Facts, Finding, Severity};
use crate::anchor::Anchor;
use crate::boot::initrd::find;
use crate::boot::initrd::uki;
use crate::boot::loader::{self, Entry};
use crate::context::Context;
use crate::kernels;
use crate::machine::Machine;
use crate::paths::Shown;
use crate::settings::Root;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

const CHECK: &str = "loader";

/// The menus, by their files.
#[derive(Debug, Default)]
pub(crate) struct Menus {
    /// What was read.
    pub(super) entries: Vec<(PathBuf, Entry)>,
    /// Whether something could not be: not everybody may.
    pub(super) is_denied: bool,
}

/// Reads them.
pub(super) fn look(cx: &Context, machine: &Machine, declared: Option<&Root>) -> io::Result<Menus> {
    let root = Anchor::open(&cx.root_dir)?;
    let mut menus = Menus::default();
    for dir in find::dirs(machine, declared) {
        match menus.read(&root, &dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => menus.is_denied = true,
            read => read?,
        }
    }
    Ok(menus)
}

impl Menus {
    fn read(&mut self, root: &Anchor, dir: &Path) -> io::Result<()> {
        let Some(boot) = kernels::directory(root, dir)? else {
            return Ok(());
        };
        let text = |path: &Path| {
            let bytes = boot.read_within(path)?;
            io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut found = Vec::new();
        let entries = Path::new("loader/entries");
        for name in kernels::names(&boot, entries)? {
            if name.ends_with(".conf") {
                let path = entries.join(&name);
                let entry = loader::file(&name, &text(&path)?);
                found.extend(entry.map(|entry| (path, entry)));
            }
        }
        for grub in ["grub", "grub2"].map(Path::new) {
            if kernels::names(&boot, grub)?
                .iter()
                .any(|name| name == "grub.cfg")
            {
                let path = grub.join("grub.cfg");
                let entries = loader::grub(&text(&path)?).into_iter();
                found.extend(entries.map(|entry| (path.clone(), entry)));
            }
        }
        let images = Path::new("EFI/Linux");
        for name in kernels::names(&boot, images)? {
            if name.ends_with(".efi") {
                let path = images.join(&name);
                let mut image = File::from(boot.read(&path)?);
                let line = uki::command_line(&mut image)?;
                found.extend(line.map(|line| (path, loader::image(&name, &line))));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let found = found.into_iter();
        self.entries
            .extend(found.map(|(path, entry)| (dir.join(path), entry)));
        Ok(())
    }
}

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let root = facts.config.as_ref().ok()?.settings.root.as_ref()?;
    let menus = match &facts.menus {
        Ok(menus) => menus,
        Err(error) => {
            let fact = format!("the boot loader's entries cannot be read: {error}");
            return Some(vec![Finding::new(CHECK, Severity::Warn, fact)]);
        }
    };
    if menus.is_denied {
        let fact = "the boot loader's entries cannot be read by everybody";
        return Some(vec![
            Finding::new(CHECK, Severity::Note, fact).cure("ask as root"),
        ]);
    }
    if menus.entries.is_empty() {
        return None;
    }
    let entries = menus.entries.iter();
    let ours: Vec<&(PathBuf, Entry)> = entries.filter(|(_, entry)| entry.starts(root)).collect();
    let again = "correct GRUB_CMDLINE_LINUX in /etc/default/grub, or /etc/kernel/cmdline, and make the boot loader's entries anew";
    if ours.is_empty() {
        let fact = "no entry of the boot loader starts the declared root: each names another by root= or rootflags=";
        return Some(vec![Finding::new(CHECK, Severity::Bad, fact).cure(again)]);
    }
    // One that is there for a special case is worth knowing; when there is no other, nothing is reset.
    let mut severity = Severity::Bad;
    let mut faults: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for (path, entry) in ours {
        let found = entry.faults(root);
        if found.is_empty() {
            severity = Severity::Note;
        }
        for (word, what) in found {
            faults
                .entry((path, word, what))
                .or_default()
                .push(&entry.title);
        }
    }
    let finding = |((path, word, what), titles): ((&PathBuf, String, String), Vec<&str>)| {
        let who = match titles[..] {
            [title] => format!("{title:?} says"),
            _ => format!("{} entries say", titles.len()),
        };
        let fact = format!("{}: {who} {word}: {what}", Shown(path));
        Finding::new(CHECK, severity, fact).cure(format!(
            "words for one boot are typed in the boot menu; {again}"
        ))
    };
    Some(faults.into_iter().map(finding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::doctor::tests::found;

    fn menus(entries: &[(&str, &str)]) -> Menus {
        let entries = entries.iter().map(|(title, words)| {
            let entry = loader::image(title, words);
            (PathBuf::from("/boot/grub/grub.cfg"), entry)
        });
        Menus {
            entries: entries.collect(),
            is_denied: false,
        }
    }

    #[test]
    fn every_boot_has_to_be_reset_unless_somebody_wants_another() {
        let ours = "root=UUID=1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6 rootflags=subvol=root ro";
        let other = "root=UUID=ffffffff ro";
        let skip = &format!("{ours} state.skip");
        type Titled<'a> = &'a [(&'a str, &'a str)];
        let table: [(Titled, &[&str]); 6] = [
            (&[], &[]),
            (&[("Debian", ours), ("Windows", other)], &[]),
            (
                &[("Debian", ours), ("Debian as it was", skip)],
                &[
                    "loader Note: /boot/grub/grub.cfg: \"Debian as it was\" says state.skip: root is left as it is",
                ],
            ),
            (
                &[
                    ("Debian", skip),
                    ("Fedora", "root=/dev/mapper/fedora rootflags=subvol=fedora"),
                ],
                &[
                    "loader Bad: /boot/grub/grub.cfg: \"Debian\" says state.skip: root is left as it is",
                ],
            ),
            (
                &[("Debian", skip), ("Debian (recovery)", skip)],
                &[
                    "loader Bad: /boot/grub/grub.cfg: 2 entries say state.skip: root is left as it is",
                ],
            ),
            (
                &[(
                    "Debian",
                    "root=UUID=1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6 rootflags=subvol=@",
                )],
                &[
                    "loader Bad: no entry of the boot loader starts the declared root: each names another by root= or rootflags=",
                ],
            ),
        ];
        for (entries, expected) in table {
            let menus = menus(entries);
            assert_eq!(
                found(|facts| facts.menus = Ok(menus)),
                *expected,
                "{entries:?}"
            );
        }
    }

    #[test]
    fn menus_are_where_boot_loaders_keep_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "efi/loader/entries/b.conf",
            "title B\nlinux /b\noptions root=UUID=1\n",
        );
        write("efi/loader/entries/a.conf", "title A\nlinux /a\n");
        write("efi/loader/entries/a.conf.bak", "title old\nlinux /a\n");
        write(
            "boot/grub2/grub.cfg",
            "menuentry 'G' {\n linux /vmlinuz root=/dev/vda2\n}\n",
        );
        write("efi/EFI/Linux/not.efi", "nothing");
        let cx = Context::below(dir.path());
        let told: Vec<String> = look(&cx, &Machine::look(&cx).unwrap(), None)
            .unwrap()
            .entries
            .into_iter()
            .map(|(path, entry)| format!("{} {}", path.display(), entry.title))
            .collect();
        assert_eq!(
            told,
            [
                "/boot/grub2/grub.cfg G",
                "/efi/loader/entries/a.conf A",
                "/efi/loader/entries/b.conf B"
            ]
        );
    }
}

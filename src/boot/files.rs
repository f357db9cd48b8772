//! What an initrd holds beside the program. Pure.

use super::maker::File;
use super::text;
use super::unit::{self, Unit};
use crate::persist::{CONFIGURATION, PersistTree};
use crate::settings::{OnFailure, Root, Settings};

/// What the hooks of initrds without systemd read: shell variables.
const BOOT_CONF: &str = "/etc/state/boot.conf";
/// Where an initrd has its units.
const UNITS: &str = "/usr/lib/systemd/system";
/// Where a system has the units that were added to it.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// A link, to what is beside the directory it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it is.
    pub path: String,
    /// What it says.
    pub target: String,
}

/// Files and links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The files.
    pub files: Vec<File>,
    /// The links.
    pub links: Vec<Link>,
}

/// What goes into an initrd. `configuration` is the text of the configuration's own file: what is
/// merged with it lies in the stores, and is read there.
pub fn initrd(settings: &Settings, tree: &PersistTree, configuration: &str) -> Contents {
    let mut contents = Contents::default();
    let mut add = |path: &str, text: String| {
        contents.files.push(File {
            path: path.to_owned(),
            text,
            is_program: false,
        });
    };
    add(CONFIGURATION, configuration.to_owned());
    add(BOOT_CONF, boot_conf(settings, tree));
    let root = settings.root.as_ref();
    contents.units(UNITS, unit::initrd(root, tree));
    contents.units(SYSTEM_UNITS, unit::sysroot(root).into_iter().collect());
    contents
}

/// What is added to the system itself.
pub fn system(units: Vec<Unit>) -> Contents {
    let mut contents = Contents::default();
    contents.units(SYSTEM_UNITS, units);
    contents
}

impl Contents {
    /// Adds units to the system that stay disabled until somebody enables them.
    pub fn offer(&mut self, units: Vec<Unit>) {
        self.files
            .extend(units.into_iter().map(|(name, text)| File {
                path: format!("{SYSTEM_UNITS}/{name}"),
                text,
                is_program: false,
            }));
    }

    /// Units, enabled as their last section says.
    fn units(&mut self, dir: &str, units: Vec<Unit>) {
        for (name, text) in units {
            for by in text::enabled_by(&text) {
                self.links.push(Link {
                    path: format!("{dir}/{by}/{name}"),
                    target: format!("../{name}"),
                });
            }
            self.files.push(File {
                path: format!("{dir}/{name}"),
                text,
                is_program: false,
            });
        }
    }
}

fn boot_conf(settings: &Settings, tree: &PersistTree) -> String {
    let on_failure = match settings.root.as_ref().map(unit::on_failure) {
        None => "",
        Some(OnFailure::BootUnwiped) => "boot-unwiped",
        Some(OnFailure::Emergency) => "emergency",
    };
    let stores: Vec<String> = unit::early_stores(tree)
        .into_iter()
        .map(|store| store.to_string_lossy().into_owned())
        .collect();
    // The filesystems that an upper layer, or blank, can lie on, and those of images.
    let modules = match &settings.root {
        Some(Root::Overlay { .. }) => "overlay ext4 xfs btrfs f2fs",
        Some(Root::Tmpfs {
            device: Some(_), ..
        }) => "ext4 xfs btrfs f2fs loop erofs squashfs",
        _ => "",
    };
    format!(
        "ON_FAILURE={}\nEARLY_STORES={}\nMODULES={}\n",
        quoted(on_failure),
        quoted(&stores.join("\n")),
        quoted(modules)
    )
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::Users;

    #[test]
    fn an_initrd_holds_the_configuration_and_what_is_made_of_it() {
        let text = "\
[root]
backend = \"btrfs\"
device = \"/dev/vda2\"
subvolume = \"root\"
on-failure = \"emergency\"
[persist.\"/it's\"]
files = [\"/etc/machine-id\"]
";
        let settings: Settings = text.parse().unwrap();
        let tree = PersistTree::resolve(&settings, &Users::parse(b"", b"")).unwrap();
        let contents = initrd(&settings, &tree, text);
        let files: Vec<&str> = contents
            .files
            .iter()
            .map(|file| file.path.as_str())
            .collect();
        assert_eq!(
            files,
            [
                "/etc/state/state.toml",
                "/etc/state/boot.conf",
                "/usr/lib/systemd/system/state-reset.service",
                "/usr/lib/systemd/system/state-mount-early.service",
            ]
        );
        assert_eq!(contents.files[0].text, text);
        assert_eq!(
            contents.files[1].text,
            "ON_FAILURE='emergency'\nEARLY_STORES='/it'\\''s'\nMODULES=''\n"
        );
        let links: Vec<(&str, &str)> = contents
            .links
            .iter()
            .map(|link| (link.path.as_str(), link.target.as_str()))
            .collect();
        assert_eq!(
            links,
            [
                (
                    "/usr/lib/systemd/system/initrd.target.wants/state-reset.service",
                    "../state-reset.service"
                ),
                (
                    "/usr/lib/systemd/system/sysroot.mount.requires/state-reset.service",
                    "../state-reset.service"
                ),
                (
                    "/usr/lib/systemd/system/initrd.target.wants/state-mount-early.service",
                    "../state-mount-early.service"
                ),
            ]
        );
    }
}

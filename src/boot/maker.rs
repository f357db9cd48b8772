//! The makers of initrds, and what each must be given. Pure.

use crate::program::Program;
use std::fmt;

/// A program that makes initrds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// dracut
    Dracut,
    /// Debian's initramfs-tools
    InitramfsTools,
    /// Arch's mkinitcpio
    Mkinitcpio,
}

/// A file to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where on the machine.
    pub path: String,
    /// What is in it.
    pub text: String,
    /// Whether it is a program.
    pub is_program: bool,
}

macro_rules! contrib {
    ($path:literal) => {
        include_str!(concat!("../../contrib/", $path))
    };
}

impl Maker {
    /// All of them, the surest sign of being the one in use first: initramfs-tools and mkinitcpio
    /// come as what a distribution uses, while dracut's core may be there for something else.
    pub const ALL: [Self; 3] = [Self::InitramfsTools, Self::Mkinitcpio, Self::Dracut];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dracut => "dracut",
            Self::InitramfsTools => "initramfs-tools",
            Self::Mkinitcpio => "mkinitcpio",
        }
    }

    /// What it is recognised by: a file of it, on the machine.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Dracut => "/usr/lib/dracut/dracut-functions.sh",
            Self::InitramfsTools => "/usr/sbin/update-initramfs",
            Self::Mkinitcpio => "/etc/mkinitcpio.conf",
        }
    }

    /// Its hooks.
    pub fn files(self) -> Vec<File> {
        let file = |path: &str, text: &str, is_program: bool| File {
            path: path.to_owned(),
            text: text.to_owned(),
            is_program,
        };
        match self {
            Self::Dracut => vec![
                file(
                    "/usr/lib/dracut/modules.d/90state/module-setup.sh",
                    contrib!("dracut/90state/module-setup.sh"),
                    true,
                ),
                file(
                    "/etc/dracut.conf.d/90-state.conf",
                    contrib!("dracut/90-state.conf"),
                    false,
                ),
            ],
            Self::InitramfsTools => vec![
                file(
                    "/etc/initramfs-tools/hooks/state",
                    contrib!("initramfs-tools/hooks/state"),
                    true,
                ),
                file(
                    "/etc/initramfs-tools/scripts/local-premount/state",
                    contrib!("initramfs-tools/scripts/local-premount/state"),
                    true,
                ),
                file(
                    "/etc/initramfs-tools/scripts/local-bottom/state",
                    contrib!("initramfs-tools/scripts/local-bottom/state"),
                    true,
                ),
            ],
            Self::Mkinitcpio => vec![
                file(
                    "/etc/initcpio/install/state",
                    contrib!("mkinitcpio/install/state"),
                    false,
                ),
                file(
                    "/etc/initcpio/hooks/state",
                    contrib!("mkinitcpio/hooks/state"),
                    false,
                ),
                file(
                    "/etc/mkinitcpio.conf.d/state.conf",
                    contrib!("mkinitcpio/state.conf"),
                    false,
                ),
            ],
        }
    }

    /// What makes the initrds of all installed kernels anew.
    pub fn rebuild(self) -> (Program, &'static [&'static str]) {
        match self {
            Self::Dracut => (Program::Dracut, &["--force", "--regenerate-all"]),
            Self::InitramfsTools => (Program::UpdateInitramfs, &["-u", "-k", "all"]),
            Self::Mkinitcpio => (Program::Mkinitcpio, &["-P"]),
        }
    }

    /// That, as it is typed.
    pub fn command(self) -> String {
        let (program, args) = self.rebuild();
        format!("{} {}", program.name(), args.join(" "))
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

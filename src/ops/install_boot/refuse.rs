//! What stands against installing: a machine that would boot without a reset, or without what it needs.

use super::COMMAND;
use crate::anchor::Anchor;
use crate::boot::initrd::find;
use crate::boot::maker::Maker;
use crate::boot::unit;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{FstabLine, Machine};
use crate::ops::renew;
use crate::paths::Shown;
use crate::persist::PersistTree;
use crate::settings::Root;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// What imports pools in an initrd of dracut's: a part of ZFS, in a package of its own.
const DRACUT_ZFS: &str = "/usr/lib/dracut/modules.d/90zfs/module-setup.sh";

/// Refuses a maker whose initrds have no place for the reset of such a root.
pub(super) fn makers_without_a_place(
    cx: &Context,
    maker: Maker,
    root: Option<&Root>,
) -> anyhow::Result<()> {
    let only_dracut = match root {
        Some(Root::Overlay { .. }) => Some("an overlay root"),
        Some(Root::Tmpfs {
            device: Some(_), ..
        }) => Some("a root in memory that is filled"),
        // The others' import the pool and mount root in one go, with no place in between.
        Some(Root::Zfs { .. }) => Some("a ZFS root"),
        _ => None,
    };
    if let Some(what) = only_dracut
        && maker != Maker::Dracut
    {
        let fact = format!("{what} needs an initrd of dracut's; this one is {maker}'s");
        return Err(Failure::refused(fact)
            .hint("`apt install dracut` or its like, then `state init --install-boot=dracut`")
            .into());
    }
    if matches!(root, Some(Root::Zfs { .. })) && !cx.rooted(DRACUT_ZFS).exists() {
        return Err(Failure::refused(
            "dracut has no module for ZFS: its initrd could not mount root",
        )
        .hint("`apt install zfs-dracut` or its like")
        .into());
    }
    Ok(())
}

/// Refuses to write where no boot loader reads: into the layer above the installed system, or into
/// memory. An initrd there would be read back as a good one, and the old one started for ever.
pub(super) fn covered(cx: &Context, machine: &Machine, root: Option<&Root>) -> anyhow::Result<()> {
    let Some(root) = root.filter(|root| find::is_covered(machine, root)) else {
        return Ok(());
    };
    let apart = find::DIRS.map(PathBuf::from).into_iter();
    let apart: Vec<PathBuf> = apart.filter(|dir| find::is_apart(machine, dir)).collect();
    let found = Anchor::open(&cx.root_dir)
        .and_then(|root| find::find(&root, &apart))
        .context("looking for initrds")?;
    if !found.images.is_empty() {
        return Ok(());
    }
    let (fact, cure) = match root {
        Root::Overlay { .. } => (
            "/boot is in the upper layer here: the boot loader reads the installed system's",
            renew::lasting(root, COMMAND),
        ),
        _ => (
            "/boot is in memory here: the boot loader reads the one on its disk",
            format!(
                "mount that at /boot (a bind mount will do), then run `{COMMAND}` again, and `state blank take` last"
            ),
        ),
    };
    Err(Failure::refused(fact).hint(cure).into())
}

/// Refuses what would boot without its early entries.
pub(super) fn stores_out_of_reach(
    machine: &Machine,
    tree: &PersistTree,
    maker: Maker,
) -> anyhow::Result<()> {
    for store in unit::early_stores(tree) {
        let shown = Shown(store);
        let Some(line) = machine.line_of(store) else {
            let fact = format!("/etc/fstab does not mount the store {shown}");
            return Err(Failure::refused(fact)
                .hint("early entries are in it, so the initrd must mount it: add its line to /etc/fstab, with x-initrd.mount among the options")
                .into());
        };
        let is_bound = |line: &&FstabLine| {
            let mut words = line.options.split(',');
            store.starts_with(&line.at) && words.any(|word| matches!(word, "bind" | "rbind"))
        };
        // Its script mounts devices: what is bound to its place is none.
        if let (Maker::InitramfsTools, Some(bound)) = (maker, machine.fstab.iter().find(is_bound)) {
            let fact = format!(
                "/etc/fstab binds {} to its place, and an initrd of {maker}'s cannot",
                Shown(&bound.at)
            );
            return Err(Failure::refused(fact)
                .hint(format!(
                    "the store {shown} needs a line with its device: as a volume of its own, or as a directory of what is mounted ({} itself)",
                    Shown(Path::new(&bound.source))
                ))
                .into());
        }
        let is_in_initrd = line.options.split(',').any(|word| word == "x-initrd.mount");
        // initramfs-tools does not read the word: its script mounts the stores.
        if !is_in_initrd && maker != Maker::InitramfsTools {
            let at = Shown(&line.at);
            return Err(Failure::refused(format!(
                "/etc/fstab mounts {at} only after the initrd, and early entries are in it"
            ))
            .hint(format!(
                "add x-initrd.mount to the options of {at} in /etc/fstab"
            ))
            .into());
        }
    }
    Ok(())
}

/// Refuses an overlay below which the system would make writable what is installed.
pub(super) fn line_for_root(machine: &Machine, root: Option<&Root>) -> anyhow::Result<()> {
    let mut lines = machine.fstab.iter();
    if matches!(root, Some(Root::Overlay { .. })) && lines.any(|line| line.at == Path::new("/")) {
        return Err(Failure::refused("/etc/fstab has a line for /")
            .hint("delete it: at a boot without the overlay the system would make what is installed writable by it")
            .into());
    }
    Ok(())
}

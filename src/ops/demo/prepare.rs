//! What the demo needs of the machine: which engine can be shown, and the programs for it.

use super::{Backend, Event, Narrator};
use crate::failure::{Class, Failure};
use crate::program::Program;
use std::path::Path;
use std::time::Duration;

/// The engine to show, and what there is to say about the choice.
pub(super) fn choose(asked: Option<Backend>) -> (Backend, &'static str) {
    let is_root = rustix::process::geteuid().is_root();
    match (asked, is_root) {
        (None | Some(Backend::Btrfs | Backend::Zfs), false) => (
            Backend::Tmpfs,
            "You are not root, so root is a tmpfs and the disks are memory; `sudo` shows the same \
             on btrfs, with snapshots and past roots.",
        ),
        (Some(backend), _) => (backend, ""),
        (None, true) => (Backend::Btrfs, ""),
    }
}

/// Gets the one program the demo needs that a fresh machine may lack.
pub(super) fn fetch_btrfs_progs(narrator: &mut dyn Narrator) -> anyhow::Result<()> {
    if Program::MkfsBtrfs.find().is_some() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    let is_debian = Path::new("/etc/debian_version").exists();
    if !(is_root && is_debian && Program::AptGet.find().is_some()) {
        return Err(
            Failure::new(Class::Usage, "the program mkfs.btrfs is missing")
                .hint("install the package btrfs-progs, or see the demo on `--backend tmpfs`")
                .into(),
        );
    }
    narrator.tell(Event::Tells(
        "mkfs.btrfs is missing: installing the package btrfs-progs (apt-get install btrfs-progs)",
    ))?;
    let limit = Duration::from_secs(600);
    let install = [
        "-qq",
        "-y",
        "-o",
        "DPkg::Lock::Timeout=300",
        "--no-install-recommends",
        "install",
        "btrfs-progs",
    ];
    let doing = "installing btrfs-progs";
    if Program::AptGet.run(doing, install, limit).is_err() {
        // The lists of packages may be old or have never been fetched.
        Program::AptGet.run("fetching the lists of packages", ["-qq", "update"], limit)?;
        Program::AptGet.run(doing, install, limit)?;
    }
    Ok(())
}

/// ZFS is not fetched: its kernel module takes minutes to compile, and belongs to the system.
pub(super) fn find_zfs() -> anyhow::Result<()> {
    if !Path::new("/sys/module/zfs").exists() && Program::Modprobe.find().is_some() {
        let loading = Program::Modprobe.run("loading zfs", ["zfs"], Duration::from_secs(60));
        loading.map_err(|error| {
            Failure::new(Class::Usage, format!("this kernel has no ZFS: {error}"))
                .hint("install zfsutils-linux and zfs-dkms, or see the demo on btrfs")
        })?;
    }
    for program in [Program::Zpool, Program::Zfs] {
        if program.find().is_none() {
            let fact = format!("the program {} is missing", program.name());
            return Err(Failure::new(Class::Usage, fact)
                .hint("install the package zfsutils-linux, or see the demo on btrfs")
                .into());
        }
    }
    Ok(())
}

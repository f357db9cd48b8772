//! Pools and datasets, through `zpool` and `zfs`.

use crate::program::Program;
use state_api::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// How long they may take.
const LIMIT: Duration = Duration::from_secs(300);

/// What is imported of a pool.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Its datasets and snapshots.
    pub(super) names: BTreeSet<String>,
    devices: String,
}

/// The pool as it is, if it is imported.
///
/// # Errors
/// There is no ZFS here.
pub(super) fn look(pool: &str) -> Result<Option<Pool>> {
    let doing = format!("looking at the pool {pool}");
    let devices = Program::Zpool.run(&doing, ["list", "-vHP", "-o", "name", pool], LIMIT);
    let devices = match devices {
        // It ends with an error where there is none of that name; the message is nobody's contract.
        Err(Error::Tool { .. }) => return Ok(None),
        devices => devices?,
    };
    let list = [
        "list",
        "-H",
        "-o",
        "name",
        "-r",
        "-t",
        "filesystem,volume,snapshot",
        pool,
    ];
    let names = Program::Zfs.run(&doing, list, LIMIT)?;
    Ok(Some(Pool {
        names: String::from_utf8_lossy(&names)
            .lines()
            .map(str::to_owned)
            .collect(),
        devices: String::from_utf8_lossy(&devices).into_owned(),
    }))
}

impl Pool {
    /// Whether it is on this device; on a disk it makes a partition for itself.
    pub(super) fn is_on(&self, device: &Path) -> bool {
        let device = device.to_string_lossy();
        self.devices.split_whitespace().any(|word| {
            let part = word.strip_prefix(&*device);
            part.is_some_and(|part| {
                part.trim_start_matches('p')
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            })
        })
    }
}

/// Makes a pool of one device.
pub(super) fn make(pool: &str, device: &Path, is_ours: bool) -> Result<()> {
    // POSIX ACLs and attributes as Linux has them; nothing of the pool is mounted by itself.
    let options = "create -o ashift=12 -o cachefile=none -O mountpoint=none -O canmount=off \
                   -O acltype=posix -O xattr=sa -O atime=off -O compression=on";
    let mut args: Vec<_> = options.split_whitespace().collect();
    if is_ours {
        args.push("-f"); // what is there is a half of what an earlier run made
    }
    let device = device.to_string_lossy();
    args.extend([pool, &device]);
    Program::Zpool
        .run(&format!("making the pool {pool}"), args, LIMIT)
        .map(drop)
}

/// Makes a dataset that fstab(5) mounts, and those above it, which nothing mounts.
pub(super) fn make_dataset(base: &str, name: &str, there: &BTreeSet<String>) -> Result<()> {
    let above = |name: &str| name.rsplit_once('/').map(|(above, _)| above.to_owned());
    let mut missing = Vec::new();
    let mut next = above(name);
    while let Some(dataset) =
        next.filter(|dataset| dataset.len() >= base.len() && !there.contains(dataset))
    {
        next = above(&dataset);
        missing.push(dataset);
    }
    for dataset in missing.iter().rev() {
        create(dataset, &["mountpoint=none", "canmount=off"])?;
    }
    create(name, &["mountpoint=legacy"])
}

fn create(name: &str, properties: &[&str]) -> Result<()> {
    let properties = properties.iter().flat_map(|property| ["-o", property]);
    let args = ["create", "-u"].into_iter().chain(properties).chain([name]);
    Program::Zfs
        .run(&format!("making the dataset {name}"), args, LIMIT)
        .map(drop)
}

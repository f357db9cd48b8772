//! Whether the machine runs on the very root that was reset. One that boots another subvolume or
//! dataset has an unused root put back to blank at every boot, and is never erased itself.

use super::Reset;
use crate::settings::Root;
use state_api::RootFacts;
use state_linux::mountinfo::Mount;
use std::path::Path;

/// Whether the machine runs on the root that was reset. What comes fresh by itself has been looked
/// at where it is mounted.
pub(super) fn judge(declared: &Root, facts: &RootFacts, mount: Option<&Mount>) -> Reset {
    let is_it = match declared {
        Root::Tmpfs { .. } => true,
        // A subvolume within it counts as its mount elsewhere.
        Root::Btrfs { subvolume, .. } => mount.is_some_and(|mount| {
            facts.mounted_at.contains(&mount.at) && mount.root == Path::new("/").join(subvolume)
        }),
        Root::Zfs { .. } | Root::Overlay { .. } => {
            (facts.mounted_at.iter()).any(|at| at == Path::new("/"))
        }
    };
    if is_it {
        return Reset::Done;
    }
    let what = mount.map_or_else(
        || "something else".to_owned(),
        |mount| {
            let source = mount.source.to_string_lossy();
            match mount.filesystem.to_str() {
                Some("btrfs") => format!("{source}[{}]", mount.root.display()),
                _ => source.into_owned(),
            }
        },
    );
    Reset::NotDone {
        why: format!("{} was reset, and the machine runs on {what}", facts.root),
        hint: Some("boot the declared root: `root=` and `rootflags=` on the kernel command line, a btrfs's default subvolume and a pool's bootfs say which; or declare the one that runs".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_linux::mountinfo;

    /// Where root is mounted as the engine says, what is mounted at `/`, and what that comes to.
    fn judged(declared: &str, mounted_at: &[&str], mountinfo: &str) -> Result<(), String> {
        let root: Root = format!("[root]\n{declared}")
            .parse::<crate::settings::Settings>()
            .unwrap()
            .root
            .unwrap();
        let facts = RootFacts {
            root: "ROOT".into(),
            exists: true,
            mounted_at: mounted_at.iter().map(Into::into).collect(),
            blank: None,
            previous_blank: None,
            past_roots: vec![],
            leftovers: vec![],
            refusals: vec![],
        };
        let mounts = mountinfo::parse(mountinfo.as_bytes()).unwrap();
        match judge(&root, &facts, mounts.last()) {
            Reset::NotDone { why, hint } => {
                assert!(hint.unwrap().starts_with("boot the declared root"));
                Err(why)
            }
            other => {
                assert_eq!(other, Reset::Done);
                Ok(())
            }
        }
    }

    #[test]
    fn a_machine_that_runs_on_another_root_was_not_reset() {
        let btrfs = "backend = \"btrfs\"\ndevice = \"/dev/vda2\"\nsubvolume = \"@/root\"\n";
        let zfs = "backend = \"zfs\"\ndataset = \"rpool/root\"\n";
        let overlay = "backend = \"overlay\"\ndevice = \"/dev/vdb\"\n";
        let tmpfs = "backend = \"tmpfs\"\n";
        let on = |root: &str, filesystem: &str, source: &str| {
            format!("30 1 0:25 {root} / rw - {filesystem} {source} rw\n")
        };
        let is_on = |what: &str| Err(format!("ROOT was reset, and the machine runs on {what}"));
        for (declared, mounted_at, mounts, expected) in [
            (
                btrfs,
                &["/"][..],
                on("/@/root", "btrfs", "/dev/vda2"),
                Ok(()),
            ),
            (
                btrfs,
                &["/mnt", "/"],
                on("/@/root", "btrfs", "/dev/vda2"),
                Ok(()),
            ),
            (
                btrfs,
                &[],
                on("/@/other", "btrfs", "/dev/vda2"),
                is_on("/dev/vda2[/@/other]"),
            ),
            (
                btrfs,
                &["/mnt"],
                on("/", "btrfs", "/dev/vda2"),
                is_on("/dev/vda2[/]"),
            ),
            // A snapshot that lies within root.
            (
                btrfs,
                &["/"],
                on("/@/root/.snapshots/1", "btrfs", "/dev/vda2"),
                is_on("/dev/vda2[/@/root/.snapshots/1]"),
            ),
            (zfs, &["/"], on("/", "zfs", "rpool/root"), Ok(())),
            (
                zfs,
                &["/mnt"],
                on("/", "zfs", "rpool/other"),
                is_on("rpool/other"),
            ),
            (overlay, &["/"], on("/", "overlay", "state"), Ok(())),
            (
                overlay,
                &[],
                on("/", "ext4", "/dev/vda2"),
                is_on("/dev/vda2"),
            ),
            (tmpfs, &[], on("/", "tmpfs", "tmpfs"), Ok(())),
            (zfs, &[], String::new(), is_on("something else")),
        ] {
            let found = judged(declared, mounted_at, &mounts);
            assert_eq!(found, expected, "{declared} {mounts}");
        }
    }
}

//! What is made.

use super::{Rig, made};
use serde_json::Value;
use state_linux::mount;
use state_linux::namespace;
use std::fs::{self, File};
use std::io;
use std::process::Command;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_every_layout_is_made_once() {
    let files = [
        "write /mnt/persist/etc/state/fstab",
        "write /mnt/persist/etc/state/state.toml",
    ];
    let table: [(&[&str], &[&str]); 5] = [
        (
            &["--backend=btrfs", "--volume=/home"],
            &[
                "make a filesystem, btrfs, on DEVICE",
                "make the subvolume root",
                "make the subvolume home",
                "make the subvolume persist",
                "mount the subvolume root at /mnt",
                "mount the subvolume home at /mnt/home",
                "mount the subvolume persist at /mnt/persist",
            ],
        ),
        (
            &["--backend=btrfs", "--nixos"],
            &[
                "make a filesystem, btrfs, on DEVICE",
                "make the subvolume root",
                "make the subvolume nix",
                "make the subvolume persist",
                "take blank of the empty root",
                "mount the subvolume root at /mnt",
                "mount the subvolume nix at /mnt/nix",
                "mount the subvolume persist at /mnt/persist",
            ],
        ),
        (
            &["--backend=tmpfs"],
            &[
                "make a filesystem, ext4, on DEVICE",
                "mount a tmpfs at /mnt",
                "mount the filesystem at /mnt/persist",
            ],
        ),
        (
            &["--backend=tmpfs", "--store-on=xfs", "--nixos"],
            &[
                "make a filesystem, xfs, on DEVICE",
                "mount a tmpfs at /mnt",
                "mount the filesystem at /mnt/nix",
                "mount the directory /nix/persist at /mnt/persist",
            ],
        ),
        (
            &["--backend=tmpfs", "--store-on=btrfs"],
            &[
                "make a filesystem, btrfs, on DEVICE",
                "make the subvolume persist",
                "mount a tmpfs at /mnt",
                "mount the subvolume persist at /mnt/persist",
            ],
        ),
    ];
    for (options, steps) in table {
        let rig = Rig::new(320);
        let untouched = rig.digest();
        rig.report(&[options, &["--dry-run"]].concat());
        assert_eq!(
            rig.digest(),
            untouched,
            "{options:?}: a dry run writes nothing"
        );
        assert_eq!(
            rig.report(options),
            made(&[steps, &files].concat()),
            "{options:?}"
        );
        assert_eq!(rig.report(options), [], "{options:?}: once is enough");
        rig.unmount();
        // After a reboot: everything is there, and is mounted again.
        let mounts: Vec<_> = steps
            .iter()
            .copied()
            .filter(|step| step.starts_with("mount"))
            .collect();
        let again = rig.report(options);
        let files = files.map(|file| (file.to_owned(), "already-so".to_owned()));
        let expected: Vec<_> = made(&mounts).into_iter().chain(files).collect();
        assert_eq!(again, expected, "{options:?}");
        // The first configuration is one that every verb takes.
        let doctor = Command::new(env!("CARGO_BIN_EXE_state"))
            .arg("--root")
            .arg(rig.at(""))
            .args(["--json", "doctor"])
            .output()
            .unwrap();
        let told: Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let passed = told["passed"].as_array().unwrap();
        for check in ["configuration", "stores", "space"] {
            assert!(passed.contains(&check.into()), "{options:?}: {told:#}");
        }
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_blank_is_that_of_an_empty_root() {
    let rig = Rig::new(320);
    rig.report(&["--backend=btrfs", "--nixos"]);
    let file = rig.at("persist/etc/state/state.toml");
    let text = fs::read_to_string(&file).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("device"))
        .unwrap();
    let device = format!("device = \"{}\"", rig.device.path().display());
    fs::write(&file, text.replace(line, &device)).unwrap();
    let show = Command::new(env!("CARGO_BIN_EXE_state"))
        .arg("--root")
        .arg(rig.at(""))
        .args(["--json", "blank", "show"])
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&show.stdout).unwrap();
    assert_eq!(shown["blank"]["name"], "root-blank", "{shown:#}");
    let top = rig.mount("btrfs");
    let blank = rig.dir.path().join("other/root-blank");
    assert_eq!(fs::read_dir(blank).unwrap().count(), 0);
    drop(top);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_file_is_as_good_as_a_device() -> io::Result<()> {
    namespace::own_mounts()?;
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let image = dir.path().join("disk.img");
    File::create(&image)?.set_len(320 << 20)?;
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .current_dir(dir.path())
            .args(["--yes", "--quiet", "provision", "disk.img"]);
        command
            .args(["--backend=tmpfs", "--into=mnt"])
            .output()
            .unwrap()
    };
    let output = run();
    assert!(output.status.success(), "{output:?}");
    assert!(dir.path().join("mnt/persist/etc/state/state.toml").exists());
    // The same file is the same device.
    assert!(run().status.success());
    for at in ["mnt/persist", "mnt"] {
        mount::unmount(&dir.path().join(at))?;
    }
    Ok(())
}

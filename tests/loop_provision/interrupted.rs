//! What a cut run leaves.

use super::Rig;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Killed at any moment, and run again.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_killed_run_is_finished_by_the_next() {
    for (n, options) in [
        &["--backend=btrfs", "--nixos"][..],
        &["--backend=tmpfs"],
        &["--backend=tmpfs", "--store-on=xfs"],
    ]
    .into_iter()
    .cycle()
    .take(18)
    .enumerate()
    {
        let rig = Rig::new(320);
        let mut child = rig.command(options).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + 25 * n as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had started goes on until it ends by itself.
        while File::open("/proc/self").is_ok() && runs_mkfs(rig.device.path()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if n % 2 == 0 {
            rig.unmount();
        }
        rig.report(options);
        assert_eq!(rig.report(options), [], "{n}");
        assert!(rig.at("persist/etc/state/state.toml").exists());
        assert!(rig.at("persist/etc/state/fstab").exists());
    }
}

/// Killed while blank had no name yet.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_blank_that_was_begun_is_taken() {
    let rig = Rig::new(320);
    let options = ["--backend=btrfs", "--nixos"];
    rig.report(&options);
    rig.unmount();
    let top = rig.mount("btrfs");
    let at = rig.dir.path().join("other");
    fs::rename(at.join("root-blank"), at.join("root-blank.new")).unwrap();
    top.unmount().unwrap();
    let step = ("take blank of the empty root".into(), "made".into());
    assert!(rig.report(&options).contains(&step));
    let top = rig.mount("btrfs");
    assert!(at.join("root-blank").exists() && !at.join("root-blank.new").exists());
    top.unmount().unwrap();
}

/// Whether some mkfs works on a device.
fn runs_mkfs(device: &Path) -> bool {
    let device = device.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
        .any(|line| line.contains("mkfs") && line.split('\0').any(|word| word == device))
}

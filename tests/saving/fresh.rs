//! A whole machine onto a disk that is laid out for it, through the program.

mod config;
mod install;

use super::hostile;
use super::machine::{Machine, note};
use state_linux::loopback::Loop;
use state_linux::mount;
use state_linux::namespace;
use state_testing::disk::{self, Disk};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A new disk, as a file, and the place that it is mounted at.
struct New<'a> {
    machine: &'a Machine,
    mib: u64,
}

impl New<'_> {
    fn image(&self) -> PathBuf {
        self.machine.path("new.img")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.machine.path("mnt").join(path)
    }

    /// An empty disk.
    fn begin(machine: &Machine, mib: u64) -> New<'_> {
        namespace::own_mounts().expect("this needs root");
        let new = New { machine, mib };
        File::create(new.image())
            .unwrap()
            .set_len(mib << 20)
            .unwrap();
        new
    }

    fn restore(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn command(&self, more: &[&str]) -> Command {
        let url = format!("file://{}", self.machine.path("usb").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .args([
                "--root",
                "/",
                "--yes",
                "--no-progress",
                "restore",
                "--from",
                &url,
            ])
            .arg("--provision")
            .arg(self.image())
            .arg("--into")
            .arg(self.at(""))
            .args(more)
            .stdin(Stdio::null());
        command
    }

    /// What is said, with what differs from run to run taken out, and the exit status.
    fn told(&self, more: &[&str]) -> (String, Option<i32>) {
        let output = self.restore(more);
        let text = [output.stdout, output.stderr].concat();
        let mut text = String::from_utf8(text).unwrap();
        let place = self.machine.path("").display().to_string();
        text = text.replace(place.trim_end_matches('/'), "DIR");
        (text, output.status.code())
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        disk::unmount_all(&self.at(""));
        assert!(self.mib > 0);
    }
}

/// In what two stores differ, but for the configuration, which names its disk.
fn differences(one: &Path, other: &Path) -> Vec<String> {
    let mut differences = note(one).differences(&note(other));
    let apart = ["etc/state", "etc:", "lost+found"];
    differences.retain(|line| !apart.iter().any(|apart| line.starts_with(apart)));
    differences
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_every_pair_of_btrfs_ext4_and_xfs_is_restored_to_an_equal_tree() {
    for from in ["btrfs", "ext4"] {
        let machine = Machine::new();
        let disk = Disk::new(from, 320);
        let store = machine.path("root/persist");
        fs::rename(&store, machine.path("aside")).unwrap();
        let mounted = disk.mount(None, &store);
        machine.write("root/persist/etc/machine-id", "0123\n");
        machine.write(
            "root/persist/etc/state/state.toml",
            "[root]\nbackend = \"zfs\"\ndataset = \"gone/root\"\n[persist.\"/persist\"]\n\
             directories = [\"/var/lib/app\"]\n",
        );
        machine.write("root/persist/var/lib/app/data", "data");
        hostile::grow(&store.join("var/lib/app"), 43, 80);
        let saved = machine.backup().unwrap();
        assert!(!saved.is_partial(), "{:?}", saved.incomplete);
        for (to, backend) in [
            (&["--backend=btrfs"][..], "btrfs"),
            (&["--backend=tmpfs"], "tmpfs"),
            (&["--backend=tmpfs", "--store-on=xfs"], "tmpfs"),
        ] {
            let new = New::begin(&machine, 400);
            let restored = new.restore(&[to, &["--allow-unsigned"]].concat());
            assert!(restored.status.success(), "{from} {to:?}: {restored:?}");
            let back = differences(&store, &new.at("persist"));
            assert_eq!(back, Vec::<String>::new(), "{from} {to:?}");
            let text = fs::read_to_string(new.at("persist/etc/state/state.toml")).unwrap();
            assert!(text.contains(&format!("backend = \"{backend}\"")), "{text}");
            assert!(!text.contains("gone/root"), "{text}");
        }
        mounted.unmount().unwrap();
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_nothing_is_laid_out_for_an_archive_that_cannot_be_restored() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let is_empty = |new: &New| {
        let image = fs::read(new.image()).unwrap();
        assert!(image.iter().all(|byte| *byte == 0));
    };
    // Nobody vouches for it.
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&["--backend=btrfs"]);
    assert_eq!(exit, Some(12), "{told}");
    is_empty(&new);
    // A part of it is missing.
    let (told, exit) = new.told(&["--backend=btrfs", "--allow-unsigned", "--archive=2001"]);
    assert_eq!(
        (told.as_str(), exit),
        (
            "error: the archive 2001 of blitzar does not exist\n\
             hint: `state archives list --machines` shows what there is\n",
            Some(10)
        )
    );
    is_empty(&new);
    // There is no room for it.
    drop(new);
    let big = machine.path("root/persist/var/lib/app/big");
    fs::write(big, vec![7; 24 << 20]).unwrap();
    machine.backup().unwrap();
    let new = New::begin(&machine, 20);
    let (told, exit) = new.told(&["--backend=tmpfs", "--allow-unsigned"]);
    assert_eq!(
        (told.as_str(), exit),
        (
            "error: DIR/new.img has 20 MiB, and the archive needs 25 MiB\n\
             hint: nothing was changed: use a larger disk\n",
            Some(4)
        )
    );
    is_empty(&new);
    // Two machines, and nobody to ask which.
    let text = machine.read("root/etc/state/state.toml");
    machine.write(
        "root/etc/state/state.toml",
        &text.replace("blitzar", "quasar"),
    );
    machine.backup().unwrap();
    let (told, exit) = new.told(&["--backend=tmpfs", "--allow-unsigned"]);
    assert_eq!(
        (told.as_str(), exit),
        (
            "error: there are archives of several machines: blitzar, quasar\n\
             hint: choose one with --machine\n",
            Some(2)
        )
    );
    is_empty(&new);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_mounted_machine_is_restored_into_without_laying_anything_out() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let new = New::begin(&machine, 320);
    let device = Loop::attach(&new.image(), false).unwrap();
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096"])
        .arg(device.path())
        .status();
    assert!(made.unwrap().success());
    fs::create_dir_all(new.at("persist")).unwrap();
    let source = [("source", Some(device.path().as_os_str()))];
    let mounted = mount::detached("ext4", &source, mount::Attributes::empty()).unwrap();
    mount::attach(mounted, rustix::fs::CWD, &new.at("persist")).unwrap();
    let url = format!("file://{}", machine.path("usb").display());
    let output = Command::new(env!("CARGO_BIN_EXE_state"))
        .args([
            "--yes",
            "--no-progress",
            "restore",
            "--from",
            &url,
            "--allow-unsigned",
            "--into",
        ])
        .arg(new.at(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        fs::read_to_string(new.at("persist/var/lib/app/data")).unwrap(),
        "data"
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("doctor`\n"), "{text}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_after_a_reboot_of_the_live_medium_the_same_command_goes_on() {
    let machine = Machine::new();
    let file = "persist/etc/state/state.toml";
    machine.write(
        &format!("root/{file}"),
        "[root]\nbackend = \"zfs\"\ndataset = \"gone/root\"\n[persist.\"/persist\"]\n\
         directories = [\"/var/lib/app\"]\nfiles = [\"/etc/machine-id\"]\n",
    );
    machine.backup().unwrap();
    let new = New::begin(&machine, 400);
    let command = ["--backend=btrfs", "--allow-unsigned"];
    let restored = new.restore(&command);
    assert!(restored.status.success(), "{restored:?}");
    let text = fs::read_to_string(new.at(file)).unwrap();
    let lines = new.at("persist/etc/state/fstab");
    let fstab = fs::read_to_string(&lines).unwrap();
    // The power goes before the configuration is fitted.
    fs::write(new.at(file), machine.read(&format!("root/{file}"))).unwrap();
    fs::remove_file(&lines).unwrap();
    disk::unmount_all(&new.at(""));

    let device = Loop::attach(&new.image(), false).unwrap();
    for (subvolume, at) in [("root", ""), ("persist", "persist")] {
        let options = [
            ("source", Some(device.path().as_os_str())),
            ("subvol", Some(subvolume.as_ref())),
        ];
        let mounted = mount::detached("btrfs", &options, mount::Attributes::empty()).unwrap();
        mount::attach(mounted, rustix::fs::CWD, &new.at(at)).unwrap();
    }
    // Without the disk nothing is fitted to it, which is said.
    let url = format!("file://{}", machine.path("usb").display());
    let output = Command::new(env!("CARGO_BIN_EXE_state"))
        .args(["--yes", "--no-progress", "restore", "--allow-unsigned"])
        .args(["--from", &url, "--into"])
        .arg(new.at(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.contains("`--provision DEVICE --backend ENGINE`"),
        "{told}"
    );
    assert!(!lines.exists());

    let restored = new.restore(&command);
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(fs::read_to_string(new.at(file)).unwrap(), text);
    assert_eq!(fs::read_to_string(&lines).unwrap(), fstab);
}

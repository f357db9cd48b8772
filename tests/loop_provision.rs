//! `state provision` on real block devices: what it makes, what it refuses, and that it finishes what
//! was cut off.

use serde_json::Value;
use sha2::{Digest, Sha256};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_linux::{mountinfo, namespace};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A disk, and a place to mount it. Mounts are in a namespace of the test's thread, and the image has
/// no name: nothing is left behind.
struct Rig {
    dir: tempfile::TempDir,
    image: File,
    device: Loop,
}

impl Rig {
    fn new(mib: u64) -> Self {
        namespace::own_mounts().expect("this needs root");
        let image = tempfile::tempfile_in("/var/tmp").unwrap();
        image.set_len(mib << 20).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let device = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
        let dir = tempfile::Builder::new()
            .prefix("state-provision-")
            .tempdir_in("/var/tmp")
            .unwrap();
        Self { dir, image, device }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("mnt").join(path)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command.args(["--yes", "provision"]).arg(self.device.path());
        command.arg("--into").arg(self.at("")).args(more);
        command.stdin(Stdio::null());
        command
    }

    fn provision(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    /// The steps, by what came of each.
    fn report(&self, more: &[&str]) -> Vec<(String, String)> {
        let output = self.provision(&[more, &["--json"]].concat());
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(report["error"], Value::Null, "{report:#}");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let acts = report["plan"].as_array().unwrap();
        let into = self.at("").display().to_string();
        acts.iter()
            .map(|act| {
                let step = text(&act["text"]).replace(into.trim_end_matches('/'), "/mnt");
                let device = self.device.path().display().to_string();
                (step.replace(&device, "DEVICE"), text(&act["outcome"]))
            })
            .collect()
    }

    /// Exit status and what is told, with the device's name taken out.
    fn refused(&self, more: &[&str]) -> (Option<i32>, String) {
        let output = self.provision(more);
        let text = String::from_utf8(output.stderr).unwrap();
        let text = text.replace(&self.device.path().display().to_string(), "DEVICE");
        (
            output.status.code(),
            text.replace(&self.dir.path().display().to_string(), "DIR"),
        )
    }

    fn unmount(&self) {
        loop {
            let mounts = mountinfo::read().unwrap();
            let Some(last) = mounts
                .iter()
                .rfind(|mount| mount.at.starts_with(self.at("")))
            else {
                break;
            };
            mount::unmount(&last.at).unwrap();
        }
    }

    fn mount(&self, filesystem: &str) -> Guard {
        let at = self.dir.path().join("other");
        fs::create_dir_all(&at).unwrap();
        let source = [("source", Some(self.device.path().as_os_str()))];
        Guard::attach(
            mount::detached(filesystem, &source, Attributes::empty()).unwrap(),
            &at,
        )
        .unwrap()
    }

    fn run(&self, program: &str, args: &[&str]) {
        let made = Command::new(program)
            .args(args)
            .arg(self.device.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    /// Everything on the disk, as one number.
    fn digest(&self) -> Vec<u8> {
        let device = File::open(self.device.path()).unwrap();
        rustix::fs::fsync(&device).unwrap();
        let mut image = self.image.try_clone().unwrap();
        image.rewind().unwrap();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match image.read(&mut buffer).unwrap() {
                0 => return hash.finalize().to_vec(),
                n => hash.update(&buffer[..n]),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn made(steps: &[&str]) -> Vec<(String, String)> {
    steps
        .iter()
        .map(|step| ((*step).to_owned(), "made".to_owned()))
        .collect()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_every_layout_is_made_once() {
    let files = [
        "write /mnt/persist/etc/state/state.toml",
        "write /mnt/persist/etc/state/fstab",
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
fn loop_what_holds_anything_is_refused_and_stays_as_it_is() {
    let id = "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";
    type Fill = fn(&Rig);
    let table: &[(&str, Fill, &str)] = &[
        (
            "another filesystem",
            |rig| {
                rig.run(
                    "mkfs.ext4",
                    &[
                        "-q",
                        "-F",
                        "-L",
                        "photos",
                        "-U",
                        "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6",
                    ],
                )
            },
            &format!(
                "error: DEVICE holds ext4 \"photos\" ({id})\n\
                 hint: if that may be lost for ever, say so: --erase ext4:{id}\n"
            ),
        ),
        (
            "the same filesystem with somebody's files",
            |rig| {
                rig.run(
                    "mkfs.btrfs",
                    &["-q", "-f", "-U", "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"],
                );
                let top = rig.mount("btrfs");
                fs::write(rig.dir.path().join("other/letter"), "dear").unwrap();
                top.unmount().unwrap();
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with letter\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "a root that is not empty",
            |rig| {
                rig.run(
                    "mkfs.btrfs",
                    &["-q", "-f", "-U", "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"],
                );
                let top = rig.mount("btrfs");
                state_testing::disk::subvolume(&rig.dir.path().join("other/root"));
                fs::create_dir(rig.dir.path().join("other/root/etc")).unwrap();
                top.unmount().unwrap();
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with root/etc\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "a directory where a subvolume should be",
            |rig| {
                rig.run(
                    "mkfs.btrfs",
                    &["-q", "-f", "-U", "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"],
                );
                let top = rig.mount("btrfs");
                fs::create_dir(rig.dir.path().join("other/persist")).unwrap();
                top.unmount().unwrap();
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with persist\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "swap",
            |rig| {
                rig.run(
                    "mkswap",
                    &["-q", "-U", "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"],
                )
            },
            &format!(
                "error: DEVICE holds swap ({id})\n\
                 hint: if that may be lost for ever, say so: --erase swap:{id}\n"
            ),
        ),
        (
            "bytes",
            |rig| rig.image.write_all_at(b"x", 100_000).unwrap(),
            "error: DEVICE holds data of no known kind\n\
             hint: if that may be lost for ever, say so: --erase data:DIGEST\n",
        ),
    ];
    for (what, fill, expected) in table {
        let rig = Rig::new(320);
        fill(&rig);
        let before = rig.digest();
        for more in [&["--dry-run"][..], &[], &["--encrypt"]] {
            let (exit, told) = rig.refused(&[&["--backend=btrfs"], more].concat());
            let told = match told.split_once("data:") {
                Some((before, after)) => format!("{before}data:DIGEST{}", &after[8..]),
                None => told,
            };
            // Only what is mounted can be looked into.
            let expected = match more {
                ["--encrypt"] => expected.split(", with").next().unwrap().trim_end(),
                _ => expected,
            };
            assert_eq!(
                (exit, told.starts_with(expected)),
                (Some(4), true),
                "{what}: {told}"
            );
        }
        let (exit, told) = rig.refused(&["--backend=btrfs", "--erase=ext4:0"]);
        assert_eq!(exit, Some(4), "{what}: {told}");
        assert!(told.contains(", not ext4:0\n"), "{what}: {told}");
        assert_eq!(rig.digest(), before, "{what}");
        // Told word for word, it is given up.
        let (_, told) = rig.refused(&["--backend=btrfs"]);
        let word = told.trim_end().rsplit(' ').next().unwrap().to_owned();
        let done = rig.report(&["--backend=btrfs", "--erase", &word]);
        assert!(
            done[0]
                .0
                .starts_with("give up what DEVICE holds, for ever: "),
            "{done:?}"
        );
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_is_in_use_is_refused_whatever_is_said() {
    let rig = Rig::new(320);
    rig.run(
        "mkfs.ext4",
        &["-q", "-F", "-U", "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"],
    );
    let erase = "--erase=ext4:1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";
    let before = rig.digest();
    let refused = |by: &str| {
        let hint = "hint: nothing that is in use is laid out: unmount it, switch it off, or take another one\n";
        (Some(4), format!("error: DEVICE is in use by {by}\n{hint}"))
    };
    let alone = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
        .open(rig.device.path())
        .unwrap();
    assert_eq!(
        rig.refused(&["--backend=btrfs", erase]),
        refused("something in the kernel")
    );
    drop(alone);
    assert_eq!(rig.digest(), before);
    let mounted = rig.mount("ext4");
    for options in [&["--backend=btrfs", erase][..], &["--backend=tmpfs"]] {
        assert_eq!(rig.refused(options), refused("a mount at DIR/other"));
    }
    mounted.unmount().unwrap();
    // A place that is taken is no better.
    fs::create_dir_all(rig.at("home")).unwrap();
    let (exit, told) = rig.refused(&["--backend=btrfs", erase]);
    assert_eq!(exit, Some(4));
    assert_eq!(
        told,
        "error: DIR/mnt is not empty: a mount would hide what is there\n\
         hint: empty it, or choose another directory with --into\n"
    );
}

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

/// Whether some mkfs works on a device.
fn runs_mkfs(device: &Path) -> bool {
    let device = device.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok())
        .any(|line| line.contains("mkfs") && line.split('\0').any(|word| word == device))
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

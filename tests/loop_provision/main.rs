//! `state provision` on real block devices: what it makes, what it refuses, and that it finishes what
//! was cut off.

use serde_json::Value;
use sha2::{Digest, Sha256};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_linux::namespace;
use state_testing::disk;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

mod interrupted;
mod layouts;
mod refusals;

/// The UUID of what somebody else made there.
const ID: &str = "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";

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
        disk::unmount_all(&self.at(""));
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

    /// Makes a btrfs on it, with what `fill` puts there.
    fn btrfs(&self, fill: impl FnOnce(&Path)) {
        self.run("mkfs.btrfs", &["-q", "-f", "-U", ID]);
        let top = self.mount("btrfs");
        fill(&self.dir.path().join("other"));
        top.unmount().unwrap();
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

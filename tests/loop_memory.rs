//! A root in memory, filled from what a real filesystem holds: a directory and an image.

use state::inventory;
use state_api::{Never, View};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes};
use state_linux::namespace;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An initrd below a directory, with an empty root at its /sysroot. Mounts are in a namespace of
/// the test's thread, and the image of the disk has no name: nothing is left behind.
struct Initrd {
    dir: tempfile::TempDir,
    disk: Loop,
}

fn mkfs(filesystem: &str, on: &Path) {
    let mut mkfs = Command::new(format!("mkfs.{filesystem}"));
    if filesystem == "ext4" {
        mkfs.arg("-F");
    }
    let made = mkfs.arg("-q").arg(on).output();
    let made = made.expect("this needs e2fsprogs, btrfs-progs and xfsprogs");
    assert!(made.status.success(), "{made:?}");
}

fn mounted(filesystem: &str, device: &Path, at: &Path) {
    fs::create_dir_all(at).unwrap();
    let options = [("source", Some(device.as_os_str()))];
    let detached = mount::detached(filesystem, &options, Attributes::empty()).unwrap();
    mount::attach(detached, rustix::fs::CWD, at).unwrap();
}

/// A system with what a copy loses first.
fn system(at: &Path) {
    for dir in ["etc", "usr/bin", "sbin", "var/lib/dpkg"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    fs::write(at.join("sbin/init"), "init").unwrap();
    fs::write(at.join("usr/bin/a b"), "x".repeat(300_000)).unwrap();
    fs::hard_link(at.join("usr/bin/a b"), at.join("usr/bin/c")).unwrap();
    symlink("../nowhere", at.join("etc/link")).unwrap();
    File::create(at.join("var/hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).current_dir(at).status();
        assert!(
            done.expect("this needs acl and libcap2-bin").success(),
            "{program}"
        );
    };
    run("setfacl", &["-m", "u:1234:rw", "etc"]);
    run("setcap", &["cap_net_raw=ep", "sbin/init"]);
    run("chown", &["7:8", "var/lib/dpkg"]);
    run("chmod", &["0755", "."]);
}

impl Initrd {
    /// With a disk of this filesystem, which is mounted at `disk` for now.
    fn new(filesystem: &str) -> Self {
        namespace::own_mounts().expect("this needs root");
        let image = tempfile::tempfile_in("/var/tmp").unwrap();
        image.set_len(512 << 20).unwrap();
        let path = format!("/proc/self/fd/{}", image.as_raw_fd());
        let disk = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
        mkfs(filesystem, disk.path());
        let dir = tempfile::tempdir().unwrap();
        mounted(filesystem, disk.path(), &dir.path().join("disk"));
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        fs::create_dir_all(dir.path().join("sysroot")).unwrap();
        fs::write(dir.path().join("etc/initrd-release"), "").unwrap();
        let text = format!(
            "[root]\nbackend = \"tmpfs\"\ndevice = \"{}\"\n[persist.\"/persist\"]\n",
            disk.path().display()
        );
        fs::write(dir.path().join("state.toml"), text).unwrap();
        Self { dir, disk }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn mount_root(&self, size: &str) {
        let options = [
            ("mode", Some(OsStr::new("0755"))),
            ("size", Some(OsStr::new(size))),
        ];
        let root = mount::tmpfs(&options, Attributes::empty()).unwrap();
        mount::attach(root, rustix::fs::CWD, &self.at("sysroot")).unwrap();
    }

    fn state(&self, root: &Path, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_state"))
            .arg("--root")
            .arg(root)
            .arg("--config")
            .arg(self.at("state.toml"))
            .args(arguments)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    }

    fn reset(&self) -> (i32, String) {
        self.state(self.dir.path(), &["reset"])
    }
}

fn differences(a: &Path, b: &Path) -> Vec<String> {
    let note = |at: &Path| {
        let view = View::live(File::open(at).unwrap().into());
        let ours = |path: &Path| path == Path::new("lost+found");
        inventory::take(&view, &ours, &Never).unwrap()
    };
    let (a, b) = (note(a), note(b));
    assert!(a.len() > 10);
    a.differences(&b)
}

fn fills_from_a_directory(filesystem: &str) {
    let initrd = Initrd::new(filesystem);
    initrd.mount_root("64m");
    let (code, said) = initrd.reset();
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("state/blank does not exist"), "{said}");

    // What stands for a machine that runs becomes the blank, twice.
    let machine = initrd.at("machine");
    system(&machine);
    for n in 0..3 {
        fs::write(machine.join("etc/number"), n.to_string()).unwrap();
        let (code, said) = initrd.state(&machine, &["--yes", "blank", "take"]);
        assert_eq!(code, 0, "{said}");
    }
    let (blank, previous) = (
        initrd.at("disk/state/blank"),
        initrd.at("disk/state/blank-previous"),
    );
    assert_eq!(
        fs::read_to_string(previous.join("etc/number")).unwrap(),
        "1"
    );
    assert_eq!(
        fs::read_dir(initrd.at("disk/state")).unwrap().count(),
        2,
        "nothing else stays"
    );
    assert_eq!(differences(&machine, &blank), Vec::<String>::new());

    let (code, said) = initrd.reset();
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        differences(&blank, &initrd.at("sysroot")),
        Vec::<String>::new()
    );
    let record = fs::read_to_string(initrd.at("run/state/reset.json")).unwrap();
    assert!(record.contains("\"outcome\": \"filled\""), "{record}");
    // Half a root is never added to.
    let (code, said) = initrd.reset();
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("already holds something"), "{said}");

    // Between the two renames of `blank take`.
    mount::unmount(&initrd.at("sysroot")).unwrap();
    initrd.mount_root("64m");
    fs::rename(&blank, initrd.at("disk/state/blank.new")).unwrap();
    let (code, said) = initrd.reset();
    assert_eq!(code, 0, "{said}");
    assert!(blank.exists());
    assert_eq!(
        differences(&blank, &initrd.at("sysroot")),
        Vec::<String>::new()
    );

    mount::unmount(&initrd.at("sysroot")).unwrap();
    initrd.mount_root("200k");
    let (code, said) = initrd.reset();
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("blank does not fit into the tmpfs"), "{said}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_root_is_filled_from_a_directory_on_ext4() {
    fills_from_a_directory("ext4");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_root_is_filled_from_a_directory_on_btrfs() {
    fills_from_a_directory("btrfs");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_root_is_filled_from_an_image() {
    let initrd = Initrd::new("ext4");
    initrd.mount_root("64m");
    fs::create_dir(initrd.at("disk/state")).unwrap();
    let image = initrd.at("disk/state/blank");
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    mkfs("ext4", &image);
    {
        let inside = Loop::attach(&image, false).unwrap();
        mounted("ext4", inside.path(), &initrd.at("inside"));
        system(&initrd.at("inside"));
        mount::unmount(&initrd.at("inside")).unwrap();
    }
    let (code, said) = initrd.reset();
    assert_eq!(code, 0, "{said}");
    let inside = Loop::attach(&image, true).unwrap();
    let detached = mount::of_device(inside.path(), &["ext4"], true).unwrap();
    mount::attach(detached, rustix::fs::CWD, &initrd.at("inside")).unwrap();
    let differing = differences(&initrd.at("inside"), &initrd.at("sysroot"));
    // The kernel gives a fresh ext4 this directory.
    assert_eq!(differing, Vec::<String>::new());
    let (code, said) = initrd.state(&initrd.at("sysroot"), &["--yes", "blank", "take"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("is an image"), "{said}");
    assert!(initrd.disk.path().exists());
}

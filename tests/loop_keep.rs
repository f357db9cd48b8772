//! `state keep` on a real btrfs root and an ext4 store: what only real filesystems can carry.

use state::inventory;
use state_api::{Never, View};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes};
use state_linux::{btrfs, namespace};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine whose root is a btrfs and whose store an ext4. Mounts are in a namespace of the test's
/// thread and the images have no names: nothing is left behind.
struct Machine {
    dir: tempfile::TempDir,
    _disks: [Loop; 2],
}

fn disk(filesystem: &str, at: &Path) -> Loop {
    let image = tempfile::tempfile_in("/var/tmp").unwrap();
    image.set_len(256 << 20).unwrap();
    let path = format!("/proc/self/fd/{}", image.as_raw_fd());
    let disk = Loop::attach(Path::new(&path), false).expect("this needs loop devices");
    let made = Command::new(format!("mkfs.{filesystem}"))
        .arg("-q")
        .arg(disk.path())
        .output()
        .expect("this needs btrfs-progs and e2fsprogs");
    assert!(made.status.success(), "{made:?}");
    fs::create_dir_all(at).unwrap();
    let options = [("source", Some(disk.path().as_os_str()))];
    let detached = mount::detached(filesystem, &options, Attributes::empty()).unwrap();
    mount::attach(detached, rustix::fs::CWD, at).unwrap();
    disk
}

impl Machine {
    fn new() -> Self {
        Self::with_store("ext4")
    }

    fn with_store(filesystem: &str) -> Self {
        namespace::own_mounts().expect("this needs root");
        let dir = tempfile::tempdir().unwrap();
        let root = disk("btrfs", &dir.path().join("root"));
        let store = disk(filesystem, &dir.path().join("root/persist"));
        fs::write(dir.path().join("state.toml"), "[persist.\"/persist\"]\n").unwrap();
        Self {
            dir,
            _disks: [root, store],
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    fn keep(&self, path: &str) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_state"))
            .arg("--root")
            .arg(self.dir.path().join("root"))
            .arg("--config")
            .arg(self.dir.path().join("state.toml"))
            .args(["keep", path])
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        (output.status.code().unwrap(), text)
    }

    /// A directory with attributes, ACLs, a capability, links and holes.
    fn delicate(&self, path: &str) {
        let at = self.at(path);
        fs::create_dir_all(&at).unwrap();
        let file = at.join("f");
        fs::write(&file, "content").unwrap();
        fs::hard_link(&file, at.join("g")).unwrap();
        let capability = "0sAQAAAgAgAAAAAAAAAAAAAAAAAAA=";
        for (program, arguments) in [
            ("setfattr", &["-n", "user.x", "-v", "a\nb"][..]),
            ("setfacl", &["-m", "u:1:rw"]),
            ("setfattr", &["-n", "security.capability", "-v", capability]),
        ] {
            let output = Command::new(program).args(arguments).arg(&file).output();
            let output = output.expect("this needs attr and acl");
            assert!(output.status.success(), "{program}: {output:?}");
        }
        File::create(at.join("holes"))
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
    }

    /// All about what is in the directory.
    fn noted(&self, path: &str) -> inventory::Inventory {
        let view = View::live(File::open(self.at(path)).unwrap().into());
        inventory::take(&view, &|_| false, &Never).unwrap()
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_only_real_filesystems_carry_is_kept() {
    let machine = Machine::new();
    machine.delicate("srv/data");
    let before = machine.noted("srv/data");
    let has = before.delicate();
    assert_eq!((has.attributes, has.acls, has.hard_links), (2, 2, 1));
    let (code, said) = machine.keep("/srv/data");
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        machine.noted("persist/srv/data").differences(&before),
        [""; 0]
    );
    assert_eq!(machine.noted("srv/data").differences(&before), [""; 0]);
}

/// As systemd has the directory of its journal on btrfs: flags of a directory are inherited by what is made in it later.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_directory_keeps_its_flags_and_does_not_pass_them_on() {
    let machine = Machine::with_store("btrfs");
    for dir in ["srv/data", "srv/data/below"] {
        let at = machine.at(dir);
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join("before"), "x").unwrap();
        let set = Command::new("chattr").arg("+C").arg(&at).status();
        assert!(set.expect("this needs e2fsprogs").success());
        fs::write(at.join("after"), "x").unwrap();
    }
    let before = machine.noted("srv/data");
    let (code, said) = machine.keep("/srv/data");
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        machine.noted("persist/srv/data").differences(&before),
        [""; 0]
    );
}

// As systemd makes /var/lib/machines and others: subvolumes inside root.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_volume_inside_root_is_kept_whole_and_never_left_behind() {
    let machine = Machine::new();
    let volume = |path: &str| {
        let at = machine.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let parent = File::open(at.parent().unwrap()).unwrap();
        btrfs::create(parent, at.file_name().unwrap()).unwrap();
        at
    };
    fs::write(volume("var/lib/machines").join("f"), "x").unwrap();
    let (code, said) = machine.keep("/var/lib/machines");
    let expected = "/var/lib/machines is kept in /persist/var/lib/machines (2 things, 1 B)\n";
    assert_eq!((code, said.as_str()), (0, expected));
    let kept = fs::read(machine.at("persist/var/lib/machines/f")).unwrap();
    assert_eq!(kept, b"x");

    fs::write(volume("srv/a/nested").join("f"), "x").unwrap();
    let (code, said) = machine.keep("/srv/a");
    assert_eq!(code, 4, "{said}");
    let expected = "error: keeping /srv/a: /srv/a/nested is a filesystem or volume of its own\n";
    assert!(said.starts_with(expected), "{said}");
    assert!(!machine.at("persist/srv").exists());
}

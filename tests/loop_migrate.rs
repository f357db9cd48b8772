//! `state init --migrate` on something that looks like an installation: root in a subvolume of a
//! real btrfs, the store on a real ext4, through the program.

use serde_json::Value;
use state_linux::mount::Guard;
use state_testing::disk::{Disk, subvolume};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

const KEPT: [&str; 5] = [
    "home",
    "var/log",
    "etc/machine-id",
    "etc/ssh/ssh_host_ed25519_key",
    "root",
];

struct Machine {
    // Unmounted in this order, before the disks go.
    _mounts: Vec<Guard>,
    dir: tempfile::TempDir,
    root: Disk,
    store: Disk,
}

impl Machine {
    fn new(store_mib: u64) -> Self {
        let (root, store) = (Disk::new("btrfs", 256), Disk::new("ext4", store_mib));
        let dir = tempfile::Builder::new()
            .prefix("state-import-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let top = root.mount(Some("/"), &dir.path().join("top"));
        subvolume(&dir.path().join("top/root"));
        let at = dir.path().join("machine");
        let mut mounts = vec![root.mount(Some("/root"), &at)];
        mounts.push(store.mount(None, &at.join("persist")));
        mounts.push(top);
        mounts.reverse();
        let machine = Self {
            _mounts: mounts,
            dir,
            root,
            store,
        };
        machine.install("btrfs subvol=root");
        subvolume(&machine.at("home/vault"));
        fs::write(machine.at("home/vault/deep"), "deep").unwrap();
        machine
    }

    /// One that only an overlay can erase.
    fn on_ext4() -> Self {
        let (root, store) = (Disk::new("ext4", 64), Disk::new("ext4", 64));
        let dir = tempfile::Builder::new()
            .prefix("state-import-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let at = dir.path().join("machine");
        let mut mounts = vec![root.mount(None, &at)];
        mounts.push(store.mount(None, &at.join("persist")));
        mounts.reverse();
        let machine = Self {
            _mounts: mounts,
            dir,
            root,
            store,
        };
        machine.install("ext4 errors=remount-ro");
        fs::remove_file(machine.at("usr/sbin/update-initramfs")).unwrap();
        fs::create_dir_all(machine.at("usr/lib/dracut")).unwrap();
        fs::write(machine.at("usr/lib/dracut/dracut-functions.sh"), "").unwrap();
        machine
    }

    /// What a distribution and its people leave on a disk; `root` is what fstab says of it.
    fn install(&self, root: &str) {
        for (path, text) in [
            ("etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian 12\"\n"),
            ("etc/hostname", "lab\n"),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n",
            ),
            ("etc/group", "root:x:0:\nann:x:1000:\n"),
            ("etc/ssh/ssh_host_ed25519_key", "secret"),
            ("usr/sbin/init", "init"),
            ("usr/sbin/update-initramfs", "#!/bin/sh\n"),
            ("usr/local/bin/state", "program"),
            ("home/ann/letter", "dear"),
            ("root/.profile", "umask 022\n"),
            ("var/log/syslog", "one line\n"),
        ] {
            let at = self.at(path);
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, text).unwrap();
        }
        let fstab = format!(
            "{} / {root} 0 0\n{} /persist ext4 x-initrd.mount 0 0\n",
            self.root.device().display(),
            self.store.device().display()
        );
        fs::write(self.at("etc/fstab"), fstab).unwrap();
        symlink("usr/sbin", self.at("sbin")).unwrap();
        let mode = |path: &str, mode| {
            fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("etc/ssh/ssh_host_ed25519_key", 0o600);
        mode("root", 0o700);
        mode("home/ann", 0o750);
        for path in ["home/ann", "home/ann/letter"] {
            chown(self.at(path), Some(1000), Some(1000)).unwrap();
        }
        fs::hard_link(self.at("home/ann/letter"), self.at("home/ann/copy")).unwrap();
        symlink("letter", self.at("home/ann/link")).unwrap();
        for n in 0..200 {
            fs::write(self.at(&format!("var/log/{n:03}")), format!("{n}")).unwrap();
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("machine").join(path)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command.arg("--root").arg(self.at(""));
        command
            .args(["--yes", "--json", "init", "--migrate"])
            .args(more);
        command.stdin(Stdio::null());
        command
    }

    fn migrate(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn report(&self, more: &[&str]) -> Value {
        let output = self.migrate(more);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        assert_eq!(report["error"], Value::Null, "{report:#}");
        report
    }

    /// Everything declared, as it is below a directory.
    fn kept(&self, below: &str) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        for path in KEPT {
            note(&self.at(below).join(path), Path::new(path), &mut seen);
        }
        seen
    }

    /// As it was before the migration, to begin it anew.
    fn undo(&self) {
        for entry in fs::read_dir(self.at("persist")).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        let top = self.dir.path().join("top");
        for name in ["root-blank", "root-blank.new", "root-blank-previous"] {
            if top.join(name).exists() {
                let mut delete = Command::new("btrfs");
                delete
                    .args(["-q", "subvolume", "delete"])
                    .arg(top.join(name));
                assert!(delete.status().unwrap().success());
            }
        }
        for entry in fs::read_dir(&top).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                name == "root" || name == ".state",
                "{name:?} is left at the top"
            );
        }
    }
}

/// A tree as lines: kind, mode, owner, content. Nested volumes and directories look alike.
fn note(at: &Path, name: &Path, seen: &mut BTreeMap<PathBuf, String>) {
    let stat = fs::symlink_metadata(at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
    let content = match stat.file_type() {
        kind if kind.is_symlink() => fs::read_link(at).unwrap().display().to_string(),
        kind if kind.is_dir() => String::new(),
        _ => format!("{} {}", stat.nlink(), fs::read_to_string(at).unwrap()),
    };
    let line = format!("{:o} {}:{} {content}", stat.mode(), stat.uid(), stat.gid());
    seen.insert(name.to_owned(), line);
    if stat.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            let entry = entry.unwrap();
            note(&entry.path(), &name.join(entry.file_name()), seen);
        }
    }
}

fn steps(report: &Value) -> Vec<String> {
    let words = |step: &Value| {
        let kind = step["step"].as_str().unwrap();
        match step["path"].as_str() {
            Some(path) => format!("{kind} {path} {}", step["is_anew"]),
            None => kind.to_owned(),
        }
    };
    report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(words)
        .collect()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_installation_is_migrated_and_keeps_everything() {
    let machine = Machine::new(64);
    let before = machine.kept("");
    let plan = machine.report(&["--dry-run"]);
    let all = [
        "configure",
        "fill /etc/machine-id false",
        "fill /etc/ssh/ssh_host_ed25519_key false",
        "fill /home false",
        "fill /root false",
        "fill /var/log false",
        "install-boot",
        "take-blank",
    ];
    assert_eq!(steps(&plan), all, "{plan:#}");
    assert_eq!(plan["obstacles"], Value::Array(vec![]));
    let is_empty = |path: &str| {
        let mut names = fs::read_dir(machine.at(path)).unwrap();
        names.all(|name| name.unwrap().file_name() == "lost+found")
    };
    assert!(is_empty("persist"), "a dry run writes nothing");

    let done = machine.report(&[]);
    assert_eq!(
        (&done["done"], &done["moved"]),
        (&8.into(), &Value::Array(vec![]))
    );
    assert_eq!(
        machine.kept("persist"),
        before,
        "everything is in the store"
    );
    assert_eq!(machine.kept(""), before, "the originals are untouched");
    assert_eq!(machine.kept("../top/root-blank"), {
        // A nested volume is not part of a snapshot: its data is in the store.
        let mut blank = before.clone();
        blank.retain(|path, _| !path.starts_with("home/vault"));
        let vault = machine.kept("../top/root-blank")[Path::new("home/vault")].clone();
        blank.insert("home/vault".into(), vault);
        blank
    });
    assert!(
        machine
            .at("../top/root-blank/etc/systemd/system/state-mount.service")
            .exists()
    );

    // Again: everything is so already.
    assert_eq!(steps(&machine.report(&[])), Vec::<String>::new());

    // The machine went on: what changed is brought up to date, and blank with it.
    fs::write(machine.at("home/ann/letter"), "dearest").unwrap();
    let again = machine.report(&[]);
    assert_eq!(steps(&again), ["fill /home true", "take-blank"]);
    assert_eq!(machine.kept("persist"), machine.kept(""));

    // Somebody wrote into the store: that is never replaced.
    fs::write(machine.at("persist/home/ann/letter"), "mine").unwrap();
    let refused = machine.migrate(&[]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let report = machine.report(&["--dry-run"]);
    let obstacle = &report["obstacles"][0];
    assert_eq!(obstacle["fact"], "/home: the store has another one");
    let letter = fs::read_to_string(machine.at("persist/home/ann/letter")).unwrap();
    assert_eq!(letter, "mine");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_migration_that_is_killed_is_finished_by_the_next() {
    let machine = Machine::new(64);
    let before = machine.kept("");
    let begun = Instant::now();
    assert_eq!(machine.report(&[])["executed"], true);
    let mut whole = begun.elapsed();
    let (mut killed, mut rests) = (0, BTreeSet::new());
    for n in 0..60 {
        if killed == 12 && rests.len() > 3 {
            break;
        }
        machine.undo();
        let begun = Instant::now();
        let mut child = machine.command(&[]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * (n % 13) / 13);
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            true => whole = whole.min(begun.elapsed()),
            false => killed += 1,
        }
        assert_eq!(machine.kept(""), before, "killed at {n}");
        let rest = machine.report(&[]);
        rests.insert(steps(&rest));
        assert_eq!(
            rest["done"].as_u64().map(|n| n as usize),
            Some(steps(&rest).len())
        );
        assert_eq!(machine.kept("persist"), before, "killed at {n}");
        assert_eq!(machine.kept(""), before, "killed at {n}");
        assert!(!machine.at("persist/.state-staging").exists());
        assert!(machine.at("../top/root-blank/home").exists());
    }
    assert!(killed >= 12 && rests.len() > 3, "{killed}: {rests:?}");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_migration_into_a_full_store_leaves_everything_as_it_was() {
    let machine = Machine::new(24);
    fs::write(machine.at("home/ann/film"), vec![7; 40 << 20]).unwrap();
    let plan = machine.report(&["--dry-run"]);
    let fact = plan["obstacles"][0]["fact"].as_str().unwrap();
    assert!(fact.contains("the store /persist has"), "{fact}");
    assert_eq!(machine.migrate(&[]).status.code(), Some(4));
    fs::remove_file(machine.at("home/ann/film")).unwrap();

    // Holes take no space where they are; somebody else fills the store while it is copied to.
    let before = machine.kept("");
    let filler = machine.at("persist/filler");
    let mut child = machine.command(&[]);
    let free = rustix::fs::statvfs(machine.at("persist")).unwrap();
    let blocks = free.f_bavail.saturating_sub(300);
    fs::write(
        &filler,
        vec![1; usize::try_from(blocks * free.f_frsize).unwrap()],
    )
    .unwrap();
    let inodes = machine.at("persist/inodes");
    fs::create_dir(&inodes).unwrap();
    let free = rustix::fs::statvfs(machine.at("persist")).unwrap();
    for n in 0..free.f_ffree.saturating_sub(60) {
        fs::write(inodes.join(n.to_string()), "").unwrap();
    }
    let output = child.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(machine.kept(""), before);
    assert!(
        !machine.at("persist/.state-staging").exists(),
        "a half copy is discarded"
    );
    assert!(!machine.at("../top/root-blank").exists());
    fs::remove_file(filler).unwrap();
    fs::remove_dir_all(inodes).unwrap();
    let rest = machine.report(&[]);
    assert_eq!(rest["executed"], true);
    assert_eq!(machine.kept("persist"), before);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_an_installation_on_ext4_goes_below_an_overlay() {
    let machine = Machine::on_ext4();
    let before = machine.kept("");
    let fstab = fs::read_to_string(machine.at("etc/fstab")).unwrap();
    let done = machine.report(&[]);
    let all = [
        "configure",
        "fill /etc/machine-id false",
        "fill /etc/ssh/ssh_host_ed25519_key false",
        "fill /home false",
        "fill /root false",
        "fill /var/log false",
        "install-boot",
        "release-root",
    ];
    assert_eq!(steps(&done), all, "{done:#}");
    assert_eq!(
        machine.kept("persist"),
        before,
        "everything is in the store"
    );
    assert_eq!(machine.kept(""), before, "the originals are untouched");
    let declared = fs::read_to_string(machine.at("persist/etc/state/state.toml")).unwrap();
    let wanted = format!(
        "[root]\nbackend = \"overlay\"\ndevice = \"{}\"\ndirectory = \".state/layers\"\n",
        machine.store.device().display()
    );
    assert!(declared.contains(&wanted), "{declared}");
    // What would make writable what is installed is a comment, and all else is as it was.
    let comment = "# root is mounted by the initrd, below an overlay (state): ";
    let released = fs::read_to_string(machine.at("etc/fstab")).unwrap();
    assert_eq!(released, format!("{comment}{fstab}"));
    assert!(
        machine
            .at("etc/systemd/system/state-mount.service")
            .exists()
    );

    // Again: everything is so already. And the machine went on.
    assert_eq!(steps(&machine.report(&[])), Vec::<String>::new());
    fs::write(machine.at("home/ann/letter"), "dearest").unwrap();
    assert_eq!(steps(&machine.report(&[])), ["fill /home true"]);
    assert_eq!(machine.kept("persist"), machine.kept(""));
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_root_that_is_the_top_level_is_refused_with_the_way_out() {
    let machine = Machine::new(64);
    let top = machine.dir.path().join("top");
    let output = Command::new("cp")
        .arg("-a")
        .arg(machine.at("etc"))
        .arg(&top)
        .status();
    assert!(output.unwrap().success());
    fs::create_dir(top.join("persist")).unwrap();
    let _store = machine.store.mount(None, &top.join("persist"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
    command
        .arg("--root")
        .arg(&top)
        .args(["--yes", "init", "--migrate"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("* root cannot be erased: it is the filesystem's top level\n"),
        "{said}"
    );
    assert!(
        said.contains("snapshot it into a subvolume `root`"),
        "{said}"
    );
}

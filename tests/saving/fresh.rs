//! A whole machine onto a disk that is laid out for it, through the program.

use super::hostile;
use super::machine::{Machine, note};
use state_linux::loopback::Loop;
use state_linux::mount;
use state_linux::{mountinfo, namespace};
use state_testing::disk::Disk;
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
        let url = format!("file://{}", self.machine.path("usb").display());
        Command::new(env!("CARGO_BIN_EXE_state"))
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
            .stdin(Stdio::null())
            .output()
            .unwrap()
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
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        self.unmount();
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

/// A machine whose configuration is in a repository beside its stores, and the repository's commit.
fn configured(repo: &str) -> (Machine, String) {
    let machine = Machine::new();
    machine.configure(&format!("[config]\nrepo = \"{repo}\"\n"));
    let origin = machine.path("origin");
    machine.write("origin/flake.nix", "{ }\n");
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(&origin)
            .args(["-c", "user.name=ann", "-c", "user.email=ann@example.org"])
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    let at = machine.path("root").join(repo.trim_start_matches('/'));
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    git(&["clone", "-q", ".", at.to_str().unwrap()]);
    let url = format!("file://{}", origin.display());
    let set = Command::new("git")
        .arg("-C")
        .arg(&at)
        .args(["remote", "set-url", "origin", &url])
        .status();
    assert!(set.unwrap().success());
    let commit = git(&["rev-parse", "HEAD"]);
    (machine, commit)
}

/// The line that tells of the configuration, and those that belong to it.
fn about_config(told: &str) -> String {
    let lines = told
        .lines()
        .skip_while(|line| !line.starts_with("config   ") || line.starts_with("config   commit"));
    let mut lines: Vec<_> = lines.collect();
    let end = lines
        .iter()
        .skip(1)
        .position(|line| !line.starts_with("         "));
    lines.truncate(end.map_or(lines.len(), |end| end + 1));
    lines.join("\n")
}

#[test]
#[ignore = "needs root, a loop device and git"]
fn loop_the_configuration_comes_back_at_its_commit_or_is_told_how() {
    let (machine, commit) = configured("/persist/etc/nixos");
    let short = &commit[..12];
    machine.backup().unwrap();
    let options = ["--backend=tmpfs", "--allow-unsigned"];
    let restore = |more: &[&str]| {
        let new = New::begin(&machine, 320);
        let (told, exit) = new.told(&[&options, more].concat());
        let head = Command::new("git")
            .arg("-C")
            .arg(new.at("persist/etc/nixos"))
            .args(["rev-parse", "HEAD"])
            .output()
            .unwrap();
        let head = String::from_utf8(head.stdout).unwrap().trim().to_owned();
        ((about_config(&told), exit), head)
    };
    let (said, head) = restore(&[]);
    let cloned =
        format!("config   DIR/mnt/persist/etc/nixos cloned from file://DIR/origin, at {short}");
    assert_eq!(said, (cloned, Some(0)));
    assert_eq!(head, commit);

    // The commit was never pushed there.
    let other = configured("/persist/etc/nixos").0;
    machine.write("origin2/x", "x");
    let wrong = format!("file://{}", other.path("origin").display());
    let here = Command::new("git")
        .arg("-C")
        .arg(other.path("origin"))
        .args([
            "-c",
            "user.name=b",
            "-c",
            "user.email=b",
            "commit",
            "-q",
            "--amend",
            "-m",
            "other",
        ])
        .status();
    assert!(here.unwrap().success());
    let (said, head) = restore(&["--config-from", &wrong]);
    assert_eq!(head, "");
    let by_hand = format!(
        "         git clone --no-checkout -- {wrong} DIR/mnt/persist/etc/nixos\n         \
         git -C DIR/mnt/persist/etc/nixos checkout --detach {commit}"
    );
    let (told, exit) = said;
    let first = format!(
        "config   {short} could not be checked out: checking out {commit}: is it pushed to {wrong}?: "
    );
    assert!(told.starts_with(&first), "{told}");
    assert!(told.ends_with(&by_hand), "{told}");
    assert_eq!(exit, Some(3));

    // No git: `state` looks for it in the system's directories only.
    let hidden = ["/usr/bin/git", "/bin/git"].map(Path::new);
    let hidden: Vec<_> = hidden.iter().filter(|git| git.exists()).collect();
    for git in &hidden {
        mount::bind(Path::new("/dev/null"), git, false).unwrap();
    }
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&options);
    drop(new);
    for git in hidden.iter().rev() {
        mount::unmount(git).unwrap();
    }
    let first = format!(
        "config   {short} could not be checked out: there is no git here: install it and run the \
         same command again, or do it later\n         git clone --no-checkout -- "
    );
    assert!(about_config(&told).starts_with(&first), "{told}");
    assert_eq!(exit, Some(3));

    // No remote that answers.
    let (said, _) = restore(&["--config-from", "file:///nonexistent"]);
    assert_eq!(said.1, Some(3), "{said:?}");
    assert!(
        said.0.starts_with(&format!(
            "config   {short} could not be checked out: cloning file:///nonexistent: "
        )),
        "{said:?}"
    );

    // An entry: it comes back with the store, byte for byte.
    let (machine, commit) = configured("/var/lib/app/config");
    let (from, to) = (
        machine.path("root/var/lib/app/config"),
        machine.store().join("var/lib/app/config"),
    );
    fs::rename(&from, &to).unwrap();
    std::os::unix::fs::symlink(&to, &from).unwrap();
    machine.backup().unwrap();
    let new = New::begin(&machine, 320);
    let (told, exit) = new.told(&options);
    let short = &commit[..12];
    assert_eq!(
        (about_config(&told), exit),
        (
            format!("config   DIR/mnt/persist/var/lib/app/config came back at {short}"),
            Some(0)
        )
    );
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
#[ignore = "needs root, a loop device and git"]
fn loop_a_second_run_goes_on_with_what_the_first_could_not_do() {
    let (machine, commit) = configured("/persist/etc/nixos");
    let id = machine.backup().unwrap().id.unwrap();
    let new = New::begin(&machine, 320);
    let options = ["--backend=tmpfs", "--allow-unsigned"];
    let (told, exit) = new.told(&[&options[..], &["--config-from=file:///nonexistent"]].concat());
    assert_eq!(exit, Some(3), "{told}");
    let file = new.at("persist/var/lib/app/data");
    fs::write(&file, "since then").unwrap();
    let (told, exit) = new.told(&options);
    assert_eq!(exit, Some(0), "{told}");
    assert!(
        told.contains(&format!("archive  {id} of blitzar")),
        "{told}"
    );
    assert!(told.contains(", by an earlier run, "), "{told}");
    assert_eq!(
        about_config(&told),
        format!(
            "config   DIR/mnt/persist/etc/nixos cloned from file://DIR/origin, at {}",
            &commit[..12]
        )
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "since then");
    let fstab = fs::read_to_string(new.at("persist/etc/state/fstab")).unwrap();
    assert!(fstab.contains(" /persist ext4 "), "{fstab}");

    // Once more, if that is what is wanted.
    let (told, exit) = new.told(&[&options[..], &["--forget-replaced"]].concat());
    assert_eq!(exit, Some(0), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "data");

    // Another archive would give up the only tree of before.
    machine.write("root/persist/var/lib/app/data", "newer");
    machine.backup().unwrap();
    let (told, exit) = new.told(&options);
    assert_eq!(
        (told.as_str(), exit),
        (
            format!(
                "error: DIR/mnt/persist still keeps the tree that an earlier restore replaced\n\
                 hint: --archive {id} goes on with what is there; `state undo DIR/mnt/persist` puts it \
                 back; --forget-replaced gives it up for this restore\n"
            )
            .as_str(),
            Some(4)
        )
    );

    // What came before is back: it is another one's tree.
    let undone = Command::new(env!("CARGO_BIN_EXE_state"))
        .args(["--yes", "undo"])
        .arg(new.at("persist"))
        .output()
        .unwrap();
    assert!(undone.status.success(), "{undone:?}");
    let (told, exit) = new.told(&[&options[..], &["--archive", &id]].concat());
    assert_eq!(exit, Some(4), "{told}");
    assert!(
        told.contains("the tree that an earlier restore replaced"),
        "{told}"
    );
}

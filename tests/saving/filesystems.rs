//! On real filesystems: snapshots with nested volumes, other engines on the other side, full
//! disks.

use super::drill::{drill, drill_until};
use super::hostile;
use super::machine::{Machine, exit, note};
use state::archive::proof::Against;
use state::ops::drill::Options;
use state_api::Never;
use state_linux::loopback::Loop;
use state_linux::mount::{Attributes, Guard, detached, tmpfs};
use state_linux::namespace;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A filesystem in a file, mounted; gone when it is dropped.
pub(super) struct Disk(
    pub(super) Guard,
    /// Held so that the device lives as long as the mount.
    pub(super) Loop,
);

impl Disk {
    pub(super) fn new(machine: &Machine, kind: &str, at: &Path) -> Self {
        let image = machine.path(&format!("{}.img", at.file_name().unwrap().display()));
        fs::File::create(&image)
            .unwrap()
            .set_len(320 << 20)
            .unwrap();
        // Small images get small blocks, and no large attributes fit into those.
        let blocks: &[&str] = if kind == "ext4" { &["-b", "4096"] } else { &[] };
        let image_name = [image.to_str().unwrap()];
        run(
            &format!("mkfs.{kind}"),
            &[&["-q"], blocks, &image_name].concat(),
        );
        let device = Loop::attach(&image, false).unwrap();
        let source = Some(device.path().as_os_str());
        let mount = detached(kind, &[("source", source)], Attributes::empty()).unwrap();
        fs::create_dir_all(at).unwrap();
        Self(Guard::attach(mount, at).unwrap(), device)
    }
}

pub(super) fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
}

fn small_tmpfs(at: &Path, options: &[(&str, &str)]) -> Guard {
    let options: Vec<_> = (options.iter())
        .map(|(key, value)| (*key, Some(OsStr::new(*value))))
        .collect();
    fs::create_dir_all(at).unwrap();
    Guard::attach(tmpfs(&options, Attributes::empty()).unwrap(), at).unwrap()
}

/// The subvolumes.
fn subvolumes(at: &Path) -> Vec<String> {
    let list = Command::new("btrfs")
        .args(["subvolume", "list"])
        .arg(at)
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let path = |line: &str| line.split_once(" path ").unwrap().1.to_owned();
    list.lines().map(path).collect()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_tree_goes_from_btrfs_to_every_other_filesystem_and_back() {
    let machine = Machine::new();
    let store = machine.path("root/persist2");
    let btrfs = Disk::new(&machine, "btrfs", &store);
    machine.configure("[persist.\"/persist2\"]\ndirectories = [\"/srv\", \"/home\"]\n");
    let nested = store.join("srv/nested");
    fs::create_dir(store.join("srv")).unwrap();
    run(
        "btrfs",
        &["-q", "subvolume", "create", nested.to_str().unwrap()],
    );
    hostile::grow(&store.join("srv"), 41, 60);
    hostile::grow(&nested, 42, 60);
    fs::create_dir(store.join("home")).unwrap();
    let flagged = store.join("home/database");
    fs::File::create(&flagged).unwrap();
    run("chattr", &["+C", flagged.to_str().unwrap()]);
    fs::write(&flagged, vec![7; 100_000]).unwrap();
    fs::write(store.join("home/sealed"), "sealed").unwrap();
    run(
        "chattr",
        &["+i", store.join("home/sealed").to_str().unwrap()],
    );
    // What looks at a live tree stops at nested volumes.
    let (wanted, wanted_nested) = (note(&store), note(&nested));

    let before = subvolumes(&store);
    let saved = machine.backup().unwrap();
    assert!(!saved.is_partial(), "{:?}", saved.incomplete);
    assert!(saved.stores[1].from_snapshot);
    let made = saved.id.as_ref().unwrap();
    let mut after = subvolumes(&store);
    after.retain(|path| !path.contains(&format!("/archive-{made}-")));
    assert_eq!(after, before, "no snapshot but that of the archive is left");

    for kind in ["ext4", "xfs", "btrfs"] {
        let to = machine.path(&format!("to-{kind}"));
        let disk = Disk::new(&machine, kind, &to);
        let report = machine.restore_with(&Never, |options| {
            options.into = Some(to.clone());
            options.store = Some("/persist2".into());
        });
        let report = report.unwrap();
        let lost: Vec<_> = report.stores[0]
            .losses
            .iter()
            .map(|l| l.what.clone())
            .collect();
        match kind {
            "btrfs" => assert_eq!(lost, Vec::<String>::new()),
            // Only what says how btrfs is to store it.
            _ => assert!(
                lost.iter().all(|l| l.starts_with("flags no-cow")) && lost.len() == 1,
                "{kind}: {lost:?}"
            ),
        }
        let mut differences = wanted.differences(&note(&to));
        let apart =
            |line: &String| line.starts_with("lost+found") || line.starts_with("srv/nested/");
        differences.retain(|line| !apart(line));
        differences.extend(wanted_nested.differences(&note(&to.join("srv/nested"))));
        let expected: &[&str] = match kind {
            "btrfs" => &[],
            _ => &["home/database: flags"],
        };
        assert_eq!(differences, expected, "{kind}");
        run("chattr", &["-i", to.join("home/sealed").to_str().unwrap()]);
        disk.0.unmount().unwrap();
    }
    run(
        "chattr",
        &["-i", store.join("home/sealed").to_str().unwrap()],
    );
    btrfs.0.unmount().unwrap();
}

#[test]
#[ignore = "needs root to mount"]
fn loop_a_full_target_takes_nothing_and_loses_nothing() {
    let machine = Machine::new();
    let mut random = hostile::Random(7);
    let noise: Vec<u8> = (0..2 << 18)
        .flat_map(|_| random.next().to_le_bytes())
        .collect();
    fs::write(machine.store().join("var/lib/app/noise"), noise).unwrap();
    let disk = small_tmpfs(&machine.path("usb"), &[("size", "512k")]);
    let error = machine.backup().unwrap_err();
    assert_eq!(exit(&error), 1, "{error:#}");
    let told = state::cli::exit::tell(&error);
    let named = format!("file://{}: writing ", machine.path("usb").display());
    assert!(told.error.contains(&named), "{told:?}");
    assert!(told.error.ends_with(": no space is left there"), "{told:?}");
    assert_eq!(
        told.hint.as_deref(),
        Some("`state archives prune`, or make room there")
    );
    assert_eq!(machine.objects(), Vec::<String>::new());
    disk.unmount().unwrap();
    machine.backup().unwrap();
}

#[test]
#[ignore = "needs root to mount"]
fn loop_a_full_store_keeps_what_it_has() {
    let machine = Machine::new();
    machine.backup().unwrap();
    for options in [
        &[("size", "400k")][..],               // found out beforehand
        &[("size", "4m"), ("nr_inodes", "8")], // found out on the way
    ] {
        let to = machine.path("small");
        let disk = small_tmpfs(&to, options);
        fs::write(to.join("present"), "present").unwrap();
        let before = note(&to);
        let error = machine
            .restore_with(&Never, |o| o.into = Some(to.clone()))
            .unwrap_err();
        assert!([1, 4].contains(&exit(&error)), "{error:#}");
        assert!(state::cli::exit::tell(&error).hint.is_some(), "{error:#}");
        assert_eq!(before.differences(&note(&to)), Vec::<String>::new());
        disk.unmount().unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn loop_a_smaller_disk_is_told() {
    namespace::own_mounts().expect("this needs root");
    let machine = Machine::new();
    machine.backup().unwrap();
    for (size, is_told) in [("64m", true), ("2000g", false)] {
        let to = machine.path(size);
        let disk = small_tmpfs(&to, &[("size", size)]);
        let report = machine.restore_with(&Never, |o| o.into = Some(to.clone()));
        let begins = format!(
            "{} is on a filesystem of 64 MiB; it was on one of ",
            to.display()
        );
        let notes = report.unwrap().notes;
        let found = notes.iter().any(|note| note.starts_with(&begins));
        assert_eq!(found, is_told, "{notes:?}");
        disk.unmount().unwrap();
    }
}

#[test]
#[ignore = "needs root to mount"]
fn loop_what_is_mounted_inside_a_store_is_missing_by_name() {
    let machine = Machine::new();
    let inside = machine.store().join("var/lib/app/mounted");
    let disk = small_tmpfs(&inside, &[("size", "1m")]);
    fs::write(inside.join("elsewhere"), "x").unwrap();
    let report = machine.backup().unwrap();
    let missing: Vec<_> = (report.incomplete.iter())
        .map(|m| {
            (
                String::from_utf8_lossy(&m.path.0).into_owned(),
                m.why.as_str(),
            )
        })
        .collect();
    let wanted = (
        "/var/lib/app/mounted".to_owned(),
        "something is mounted over it",
    );
    assert_eq!(missing, [wanted]);
    // Excluded on purpose, it is not missing.
    fs::write(
        machine.path("root/etc/state/state.toml"),
        machine.read("root/etc/state/state.toml") + "[archive]\nexclude = [\"**/mounted\"]\n",
    )
    .unwrap();
    assert_eq!(machine.backup().unwrap().incomplete, []);
    disk.unmount().unwrap();
}

#[test]
#[ignore = "needs root to mount"]
fn loop_a_store_in_use_is_not_swapped_under_its_users() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "present");
    let used = fs::File::open(machine.store().join("var/lib/app")).unwrap();
    let mut user = Command::new("sleep")
        .arg("60")
        .current_dir(machine.store())
        .spawn()
        .unwrap();
    let error = (machine.restore_with(&Never, |options| options.now = true)).unwrap_err();
    assert_eq!(exit(&error), 4, "{error:#}");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "present");
    user.kill().unwrap();
    user.wait().unwrap();
    drop(used);
    let report = machine.restore().unwrap();
    assert!(report.stores[0].is_resumed, "what was staged waited");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_drill_compares_with_the_snapshot_where_it_stands() {
    let machine = Machine::new();
    let store = machine.store();
    fs::remove_dir_all(&store).unwrap();
    let disk = Disk::new(&machine, "btrfs", &store);
    machine.write("root/persist/etc/machine-id", "0123456789abcdef\n");
    fs::create_dir_all(store.join("var/lib/app")).unwrap();
    hostile::grow(&store.join("var/lib/app"), 43, 80);
    fs::write(store.join("var/lib/app/sealed"), "sealed").unwrap();
    let sealed = store.join("var/lib/app/sealed");
    run("chattr", &["+i", sealed.to_str().unwrap()]);
    let socket = store.join("var/lib/app/socket");
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    machine.write("root/persist/orphan", "nobody declared this");
    machine.backup().unwrap();
    let before = note(&store);
    let done = || drill(&machine).unwrap().drills.remove(0);
    let first = done();
    assert_eq!((&first.differences, &first.losses), (&vec![], &vec![]));
    assert_eq!(first.proof().unwrap().against, Against::Snapshot);
    assert_eq!(before.differences(&note(&store)), Vec::<String>::new());
    assert_eq!(machine.reserved(), ["snapshots"]);

    // What the machine has now is of no importance; what the snapshot has is.
    machine.write("root/persist/etc/machine-id", "changed\n");
    assert_eq!(done().proof().unwrap().against, Against::Snapshot);
    let mut snapshots = subvolumes(&store).into_iter();
    let snapshot = snapshots.rfind(|path| path.contains("/archive-"));
    let snapshot = store.join(snapshot.unwrap());
    let read_only = |is: &str| {
        run(
            "btrfs",
            &["property", "set", snapshot.to_str().unwrap(), "ro", is],
        )
    };
    read_only("false");
    let file = snapshot.join("etc/machine-id");
    for (content, mode, wanted) in [
        (
            "0123456789abcdeF\n",
            0o644,
            vec!["the snapshot has another content"],
        ),
        (
            "0123456789abcdef\n",
            0o600,
            vec!["the snapshot has another mode"],
        ),
        ("0123456789abcdef\n", 0o644, vec![]),
    ] {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let found = done().differences;
        let found: Vec<_> = found.iter().map(|lost| lost.what.as_str()).collect();
        assert_eq!(found, wanted);
    }
    read_only("true");

    // Where flags cannot be held, nothing is proven, and nothing is said against the archive.
    let small = small_tmpfs(&machine.path("small"), &[("size", "64m")]);
    let elsewhere = |options: &mut Options| options.into = Some(machine.path("small"));
    let report = drill_until(&machine, &Never, elsewhere).unwrap();
    assert!(!report.found_something());
    assert_eq!(
        report.drills[0].proof().is_some(),
        report.drills[0].losses.is_empty()
    );
    small.unmount().unwrap();

    // No room: found out beforehand, and on the way.
    for options in [
        &[("size", "400k")][..],
        &[("size", "64m"), ("nr_inodes", "9")],
    ] {
        let small = small_tmpfs(&machine.path("small"), options);
        let error = drill_until(&machine, &Never, elsewhere).unwrap_err();
        assert!([1, 4].contains(&exit(&error)), "{error:#}");
        assert!(state::cli::exit::tell(&error).hint.is_some(), "{error:#}");
        assert_eq!(fs::read_dir(machine.path("small")).unwrap().count(), 0);
        small.unmount().unwrap();
    }
    disk.0.unmount().unwrap();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_path_is_not_restored_into_the_root_that_is_erased() {
    namespace::own_mounts().expect("this needs root");
    let machine = Machine::new();
    machine.backup().unwrap();
    let root = small_tmpfs(&machine.path("root"), &[("mode", "0755")]);
    machine.configure("[root]\nbackend = \"tmpfs\"\n");
    fs::create_dir_all(machine.store().join("var/lib/app")).unwrap();
    let path = Some("/var/lib/app/data".into());
    let refused = machine.restore_with(&Never, |options| options.path = path);
    let refused = refused.unwrap_err();
    assert_eq!(
        (exit(&refused), refused.to_string()),
        (
            4,
            format!("the store {} is not mounted", machine.store().display())
        )
    );
    drop(root);
}

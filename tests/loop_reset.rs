//! `state reset` and `state roots` on a real btrfs, through the program: what is printed and
//! promised, faults, interruptions, and two runs at once.

use serde_json::Value;
use state_linux::mount::{self, Attributes};
use state_linux::{btrfs, mountinfo};
use state_testing::disk::Disk;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A machine with a btrfs on a loop device: root, its blank, and a directory as the initrd's `/`.
///
/// Mounts are in a namespace of the test's thread and the image has no name, so nothing is left
/// behind, whatever happens.
struct Machine {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Machine {
    fn new(mib: u64) -> Self {
        let disk = Disk::new("btrfs", mib);
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
            disk,
        };
        let initrd = machine.dir.path().join("initrd/etc/state");
        fs::create_dir_all(&initrd).unwrap();
        let config = format!(
            "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
             past-roots = {{ last = 1, days = 0 }}\n",
            machine.disk.device().display()
        );
        fs::write(initrd.join("state.toml"), config).unwrap();
        machine.mount("5", &machine.top());
        machine.subvolume("root");
        fs::create_dir_all(machine.root().join("usr/sbin")).unwrap();
        fs::write(machine.root().join("usr/sbin/init"), "init").unwrap();
        std::os::unix::fs::symlink("usr/sbin", machine.root().join("sbin")).unwrap();
        let taken = machine.state(&["blank", "take", "--yes"]);
        assert!(taken.status.success(), "{taken:?}");
        machine
    }

    fn top(&self) -> PathBuf {
        self.dir.path().join("top")
    }

    fn root(&self) -> PathBuf {
        self.top().join("root")
    }

    fn mount(&self, subvolume: &str, at: &Path) {
        fs::create_dir_all(at).unwrap();
        let options = [
            ("source", Some(self.disk.device().as_os_str())),
            ("subvolid", Some(OsStr::new(subvolume))),
        ];
        let mount = mount::detached("btrfs", &options, Attributes::empty()).unwrap();
        mount::attach(mount, rustix::fs::CWD, at).unwrap();
    }

    fn subvolume(&self, path: &str) {
        let path = self.top().join(path);
        let parent = File::open(path.parent().unwrap()).unwrap();
        btrfs::create(parent, path.file_name().unwrap()).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.dir.path().join("initrd"))
            .args(args);
        command
    }

    fn state(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.state(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    fn record(&self) -> Value {
        let path = self.dir.path().join("initrd/run/state/reset.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    fn past_roots(&self) -> Vec<PathBuf> {
        let Ok(names) = fs::read_dir(self.top().join("past-roots")) else {
            return vec![];
        };
        let mut paths: Vec<_> = names.map(|name| name.unwrap().path()).collect();
        paths.retain(|path| path.file_name().unwrap() != ".pinned");
        paths.sort();
        paths
    }

    /// Whether a file is in root or a past root.
    fn is_somewhere(&self, file: &str) -> bool {
        let mut places = self.past_roots();
        places.extend([self.root(), self.top().join("root.new")]);
        places.iter().any(|place| place.join(file).exists())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Or the directory could not be removed after this.
        let mounts = mountinfo::read().unwrap();
        for mount in mounts
            .iter()
            .rev()
            .filter(|mount| mount.at.starts_with(self.dir.path()))
        {
            mount::unmount_lazily(&mount.at).unwrap();
        }
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_reset_erases_root_and_keeps_what_it_was() {
    let machine = Machine::new(256);
    fs::write(machine.root().join("lived in"), "yes").unwrap();
    machine.subvolume("root/var-lib-machines");
    machine.subvolume("root/var-lib-machines/two deep");
    fs::write(
        machine.root().join("var-lib-machines/two deep/file"),
        "deep",
    )
    .unwrap();

    let dry = machine.json(&["reset", "--dry-run"]);
    assert_eq!(
        (&dry["executed"], &dry["outcome"]),
        (&false.into(), &"reset".into())
    );
    assert!(
        machine.root().join("lived in").exists(),
        "a dry run changes nothing"
    );
    assert!(
        !machine
            .dir
            .path()
            .join("initrd/run/state/reset.json")
            .exists(),
        "and leaves nothing"
    );

    let report = machine.json(&["reset"]);
    assert_eq!(report["outcome"], "reset", "{report}");
    assert!(!machine.root().join("lived in").exists());
    assert!(machine.root().join("sbin/init").exists());
    let past = machine.past_roots();
    assert_eq!(past.len(), 1, "{past:?}");
    assert_eq!(
        report["past_root"],
        past[0].file_name().unwrap().to_str().unwrap()
    );
    assert_eq!(fs::read_to_string(past[0].join("lived in")).unwrap(), "yes");
    let deep = past[0].join("var-lib-machines/two deep/file");
    assert_eq!(fs::read_to_string(deep).unwrap(), "deep");
    let record = machine.record();
    assert_eq!(
        (&record["outcome"], &record["past_root"]),
        (&"reset".into(), &report["past_root"])
    );
    assert_eq!(
        record["steps_done"],
        record["plan"].as_array().unwrap().len()
    );

    // The second one makes the first past root too many; pinned, it stays all the same.
    fs::write(machine.root().join("second"), "").unwrap();
    machine.json(&["reset"]);
    machine.json(&["reset"]);
    let first = past[0].file_name().unwrap().to_str().unwrap();
    assert_eq!(machine.json(&["roots", "pin", first])["is_pinned"], true);
    assert_eq!(machine.past_roots().len(), 3);
    let collected = machine.json(&["roots", "gc"]);
    let went = collected["past_roots"].as_array().unwrap();
    let went = went
        .iter()
        .filter(|one| one["kept_by"].as_array().unwrap().is_empty());
    assert_eq!(went.count(), 1, "{collected}");
    assert_eq!(machine.past_roots().len(), 2);
    machine.json(&["roots", "unpin", first]);
    assert_eq!(code(&machine.state(&["roots", "gc"])), 0);
    assert_eq!(machine.past_roots().len(), 1);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_refusals_end_with_4_and_change_nothing() {
    let machine = Machine::new(256);
    fs::write(machine.root().join("lived in"), "yes").unwrap();
    let sysroot = machine.dir.path().join("sysroot");
    let refused = |fact: &str| {
        let output = machine.state(&["reset"]);
        assert_eq!(code(&output), 4, "{fact}: {output:?}");
        assert!(
            stderr(&output).contains(fact),
            "{fact}: {}",
            stderr(&output)
        );
        assert_eq!(machine.record()["outcome"], "refused");
        assert!(machine.root().join("lived in").exists());
        assert_eq!(machine.past_roots().len(), 0);
    };

    let id = btrfs::subvolume_info(File::open(machine.root()).unwrap())
        .unwrap()
        .id;
    machine.mount(&id.to_string(), &sysroot);
    refused(&format!("is mounted at {}", sysroot.display()));
    mount::unmount(&sysroot).unwrap();

    let fstab = machine.dir.path().join("initrd/etc/fstab");
    fs::write(&fstab, "UUID=x / btrfs rw,subvolid=256,subvol=/root 0 0\n").unwrap();
    refused("/etc/fstab mounts root by its volume id");
    machine.subvolume("root/persist");
    let device = machine.disk.device().display();
    fs::write(
        &fstab,
        format!("{device} /persist btrfs subvol=/root/persist 0 0\n"),
    )
    .unwrap();
    refused("root/persist lies inside root");
    fs::remove_file(&fstab).unwrap();

    let proc = machine.dir.path().join("initrd/proc");
    fs::create_dir(&proc).unwrap();
    fs::write(proc.join("cmdline"), "quiet state.root=backup\n").unwrap();
    refused("state.root=backup");
    fs::write(proc.join("cmdline"), "quiet\n").unwrap();

    let blank = File::open(machine.top().join("root-blank")).unwrap();
    btrfs::set_read_only(&blank, false).unwrap();
    refused("no longer blank");
    fs::write(machine.top().join("root-blank/more"), "").unwrap();
    btrfs::set_read_only(&blank, true).unwrap();
    refused("no longer blank");
    drop(blank);

    fs::rename(
        machine.top().join("root-blank"),
        machine.top().join("elsewhere"),
    )
    .unwrap();
    refused("does not exist");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_two_runs_at_once_are_kept_apart() {
    let machine = Machine::new(256);
    let frozen = Frozen::new(&machine);
    let first = machine
        .command(&["reset"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    await_stuck(first.id());
    let second = machine.state(&["reset"]);
    assert_eq!(code(&second), 11, "{second:?}");
    assert!(
        stderr(&second).contains(&format!("(pid {})", first.id())),
        "{}",
        stderr(&second)
    );
    drop(frozen);
    let first = first.wait_with_output().unwrap();
    assert_eq!(code(&first), 0, "{first:?}");
    assert_eq!(machine.past_roots().len(), 1);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_sigint_in_the_middle_ends_with_130_and_the_next_run_finishes() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let machine = Machine::new(256);
        fs::write(machine.root().join("lived in"), "yes").unwrap();
        let frozen = Frozen::new(&machine);
        let run = machine
            .command(&["reset"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        await_stuck(run.id());
        let pid = rustix::process::Pid::from_child(&run);
        rustix::process::kill_process(pid, signal).unwrap();
        drop(frozen);
        let run = run.wait_with_output().unwrap();
        assert_eq!(code(&run), 130, "{run:?}");
        let record = machine.record();
        assert_eq!(record["outcome"], "interrupted", "{record}");
        let done = record["steps_done"].as_u64().unwrap();
        let all = record["plan"].as_array().unwrap().len() as u64;
        assert!(0 < done && done < all, "{record}");
        assert!(machine.is_somewhere("lived in"));

        assert_eq!(code(&machine.state(&["reset"])), 0);
        assert!(!machine.root().join("lived in").exists());
        assert!(machine.past_roots()[0].join("lived in").exists());
        assert!(
            !machine.top().join("root.new").exists(),
            "nothing is left over"
        );
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_on_a_full_disk_nothing_is_lost_and_running_again_finishes() {
    let machine = Machine::new(120);
    fs::write(machine.root().join("lived in"), "yes").unwrap();
    fill(&machine.root());
    let full = machine.state(&["reset"]);
    assert!([0, 1, 3].contains(&code(&full)), "{full:?}");
    assert!(machine.is_somewhere("lived in"));
    assert!(machine.top().join("root-blank/sbin/init").exists());
    let outcome = machine.record()["outcome"].clone();
    assert_eq!(outcome == "reset", code(&full) == 0, "{outcome}");

    // Somebody makes room; the next run finishes what is left to do.
    for name in fs::read_dir(machine.top())
        .unwrap()
        .chain(fs::read_dir(machine.root()).unwrap())
    {
        let path = name.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("fill")
        {
            fs::remove_file(path).unwrap();
        }
    }
    for past in machine.past_roots() {
        for n in 0.. {
            if fs::remove_file(past.join(format!("fill{n}"))).is_err() {
                break;
            }
        }
    }
    let again = machine.state(&["reset"]);
    assert_eq!(code(&again), 0, "{again:?}");
    assert!(!machine.root().join("lived in").exists());
    assert!(
        machine
            .past_roots()
            .iter()
            .any(|past| past.join("lived in").exists())
    );
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_past_root_that_cannot_be_deleted_is_reported_and_the_others_go() {
    let machine = Machine::new(256);
    for _ in 0..3 {
        machine.json(&["reset"]);
    }
    // The default subvolume cannot be deleted: EPERM.
    let oldest = machine.past_roots().remove(0);
    let id = btrfs::subvolume_info(File::open(&oldest).unwrap())
        .unwrap()
        .id;
    btrfs::set_default(File::open(machine.top()).unwrap(), id).unwrap();
    let output = machine.state(&["roots", "gc"]);
    assert_eq!(code(&output), 3, "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("it could not be deleted"), "{text}");
    assert!(text.ends_with("deleted 1, kept 2\n"), "{text}");
    assert!(oldest.exists());
    assert_eq!(machine.past_roots().len(), 2);
}

/// The filesystem stands still: whoever changes something waits until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(machine: &Machine) -> Self {
        let freeze = Command::new("fsfreeze")
            .arg("--freeze")
            .arg(machine.top())
            .status();
        assert!(freeze.expect("this needs util-linux").success());
        Self(machine.top())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thaw = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.0)
            .status();
        assert!(thaw.is_ok_and(|status| status.success()));
    }
}

/// Waits until a process waits for the frozen filesystem (state D), and goes on doing so.
fn await_stuck(pid: u32) {
    let begun = Instant::now();
    let mut seen = 0;
    while seen < 10 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never got to the first step"
        );
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit(") ").next().unwrap().chars().next();
        seen = if state == Some('D') { seen + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes until nothing fits any more: data, then small files that live in the metadata.
fn fill(dir: &Path) {
    let mut n = 0;
    for size in [8 << 20, 256 << 10, 4096, 1500, 10] {
        loop {
            let path = dir.join(format!("fill{n}"));
            let written = fs::write(&path, vec![0x5a; size]).and_then(|()| {
                if size >= 256 << 10 {
                    File::open(&path)?.sync_all()
                } else {
                    Ok(())
                }
            });
            n += 1;
            if written.is_err() || n > 50_000 {
                break;
            }
        }
    }
}

//! `state reset` and `state roots` on a real btrfs, through the program: what is printed and
//! promised, faults, interruptions, and two runs at once.

mod faults;
mod machine;

use faults::{Frozen, await_stuck, fill};
use machine::{Machine, code, stderr};
use state_linux::btrfs;
use state_testing::disk::subvolume;
use std::fs::{self, File};
use std::process::Stdio;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_reset_erases_root_and_keeps_what_it_was() {
    let machine = Machine::new(256);
    fs::write(machine.root().join("lived in"), "yes").unwrap();
    subvolume(&machine.root().join("var-lib-machines"));
    subvolume(&machine.root().join("var-lib-machines/two deep"));
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
fn loop_a_kernel_without_modules_in_blank_leaves_root_as_it_is() {
    let machine = Machine::new(256);
    let modules = |version: &str| machine.root().join("usr/lib/modules").join(version);
    std::os::unix::fs::symlink("usr/lib", machine.root().join("lib")).unwrap();
    fs::create_dir_all(modules("6.1.0-9")).unwrap();
    assert_eq!(code(&machine.state(&["blank", "take", "--yes"])), 0);
    // `apt upgrade` on the running machine; the boot loader starts what it finds.
    fs::create_dir(modules("6.1.0-10")).unwrap();
    let kernel = machine.dir.path().join("initrd/proc/sys/kernel");
    fs::create_dir_all(&kernel).unwrap();
    fs::write(kernel.join("osrelease"), "6.1.0-10\n").unwrap();
    let refused = machine.state(&["reset"]);
    assert_eq!(code(&refused), 4, "{refused:?}");
    let told = stderr(&refused);
    let fact = ": blank has no modules for 6.1.0-10, the kernel that runs, and root has them\n\
                hint: upgrade blank as root was (`state blank run -- apt-get -y upgrade`, or what your distribution \
                has), or make root as it is the blank (`state blank take`)\n";
    assert!(told.ends_with(fact), "{told}");
    assert!(modules("6.1.0-10").exists() && machine.past_roots().is_empty());
    assert_eq!(machine.record()["outcome"], "refused");
    // What `state status` tells of this boot.
    let hint = machine.record()["failure"]["hint"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        hint.contains("state blank run -- apt-get -y upgrade"),
        "{hint}"
    );

    // The cure is one.
    assert_eq!(code(&machine.state(&["blank", "take", "--yes"])), 0);
    assert_eq!(machine.json(&["reset"])["outcome"], "reset");
    assert!(modules("6.1.0-10").exists());
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

    let mounted = machine.disk.mount(Some("root"), &sysroot);
    refused(&format!("is mounted at {}", sysroot.display()));
    drop(mounted);

    let fstab = machine.dir.path().join("initrd/etc/fstab");
    fs::write(&fstab, "UUID=x / btrfs rw,subvolid=256,subvol=/root 0 0\n").unwrap();
    refused("/etc/fstab mounts root by its volume id");
    subvolume(&machine.root().join("persist"));
    let device = machine.disk.device().display();
    fs::write(
        &fstab,
        format!("{device} /persist btrfs subvol=/root/persist 0 0\n"),
    )
    .unwrap();
    refused("root/persist lies inside root");
    // An initrd has none, or an empty one: blank's counts, and root's.
    fs::write(&fstab, "").unwrap();
    let line = format!("{device} /persist btrfs subvol=/root/persist 0 0\n");
    let inside = machine.root().join("etc/fstab");
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::write(&inside, &line).unwrap();
    refused("root/persist lies inside root");
    fs::remove_file(&inside).unwrap();
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
    let in_blank = |text: &str| {
        btrfs::set_read_only(&blank, false).unwrap();
        fs::create_dir_all(machine.top().join("root-blank/etc")).unwrap();
        fs::write(machine.top().join("root-blank/etc/fstab"), text).unwrap();
        btrfs::set_read_only(&blank, true).unwrap();
    };
    in_blank(&line);
    refused("root/persist lies inside root");
    in_blank("UUID=x / btrfs subvolid=256 0 0\n");
    refused("etc/fstab in blank mounts root by its volume id");
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

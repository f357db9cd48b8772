//! The engine on real OpenZFS, in a guest (`tests/vm/zfs`).
#![forbid(unsafe_code)]

#[path = "vm/machine.rs"]
mod machine;

use machine::{Machine, files, give_up, keep, name, run, zfs};
use state_api::{Error, Leftover, Refusal, Reset, Result, Retire, RootBackend, Source, View};
use std::path::Path;

const BLANK: &[&str] = &["etc/installed=yes"];

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_three_resets_in_a_row() {
    for (n, root) in ["rpool/local/root", "my pool:1/a b/root dir: x"]
        .into_iter()
        .enumerate()
    {
        let machine = Machine::installed(root);
        let blank = machine.guid(&format!("{root}@blank"));
        zfs(&["set", "a:user=two words", "compression=zstd", root]);
        for boot in ["a", "b", "c"] {
            machine.reset(&keep(boot)).unwrap();
            assert_eq!(machine.files(root), BLANK);
            assert_eq!(machine.guid(&format!("{root}@blank")), blank);
            for (property, value) in [
                ("mountpoint", "legacy"),
                ("a:user", "two words"),
                ("compression", "zstd"),
                ("readonly", ""),
                ("canmount", ""),
            ] {
                assert_eq!(machine.local(root, property), value, "{property}");
            }
            let facts = machine.facts();
            assert_eq!(facts.leftovers, []);
            assert_eq!(facts.refusals, []);
            machine.write(root, "clutter", boot);
        }
        let facts = machine.facts();
        let names: Vec<_> = facts.past_roots.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"], "oldest first");
        for (past, clutter) in [("a", "0"), ("b", "a"), ("c", "b")] {
            let past = machine.past(past);
            assert_eq!(
                machine.files(&past),
                [&format!("clutter={clutter}"), BLANK[0]],
            );
            assert_eq!(machine.local(&past, "canmount"), "noauto");
            assert_eq!(machine.local(&past, "readonly"), "on");
        }
        // They go one by one, in any order.
        let mut engine = machine.engine();
        for past in ["b", "a", "c"] {
            let survey = engine.survey().unwrap();
            let plan = engine.plan_delete(&survey, &name(past)).unwrap();
            state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
        }
        assert_eq!(machine.facts().past_roots, []);
        assert_eq!(machine.files(root), ["clutter=c", BLANK[0]], "{n}");
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T>) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_every_interruption_is_finished() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    // It mounts itself and has space set aside, so that every kind of step occurs.
    let at = "mountpoint=/rpool-root";
    zfs(&["set", "canmount=noauto", root]);
    zfs(&["set", at, "canmount=on", "reservation=1048576", root]);
    run("zpool", &["set", &format!("bootfs={root}"), "rpool"]);
    zfs(&["umount", root]);
    let mut steps = 0;
    loop {
        let outgoing = machine.files(root);
        let kept = format!("boot{steps}");
        let is_over = machine.reset_killed_after(&keep(&kept), steps);
        // `state.skip`: only what is left over.
        let skip = Reset {
            source: None,
            ..keep("none")
        };
        machine.reset(&skip).unwrap();
        let facts = machine.facts();
        assert_eq!(
            (facts.leftovers, facts.refusals),
            (vec![], vec![]),
            "{steps}"
        );
        assert_eq!(machine.reset(&skip).unwrap(), [], "{steps}");
        let past = machine.past(&kept);
        if facts.past_roots.iter().any(|p| p.name.as_str() == kept) {
            assert_eq!(machine.files(&past), outgoing, "{steps}");
            assert_eq!(machine.files(root), BLANK, "{steps}");
            assert_eq!(machine.local(&past, "reservation"), "0");
        } else {
            assert_eq!(machine.files(root), outgoing, "{steps}");
        }
        for (property, value) in [
            ("canmount", "on"),
            ("mountpoint", "/rpool-root"),
            ("reservation", "1048576"),
            ("org.state:pending-canmount", ""),
            ("org.state:pending-reservation", ""),
        ] {
            assert_eq!(machine.local(root, property), value, "{steps}: {property}");
        }
        let bootfs = run("zpool", &["get", "-Hp", "-o", "value", "bootfs", "rpool"]);
        assert_eq!(bootfs.trim_end(), root);
        assert!(!Path::new("/proc/self/mounts").metadata().unwrap().is_dir());
        machine.write(root, "clutter", &kept);
        if is_over {
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 9);
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_an_unfinished_root_that_was_used_is_erased() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    assert!(!machine.reset_killed_after(&keep("a"), 3)); // create, rename, clone
    let leftover = Leftover::Outgoing {
        name: machine.past("a"),
    };
    assert_eq!(machine.facts().leftovers, [leftover]);
    // The program was killed there, and the machine booted on.
    machine.write(root, "secret", "1");
    machine.reset(&keep("b")).unwrap();
    assert_eq!(machine.files(root), BLANK);
    assert_eq!(
        machine.files(&machine.past("b")),
        ["etc/installed=yes", "secret=1"]
    );
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_giving_up_rolls_back() {
    let root = "rpool/root";
    let machine = Machine::installed(root);
    let user = "rpool/root@by user";
    zfs(&["snapshot", user]);
    zfs(&["bookmark", user, "rpool/root#mark"]);
    zfs(&["hold", "keep me", user]);
    let held = |by: &str| Refusal::Held {
        snapshot: user.into(),
        by: vec![by.into()],
    };
    assert_eq!(refused(machine.reset(&give_up())), held("keep me"));
    zfs(&["release", "keep me", user]);
    zfs(&["clone", user, "rpool/other"]);
    assert_eq!(refused(machine.reset(&give_up())), held("rpool/other"));
    assert_eq!(machine.files(root), ["clutter=0", BLANK[0]]);
    zfs(&["destroy", "rpool/other"]);
    let steps = machine.reset(&give_up()).unwrap();
    let steps: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        steps,
        [
            "destroy rpool/root@by user",
            "destroy rpool/root#mark",
            "roll back to rpool/root@blank",
        ]
    );
    assert_eq!(machine.files(root), BLANK);
    // Past roots do not stand in the way.
    machine.write(root, "clutter", "1");
    machine.reset(&keep("a")).unwrap();
    machine.write(root, "clutter", "2");
    machine.reset(&give_up()).unwrap();
    assert_eq!(machine.files(root), BLANK);
    assert_eq!(machine.files(&machine.past("a")), ["clutter=1", BLANK[0]]);
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_mounted_root_is_refused() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    for reset in [keep("a"), give_up()] {
        let refusal = machine.mounted(root, |at| (refused(machine.reset(&reset)), at.to_owned()));
        let expected = Refusal::RootMounted {
            root: root.into(),
            at: refusal.1,
        };
        assert_eq!(refusal.0, expected);
    }
    // In a mount namespace of somebody else, too.
    let mut elsewhere = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c"])
        .arg(format!(
            "mount -i -t zfs {root} /mnt && touch /tmp/ready && exec sleep 60"
        ))
        .spawn()
        .unwrap();
    while !Path::new("/tmp/ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let refusal = refused(machine.reset(&keep("a")));
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    let expected = Refusal::RootMounted {
        root: root.into(),
        at: "/mnt".into(),
    };
    assert_eq!(refusal, expected);
    assert_eq!(machine.files(root), ["clutter=0", BLANK[0]]);
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_children_come_back_blank_or_are_refused() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    let child = "rpool/local/root/var log";
    zfs(&["create", "-o", "mountpoint=legacy", "-o", "atime=on", child]);
    for reset in [keep("a"), give_up()] {
        let expected = Refusal::ChildWithoutBlank {
            child: child.into(),
        };
        assert_eq!(refused(machine.reset(&reset)), expected);
    }
    machine.write(child, "log/installed", "yes");
    zfs(&["snapshot", &format!("{child}@blank")]);
    for boot in ["a", "b"] {
        machine.write(root, "clutter", boot);
        machine.write(child, "clutter", boot);
        machine.reset(&keep(boot)).unwrap();
        assert_eq!(machine.files(root), BLANK);
        assert_eq!(machine.files(child), ["log/installed=yes"]);
        assert_eq!(machine.local(child, "atime"), "on");
        let past = format!("{}/var log", machine.past(boot));
        let kept = format!("clutter={boot}");
        assert_eq!(machine.files(&past), [&kept, "log/installed=yes"]);
    }
    machine.write(child, "clutter", "c");
    machine.reset(&give_up()).unwrap();
    assert_eq!(machine.files(child), ["log/installed=yes"]);
    zfs(&["create", "-V", "1M", "rpool/local/root/swap"]);
    let expected = Refusal::InsideRoot {
        what: "rpool/local/root/swap".into(),
        root: root.into(),
    };
    assert_eq!(refused(machine.reset(&keep("c"))), expected);
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_encrypted_roots_stay_under_their_key() {
    let key = "/tmp/key";
    std::fs::write(key, "a".repeat(32)).unwrap();
    let location = format!("keylocation=file://{key}");
    let encrypted = [
        "-o",
        "encryption=on",
        "-o",
        "keyformat=raw",
        "-o",
        &location,
    ];
    let root = "rpool/safe/root";
    let machine = Machine::bare(root);
    zfs(&[&["create"], &encrypted[..], &["rpool/safe"]].concat());
    zfs(&["create", "-o", "mountpoint=legacy", root]);
    let has_key = |dataset: &str| {
        let args = [
            "get",
            "-Hp",
            "-o",
            "value",
            "encryptionroot,keystatus",
            dataset,
        ];
        assert_eq!(zfs(&args), "rpool/safe\navailable\n", "{dataset}");
    };
    machine.write(root, "etc/installed", "yes");
    zfs(&["snapshot", &format!("{root}@blank")]);
    for boot in ["a", "b"] {
        machine.write(root, "clutter", boot);
        machine.reset(&keep(boot)).unwrap();
        assert_eq!(machine.files(root), BLANK);
        has_key(root);
        has_key(&machine.past(boot));
    }
    machine.write(root, "clutter", "c");
    // The next boot has no key yet when it resets root.
    run("zpool", &["export", "rpool"]);
    run("zpool", &["import", "-N", "-d", &machine.disk(), "rpool"]);
    let survey = machine.engine().survey().unwrap();
    assert_eq!(survey.blank_has_init, None);
    machine.reset(&keep("c")).unwrap();
    zfs(&["load-key", "rpool/safe"]);
    assert_eq!(machine.files(root), BLANK);
    for past in ["a", "b", "c"] {
        let kept = format!("clutter={past}");
        assert_eq!(machine.files(&machine.past(past)), [&kept, BLANK[0]]);
    }
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_root_with_its_own_key_is_rolled_back_only() {
    let key = "/tmp/key";
    std::fs::write(key, "a".repeat(32)).unwrap();
    let root = "rpool/safe/root";
    let machine = Machine::bare(root);
    let location = format!("keylocation=file://{key}");
    let encrypted = [
        "-o",
        "encryption=on",
        "-o",
        "keyformat=raw",
        "-o",
        &location,
    ];
    zfs(&["create", "rpool/safe"]);
    zfs(&[
        &["create"],
        &encrypted[..],
        &["-o", "mountpoint=legacy", root],
    ]
    .concat());
    machine.write(root, "etc/installed", "yes");
    zfs(&["snapshot", &format!("{root}@blank")]);
    machine.write(root, "clutter", "1");
    assert_eq!(
        refused(machine.reset(&keep("a"))).to_string(),
        "rpool/safe/root has a key of its own, which its successor would lose"
    );
    machine.reset(&give_up()).unwrap();
    assert_eq!(machine.files(root), BLANK);

    // Before the key is loaded there is nothing to lose.
    machine.write(root, "clutter", "2");
    run("zpool", &["export", "rpool"]);
    let disk = machine.disk();
    run("zpool", &["import", "-N", "-d", &disk, "rpool"]);
    machine.reset(&keep("early-1")).unwrap();
    machine.reset(&keep("early-2")).unwrap();
    zfs(&["load-key", root]);
    assert_eq!(machine.files(root), BLANK);
    assert_eq!(
        machine.files(&machine.past("early-1")),
        ["clutter=2", BLANK[0]]
    );
    assert_eq!(machine.files(&machine.past("early-2")), BLANK);
    for past in ["early-1", "early-2"] {
        let mut engine = machine.engine();
        let survey = engine.survey().unwrap();
        let plan = engine.plan_delete(&survey, &name(past)).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    }
    assert_eq!(machine.files(root), BLANK);

    // Why: the day this fails, the refusal can go.
    zfs(&["rename", "-u", root, "rpool/safe/a"]);
    zfs(&[
        "clone",
        "-o",
        "mountpoint=legacy",
        "rpool/safe/a@blank",
        root,
    ]);
    zfs(&["promote", root]);
    let args = [
        "get",
        "-Hp",
        "-o",
        "value",
        "encryptionroot,keystatus",
        root,
    ];
    assert_eq!(zfs(&args), format!("{root}\nunavailable\n"));
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_failed_clone_gives_root_its_name_back() {
    let root = "rpool/local/root";
    let machine = Machine::bare(root);
    zfs(&["create", "-p", "-o", "mountpoint=legacy", root]);
    zfs(&["set", "compression=off", root]);
    machine.write(root, "big", &"x".repeat(4 << 20));
    zfs(&["snapshot", &format!("{root}@blank")]);
    machine.mounted(root, |top| std::fs::remove_file(top.join("big")).unwrap());
    // Blank holds more than root may: the clone cannot have this property.
    zfs(&["set", "refquota=1M", root]);
    let guid = machine.guid(root);
    let error = machine.reset(&keep("a")).unwrap_err();
    assert!(matches!(error, Error::Tool { .. }), "{error}");
    assert_eq!(machine.guid(root), guid);
    let facts = machine.facts();
    assert_eq!((facts.past_roots, facts.leftovers), (vec![], vec![]));
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_past_root_is_booted_and_stays() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    machine.reset(&keep("a")).unwrap();
    machine.write(root, "clutter", "b");
    let boot_past = |past: &str, kept: &str| Reset {
        retire: Retire::Keep(name(kept)),
        source: Some(Source::Past(name(past))),
        needs_init: false,
    };
    machine.reset(&boot_past("a", "b")).unwrap();
    assert_eq!(machine.files(root), ["clutter=0", BLANK[0]]);
    assert_eq!(machine.local(root, "readonly"), "");
    machine.write(root, "clutter", "changed");
    assert_eq!(machine.files(&machine.past("a")), ["clutter=0", BLANK[0]]);
    assert_eq!(machine.facts().leftovers, []);

    // Once more the same one, then back to blank, then without keeping.
    machine.reset(&boot_past("a", "c")).unwrap();
    assert_eq!(machine.files(root), ["clutter=0", BLANK[0]]);
    machine.reset(&keep("d")).unwrap();
    assert_eq!(machine.files(root), BLANK);
    machine.reset(&boot_past("c", "e")).unwrap();
    assert_eq!(machine.files(root), ["clutter=changed", BLANK[0]]);
    machine.reset(&give_up()).unwrap();
    assert_eq!(machine.files(root), BLANK);
    let facts = machine.facts();
    assert_eq!((facts.leftovers, facts.refusals), (vec![], vec![]));
    let pasts = ["a", "b", "c", "d", "e"].map(|p| (p, machine.files(&machine.past(p))));

    // Every one can go, while the others stay as they are.
    let mut engine = machine.engine();
    for past in ["b", "a", "e", "c", "d"] {
        let survey = engine.survey().unwrap();
        let plan = engine.plan_delete(&survey, &name(past)).unwrap();
        engine.recheck(&survey).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
        assert_eq!(machine.files(root), BLANK);
        let left = machine.facts().past_roots;
        for (past, files) in &pasts {
            if left.iter().any(|p| p.name.as_str() == *past) {
                assert_eq!(&machine.files(&machine.past(past)), files, "{past}");
            }
        }
    }
    machine.write(root, "clutter", "f");
    machine.reset(&keep("f")).unwrap();
    assert_eq!(machine.files(root), BLANK);
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_new_blank_is_taken() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    machine.reset(&keep("a")).unwrap();
    let mut content = vec![BLANK[0].to_owned()];
    let mut engine = machine.engine();
    for n in 1..4 {
        machine.write(root, &format!("upgrade{n}"), "1");
        content.push(format!("upgrade{n}=1"));
        let survey = engine.survey().unwrap();
        let plan = engine.plan_take_blank(&survey).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
        machine.write(root, "clutter", "x");
        machine.reset(&keep(&format!("new{n}"))).unwrap();
        assert_eq!(machine.files(root), content);
        assert_eq!(
            machine.files(&format!("{root}@blank-previous")),
            content[..n],
        );
    }
    assert_eq!(machine.facts().leftovers, []);
    // What past roots need is kept for them and goes after them.
    for past in ["a", "new1", "new2"] {
        let survey = engine.survey().unwrap();
        let plan = engine.plan_delete(&survey, &name(past)).unwrap();
        state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    }
    let survey = engine.survey().unwrap();
    let plan = engine.plan_take_blank(&survey).unwrap();
    state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    let snapshots = zfs(&[
        "list",
        "-H",
        "-t",
        "snapshot",
        "-o",
        "name",
        "-s",
        "createtxg",
        root,
    ]);
    assert_eq!(
        snapshots,
        "rpool/local/root@blank-previous\nrpool/local/root@blank\n"
    );
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_an_altroot_is_not_carried_over() {
    let root = "rpool/root";
    let machine = Machine::installed(root);
    zfs(&["set", "canmount=noauto", root]);
    zfs(&["set", "mountpoint=/", root]);
    run("zpool", &["export", "rpool"]);
    let disk = machine.disk();
    run(
        "zpool",
        &["import", "-N", "-R", "/tmp/sysroot", "-d", &disk, "rpool"],
    );
    machine.reset(&keep("a")).unwrap();
    run("zpool", &["export", "rpool"]);
    run("zpool", &["import", "-N", "-d", &disk, "rpool"]);
    assert_eq!(machine.local(root, "mountpoint"), "/");
    assert_eq!(machine.local(root, "canmount"), "noauto");
}

fn read(view: &View) -> Vec<String> {
    use std::os::fd::AsRawFd;
    files(Path::new(&format!(
        "/proc/self/fd/{}",
        view.dir.as_raw_fd()
    )))
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_everything_can_be_read_without_being_mounted() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    let child = "rpool/local/root/var";
    zfs(&["create", "-o", "mountpoint=legacy", child]);
    machine.write(child, "log", "1");
    zfs(&["snapshot", &format!("{child}@blank")]);
    machine.reset(&keep("a")).unwrap();
    machine.write(root, "sbin/init", "#!");
    machine.write(child, "log", "2");
    let engine = machine.engine();
    assert_eq!(engine.survey().unwrap().blank_has_init, Some(false));

    let blank = engine.open(&Source::Blank).unwrap();
    assert_eq!(read(&blank), BLANK);
    assert!(blank.is_frozen);
    let past = engine.open(&Source::Past(name("a"))).unwrap();
    assert_eq!(read(&past), ["clutter=0", BLANK[0]]);
    let live = engine.open_root().unwrap();
    assert_eq!(read(&live), [BLANK[0], "sbin/init=#!"]);
    assert_eq!(live.grafts[0].at, Path::new("var"));
    drop((blank, past));
    drop(live);
    // Mounted for writing, as the running root is.
    machine.mounted(root, |top| {
        std::fs::write(top.join("now"), "1").unwrap();
        let live = engine.open_root().unwrap();
        assert!(!live.is_frozen);
        assert_eq!(read(&live), [BLANK[0], "now=1", "sbin/init=#!"]);
    });
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" zfs "), "{mounts}");

    let survey = engine.survey().unwrap();
    let plan = engine.plan_take_blank(&survey).unwrap();
    let mut engine = machine.engine();
    state_api::execute(&mut engine, &plan, &state_api::Never, |_| ()).unwrap();
    assert_eq!(engine.survey().unwrap().blank_has_init, Some(true));
}

#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_what_is_not_there_is_said() {
    let root = "rpool/local/root";
    let machine = Machine::bare(root);
    let facts = machine.facts();
    assert!(!facts.exists);
    let no_blank = |root_exists| Refusal::NoBlank {
        blank: format!("{root}@blank"),
        root_exists,
    };
    assert_eq!(refused(machine.reset(&keep("a"))), no_blank(false));
    zfs(&["create", "-p", "-o", "mountpoint=legacy", root]);
    assert_eq!(refused(machine.reset(&keep("a"))), no_blank(true));
    zfs(&["snapshot", &format!("{root}@blank")]);

    // Between the look and the act.
    let engine = machine.engine();
    let survey = engine.survey().unwrap();
    zfs(&["set", "a:b=x\ny\tz", root]);
    assert!(matches!(engine.recheck(&survey), Err(Error::Stale { .. })));
    let survey = engine.survey().unwrap();
    zfs(&["destroy", &format!("{root}@blank")]);
    zfs(&["snapshot", &format!("{root}@blank")]);
    assert!(matches!(engine.recheck(&survey), Err(Error::Stale { .. })));
    // A value may hold anything.
    machine.reset(&keep("a")).unwrap();
    assert_eq!(machine.local(root, "a:b"), "x\ny\tz");

    run("zpool", &["export", "rpool"]);
    let missing = machine.engine().survey().unwrap_err();
    assert_eq!(missing.to_string(), "pool rpool does not exist");
    let disk = machine.disk();
    let read_only = ["import", "-N", "-o", "readonly=on", "-d", &disk, "rpool"];
    run("zpool", &read_only);
    let expected = Refusal::ReadOnly {
        what: "pool rpool".into(),
    };
    assert_eq!(refused(machine.reset(&keep("b"))), expected);
}

//! What a reset does to root, its blank and its past roots.

use crate::machine::{Machine, give_up, keep, name, run, zfs};
use crate::{BLANK, refused};
use state_api::{Refusal, Reset, Retire, RootBackend, Source};

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
        assert!(!machine.exists("rpool/local/root.state-new"));
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

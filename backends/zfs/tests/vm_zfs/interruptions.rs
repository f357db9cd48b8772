//! Resets that stop in the middle.

use crate::BLANK;
use crate::machine::{Machine, keep, run, zfs};
use state_api::{Error, Leftover, Reset};
use std::path::Path;

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

/// The pool makes a clone first and sets its properties then: a replayed write log showed one
/// without them.
#[test]
#[ignore = "needs ZFS: tests/vm/zfs"]
fn vm_a_clone_without_its_properties_gets_them_and_is_not_mounted() {
    let root = "rpool/local/root";
    let machine = Machine::installed(root);
    zfs(&["set", "canmount=noauto", "a:b=c d", "quota=256M", root]);
    zfs(&["set", "mountpoint=/rpool-root", root]);
    zfs(&["set", "canmount=on", root]);
    assert!(!machine.reset_killed_after(&keep("a"), 2)); // create, rename
    zfs(&["clone", &format!("{}@blank", machine.past("a")), root]);
    let skip = Reset {
        source: None,
        ..keep("none")
    };
    machine.reset(&skip).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root), "{mounts}");
    for (property, value) in [
        ("canmount", "on"),
        ("mountpoint", "/rpool-root"),
        ("a:b", "c d"),
        ("quota", "268435456"),
        ("org.state:pending-canmount", ""),
    ] {
        assert_eq!(machine.local(root, property), value, "{property}");
    }
    assert_eq!(machine.files(root), BLANK);
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

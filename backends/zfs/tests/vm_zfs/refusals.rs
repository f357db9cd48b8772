//! Resets that do not begin.

use crate::machine::{Machine, give_up, keep, run, zfs};
use crate::{BLANK, refused};
use state_api::{Error, Refusal, RootBackend};
use std::path::Path;

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

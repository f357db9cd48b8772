//! Blanks: taken anew, and read.

use crate::BLANK;
use crate::machine::{Machine, files, keep, name, zfs};
use state_api::{RootBackend, Source, View};
use std::path::Path;

fn read(view: &View) -> Vec<String> {
    use std::os::fd::AsRawFd;
    files(Path::new(&format!(
        "/proc/self/fd/{}",
        view.dir.as_raw_fd()
    )))
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

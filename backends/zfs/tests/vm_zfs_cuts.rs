//! A reset whose power is cut after each of its steps. `tests/vm/zfs` runs the two halves in two
//! guests with the same disk, and kills the first where it says so.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the script waits for a line")]

#[path = "vm/machine.rs"]
mod machine;

use machine::{Machine, keep, run, zfs};
use state_api::Reset;

const ROOT: &str = "rpool/local/root";
const CHILD: &str = "rpool/local/root/var";

fn cut() -> usize {
    let steps = std::env::var("STATE_CUT").expect("the number of steps before the cut");
    steps.parse().unwrap()
}

#[test]
#[ignore = "needs ZFS and a guest to kill: tests/vm/zfs"]
fn vm_before_the_cut() {
    run("sh", &["-c", "echo ,, | sfdisk -q /dev/vda"]);
    let machine = Machine::on("/dev/vda1", ROOT);
    zfs(&["create", "-p", "-o", "mountpoint=legacy", ROOT]);
    zfs(&["create", "-o", "mountpoint=legacy", CHILD]);
    for dataset in [ROOT, CHILD] {
        machine.write(dataset, "blank", dataset);
        zfs(&["snapshot", &format!("{dataset}@blank")]);
        machine.write(dataset, "clutter", dataset);
    }
    run("zpool", &["set", &format!("bootfs={ROOT}"), "rpool"]);
    run("zpool", &["sync"]);
    machine.reset_killed_after(&keep("a"), cut());
    println!("cut here");
    std::thread::sleep(std::time::Duration::from_secs(3600));
}

#[test]
#[ignore = "needs ZFS and the disk of a killed guest: tests/vm/zfs"]
fn vm_after_the_cut() {
    run("zpool", &["import", "-N", "-d", "/dev/vda1", "rpool"]);
    let machine = Machine::imported(ROOT);
    let blank = |dataset: &str| [format!("blank={dataset}")];
    let lived_in = |dataset: &str| [format!("blank={dataset}"), format!("clutter={dataset}")];
    let skip = Reset {
        source: None,
        ..keep("none")
    };
    machine.reset(&skip).unwrap();
    let facts = machine.facts();
    assert_eq!((facts.leftovers, facts.refusals), (vec![], vec![]));
    assert_eq!(
        machine.reset(&skip).unwrap(),
        [],
        "there is nothing left to do"
    );
    let past = machine.past("a");
    if facts.past_roots.is_empty() {
        assert!(cut() < 2, "it was renamed");
        assert_eq!(machine.files(ROOT), lived_in(ROOT));
        assert_eq!(machine.files(CHILD), lived_in(CHILD));
    } else {
        assert_eq!(machine.files(ROOT), blank(ROOT));
        assert_eq!(machine.files(CHILD), blank(CHILD));
        assert_eq!(machine.files(&past), lived_in(ROOT));
        assert_eq!(machine.files(&format!("{past}/var")), lived_in(CHILD));
    }
    let bootfs = run("zpool", &["get", "-Hp", "-o", "value", "bootfs", "rpool"]);
    assert_eq!(bootfs.trim_end(), ROOT);
    machine.reset(&keep("b")).unwrap();
    assert_eq!(machine.files(ROOT), blank(ROOT));
    assert_eq!(machine.files(CHILD), blank(CHILD));
}

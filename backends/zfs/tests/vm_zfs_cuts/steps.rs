//! The guest is killed after each step of a reset. What its disk acknowledged is all there is.

use crate::machine::{Machine, keep, run};
use crate::scene::{self, ROOT};

fn cut() -> usize {
    let steps = std::env::var("STATE_CUT").expect("the number of steps before the cut");
    steps.parse().unwrap()
}

#[test]
#[ignore = "needs ZFS and a guest to kill: tests/vm/zfs"]
fn vm_before_the_cut() {
    let machine = scene::installed();
    machine.reset_killed_after(&keep("a"), cut());
    println!("cut here");
    std::thread::sleep(std::time::Duration::from_secs(3600));
}

#[test]
#[ignore = "needs ZFS and the disk of a killed guest: tests/vm/zfs"]
fn vm_after_the_cut() {
    run("zpool", &["import", "-N", "-d", "/dev/vda1", "rpool"]);
    let machine = Machine::imported(ROOT);
    let is_put_away = scene::check(&machine, &keep("a"));
    // Create and two clones come before root is renamed.
    assert_eq!(is_put_away, cut() > 3);
}

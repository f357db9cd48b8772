//! Every write of a reset is logged, with every flush, below the guest; then the disk is made again
//! as any cut would have left it, with what was not flushed lost.

use crate::machine::{Machine, run};
use crate::scene::{self, ROOT};
use state_api::Reset;
use state_testing::write_log::{Cut, Recording};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the partition begins that [`scene::installed`] makes.
const PARTITION: &str = "1048576";

fn asked() -> Reset {
    scene::ask(&std::env::var("STATE_RESET").expect("what is reset, and how"))
}

#[test]
#[ignore = "needs ZFS and a disk that stays: tests/vm/zfs"]
fn vm_a_pool_is_made() {
    scene::installed().exported();
}

#[test]
#[ignore = "needs ZFS and a disk that is logged: tests/vm/zfs"]
fn vm_a_reset_is_logged() {
    run("zpool", &["import", "-N", "-d", "/dev/vda1", "rpool"]);
    let machine = Machine::imported(ROOT);
    machine.reset(&asked()).unwrap();
    machine.left_as_it_is();
}

#[test]
#[ignore = "needs ZFS, a disk and the log of what was written to it: tests/vm/zfs"]
fn vm_every_cut_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    run(
        "cp",
        &["--sparse=always", "/dev/vda", image.to_str().unwrap()],
    );
    let log = fs::read("/dev/vdb").unwrap();
    let recording = Recording::of(&image, &log).unwrap();
    let (writes, flushes) = recording.counts();
    let mut cuts = recording.all();
    println!("{writes} writes, {flushes} flushes, {} cuts", cuts.len());
    if let Ok(most) = std::env::var("STATE_CUTS") {
        cuts = sample(cuts, most.parse().unwrap());
    }
    let mut put_away = 0;
    for cut in &cuts {
        println!("{}", cut.what);
        let disk = recording.image(cut).unwrap();
        put_away += usize::from(comes_back(disk.path()));
    }
    println!(
        "{} cuts, root was put away in {put_away}: all came back",
        cuts.len()
    );
    assert!(flushes > 3, "nothing was logged");
}

/// So many of the cuts, evenly, with the first and the last.
fn sample(cuts: Vec<Cut>, most: usize) -> Vec<Cut> {
    let last = cuts.len() - 1;
    let most = most.clamp(2, cuts.len());
    let taken: BTreeSet<usize> = (0..most).map(|n| n * last / (most - 1)).collect();
    let all = cuts.into_iter().enumerate();
    all.filter(|(n, _)| taken.contains(n))
        .map(|(_, cut)| cut)
        .collect()
}

fn comes_back(disk: &Path) -> bool {
    let disk = disk.to_str().unwrap();
    let device = run(
        "losetup",
        &["--find", "--show", "--offset", PARTITION, disk],
    );
    let device = device.trim_end();
    run("zpool", &["import", "-N", "-d", device, "rpool"]);
    let machine = Machine::imported(ROOT);
    let is_put_away = scene::check(&machine, &asked());
    machine.exported();
    run("losetup", &["--detach", device]);
    is_put_away
}

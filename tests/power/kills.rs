//! A restore that is killed at any instant: the old tree is there or the new one is, whole, and the
//! next run finishes.

use super::restore::{Machine, prepare};
use state_linux::loopback::Loop;
use state_testing::disk;
use std::io::Write as _;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

/// Numbers in 0..1, the same for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        let step = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = step.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

const RESTORE: [&str; 4] = ["restore", "--allow-unsigned", "--forget-replaced", "--json"];

/// Kills a restore into `machine`'s store at STATE_KILLS instants that are drawn from STATE_SEED.
fn kills(machine: &Machine, filesystem: &'static str) {
    let (kills, seed) = (number("STATE_KILLS", 3), number("STATE_SEED", 1));
    let mut random = Random(seed);
    let image = disk::image(filesystem, 256);
    let device = Loop::attach(image.path(), false).expect("this needs loop devices");
    prepare(machine, device.path());
    let mount = || machine.mount(device.path());
    let mounted = mount();
    for n in 0..150 {
        mounted.put(
            &format!("var/lib/app/{n:03}"),
            format!("archived {n} ").repeat(50),
        );
    }
    for n in 0..6 {
        let noise: Vec<u8> = std::iter::repeat_with(|| random.next().to_bits() as u8)
            .take(2 << 20)
            .collect();
        mounted.put(&format!("var/lib/app/large-{n}"), noise);
    }
    mounted.state(&["backup"]);
    mounted.state(&RESTORE); // what nobody declared is not in it
    let restored = mounted.store();
    mounted.state(&["undo"]);
    mounted.put("var/lib/app/007", "present");
    mounted.put("var/lib/app/new", "present");
    let before = mounted.store();
    let begun = Instant::now();
    mounted.state(&RESTORE);
    let long = begun.elapsed().mul_f64(1.05);
    assert_eq!(mounted.store().differences(&restored), [""; 0]);
    mounted.state(&["undo"]);
    assert_eq!(mounted.store().differences(&before), [""; 0]);
    drop(mounted);

    let (mut swapped, mut resumed) = (0, 0);
    for _ in 0..kills {
        let after = long.mul_f64(random.next());
        let mounted = mount();
        let mut run = (machine.command(&RESTORE).stdout(Stdio::null()))
            .spawn()
            .unwrap();
        sleep(after);
        run.kill().unwrap();
        run.wait().unwrap();
        drop(mounted);
        // What is there is what a boot would find.
        let mounted = mount();
        mounted.state(&["mount"]);
        let now = mounted.store();
        drop(mounted);
        let mounted = mount();
        if now == restored {
            swapped += 1;
        } else {
            assert_eq!(
                now.differences(&before),
                [""; 0],
                "killed after {after:?} of {long:?}"
            );
            let said = mounted.state(&RESTORE);
            resumed += u64::from(said.contains("\"is_resumed\": true"));
            assert_eq!(mounted.store().differences(&restored), [""; 0]);
        }
        mounted.state(&["undo"]);
        assert_eq!(mounted.store().differences(&before), [""; 0]);
    }
    let mut out = std::io::stderr();
    writeln!(
        out,
        "{kills} kills within {long:?}: {swapped} after the exchange, {resumed} resumed"
    )
    .unwrap();
    assert!(
        kills < 20 || (resumed > kills / 3),
        "{resumed} of {kills} resumed"
    );
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_killed_restores_of_the_top_of_a_filesystem() {
    kills(&Machine::new("ext4", None), "ext4");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_killed_restores_of_a_directory() {
    kills(&Machine::within("ext4"), "ext4");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_killed_restores_of_a_subvolume() {
    kills(&Machine::new("btrfs", Some("persist")), "btrfs");
}

//! `state demo` as root, on loop devices: it plays to the end, and whatever ends it leaves nothing
//! behind.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// One at a time: what is left behind is seen on the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

/// The engines that a machine without ZFS can show.
const BACKENDS: &[&str] = &["btrfs", "tmpfs"];

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
    command.arg("demo").args(args).stdin(Stdio::null());
    command
}

/// What a demo could leave behind: loop devices over files of its kind, mounts that we can see,
/// files in the places that it uses.
fn traces() -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    for device in fs::read_dir("/sys/block").unwrap() {
        let path = device.unwrap().path();
        if let Ok(file) = fs::read_to_string(path.join("loop/backing_file"))
            && (file.contains("/var/tmp/#") || file.contains("state-demo"))
        {
            traces.insert(format!("{} {file}", path.display()));
        }
    }
    for line in fs::read_to_string("/proc/self/mounts").unwrap().lines() {
        if line.starts_with("the\\040") || line.contains("/mnt/machine") {
            traces.insert(line.to_owned());
        }
    }
    for dir in ["/tmp", "/var/tmp", "/mnt"] {
        for name in fs::read_dir(dir).unwrap() {
            let name = name.unwrap().path().display().to_string();
            if name.contains("state-demo") {
                traces.insert(name);
            }
        }
    }
    traces
}

/// The kernel takes things apart a moment after their last user is gone.
fn assert_nothing_new(before: &BTreeSet<String>, what: &str) {
    let begun = Instant::now();
    loop {
        let left: Vec<_> = traces().difference(before).cloned().collect();
        if left.is_empty() {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what} left {left:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn plays_to_the_end(args: &[&str]) -> Output {
    let before = traces();
    let output = demo(args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_nothing_new(&before, "a whole demo");
    output
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_demo_plays_to_the_end_and_both_trees_are_equal() {
    let _alone = ALONE.lock().unwrap();
    for &backend in BACKENDS {
        let output = plays_to_the_end(&["--backend", backend, "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["backend"], backend);
        assert_eq!(report["differences"], serde_json::json!([]));
        assert!(report["paths"].as_u64().unwrap() > 100, "{report}");
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_demo_fits_a_narrow_log() {
    let _alone = ALONE.lock().unwrap();
    let output = plays_to_the_end(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("The whole life of a machine"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours where there is no terminal"
    );
    let last = text.lines().last().unwrap();
    assert!(
        last.starts_with("Done in ") && last.ends_with("; nothing is left behind."),
        "{last}"
    );
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_demo_that_is_ended_leaves_nothing_behind() {
    use rustix::process::{Pid, Signal, kill_process};
    let _alone = ALONE.lock().unwrap();
    let before = traces();
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        for pause_ms in [10, 150, 400, 800] {
            let mut run: Child = demo(&[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(pause_ms));
            if run.try_wait().unwrap().is_none() {
                kill_process(Pid::from_child(&run), signal).unwrap();
            }
            let code = run.wait().unwrap().code();
            let expected: &[_] = match signal {
                Signal::KILL => &[None, Some(0)],
                _ => &[None, Some(130), Some(0)], // None: before the signals are caught
            };
            assert!(
                expected.contains(&code),
                "{signal:?} after {pause_ms} ms: {code:?}"
            );
            assert_nothing_new(&before, &format!("{signal:?} after {pause_ms} ms"));
        }
    }
}

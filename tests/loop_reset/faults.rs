//! Filesystems that stand still, and full ones.

use super::machine::Machine;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The filesystem stands still: whoever changes something waits until this is dropped.
pub(crate) struct Frozen(PathBuf);

impl Frozen {
    pub(crate) fn new(machine: &Machine) -> Self {
        let freeze = Command::new("fsfreeze")
            .arg("--freeze")
            .arg(machine.top())
            .status();
        assert!(freeze.expect("this needs util-linux").success());
        Self(machine.top())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thaw = Command::new("fsfreeze")
            .arg("--unfreeze")
            .arg(&self.0)
            .status();
        assert!(thaw.is_ok_and(|status| status.success()));
    }
}

/// Waits until a process waits for the frozen filesystem (state D), and goes on doing so.
pub(crate) fn await_stuck(pid: u32) {
    let begun = Instant::now();
    let mut seen = 0;
    while seen < 10 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never got to the first step"
        );
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let state = stat.rsplit(") ").next().unwrap().chars().next();
        seen = if state == Some('D') { seen + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes until nothing fits any more: data, then small files that live in the metadata.
pub(crate) fn fill(dir: &Path) {
    let mut n = 0;
    for size in [8 << 20, 256 << 10, 4096, 1500, 10] {
        loop {
            let path = dir.join(format!("fill{n}"));
            let written = fs::write(&path, vec![0x5a; size]).and_then(|()| {
                if size >= 256 << 10 {
                    File::open(&path)?.sync_all()
                } else {
                    Ok(())
                }
            });
            n += 1;
            if written.is_err() || n > 50_000 {
                break;
            }
        }
    }
}

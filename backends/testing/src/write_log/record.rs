//! Recording what an act writes.

use super::{Recording, data, parse};
use state_linux::loopback::Loop;
use state_linux::mount;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What cannot be done without, in a test's words.
const NEEDS: &str =
    "this needs qemu-storage-daemon (qemu-utils) with its FUSE export, and /dev/fuse";

/// Lets `act` do something to a block device that begins as `image`, which itself stays as it is,
/// and says what was written to it until `act` returned. What it returns, mounts say, is dropped
/// after that. This thread must have mounts of its own.
///
/// # Panics
/// This needs root, loop devices and `qemu-storage-daemon`.
pub fn record<T>(image: &Path, act: impl FnOnce(&Path) -> T) -> Recording {
    let (size, before) = data(image).expect("an image");
    let dir = tempfile::tempdir_in(super::scratch()).expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let mut recording = Recording {
        size,
        before,
        events: Vec::new(),
    };
    let disk = File::create_new(at("disk")).expect("a copy of the image");
    let nothing = super::Cut {
        what: String::new(),
        applied: Vec::new(),
    };
    recording
        .disk(&nothing, &disk)
        .expect("a copy of the image");
    for name in ["log", "export"] {
        File::create_new(at(name)).expect("a file");
    }
    let daemon = Daemon::start(dir.path(), size);
    let device = Loop::attach(&at("export"), false).expect("this needs loop devices");
    let done = act(device.path());
    let log = fs::read(at("log")).expect("a log");
    recording.events = parse(&log).expect("a log of dm-log-writes");
    drop(done);
    drop(device);
    drop(daemon);
    recording
}

/// `qemu-storage-daemon` with a file that logs what is written to it.
struct Daemon {
    child: Child,
    export: PathBuf,
}

impl Daemon {
    fn start(dir: &Path, size: u64) -> Self {
        let file = |node: &str| {
            // No flush of the daemon's own has to reach this machine's disk.
            format!(
                "driver=file,node-name={node},filename={},cache.no-flush=on",
                dir.join(node).display()
            )
        };
        let export = dir.join("export");
        // It ends with the thread that began it, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-storage-daemon"])
            .args(["--blockdev", &file("disk"), "--blockdev", &file("log")])
            .args([
                "--blockdev",
                "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512",
            ])
            .arg("--export")
            .arg(format!(
                "type=fuse,id=export,node-name=logged,mountpoint={},writable=on",
                export.display()
            ))
            .stdin(Stdio::null())
            .spawn()
            .expect("setpriv, of util-linux");
        let mut daemon = Self { child, export };
        let begun = Instant::now();
        while fs::metadata(&daemon.export).map_or(0, |metadata| metadata.len()) != size {
            let ended = daemon.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{NEEDS}: {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(60), "{NEEDS}");
            std::thread::sleep(Duration::from_millis(5));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        // Its mount outlives it.
        let ended = killed.and_then(|_| mount::unmount_lazily(&self.export));
        if let Err(error) = ended
            && !std::thread::panicking()
        {
            panic!("ending qemu-storage-daemon: {error}");
        }
    }
}

//! Power cuts in the reset of an overlay root, whose layers are on a real ext4 or xfs.

use state::inventory::{self, Inventory};
use state_api::{Never, Reset, Retire, RootBackend, Source, View, execute};
use state_linux::loopback::Loop;
use state_linux::mount::{self, Attributes, Guard};
use state_overlay::{Live, Overlay};
use state_testing::disk::{self, Disk};
use state_testing::write_log;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "layers";

/// What is installed, mounted where root will be; the layers are on a device that is named for
/// each run. Mounts are in a namespace of the test's thread.
struct Machine {
    filesystem: &'static str,
    _lower: Guard,
    // Goes after the mount in it.
    dir: tempfile::TempDir,
    _installed: Disk,
}

/// What there is on the disk with the layers: roots by their names, and the store beside them.
#[derive(Debug, PartialEq)]
struct Found {
    root: Option<Inventory>,
    others: BTreeMap<PathBuf, Inventory>,
    store: Inventory,
}

impl Machine {
    fn new(filesystem: &'static str) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let installed = Disk::new("ext4", 64);
        let at = dir.path().join("at");
        let writable = installed.mount(None, &at);
        fs::create_dir(at.join("etc")).unwrap();
        fs::write(at.join("etc/conf"), "as shipped").unwrap();
        writable.unmount().unwrap();
        let source = [("source", Some(installed.device().as_os_str()))];
        let lower = mount::detached("ext4", &source, Attributes::MOUNT_ATTR_RDONLY).unwrap();
        let lower = Guard::attach(lower, &at).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        Self {
            dir,
            filesystem,
            _lower: lower,
            _installed: installed,
        }
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("at")
    }

    fn engine(&self, device: &Path) -> Overlay<Live> {
        let run = self.dir.path().join("run");
        Overlay::new(Live::open(device, Path::new(DIRECTORY), &self.at(), &run).unwrap())
    }

    fn reset(&self, device: &Path, name: &str) {
        let ask = Reset {
            retire: Retire::Keep(name.parse().unwrap()),
            source: Some(Source::Blank),
            needs_init: false,
        };
        let mut engine = self.engine(device);
        let plan = engine.plan_reset(&engine.survey().unwrap(), &ask).unwrap();
        execute(&mut engine, &plan, &Never, |_| ()).unwrap();
    }

    /// What somebody does who lives on the machine.
    fn live(&self, device: &Path, doing: impl FnOnce(&Path)) {
        self.engine(device).kernel().stack().unwrap();
        doing(&self.at());
        let run = self.dir.path().join("run/overlay");
        for at in [self.at(), run.join("lower"), run.join("upper")] {
            mount::unmount(&at).unwrap();
        }
    }

    fn mount(&self, device: &Path) -> Guard {
        disk::mounted(self.filesystem, device, None, &self.dir.path().join("disk"))
    }

    fn found(&self, device: &Path) -> Found {
        let disk = self.mount(device);
        let at = self.dir.path().join("disk");
        let layers = at.join(DIRECTORY);
        let note = |path: &Path| {
            let view = View::live(File::open(path).ok()?.into());
            Some(inventory::take(&view, &|_| false, &Never).unwrap())
        };
        let past = fs::read_dir(layers.join("past-roots"))
            .into_iter()
            .flatten();
        let others = (past.map(|entry| entry.unwrap().path()))
            .chain([layers.join("root.new")])
            .filter_map(|path| Some((path.clone(), note(&path.join("upper"))?)))
            .collect();
        let found = Found {
            root: note(&layers.join("root/upper")),
            others,
            store: note(&at.join("store")).unwrap(),
        };
        disk.unmount().unwrap();
        found
    }
}

fn sweep(filesystem: &'static str) {
    let machine = Machine::new(filesystem);
    let image = disk::image(filesystem, 320);
    let outgoing = {
        let attached = Loop::attach(image.path(), false).expect("this needs loop devices");
        let device = attached.path();
        machine.reset(device, "20261120T113705Z-6d3f20c1");
        machine.live(device, |root| {
            fs::write(root.join("etc/conf"), "changed").unwrap();
            fs::create_dir_all(root.join("srv/a b")).unwrap();
            fs::write(root.join("srv/a b/file"), "x".repeat(100_000)).unwrap();
        });
        let mounted = machine.mount(device);
        let store = machine.dir.path().join("disk/store");
        fs::create_dir(&store).unwrap();
        fs::write(store.join("key"), "key").unwrap();
        mounted.unmount().unwrap();
        machine.found(device)
    };
    let root = outgoing.root.as_ref().unwrap();
    let recording = write_log::record(image.path(), |device| {
        machine.reset(device, "20261121T113705Z-6d3f20c1");
    });
    let (writes, flushes) = recording.counts();
    assert!(
        writes > 20 && flushes > 8,
        "{writes} writes, {flushes} flushes"
    );

    for cut in recording.all() {
        let image = recording.image(&cut).unwrap();
        let disk = Loop::attach(image.path(), false).unwrap();
        let found = machine.found(disk.path());
        assert_eq!(found.store, outgoing.store, "{cut:?}");
        let is_outgoing = |one: &Inventory| one.differences(root).is_empty();
        let present = found.root.as_ref().expect("there is always a root");
        let is_put_away = found.others.values().any(is_outgoing);
        assert!(
            is_outgoing(present) || present.is_empty() && is_put_away,
            "{cut:?}: {found:?}"
        );

        machine.reset(disk.path(), "20261122T113705Z-6d3f20c1");
        let found = machine.found(disk.path());
        assert!(found.root.unwrap().is_empty(), "the next run after {cut:?}");
        assert!(
            found.others.values().any(is_outgoing),
            "the next run after {cut:?}"
        );
        assert_eq!(found.store, outgoing.store, "the next run after {cut:?}");
        let engine = machine.engine(disk.path());
        let left = engine.plan_tidy(&engine.survey().unwrap()).unwrap();
        assert!(left.is_nothing(), "the next run after {cut:?}: {left:?}");
    }
    // What was reported as done is durable.
    let image = recording.image(&recording.at_the_end()).unwrap();
    let disk = Loop::attach(image.path(), false).unwrap();
    let found = machine.found(disk.path());
    assert!(found.root.unwrap().is_empty());
    assert!(
        found
            .others
            .values()
            .any(|one| one.differences(root).is_empty())
    );
}

#[test]
#[ignore = "needs root, a loop device and qemu-storage-daemon"]
fn loop_write_log_every_cut_in_an_overlay_loses_nothing() {
    sweep("ext4");
    sweep("xfs");
}

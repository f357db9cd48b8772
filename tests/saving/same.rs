//! On btrfs the filesystem says that nothing changed: what it says of what is archived must be
//! what a walk says.

use super::machine::Machine;
use state::ops::{backup, snapshot};
use state::progress::{Progress, Total, Unit};
use state::retention::Reason;
use state_api::Never;
use state_linux::mount::Guard;
use state_testing::disk::{Disk, subvolume};
use state_testing::edits::Edits;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

const EXCLUDE: &str = "[archive]\nexclude = [\"**/cache\", \"**/R\"]\n";

/// A machine whose store is a btrfs subvolume.
struct OnBtrfs {
    mounts: Vec<Guard>,
    machine: Machine,
    _disk: Disk,
}

/// What a backup came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    /// Nothing changed, and nobody looked.
    Told,
    /// Nothing changed, as a walk says.
    Walked,
    /// An archive was made.
    Archive,
}

/// Notes whether a walk was announced.
#[derive(Default)]
struct Watch(AtomicBool);

impl Progress for Watch {
    fn begin(&self, what: &str, _: Unit, _: Total) {
        if what == "looking for changes" {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}

impl OnBtrfs {
    /// The store is this subvolume.
    fn new(path: &str) -> Self {
        let machine = Machine::new();
        let disk = Disk::new("btrfs", 512);
        let top = disk.mount(Some("/"), &machine.path("top"));
        if path != "/" {
            subvolume(&machine.path(&format!("top{path}")));
        }
        let store = disk.mount(Some(path), &machine.store());
        machine.write("root/persist/etc/machine-id", "1");
        machine.write("root/persist/var/lib/app/data", "data");
        machine.write("root/persist/var/lib/app/cache/x", "excluded");
        machine.write("root/persist/srv/orphan", "nobody declared this");
        machine.configure(EXCLUDE);
        Self {
            mounts: vec![top, store],
            machine,
            _disk: disk,
        }
    }

    fn backup(&self) -> Came {
        let watch = Watch::default();
        let cx = self.machine.context(&Never);
        let report = backup::run(&cx, &backup::Options::default(), &watch).unwrap();
        assert!(report.executed && report.targets[0].is_published);
        assert_eq!(report.notes, [""; 0]);
        match (report.id, report.unchanged_since, watch.0.into_inner()) {
            (None, Some(_), false) => Came::Told,
            (None, Some(_), true) => Came::Walked,
            (Some(_), None, _) => Came::Archive,
            other => panic!("{other:?}"),
        }
    }

    /// The snapshots, and why they are kept.
    fn snapshots(&self) -> Vec<(String, Vec<Reason>)> {
        let lists = snapshot::list(&self.machine.context(&Never), None).unwrap();
        let all = lists.into_iter().flat_map(|list| list.snapshots);
        all.map(|one| (one.snapshot.name.to_string(), one.kept_by))
            .collect()
    }

    /// Deletes the one that was kept.
    fn forget(&self) {
        let name = self.snapshots()[0].0.parse().unwrap();
        let prune = snapshot::prune(&self.machine.context(&Never), None, &[name]);
        assert_eq!(prune.unwrap().failures(), 0);
        assert_eq!(self.snapshots(), []);
    }

    fn end(self) {
        for mount in self.mounts.into_iter().rev() {
            mount.unmount().unwrap();
        }
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_nothing_changed_is_told_by_the_filesystem() {
    ["/", "/the store"].into_iter().for_each(is_told);
}

fn is_told(path: &str) {
    let on = OnBtrfs::new(path);
    let machine = &on.machine;
    let store = machine.store();
    let data = store.join("var/lib/app/data");
    let nested = store.join("var/lib/app/nested");
    subvolume(&nested);
    fs::create_dir(nested.join("cache")).unwrap();
    assert_eq!(on.backup(), Came::Archive);
    let first = on.snapshots();
    let newest = |on: &OnBtrfs| on.machine.list().archives.last().unwrap().id.clone();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].0.starts_with(&format!("archive-{}-", newest(&on))));
    assert_eq!(first[0].1, [Reason::Backup]);
    let policy = format!("{EXCLUDE}[snapshots]\nkeep = {{ last = 1 }}\n");
    machine.configure(&policy);
    for _ in 0..2 {
        snapshot::create(&machine.context(&Never), None, None).unwrap();
        snapshot::prune(&machine.context(&Never), None, &[]).unwrap();
    }
    assert!(on.snapshots().contains(&first[0]), "no rule takes it");

    type Edit<'e> = (&'e str, Came, &'e dyn Fn());
    let edits: [Edit<'_>; 16] = [
        ("nothing", Came::Told, &|| {}),
        ("nothing, after the ledger", Came::Told, &|| {}),
        ("what nobody declared", Came::Told, &|| {
            fs::write(store.join("srv/orphan"), "changed").unwrap();
            fs::create_dir(store.join("srv/more")).unwrap();
        }),
        ("what is excluded", Came::Told, &|| {
            fs::write(store.join("var/lib/app/cache/x"), "changed").unwrap();
        }),
        ("content alone, with the old time", Came::Archive, &|| {
            let modified = fs::metadata(&data).unwrap().modified().unwrap();
            fs::write(&data, "atad").unwrap();
            let times = FileTimes::new().set_modified(modified);
            let file = File::options().write(true).open(&data).unwrap();
            file.set_times(times).unwrap();
        }),
        ("nothing, after an archive", Came::Told, &|| {}),
        (
            "what is excluded in a subvolume inside",
            Came::Told,
            &|| {
                fs::write(nested.join("cache/y"), "new").unwrap();
            },
        ),
        ("what is in a subvolume inside", Came::Archive, &|| {
            fs::write(nested.join("z"), "new").unwrap();
        }),
        ("a directory that leads to it", Came::Archive, &|| {
            fs::set_permissions(store.join("var"), Permissions::from_mode(0o700)).unwrap();
        }),
        ("another name of it outside", Came::Archive, &|| {
            fs::hard_link(&data, store.join("srv/more/link")).unwrap();
        }),
        ("a directory with that name is renamed", Came::Told, &|| {
            fs::create_dir(store.join("srv/deep")).unwrap();
            fs::rename(store.join("srv/more"), store.join("srv/deep/less")).unwrap();
        }),
        ("it is written by that name", Came::Archive, &|| {
            fs::write(store.join("srv/deep/less/link"), "by another name").unwrap();
        }),
        ("a directory becomes another", Came::Archive, &|| {
            fs::rename(store.join("var/lib/app"), store.join("srv/app")).unwrap();
        }),
        ("it comes back", Came::Archive, &|| {
            fs::rename(store.join("srv/app"), store.join("var/lib/app")).unwrap();
        }),
        ("another selection", Came::Walked, &|| {
            machine.configure("[archive]\nexclude = [\"**/cache\", \"**/S\"]\n");
        }),
        ("the first one again", Came::Told, &|| {
            machine.configure(EXCLUDE)
        }),
    ];
    for (what, came, edit) in &edits {
        edit();
        assert_eq!(on.backup(), *came, "{what}, in {path}");
    }
    on.snapshots().iter().for_each(|(name, why)| {
        assert_eq!(name.starts_with("archive-"), *why == [Reason::Backup]);
    });
    on.end();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_the_filesystem_says_is_what_a_walk_says() {
    let on = OnBtrfs::new("/the store");
    on.machine.configure(&format!(
        "{EXCLUDE}[persist.\"/other\"]\nclass = \"cache\"\ndirectories = [\"/srv/a/b\"]\n"
    ));
    let text = on.machine.read("root/etc/state/state.toml");
    let text = text.replace(
        "[\"/var/lib/app\"]",
        "[\"/var/lib/app\", \"/srv/a\", \"/srv/-rf/a\"]",
    );
    on.machine.write("root/etc/state/state.toml", &text);
    fs::create_dir(on.machine.path("root/other")).unwrap();
    let mut told = 0;
    for seed in 1..=24 {
        let mut edits = Edits::new(seed, &on.machine.store().join("srv"));
        if seed == 1 {
            edits.run(150);
        }
        on.machine.backup().unwrap(); // a snapshot to compare with
        edits.run(1 + usize::try_from(seed).unwrap() % 3);
        edits.close();
        if on.backup() == Came::Told {
            told += 1;
            on.forget();
            assert_eq!(on.backup(), Came::Walked, "seed {seed}");
        }
    }
    assert!(told > 3, "{told} rounds had nothing to compare");
    on.end();
}

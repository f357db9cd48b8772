//! A machine for the tests of this floor: a simulated pool, a scratch directory as its `/`.

use crate::context::{Context, Locked};
use crate::failure::Failure;
use crate::record::{self, Record};
use crate::settings::{PastRoots, Root};
use chrono::{DateTime, Utc};
use state_api::{Interrupt, Never};
use state_testing::SimZfs;
use state_testing::rig::{Rig as _, World};
use state_testing::tree::Tree;
use state_zfs::Zfs;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

pub(super) struct Machine {
    pub(super) pool: SimZfs,
    pub(super) dir: TempDir,
    pub(super) now: DateTime<Utc>,
    pub(super) boot_id: String,
    pub(super) past_roots: PastRoots,
}

impl Machine {
    /// At 2026-11-21 11:37:05 UTC.
    pub(super) fn new() -> Self {
        Self {
            pool: SimZfs::machine(state_testing::zfs::Layout::default()),
            dir: tempfile::tempdir().expect("there is a scratch directory"),
            now: "2026-11-21T11:37:05Z".parse().expect("a time"),
            boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
            past_roots: PastRoots::default(),
        }
    }

    pub(super) fn cx(&self) -> Context<'_> {
        Context {
            root_dir: self.dir.path().to_owned(),
            config_file: None,
            now: self.now,
            boot_id: self.boot_id.clone(),
            interrupt: &Never,
            dry_run: false,
        }
    }

    pub(super) fn dry(&self) -> Context<'_> {
        Context {
            dry_run: true,
            ..self.cx()
        }
    }

    pub(super) fn engine(&self) -> Zfs<SimZfs> {
        Zfs::new(self.pool.clone(), "rpool/local/root", "blank").expect("good names")
    }

    pub(super) fn settings(&self) -> Root {
        Root::Zfs {
            dataset: "rpool/local/root".into(),
            blank: "blank".into(),
            past_roots: self.past_roots,
            on_failure: crate::settings::OnFailure::default(),
        }
    }

    pub(super) fn cmdline(&self, text: &str) {
        let proc = self.dir.path().join("proc");
        std::fs::create_dir_all(&proc).expect("scratch can be written");
        std::fs::write(proc.join("cmdline"), text).expect("scratch can be written");
    }

    pub(super) fn record(&self) -> Option<Record> {
        record::read(&self.cx().run_dir()).expect("a record can be read")
    }

    /// So many days later another boot is under way, its root lived in.
    pub(super) fn boots_again(&mut self, days: i64, note: &str) {
        self.now += chrono::TimeDelta::days(days);
        self.boot_id = format!("{:08x}-0000", self.now.timestamp());
        assert!(self.pool.live(note), "there is a root");
    }
}

/// Interrupts after being asked so many times.
pub(super) struct After(AtomicUsize);

impl After {
    pub(super) fn asked(times: usize) -> Self {
        Self(AtomicUsize::new(times))
    }
}

impl Interrupt for After {
    fn is_set(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }
}

/// Whether a tree is in full under some name.
pub(super) fn holds(world: &World, tree: &Tree) -> bool {
    world
        .root
        .iter()
        .chain(world.past.values())
        .chain(world.strays.values())
        .any(|t| t == tree)
}

/// What an error means to whoever runs the program.
pub(super) fn class(error: &anyhow::Error) -> String {
    let failure = error.downcast_ref::<Failure>();
    let api = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<state_api::Error>());
    let locked = error.downcast_ref::<Locked>();
    match (failure, locked, api) {
        (Some(failure), _, _) => format!("{:?}", failure.class),
        (_, Some(_), _) => "Locked".to_owned(),
        (_, _, Some(error)) => format!("{:?}", error.kind()),
        _ => "Failed".to_owned(),
    }
}

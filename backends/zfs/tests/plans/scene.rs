//! The machines that the plans are made for.

use state_api::{Outcome, Plan, Refusal, Reset, Result, Retire, RootBackend, Source, View};
use state_zfs::{Dataset, DatasetKind, Kernel, Pool, Property, Step, Survey, Zfs, ZfsSnapshot};
use std::path::Path;

/// Planning asks the kernel nothing.
pub(crate) struct NoKernel;

#[rustfmt::skip]
impl Kernel for NoKernel {
    fn pool(&self, _: &str) -> Result<Pool> { unreachable!() }
    fn datasets(&self, _: &str) -> Result<Vec<Dataset>> { unreachable!() }
    fn snapshots(&self, _: &str) -> Result<Vec<ZfsSnapshot>> { unreachable!() }
    fn resolves(&self, _: &str, _: &Path) -> Result<bool> { unreachable!() }
    fn snapshot(&mut self, _: &[String]) -> Result<()> { unreachable!() }
    fn rollback(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn clone_snapshot(&mut self, _: &str, _: &str, _: &[Property]) -> Result<()> { unreachable!() }
    fn promote(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn rename(&mut self, _: &str, _: &str) -> Result<()> { unreachable!() }
    fn create(&mut self, _: &str, _: &[Property]) -> Result<()> { unreachable!() }
    fn destroy(&mut self, _: &str) -> Result<()> { unreachable!() }
    fn set(&mut self, _: &str, _: &[Property]) -> Result<Outcome> { unreachable!() }
    fn inherit(&mut self, _: &str, _: &str) -> Result<Outcome> { unreachable!() }
    fn set_bootfs(&mut self, _: &str, _: &str) -> Result<Outcome> { unreachable!() }
    fn open(&self, _: &str) -> Result<View> { unreachable!() }
}

pub(crate) fn zfs() -> Zfs<NoKernel> {
    Zfs::new(NoKernel, "p/root", "blank").unwrap()
}

/// A dataset made in transaction group `txg`; its guid is the same number.
pub(crate) fn dataset(name: &str, txg: u64) -> Dataset {
    Dataset {
        name: name.into(),
        kind: DatasetKind::Filesystem,
        guid: txg,
        createtxg: txg,
        creation_seconds: 1_000_000_000,
        origin: None,
        mounted_at: Vec::new(),
        encryption_root: None,
        has_loaded_key: true,
        properties: vec![Property::new("mountpoint", "legacy")],
    }
}

pub(crate) fn clone_of(origin: &str, name: &str, txg: u64) -> Dataset {
    Dataset {
        origin: Some(origin.into()),
        ..dataset(name, txg)
    }
}

pub(crate) fn with(dataset: Dataset, properties: &[(&str, &str)]) -> Dataset {
    let properties = properties.iter().map(|(n, v)| Property::new(*n, *v));
    Dataset {
        properties: dataset.properties.into_iter().chain(properties).collect(),
        ..dataset
    }
}

pub(crate) fn retired(dataset: Dataset) -> Dataset {
    with(dataset, &[("canmount", "noauto"), ("readonly", "on")])
}

pub(crate) fn snapshot(name: &str, txg: u64, clones: &[&str]) -> ZfsSnapshot {
    ZfsSnapshot {
        name: name.into(),
        guid: txg,
        createtxg: txg,
        creation_seconds: 1_000_000_000,
        clones: clones.iter().map(|c| (*c).into()).collect(),
        holds: Vec::new(),
    }
}

pub(crate) fn survey(
    root: Vec<Dataset>,
    past: Vec<Dataset>,
    snapshots: Vec<ZfsSnapshot>,
) -> Survey {
    let mut past_roots = Vec::new();
    if !past.is_empty() {
        past_roots.push(dataset("p/past-roots", 15));
        past_roots.extend(past);
    }
    Survey {
        pool: Pool {
            name: "p".into(),
            guid: 1,
            is_read_only: false,
            bootfs: None,
        },
        root,
        past_roots,
        staged: Vec::new(),
        snapshots,
        blank_has_init: Some(false),
    }
}

/// As installed: root with its blank, nothing else.
pub(crate) fn installed() -> Survey {
    let blank = snapshot("p/root@blank", 11, &[]);
    survey(vec![dataset("p/root", 10)], vec![], vec![blank])
}

/// After one reset.
pub(crate) fn in_use() -> Survey {
    survey(
        vec![dataset("p/root", 20)],
        vec![retired(clone_of("p/root@blank", "p/past-roots/a", 10))],
        vec![snapshot("p/root@blank", 11, &["p/past-roots/a"])],
    )
}

pub(crate) fn ask(retire: &str, source: Option<&str>) -> Reset {
    Reset {
        retire: match retire {
            "" => Retire::GiveUp,
            name => Retire::Keep(name.parse().unwrap()),
        },
        source: source.map(|source| match source {
            "" => Source::Blank,
            name => Source::Past(name.parse().unwrap()),
        }),
        needs_init: false,
    }
}

pub(crate) fn text(plan: Result<Plan<Step>>) -> Vec<String> {
    plan.unwrap().steps.iter().map(Step::to_string).collect()
}

pub(crate) fn reset(survey: &Survey, retire: &str, source: Option<&str>) -> Vec<String> {
    text(zfs().plan_reset(survey, &ask(retire, source)))
}

pub(crate) fn refused(plan: Result<Plan<Step>>) -> Refusal {
    match plan {
        Err(state_api::Error::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// A past root was booted: blank stayed with the root that made room for it.
pub(crate) fn past_root_booted() -> Survey {
    let source = "p/past-roots/a@state-source";
    survey(
        vec![clone_of(source, "p/root", 40)],
        vec![
            retired(clone_of("p/past-roots/b@blank", "p/past-roots/a", 10)),
            retired(dataset("p/past-roots/b", 20)),
        ],
        vec![
            snapshot("p/past-roots/b@blank", 11, &["p/past-roots/a"]),
            snapshot(source, 35, &["p/root"]),
        ],
    )
}

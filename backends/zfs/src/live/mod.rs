//! The real ZFS of the running kernel.

mod command;
mod parse;
pub(crate) mod view;

use crate::layout::{below, split};
use crate::name::{check_dataset, check_short, check_snapshot};
use crate::stream;
use crate::{Dataset, Kernel, Pool, Property, ZfsSnapshot};
use command::{reading, zfs, zpool};
pub(crate) use parse::State;
use state_api::{Error, Graft, Outcome, Refusal, Result, View};
use state_linux::mountinfo;
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::Path;
use view::Detached;

/// What a dataset with data in it may be.
const TYPES: &str = "filesystem,volume";

/// The pools that are imported here, looked at and acted on through `zfs(8)` and `zpool(8)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Live(());

impl Live {
    /// The running system's pools.
    pub fn new() -> Self {
        Self(())
    }

    /// Whether a dataset exists, decided without reading what a failed `zfs` says: a dataset
    /// exists when its parent lists it.
    fn exists(&self, dataset: &str) -> Result<bool> {
        let Some((parent, _)) = dataset.rsplit_once('/') else {
            let pools = zpool("listing pools", ["list", "-H", "-o", "name"])?;
            return Ok(pools.lines().any(|pool| pool == dataset));
        };
        if !self.exists(parent)? {
            return Ok(false);
        }
        let args = [
            "list",
            "-H",
            "-d",
            "1",
            "-t",
            "filesystem,volume",
            "-o",
            "name",
            parent,
        ];
        let children = zfs(format!("listing {parent}"), args)?;
        Ok(children.lines().any(|name| name == dataset))
    }

    /// What `args` print about `dataset`; nothing if there is no such dataset.
    fn about(&self, dataset: &str, args: &[&str]) -> Result<String> {
        check_dataset(dataset).map_err(Refusal::BadName)?;
        let args = args.iter().chain([&dataset]);
        match zfs(format!("looking at {dataset}"), args) {
            Err(error @ Error::Tool { .. }) => {
                if self.exists(dataset)? {
                    Err(error)
                } else {
                    Ok(String::new())
                }
            }
            other => other,
        }
    }

    /// Of a pool imported under another root (`import -R`), ZFS shows mount points with that in
    /// front, and would store them so.
    fn without_altroot(&self, below: &str, datasets: &mut [Dataset]) -> Result<()> {
        let mut mount_points: Vec<_> = datasets
            .iter_mut()
            .flat_map(|d| &mut d.properties)
            .filter(|p| p.name == "mountpoint" && p.value.starts_with('/'))
            .collect();
        if mount_points.is_empty() {
            return Ok(());
        }
        let pool = below.split('/').next().unwrap_or(below);
        let args = ["get", "-Hp", "-o", "value", "altroot", pool];
        let altroot = zpool(format!("looking at pool {pool}"), args)?;
        let altroot = altroot.trim_end_matches('\n');
        for property in &mut mount_points {
            if let Ok(inside) = Path::new(&property.value).strip_prefix(altroot) {
                property.value = format!("/{}", inside.display());
            }
        }
        Ok(())
    }

    /// The dataset and those below it, parents first, and where they are mounted, without their properties.
    pub(crate) fn mounted(&self, below: &str) -> Result<Vec<Dataset>> {
        let list = [
            "list",
            "-Hp",
            "-r",
            "-t",
            TYPES,
            "-o",
            parse::DATASET_COLUMNS,
        ];
        let mut datasets = parse::datasets(&self.about(below, &list)?)?;
        for mount in mountinfo::read_everywhere()
            .map_err(|error| Error::os("reading what is mounted", error))?
        {
            let is_it = |d: &&mut Dataset| mount.filesystem == "zfs" && mount.source == *d.name;
            if let Some(dataset) = datasets.iter_mut().find(is_it) {
                dataset.mounted_at.push(mount.at);
            }
        }
        for dataset in &mut datasets {
            dataset.mounted_at.dedup();
        }
        Ok(datasets)
    }

    /// Which snapshots of the dataset and of those below it hold the same.
    pub(crate) fn states(&self, below: &str) -> Result<Vec<State>> {
        let columns = parse::STATE_COLUMNS;
        let list = ["list", "-Hp", "-r", "-t", "snapshot", "-o", columns];
        parse::states(&self.about(below, &list)?)
    }

    /// The objects of which anything differs between two snapshots of one dataset, and their neighbours;
    /// `None`: it would take more than `most` bytes of a stream.
    pub(crate) fn changed_objects(
        &self,
        old: &str,
        new: &str,
        most: u64,
    ) -> Result<Option<HashSet<u64>>> {
        check(old)?;
        check(new)?;
        // Never without `--raw`: to decrypt a dataset while sending it has crashed kernels
        // (openzfs/zfs#12014). And what is compressed stays so.
        let args = ["send", "--raw", "-i", old, new];
        let doing = format!("asking what differs between {old} and {new}");
        reading(doing, args, |stream| stream::objects(stream, most))
    }

    /// Which of these properties are set on the dataset itself, as lines `name<tab>value`.
    fn local(&self, dataset: &str, properties: &str) -> Result<String> {
        let columns = "property,value";
        let args = [
            "get", "-Hp", "-s", "local", "-o", columns, properties, dataset,
        ];
        zfs(format!("looking at {properties} of {dataset}"), args)
    }
}

fn check(name: &str) -> Result<()> {
    let checked = match name.split_once('#') {
        Some((dataset, short)) => check_dataset(dataset).and_then(|()| check_short(short)),
        None if name.contains('@') => check_snapshot(name),
        None => check_dataset(name),
    };
    checked.map_err(|bad| Refusal::BadName(bad).into())
}

/// `-o` and `name=value` for each property.
fn options(properties: &[Property]) -> impl Iterator<Item = String> {
    properties
        .iter()
        .flat_map(|p| ["-o".to_owned(), format!("{}={}", p.name, p.value)])
}

fn words<const N: usize>(words: [&str; N]) -> impl Iterator<Item = String> {
    words.map(str::to_owned).into_iter()
}

impl Kernel for Live {
    fn pool(&self, pool: &str) -> Result<Pool> {
        check_dataset(pool).map_err(Refusal::BadName)?;
        let args = [
            "get",
            "-Hp",
            "-o",
            "property,value",
            "guid,readonly,bootfs",
            pool,
        ];
        match zpool(format!("looking at pool {pool}"), args) {
            Err(Error::Tool { .. }) if !self.exists(pool)? => Err(Error::Missing {
                what: format!("pool {pool}"),
            }),
            text => parse::pool(pool, &text?),
        }
    }

    fn datasets(&self, below: &str) -> Result<Vec<Dataset>> {
        let mut datasets = self.mounted(below)?;
        if datasets.is_empty() {
            return Ok(datasets);
        }
        let sources = "local,received";
        let get = [
            "get",
            "-Hp",
            "-r",
            "-t",
            TYPES,
            "-s",
            sources,
            "-o",
            parse::PROPERTY_COLUMNS,
            "all",
        ];
        parse::properties(&self.about(below, &get)?, &mut datasets);
        self.without_altroot(below, &mut datasets)?;
        Ok(datasets)
    }

    fn snapshots(&self, below: &str) -> Result<Vec<ZfsSnapshot>> {
        let types = "snapshot,bookmark";
        let list = [
            "list",
            "-Hp",
            "-r",
            "-t",
            types,
            "-o",
            parse::SNAPSHOT_COLUMNS,
        ];
        let (mut snapshots, holds): (Vec<_>, Vec<_>) =
            parse::snapshots(&self.about(below, &list)?)?
                .into_iter()
                .unzip();
        let held = snapshots
            .iter_mut()
            .zip(holds)
            .filter(|(_, holds)| *holds > 0);
        let held: Vec<_> = held.map(|(snapshot, _)| snapshot).collect();
        if !held.is_empty() {
            let names = held.iter().map(|s| s.name.clone());
            let args: Vec<_> = words(["holds", "-H"]).chain(names).collect();
            let text = zfs("looking at holds", args)?;
            let holds = parse::holds(&text);
            for snapshot in held {
                let own = holds.iter().filter(|(name, _)| *name == snapshot.name);
                snapshot.holds = own.map(|(_, tag)| (*tag).to_owned()).collect();
            }
        }
        Ok(snapshots)
    }

    fn resolves(&self, name: &str, path: &Path) -> Result<bool> {
        check(name)?;
        let mount = Detached::read_only(name)?;
        view::resolves(mount.top()?.as_fd(), path)
    }

    fn snapshot(&mut self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| check(name))?;
        let args = words(["snapshot"]).chain(names.iter().cloned());
        zfs(format!("taking {}", names.join(", ")), args).map(drop)
    }

    fn rollback(&mut self, snapshot: &str) -> Result<()> {
        check(snapshot)?;
        let doing = format!("rolling back to {snapshot}");
        zfs(doing, ["rollback", snapshot]).map(drop)
    }

    fn clone_snapshot(&mut self, snapshot: &str, to: &str, properties: &[Property]) -> Result<()> {
        check(snapshot)?;
        check(to)?;
        let args = words(["clone"])
            .chain(options(properties))
            .chain(words([snapshot, to]));
        zfs(format!("cloning {snapshot} to {to}"), args).map(drop)
    }

    fn promote(&mut self, dataset: &str) -> Result<()> {
        check(dataset)?;
        zfs(format!("promoting {dataset}"), ["promote", dataset]).map(drop)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        check(from)?;
        check(to)?;
        let args = match from.contains('@') {
            true => vec!["rename", from, to],
            false => vec!["rename", "-u", from, to],
        };
        zfs(format!("renaming {from} to {to}"), args).map(drop)
    }

    fn create(&mut self, dataset: &str, properties: &[Property]) -> Result<()> {
        check(dataset)?;
        let args = words(["create", "-u"])
            .chain(options(properties))
            .chain(words([dataset]));
        zfs(format!("creating {dataset}"), args).map(drop)
    }

    fn destroy(&mut self, name: &str) -> Result<()> {
        check(name)?;
        zfs(format!("destroying {name}"), ["destroy", name]).map(drop)
    }

    fn set(&mut self, dataset: &str, properties: &[Property]) -> Result<Outcome> {
        check(dataset)?;
        let names: Vec<_> = properties.iter().map(|p| p.name.as_str()).collect();
        let local = self.local(dataset, &names.join(","))?;
        let is_so = |p: &Property| {
            let line = format!("{}\t{}", p.name, p.value);
            local.lines().any(|found| found == line)
        };
        if properties.iter().all(is_so) {
            return Ok(Outcome::AlreadySo);
        }
        let args = words(["set"])
            .chain(properties.iter().map(|p| format!("{}={}", p.name, p.value)))
            .chain(words([dataset]));
        zfs(format!("setting {} of {dataset}", names.join(", ")), args)?;
        Ok(Outcome::Made)
    }

    fn inherit(&mut self, dataset: &str, property: &str) -> Result<Outcome> {
        check(dataset)?;
        if self.local(dataset, property)?.is_empty() {
            return Ok(Outcome::AlreadySo);
        }
        let doing = format!("removing {property} of {dataset}");
        zfs(doing, ["inherit", property, dataset])?;
        Ok(Outcome::Made)
    }

    fn set_bootfs(&mut self, pool: &str, dataset: &str) -> Result<Outcome> {
        check(pool)?;
        check(dataset)?;
        if self.pool(pool)?.bootfs.as_deref() == Some(dataset) {
            return Ok(Outcome::AlreadySo);
        }
        let value = format!("bootfs={dataset}");
        zpool(format!("setting bootfs of {pool}"), ["set", &value, pool])?;
        Ok(Outcome::Made)
    }

    fn open(&self, name: &str) -> Result<View> {
        check(name)?;
        let (top, short) = split(name);
        let datasets = self.datasets(top)?;
        let is_snapshot = name.contains('@');
        let is_mounted = datasets.iter().any(|d| !d.mounted_at.is_empty());
        let snapshots = match is_snapshot {
            true => self.snapshots(top)?,
            false => Vec::new(),
        };
        let mut view: Option<View> = None;
        for dataset in &datasets {
            if dataset.kind != crate::DatasetKind::Filesystem {
                continue;
            }
            let source = match is_snapshot {
                true => format!("{}@{short}", dataset.name),
                false => dataset.name.clone(),
            };
            if is_snapshot && !snapshots.iter().any(|s| s.name == source) {
                continue;
            }
            let mount = Detached::read_only(&source)?;
            let dir = mount.top()?;
            view = Some(
                match view {
                    None if dataset.name == top => View {
                        is_frozen: is_snapshot || !is_mounted,
                        ..View::live(dir)
                    },
                    None => break,
                    Some(mut view) => {
                        let rel = below(top, &dataset.name).unwrap_or_default();
                        view.grafts.push(Graft {
                            at: rel.trim_start_matches('/').into(),
                            dir,
                        });
                        view
                    }
                }
                .keeping(mount),
            );
        }
        view.ok_or_else(|| Error::Missing { what: name.into() })
    }
}

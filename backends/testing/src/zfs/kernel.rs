//! The simulated pool behind the engine's own trait.

use super::SimZfs;
use super::pool::{Answer, Pool, split};
use crate::sim::changed;
use crate::tree::{self, Leaf, Tree};
use rustix::io::Errno;
use state_api::{Error, Outcome, Result, View};
use state_zfs::{Dataset, Kernel, Property, ZfsSnapshot};
use std::path::{Component, Path, PathBuf};

/// The names the pool takes (`module/zcommon/zfs_namecheck.c`); the engine checks them first.
fn must_be_valid(name: &str) {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.: /@#".contains(c);
    assert!(
        name.chars().all(legal) && name.len() < 256 && !name.contains("//"),
        "the engine used the invalid name {name:?}"
    );
}

fn resolves(tree: &Tree, path: &Path) -> bool {
    let mut rest: Vec<Component<'_>> = path.components().rev().collect();
    let (mut at, mut links) = (PathBuf::new(), 0);
    while let Some(part) = rest.pop() {
        match part {
            Component::RootDir => at = PathBuf::new(),
            Component::ParentDir => {
                at.pop();
            }
            Component::Normal(name) => match tree.get(&at.join(name)) {
                None => return false,
                Some(Leaf::Symlink(to)) if links < 40 => {
                    links += 1;
                    rest.extend(to.components().rev());
                }
                Some(Leaf::Symlink(_)) => return false,
                Some(Leaf::File(_)) if !rest.is_empty() => return false,
                Some(_) => at.push(name),
            },
            Component::CurDir | Component::Prefix(_) => (),
        }
    }
    true
}

impl SimZfs {
    fn act<T>(
        &self,
        doing: String,
        names: &[&str],
        act: impl FnOnce(&mut Pool) -> Answer<T>,
    ) -> Result<T> {
        names.iter().for_each(|name| must_be_valid(name));
        let mut machine = self.machine.borrow_mut();
        let answer = machine.tape.act(doing, |pool| {
            pool.writable()?;
            let before = pool.clone();
            let answer = act(pool)?;
            if *pool != before {
                pool.next_txg();
            }
            Ok(answer)
        })?;
        machine.tape.commit();
        Ok(answer)
    }

    /// The real pool rolls back and renames what is mounted, and zfs(8) unmounts what it
    /// destroys. An engine that gets this far has lost somebody's running system.
    fn must_be_unused(&self, doing: &str, name: &str) {
        let machine = self.machine.borrow();
        let top = name
            .split(['@', '#'])
            .next()
            .expect("there is a first part");
        for (dataset, state) in machine.tape.now().below(top) {
            assert!(
                !machine.mounts.contains_key(&state.guid),
                "the engine touched a mounted root: {doing} while {dataset} is mounted"
            );
        }
    }
}

impl Kernel for SimZfs {
    fn pool(&self, pool: &str) -> Result<state_zfs::Pool> {
        self.look("looking at the pool", |now| {
            Ok((now.name == pool).then(|| state_zfs::Pool {
                name: now.name.clone(),
                guid: 77,
                is_read_only: now.is_read_only,
                bootfs: now.bootfs.and_then(|guid| now.name_of(guid)).cloned(),
            }))
        })?
        .ok_or_else(|| Error::Missing {
            what: format!("pool {pool}"),
        })
    }

    fn datasets(&self, below: &str) -> Result<Vec<Dataset>> {
        must_be_valid(below);
        let machine = self.machine.borrow();
        let pool = machine.tape.now();
        let seen = |(name, dataset): (&String, &super::pool::Dataset)| Dataset {
            name: name.clone(),
            kind: dataset.kind,
            guid: dataset.guid,
            createtxg: dataset.createtxg,
            creation_seconds: dataset.creation,
            origin: dataset.origin.and_then(|guid| {
                let (home, at) = pool.home_of(guid)?;
                Some(format!("{home}@{}", pool.datasets[home].snaps[at].short))
            }),
            mounted_at: machine
                .mounts
                .get(&dataset.guid)
                .cloned()
                .unwrap_or_default(),
            has_loaded_key: dataset.key_of.is_some(),
            encryption_root: dataset.key_of.and_then(|guid| pool.name_of(guid)).cloned(),
            properties: dataset
                .properties
                .iter()
                .map(|(name, value)| Property::new(name, value))
                .collect(),
        };
        Ok(pool.below(below).into_iter().map(seen).collect())
    }

    fn snapshots(&self, below: &str) -> Result<Vec<ZfsSnapshot>> {
        must_be_valid(below);
        self.look("listing snapshots", |pool| {
            let mut found = Vec::new();
            for (name, dataset) in pool.below(below) {
                for snap in &dataset.snaps {
                    let sign = if snap.is_bookmark { '#' } else { '@' };
                    found.push(ZfsSnapshot {
                        name: format!("{name}{sign}{}", snap.short),
                        guid: snap.guid,
                        createtxg: snap.createtxg,
                        creation_seconds: snap.creation,
                        clones: if snap.is_bookmark {
                            Vec::new()
                        } else {
                            pool.clones_of(snap.guid)
                        },
                        holds: snap.holds.clone(),
                    });
                }
            }
            found.sort_by_key(|snap| (snap.createtxg, snap.name.clone()));
            Ok(found)
        })
    }

    fn resolves(&self, name: &str, path: &Path) -> Result<bool> {
        self.look("resolving", |pool| Ok(resolves(&pool.tree(name)?, path)))
    }

    fn snapshot(&mut self, names: &[String]) -> Result<()> {
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        self.act(format!("taking {names:?}"), &all, |pool| {
            pool.snapshot(names)
        })
    }

    fn rollback(&mut self, snapshot: &str) -> Result<()> {
        let doing = format!("rolling back to {snapshot}");
        let (dataset, _) = split(snapshot).expect("a snapshot's name");
        let guid = self.look(&doing, |pool| Ok(pool.dataset(dataset)?.guid))?;
        assert!(
            !self.machine.borrow().mounts.contains_key(&guid),
            "the engine touched a mounted root: {doing}"
        );
        self.act(doing, &[snapshot], |pool| pool.rollback(snapshot))
    }

    fn clone_snapshot(&mut self, snapshot: &str, to: &str, properties: &[Property]) -> Result<()> {
        let has = |name: &str, values: &[&str]| {
            let mut all = properties.iter();
            all.any(|p| p.name == name && values.contains(&p.value.as_str()))
        };
        assert!(
            has("canmount", &["noauto", "off"]) || has("mountpoint", &["legacy", "none"]),
            "zfs(8) would mount {to} in the middle of a reset"
        );
        self.act(
            format!("cloning {snapshot} to {to}"),
            &[snapshot, to],
            |pool| pool.clone_snapshot(snapshot, to, properties),
        )?;
        // Seen in a replayed write log: a cut leaves a clone without them.
        let doing = format!("setting the properties of {to}");
        self.act(doing, &[to], |pool| pool.set(to, properties).map(drop))
    }

    fn promote(&mut self, dataset: &str) -> Result<()> {
        self.act(format!("promoting {dataset}"), &[dataset], |pool| {
            pool.promote(dataset)
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let doing = format!("renaming {from} to {to}");
        if !from.contains('@') {
            self.must_be_unused(&doing, from);
        }
        self.act(doing, &[from, to], |pool| pool.rename(from, to))
    }

    fn create(&mut self, dataset: &str, properties: &[Property]) -> Result<()> {
        self.act(format!("creating {dataset}"), &[dataset], |pool| {
            pool.create(dataset, properties)
        })
    }

    fn destroy(&mut self, name: &str) -> Result<()> {
        let doing = format!("destroying {name}");
        if !name.contains(['@', '#']) {
            self.must_be_unused(&doing, name);
        }
        self.act(doing, &[name], |pool| pool.destroy(name))
    }

    fn set(&mut self, dataset: &str, properties: &[Property]) -> Result<Outcome> {
        self.act(
            format!("setting {properties:?} of {dataset}"),
            &[dataset],
            |pool| pool.set(dataset, properties).map(changed),
        )
    }

    fn inherit(&mut self, dataset: &str, property: &str) -> Result<Outcome> {
        self.act(
            format!("inheriting {property} of {dataset}"),
            &[dataset],
            |pool| {
                let had = pool.dataset_mut(dataset)?.properties.remove(property);
                Ok(changed(had.is_some()))
            },
        )
    }

    fn set_bootfs(&mut self, name: &str, dataset: &str) -> Result<Outcome> {
        self.act(format!("setting bootfs to {dataset}"), &[dataset], |pool| {
            if pool.name != name {
                return Err(Errno::NOENT);
            }
            let guid = pool.dataset(dataset)?.guid;
            Ok(changed(pool.bootfs.replace(guid) != Some(guid)))
        })
    }

    /// The tree as it is now, written to a temporary directory that lives as long as the view.
    fn open(&self, name: &str) -> Result<View> {
        let doing = format!("opening {name}");
        let content = self.look(&doing, |pool| pool.tree(name))?;
        // A child dataset is no directory of its parent.
        let mut view = tree::show(content, false).map_err(|error| Error::os(doing, error))?;
        view.is_frozen = name.contains('@');
        Ok(view)
    }
}

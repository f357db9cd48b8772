//! What acts do to a pool, and when they are refused.

use super::pool::{Answer, Pool, Snap, is_inside, parent, split};
use rustix::io::Errno;
use state_zfs::Property;

/// Properties that only an encryption root may have, or that are fixed at creation.
const FIXED: [&str; 8] = [
    "encryption",
    "keyformat",
    "keylocation",
    "pbkdf2iters",
    "casesensitivity",
    "normalization",
    "utf8only",
    "origin",
];

impl Pool {
    pub(super) fn writable(&self) -> Answer<()> {
        if self.is_read_only {
            return Err(Errno::ROFS);
        }
        Ok(())
    }

    fn new_name(&self, name: &str) -> Answer<()> {
        if self.datasets.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.dataset(parent(name).ok_or(Errno::INVAL)?)?;
        Ok(())
    }

    pub(super) fn create(&mut self, name: &str, properties: &[Property]) -> Answer<()> {
        self.new_name(name)?;
        let key_of = self.dataset(parent(name).expect("checked"))?.key_of;
        let mut dataset = self.blank_dataset();
        dataset.key_of = key_of;
        self.datasets.insert(name.into(), dataset);
        self.set(name, properties).map(drop)
    }

    pub(super) fn snapshot(&mut self, names: &[String]) -> Answer<()> {
        for name in names {
            let (dataset, _) = split(name)?;
            self.dataset(dataset)?;
            if self.snap(name).is_ok() {
                return Err(Errno::EXIST);
            }
        }
        for name in names {
            let guid = self.guid();
            let (createtxg, creation) = (self.txg, self.clock);
            let (dataset, short) = split(name)?;
            let dataset = self.dataset_mut(dataset)?;
            dataset.snaps.push(Snap {
                short: short.into(),
                guid,
                createtxg,
                creation,
                holds: Vec::new(),
                is_bookmark: false,
                content: dataset.content.clone(),
            });
        }
        Ok(())
    }

    pub(super) fn bookmark(&mut self, snapshot: &str, short: &str) -> Answer<()> {
        let mark = Snap {
            short: short.into(),
            is_bookmark: true,
            holds: Vec::new(),
            ..self.snap(snapshot)?.clone()
        };
        self.dataset_mut(split(snapshot)?.0)?.snaps.push(mark);
        Ok(())
    }

    pub(super) fn rollback(&mut self, snapshot: &str) -> Answer<()> {
        let wanted = self.snap(snapshot)?.clone();
        if wanted.is_bookmark {
            return Err(Errno::INVAL);
        }
        let dataset = self.dataset_mut(split(snapshot)?.0)?;
        let newer = |snap: &&Snap| snap.guid != wanted.guid && snap.createtxg >= wanted.createtxg;
        if dataset.snaps.iter().any(|snap| newer(&snap)) {
            return Err(Errno::EXIST);
        }
        dataset.content = wanted.content;
        Ok(())
    }

    /// Makes a clone that could have these properties. They are set afterwards.
    pub(super) fn clone_snapshot(
        &mut self,
        snapshot: &str,
        to: &str,
        properties: &[Property],
    ) -> Answer<()> {
        let snap = self.snap(snapshot)?.clone();
        if snap.is_bookmark {
            return Err(Errno::INVAL);
        }
        self.new_name(to)?;
        if properties.iter().any(|p| FIXED.contains(&p.name.as_str())) {
            return Err(Errno::INVAL);
        }
        let key_of = self.dataset(split(snapshot)?.0)?.key_of;
        let mut dataset = self.blank_dataset();
        dataset.origin = Some(snap.guid);
        dataset.content = snap.content;
        // A clone uses its origin's key, wherever it is put.
        dataset.key_of = key_of;
        self.datasets.insert(to.into(), dataset);
        Ok(())
    }

    pub(super) fn promote(&mut self, name: &str) -> Answer<()> {
        let clone = self.dataset(name)?;
        let origin = clone.origin.ok_or(Errno::INVAL)?;
        let (other, at) = self.home_of(origin).expect("an origin exists");
        let other = other.clone();
        let old = self.dataset(&other)?;
        let txg = old.snaps[at].createtxg;
        let (moved, stay): (Vec<Snap>, Vec<Snap>) = old
            .snaps
            .iter()
            .cloned()
            .partition(|snap| !snap.is_bookmark && snap.createtxg <= txg);
        let taken = |snap: &Snap| {
            let mut snaps = clone.snaps.iter();
            snaps.any(|own| own.short == snap.short && own.is_bookmark == snap.is_bookmark)
        };
        if moved.iter().any(taken) {
            return Err(Errno::EXIST);
        }
        let (old_guid, old_origin, old_key) = (old.guid, old.origin, old.key_of);
        let clone_guid = clone.guid;
        let swaps_key = old_key == Some(old_guid) && clone.key_of == old_key;

        let old = self.dataset_mut(&other)?;
        old.snaps = stay;
        old.origin = Some(origin);
        let location = swaps_key
            .then(|| old.properties.remove("keylocation"))
            .flatten();
        let clone = self.dataset_mut(name)?;
        clone.snaps.splice(0..0, moved);
        clone.origin = old_origin;
        if let Some(location) = location {
            clone.properties.insert("keylocation".into(), location);
        }
        if swaps_key {
            for dataset in self.datasets.values_mut() {
                if dataset.key_of == Some(old_guid) {
                    dataset.key_of = Some(clone_guid);
                }
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        if let Ok((dataset, _)) = split(from) {
            let (new_dataset, new_short) = split(to)?;
            if dataset != new_dataset {
                return Err(Errno::XDEV);
            }
            let guid = self.snap(from)?.guid;
            if self.snap(to).is_ok() {
                return Err(Errno::EXIST);
            }
            let mut snaps = self.dataset_mut(dataset)?.snaps.iter_mut();
            let snap = snaps.find(|snap| snap.guid == guid && !snap.is_bookmark);
            snap.ok_or(Errno::INVAL)?.short = new_short.into();
            return Ok(());
        }
        let dataset = self.dataset(from)?;
        if parent(from).is_none() || is_inside(to, from) {
            return Err(Errno::INVAL);
        }
        self.new_name(to)?;
        let new_parent = self.dataset(parent(to).expect("checked"))?;
        // A dataset that inherits its key may not leave its encryption root.
        if dataset.key_of.is_some_and(|key| key != dataset.guid)
            && dataset.key_of != new_parent.key_of
        {
            return Err(Errno::ACCESS);
        }
        let names: Vec<String> = self
            .below(from)
            .into_iter()
            .map(|(n, _)| n.clone())
            .collect();
        for name in names {
            let dataset = self.datasets.remove(&name).expect("listed");
            self.datasets
                .insert(format!("{to}{}", &name[from.len()..]), dataset);
        }
        Ok(())
    }

    pub(super) fn destroy(&mut self, name: &str) -> Answer<()> {
        if let Ok((dataset, _)) = split(name) {
            let snap = self.snap(name)?;
            if !snap.is_bookmark {
                if !snap.holds.is_empty() {
                    return Err(Errno::BUSY);
                }
                if !self.clones_of(snap.guid).is_empty() {
                    return Err(Errno::EXIST);
                }
            }
            let (guid, is_bookmark) = (snap.guid, snap.is_bookmark);
            self.dataset_mut(dataset)?
                .snaps
                .retain(|snap| snap.guid != guid || snap.is_bookmark != is_bookmark);
            return Ok(());
        }
        let dataset = self.dataset(name)?;
        let guid = dataset.guid;
        if parent(name).is_none() {
            return Err(Errno::INVAL);
        }
        if self.below(name).len() > 1 || dataset.snaps.iter().any(|snap| !snap.is_bookmark) {
            return Err(Errno::EXIST);
        }
        if self.bootfs == Some(guid) {
            self.bootfs = None;
        }
        self.datasets.remove(name);
        Ok(())
    }

    pub(super) fn set(&mut self, name: &str, properties: &[Property]) -> Answer<bool> {
        let dataset = self.dataset_mut(name)?;
        let mut is_new = false;
        for property in properties {
            if FIXED.contains(&property.name.as_str()) && dataset.key_of != Some(dataset.guid) {
                return Err(Errno::ACCESS);
            }
            let (key, value) = (property.name.clone(), property.value.clone());
            is_new |= dataset.properties.insert(key, value.clone()) != Some(value);
        }
        Ok(is_new)
    }
}

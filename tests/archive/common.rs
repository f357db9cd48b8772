//! Making archives in memory.

pub(crate) use super::parts::*;
use state::archive::extract::Job;
use state::archive::label::Label;
use state::archive::machine::Machine;
use state::archive::owners::Owners;
use state::archive::read::{Archive, Source};
use state::archive::write::{Written, again};
use state_api::{Interrupt, Never, View};
use std::fs::File;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Made {
    pub(crate) data: Vec<u8>,
    pub(crate) label: Label,
    pub(crate) written: Written,
}

pub(crate) fn view(dir: &Path) -> View {
    View::frozen(File::open(dir).unwrap().into())
}

/// Extracting all of the first store, to whom it belonged.
pub(crate) fn job<'a>(archive: &'a Archive<'a>, interrupt: &'a dyn Interrupt) -> Job<'a> {
    static OWNERS: LazyLock<Owners> = LazyLock::new(Owners::default);
    Job {
        archive,
        store: 0,
        under: None,
        owners: &OWNERS,
        interrupt,
    }
}

/// Counts the bytes that are read of an archive.
pub(crate) struct Counted<'a>(&'a Vec<u8>, AtomicU64);

impl<'a> Counted<'a> {
    pub(crate) fn new(data: &'a Vec<u8>) -> Self {
        Self(data, AtomicU64::new(0))
    }

    pub(crate) fn so_far(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

impl Source for Counted<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read(&self, at: u64, length: usize) -> state::archive::Result<Vec<u8>> {
        self.1.fetch_add(length as u64, Ordering::Relaxed);
        self.0.read(at, length)
    }
}

/// An archive of everything in these directories, each the store of that name.
pub(crate) fn archive(stores: &[(&str, &Path)]) -> Made {
    archive_by(0, stores)
}

/// A full archive of everything in `dir`, the only store of `machine`.
pub(crate) fn archive_named(machine: &Machine, dir: &Path) -> Made {
    let mut data = Vec::new();
    let written = write(0, machine, &[&view(dir)], &mut data, &Never).unwrap();
    Made {
        label: label(machine, &data, &written),
        data,
        written,
    }
}

/// The same, made by so many threads.
pub(crate) fn archive_by(workers: usize, stores: &[(&str, &Path)]) -> Made {
    let names: Vec<&str> = stores.iter().map(|(name, _)| *name).collect();
    let machine = machine(&names);
    let views: Vec<View> = stores.iter().map(|(_, dir)| view(dir)).collect();
    let views: Vec<&View> = views.iter().collect();
    let mut data = Vec::new();
    let written = write(workers, &machine, &views, &mut data, &Never).unwrap();
    Made {
        label: label(&machine, &data, &written),
        data,
        written,
    }
}

/// What an archive restores, as an archive of `machine` that builds on no other.
pub(crate) fn consolidated(archive: &Archive<'_>, machine: &Machine) -> Made {
    let mut data = Vec::new();
    let written = again(archive, machine, 3, &mut data, &Never, &mut |_| {}).unwrap();
    Made {
        label: label(machine, &data, &written),
        data,
        written,
    }
}

//! Making archives in memory.

pub(crate) use super::parts::*;
use state::archive::label::Label;
use state::archive::machine::Machine;
use state::archive::write::Written;
use state_api::{Never, View};
use std::fs::File;
use std::path::Path;

pub(crate) struct Made {
    pub(crate) data: Vec<u8>,
    pub(crate) label: Label,
    pub(crate) written: Written,
}

pub(crate) fn view(dir: &Path) -> View {
    View::frozen(File::open(dir).unwrap().into())
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

//! What an archive is made of, in memory.

use chrono::{DateTime, Utc};
use state::archive::label::{DATA, Label};
use state::archive::machine::{Machine, Store};
use state::archive::manifest::{Bytes, Digest, Record, push_line};
use state::archive::older::{Lines, Older};
use state::archive::select::Selection;
use state::archive::write::{Before, Draft, Input, Since, Written};
use state::archive::{FORMAT, Result};
use state_api::{Interrupt, Never, View};

pub(crate) fn machine(stores: &[&str]) -> Machine {
    let store = |path: &&str| Store {
        path: Bytes(path.as_bytes().to_vec()),
        engine: "plain".into(),
        filesystem: "ext4".into(),
        total_bytes: 0,
        is_frozen: true,
        identity: None,
        entries: Vec::new(),
    };
    Machine {
        format: FORMAT,
        tool: "state test".into(),
        id: "20261121T113705Z-3f6a90c1".into(),
        parent: None,
        machine: "blitzar".into(),
        time: "2026-11-21T11:37:05Z".into(),
        root: None,
        stores: stores.iter().map(store).collect(),
        config: None,
        nixos: None,
        users: [(0, Bytes(b"root".to_vec())), (7, Bytes(b"l\xff".to_vec()))].into(),
        groups: [(0, Bytes(b"root".to_vec()))].into(),
    }
}

pub(crate) fn label(machine: &Machine, data: &[u8], written: &Written) -> Label {
    Label {
        machine: machine.machine.clone(),
        id: machine.id.parse().unwrap(),
        parent: None,
        position: 0,
        time: DateTime::<Utc>::from_timestamp(1_795_261_025, 0).unwrap(),
        is_complete: written.incomplete.is_empty(),
        commit: None,
        is_dirty: false,
        totals: written.totals,
        suffix: DATA.into(),
        recipients: Vec::new(),
        data_bytes: data.len() as u64,
        data_sha256: Digest::of(data),
        manifest_sha256: written.manifest_sha256,
        index_sha256: written.index_sha256,
    }
}

/// Writes an archive of everything in these views, the stores of `machine`.
pub(crate) fn write(
    workers: usize,
    machine: &Machine,
    views: &[&View],
    out: &mut dyn std::io::Write,
    interrupt: &dyn Interrupt,
) -> Result<Written> {
    let selection = Selection::all();
    let inputs: Vec<_> = (views.iter())
        .map(|view| Input {
            view,
            selection: &selection,
        })
        .collect();
    let draft = Draft {
        level: 3,
        workers,
        machine,
        inputs: &inputs,
        incomplete: Vec::new(),
        since: None,
    };
    draft.write(out, interrupt, &mut |_| {})
}

/// Writes an archive of what changed.
pub(crate) fn write_since<'a>(
    machine: &'a Machine,
    inputs: &'a [Input<'a>],
    before: &'a Before<'a>,
    since: &'a Since,
) -> (Vec<u8>, Written) {
    let draft = Draft {
        level: 1,
        workers: 2,
        machine,
        inputs,
        incomplete: Vec::new(),
        since: Some((before, since)),
    };
    let mut data = Vec::new();
    let written = draft.write(&mut data, &Never, &mut |_| {}).unwrap();
    (data, written)
}

/// These records as lines of an older manifest, in small blocks.
pub(crate) fn lines(records: &[Record]) -> Older<'static> {
    let block = |(n, records): (usize, &[Record])| {
        let mut text = Vec::new();
        for (k, record) in records.iter().enumerate() {
            push_line(&mut text, record, n + k == 0);
        }
        Ok(String::from_utf8(text).unwrap())
    };
    let blocks: Vec<_> = records.chunks(7).enumerate().map(block).collect();
    Older::Lines(Lines::new(Box::new(blocks.into_iter())))
}

//! What reads bytes that somebody else wrote, one function for each fuzz target. Each may refuse
//! what it is given; it may not panic, and what it accepts has one spelling.
//!
//! `tests/corpus.rs` runs the kept inputs through the same functions in every build.

use state::archive::frame::{self, Packer, SeekTable};
use state::archive::label::{DATA, Label};
use state::archive::machine::Machine;
use state::archive::manifest::{Digest, Head, Index, Order, push_line, records};
use state::archive::member::{BLOCK, Member, padded};
use state::archive::pax;
use state::archive::read::Archive;
use state::cmdline::Words;
use state::persist::Users;
use state::settings::Settings;
use state_api::Never;
use state_linux::acl::Acl;
use state_linux::metadata::Flags;

/// A target: its name, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("archive", archive),
    ("cmdline", cmdline),
    ("config", config),
    ("frames", frames),
    ("label", label),
    ("manifest", manifest),
    ("member", member),
];

/// The kernel command line, and other short texts.
pub fn cmdline(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(Words::parse(text));
        if let Ok(acl) = text.parse::<Acl>() {
            assert_eq!(acl.to_string(), text);
            assert_eq!(Acl::from_bytes(&acl.to_bytes()), Ok(acl));
        }
        if let Ok(flags) = text.parse::<Flags>() {
            assert_eq!(flags.to_string(), text);
        }
    }
    drop(Acl::from_bytes(data));
    drop(Users::parse(data, data).or(Users::from_id_maps(data, data)));
}

/// `state.toml`.
pub fn config(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        drop(text.parse::<Settings>());
    }
}

/// Frames and the seek table.
pub fn frames(data: &[u8]) {
    if let Ok(length) = SeekTable::length_at_end(data, data.len() as u64) {
        let table = &data[data.len() - length as usize..];
        if let Ok(found) = SeekTable::decode(table, data.len() as u64) {
            assert_eq!(found.encode(), table);
            assert_eq!(found.packed_bytes() + length, data.len() as u64);
        }
    }
    for length in [0, 1, 7, data.len(), 1 << 16] {
        if let Ok(content) = frame::unpack(data, length) {
            assert_eq!(content.len(), length);
        }
    }
}

/// The label.
pub fn label(data: &[u8]) {
    if let Ok(label) = Label::from_text("label", data) {
        assert_eq!(label.to_text().as_bytes(), data);
        assert!(label.data_name().starts_with(&label.machine));
    }
}

/// The parts of a manifest, and `machine.json`.
pub fn manifest(data: &[u8]) {
    if let Ok(machine) = Machine::from_text(data) {
        assert_eq!(machine.to_text(), data);
    }
    if let Ok((index, text)) = Index::from_frame(data) {
        assert_eq!(index.to_text().as_bytes(), text);
        index.first_for(b"etc/machine-id");
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(head) = Head::from_line(text)
    {
        assert_eq!(head.to_line(), text);
    }
    let is_first = data.first() == Some(&b' ');
    if let Ok(records) = records(data, is_first) {
        let mut again = Vec::new();
        let mut order = Order::new(2);
        for (n, record) in records.iter().enumerate() {
            push_line(&mut again, record, is_first && n == 0);
            drop(order.next(record));
        }
        assert_eq!(again, data);
    }
}

/// The headers of a member.
pub fn member(data: &[u8]) {
    for record in pax::Records::of(data) {
        drop(record);
    }
    if let Ok(Some((member, length))) = Member::decode(data) {
        assert_eq!(member.encode().as_deref(), Ok(&data[..length]));
        assert!(!member.path.starts_with(b"/") && member.path.len() <= 4095);
        assert!(member.path.split(|b| *b == b'/').all(|part| part != b".."));
    }
}

/// A whole archive, of which the data is the tar: whoever forges one makes its digests fit.
pub fn archive(data: &[u8]) {
    if let Some((source, label)) = forge(data)
        && let Ok(archive) = Archive::open(&source, &label)
    {
        let records = archive
            .records()
            .try_fold(0_u64, |n, record| record.map(|_| n + 1));
        let verified = archive.verify(&Never, &mut |_| {});
        // What is verified can be read.
        assert!(verified.is_err() || records.is_ok());
    }
}

/// Panics unless the tar is that of an archive that verifies.
pub fn expect_whole(data: &[u8]) {
    let (source, label) = forge(data).expect("it has the parts of an archive");
    let archive = Archive::open(&source, &label).expect("they fit");
    let verified = archive.verify(&Never, &mut |_| {});
    verified.expect("it is whole");
}

/// Cuts a tar into frames where an archive has its cuts, and labels it.
fn forge(tar: &[u8]) -> Option<(Vec<u8>, Label)> {
    let (first, headers) = Member::decode(tar).ok()??;
    let machine_end = headers + usize::try_from(padded(first.stored_bytes)).ok()?;
    let text = tar.get(headers..headers + usize::try_from(first.stored_bytes).ok()?)?;
    let machine = Machine::from_text(text).ok()?;
    let last = tar.windows(4).rposition(|window| window == b"\n],\"")? + 1;
    let middle = tar.get(machine_end..last)?;
    let (index, index_text) = Index::from_frame(&tar[last..]).ok()?;
    let at = usize::try_from(index.head.offset).ok()?;
    let (whole, headers) = Member::decode(tar.get(at..)?).ok()??;
    let manifest = tar.get(at + headers..)?;
    let manifest = manifest.get(..usize::try_from(whole.stored_bytes).ok()?)?;
    if tar.len() > 64 * BLOCK + (1 << 20) {
        return None;
    }
    let mut packer = Packer::new(1).ok()?;
    let (mut bytes, mut table) = (Vec::new(), SeekTable::default());
    for content in [&tar[..machine_end], middle, &tar[last..]] {
        if !content.is_empty() {
            let frame = packer.pack(content).ok()?;
            table.push(frame.len(), content.len()).ok()?;
            bytes.extend(frame);
        }
    }
    bytes.extend(table.encode());
    let label = Label {
        machine: machine.machine.clone(),
        id: machine.id.parse().ok()?,
        parent: None,
        position: 0,
        time: Default::default(),
        is_complete: index.incomplete.is_empty(),
        commit: None,
        is_dirty: false,
        totals: index.totals,
        suffix: DATA.into(),
        recipients: Vec::new(),
        data_bytes: bytes.len() as u64,
        data_sha256: Digest::of(&bytes),
        manifest_sha256: Digest::of(manifest),
        index_sha256: Digest::of(index_text),
    };
    Some((bytes, label))
}

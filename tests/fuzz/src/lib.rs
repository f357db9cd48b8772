//! What reads bytes that somebody else wrote, one function for each fuzz target. Each may refuse
//! what it is given; it may not panic, and what it accepts has one spelling.
//!
//! `tests/corpus.rs` beside this runs the kept inputs through the same functions in every build.

use chrono::DateTime;
use state::archive::encryption::{Identities, Sealed};
use state::archive::frame::{self, Packer, SeekTable};
use state::archive::label::{DATA, Label};
use state::archive::machine::Machine;
use state::archive::manifest::{Digest, Head, Index, Order, push_line, records};
use state::archive::member::{BLOCK, Member, padded};
use state::archive::pax;
use state::archive::proof::Proof;
use state::archive::read::{Archive, Source};
use state::archive::signature::{AllowedSigners, signed_by};
use state::ask::{Ask, Nobody};
use state::cmdline::Words;
use state::persist::Users;
use state::settings::Settings;
use state_api::Never;
use state_linux::acl::Acl;
use state_linux::btrfs::items;
use state_linux::metadata::Flags;
use state_zfs::stream;
use std::sync::Arc;

/// A target: its name, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("age", age),
    ("archive", archive),
    ("cmdline", cmdline),
    ("config", config),
    ("frames", frames),
    ("items", items),
    ("label", label),
    ("manifest", manifest),
    ("member", member),
    ("signature", signature),
    ("stream", stream),
];

/// The beginning of an encrypted object, up to what is encrypted.
const AGE_HEADER: &[u8] = include_bytes!("../age/header");

/// The keys that open what the corpus has of encrypted objects.
pub fn keys() -> Identities {
    let nobody: Arc<dyn Ask> = Arc::new(Nobody);
    let mut keys = Identities::default();
    let added = keys.add("the key", include_bytes!("../age/identity"), &nobody);
    added.expect("it is a key of age");
    keys
}

/// An encrypted object: its header, and what is encrypted behind a header that is right. And a
/// file of identities.
pub fn age(data: &[u8]) {
    let keys = keys();
    for object in [data.to_vec(), [AGE_HEADER, data].concat()] {
        if let Ok(sealed) = Sealed::open(Box::new(object), &keys) {
            let length = sealed.length().min(1 << 20) as usize;
            let whole = sealed.read(0, length);
            assert!(whole.is_ok_and(|bytes| bytes.len() == length) || sealed.read(0, 1).is_err());
            drop(sealed.read(sealed.length() / 2, 16));
            assert!(sealed.read(sealed.length(), 1).is_err());
        }
    }
    let nobody: Arc<dyn Ask> = Arc::new(Nobody);
    drop(Identities::default().add("a file", data, &nobody));
}

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

/// The items of a btrfs tree.
pub fn items(data: &[u8]) {
    assert_eq!(items::inode_item(data).is_some(), data.len() >= 160);
    let names = items::inode_refs(256, data).into_iter();
    let names = names.chain(items::inode_extrefs(data)).flatten();
    let entry = items::dir_index(data).map(|(name, target)| (target.object, name));
    for (_, name) in names.chain(entry) {
        let name = name.as_encoded_bytes();
        assert!(!matches!(name, b"" | b"." | b"..") && name.len() <= 255);
        assert!(!name.contains(&b'/') && !name.contains(&0));
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

/// A signature, the list of those who are believed, and a proof behind its own name in a line.
pub fn signature(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(signed_by(b"state archive 1\n", text));
    let allowed = AllowedSigners::parse(text);
    assert!(allowed.strange().len() <= text.lines().count());
    assert_eq!(allowed.until("blitzar", "SHA256:"), None);
    drop(allowed.verify("blitzar", b"state archive 1\n", text, DateTime::UNIX_EPOCH));
    if let Some((name, object)) = text.split_once('\n')
        && let Ok((proof, signature)) = Proof::from_object(name, object.as_bytes())
    {
        let again = proof.to_text() + &signature.unwrap_or_default();
        assert_eq!((proof.name(), again), (name.to_owned(), object.to_owned()));
    }
}

/// A stream of `zfs send`.
pub fn stream(data: &[u8]) {
    if let Ok(Some(objects)) = stream::objects(data, 1 << 16) {
        assert!(objects.len() <= data.len() / stream::RECORD);
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

//! Making archives every part of which can be bent.

use crate::common::*;
use state::archive::frame::{Frame, Packer, SeekTable, unpack};
use state::archive::label::Label;
use state::archive::machine;
use state::archive::manifest::{
    Block, Bytes, Digest, Head, Index, Part, Record, Totals, What, push_line,
};
use state::archive::member::{Extra, Kind, Member, name, padded};
use state::archive::pax::Time;
use state::archive::sums;

/// An archive in the making, every part of which can be bent.
#[derive(Clone)]
pub(crate) struct Forge {
    /// Headers and content of each entry's member.
    pub(crate) members: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) records: Vec<Record>,
    /// What stands between the entries and the sums.
    pub(crate) extra: Vec<u8>,
    /// What stands behind the seek table.
    pub(crate) behind: Vec<u8>,
    pub(crate) format: u64,
}

pub(crate) fn member(path: &str, kind: Kind, content: &[u8]) -> Member {
    Member {
        path: path.as_bytes().to_vec(),
        kind,
        stored_bytes: content.len() as u64,
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: b"root".to_vec(),
        group: b"root".to_vec(),
        modified: Time::default(),
        extra: Extra::default(),
    }
}

pub(crate) fn record(member: &Member, content: &[u8]) -> Record {
    Record {
        path: member.path.clone(),
        store: 0,
        what: match &member.kind {
            Kind::Directory => What::Directory,
            Kind::File => What::File {
                size: content.len() as u64,
                sha256: Digest::of(content),
                is_sparse: false,
            },
            Kind::Sparse { real_size } => What::File {
                size: *real_size,
                sha256: Digest::of(content),
                is_sparse: true,
            },
            Kind::Symlink { target } => What::Symlink {
                target: target.clone(),
            },
            Kind::Link { target } => What::Link {
                target: target.clone(),
            },
            Kind::Fifo => What::Fifo,
        },
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        modified: member.modified,
        extra: member.extra.clone(),
        has_links: true,
        archive: 0,
        offset: 0,
        inode: 0,
        changed: Time::default(),
    }
}

pub(crate) fn symlink(target: &str) -> Kind {
    Kind::Symlink {
        target: target.as_bytes().to_vec(),
    }
}

pub(crate) fn link(target: &str) -> Kind {
    Kind::Link {
        target: target.as_bytes().to_vec(),
    }
}

impl Forge {
    pub(crate) fn new(entries: &[(&str, Kind, &[u8])]) -> Self {
        let mut forge = Self {
            members: Vec::new(),
            records: Vec::new(),
            extra: Vec::new(),
            behind: Vec::new(),
            format: 1,
        };
        forge.add("", Kind::Directory, b"");
        for (path, kind, content) in entries {
            forge.add(path, kind.clone(), content);
        }
        forge
    }

    pub(crate) fn add(&mut self, path: &str, kind: Kind, content: &[u8]) {
        let member = member(path, kind, content);
        self.records.push(record(&member, content));
        self.members
            .push((member.encode().unwrap(), content.to_vec()));
    }

    /// Changes the last member's headers, as bytes, and gives them a right checksum.
    pub(crate) fn bend(mut self, bend: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (headers, _) = self.members.last_mut().unwrap();
        bend(headers);
        let at = headers.len() - 512;
        sum(&mut headers[at..]);
        self
    }

    /// Puts an extended header with these records before the last member.
    pub(crate) fn pax(mut self, records: &[u8]) -> Self {
        let bytes = pax_header(records);
        let (headers, _) = self.members.last_mut().unwrap();
        *headers = [bytes, std::mem::take(headers)].concat();
        self
    }

    pub(crate) fn last(mut self, change: impl FnOnce(&mut Record)) -> Self {
        change(self.records.last_mut().unwrap());
        self
    }

    pub(crate) fn make(&self) -> Made {
        let mut machine = machine(&["/persist"]);
        machine.format = self.format;
        let text = machine.to_text();
        let mut tar = Vec::new();
        let own = |path: &[u8], size: u64| {
            let mut member = member("x", Kind::File, b"");
            member.path = path.to_vec();
            member.stored_bytes = size;
            member.mode = 0o600;
            member.user.clear();
            member.group.clear();
            member.encode().unwrap()
        };
        let push = |tar: &mut Vec<u8>, headers: &[u8], content: &[u8]| {
            let offset = tar.len() as u64;
            tar.extend_from_slice(headers);
            tar.extend_from_slice(content);
            tar.resize(padded(tar.len() as u64) as usize, 0);
            Part {
                offset,
                size: content.len() as u64,
                sha256: Digest::of(content),
            }
        };
        let machine_part = push(&mut tar, &own(machine::PATH, text.len() as u64), &text);
        let mut sums = Vec::new();
        sums::push_line(&mut sums, machine_part.sha256, machine::PATH);
        let mut records = self.records.clone();
        let mut digests = std::collections::BTreeMap::new();
        for (record, (headers, content)) in records.iter_mut().zip(&self.members) {
            record.offset = push(&mut tar, headers, content).offset;
            let digest = match &record.what {
                What::File { sha256, .. } => Some(*sha256),
                What::Link { target } => digests.get(target).copied(),
                _ => None,
            };
            if let Some(digest) = digest {
                digests.insert(record.path.clone(), digest);
                sums::push_line(&mut sums, digest, &record.path);
            }
        }
        let tar_bytes = tar.len() as u64;
        tar.extend_from_slice(&self.extra);
        let sums_part = push(
            &mut tar,
            &own(b".state/SHA256SUMS", sums.len() as u64),
            &sums,
        );
        let mut block = Vec::new();
        for (n, record) in records.iter().enumerate() {
            push_line(&mut block, record, n == 0);
        }
        let head = Head {
            format: 1,
            id: machine.id.clone(),
            parents: Vec::new(),
            stores: vec![Bytes(b"/persist".to_vec())],
        };
        let line = head.to_line().into_bytes();
        let head_offset = tar.len() as u64;
        let totals = Totals {
            entries: records.len() as u64,
            files: 1,
            bytes: 0,
            tar_bytes,
        };
        let index = Index {
            blocks: vec![Block {
                first: Bytes(name(&records[0].path)),
                offset: head_offset + 512 + line.len() as u64,
                length: block.len() as u64,
                entries: records.len() as u64,
                sha256: Digest::of(&block),
            }],
            totals,
            head: Part {
                offset: head_offset,
                size: line.len() as u64,
                sha256: Digest::of(&line),
            },
            machine: machine_part,
            deleted: None,
            sums: sums_part,
            incomplete: Vec::new(),
            left_out: Vec::new(),
        };
        let text = index.to_text().into_bytes();
        let size = (line.len() + block.len() + text.len()) as u64;
        tar.extend(own(b".state/manifest.json", size));
        tar.extend_from_slice(&line);
        tar.extend_from_slice(&block);
        let mut end = text.clone();
        end.resize(text.len() + (padded(size) - size) as usize + 1024, 0);

        let mut packer = Packer::new(3).unwrap();
        let mut table = SeekTable::default();
        let mut data = Vec::new();
        for content in [&tar, &end] {
            let frame = packer.pack(content).unwrap();
            table.push(frame.len(), content.len()).unwrap();
            data.extend(frame);
        }
        data.extend(table.encode());
        data.extend_from_slice(&self.behind);
        let written = state::archive::write::Written {
            totals,
            incomplete: Vec::new(),
            left_out: Vec::new(),
            absent: Vec::new(),
            orphans: Vec::new(),
            manifest: Default::default(),
            manifest_sha256: Digest::of(&[line, block, text.clone()].concat()),
            index_sha256: Digest::of(&text),
        };
        Made {
            label: label(&machine, &data, &written),
            data,
            written,
        }
    }
}

/// Gives a header the right checksum.
pub(crate) fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
}

/// An extended header with these records.
pub(crate) fn pax_header(records: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..12].copy_from_slice(b"./PaxHeaders");
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    let mut bytes = [header.as_bytes(), records].concat();
    bytes.resize(padded(bytes.len() as u64) as usize, 0);
    bytes
}

/// The frames of an archive's data, and its seek table.
pub(crate) fn parts(made: &Made) -> (&[u8], SeekTable) {
    let length = SeekTable::length_at_end(&made.data, made.label.data_bytes).unwrap();
    let (frames, table) = made.data.split_at(made.data.len() - length as usize);
    let table = SeekTable::decode(table, made.label.data_bytes).unwrap();
    (frames, table)
}

/// Other data, and a label that fits it.
pub(crate) fn relabelled(made: &Made, data: Vec<u8>) -> Made {
    Made {
        label: Label {
            data_bytes: data.len() as u64,
            data_sha256: Digest::of(&data),
            ..made.label.clone()
        },
        data,
        written: made.written.clone(),
    }
}

/// The archive with other frames, each with the length that the seek table claims for it.
pub(crate) fn reframed(made: &Made, change: impl FnOnce(&mut Vec<(Vec<u8>, usize)>)) -> Made {
    let (bytes, table) = parts(made);
    let packed = |frame: &Frame| bytes[frame.at as usize..][..frame.packed as usize].to_vec();
    let mut frames: Vec<_> = (table.frames().iter())
        .map(|frame| (packed(frame), frame.length as usize))
        .collect();
    change(&mut frames);
    let (mut data, mut table) = (Vec::new(), SeekTable::default());
    for (frame, length) in frames {
        table.push(frame.len(), length).unwrap();
        data.extend(frame);
    }
    data.extend(table.encode());
    relabelled(made, data)
}

/// The archive with its first frame's content changed.
pub(crate) fn repacked(made: &Made, change: impl FnOnce(&mut Vec<u8>)) -> Made {
    reframed(made, |frames| {
        let (frame, length) = &mut frames[0];
        let mut content = unpack(frame, *length).unwrap();
        change(&mut content);
        *frame = Packer::new(3).unwrap().pack(&content).unwrap();
        *length = content.len();
    })
}

//! Archives made to deceive. Whoever makes one also makes its label: every digest is right.
//!
//! Each is refused before anything outside the staging directory was touched.

use super::common::*;
use super::roundtrip::note;
use state::archive::extract::Job;
use state::archive::frame::{Packer, SeekTable};
use state::archive::label::Label;
use state::archive::machine;
use state::archive::manifest::{
    Block, Bytes, Digest, Head, Index, Part, Record, Totals, What, push_line,
};
use state::archive::member::{Extra, Kind, Member, name, padded};
use state::archive::pax::{self, Time};
use state::archive::read::Archive;
use state::archive::{Error, sums};
use state_api::Never;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

/// An archive in the making, every part of which can be bent.
#[derive(Clone)]
struct Forge {
    /// Headers and content of each entry's member.
    members: Vec<(Vec<u8>, Vec<u8>)>,
    records: Vec<Record>,
    /// What stands between the entries and the sums.
    extra: Vec<u8>,
    /// What stands behind the seek table.
    behind: Vec<u8>,
    format: u64,
}

fn member(path: &str, kind: Kind, content: &[u8]) -> Member {
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

fn record(member: &Member, content: &[u8]) -> Record {
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

fn symlink(target: &str) -> Kind {
    Kind::Symlink {
        target: target.as_bytes().to_vec(),
    }
}

fn link(target: &str) -> Kind {
    Kind::Link {
        target: target.as_bytes().to_vec(),
    }
}

impl Forge {
    fn new(entries: &[(&str, Kind, &[u8])]) -> Self {
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

    fn add(&mut self, path: &str, kind: Kind, content: &[u8]) {
        let member = member(path, kind, content);
        self.records.push(record(&member, content));
        self.members
            .push((member.encode().unwrap(), content.to_vec()));
    }

    /// Changes the last member's headers, as bytes, and gives them a right checksum.
    fn bend(mut self, bend: impl FnOnce(&mut Vec<u8>)) -> Self {
        let (headers, _) = self.members.last_mut().unwrap();
        bend(headers);
        let at = headers.len() - 512;
        let sum: u32 = (headers[at..].iter().enumerate())
            .map(|(n, b)| {
                if (148..156).contains(&n) {
                    32
                } else {
                    u32::from(*b)
                }
            })
            .sum();
        headers[at + 148..at + 156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        self
    }

    /// Puts an extended header with these records before the last member.
    fn pax(mut self, records: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_path("PaxHeaders").unwrap();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        header.set_cksum();
        let mut bytes = [header.as_bytes(), records].concat();
        bytes.resize(padded(bytes.len() as u64) as usize, 0);
        let (headers, _) = self.members.last_mut().unwrap();
        *headers = [bytes, std::mem::take(headers)].concat();
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Record)) -> Self {
        change(self.records.last_mut().unwrap());
        self
    }

    fn make(&self) -> Made {
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
            archives: vec![machine.id.clone()],
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
            manifest_sha256: Digest::of(&[line, block, text.clone()].concat()),
            index_sha256: Digest::of(&text),
        };
        Made {
            label: label(&machine, &data, &written),
            data: Memory(data),
            written,
        }
    }
}

/// What becomes of an archive: verified, and extracted beside a tree that must not change.
fn outcome(made: &Made) -> Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("passwd"), "root").unwrap();
    let stage = dir.path().join("stage");
    fs::create_dir(&stage).unwrap();
    let before = note(&canary);
    let read = || -> Result<Vec<String>, Error> {
        let archive = Archive::open(&made.data, &made.label)?;
        let verified = archive.verify(&Never, &mut |_| {});
        let job = Job {
            archive: &archive,
            store: 0,
            under: None,
            interrupt: &Never,
        };
        let extracted = job.extract(File::open(&stage).unwrap().as_fd(), &mut |_| {});
        verified?;
        Ok(extracted?.into_iter().map(|loss| loss.what).collect())
    };
    let outcome = read().map_err(|error| error.to_string());
    assert_eq!(before.differences(&note(&canary)), Vec::<String>::new());
    let around: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(around.len(), 2, "something appeared beside the stage");
    assert!(!Path::new("/tmp/state-canary").exists());
    outcome
}

#[track_caller]
fn refused(forge: &Forge, why: &str) {
    match outcome(&forge.make()) {
        Ok(_) => panic!("accepted: {why}"),
        Err(error) => assert!(error.contains(why), "{error:?} is not about {why:?}"),
    }
}

const FILE: Kind = Kind::File;
const DIR: Kind = Kind::Directory;

#[test]
fn an_honest_archive_is_accepted() {
    let forge = Forge::new(&[
        ("a", DIR, b""),
        ("a/file", FILE, b"content"),
        ("a/link", link("a/file"), b""),
        ("b", symlink("/etc/passwd"), b""),
    ]);
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for (path, why) in [
        ("..", "an empty, `.` or `..` component"),
        ("../canary/passwd", "an empty, `.` or `..` component"),
        ("a/../../canary/passwd", "an empty, `.` or `..` component"),
        ("/tmp/state-canary", "an empty, `.` or `..` component"),
        ("a//b", "an empty, `.` or `..` component"),
        ("./a", "an empty, `.` or `..` component"),
        ("nul\0", "a NUL in a name"),
        (".state/restore.json", "a path that is reserved"),
        (&"n".repeat(256), "a name longer than 255 bytes"),
        (&"n/".repeat(3000), "a path longer than 4095 bytes"),
        ("missing/file", "does not lie in a directory before it"),
    ] {
        refused(&Forge::new(&[(path, FILE, b"owned")]), why);
    }
}

#[test]
fn nothing_goes_through_a_symlink() {
    let through = "does not lie in a directory before it";
    refused(
        &Forge::new(&[
            ("evil", symlink("../canary"), b""),
            ("evil/passwd", FILE, b"owned"),
        ]),
        through,
    );
    refused(
        &Forge::new(&[("evil", symlink("../canary"), b""), ("evil/dir", DIR, b"")]),
        through,
    );
    for second in [DIR, FILE, symlink("x")] {
        let forge = Forge::new(&[("evil", symlink("../canary"), b""), ("evil", second, b"")]);
        refused(&forge, "a path that comes twice");
    }
}

#[test]
fn links_lead_only_to_what_came_before() {
    let nothing = "a further name of nothing that came before";
    for (target, why) in [
        ("/etc/passwd", "an empty, `.` or `..` component"),
        ("../canary/passwd", "an empty, `.` or `..` component"),
        ("later", nothing),
        ("evil", nothing),
        ("evil/passwd", nothing),
        ("dir", nothing),
        ("", nothing),
    ] {
        let forge = Forge::new(&[("dir", DIR, b""), ("e", link(target), b"")]);
        refused(&forge, why);
    }
    // A further name of a symlink is that symlink, never what it points to.
    let forge = Forge::new(&[
        ("evil", symlink("../canary/passwd"), b""),
        ("more", link("evil"), b""),
    ]);
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
}

#[test]
fn the_tar_holds_what_the_manifest_lists_and_nothing_else() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    let smuggled = member("smuggled", FILE, b"").encode().unwrap();
    let mut forge = one();
    forge.extra = smuggled;
    refused(&forge, "it is not where it should be");

    let announced = "it is not what the manifest announces";
    refused(&one().last(|r| r.mode = 0o4755), announced);
    refused(&one().last(|r| r.uid = 7), announced);
    refused(&one().last(|r| r.path = b"other".to_vec()), announced);
    refused(&one().last(|r| r.modified.seconds = 7), announced);
    let capability = || [(b"security.capability".to_vec(), vec![1])].into();
    refused(&one().last(|r| r.extra.xattrs = capability()), announced);
    refused(&one().last(|r| r.what = What::Directory), announced);
    refused(&one().bend(|h| h[103] = b'7'), announced); // the mode in the tar alone
    let file = |size, content: &[u8]| What::File {
        size,
        sha256: Digest::of(content),
        is_sparse: false,
    };
    refused(&one().last(|r| r.what = file(8, b"content")), announced);
    refused(
        &one().last(|r| r.what = file(7, b"CONTENT")),
        "its content has digest",
    );
    refused(&one().last(|r| r.archive = 1), "it is in another archive");
    refused(&one().last(|r| r.store = 1), "a store that is none");
}

#[test]
fn only_this_formats_headers_are_read() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    for (letter, shown) in [
        (b'L', "L"),
        (b'K', "K"),
        (b'S', "S"),
        (b'M', "M"),
        (b'g', "g"),
        (b'V', "V"),
        (b'3', "3"),
        (b'4', "4"),
        (b'7', "7"),
        (b'D', "D"),
    ] {
        let forge = one().bend(|header| header[156] = letter);
        refused(&forge, &format!("a member of type `{shown}`"));
    }
    refused(&one().bend(|h| h[156] = 0), "in another form"); // the old letter of a file
    let octal = "a number that is not octal";
    refused(&one().bend(|h| h[124] = 0x80), octal); // base-256
    refused(&one().bend(|h| h[124] = 0xff), octal);
    refused(
        &one().bend(|h| h[124..136].copy_from_slice(b"         7 \0")),
        octal,
    );
    refused(&one().bend(|h| h[124] = b'-'), octal);
    refused(&one().bend(|h| h[136..148].fill(0)), octal);
    refused(
        &one().bend(|h| h[257..265].copy_from_slice(b"ustar  \0")),
        "not ustar",
    );
    refused(&one().bend(|h| h[330] = b'1'), "in another form"); // a device number on a file
    refused(&one().bend(|h| h[505] = b'x'), "in another form"); // in the unused end
    let mut forge = one();
    forge.members.last_mut().unwrap().0[0] ^= 1;
    refused(&forge, "whose checksum is wrong");

    let records = |list: &[(&str, &[u8])]| {
        let mut bytes = Vec::new();
        for (key, value) in list {
            pax::push(&mut bytes, key.as_bytes(), value);
        }
        bytes
    };
    for (list, why) in [
        (
            &[("path", &b"./a"[..]), ("path", b"./file")][..],
            "two records for \"path\"",
        ),
        (&[("path", b"../canary/x")], "does not begin with ./"),
        (&[("size", b"7")], "in another form"), // would fit into ustar
        (&[("size", b"+7")], "a number that is none"),
        (
            &[("size", b"99999999999999999999")],
            "a number that is none",
        ),
        (
            &[("size", b"9223372036854775807")],
            "a size that no file has",
        ),
        (&[("mtime", b"0.0")], "is no time"),
        (&[("comment", b"x")], "a record of an unknown kind"),
        (
            &[("GNU.sparse.major", b"0")],
            "a sparse form other than 1.0",
        ),
        (&[("SCHILY.xattr.user%3", b"")], "an impossible name"),
        (&[("hdrcharset", b"KLINGON")], "an unknown character set"),
        (&[("linkpath", b"/etc/passwd")], "in another form"),
        (&[("uname", b"root")], "in another form"),
    ] {
        refused(&one().pax(&records(list)), why);
    }
    refused(
        &one().pax(b"99 path=./x\n"),
        "a pax record without a true length",
    );
    let twice = records(&[("STATE.flags", b"no-dump")]);
    refused(&one().pax(&twice).pax(&twice), "a member of type `x`");
}

#[test]
fn nothing_hides_behind_or_between() {
    let one = || Forge::new(&[("file", FILE, b"content")]);
    let mut forge = one();
    forge.behind = b"more".to_vec();
    refused(&forge, "no seek table at its end");
    let mut forge = one();
    forge.members.last_mut().unwrap().1 = b"content, and what is in the padding".to_vec();
    forge.members.last_mut().unwrap().1.truncate(7);
    let mut made = forge.make();
    // A byte in the padding of the last member, everything packed anew.
    made = repack(&made, |tar| {
        let at = tar.windows(7).rposition(|w| w == b"content").unwrap();
        tar[at + 8] = 1;
    });
    assert!(
        outcome(&made)
            .unwrap_err()
            .contains("something hides in its padding")
    );
}

/// The archive with its first frame's content changed and the label made to fit.
fn repack(made: &Made, change: impl FnOnce(&mut Vec<u8>)) -> Made {
    let length = SeekTable::length_at_end(&made.data.0, made.label.data_bytes).unwrap();
    let (frames, table) = made.data.0.split_at(made.data.0.len() - length as usize);
    let table = SeekTable::decode(table, made.label.data_bytes).unwrap();
    let (mut data, mut new) = (Vec::new(), SeekTable::default());
    let mut change = Some(change);
    for frame in table.frames() {
        let packed = &frames[frame.at as usize..][..frame.packed as usize];
        let mut content = state::archive::frame::unpack(packed, frame.length as usize).unwrap();
        if let Some(change) = change.take() {
            change(&mut content);
        }
        let packed = Packer::new(3).unwrap().pack(&content).unwrap();
        new.push(packed.len(), content.len()).unwrap();
        data.extend(packed);
    }
    data.extend(new.encode());
    Made {
        label: Label {
            data_bytes: data.len() as u64,
            data_sha256: Digest::of(&data),
            ..made.label.clone()
        },
        data: Memory(data),
        written: made.written.clone(),
    }
}

#[test]
fn a_bomb_does_not_go_off() {
    // A frame that claims and holds a gigabyte of zeros in a few kilobytes.
    let made = Forge::new(&[("file", FILE, b"content")]).make();
    let zeros = zstd::bulk::compress(&vec![0; 1 << 30], 3).unwrap();
    let length = SeekTable::length_at_end(&made.data.0, made.label.data_bytes).unwrap();
    let frames = &made.data.0[..made.data.0.len() - length as usize];
    let table = SeekTable::decode(&made.data.0[frames.len()..], made.label.data_bytes).unwrap();
    for claimed in [1 << 30, 1 << 20] {
        let mut new = SeekTable::default();
        new.push(zeros.len(), claimed).unwrap();
        for frame in table.frames() {
            new.push(frame.packed as usize, frame.length as usize)
                .unwrap();
        }
        let data = [&zeros[..], frames, &new.encode()].concat();
        let made = Made {
            label: Label {
                data_bytes: data.len() as u64,
                data_sha256: Digest::of(&data),
                ..made.label.clone()
            },
            data: Memory(data),
            written: made.written.clone(),
        };
        assert!(outcome(&made).is_err());
    }
}

#[test]
fn what_belongs_to_another_machine_is_dropped_and_said() {
    let mut forge = Forge::new(&[]);
    let mut member = member("file", FILE, b"");
    member.extra.xattrs = [(b"security.ima".to_vec(), b"signature".to_vec())].into();
    forge.records.push(record(&member, b""));
    forge.members.push((member.encode().unwrap(), Vec::new()));
    assert_eq!(
        outcome(&forge.make()),
        Ok(vec![
            "attribute security.ima: attributes of this kind are not restored".into()
        ])
    );
}

#[test]
fn a_newer_format_is_named() {
    let mut forge = Forge::new(&[]);
    forge.format = 2;
    refused(
        &forge,
        "the archive has format 2; this version of state reads format 1",
    );
}

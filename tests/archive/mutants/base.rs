//! The members that are changed.

use super::make::{Class, Piece};
use crate::hostile::Random;
use state::archive::manifest::order;
use state::archive::member::{BLOCK, Kind, Member, padded};
use state::archive::pax::Time;

/// The members of an archive: one of each kind at least, and more of their own if asked.
pub(super) fn base(class: Class, random: &mut Random) -> Vec<Piece> {
    let mut made = vec![
        own("", Kind::Directory, b""),
        own("a", Kind::Directory, b""),
        own("a/file", Kind::File, &[b'c'; 700]),
        own(
            "b",
            Kind::Symlink {
                target: b"/etc/passwd".into(),
            },
            b"",
        ),
        own(
            "c",
            Kind::Link {
                target: b"a/file".into(),
            },
            b"",
        ),
        own("d", Kind::Fifo, b""),
        holes(),
        own(&format!("f{}", "n".repeat(110)), Kind::File, b"long name"),
        own("g", Kind::File, b""),
    ];
    if matches!(
        class,
        Class::Members | Class::Bits | Class::Records | Class::Content
    ) {
        for _ in 0..3 {
            let new = strange(random);
            if made.iter().all(|(member, _)| member.path != new.0.path) {
                made.push(new);
            }
        }
    }
    made.sort_by(|a, b| order(&a.0.path, &b.0.path));
    let piece = |(member, mut content): (Member, Vec<u8>)| {
        content.resize(padded(content.len() as u64) as usize, 0);
        (member.encode().unwrap(), content)
    };
    made.into_iter().map(piece).collect()
}

fn own(path: &str, kind: Kind, content: &[u8]) -> (Member, Vec<u8>) {
    let mut member = crate::malicious::member(path, kind, content);
    if member.kind == Kind::Directory {
        member.mode = 0o755;
    }
    (member, content.to_vec())
}

/// A file with holes: three extents, the last of them empty, at the end.
fn holes() -> (Member, Vec<u8>) {
    let mut content = b"3\n4096\n512\n12288\n600\n20000\n0\n".to_vec();
    content.resize(BLOCK, 0);
    content.extend([b'1'; 512]);
    content.extend([b'2'; 600]);
    own("e", Kind::Sparse { real_size: 20_000 }, &content)
}

/// A member that is legal and that nobody likes.
fn strange(random: &mut Random) -> (Member, Vec<u8>) {
    const NAMES: [&[u8]; 15] = [
        b" ",
        b"-x",
        b"...",
        b"a b ",
        b"new\nline",
        b"25 linkpath=..\n",
        b"\xff\xfe",
        b"\xc3\xa9",
        b"back\\slash",
        b"%25=",
        b"\x01",
        b"*?[",
        b"a\x7f",
        b"~",
        b"PaxHeaders",
    ];
    let name = match random.below(4) {
        0 => vec![*random.pick(b"xyz "); *random.pick(&[1, 91, 95, 98, 99, 100, 101, 155, 255])],
        1 => format!("h{}", random.below(1000)).into_bytes(),
        _ => random.pick(&NAMES).to_vec(),
    };
    let below: &[u8] = if random.one_in(2) { b"" } else { b"a/" };
    let kind = match random.below(5) {
        0 => Kind::Directory,
        1 => Kind::Symlink {
            target: match random.below(3) {
                0 => random.pick(&NAMES).to_vec(),
                1 => vec![b't'; *random.pick(&[1, 99, 100, 101, 300])],
                _ => b"../../etc/shadow".to_vec(),
            },
        },
        _ => Kind::File,
    };
    let content = match kind {
        Kind::File => vec![b's'; *random.pick(&[0, 1, 511, 512, 513, 3000])],
        _ => Vec::new(),
    };
    let (mut member, content) = own("", kind, &content);
    member.path = [below, &name].concat();
    member.mode = *random.pick(&[0o644, 0o755, 0o000, 0o4711, 0o1777]);
    member.uid = *random.pick(&[0, 7, 1000, 2_097_151, 2_097_152, 4_294_967_294]);
    member.gid = *random.pick(&[0, 7, 65534, 4_000_000_000]);
    // As `parts::machine` calls them.
    let names: [(u32, &[u8]); 2] = [(0, b"root"), (7, b"l\xff")];
    let name = names.iter().find(|(id, _)| *id == member.uid);
    member.user = name.map_or(Vec::new(), |(_, name)| name.to_vec());
    member.group = if member.gid == 0 {
        b"root".to_vec()
    } else {
        Vec::new()
    };
    member.modified = Time {
        seconds: *random.pick(&[0, -1, 1, 1_700_000_000, 8_589_934_592]),
        nanoseconds: *random.pick(&[0, 1, 500_000_000]),
    };
    if !matches!(member.kind, Kind::Symlink { .. }) && random.one_in(3) {
        let value = b"\0\n20 path=./a/file\n\xff".to_vec();
        member.extra.xattrs.insert(b"user.x".to_vec(), value);
    }
    (member, content)
}

//! Made-up initrds: archives in every wrapping, and each way of being wrong.

use super::elf;
use super::judge::{Wanted, faults};
use super::*;
use crate::boot::files;
use crate::persist::{PersistTree, Users};
use crate::program::Program;
use crate::settings::Settings;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::LazyLock;

const CONFIGURATION: &str = "\
[root]
backend = \"btrfs\"
device = \"/dev/vda2\"
subvolume = \"root\"
[persist.\"/persist\"]
files = [\"/etc/machine-id\"]
";

/// Path, mode, content, inode.
type Packed = (String, u32, Vec<u8>, u32);

/// An archive as cpio(1) makes it.
fn archive(entries: &[Packed]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = ("TRAILER!!!".to_owned(), 0, Vec::new(), 0);
    for (path, mode, content, inode) in entries.iter().chain([&end]) {
        let links = entries.iter().filter(|each| each.3 == *inode).count();
        let size = content.len();
        let name_size = path.len() + 1;
        write!(
            bytes,
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
            0
        )
        .unwrap();
        for part in [format!("{path}\0").as_bytes(), content] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// The entries of an initrd with systemd that is as it should be.
fn right() -> (Vec<Packed>, Wanted) {
    let settings: Settings = CONFIGURATION.parse().unwrap();
    let tree = PersistTree::resolve(&settings, &Users::parse(b"", b"")).unwrap();
    let contents = files::initrd(&settings, &tree, CONFIGURATION);
    let bytes = std::fs::read("/proc/self/exe").unwrap();
    let mut entries = Vec::new();
    let mut add = |path: &str, mode: u32, content: &[u8]| {
        let inode = u32::try_from(entries.len()).unwrap() + 1;
        let path = path.trim_start_matches('/').to_owned();
        entries.push((path, mode, content.to_owned(), inode));
    };
    add("usr/bin", 0o040_755, b"");
    for file in &contents.files {
        add(&file.path, 0o100_644, file.text.as_bytes());
    }
    for link in &contents.links {
        add(&link.path, 0o120_777, link.target.as_bytes());
    }
    for need in elf::read(&bytes).unwrap().needs {
        add(&format!("usr/lib/{need}"), 0o100_755, b"");
    }
    add("usr/lib/systemd/systemd", 0o100_755, b"");
    add(
        "usr/lib/modules/6.1/kernel/fs/btrfs/btrfs.ko.xz",
        0o100_644,
        b"",
    );
    add("usr/bin/state", 0o100_755, &bytes);
    let wanted = Wanted {
        contents,
        program: "/usr/local/bin/state".into(),
        bytes,
        root: settings.root.unwrap(),
        stores: Vec::new(),
    };
    (entries, wanted)
}

fn read(bytes: &[u8]) -> Result<Tree, String> {
    static WANTED: LazyLock<Wanted> = LazyLock::new(|| right().1);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Tree::read(file, &|path| WANTED.reads(path)).map_err(|error| error.to_string())
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Program::Gzip.pipe("packing", ["-1c"]).unwrap();
    let (mut stdin, mut stdout) = (gzip.stdin.take().unwrap(), gzip.stdout.take().unwrap());
    let bytes = bytes.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes).unwrap());
    let mut packed = Vec::new();
    stdout.read_to_end(&mut packed).unwrap();
    writer.join().unwrap();
    packed
}

/// Early microcode stands before the main archive, uncompressed and padded.
#[test]
fn the_main_archive_is_found_in_every_wrapping() {
    let (entries, wanted) = right();
    let main = archive(&entries);
    let mut early = archive(&[(
        "kernel/x86/microcode/a.bin".into(),
        0o100_644,
        vec![1; 700],
        1,
    )]);
    early.resize(early.len().next_multiple_of(512), 0);
    let cases: [(&str, Vec<u8>); 4] = [
        ("plain", main.clone()),
        ("zstd", zstd::encode_all(&main[..], 1).unwrap()),
        ("gzip", gzipped(&main)),
        (
            "two archives",
            [archive(&entries[..3]), vec![0; 512], archive(&entries[3..])].concat(),
        ),
    ];
    for (name, packed) in cases {
        for bytes in [packed.clone(), [early.clone(), packed].concat()] {
            let tree = read(&bytes).unwrap();
            assert_eq!(faults(&tree, &wanted), [""; 0], "{name}");
        }
    }
}

#[test]
fn what_is_no_initrd_is_told() {
    let main = archive(&right().0[..4]);
    let packed = zstd::encode_all(&main[..], 1).unwrap();
    for (bytes, expected) in [
        (&b""[..], "it is empty"),
        (b"hello", "it is compressed by nothing that is known"),
        (b"0707", "it is cut short"),
        (&[b'0'; 200], "it is no cpio archive"),
        (&main[..main.len() / 2], "it is cut short"),
        (&packed[..packed.len() / 2], "incomplete frame"),
        (
            b"MZ is the beginning of a program",
            "it has no initrd in it",
        ),
    ] {
        let error = read(bytes).unwrap_err();
        assert_eq!(error, expected);
    }
}

/// dracut joins files that are alike: the content comes with the last name.
#[test]
fn content_comes_with_the_last_of_several_names() {
    let one = |path: &str, content: &str| (path.to_owned(), 0o100_644, content.into(), 7);
    let bytes = archive(&[
        one("etc/state/state.toml", ""),
        one("usr/share/other", "x = 1"),
    ]);
    let tree = read(&bytes).unwrap();
    assert_eq!(tree.content("/etc/state/state.toml"), Some(&b"x = 1"[..]));
}

#[test]
fn everything_that_would_stop_the_reset_is_found() {
    type Change = fn(&mut Vec<Packed>);
    fn find<'a>(entries: &'a mut [Packed], end: &str) -> &'a mut Packed {
        entries
            .iter_mut()
            .find(|each| each.0.ends_with(end))
            .unwrap()
    }
    let table: &[(Change, &str)] = &[
        (
            |e| find(e, "bin/state").0 = "usr/bin/other".into(),
            "state is not in it",
        ),
        (
            |e| {
                let program = &mut find(e, "bin/state").2;
                let middle = elf::middle(program);
                program[middle] ^= 1;
            },
            "the program in it is another than /usr/local/bin/state",
        ),
        (
            |e| find(e, "libc.so.6").0 = "usr/lib/libc.so.5".into(),
            "libc.so.6 is not in it, and the program needs it",
        ),
        (
            |e| find(e, "state.toml").2.push(b'\n'),
            "the configuration in it is not the machine's any more",
        ),
        (
            |e| find(e, "system/state-reset.service").2.push(b'\n'),
            "in it /usr/lib/systemd/system/state-reset.service is not as it should be",
        ),
        (
            |e| find(e, "wants/state-reset.service").2 = b"/dev/null".into(),
            "nothing starts state-reset.service in it: no link in initrd.target.wants",
        ),
        (
            |e| {
                let mask = "etc/systemd/system/state-reset.service".to_owned();
                e.push((mask, 0o120_777, b"/dev/null".into(), 99));
            },
            "/etc/systemd/system/state-reset.service in it changes state-reset.service",
        ),
        (
            |e| {
                let more = "etc/systemd/system/state-reset.service.d/a.conf".to_owned();
                e.push((more, 0o100_644, b"".into(), 99));
            },
            "/etc/systemd/system/state-reset.service.d/a.conf in it changes state-reset.service",
        ),
        (
            |e| {
                let path = "usr/lib/systemd/system/a.service".to_owned();
                let text = b"[Unit]\nAfter=sysroot.mount\nBefore=state-reset.service\n";
                e.push((path, 0o100_644, text.into(), 99));
            },
            "in it state-reset.service, sysroot.mount, a.service wait for each other in a ring, which systemd breaks by leaving one out",
        ),
        (
            |e| find(e, "btrfs.ko.xz").0 = "a.ko".into(),
            "the kernel's module btrfs is not in it",
        ),
        // Without systemd it is another maker's, and has none of its hooks.
        (
            |e| find(e, "systemd/systemd").0 = "init".into(),
            "in it /scripts/local-premount/state is not as it should be; in it /scripts/local-bottom/state is not as it should be",
        ),
    ];
    for (change, expected) in table {
        let (mut entries, wanted) = right();
        change(&mut entries);
        let tree = read(&archive(&entries)).unwrap();
        assert_eq!(faults(&tree, &wanted).join("; "), *expected);
    }
}

#[test]
fn what_mounts_the_stores_and_speaks_to_zfs_is_looked_for() {
    let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
    let zfs = || zfs.parse::<Settings>().unwrap().root;
    type Row<'a> = (
        Option<crate::settings::Root>,
        &'a [&'a str],
        &'a [&'a str],
        &'a str,
    );
    let table: [Row<'_>; 7] = [
        (None, &["btrfs", "auto"], &[], ""),
        (None, &["xfs"], &[], "the kernel's module xfs is not in it"),
        (None, &["xfs"], &["xfs.ko.zst"], ""),
        (None, &["ext3"], &["ext4.ko"], ""),
        (
            None,
            &["zfs"],
            &["zfs.ko", "zpool"],
            "the program zfs is not in it",
        ),
        (
            zfs(),
            &[],
            &["zfs.ko", "zfs"],
            "the program zpool is not in it",
        ),
        (zfs(), &["zfs"], &["zfs.ko", "zfs", "zpool"], ""),
    ];
    for (root, stores, more, expected) in table {
        let (mut entries, mut wanted) = right();
        wanted.stores = stores.iter().map(ToString::to_string).collect();
        wanted.root = root.unwrap_or(wanted.root);
        for name in more {
            let inode = u32::try_from(entries.len()).unwrap() + 1;
            entries.push((format!("some/{name}"), 0o100_755, Vec::new(), inode));
        }
        let tree = read(&archive(&entries)).unwrap();
        assert_eq!(
            faults(&tree, &wanted).join("; "),
            expected,
            "{stores:?} {more:?}"
        );
    }
}

#[test]
fn hooks_of_initrds_without_systemd_are_read() {
    use crate::boot::maker::Maker;
    let (mut entries, wanted) = right();
    entries.retain(|each| each.0 != "usr/lib/systemd/systemd");
    for file in Maker::InitramfsTools.files() {
        if let Some(path) = file.path.strip_prefix("/etc/initramfs-tools/scripts/") {
            let (dir, _) = path.split_once('/').unwrap();
            let path = format!("scripts/{path}");
            let order = format!("/{path} \"$@\"\n[ -e /conf/param.conf ] && . /conf/param.conf\n");
            entries.push((path, 0o100_755, file.text.into_bytes(), 0));
            entries.push((
                format!("scripts/{dir}/ORDER"),
                0o100_644,
                order.into_bytes(),
                0,
            ));
        }
    }
    for (n, entry) in entries.iter_mut().enumerate() {
        entry.3 = u32::try_from(n).unwrap() + 1;
    }
    assert_eq!(faults(&read(&archive(&entries)).unwrap(), &wanted), [""; 0]);
    let order = entries
        .iter_mut()
        .find(|each| each.0.ends_with("local-premount/ORDER"));
    order.unwrap().2.clear();
    assert_eq!(
        faults(&read(&archive(&entries)).unwrap(), &wanted),
        ["/scripts/local-premount/ORDER in it does not name state"]
    );
}

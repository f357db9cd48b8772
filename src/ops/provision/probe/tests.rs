//! Marks of every kind, and of none.

use super::*;

struct Memory(Vec<u8>);

impl ReadAt for Memory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }
    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let begin = offset as usize;
        Ok(self.0[begin..begin + len].to_vec())
    }
}

/// What is written where.
type Writes<'a> = &'a [(usize, &'a [u8])];

fn look(length: usize, writes: Writes<'_>) -> Content {
    let mut bytes = vec![0; length];
    for (at, what) in writes {
        bytes[*at..*at + what.len()].copy_from_slice(what);
    }
    content(&Memory(bytes)).unwrap()
}

const UUID: &[u8] = b"\x1b\x2c\x4d\x5e\x0f\x3a\x4b\x6c\x8d\x9e\xa1\xb2\xc3\xd4\xe5\xf6";

#[test]
fn only_nothing_at_all_is_empty() {
    assert_eq!(look(4 << 20, &[]), Content::Empty);
    assert_eq!(
        content(&Memory(vec![0xff; 3 << 20])).unwrap(),
        Content::Empty
    );
    assert_eq!(look(0, &[]), Content::Empty);
    for at in [0, 5000, (1 << 20) - 1, (4 << 20) - 1, 3 << 20] {
        let found = look(4 << 20, &[(at, b"x")]);
        assert!(matches!(found, Content::Unknown { .. }), "{at}: {found:?}");
    }
    // Short devices are looked at whole, and no byte twice.
    let short = look((1 << 20) + 10, &[((1 << 20) + 9, b"x")]);
    assert!(matches!(short, Content::Unknown { .. }));
}

#[test]
fn marks_are_known_with_what_tells_them_apart() {
    let zfs_name = [
        b"\0\0\0\x04name\0\0\0\x09\0\0\0\x01\0\0\0\x05".as_slice(),
        b"rpool",
    ]
    .concat();
    let zfs_magic = 0x00ba_b10c_u64.to_le_bytes();
    let id = "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";
    let end = 8 << 20;
    let table: &[(Writes<'_>, &str)] = &[
        (
            &[(0x10040, b"_BHRfS_M"), (0x10020, UUID), (0x1012b, b"data")],
            &format!("btrfs:{id} btrfs \"data\" ({id})"),
        ),
        (
            &[(0x438, b"\x53\xef"), (0x460, b"\x40"), (0x468, UUID)],
            &format!("ext4:{id} ext4 ({id})"),
        ),
        (
            &[(0x438, b"\x53\xef"), (0x45c, b"\x04"), (0x468, UUID)],
            &format!("ext3:{id} ext3 ({id})"),
        ),
        (&[(0, b"XFSB"), (32, UUID)], &format!("xfs:{id} xfs ({id})")),
        (
            &[
                (0, b"LUKS\xba\xbe\0\x02"),
                (168, id.as_bytes()),
                (24, b"disk"),
            ],
            &format!("luks:{id} luks \"disk\" ({id})"),
        ),
        (
            &[(0x200, b"LABELONE"), (0x218, b"LVM2 001abc")],
            "lvm:abc lvm (abc)",
        ),
        (
            &[(4086, b"SWAPSPACE2"), (0x40c, UUID)],
            &format!("swap:{id} swap ({id})"),
        ),
        (
            &[(512, b"EFI PART"), (568, UUID)],
            "gpt:5e4d2c1b-3a0f-6c4b-8d9e-a1b2c3d4e5f6 gpt (5e4d2c1b-3a0f-6c4b-8d9e-a1b2c3d4e5f6)",
        ),
        (
            &[
                (510, b"\x55\xaa"),
                (450, b"\x83"),
                (440, b"\x01\x02\x03\x04"),
            ],
            "dos:04030201 dos (04030201)",
        ),
        (
            &[
                (end - (8 << 10), b"\xfc\x4e\x2b\xa9"),
                (end - (8 << 10) + 16, UUID),
            ],
            &format!("md:{id} md ({id})"),
        ),
        (
            &[(16 << 10, &zfs_name), (128 << 10, &zfs_magic)],
            "zfs:rpool zfs (rpool)",
        ),
        // Only the labels at the end are left.
        (
            &[
                (end - (128 << 10), &zfs_magic),
                (end - (240 << 10), &zfs_name),
            ],
            "zfs:rpool zfs (rpool)",
        ),
        (
            &[
                (0x10040, b"_BHRfS_M"),
                (0x10020, UUID),
                (510, b"\x55\xaa"),
                (450, b"\x83"),
            ],
            &format!("btrfs:{id},dos:00000000 btrfs ({id}) and dos (00000000)"),
        ),
    ];
    for (writes, expected) in table {
        let found = look(end, writes);
        assert_eq!(format!("{} {found}", found.word().unwrap()), *expected);
    }
}

#[test]
fn what_a_device_holds_can_be_cut_off_anywhere() {
    for length in [1, 511, 512, 4096, 70_000, 200_000, 300_000] {
        let found = look(length, &[(0, b"x")]);
        assert!(matches!(found, Content::Unknown { .. }), "{length}");
    }
}

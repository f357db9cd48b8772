//! What is not laid out.

use super::{ID, Rig};
use std::fs;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_holds_anything_is_refused_and_stays_as_it_is() {
    let id = ID;
    type Fill = fn(&Rig);
    let table: &[(&str, Fill, &str)] = &[
        (
            "another filesystem",
            |rig| rig.run("mkfs.ext4", &["-q", "-F", "-L", "photos", "-U", ID]),
            &format!(
                "error: DEVICE holds ext4 \"photos\" ({id})\n\
                 hint: if that may be lost for ever, say so: --erase ext4:{id}\n"
            ),
        ),
        (
            "the same filesystem with somebody's files",
            |rig| {
                rig.btrfs(|top| {
                    fs::write(top.join("letter"), "dear").unwrap();
                });
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with letter\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "a root that is not empty",
            |rig| {
                rig.btrfs(|top| {
                    state_testing::disk::subvolume(&top.join("root"));
                    fs::create_dir(top.join("root/etc")).unwrap();
                });
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with root/etc\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "a directory where a subvolume should be",
            |rig| {
                rig.btrfs(|top| {
                    fs::create_dir(top.join("persist")).unwrap();
                });
            },
            &format!(
                "error: DEVICE holds btrfs ({id}), with persist\n\
                 hint: if that may be lost for ever, say so: --erase btrfs:{id}\n"
            ),
        ),
        (
            "swap",
            |rig| rig.run("mkswap", &["-q", "-U", ID]),
            &format!(
                "error: DEVICE holds swap ({id})\n\
                 hint: if that may be lost for ever, say so: --erase swap:{id}\n"
            ),
        ),
        (
            "bytes",
            |rig| rig.image.write_all_at(b"x", 100_000).unwrap(),
            "error: DEVICE holds data of no known kind\n\
             hint: if that may be lost for ever, say so: --erase data:DIGEST\n",
        ),
    ];
    for (what, fill, expected) in table {
        let rig = Rig::new(320);
        fill(&rig);
        let before = rig.digest();
        for more in [&["--dry-run"][..], &[], &["--encrypt"]] {
            let (exit, told) = rig.refused(&[&["--backend=btrfs"], more].concat());
            let told = match told.split_once("data:") {
                Some((before, after)) => format!("{before}data:DIGEST{}", &after[8..]),
                None => told,
            };
            // Only what is mounted can be looked into.
            let expected = match more {
                ["--encrypt"] => expected.split(", with").next().unwrap().trim_end(),
                _ => expected,
            };
            assert_eq!(
                (exit, told.starts_with(expected)),
                (Some(4), true),
                "{what}: {told}"
            );
        }
        let (exit, told) = rig.refused(&["--backend=btrfs", "--erase=ext4:0"]);
        assert_eq!(exit, Some(4), "{what}: {told}");
        assert!(told.contains(", not ext4:0\n"), "{what}: {told}");
        assert_eq!(rig.digest(), before, "{what}");
        // Told word for word, it is given up.
        let (_, told) = rig.refused(&["--backend=btrfs"]);
        let word = told.trim_end().rsplit(' ').next().unwrap().to_owned();
        let done = rig.report(&["--backend=btrfs", "--erase", &word]);
        assert!(
            done[0]
                .0
                .starts_with("give up what DEVICE holds, for ever: "),
            "{done:?}"
        );
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_is_in_use_is_refused_whatever_is_said() {
    let rig = Rig::new(320);
    rig.run("mkfs.ext4", &["-q", "-F", "-U", ID]);
    let erase = "--erase=ext4:1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";
    let before = rig.digest();
    let refused = |by: &str| {
        let hint = "hint: nothing that is in use is laid out: unmount it, switch it off, or take another one\n";
        (Some(4), format!("error: DEVICE is in use by {by}\n{hint}"))
    };
    let alone = fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
        .open(rig.device.path())
        .unwrap();
    assert_eq!(
        rig.refused(&["--backend=btrfs", erase]),
        refused("something in the kernel")
    );
    drop(alone);
    assert_eq!(rig.digest(), before);
    let mounted = rig.mount("ext4");
    for options in [&["--backend=btrfs", erase][..], &["--backend=tmpfs"]] {
        assert_eq!(rig.refused(options), refused("a mount at DIR/other"));
    }
    mounted.unmount().unwrap();
    // A place that is taken is no better.
    fs::create_dir_all(rig.at("home")).unwrap();
    let (exit, told) = rig.refused(&["--backend=btrfs", erase]);
    assert_eq!(exit, Some(4));
    assert_eq!(
        told,
        "error: DIR/mnt is not empty: a mount would hide what is there\n\
         hint: empty it, or choose another directory with --into\n"
    );
}

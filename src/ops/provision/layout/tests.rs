//! The lines for each engine, and what cannot be had together.

use super::*;

fn wanted(backend: Backend, store_on: Option<Filesystem>, volumes: &[&str]) -> Wanted {
    Wanted {
        backend,
        store_on,
        stores: vec!["/persist".into()],
        volumes: volumes.iter().map(PathBuf::from).collect(),
        takes_blank: true,
        pool: "rpool".into(),
    }
}

#[test]
fn each_engine_has_its_lines() {
    let id = "1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6";
    let table: &[(Wanted, bool, &[&str])] = &[
        (
            wanted(Backend::Btrfs, None, &["/nix", "/home"]),
            true,
            &[
                "UUID=ID / btrfs subvol=root,noatime 0 0",
                "UUID=ID /home btrfs subvol=home,noatime,x-initrd.mount 0 0",
                "UUID=ID /nix btrfs subvol=nix,noatime,x-initrd.mount 0 0",
                "UUID=ID /persist btrfs subvol=persist,noatime,x-initrd.mount 0 0",
            ],
        ),
        (
            wanted(Backend::Zfs, None, &["/nix"]),
            true,
            &[
                "rpool/local/root / zfs noatime 0 0",
                "rpool/local/nix /nix zfs noatime,x-initrd.mount 0 0",
                "rpool/safe/persist /persist zfs noatime,x-initrd.mount 0 0",
            ],
        ),
        (
            wanted(Backend::Tmpfs, None, &[]),
            false,
            &[
                "tmpfs / tmpfs mode=0755,size=50% 0 0",
                "UUID=ID /persist ext4 noatime,x-initrd.mount 0 2",
            ],
        ),
        (
            wanted(Backend::Tmpfs, Some(Filesystem::Xfs), &["/nix"]),
            false,
            &[
                "tmpfs / tmpfs mode=0755,size=50% 0 0",
                "UUID=ID /nix xfs noatime,x-initrd.mount 0 0",
                "/nix/persist /persist none bind,x-initrd.mount 0 0",
            ],
        ),
        (
            wanted(Backend::Tmpfs, Some(Filesystem::Btrfs), &["/nix"]),
            false,
            &[
                "tmpfs / tmpfs mode=0755,size=50% 0 0",
                "UUID=ID /nix btrfs subvol=nix,noatime,x-initrd.mount 0 0",
                "UUID=ID /persist btrfs subvol=persist,noatime,x-initrd.mount 0 0",
            ],
        ),
        (
            wanted(Backend::Overlay, None, &[]),
            false,
            &["UUID=ID /persist ext4 noatime,x-initrd.mount 0 2"],
        ),
    ];
    for (wanted, takes_blank, lines) in table {
        let layout = Layout::of(wanted).unwrap();
        let lines: Vec<_> = (lines.iter())
            .map(|line| line.replace("=ID ", &format!("={id} ")))
            .collect();
        assert_eq!(layout.fstab(id), lines);
        assert_eq!(layout.takes_blank, *takes_blank);
    }
}

#[test]
fn what_cannot_be_had_together_is_refused() {
    for (wanted, fact) in [
        (
            wanted(Backend::Btrfs, Some(Filesystem::Ext4), &[]),
            "root and store share the device, which cannot be ext4 too",
        ),
        (
            wanted(Backend::Tmpfs, None, &["/nix", "/home"]),
            "ext4 and xfs hold one store and one further volume, not 1 and 2",
        ),
        (
            wanted(Backend::Btrfs, None, &["/persist"]),
            "/persist has the place of another volume",
        ),
        (
            wanted(Backend::Zfs, None, &["/a/b", "/a-b"]),
            "/a/b has the place of another volume",
        ),
        // The subvolume `root` is root's.
        (
            wanted(Backend::Btrfs, None, &["/root"]),
            "/root has the place of another volume",
        ),
        (
            wanted(Backend::Btrfs, None, &["/a b"]),
            "/a b cannot be the name of a volume",
        ),
        (
            wanted(Backend::Btrfs, None, &["nix"]),
            "nix is not absolute",
        ),
    ] {
        assert_eq!(Layout::of(&wanted).unwrap_err().to_string(), fact);
    }
}

#[test]
fn layers_lie_where_no_exchange_of_the_store_moves_them() {
    for (store_on, volumes, expected) in [
        (None, &[][..], ".state/layers"),
        (Some(Filesystem::Btrfs), &[], "state/layers"),
        (None, &["/srv"], "state/layers"),
    ] {
        let layout = Layout::of(&wanted(Backend::Overlay, store_on, volumes)).unwrap();
        let Root::Overlay { directory, .. } = layout.root("1b2c") else {
            panic!()
        };
        assert_eq!(directory, Path::new(expected), "{store_on:?} {volumes:?}");
    }
}

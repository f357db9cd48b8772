use super::*;
use tempfile::TempDir;

const CONFIGURATION: &str = "\
[root]
backend = \"btrfs\"
device = \"/dev/disk/by-uuid/1b2c\"
subvolume = \"root\"
[persist.\"/persist\"]
files = [\"/etc/machine-id\"]
";

/// A machine with this program, this maker and this fstab.
fn machine(maker: Maker, fstab: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let at = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    };
    put("/etc/state/state.toml", CONFIGURATION);
    put("/etc/fstab", fstab);
    put("/usr/local/bin/state", "");
    put(maker.sign(), "");
    dir
}

fn cx(dir: &Path, dry_run: bool) -> Context<'static> {
    Context {
        now: "2026-11-21T11:37:05Z".parse().unwrap(),
        boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
        dry_run,
        ..Context::below(dir)
    }
}

const RIGHT: &str =
    "UUID=1b2c / btrfs subvol=root\nUUID=1b2c /persist btrfs subvol=p,x-initrd.mount\n";

#[test]
fn it_installs_once_and_then_finds_everything_so() {
    for maker in Maker::ALL {
        let dir = machine(maker, RIGHT);
        let dry = run(&cx(dir.path(), true), None).unwrap();
        assert_eq!(dry.maker, Some(maker));
        assert!(dry.files.iter().all(|file| file.is_new) && !dry.executed);
        assert!(
            !dir.path().join("etc/systemd").exists(),
            "a dry run writes nothing"
        );

        let first = run(&cx(dir.path(), false), None).unwrap();
        assert_eq!(first.files, dry.files);
        for file in &first.files {
            let at = dir.path().join(file.path.strip_prefix("/").unwrap());
            assert!(
                at.exists(),
                "{}: is there, and a link leads somewhere",
                at.display()
            );
        }
        let again = run(&cx(dir.path(), false), None).unwrap();
        assert!(again.files.iter().all(|file| !file.is_new));

        // What was changed is put right.
        let unit = dir.path().join("etc/systemd/system/state-mount.service");
        fs::write(&unit, "x").unwrap();
        let mended = run(&cx(dir.path(), false), Some(maker)).unwrap();
        let new = mended.files.iter().filter(|file| file.is_new).count();
        assert_eq!(new, 1);
    }
}

#[test]
fn what_would_boot_wrong_is_refused() {
    let refusal = |maker, fstab: &str, asked| {
        let dir = machine(maker, fstab);
        let error = run(&cx(dir.path(), false), asked).unwrap_err();
        let failure: Failure = error.downcast().unwrap();
        assert!(!dir.path().join("etc/systemd").exists());
        failure.fact
    };
    let late = "UUID=1b2c /persist btrfs subvol=p\n";
    assert_eq!(
        refusal(Maker::Dracut, late, None),
        "/etc/fstab mounts /persist only after the initrd, and early entries are in it"
    );
    assert_eq!(
        refusal(Maker::Dracut, "", None),
        "/etc/fstab does not mount the store /persist"
    );
    assert_eq!(
        refusal(Maker::Dracut, RIGHT, Some(Maker::Mkinitcpio)),
        "mkinitcpio is not installed here"
    );
    let bound = "UUID=1b2c /data ext4 defaults\n/data/persist /persist none bind,x-initrd.mount\n";
    assert_eq!(
        refusal(Maker::InitramfsTools, bound, None),
        "/etc/fstab binds /persist to its place, and an initrd of initramfs-tools's cannot"
    );
    let dir = machine(Maker::Dracut, bound);
    assert!(run(&cx(dir.path(), true), None).is_ok());
    // Its script mounts the stores itself.
    let dir = machine(Maker::InitramfsTools, late);
    assert!(run(&cx(dir.path(), false), None).is_ok());
    // Which of two programs an initrd gets is not left to chance.
    let second = dir.path().join("usr/local/sbin/state");
    fs::create_dir_all(second.parent().unwrap()).unwrap();
    fs::write(&second, "").unwrap();
    assert!(
        run(&cx(dir.path(), false), None).is_ok(),
        "they are the same"
    );
    fs::write(&second, "older").unwrap();
    let error = run(&cx(dir.path(), false), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/usr/local/bin/state and /usr/local/sbin/state differ"
    );
    fs::remove_file(second).unwrap();
    // What is only in the build directory is not there at the next boot.
    fs::remove_file(dir.path().join("usr/local/bin/state")).unwrap();
    let error = run(&cx(dir.path(), false), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program is not installed on this machine"
    );
}

/// systemd-remount-fs.service does what the line says to whatever is mounted there.
#[test]
fn a_line_that_makes_root_writable_is_refused_below_an_overlay() {
    let dir = machine(Maker::Dracut, RIGHT);
    let overlay = CONFIGURATION
        .replace("btrfs", "overlay")
        .replace("subvolume = \"root\"\n", "");
    fs::write(dir.path().join("etc/state/state.toml"), overlay).unwrap();
    let error = run(&cx(dir.path(), true), None).unwrap_err();
    assert_eq!(error.to_string(), "/etc/fstab has a line for /");
    let without = RIGHT.lines().skip(1).collect::<String>();
    fs::write(dir.path().join("etc/fstab"), without).unwrap();
    assert!(run(&cx(dir.path(), true), None).is_ok());
}

/// A machine that runs above what its boot loader reads, with these mounts.
#[test]
fn a_boot_that_no_boot_loader_reads_is_not_written() {
    let overlay = "[root]\nbackend = \"overlay\"\ndevice = \"/dev/disk/by-uuid/1b2c\"\n";
    let tmpfs = "[root]\nbackend = \"tmpfs\"\n";
    let refused = |root: &str, mounts: &[(&str, &str)]| {
        let (_, stores) = RIGHT.split_once('\n').unwrap();
        let dir = machine(Maker::Dracut, stores);
        fs::write(dir.path().join("etc/state/state.toml"), root).unwrap();
        let line = |(at, kind): &(&str, &str)| format!("1 1 0:1 / {at} rw - {kind} none rw\n");
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        let mounts: String = mounts.iter().map(line).collect();
        fs::write(dir.path().join("proc/self/mountinfo"), mounts).unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        fs::write(dir.path().join("boot/initrd.img-6.1"), "").unwrap();
        let ended = run(&cx(dir.path(), true), None);
        ended
            .err()
            .map(|error| error.downcast::<Failure>().unwrap())
    };
    let upper = refused(overlay, &[("/", "overlay")]).unwrap();
    assert_eq!(
        upper.fact,
        "/boot is in the upper layer here: the boot loader reads the installed system's"
    );
    let cure = upper.cure.unwrap();
    assert!(
        cure.starts_with("boot once without the overlay (`rd.systemd.mask="),
        "{cure}"
    );
    let memory = refused(tmpfs, &[("/", "tmpfs"), ("/boot/efi", "vfat")]).unwrap();
    assert_eq!(
        memory.fact,
        "/boot is in memory here: the boot loader reads the one on its disk"
    );
    // A filesystem of its own; the first installation, or once without the overlay.
    for (root, mounts) in [
        (overlay, [("/", "overlay"), ("/boot", "ext4")]),
        (tmpfs, [("/", "tmpfs"), ("/boot", "ext4")]),
        (overlay, [("/", "ext4"), ("/home", "ext4")]),
    ] {
        assert_eq!(
            refused(root, &mounts).map(|failure| failure.fact),
            None,
            "{mounts:?}"
        );
    }
}

#[test]
fn a_zfs_root_wants_an_initrd_that_can_import_pools() {
    let refusal = |maker| {
        let dir = machine(maker, RIGHT);
        let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
        let at = dir.path().join("etc/state/state.toml");
        fs::write(at, zfs).unwrap();
        let error = run(&cx(dir.path(), true), None).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        refusal(Maker::InitramfsTools),
        "a ZFS root needs an initrd of dracut's; this one is initramfs-tools's"
    );
    assert_eq!(
        refusal(Maker::Dracut),
        "dracut has no module for ZFS: its initrd could not mount root"
    );
}

#[test]
fn root_declared_elsewhere_than_the_initrd_reads_is_refused() {
    let dir = machine(Maker::Dracut, RIGHT);
    let (root, rest) = CONFIGURATION.split_once("[persist").unwrap();
    let etc = dir.path().join("etc/state");
    fs::write(etc.join("state.toml"), format!("[persist{rest}")).unwrap();
    fs::create_dir(etc.join("state.d")).unwrap();
    fs::write(etc.join("state.d/root.toml"), root).unwrap();
    let error = run(&cx(dir.path(), true), None).unwrap_err();
    assert!(
        error.to_string().starts_with("[root] is declared beside"),
        "{error}"
    );
}

#[test]
fn hooks_get_what_an_initrd_holds() {
    let dir = machine(Maker::Dracut, RIGHT);
    let initrd = tempfile::tempdir().unwrap();
    initrd_files(&cx(dir.path(), false), initrd.path()).unwrap();
    let copy = fs::read_to_string(initrd.path().join("etc/state/state.toml")).unwrap();
    assert_eq!(copy, CONFIGURATION);
    let wanted = "usr/lib/systemd/system/initrd.target.wants/state-reset.service";
    let unit = fs::read_to_string(initrd.path().join(wanted)).unwrap();
    assert!(
        unit.contains(r"Requires=dev-disk-by\x2duuid-1b2c.device"),
        "{unit}"
    );
}

/// What tells an initrd that was made from one that was not.
#[test]
fn files_written_since_are_found_at_any_useful_depth() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("EFI/Linux");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.efi"), "").unwrap();
    let now = SystemTime::now();
    assert!(has_newer(dir.path(), now, BOOT_DEPTH));
    assert!(!has_newer(dir.path(), now, 1));
    let later = now + Duration::from_secs(60);
    assert!(!has_newer(dir.path(), later, BOOT_DEPTH));
    assert!(!has_newer(&dir.path().join("nothing"), now, BOOT_DEPTH));
}

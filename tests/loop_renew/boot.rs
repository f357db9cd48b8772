//! `/boot`, as a filesystem of its own and inside root.

use crate::machine::{Machine, code, stderr, stdout};
use state_linux::mount::Guard;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_boot_of_its_own_is_outside_blank_and_goes_with_modules() {
    let machine = Machine::new();
    let boot = machine.dir.path().join("boot");
    fs::create_dir_all(&boot).unwrap();
    fs::write(
        machine.root("etc/fstab"),
        "LABEL=boot /boot ext4 defaults 0 2\n",
    )
    .unwrap();
    let absent = machine.run("true");
    assert_eq!(
        (code(&absent), stderr(&absent).as_str()),
        (
            4,
            "error: /boot is not mounted\nhint: mount it: a kernel that is installed goes there\n"
        )
    );
    let mode = [("mode", Some("0755".as_ref()))];
    let tmpfs = state_linux::mount::tmpfs(&mode, state_linux::mount::Attributes::empty()).unwrap();
    let _boot = Guard::attach(tmpfs, &machine.root("boot")).unwrap();
    let install = |version: &str| {
        format!("mkdir -p /usr/lib/modules/{version}; echo kernel >/boot/vmlinuz-{version}")
    };
    machine.install("/bin/mkdir");
    machine.done(&["--yes", "blank", "take"]);
    let ran = machine.run(&install("6.1.0-9"));
    assert_eq!(code(&ran), 0, "{ran:?}");
    let ran = machine.run(&install("6.1.0-10"));
    assert_eq!(code(&ran), 0, "{ran:?}");
    // The one before has no modules for what starts.
    let undo = machine.state(&["blank", "undo"]);
    assert_eq!(
        (code(&undo), stderr(&undo).as_str()),
        (
            4,
            "error: taking the last renewal of blank back: /boot starts 6.1.0-10, and \
             root-blank-previous has no modules for it\n\
             hint: it has those for 6.1.0-9: have the boot loader start that, and say so with `--kernel`\n"
        )
    );
    let unknown = machine.state(&["blank", "undo", "--kernel", "5.10"]);
    assert_eq!(code(&unknown), 2, "{unknown:?}");
    machine.done(&["blank", "undo", "--kernel", "6.1.0-9"]);
    machine.done(&["blank", "undo"]);
    // A kernel without its modules is no renewal; one that a failure left is told.
    for (script, status) in [
        ("echo kernel >/boot/vmlinuz-6.1.0-11", 4),
        ("echo kernel >/boot/vmlinuz-6.1.0-11; exit 5", 5),
    ] {
        let before = machine.blanks();
        let ran = machine.run(script);
        let told = stdout(&ran) + &stderr(&ran);
        assert!(told.contains("/boot starts 6.1.0-11"), "{told}");
        assert_eq!((code(&ran), machine.blanks()), (status, before));
        fs::remove_file(machine.root("boot/vmlinuz-6.1.0-11")).unwrap();
    }
}

/// systemd-boot on EFI's partition, as a distribution has it that mounts that at /boot/efi: /boot
/// itself is a part of root.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_kernels_on_efis_partition_are_outside_blank_too() {
    let machine = Machine::new();
    machine.install("/bin/mkdir");
    fs::create_dir(machine.root("boot/efi")).unwrap();
    fs::write(machine.root("boot/old"), "old").unwrap();
    machine.done(&["--yes", "blank", "take"]);
    let mode = [("mode", Some("0755".as_ref()))];
    let tmpfs = state_linux::mount::tmpfs(&mode, state_linux::mount::Attributes::empty()).unwrap();
    let _efi = Guard::attach(tmpfs, &machine.root("boot/efi")).unwrap();
    let id = "0123456789abcdef0123456789abcdef";
    let kernel = |version: &str| {
        format!("mkdir -p /boot/efi/{id}/{version}; echo kernel >/boot/efi/{id}/{version}/linux")
    };
    let install = |version: &str| {
        let kernel = kernel(version);
        machine.run(&format!(
            "mkdir -p /usr/lib/modules/{version}; {kernel}; echo {version} >/boot/old"
        ))
    };
    assert_eq!(code(&install("6.1.0-9")), 0);
    assert_eq!(code(&install("6.1.0-10")), 0);
    // What of /boot is in root has followed blank.
    assert_eq!(machine.read("root/boot/old"), "6.1.0-10\n");
    let before = machine.blanks();
    let undo = machine.state(&["blank", "undo"]);
    assert_eq!(code(&undo), 4, "{undo:?}");
    assert!(stderr(&undo).contains("/boot starts 6.1.0-10"), "{undo:?}");
    let ran = machine.run(&kernel("6.1.0-11"));
    assert!(
        stderr(&ran).contains("the draft has no modules for it"),
        "{ran:?}"
    );
    assert_eq!((code(&ran), machine.blanks()), (4, before));
    // The next boot would start it all the same.
    let doctor = stdout(&machine.state(&["doctor"]));
    let fact = "the newest kernel, 6.1.0-11, has no modules in blank";
    assert!(doctor.contains(fact), "{doctor}");
    fs::remove_dir_all(machine.root(&format!("boot/efi/{id}/6.1.0-11"))).unwrap();
    let doctor = stdout(&machine.state(&["doctor"]));
    assert!(!doctor.contains("modules in blank"), "{doctor}");
    machine.done(&["blank", "undo", "--kernel", "6.1.0-9"]);
    assert_eq!(machine.read("root/boot/old"), "6.1.0-9\n");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_boot_inside_root_follows_blank() {
    let machine = Machine::new();
    machine.install("/bin/mkdir");
    fs::write(machine.root("boot/old"), "old").unwrap();
    machine.done(&["--yes", "blank", "take"]);
    fs::write(machine.root("boot/clutter"), "clutter").unwrap();
    let menu = |volume: &str| format!("linux /{volume}/boot/vmlinuz-1 rootflags=subvol={volume}\n");
    let made = menu("root-blank.draft"); // as grub-mkconfig does, by the path of the volume it runs in
    let ran = machine.run(&format!("mkdir /boot/grub; echo new >/boot/old; echo '{}' >/boot/grub/grub.cfg; echo k >/boot/vmlinuz-1", made.trim()));
    assert_eq!(code(&ran), 0, "{ran:?}");
    // What starts next is read from the root that is there now.
    let boot = |at: &Path| {
        let mut all: Vec<(String, String)> = ["old", "clutter", "vmlinuz-1", "grub/grub.cfg"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), fs::read_to_string(at.join(name)).ok()?)))
            .collect();
        all.sort();
        all
    };
    let menu = menu("root");
    let renewed = [
        ("grub/grub.cfg", menu.as_str()),
        ("old", "new\n"),
        ("vmlinuz-1", "k\n"),
    ];
    let renewed = renewed.map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(boot(&machine.root("boot")), renewed);
    assert_eq!(boot(&machine.top("root-blank/boot")), renewed);
    machine.done(&["blank", "undo"]);
    assert_eq!(
        boot(&machine.root("boot"))[1..],
        [("old".to_owned(), "old".to_owned())]
    );
}

/// What is installed for the boot goes into blank, and the boot loader finds it in the root that runs.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_the_initrd_is_made_anew_in_blank() {
    let machine = Machine::new();
    machine.install("/bin/mkdir");
    // The program may be too large for the disk: it comes from a filesystem of its own.
    let program = Path::new(env!("CARGO_BIN_EXE_state"));
    machine.install_libraries(env!("CARGO_BIN_EXE_state"));
    fs::create_dir_all(machine.root("usr/local/bin")).unwrap();
    symlink("/opt/state", machine.root("usr/local/bin/state")).unwrap();
    fs::create_dir(machine.root("opt")).unwrap();
    let programs =
        state_linux::mount::clone_tree(rustix::fs::CWD, program.parent().unwrap(), false);
    let _opt = Guard::attach(programs.unwrap(), &machine.root("opt")).unwrap();
    let maker = machine.root("usr/sbin/update-initramfs");
    fs::write(&maker, "#!/bin/sh\necho made >/boot/made\n").unwrap();
    fs::set_permissions(&maker, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(
        machine.root("etc/fstab"),
        "LABEL=x /persist btrfs subvol=persist\nLABEL=y /opt ext4 defaults\n",
    )
    .unwrap();
    machine.done(&["--yes", "blank", "take"]);

    let ran = machine.run("exec /usr/local/bin/state init --install-boot");
    assert_eq!(code(&ran), 0, "{ran:?}");
    let told = stdout(&ran);
    assert!(
        !told.contains("blank was taken") && !told.contains("no blank yet"),
        "{told}"
    );
    let unit = "etc/systemd/system/state-mount.service";
    assert!(machine.top("root-blank").join(unit).exists());
    assert_eq!(machine.read("root-blank/boot/made"), "made\n");
    assert_eq!(machine.read("root/boot/made"), "made\n");
    assert!(
        !machine.root(unit).exists(),
        "root itself is what the next reset makes it"
    );
}

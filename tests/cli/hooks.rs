//! The shell scripts of initrds, run with an initrd's functions in miniature.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// As initramfs-tools has it: only the line of exactly this mount point is found.
const FUNCTIONS: &str = r#"
read_fstab_entry() {
	while read -r MNT_FSNAME MNT_DIR MNT_TYPE MNT_OPTS _; do
		[ "$MNT_DIR" != "$1" ] || return 0
	done <"$dir/fstab"
	return 1
}
resolve_device() { printf '%s' "$1"; }
log_begin_msg() { :; }
log_end_msg() { :; }
log_failure_msg() { printf '%s\n' "$1" >>"$dir/log"; }
rootmnt=$dir/root
"#;

/// What the script of initramfs-tools does for these stores, with this fstab.
fn mounted(stores: &str, fstab: &str) -> String {
    let made = tempfile::tempdir().unwrap();
    let dir = made.path();
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    put("functions", FUNCTIONS);
    put("boot.conf", &format!("EARLY_STORES='{stores}'\n"));
    put("fstab", fstab);
    fs::create_dir(dir.join("bin")).unwrap();
    for program in ["mount", "state"] {
        let at = dir.join("bin").join(program);
        let text = "#!/bin/sh\nprintf '%s' \"${0##*/}\" >>\"$dir/log\"\nprintf ' %s' \"$@\" >>\"$dir/log\"\necho >>\"$dir/log\"\n";
        fs::write(&at, text).unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("contrib/initramfs-tools/scripts/local-bottom/state");
    let script = fs::read_to_string(script)
        .unwrap()
        .replace("/scripts/functions", "\"$dir/functions\"")
        .replace("/etc/state/boot.conf", "\"$dir/boot.conf\"")
        .replace("/usr/bin/state", "state")
        .replace("--config \"$dir/boot.conf\"", "");
    let path = format!("{}:/usr/bin:/bin", dir.join("bin").display());
    let ran = Command::new("sh")
        .args(["-euc", &script])
        .env("PATH", path)
        .env("dir", dir)
        .output()
        .unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    let log = fs::read_to_string(dir.join("log")).unwrap();
    log.replace(&format!("{}/root", dir.display()), "ROOT")
}

#[test]
fn initramfs_tools_mounts_what_holds_a_store() {
    let begin = "mount -o remount,rw none ROOT\n";
    let end = "state --root ROOT --config /etc/state/state.toml mount --early\n";
    let fstab = "UUID=1 / ext4 defaults 0 1\n\
                 UUID=2 /data ext4 defaults,noatime,x-initrd.mount 0 2\n\
                 UUID=3 /data/inner/p xfs defaults 0 2\n\
                 UUID=4 /persist btrfs subvol=p 0 0\n";
    let data = "mount -t ext4 -o noatime UUID=2 ROOT/data\n";
    for (stores, expected) in [
        (
            "/persist",
            "mount -t btrfs -o subvol=p UUID=4 ROOT/persist\n",
        ),
        ("/data/persist", data),
        // Each once, what lies on another after that.
        (
            "/data/a\n/data/inner/p/b\n/data/inner/p",
            "mount -t ext4 -o noatime UUID=2 ROOT/data\nmount -t xfs UUID=3 ROOT/data/inner/p\n",
        ),
        (
            "/srv/p\n/data",
            "nothing in /etc/fstab mounts the store /srv/p\nmount -t ext4 -o noatime UUID=2 ROOT/data\n",
        ),
    ] {
        assert_eq!(
            mounted(stores, fstab),
            format!("{begin}{expected}{end}"),
            "{stores}"
        );
    }
}

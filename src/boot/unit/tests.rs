use super::*;
use crate::boot::text::enabled_by;
use crate::persist::Users;
use crate::settings::Settings;

fn units(text: &str) -> Vec<Unit> {
    let settings: Settings = text.parse().unwrap();
    let tree = PersistTree::resolve(&settings, &Users::parse(b"", b"")).unwrap();
    let mut units = initrd(settings.root.as_ref(), &tree);
    units.extend(system(
        settings.root.as_ref(),
        &tree,
        Path::new("/opt/state"),
    ));
    units
}

/// What a text says, without comments.
fn plain(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

const BTRFS: &str = "\
[root]
backend = \"btrfs\"
device = \"/dev/disk/by-uuid/1b2c-4d\"
subvolume = \"root\"
";
const STORES: &str = "\
[persist.\"/persist\"]
files = [\"/etc/machine-id\"]
[persist.\"/big store\"]
class = \"local\"
directories = [\"/var/lib/big\"]
";

#[test]
fn the_units_of_a_machine() {
    let units = units(&format!("{BTRFS}{STORES}"));
    let text: Vec<String> = units
        .iter()
        .map(|(name, text)| format!("== {name}\n{}", plain(text)))
        .collect();
    assert_eq!(
        text.join("\n"),
        r#"== state-reset.service
[Unit]
Description=Put root back to blank
Documentation=man:state(1)
DefaultDependencies=no
Requires=dev-disk-by\x2duuid-1b2c\x2d4d.device
After=dev-disk-by\x2duuid-1b2c\x2d4d.device
Wants=local-fs-pre.target
After=local-fs-pre.target
Before=sysroot.mount
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/state --config /etc/state/state.toml reset
StandardError=journal+console
PrivateMounts=yes
KillMode=mixed
TimeoutSec=5min

[Install]
WantedBy=initrd.target

== state-mount-early.service
[Unit]
Description=Put the early part of the persist tree in place
Documentation=man:state(1)
DefaultDependencies=no
RequiresMountsFor=/sysroot/persist
After=initrd-fs.target
Before=initrd.target initrd-cleanup.service initrd-switch-root.target
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStartPre=mount -o remount,rw /sysroot
ExecStart=/usr/bin/state --root /sysroot --config /etc/state/state.toml mount --early
StandardError=journal+console
TimeoutStartSec=5min

[Install]
WantedBy=initrd.target

== state-mount.service
[Unit]
Description=Put the persist tree in place
Documentation=man:state(1)
DefaultDependencies=no
RequiresMountsFor="/big store" /persist
After=systemd-remount-fs.service
Before=local-fs.target systemd-journal-flush.service systemd-random-seed.service systemd-timesyncd.service systemd-update-utmp.service systemd-rfkill.service
Conflicts=shutdown.target
Before=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/state mount
StandardError=journal+console
TimeoutStartSec=5min

[Install]
WantedBy=local-fs.target

== state-check.service
[Unit]
Description=Tell whether root was reset at this boot
Documentation=man:state(1)
After=state-mount.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/opt/state status --remember
StandardError=journal+console

[Install]
WantedBy=multi-user.target

== state-gc.service
[Unit]
Description=Delete the past roots that no rule keeps
Documentation=man:state(1)

[Service]
Type=oneshot
ExecStart=/opt/state roots gc
CPUSchedulingPolicy=idle
IOSchedulingClass=idle

== state-gc.timer
[Unit]
Description=Delete the past roots that no rule keeps, some time after the boot
Documentation=man:state(1)

[Timer]
OnBootSec=10min
OnUnitActiveSec=1d

[Install]
WantedBy=timers.target
"#
    );
}

/// Where the overlay was not mounted, /sysroot is what is installed.
#[test]
fn nothing_makes_the_layer_below_an_overlay_writable() {
    let overlay = "[root]\nbackend = \"overlay\"\ndevice = \"/dev/vdb\"\n";
    let texts: Vec<String> = units(&format!("{overlay}{STORES}"))
        .iter()
        .map(|(name, text)| format!("{name} {}", plain(text)))
        .collect();
    assert!(texts[1].starts_with("state-mount-early.service"));
    assert!(!texts.concat().contains("remount,"), "{}", texts[1]);
}

#[test]
fn a_failure_that_must_stop_the_boot_stops_what_mounts_root() {
    let open = units(BTRFS);
    let closed = units(&format!("{BTRFS}on-failure = \"emergency\"\n"));
    assert_eq!(enabled_by(&open[0].1), ["initrd.target.wants"]);
    assert_eq!(
        enabled_by(&closed[0].1),
        ["initrd.target.wants", "sysroot.mount.requires"]
    );
}

#[test]
fn nothing_is_started_that_has_nothing_to_do() {
    let names =
        |text: &str| -> Vec<&str> { units(text).into_iter().map(|(name, _)| name).collect() };
    assert_eq!(
        names(STORES),
        ["state-mount-early.service", "state-mount.service"]
    );
    let copied = "[persist.\"/p\"]\nfiles = [{ path = \"/etc/passwd\", method = \"copy\" }]\n";
    assert_eq!(
        names(copied),
        [
            "state-mount-early.service",
            "state-mount.service",
            "state-watch.service"
        ]
    );
    let tmpfs = "[root]\nbackend = \"tmpfs\"\n[persist.\"/p\"]\ndirectories = [\"/srv\"]\n";
    // The configuration itself is an early entry wherever there is a store.
    assert_eq!(
        names(tmpfs),
        [
            "state-mount-early.service",
            "state-mount.service",
            "state-check.service",
            "state-reset.service",
            "state-gc.service",
            "state-gc.timer",
            "state-capture.service"
        ]
    );
    let none = tmpfs.replace("\n[persist", "\npast-roots = { last = 0 }\n[persist");
    assert!(!names(&none).contains(&"state-capture.service"));
    let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
    assert_eq!(names(zfs)[0], "state-reset.service");
}

#[test]
fn a_pool_is_imported_and_not_read_yet() {
    let zfs = "[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\n";
    let text = plain(&units(zfs)[0].1);
    let order: Vec<_> = text
        .lines()
        .filter(|line| {
            ["Requires=", "Wants=", "After=", "Before="]
                .iter()
                .any(|key| line.starts_with(key))
        })
        .collect();
    assert_eq!(
        order,
        [
            "After=zfs-import-cache.service zfs-import-scan.service",
            "Before=zfs-env-bootfs.service zfs-import.target",
            "Wants=local-fs-pre.target",
            "After=local-fs-pre.target",
            "Before=sysroot.mount",
            "Before=shutdown.target",
        ]
    );
}

#[test]
fn a_root_that_is_filled_is_mounted_as_it_must_be_and_never_started_half() {
    let text = "\
[root]
backend = \"tmpfs\"
device = \"/dev/vdb\"
size = \"25%\"
capture = { time-limit = 5 }
[persist.\"/a\"]
class = \"cache\"
[persist.\"/my store\"]
files = [\"/etc/machine-id\"]
";
    let units = units(text);
    let (name, reset) = &units[0];
    assert_eq!(
        *name, "state-fill.service",
        "systemd takes it for the system's own otherwise"
    );
    assert!(
        reset.contains("\nRequires=dev-vdb.device sysroot.mount\n"),
        "{reset}"
    );
    assert!(reset.contains("\nTimeoutStartSec=infinity\n"), "{reset}");
    assert_eq!(enabled_by(reset), ["initrd-root-fs.target.requires"]);
    let (name, capture) = units.last().unwrap();
    assert_eq!(*name, "state-capture.service");
    for line in ["RequiresMountsFor=\"/my store\"", "TimeoutStopSec=45s"] {
        assert!(capture.lines().any(|l| l == line), "{line}: {capture}");
    }
    let settings: Settings = text.parse().unwrap();
    let (name, mount) = sysroot(settings.root.as_ref()).unwrap();
    assert_eq!(name, "sysroot.mount");
    assert!(mount.contains("\nOptions=mode=0755,size=25%%\n"), "{mount}");
    let empty: Settings = "[root]\nbackend = \"tmpfs\"\n".parse().unwrap();
    assert_eq!(sysroot(empty.root.as_ref()), None);
}

/// Every comment's line is one that systemd reads as a comment, and no blank is left.
#[test]
fn no_blank_is_left() {
    for (name, text) in units(&format!("{BTRFS}{STORES}")) {
        assert!(!text.contains('@'), "{name}: {text}");
    }
}

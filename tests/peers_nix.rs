//! The NixOS module, evaluated by Nix against small stand-ins for nixpkgs (`contrib/nixos/tests`):
//! what it renders is a configuration that `state` reads.

use serde_json::Value;
use state::config::parse_text;
use std::path::{Path, PathBuf};
use std::process::Command;

fn nixos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/nixos")
}

/// Evaluates a machine given as a Nix expression.
fn evaluate(machine: &str) -> Result<Value, String> {
    let state = tempfile::tempdir().unwrap();
    let output = Command::new("nix-instantiate")
        .args(["--eval", "--strict", "--json"])
        .arg(nixos().join("tests/eval.nix"))
        .args(["--arg", "machine", machine])
        .env("NIX_STATE_DIR", state.path())
        .env("NIX_STORE_DIR", state.path().join("store"))
        .output()
        .expect("nix-instantiate runs");
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn example_with(more: &str) -> Value {
    let example = nixos().join("example.nix");
    evaluate(&format!(
        "{{ imports = [ {} {more} ]; }}",
        example.display()
    ))
    .unwrap()
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_the_example_renders_a_configuration_that_is_read() {
    let machine = example_with("");
    let settings = parse_text(Path::new("state.toml"), machine["toml"].as_str().unwrap()).unwrap();
    let by_hand = r#"
[root]
backend = "btrfs"
device = "/dev/disk/by-uuid/0a5f-d00d"
subvolume = "root"
past-roots = { last = 5, days = 30 }

[persist."/persist"]
hide-mounts = true
directories = [
  { path = "/var/lib/nixos", early = true },
  { path = "/var/lib/colord", user = "colord", group = "colord", mode = "0750" },
]
files = [
  "/etc/machine-id",
  { path = "/etc/ssh/ssh_host_ed25519_key", early = true, mode = "0600", if-missing = "skip" },
]
[persist."/persist".users.lantian]
directories = ["Documents", { path = ".ssh", mode = "0700" }]
files = [".screenrc"]

[diff]
ignore = ["/var/tmp/**"]
[target.usb]
url = "file:///mnt/usb/state"
"#;
    assert_eq!(
        settings,
        parse_text(Path::new("by-hand.toml"), by_hand).unwrap()
    );
    assert_eq!(machine["failed"], serde_json::json!([]));
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_the_reset_waits_for_the_root_device_and_for_resume() {
    let reset = &example_with("")["initrd"]["state-reset"];
    let device = r"dev-disk-by\x2duuid-0a5f\x2dd00d.device";
    assert_eq!(reset["requires"], serde_json::json!([device]));
    assert_eq!(
        reset["after"],
        serde_json::json!([device, "local-fs-pre.target"])
    );
    assert_eq!(reset["before"], serde_json::json!(["sysroot.mount"]));
    assert_eq!(reset["requiredBy"], serde_json::json!([]));

    let closed = example_with(r#"{ services.state.root.onFailure = "emergency"; }"#);
    let required_by = &closed["initrd"]["state-reset"]["requiredBy"];
    assert_eq!(*required_by, serde_json::json!(["sysroot.mount"]));

    let zfs = example_with(
        r#"({ lib, ... }: { services.state.root = lib.mkForce {
            backend = "zfs"; dataset = "rpool/local/root"; }; })"#,
    );
    let requires = &zfs["initrd"]["state-reset"]["requires"];
    assert_eq!(*requires, serde_json::json!(["zfs-import-rpool.service"]));
    let tmpfs = example_with(
        r#"({ lib, ... }: { services.state.root = lib.mkForce { backend = "tmpfs"; }; })"#,
    );
    assert!(tmpfs["initrd"]["state-reset"].is_null());
    let capture = &tmpfs["services"]["state-capture"]["serviceConfig"];
    let exec = capture["ExecStop"].as_str().unwrap();
    assert!(exec.ends_with("/bin/state roots capture"), "{exec}");
    assert_eq!(capture["TimeoutStopSec"], "60s");
    assert!(example_with("")["services"]["state-capture"].is_null());
    // A record is written all the same, or `state status` would miss it at every boot.
    let exec = &tmpfs["services"]["state-reset"]["serviceConfig"]["ExecStart"];
    assert!(
        exec.as_str().unwrap().ends_with("/bin/state reset"),
        "{exec}"
    );
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_copied_files_are_watched_until_everything_else_has_stopped() {
    assert!(example_with("")["services"]["state-watch"].is_null());
    let copied = example_with(
        r#"{ services.state.persistence."/persist".files = [ { path = "/etc/passwd"; method = "copy"; } ]; }"#,
    );
    let watch = &copied["services"]["state-watch"];
    assert_eq!(
        watch["before"],
        serde_json::json!(["sysinit.target", "shutdown.target"])
    );
    let exec = watch["serviceConfig"]["ExecStart"].as_str().unwrap();
    assert!(exec.ends_with("/bin/state mount --watch"), "{exec}");
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_wrong_machines_are_told_what_is_wrong() {
    for (more, wanted) in [
        (
            "({ lib, ... }: { boot.initrd.systemd.enable = lib.mkForce false; })",
            "boot.initrd.systemd.enable = true",
        ),
        (
            r#"{ services.state.persistence."/data".files = [ "/etc/adjtime" ]; }"#,
            r#"fileSystems."/data".neededForBoot = true"#,
        ),
        (
            r#"({ lib, ... }: { services.state.root = lib.mkForce { backend = "zfs"; }; })"#,
            "zfs wants dataset",
        ),
    ] {
        let failed = example_with(more)["failed"].to_string();
        assert!(
            failed.replace(r#"\""#, "\"").contains(wanted),
            "{more}: {failed}"
        );
    }
    let typo = evaluate("{ services.state.persistance = { }; }").unwrap_err();
    assert!(typo.contains("persistance"), "{typo}");
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_every_nix_file_parses() {
    let files = ["", "tests"].map(|dir| std::fs::read_dir(nixos().join(dir)).unwrap());
    let files = files
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    let files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|e| e == "nix"))
        .collect();
    assert!(files.len() >= 7, "{files:?}");
    let status = Command::new("nix-instantiate")
        .arg("--parse")
        .args(files)
        .output()
        .unwrap();
    assert!(
        status.status.success(),
        "{}",
        String::from_utf8_lossy(&status.stderr)
    );
}

#[test]
#[ignore = "needs nix-instantiate"]
fn peers_drills_come_where_an_age_is_asked_for() {
    let without = example_with("");
    assert!(without["services"].get("state-drill").is_none());
    for (max_age, often) in [
        ("12 h", "*-*-* 00/6:30"),
        ("2 d", "daily"),
        ("2w", "weekly"),
        ("90 d", "monthly"),
    ] {
        let settings = format!(
            "{{ services.state.settings = {{ drill.max-age = \"{max_age}\"; \
             archive.on-battery = false; }}; }}"
        );
        let machine = example_with(&settings);
        let timer = &machine["timers"]["state-drill"]["timerConfig"];
        assert_eq!(timer["OnCalendar"], often, "{max_age}");
        for service in ["state-backup", "state-drill"] {
            let unit = &machine["services"][service]["unitConfig"];
            assert_eq!(unit["ConditionACPower"], true, "{service}");
        }
    }
}

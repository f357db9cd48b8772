//! `state init` from outside.

use super::*;

#[test]
fn init_writes_into_the_store_once() {
    let machine = copy_of("nixos-zfs");
    let root = text_of(machine.path());
    let file = machine.path().join("persist/etc/state/state.toml");
    fs::remove_file(&file).unwrap();

    let dry = state(&["--root", root, "init", "--dry-run"]);
    assert_eq!(dry.exit, Some(0), "{}", dry.stderr);
    assert!(
        !file.exists() && !machine.path().join("run/state").exists(),
        "a dry run writes nothing"
    );

    let Taken::Mine(lock) = Lock::take(&machine.path().join("run/state/lock")).unwrap() else {
        panic!("nobody else can hold it");
    };
    let locked = state(&["--root", root, "init"]);
    assert_eq!(locked.exit, Some(11), "{}", locked.stderr);
    assert!(!file.exists());
    drop(lock);

    let wrote = state(&["--root", root, "init", "--json"]);
    assert_eq!(wrote.exit, Some(0), "{}", wrote.stderr);
    let report: serde_json::Value = serde_json::from_str(&wrote.stdout).unwrap();
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(report["configuration"], written);
    assert_eq!(report["executed"], true);
    assert_eq!(
        fs::read_dir(file.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    fs::write(&file, "# mine\n").unwrap();
    let again = state(&["--root", root, "init"]);
    assert_eq!((again.exit, again.stdout.as_str()), (Some(4), ""));
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");

    let elsewhere = machine.path().join("draft.toml");
    let to = text_of(&elsewhere);
    assert_eq!(
        state(&["--root", root, "init", "--output", to]).exit,
        Some(0)
    );
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), written);
    assert_eq!(
        state(&["--root", root, "init", "--output", to]).exit,
        Some(1),
        "never written over"
    );
}

#[test]
fn a_list_of_another_tool_becomes_the_configuration() {
    let machine = copy_of("nixos-btrfs");
    for configuration in ["etc/state/state.toml", "persist/etc/state/state.toml"] {
        fs::remove_file(machine.path().join(configuration)).unwrap();
    }
    let root = text_of(machine.path());
    let list = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/lists/preservation-by-hand.json"
    );
    let init = || state(&["--root", root, "init", "--from", "preservation", list]);
    let first = init();
    assert_eq!((first.exit, first.stderr.as_str()), (Some(0), ""));
    let file = machine.path().join("persist/etc/state/state.toml");
    let written = fs::read_to_string(&file).unwrap();
    let settings = state::config::parse_text(&file, &written).unwrap();
    let store = &settings.persist[Path::new("/persist")];
    assert_eq!(store.directories, ["/var/log".into(), "/etc/nixos".into()]);
    assert_eq!(store.users["ann"].directories, ["Documents".into()]);
    assert_eq!(init().exit, Some(4), "what is there is never written over");
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
}

#[test]
fn init_without_a_store_says_how_to_make_one() {
    let machine = copy_of("debian-ext4");
    let ran = state(&["--root", text_of(machine.path()), "init"]);
    assert_eq!(
        ran,
        Ran {
            exit: Some(4),
            stdout: String::new(),
            stderr: "\
error: no store is mounted at /persist
hint: make a filesystem on a partition or disk of its own: `mkfs.ext4 /dev/DEVICE`, which erases it; `mkdir -p /persist`, the line `UUID=… /persist ext4 x-initrd.mount 0 0` in /etc/fstab, `mount /persist`, and `state init` again; docs/moving.md has it step by step; `--output FILE` writes the configuration all the same
"
            .into(),
        }
    );
}

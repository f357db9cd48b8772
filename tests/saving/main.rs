//! Backup, archives and restore as a person meets them, on a machine below a directory.

#[cfg(feature = "offsite")]
mod asked;
mod bad;
mod chains;
mod drift;
mod drill;
#[cfg(feature = "offsite")]
mod drill_keys;
mod filesystems;
mod fresh;
#[path = "../archive/hostile.rs"]
mod hostile;
mod interrupted;
mod killed;
mod listed;
mod live;
mod machine;
mod owners;
mod planned;
#[cfg(feature = "offsite")]
mod recipients;
mod same;
#[cfg(feature = "offsite")]
mod sealed;
mod sheet;
#[cfg(feature = "offsite")]
mod signed;
mod subvolume;
mod told;
mod turns;
mod undo;

use machine::{Machine, note};
use state::ops::{archives, restore};
use state::progress::Silent;
use state_api::Never;
use std::fs;
use std::path::Path;

#[test]
fn what_was_saved_comes_back_and_what_was_there_too() {
    let machine = Machine::new();
    let saved = machine.backup().unwrap();
    assert!(saved.executed && !saved.is_partial());
    assert_eq!(saved.totals.entries, 9);
    assert_eq!(saved.orphans, 1);
    machine.write("root/persist/var/lib/app/data", "changed");
    let changed = note(&machine.store());

    let restored = machine.restore().unwrap();
    assert_eq!(Some(&restored.id), saved.id.as_ref());
    assert!(restored.executed && !restored.is_partial() && restored.stores[0].is_swapped);
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    assert!(!machine.store().join("orphan").exists());
    assert_eq!(machine.reserved(), [""; 0]);
    let restored = note(&machine.store());

    let undo = || restore::undo(&machine.context(&Never), None, false).unwrap();
    assert_eq!(undo().stores[0].path, machine.store());
    assert_eq!(
        note(&machine.store()).differences(&changed),
        Vec::<String>::new()
    );
    undo();
    assert_eq!(
        note(&machine.store()).differences(&restored),
        Vec::<String>::new()
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let before = note(&machine.path("."));
    let mut cx = machine.context(&Never);
    cx.dry_run = true;
    let saved = state::ops::backup::run(&cx, &Default::default(), &Silent).unwrap();
    assert!(!saved.executed && saved.id.is_none());
    // Unsigned is said, and is no obstacle to looking.
    let plan = restore::run(&cx, &restore::Options::default(), &Silent).unwrap();
    assert!(!plan.executed && plan.signature == state::ops::seal::Signature::Unsigned);
    assert_eq!(plan.stores[0].entries, 9);
    assert_eq!(
        before.differences(&note(&machine.path("."))),
        Vec::<String>::new()
    );
}

#[test]
fn fresh_hardware_needs_no_configuration() {
    let machine = Machine::new();
    machine.backup().unwrap();
    fs::remove_dir_all(machine.path("root")).unwrap();
    fs::create_dir_all(machine.path("root/mnt/persist")).unwrap();
    let into = machine.path("root/mnt/persist");
    let from = format!("file://{}", machine.path("usb").display());
    let options = |machine: &str| restore::Options {
        which: archives::Which {
            from: Some(from.clone()),
            machine: Some(machine.into()),
            ..Default::default()
        },
        into: Some(into.clone()),
        allow_unsigned: true,
        ..Default::default()
    };
    let run = |options| restore::run(&machine.context(&Never), &options, &Silent);
    let error = run(options("new")).unwrap_err();
    assert_eq!(machine::exit(&error), 10);
    assert_eq!(error.to_string(), "an archive of new does not exist");
    run(options("blitzar")).unwrap();
    assert_eq!(
        fs::read_to_string(into.join("var/lib/app/data")).unwrap(),
        "data"
    );
}

#[test]
fn one_path_is_put_into_place() {
    let machine = Machine::new();
    let store = machine.store();
    fs::hard_link(
        store.join("var/lib/app/data"),
        store.join("var/lib/app/sub/link"),
    )
    .unwrap();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "changed");
    fs::remove_dir_all(store.join("var/lib/app/sub")).unwrap();
    let restore = |path: &str| {
        let path = Path::new(path).to_owned();
        machine
            .restore_with(&Never, |options| options.path = Some(path))
            .unwrap()
    };
    let report = restore("/var/lib/app/data");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    let Some(restore::Kept::At(kept)) = &report.stores[0].before else {
        panic!("{report:?}");
    };
    assert_eq!(fs::read_to_string(kept).unwrap(), "changed");

    // Something that is gone, with a name whose first one lies outside.
    let report = restore("/var/lib/app/sub");
    assert_eq!(report.stores[0].before, None);
    assert_eq!(machine.read("root/persist/var/lib/app/sub/link"), "data");
    assert_eq!(
        machine.read("root/persist/var/lib/app/sub/more").len(),
        500_000
    );
    assert_eq!(machine.read("root/persist/orphan"), "nobody declared this");

    let missing = machine.restore_with(&Never, |options| options.path = Some("/var/lib/x".into()));
    assert_eq!(machine::exit(&missing.unwrap_err()), 10);
}

#[test]
fn every_store_comes_back_into_its_own() {
    let machine = Machine::new();
    machine.configure(
        "[persist.\"/data\"]\ndirectories = [\"/var/lib/db\"]\n\
         [persist.\"/cache\"]\nclass = \"cache\"\ndirectories = [\"/var/cache\"]\n",
    );
    machine.write("root/data/var/lib/db/table", "rows");
    machine.write("root/cache/var/cache/x", "junk");
    let saved = machine.backup().unwrap();
    assert_eq!(saved.stores.len(), 2);
    fs::remove_dir_all(machine.path("root/data/var")).unwrap();
    fs::remove_dir_all(machine.path("root/persist/var")).unwrap();
    machine.restore().unwrap();
    assert_eq!(machine.read("root/data/var/lib/db/table"), "rows");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
    assert!(!machine.path("root/persist/var/lib/db").exists());
    assert_eq!(machine.read("root/cache/var/cache/x"), "junk");

    let into = machine.path("elsewhere");
    fs::create_dir(&into).unwrap();
    let several = machine.restore_with(&Never, |options| options.into = Some(into.clone()));
    assert_eq!(machine::exit(&several.unwrap_err()), 2);
    let one = machine.restore_with(&Never, |options| {
        options.into = Some(into.clone());
        options.store = Some("/data".into());
    });
    one.unwrap();
    assert_eq!(
        fs::read_to_string(into.join("var/lib/db/table")).unwrap(),
        "rows"
    );
    assert!(!into.join("etc").exists());
}

#[test]
fn the_configurations_commit_is_in_the_archive() {
    let machine = Machine::new();
    machine.configure("[config]\nrepo = \"/etc/nixos\"\nrequire-clean = true\n");
    machine.write("root/etc/nixos/flake.nix", "{}");
    let error = machine.backup().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("asking for the commit of /etc/nixos"),
        "{error:#}"
    );
    let git = |args: &[&str]| {
        let git = state::program::Program::Git.find().unwrap();
        let run = std::process::Command::new(git)
            .args(["-c", "user.name=x", "-c", "user.email=x@x", "-C"])
            .arg(machine.path("root/etc/nixos"))
            .args(args)
            .output()
            .unwrap();
        assert!(run.status.success());
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "x"]);
    let saved = machine.backup().unwrap();
    assert_eq!(saved.commit, Some(git(&["rev-parse", "HEAD"])));
    assert_eq!(machine.list().archives[0].commit, saved.commit);

    machine.write("root/etc/nixos/flake.nix", "{ }");
    let error = machine.backup().unwrap_err();
    assert_eq!(machine::exit(&error), 4);
    assert_eq!(error.to_string(), "/etc/nixos differs from its commit");
    git(&["commit", "-qam", "y"]);
    let notes = machine.restore().unwrap().notes;
    assert!(
        notes[0].starts_with("it belongs to the configuration "),
        "{notes:?}"
    );
}

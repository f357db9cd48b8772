//! What happens between the plan that is shown and the yes: the archive that was shown is the one that is restored, and where it
//! goes is looked at once more.

use super::live::User;
use super::machine::{Machine, exit, note};
use state::context::Context;
use state::ops::restore::{self, Options, Report};
use state::progress::Silent;
use state_api::Never;
use std::fs;
use std::os::unix::fs::FileExt as _;

const PATH: &str = "/var/lib/app";
const DATA: &str = "root/persist/var/lib/app/data";

fn options(path: Option<&str>) -> Options {
    Options {
        path: path.map(Into::into),
        allow_unsigned: true,
        ..Options::default()
    }
}

/// The plan, then `meanwhile`, and then what comes of it.
fn restored_after(
    machine: &Machine,
    options: &Options,
    meanwhile: impl FnOnce(&Report),
) -> anyhow::Result<Report> {
    let dry = Context {
        dry_run: true,
        ..machine.context(&Never)
    };
    let chosen = restore::choose(&dry, options)?;
    let data = chosen.data()?;
    let archive = data.open()?;
    let plan = archive.run(&dry, &Silent)?;
    assert!(!plan.executed);
    meanwhile(&plan);
    let restored = archive.run(&machine.context(&Never), &Silent)?;
    let weight = |report: &Report| (report.stores[0].entries, report.stores[0].bytes);
    assert_eq!((&plan.id, weight(&plan)), (&restored.id, weight(&restored)));
    Ok(restored)
}

#[test]
fn the_archive_that_was_shown_is_restored_and_no_newer_one() {
    for path in [None, Some(PATH)] {
        let machine = Machine::new();
        let shown = machine.backup().unwrap().id.unwrap();
        let restored = restored_after(&machine, &options(path), |plan| {
            assert_eq!(plan.id, shown);
            machine.write(DATA, "later");
            assert_ne!(machine.backup().unwrap().id.unwrap(), shown);
        });
        let restored = restored.unwrap();
        assert!(restored.executed && restored.stores[0].is_swapped);
        assert_eq!(machine.read(DATA), "data", "{path:?}");
    }
}

/// An archive that builds on another one, of which nothing has been read yet when the plan stands.
#[test]
fn what_a_chain_holds_is_read_when_it_is_restored() {
    for path in [None, Some(PATH)] {
        let machine = Machine::new();
        machine.backup().unwrap();
        machine.write("root/persist/var/lib/app/new", "new");
        assert!(machine.backup_next().id.is_some());
        let restored = restored_after(&machine, &options(path), |_| {
            fs::remove_dir_all(machine.path("root/persist/var")).unwrap();
        });
        assert!(restored.unwrap().executed);
        assert_eq!(machine.read(DATA), "data");
        assert_eq!(machine.read("root/persist/var/lib/app/new"), "new");
    }
}

#[test]
fn a_store_that_came_into_use_is_left_to_the_next_boot() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write(DATA, "mine");
    let mut user = None;
    let restored = restored_after(&machine, &options(None), |plan| {
        assert_eq!(plan.stores[0].waits_for, None);
        user = Some(User::of(&machine));
    });
    let store = &restored.unwrap().stores[0];
    assert!(!store.is_swapped && store.waits_for.is_some(), "{store:?}");
    assert_eq!(machine.read(DATA), "mine");
}

#[test]
fn a_path_that_came_into_use_is_left_alone() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write(DATA, "mine");
    let before = note(&machine.store());
    let mut user = None;
    let refused = restored_after(&machine, &options(Some(PATH)), |_| {
        user = Some(User::at(&machine.path("root/persist/var/lib/app/sub")));
    });
    assert_eq!(exit(&refused.unwrap_err()), 4);
    assert_eq!(before.differences(&note(&machine.store())), [""; 0]);
}

#[test]
fn a_store_that_is_no_longer_declared_is_refused() {
    for path in [None, Some(PATH)] {
        let machine = Machine::new();
        machine.backup().unwrap();
        machine.write(DATA, "mine");
        let before = note(&machine.store());
        let refused = restored_after(&machine, &options(path), |_| {
            let settings = "root/etc/state/state.toml";
            let elsewhere = machine.read(settings).replace("/persist", "/elsewhere");
            machine.write(settings, &elsewhere);
        });
        let refused = refused.unwrap_err();
        assert_eq!(exit(&refused), 4, "{refused:#}");
        assert_eq!(refused.to_string(), "no store /persist is declared here");
        assert_eq!(before.differences(&note(&machine.store())), [""; 0]);
    }
}

#[test]
fn an_archive_that_was_damaged_meanwhile_is_not_put_in_place() {
    for path in [None, Some(PATH)] {
        let machine = Machine::new();
        machine.backup().unwrap();
        machine.write(DATA, "mine");
        let before = note(&machine.store());
        let refused = restored_after(&machine, &options(path), |plan| {
            let data = fs::File::options().write(true).open(machine.data(&plan.id));
            data.unwrap().write_all_at(&[0; 512], 0).unwrap();
        });
        assert_eq!(exit(&refused.unwrap_err()), 13);
        assert_eq!(before.differences(&note(&machine.store())), [""; 0]);
    }
}

/// A plan shows what nobody vouches for, and that is all.
#[test]
fn who_made_it_is_demanded_before_anything_is_written() {
    for path in [None, Some(PATH)] {
        let machine = Machine::new();
        machine.backup().unwrap();
        let options = Options {
            allow_unsigned: false,
            ..options(path)
        };
        let before = note(&machine.path("."));
        let refused = restored_after(&machine, &options, |_| {});
        assert_eq!(exit(&refused.unwrap_err()), 12);
        assert_eq!(before.differences(&note(&machine.path("."))), [""; 0]);
    }
}

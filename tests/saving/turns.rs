//! What is around a backup: hooks, the ledger, metrics; and what pruning keeps.

use crate::machine::{Machine, exit};
use state::ops::{archives, backup, prune};
use state::progress::Silent;
use state_api::Never;
use std::fs;
use std::path::Path;

fn prune(machine: &Machine) -> anyhow::Result<prune::Report> {
    prune::run(
        &machine.context(&Never),
        &archives::Which::default(),
        &Silent,
    )
}

fn ledger(machine: &Machine) -> serde_json::Value {
    let text = machine.read("root/persist/.state/ledger.json");
    serde_json::from_str(&text).unwrap()
}

fn ids(machine: &Machine) -> Vec<String> {
    machine
        .list()
        .archives
        .into_iter()
        .map(|archive| archive.id)
        .collect()
}

/// The machine with these hooks; each is a script.
fn hooked(hooks: &[(&str, &str)]) -> Machine {
    let machine = Machine::new();
    let hooks: String = hooks
        .iter()
        .map(|(name, script)| format!("{name} = [\"sh\", \"-c\", '''{script}''']\n"))
        .collect();
    machine.configure(&format!(
        "[archive.hooks]\ntime-limit = 5\n{hooks}[metrics]\ntextfile = \"/metrics/state.prom\""
    ));
    fs::create_dir(machine.path("root/metrics")).unwrap();
    machine
}

#[test]
fn hooks_know_how_it_went_and_monitoring_too() {
    let said = tempfile::NamedTempFile::new().unwrap();
    let say = |word: &str| {
        let to = said.path().display();
        format!("echo {word} $STATE_MACHINE $STATE_OUTCOME $STATE_ARCHIVE >> {to}")
    };
    let machine = hooked(&[
        ("before", &say("before")),
        ("after", &say("after")),
        ("on-failure", &say("on-failure")),
    ]);
    let report = machine.backup().unwrap();
    let id = report.id.unwrap();
    let lines = || fs::read_to_string(said.path()).unwrap();
    assert_eq!(
        lines(),
        format!("before blitzar\nafter blitzar done {id}\n")
    );
    let noted = ledger(&machine);
    assert_eq!(noted["archives"][0]["id"], *id);
    assert_eq!(noted["last_run"]["outcome"], "done");
    let metrics = machine.read("root/metrics/state.prom");
    assert!(
        metrics.contains("state_backup_last_run_success 1\n"),
        "{metrics}"
    );
    let published = "state_archive_published_timestamp_seconds{machine=\"blitzar\",target=\"usb\"}";
    assert!(metrics.contains(published), "{metrics}");

    // A run that finds nothing changed is as good as one that makes an archive.
    let current = "state_archive_current_timestamp_seconds{machine=\"blitzar\",target=\"usb\"}";
    let since = |metrics: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(current));
        value.unwrap().trim().parse::<i64>().unwrap()
    };
    machine.backup().unwrap();
    let later = machine.read("root/metrics/state.prom");
    assert!(since(&later) > since(&metrics), "{later}");
    fs::write(said.path(), "").unwrap();

    fs::rename(machine.path("usb"), machine.path("away")).unwrap();
    fs::write(said.path(), "").unwrap();
    machine.backup().unwrap_err();
    assert_eq!(
        lines(),
        "before blitzar\nafter blitzar failed\non-failure blitzar failed\n"
    );
    let metrics = machine.read("root/metrics/state.prom");
    assert!(
        metrics.contains("state_backup_last_run_success 0\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains(published),
        "what was published is still told"
    );
}

#[test]
fn a_hook_that_fails_is_never_quiet() {
    let machine = hooked(&[("before", "echo no >&2; exit 3"), ("on-failure", "true")]);
    let error = machine.backup().unwrap_err();
    assert_eq!(
        error.to_string(),
        "running the hook `before`: the program ended with status 3: no"
    );
    assert_eq!(exit(&error), 1);
    assert_eq!(machine.objects(), Vec::<String>::new());

    let machine = hooked(&[("after", "sleep 60")]);
    let report = machine.backup().unwrap();
    let why = report.hook_failed.as_deref().unwrap_or_default();
    assert!(why.contains("it took longer than 5 s"), "{why}");
    assert!(report.is_partial() && report.targets[0].is_published);
    machine.configure("[archive.hooks]\nbefore = [\"state-no-such-program\"]");
    let error = machine.backup().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program state-no-such-program does not exist"
    );
}

#[test]
fn pruning_follows_the_rules_and_the_doubts() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let error = prune(&machine).unwrap_err();
    assert_eq!(
        (exit(&error), ids(&machine).len()),
        (2, 1),
        "without a rule nothing goes"
    );
    machine.configure_target("keep = { last = 2 }");
    for _ in 0..3 {
        machine.backup().unwrap();
    }
    let before = ids(&machine);
    let mut cx = machine.context(&Never);
    cx.dry_run = true;
    let plan = prune::run(&cx, &archives::Which::default(), &Silent).unwrap();
    assert_eq!((plan.executed, ids(&machine).len()), (false, 4));

    // The newest is not proven while the ledger does not know it.
    let ledger = machine.path("root/persist/.state/ledger.json");
    let known = fs::read(&ledger).unwrap();
    fs::remove_file(&ledger).unwrap();
    assert_eq!(
        prune(&machine).unwrap().targets[0].deleted,
        Vec::<String>::new()
    );
    let which = archives::Which::default();
    archives::verify(&machine.context(&Never), &which, None, false, &Silent).unwrap();
    // Neither is anything deleted while the clock is behind.
    let now = machine.now.replace(1_700_000_000);
    assert_eq!(
        prune(&machine).unwrap().targets[0].deleted,
        Vec::<String>::new()
    );
    machine.now.set(now);
    fs::write(&ledger, known).unwrap();

    let report = prune(&machine).unwrap();
    let deleted: Vec<&String> = before[..2].iter().rev().collect();
    assert_eq!(
        report.targets[0].deleted.iter().collect::<Vec<_>>(),
        deleted
    );
    assert_eq!(ids(&machine), before[2..]);
    assert_eq!(machine.objects().len(), 4, "data and labels of two");
    let again = prune(&machine).unwrap();
    assert_eq!(again.targets[0].deleted, Vec::<String>::new());
}

/// An archive that was found damaged stands for nothing: no whole one goes because of it, and none
/// is built on it.
#[test]
fn what_verifying_found_damaged_is_remembered() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    machine.backup().unwrap();
    machine.backup().unwrap();
    let [whole, damaged] = &ids(&machine)[..] else {
        panic!("two archives");
    };
    let data = machine.data(damaged);
    let bytes = fs::read(&data).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&data, flipped).unwrap();
    let verify = |all| {
        let which = archives::Which::default();
        archives::verify(&machine.context(&Never), &which, None, all, &Silent).unwrap()
    };
    assert!(verify(false).archives[0].damage.is_some());
    let gone = || prune(&machine).unwrap().targets[0].deleted.clone();
    assert_eq!(gone(), Vec::<String>::new());
    let why = Some("it was damaged when it was last read back".to_owned());
    assert_eq!(machine.list().archives[1].broken, why);

    machine.write("root/persist/var/lib/app/data", "changed");
    let next = machine.backup_next();
    assert_eq!(next.parent.as_ref(), Some(whole));
    // Damage that is found to be none is forgotten.
    fs::write(&data, bytes).unwrap();
    assert!(verify(true).archives.iter().all(|one| one.damage.is_none()));
    assert_eq!(machine.list().archives[1].broken, None);
    assert_eq!(gone().as_slice(), std::slice::from_ref(damaged));
}

#[test]
fn a_consolidated_archive_is_proven() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "changed");
    machine.backup_next();
    let mut old = ids(&machine);
    let which = archives::Which::default();
    backup::consolidate(&machine.context(&Never), &which, "latest", &Silent).unwrap();
    old.reverse();
    assert_eq!(prune(&machine).unwrap().targets[0].deleted, old);
}

#[test]
fn pruning_another_machine_leaves_this_one_alone() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    machine.backup().unwrap();
    machine.backup().unwrap();
    let other = archives::Which {
        machine: Some("quasar".into()),
        ..Default::default()
    };
    let report = prune::run(&machine.context(&Never), &other, &Silent).unwrap();
    assert_eq!(report.targets[0].archives, []);
    assert_eq!(ids(&machine).len(), 2);
    // Whoever holds the other key prunes for a machine that has none: after verifying.
    let text = machine.read("root/etc/state/state.toml");
    machine.write(
        "root/etc/state/state.toml",
        &text.replace("blitzar", "quasar"),
    );
    let blitzar = archives::Which {
        machine: Some("blitzar".into()),
        ..Default::default()
    };
    fs::remove_file(machine.path("root/persist/.state/ledger.json")).unwrap();
    let gone = || {
        let report = prune::run(&machine.context(&Never), &blitzar, &Silent).unwrap();
        report.targets[0].deleted.len()
    };
    assert_eq!(gone(), 0);
    archives::verify(&machine.context(&Never), &blitzar, None, false, &Silent).unwrap();
    assert_eq!(gone(), 1);
}

#[test]
fn a_dry_run_runs_no_hooks() {
    let machine = hooked(&[("before", "exit 1")]);
    let mut cx = machine.context(&Never);
    cx.dry_run = true;
    backup::run(&cx, &backup::Options::default(), &Silent).unwrap();
    assert!(!Path::new(&machine.path("root/persist/.state")).exists());
}

//! Drills: a restore to scratch, compared, and its proof wherever somebody looks for it.

use super::machine::{After, Machine, exit, note};
use state::archive::proof::Against;
use state::ops::drill::{self, Options, Report};
use state::ops::{archives, machines, prune};
use state::progress::Silent;
use state_api::{Interrupt, Never};
use std::fs;
use std::sync::atomic::AtomicU64;

pub(crate) fn drill_until(
    machine: &Machine,
    interrupt: &dyn Interrupt,
    change: impl FnOnce(&mut Options),
) -> anyhow::Result<Report> {
    let mut options = Options::default();
    change(&mut options);
    drill::run(&machine.context(interrupt), &options, &Silent)
}

pub(crate) fn drill(machine: &Machine) -> anyhow::Result<Report> {
    drill_until(machine, &Never, |_| {})
}

fn proofs(machine: &Machine) -> Vec<String> {
    let mut objects = machine.objects();
    objects.retain(|name| name.ends_with(".proof"));
    objects
}

/// What the fleet's list says: the archive that was proven, and what is odd.
fn listed(machine: &Machine) -> (Option<String>, Vec<String>) {
    let cx = machine.context(&Never);
    let report = machines::run(&cx, &archives::Which::default()).unwrap();
    let proven = report.machines[0].proven.as_ref();
    (
        proven.map(|proven| proven.proof.id.to_string()),
        report.odd.into_iter().map(|odd| odd.why).collect(),
    )
}

fn ledger(machine: &Machine) -> serde_json::Value {
    serde_json::from_str(&machine.read("root/persist/.state/ledger.json")).unwrap()
}

#[test]
fn a_proof_is_noted_published_and_goes_with_its_archive() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    let first = machine.backup().unwrap().id.unwrap();
    let before = note(&machine.store());
    let done = drill(&machine).unwrap();
    assert!(done.executed && !done.found_something() && !done.is_partial());
    let drilled = &done.drills[0];
    let proof = drilled.proof().unwrap();
    assert_eq!(proof.id.as_str(), first);
    assert_eq!((proof.entries, proof.against), (9, Against::Manifest));
    assert!(drilled.is_published);
    // Nothing is left of it, and nothing else was touched.
    assert_eq!(machine.reserved(), [""; 0]);
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
    assert_eq!(listed(&machine), (Some(first.clone()), vec![]));
    let noted = &ledger(&machine)["drills"][0];
    assert_eq!(noted["id"], *first);
    assert_eq!(noted["found"], serde_json::Value::Null);
    // Another drill takes its place.
    let old = proofs(&machine);
    drill(&machine).unwrap();
    let new = proofs(&machine);
    assert!(
        old.len() == 1 && new.len() == 1 && old != new,
        "{old:?} {new:?}"
    );
    assert_eq!(machine.list().odd, []);

    let second = machine.backup().unwrap().id.unwrap();
    // What was proven is still known, although there is a newer archive.
    assert_eq!(listed(&machine).0, Some(first));
    prune::run(
        &machine.context(&Never),
        &archives::Which::default(),
        &Silent,
    )
    .unwrap();
    let names = [format!("{second}.tar.zst"), format!("{second}.txt")];
    assert_eq!(machine.objects(), names);
    assert_eq!(listed(&machine), (None, vec![]));
}

#[test]
fn an_increment_is_proven_with_all_that_its_parents_hold() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let full = drill(&machine).unwrap().drills[0].proof().unwrap();
    machine.write("root/persist/var/lib/app/more", "12345");
    let increment = machine.backup_next();
    assert!(increment.parent.is_some());
    let proof = drill(&machine).unwrap().drills[0].proof().unwrap();
    let grown = (proof.entries - full.entries, proof.bytes - full.bytes);
    assert_eq!((Some(proof.id.to_string()), grown), (increment.id, (1, 5)));
}

#[test]
fn what_is_not_as_it_was_saved_is_found() {
    let machine = Machine::new();
    let id = machine.backup().unwrap().id.unwrap();
    let whole = fs::read(machine.data(&id)).unwrap();
    drill(&machine).unwrap();
    let proven = proofs(&machine);
    let before = note(&machine.store());
    for at in [whole.len() / 4, whole.len() - 200] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(machine.data(&id), &bytes).unwrap();
        let report = drill(&machine).unwrap();
        let drilled = &report.drills[0];
        assert!(report.found_something() && drilled.found.is_some(), "{at}");
        assert_eq!((drilled.proof(), drilled.is_published), (None, false));
        assert_eq!(machine.reserved(), [""; 0]);
        // The last proof still says when a restore worked.
        assert_eq!(proofs(&machine), proven);
        let drills = ledger(&machine)["drills"].clone();
        assert_eq!(drills.as_array().unwrap().len(), 2);
        assert_eq!(drills[1]["found"].as_str(), drilled.found.as_deref());
    }
    // Cut off, which a look at the sizes tells.
    fs::write(machine.data(&id), &whole[..whole.len() - 1]).unwrap();
    let report = drill(&machine).unwrap();
    assert!(report.drills[0].found.is_some() && report.drills[0].archive.is_none());
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
    fs::write(machine.data(&id), &whole).unwrap();
    drill(&machine).unwrap();
    assert_eq!(ledger(&machine)["drills"].as_array().unwrap().len(), 1);
}

#[test]
fn an_interrupted_drill_leaves_nothing() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let before = note(&machine.store());
    let mut interrupted = 0;
    for questions in 0.. {
        let after = After(AtomicU64::new(questions));
        match drill_until(&machine, &after, |_| {}) {
            Ok(_) => break,
            Err(error) => assert_eq!(exit(&error), 130, "{error:#}"),
        }
        interrupted += 1;
        assert_eq!(machine.reserved(), [""; 0], "after {questions}");
        assert_eq!(proofs(&machine), [""; 0]);
    }
    assert!(interrupted > 10, "{interrupted}");
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
}

#[test]
fn one_target_that_is_gone_leaves_the_others_alone() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let gone = machine.path("gone");
    machine.configure(&format!(
        "[target.gone]\nurl = \"file://{}\"\n",
        gone.display()
    ));
    let report = drill(&machine).unwrap();
    assert!(report.is_partial() && !report.found_something());
    assert!(report.drills[0].failed.is_some() && report.drills[1].proof().is_some());
    let only = |options: &mut Options| options.which.from = Some("gone".into());
    let error = drill_until(&machine, &Never, only).unwrap_err();
    assert_eq!(exit(&error), 1, "{error:#}");
    fs::create_dir(&gone).unwrap();
    let error = drill_until(&machine, &Never, only).unwrap_err();
    assert_eq!(exit(&error), 10, "{error:#}");
}

#[test]
fn scratch_is_where_it_harms_nobody() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let into = |at: &std::path::Path| {
        let at = at.to_owned();
        drill_until(&machine, &Never, |options| options.into = Some(at))
    };
    // Not in a store, under whatever name.
    let link = machine.path("link");
    std::os::unix::fs::symlink(machine.store().join("var/lib/app"), &link).unwrap();
    for at in [machine.store(), machine.store().join("var/lib/app"), link] {
        assert_eq!(exit(&into(&at).unwrap_err()), 4, "{}", at.display());
    }
    // Not in what somebody else made.
    let other = machine.path("other");
    fs::create_dir_all(other.join("state-drill")).unwrap();
    fs::write(other.join("state-drill/precious"), "precious").unwrap();
    assert_eq!(exit(&into(&other).unwrap_err()), 4);
    assert_eq!(machine.read("other/state-drill/precious"), "precious");
    fs::create_dir(machine.store().join(".state/drill")).unwrap();
    machine.write("root/persist/.state/drill/precious", "precious");
    assert_eq!(exit(&drill(&machine).unwrap_err()), 4);
    assert_eq!(
        machine.read("root/persist/.state/drill/precious"),
        "precious"
    );

    let empty = machine.path("empty");
    fs::create_dir(&empty).unwrap();
    assert!(into(&empty).unwrap().drills[0].proof().is_some());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    // A dry run makes nothing.
    let mut cx = machine.context(&Never);
    cx.dry_run = true;
    let options = Options {
        into: Some(empty.clone()),
        ..Default::default()
    };
    let planned = drill::run(&cx, &options, &Silent).unwrap();
    assert!(!planned.executed && planned.drills[0].archive.is_some());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn hostile_proofs_harm_nobody() {
    let machine = Machine::new();
    machine.configure_target("keep = { last = 1 }");
    let id = machine.backup().unwrap().id.unwrap();
    drill(&machine).unwrap();
    let name = proofs(&machine).remove(0);
    let text = machine.read(&format!("usb/blitzar/{name}"));
    let ahead = |time: &str| format!("usb/blitzar/{id}.{time}.proof");
    for (at, hostile) in [
        ("29990101T000000Z", text.clone()),
        ("29990102T000000Z", "state proof 2\n".into()),
        ("29990103T000000Z", "x".repeat(1 << 20)),
    ] {
        machine.write(&ahead(at), &hostile);
    }
    // Three are tried, and then none is believed; each is named.
    let (proven, odd) = listed(&machine);
    assert_eq!((proven, odd.len()), (None, 3), "{odd:?}");
    fs::remove_file(machine.path(&ahead("29990103T000000Z"))).unwrap();
    assert_eq!(listed(&machine).0, Some(id.clone()));
    // They are no archives, and in nobody's way.
    assert_eq!(machine.list().archives.len(), 1);
    assert_eq!(machine.list().odd, []);
    machine.write("root/persist/var/lib/app/data", "changed");
    assert!(!machine.backup_next().is_partial());
    prune::run(
        &machine.context(&Never),
        &archives::Which::default(),
        &Silent,
    )
    .unwrap();
    // The next drill clears them away.
    drill(&machine).unwrap();
    assert_eq!(proofs(&machine).len(), 1);
    assert_eq!(listed(&machine).1, [""; 0]);
}

#[test]
fn a_proof_that_was_made_elsewhere_is_learned() {
    let machine = Machine::new();
    machine.backup().unwrap();
    // Somebody with the key to it, on a machine that knows nothing of this one.
    let elsewhere = machine.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mut cx = machine.context(&Never);
    cx.root_dir = elsewhere.clone();
    let options = Options {
        which: archives::Which {
            from: Some(format!("file://{}", machine.path("usb").display())),
            machine: Some("blitzar".into()),
            ..Default::default()
        },
        into: Some(elsewhere),
        ..Default::default()
    };
    let done = drill::run(&cx, &options, &Silent).unwrap();
    assert!(done.drills[0].is_published, "{done:?}");
    assert_eq!(ledger(&machine)["drills"].as_array().unwrap().len(), 0);
    // Nothing changed, and yet it is learned; where only others are believed it is not.
    let signers = machine.path("root/signers");
    fs::write(&signers, "# nobody\n").unwrap();
    machine.configure("[archive]\ntrusted-signers = \"/signers\"\n");
    machine.backup_next();
    assert_eq!(ledger(&machine)["drills"].as_array().unwrap().len(), 0);
    machine.configure("");
    machine.backup_next();
    let drills = ledger(&machine)["drills"].clone();
    assert_eq!(drills[0]["target"], "usb");
    assert_eq!(drills[0]["found"], serde_json::Value::Null);
}

use super::super::sim::{After, Machine, class, holds};
use super::*;
use chrono::DateTime;
use rustix::io::Errno;
use state_api::Interrupt;
use state_testing::rig::Rig as _;
use state_testing::tape::Fault;

pub(in super::super) fn run(machine: &Machine, cx: &Context) -> anyhow::Result<Report> {
    recorded(cx, |draft| {
        reset(cx, &mut machine.engine(), &machine.settings(), draft)
    })
}

fn interrupted_by<'a>(machine: &'a Machine, interrupt: &'a dyn Interrupt) -> Context<'a> {
    Context {
        interrupt,
        ..machine.cx()
    }
}

#[test]
fn a_reset_is_done_and_recorded() {
    let machine = Machine::new();
    let before = machine.pool.tree("rpool/local/root").unwrap();
    let report = run(&machine, &machine.cx()).unwrap();
    let name = "20261121T113705Z-6d3f20c1";
    assert_eq!(
        report.past_root.as_ref().map(PastRootName::as_str),
        Some(name)
    );
    assert_eq!(report.outcome, Outcome::Reset);
    assert!(
        report.plan.iter().all(|act| act.outcome.is_some()),
        "{:?}",
        report.plan
    );
    let world = machine.pool.world();
    assert_eq!(world.root, world.blank);
    assert_eq!(world.past.get(name), Some(&before));

    let record = machine.record().unwrap();
    assert_eq!(
        record,
        Record {
            version: 1,
            program: env!("CARGO_PKG_VERSION").into(),
            boot_id: machine.boot_id.clone(),
            at: machine.now,
            backend: None,
            root: Some("rpool/local/root".into()),
            outcome: Outcome::Reset,
            source: Some(Source::Blank),
            blank: report.blank.as_ref().map(|blank| RecordedBlank {
                name: "rpool/local/root@blank".into(),
                identity: blank.identity.clone(),
            }),
            past_root: Some(name.parse().unwrap()),
            plan: report.plan.iter().map(|act| act.text.clone()).collect(),
            steps_done: report.plan.len(),
            took_us: report.took_us,
            failure: None,
        }
    );
}

#[test]
fn a_dry_run_plans_the_same_and_touches_nothing() {
    let machine = Machine::new();
    let before = machine.pool.world();
    let dry = run(&machine, &machine.dry()).unwrap();
    assert!(!dry.executed && dry.plan.iter().all(|act| act.outcome.is_none()));
    assert_eq!(machine.pool.world(), before);
    assert_eq!(
        std::fs::read_dir(machine.dir.path()).unwrap().count(),
        0,
        "no record, no lock"
    );
    let wet = run(&machine, &machine.cx()).unwrap();
    let texts = |report: &Report| -> Vec<String> {
        report.plan.iter().map(|act| act.text.clone()).collect()
    };
    assert_eq!(texts(&dry), texts(&wet));
}

#[test]
fn the_clock_at_1970_and_two_resets_of_one_boot_make_two_past_roots() {
    let mut machine = Machine::new();
    machine.now = DateTime::from_timestamp(7, 0).unwrap();
    run(&machine, &machine.cx()).unwrap();
    assert!(machine.pool.live("again"));
    run(&machine, &machine.cx()).unwrap();
    let names: Vec<String> = machine.pool.world().past.into_keys().collect();
    assert_eq!(
        names,
        ["19700101T000007Z-6d3f20c1", "19700101T000007Z-6d3f20c1-2"]
    );
}

#[test]
fn state_skip_leaves_root_alone_and_says_so() {
    let machine = Machine::new();
    machine.cmdline("quiet state.skip state.rot=past/x");
    let before = machine.pool.world();
    let report = run(&machine, &machine.cx()).unwrap();
    assert_eq!((report.outcome, report.past_root), (Outcome::Skipped, None));
    assert_eq!(
        report.warnings,
        ["the kernel command line says state.rot=past/x, which means nothing"]
    );
    assert_eq!(machine.pool.world(), before);
    assert_eq!(machine.record().unwrap().outcome, Outcome::Skipped);
}

#[test]
fn state_root_boots_a_copy_of_a_past_root_and_keeps_the_past_root() {
    let mut machine = Machine::new();
    let lost = machine.pool.tree("rpool/local/root").unwrap();
    run(&machine, &machine.cx()).unwrap();
    machine.boots_again(1, "day two");
    machine.cmdline("state.root=past/20261121");
    let report = run(&machine, &machine.cx()).unwrap();
    let name: PastRootName = "20261121T113705Z-6d3f20c1".parse().unwrap();
    assert_eq!(report.source, Some(Source::Past(name.clone())));
    let world = machine.pool.world();
    assert_eq!(world.root.as_ref(), Some(&lost));
    assert_eq!(world.past.get(name.as_str()), Some(&lost));
    assert_eq!(world.past.len(), 2);
}

#[test]
fn refusals_change_nothing_and_are_recorded() {
    type Spoil = fn(&Machine);
    let table: [(&str, Spoil); 4] = [
        ("rpool/local/root is mounted at /sysroot", |m| {
            m.pool.mount("rpool/local/root", "/sysroot");
        }),
        ("rpool/local/root@blank does not exist", |m| {
            m.pool.destroyed("rpool/local/root@blank");
        }),
        ("state.root=blank: it has to be state.root=past/NAME", |m| {
            m.cmdline("state.root=blank");
        }),
        ("rpool is read-only", |m| m.pool.import_read_only(true)),
    ];
    for (fact, spoil) in table {
        let machine = Machine::new();
        spoil(&machine);
        let before = machine.pool.world();
        let error = run(&machine, &machine.cx()).unwrap_err();
        assert_eq!(class(&error), "Refused", "{error:#}");
        assert!(format!("{error:#}").ends_with(fact), "{error:#}");
        assert_eq!(machine.pool.world(), before);
        let record = machine.record().unwrap();
        assert_eq!((record.outcome, record.steps_done), (Outcome::Refused, 0));
        assert_eq!(record.failure.unwrap().error, format!("{error:#}"));
    }
}

/// What a kernel that was upgraded on the running machine does: the boot loader starts it.
#[test]
fn a_kernel_whose_modules_only_root_has_refuses_the_reset() {
    let root = "rpool/local/root";
    let running = "6.1.0-10-amd64";
    // Of blank, of root, and whether that is refused.
    type Row<'a> = (&'a [&'a str], &'a [&'a str], bool);
    let table: [Row<'_>; 6] = [
        (
            &["lib/modules/6.1.0-9-amd64"],
            &["lib/modules/6.1.0-10-amd64"],
            true,
        ),
        (
            &["usr/lib/modules/6.1.0-9-amd64"],
            &["usr/lib/modules/6.1.0-10-amd64"],
            true,
        ),
        // All is as it should be; a kernel of neither's; one that wants no modules, as on NixOS.
        (&["lib/modules/6.1.0-10-amd64"], &[], false),
        (
            &["lib/modules/6.1.0-9-amd64"],
            &["lib/modules/6.1.0-11-amd64"],
            false,
        ),
        (&["lib/modules/6.1.0-9-amd64"], &[], false),
        (&[], &["lib/modules/6.1.0-10-amd64"], false),
    ];
    for (of_blank, of_root, is_refused) in table {
        let machine = Machine::new();
        let put = |dirs: &[&str]| {
            for dir in dirs {
                machine.pool.put(root, &format!("{dir}/modules.dep"), "");
            }
        };
        machine.pool.destroyed("rpool/local/root@blank");
        put(of_blank);
        machine.pool.snapshot_of("rpool/local/root@blank");
        put(of_root);
        let kernel = machine.dir.path().join("proc/sys/kernel");
        std::fs::create_dir_all(&kernel).unwrap();
        std::fs::write(kernel.join("osrelease"), format!("{running}\n")).unwrap();
        let before = machine.pool.world();
        let ended = run(&machine, &machine.cx());
        assert_eq!(
            ended.is_err(),
            is_refused,
            "{of_blank:?} {of_root:?} {ended:?}"
        );
        if let Err(error) = ended {
            assert_eq!(class(&error), "Refused");
            assert_eq!(
                format!("{error:#}"),
                "resetting rpool/local/root: blank has no modules for 6.1.0-10-amd64, the kernel that runs, and \
                 root has them"
            );
            assert_eq!(machine.pool.world(), before);
            let failure = machine.record().unwrap().failure.unwrap();
            assert_eq!(
                failure.hint.as_deref(),
                Some(renew::catch_up(&machine.settings()))
            );
            // Who says so goes on, to see what is wrong.
            machine.cmdline("state.skip");
            run(&machine, &machine.cx()).unwrap();
        }
    }
}

#[test]
fn a_past_root_that_is_not_there_is_no_reason_to_erase() {
    let machine = Machine::new();
    machine.cmdline("state.root=past/20200101");
    let before = machine.pool.world();
    let error = run(&machine, &machine.cx()).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        "resetting rpool/local/root: the past root 20200101 does not exist"
    );
    assert_eq!(machine.pool.world(), before);
    assert_eq!(machine.record().unwrap().outcome, Outcome::Failed);
}

/// A full disk after every step: nothing is lost, the exit status says what to
/// do, and running again does it.
#[test]
fn whatever_stops_it_half_way_running_again_finishes() {
    let steps = run(&Machine::new(), &Machine::new().dry())
        .unwrap()
        .plan
        .len();
    assert!(steps > 3);
    for done in 0..steps {
        let mut full = Machine::new();
        let outgoing = full.pool.tree("rpool/local/root").unwrap();
        full.pool.fail(Some(Fault {
            after: done,
            errno: Errno::NOSPC,
            lasts: true,
        }));
        let error = run(&full, &full.cx()).unwrap_err();
        let record = full.record().unwrap();
        let expected = if record.steps_done == 0 {
            "Failed"
        } else {
            "Partial"
        };
        assert_eq!(class(&error), expected, "{error:#}");
        assert_eq!(record.outcome, Outcome::Failed, "{error:#}");
        full.pool.fail(None);
        finishes(&full, &outgoing);
    }
}

/// Somebody's Ctrl-C, or a time limit of systemd's, never leaves a machine without a root.
#[test]
fn it_is_interrupted_only_where_there_is_a_root() {
    let outgoing = Machine::new().pool.tree("rpool/local/root").unwrap();
    let mut done = Vec::new();
    loop {
        let machine = Machine::new();
        let after = After::asked(done.len());
        let ended = run(&machine, &interrupted_by(&machine, &after));
        assert!(machine.pool.world().root.is_some(), "after {done:?}");
        let record = machine.record().unwrap();
        let Err(error) = ended else {
            assert_eq!(record.outcome, Outcome::Reset);
            break;
        };
        assert_eq!(class(&error), "Interrupted", "{error:#}");
        assert_eq!(record.outcome, Outcome::Interrupted);
        done.push(record.steps_done);
        finishes(&machine, &outgoing);
    }
    // Before the dataset of past roots is made, and before root is renamed to one.
    assert_eq!(done, [0, 1]);
}

/// Root is rolled back dataset by dataset: nobody stops with some of it blank and some not.
#[test]
fn giving_up_is_not_interrupted_in_the_middle() {
    let parts = ["rpool/local/root", "rpool/local/root/var"];
    let mut done = Vec::new();
    loop {
        let mut machine = Machine::new();
        machine.past_roots.last = 0;
        machine.pool.dataset(parts[1], &["canmount=noauto"]);
        machine.pool.snapshot_of("rpool/local/root/var@blank");
        for part in parts {
            machine.pool.put(part, "/clutter", "");
            machine.pool.snapshot_of(&format!("{part}@of-somebody"));
        }
        let outgoing = parts.map(|part| machine.pool.tree(part));
        let after = After::asked(done.len());
        let ended = run(&machine, &interrupted_by(&machine, &after));
        if ended.is_ok() {
            break;
        }
        assert_eq!(parts.map(|part| machine.pool.tree(part)), outgoing);
        done.push(machine.record().unwrap().steps_done);
    }
    // Before each of the snapshots in the way, never between the two that are rolled back.
    assert_eq!(done, [0, 1]);
}

fn finishes(machine: &Machine, outgoing: &state_testing::tree::Tree) {
    assert!(holds(&machine.pool.world(), outgoing), "nothing is lost");
    run(machine, &machine.cx()).unwrap();
    let world = machine.pool.world();
    assert_eq!(world.root, world.blank);
    assert!(holds(&world, outgoing));
    assert_eq!(machine.record().unwrap().outcome, Outcome::Reset);
}

#[test]
fn two_runs_at_once_are_kept_apart_and_the_second_records_nothing() {
    let machine = Machine::new();
    let cx = machine.cx();
    let held = cx.lock().unwrap();
    let error = run(&machine, &cx).unwrap_err();
    assert_eq!(class(&error), "Locked", "{error:#}");
    assert_eq!(machine.record(), None);
    run(&machine, &machine.dry()).expect("looking is allowed");
    drop(held);
    run(&machine, &cx).unwrap();
}

#[test]
fn without_past_roots_the_outgoing_root_is_given_up() {
    let mut machine = Machine::new();
    machine.past_roots.last = 0;
    let report = run(&machine, &machine.cx()).unwrap();
    assert_eq!(report.past_root, None);
    assert_eq!(machine.pool.world().past.len(), 0);
}

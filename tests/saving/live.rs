//! A store that is in use: what is restored waits for the next boot, and is called off or taken
//! back like any other restore.

use super::machine::{Machine, exit, note};
use state::context::Context;
use state::inventory::Inventory;
use state::ops::mount::{self as mounting, Which};
use state::ops::restore::{self, How};
use state::ops::waiting;
use state_api::{Interrupt, Never};
use state_linux::{mount, namespace};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

/// A program that works in a directory, that of the store if no other is said, until this is dropped.
pub(super) struct User(Child);

impl User {
    pub(super) fn of(machine: &Machine) -> Self {
        Self::at(&machine.store())
    }

    pub(super) fn at(dir: &Path) -> Self {
        let mut sleep = Command::new("sleep");
        Self(sleep.arg("600").current_dir(dir).spawn().unwrap())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A machine whose store holds something else than its archive, and both trees.
fn changed() -> (Machine, Inventory, Inventory) {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.restore().unwrap(); // so that it holds what the archive holds, and nothing else
    let archived = note(&machine.store());
    undo(&machine, false).unwrap();
    restore::undo(&machine.context(&Never), None, false).unwrap();
    machine.write("root/persist/var/lib/app/data", "mine");
    let mine = note(&machine.store());
    (machine, mine, archived)
}

fn undo(machine: &Machine, now: bool) -> anyhow::Result<How> {
    let mut undone = restore::undo(&machine.context(&Never), None, now)?;
    assert!(undone.executed);
    Ok(undone.stores.remove(0).how)
}

fn restore(machine: &Machine, now: bool) -> anyhow::Result<restore::Report> {
    machine.restore_with(&Never, |options| {
        (options.now, options.forget_replaced) = (now, true);
    })
}

/// The part of a boot that comes before anything is put in place.
pub(super) fn boots(machine: &Machine) -> mounting::Report {
    let nothing = Which::One(Path::new("/none"));
    let cx = Context {
        boot_id: "00000000-0000-4000-8000-000000000000".into(),
        ..machine.context(&Never)
    };
    let report = mounting::run(&cx, mounting::Options { which: nothing }).unwrap();
    if !report.swaps.is_empty() {
        assert_eq!(waiting::recorded(&cx), report.swaps);
    }
    report
}

fn same(machine: &Machine, wanted: &Inventory) {
    assert_eq!(note(&machine.store()).differences(wanted), [""; 0]);
}

#[test]
fn what_is_restored_waits_for_the_boot_and_goes_back_by_one() {
    let (machine, mine, archived) = changed();
    let user = User::of(&machine);
    let dry = Context {
        dry_run: true,
        ..machine.context(&Never)
    };
    let options = restore::Options {
        forget_replaced: true,
        ..restore::Options::default()
    };
    let plan = restore::run(&dry, &options, &state::progress::Silent).unwrap();
    let by = format!("sleep (process {})", user.0.id());
    assert_eq!(plan.stores[0].waits_for.as_ref(), Some(&by));
    same(&machine, &mine);

    let report = restore(&machine, false).unwrap();
    let store = &report.stores[0];
    assert_eq!(
        (store.is_swapped, store.waits_for.as_ref()),
        (false, Some(&by))
    );
    same(&machine, &mine);
    // Services go on writing there until then.
    machine.write("root/persist/var/lib/app/data", "mine, later");
    let later = note(&machine.store());

    // A boot whose initrd leaves the store in use changes nothing, and tells.
    let [swap] = &boots(&machine).swaps[..] else {
        panic!()
    };
    let failure = swap.failure.as_ref().unwrap();
    assert!(failure.error.contains(&by), "{}", failure.error);
    same(&machine, &later);
    drop(user);
    let [swap] = &boots(&machine).swaps[..] else {
        panic!()
    };
    assert_eq!(swap.failure, None);
    assert_eq!(
        swap.what.as_ref().unwrap().to_string(),
        format!("what was restored from {}", report.id)
    );
    same(&machine, &archived);
    assert_eq!(boots(&machine).swaps.len(), 0);

    let user = User::of(&machine);
    let waits_for = format!("sleep (process {})", user.0.id());
    assert_eq!(undo(&machine, false).unwrap(), How::AtBoot { waits_for });
    same(&machine, &archived);
    drop(user);
    boots(&machine);
    same(&machine, &later);
    assert_eq!(undo(&machine, false).unwrap(), How::Now);
    same(&machine, &archived);
}

#[test]
fn what_waits_is_dropped_or_put_in_place_early() {
    let (machine, mine, archived) = changed();
    let user = User::of(&machine);
    let refused = restore(&machine, true).unwrap_err();
    assert_eq!(exit(&refused), 4, "{refused:#}");
    assert!(restore(&machine, false).unwrap().stores[0].is_resumed);
    // Asked for again: it waits.
    let again = restore(&machine, false).unwrap();
    assert!(again.stores[0].is_resumed && again.stores[0].waits_for.is_some());
    // Another archive does not take its place unseen.
    machine.backup().unwrap();
    assert_eq!(exit(&restore(&machine, false).unwrap_err()), 4);
    assert_eq!(undo(&machine, false).unwrap(), How::Dropped);
    assert_eq!(exit(&undo(&machine, false).unwrap_err()), 4);
    boots(&machine);
    same(&machine, &mine);

    let first = machine.list().archives[0].id.clone();
    let restore_first = |now| {
        machine.restore_with(&Never, |options| {
            options.archive = Some(first.clone());
            options.now = now;
        })
    };
    restore_first(false).unwrap();
    same(&machine, &mine);
    drop(user);
    // Its users are gone: the same command puts it in place.
    let report = restore_first(true).unwrap();
    assert!(report.stores[0].is_swapped && report.stores[0].is_resumed);
    same(&machine, &archived);
    let user = User::of(&machine);
    assert_eq!(exit(&undo(&machine, true).unwrap_err()), 4);
    assert!(matches!(undo(&machine, false).unwrap(), How::AtBoot { .. }));
    assert_eq!(undo(&machine, false).unwrap(), How::CalledOff);
    assert!(matches!(undo(&machine, false).unwrap(), How::AtBoot { .. }));
    drop(user);
    assert_eq!(undo(&machine, true).unwrap(), How::Now);
    same(&machine, &mine);
}

#[test]
fn a_store_that_no_boot_looks_after_is_refused() {
    let (machine, ..) = changed();
    let elsewhere: PathBuf = machine.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let mut sleep = Command::new("sleep");
    let mut user = User(sleep.arg("600").current_dir(&elsewhere).spawn().unwrap());
    let refused = machine
        .restore_with(&Never, |options| options.into = Some(elsewhere))
        .unwrap_err();
    assert_eq!(exit(&refused), 4, "{refused:#}");
    assert!(user.0.try_wait().unwrap().is_none());
}

#[test]
fn a_tree_that_waited_and_is_gone_is_missed() {
    let (machine, mine, _) = changed();
    let user = User::of(&machine);
    restore(&machine, false).unwrap();
    drop(user);
    std::fs::remove_dir_all(machine.path("root/.persist.state-waiting")).unwrap();
    assert_eq!(boots(&machine).swaps, []);
    same(&machine, &mine);
    assert!(waiting::Note::read(&machine.store()).is_some());
    assert_eq!(undo(&machine, false).unwrap(), How::Dropped);
    assert_eq!(waiting::Note::read(&machine.store()), None);
    same(&machine, &mine);
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_root_is_made_from_is_moved_by_no_boot_and_no_undo() {
    namespace::own_mounts().expect("this needs root");
    let machine = Machine::new();
    machine.backup().unwrap();
    let options = [("mode", Some(OsStr::new("0755")))];
    let tmpfs = mount::tmpfs(&options, mount::Attributes::empty()).unwrap();
    let store = mount::Guard::attach(tmpfs, &machine.store()).unwrap();
    restore(&machine, true).unwrap();
    let user = User::of(&machine);
    assert!(matches!(undo(&machine, false).unwrap(), How::AtBoot { .. }));
    drop(user);
    // Since then root lies above layers on the same filesystem.
    machine.configure("[root]\nbackend = \"overlay\"\ndevice = \"/dev/sda2\"\n");
    let layers = machine.store().join("state/layers");
    std::fs::create_dir_all(&layers).unwrap();
    let [swap] = &boots(&machine).swaps[..] else {
        panic!()
    };
    let failure = swap.failure.as_ref().unwrap();
    assert!(
        failure.error.contains("and state/layers in it"),
        "{failure:?}"
    );
    assert_eq!(undo(&machine, false).unwrap(), How::CalledOff);
    assert_eq!(exit(&undo(&machine, false).unwrap_err()), 4);
    assert!(layers.exists());
    drop(store);
}

/// What the machine keeps beside its tree, by name.
fn belongings(machine: &Machine) -> Vec<(String, String)> {
    let ours = machine.store().join(".state");
    let names = [
        "ledger.json",
        "drill.key",
        "quarantine/1/old",
        "quarantine/2/old",
        "past-roots/a/etc",
    ];
    let read = |name: &&str| {
        Some((
            name.to_string(),
            std::fs::read_to_string(ours.join(name)).ok()?,
        ))
    };
    names.iter().filter_map(read).collect()
}

#[test]
fn what_is_the_machines_stays_whatever_tree_is_in_place() {
    let (machine, mine, archived) = changed();
    for name in ["drill.key", "quarantine/1/old", "past-roots/a/etc"] {
        machine.write(&format!("root/persist/.state/{name}"), name);
    }
    let ours = belongings(&machine);
    assert_eq!(ours.len(), 4, "{ours:?}");
    let expect = |tree: &Inventory| {
        same(&machine, tree);
        assert_eq!(belongings(&machine), ours);
    };
    restore(&machine, true).unwrap();
    expect(&archived);
    assert_eq!(undo(&machine, true).unwrap(), How::Now);
    expect(&mine);
    // By a boot.
    let user = User::of(&machine);
    restore(&machine, false).unwrap();
    expect(&mine);
    drop(user);
    boots(&machine);
    expect(&archived);
    // After a cut between the exchange and this, the next boot does it, and takes nothing away.
    let old = machine.path("root/.persist.state-replaced/.state");
    for name in ["ledger.json", "quarantine"] {
        std::fs::rename(machine.store().join(".state").join(name), old.join(name)).unwrap();
    }
    machine.write("root/persist/.state/quarantine/2/old", "newer");
    boots(&machine);
    let mut all = ours.clone();
    all.insert(3, ("quarantine/2/old".into(), "newer".into()));
    assert_eq!(belongings(&machine), all);
    // So giving up the old tree gives up nothing of them.
    restore(&machine, true).unwrap();
    assert_eq!(belongings(&machine), all);
}

fn restore_sub(machine: &Machine, interrupt: &dyn Interrupt) -> anyhow::Result<restore::Report> {
    let path = Some("/var/lib/app/sub".into());
    machine.restore_with(interrupt, |options| options.path = path)
}

/// Gets to work in a directory as soon as somebody asks whether to go on.
struct ComesMeanwhile(PathBuf, Mutex<Option<User>>);

impl Interrupt for ComesMeanwhile {
    fn is_set(&self) -> bool {
        let comes = || User::at(&self.0);
        self.1.lock().unwrap().get_or_insert_with(comes);
        false
    }
}

#[test]
fn a_path_that_came_into_use_while_it_was_staged_is_left_alone() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/sub/own", "mine");
    let mine = note(&machine.store());
    let at_work = ComesMeanwhile(machine.store().join("var/lib/app/sub"), Mutex::default());
    let refused = restore_sub(&machine, &at_work).unwrap_err();
    assert_eq!(exit(&refused), 4, "{refused:#}");
    same(&machine, &mine);
    assert_eq!(exit(&undo(&machine, false).unwrap_err()), 4);
    drop(at_work);
    restore_sub(&machine, &Never).unwrap();
    assert!(!machine.path("root/persist/var/lib/app/sub/own").exists());
    undo(&machine, false).unwrap();
    assert_eq!(
        machine.read("root/persist/var/lib/app/sub/own"),
        "mine",
        "what is given up leaves nothing in the way"
    );
}

#[test]
#[ignore = "needs user and mount namespaces"]
fn ns_a_path_in_use_through_a_mount_of_what_it_lies_in_is_left_alone() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let live = machine.path("live");
    std::fs::create_dir(&live).unwrap();
    let script = "mount --bind \"$1\" \"$2\" && cd \"$2/sub\" && exec sleep 600";
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-ec",
        script,
        "sh",
    ]);
    let mut user = User(
        (unshare.arg(machine.store().join("var/lib/app")).arg(&live))
            .spawn()
            .unwrap(),
    );
    let cwd = format!("/proc/{}/cwd", user.0.id());
    while !std::fs::read_link(&cwd).is_ok_and(|cwd| cwd == live.join("sub")) {
        assert_eq!(user.0.try_wait().unwrap(), None);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let refused = restore_sub(&machine, &Never).unwrap_err();
    assert_eq!(exit(&refused), 4, "{refused:#}");
    assert!(format!("{refused:#}").contains(&user.0.id().to_string()));
    drop(user);
    restore_sub(&machine, &Never).unwrap();
}

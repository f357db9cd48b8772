//! What hinders a reset or a deletion.

use super::*;

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_past_root_goes_with_all_that_hinders() {
    let machine = Machine::new(Path::new("root"));
    let mut live = machine.disk.live();
    let p = Path::new;
    for nested in ["root/a", "root/a/b", "root/a/b/c", "root/d e"] {
        live.create(p(nested)).unwrap();
    }
    // A file that nobody may delete, and read-only subvolumes with others inside.
    write(&live, "root/a/b/c/immutable", "x");
    let view = live.open(p("root/a/b/c")).unwrap();
    let file = File::open(path_of(&view).join("immutable")).unwrap();
    rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE).unwrap();
    for nested in ["root/a/b", "root/a"] {
        let id = subvolume(&live, nested).id;
        live.set_read_only(id, true).unwrap();
    }
    drop((live, view, file));
    machine.reset("one").expect("resetting");
    let mut engine = machine.engine();
    delete(&mut engine, "one").expect("deleting");
    let live = machine.disk.live();
    assert_eq!(live.names(p("past-roots")).unwrap(), [""; 0]);
    assert_eq!(read(&live, "persist/key").unwrap(), "key");
    assert_eq!(live.children(5).unwrap().len(), 3, "root, blank, persist");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_cannot_be_deleted_says_why_and_stays() {
    let machine = Machine::new(Path::new("root"));
    machine.disk.live().create(Path::new("root/swap")).unwrap();
    machine.reset("one").expect("resetting");
    let mut engine = machine.engine();

    let at = machine.disk.outside("mnt");
    let guard = machine.disk.mount("past-roots/one/swap", &at);
    let refused = delete(&mut engine, "one").unwrap_err().to_string();
    let expected = format!(
        "past-roots/one/swap is in use by a mount at {}",
        at.display()
    );
    assert_eq!(refused, expected);

    let file = at.join("swapfile");
    swap_on(&file);
    state_linux::mount::unmount_lazily(&at).unwrap();
    let refused = delete(&mut engine, "one").map_err(|error| error.to_string());
    // Swap is known by the path that was used: bring it back to switch it off.
    drop(guard);
    let guard = machine.disk.mount("past-roots/one/swap", &at);
    swap_off(&file);
    drop(guard);
    assert_eq!(
        refused.unwrap_err(),
        "past-roots/one/swap is in use by an active swapfile in it or a running `btrfs send` of it"
    );

    let mut live = machine.disk.live();
    let id = subvolume(&live, "past-roots/one/swap").id;
    live.set_default(id).unwrap();
    let refused = delete(&mut engine, "one").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "past root one holds the default subvolume"
    );
    live.set_default(5).unwrap();
    delete(&mut engine, "one").expect("nothing hinders any more");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_root_of_the_running_system_is_never_reset() {
    let machine = Machine::new(Path::new("root"));
    let mut live = machine.disk.live();
    live.create(Path::new("root/nix")).unwrap();
    let at = machine.disk.outside("mnt");
    let _guard = machine.disk.mount("root/nix", &at);
    let engine = machine.engine();
    let survey = engine.survey().unwrap();
    let refusals = engine.facts(&survey).refusals;
    let what = |refusal: &Refusal| match refusal {
        Refusal::InsideRoot { what, .. } => what.clone(),
        other => panic!("{other:?}"),
    };
    let whats: Vec<String> = refusals.iter().map(what).collect();
    assert_eq!(
        whats,
        [
            format!("root/nix, mounted at {},", at.display()),
            "the Nix store".into()
        ]
    );
    assert!(engine.plan_reset(&survey, &to_blank("one")).is_err());
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_mount_between_the_look_and_the_act_is_noticed() {
    let machine = Machine::new(Path::new("root"));
    let engine = machine.engine();
    let survey = engine.survey().unwrap();
    engine.recheck(&survey).unwrap();
    let _guard = machine.disk.mount("root", &machine.disk.outside("mnt"));
    let stale = engine.recheck(&survey).unwrap_err();
    assert_eq!(
        stale.to_string(),
        "the mounts of root changed since it was looked at"
    );
}

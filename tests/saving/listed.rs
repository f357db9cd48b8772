//! What a list can be relied on for.

use super::machine::{Machine, exit};
use state::ops::archives::{self, Which};
use state::progress::Silent;
use state_api::Never;
use std::fs;

fn verified(machine: &Machine, all: bool) -> archives::Verified {
    let cx = machine.context(&Never);
    archives::verify(&cx, &Which::default(), None, all, &Silent).unwrap()
}

/// A target that cannot be looked at may have a newer archive than the others.
#[test]
fn an_unreachable_target_is_never_quietly_passed_over() {
    let machine = Machine::new();
    let nas = machine.path("nas");
    let away = machine.path("away");
    fs::create_dir(&nas).unwrap();
    machine.configure(&format!(
        "[target.nas]\nurl = \"file://{}\"\n",
        nas.display()
    ));
    let older = machine.backup().unwrap().id.unwrap();
    let unreached = |report: &state::ops::restore::Report| {
        let notes = report.notes.iter();
        notes
            .filter(|note| note.contains("was not looked at"))
            .count()
    };
    fs::rename(&nas, &away).unwrap();
    // Nothing newer is known to be there.
    let report = machine.restore().unwrap();
    assert_eq!(
        (&report.id, unreached(&report)),
        (&older, 1),
        "{:?}",
        report.notes
    );
    let one = |options: &mut state::ops::restore::Options| {
        options.path = Some("/var/lib/app/data".into());
        options.forget_replaced = true;
    };
    let report = machine.restore_with(&Never, one).unwrap();
    assert_eq!(unreached(&report), 1, "{:?}", report.notes);

    fs::rename(&away, &nas).unwrap();
    fs::rename(machine.path("usb"), &away).unwrap();
    machine.write("root/persist/var/lib/app/data", "newer");
    let newest = machine.backup().unwrap().id.unwrap();
    fs::rename(&nas, machine.path("nas-away")).unwrap();
    fs::rename(&away, machine.path("usb")).unwrap();
    let error = machine.restore().unwrap_err();
    let said = error.to_string();
    let wanted =
        format!("the newest archive of blitzar, {newest}, is at nas, which cannot be looked at: ");
    assert!(exit(&error) == 4 && said.starts_with(&wanted), "{said}");
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "newer");
    // Who says which one gets it.
    let report = machine.restore_with(&Never, |options| {
        options.archive = Some(older.clone());
        options.forget_replaced = true;
    });
    assert_eq!(unreached(&report.unwrap()), 0);
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
}

#[test]
fn an_archive_without_its_data_is_broken_and_never_the_latest() {
    let machine = Machine::new();
    let second = machine.path("second");
    fs::create_dir(&second).unwrap();
    let first = machine.backup().unwrap().id.unwrap();
    let newest = machine.backup().unwrap().id.unwrap();
    let data = machine.data(&newest);
    let whole = fs::read(&data).unwrap();
    let (cut, all) = (whole.len() - 1, whole.len());
    let damages: [(&dyn Fn(), String); 3] = [
        (
            &|| fs::write(&data, &whole[..cut]).unwrap(),
            format!("its data is {cut} bytes long, not {all}"),
        ),
        (
            &|| fs::write(&data, "").unwrap(),
            format!("its data is 0 bytes long, not {all}"),
        ),
        (
            &|| fs::remove_file(&data).unwrap(),
            "its data is missing".into(),
        ),
    ];
    for (damage, why) in &damages {
        damage();
        let list = machine.list();
        let broken: Vec<_> = (list.archives.iter())
            .map(|archive| (archive.id.as_str(), archive.broken.as_deref()))
            .collect();
        let wanted = [
            (first.as_str(), None),
            (newest.as_str(), Some(why.as_str())),
        ];
        assert_eq!(broken, wanted);
        // It is neither taken nor passed over in silence.
        for id in ["latest".into(), newest.clone()] {
            let error = machine.restore_with(&Never, |options| options.archive = Some(id));
            let error = error.unwrap_err();
            let wanted = format!("blitzar/{newest}.tar.zst: {why}");
            assert_eq!((exit(&error), error.to_string()), (13, wanted));
        }
        assert!(verified(&machine, false).archives[0].damage.is_some());
    }
    // Another target has the very same archive whole.
    let copy = |end: &str| {
        let name = format!("{newest}{end}");
        fs::create_dir_all(second.join("blitzar")).unwrap();
        let from = machine.path("usb/blitzar").join(&name);
        fs::copy(from, second.join("blitzar").join(name)).unwrap();
    };
    fs::write(&data, &whole).unwrap();
    copy(".tar.zst");
    copy(".txt");
    fs::remove_file(&data).unwrap();
    machine.configure(&format!(
        "[target.second]\nurl = \"file://{}\"\n",
        second.display()
    ));
    let report = machine.restore().unwrap();
    assert_eq!((report.id, report.target.as_str()), (newest, "second"));
    // An older one is restored when it is named.
    let named = machine.restore_with(&Never, |options| {
        options.archive = Some(first.clone());
        options.forget_replaced = true;
    });
    assert_eq!(named.unwrap().id, first);
}

#[test]
fn verifying_says_what_it_cannot_read() {
    let machine = Machine::new();
    let id = machine.backup().unwrap().id.unwrap();
    let label = |time: &str, text: &str| {
        machine.write(&format!("usb/blitzar/{time}-00000000.txt"), text);
    };
    let unreadable = |all| -> Vec<_> {
        let verified = verified(&machine, all);
        assert_eq!(verified.archives.len(), 1, "{verified:?}");
        assert_eq!(verified.archives[0].archive.id, id);
        let unreadable = verified.unreadable.into_iter();
        unreadable
            .map(|label| (label.odd.why, label.is_newer))
            .collect()
    };
    label("20000101T000000Z", "not a label");
    let old = "blitzar/20000101T000000Z-00000000.txt: not the label of an archive";
    assert_eq!(unreadable(false), []); // an older one was not asked for
    assert_eq!(unreadable(true), [(old.to_owned(), false)]);
    label("20370101T000000Z", "state archive 2\n");
    let newer = "blitzar/20370101T000000Z-00000000.txt has format 2; this version of state reads \
                 format 1";
    assert_eq!(unreadable(false), [(newer.to_owned(), true)]);
    assert_eq!(
        unreadable(true),
        [(old.to_owned(), false), (newer.to_owned(), true)]
    );
}

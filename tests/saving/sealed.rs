//! Who can read an archive: encrypted, opened by any of its keys, and by no other.

use super::machine::{Machine, exit, note};
use state::ask::Nobody;
use state::ops::keyring::Keyring;
use state::ops::{archives, backup, restore};
use state::progress::Silent;
use state_api::Never;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// Throw-away keys of these tests alone: the private one, the public one.
pub(crate) const ANN: [&str; 2] = [
    "AGE-SECRET-KEY-1AAEDKWSKQ9QR9SSQZ36NYY704Z633WQRX5MTNLPJYCWLN7UL0QCS0M0LY7",
    "age1kz0dm2tklg3zcckjf67x3r06qge9yedkhafjcq20hh9su4ayeucsx4uecl",
];
pub(crate) const BOB: [&str; 2] = [
    "AGE-SECRET-KEY-1XDTDTEQHPFAPGFFG0P63UR6K4CYHS830679CS6KVWF80JECQ6M8SAYAATE",
    "age1edhgq83aamtaznfaedu4snxkrpeccn2qjcdfpe7r9lljp2thy9ks4u807c",
];
pub(crate) const EVE: [&str; 2] = [
    "AGE-SECRET-KEY-126A8TE8TYNCU206MSRR9ZLUGY3UAASPWQD6RNPYHC6H2SCWZGY9QPPP3NG",
    "age1luqtcwltutqznkkswece5qxevuyn4n2fmgkmh5zp3frnzt8envpsey2sww",
];

/// A machine that encrypts to these, with everybody's private keys beside it.
pub(crate) fn encrypting(to: &[&str]) -> Machine {
    let machine = Machine::new();
    machine.configure(&format!("[archive]\nencrypt-to = {to:?}\n"));
    for (name, [secret, _]) in [("ann", ANN), ("bob", BOB), ("eve", EVE)] {
        machine.write(&format!("keys/{name}"), &format!("# {name}\n{secret}\n"));
    }
    machine
}

pub(crate) fn keyring(machine: &Machine, names: &[&str]) -> Keyring {
    let files: Vec<PathBuf> = (names.iter())
        .map(|name| machine.path(&format!("keys/{name}")))
        .collect();
    Keyring::new(files, None, Arc::new(Nobody))
}

pub(crate) fn which(machine: &Machine, names: &[&str]) -> archives::Which {
    archives::Which {
        keyring: keyring(machine, names),
        ..Default::default()
    }
}

pub(crate) fn restored(machine: &Machine, names: &[&str]) -> anyhow::Result<restore::Report> {
    machine.restore_with(&Never, |options| {
        options.which.keyring = keyring(machine, names);
    })
}

/// Refused with exit code 12, and nothing was touched.
pub(crate) fn is_locked(machine: &Machine, names: &[&str], wanted: &str) {
    let before = note(&machine.store());
    let wanted = wanted.replace("DIR", &machine.path("").display().to_string());
    let error = restored(machine, names).unwrap_err();
    assert_eq!((exit(&error), error.to_string()), (12, wanted.clone()));
    let which = which(machine, names);
    let error = archives::show(&machine.context(&Never), &which, "latest").unwrap_err();
    assert_eq!((exit(&error), error.to_string()), (12, wanted.clone()));
    let verified = archives::verify(&machine.context(&Never), &which, None, false, &Silent);
    let error = verified.unwrap_err();
    assert_eq!((exit(&error), error.to_string()), (12, wanted));
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
}

#[test]
fn any_recipient_reads_it_and_nobody_else() {
    let machine = encrypting(&[ANN[1], BOB[1]]);
    let saved = machine.backup().unwrap();
    assert_eq!(saved.encrypted_to, [ANN[1], BOB[1]]);
    let id = saved.id.unwrap();
    assert_eq!(
        machine.objects(),
        [format!("{id}.tar.zst.age"), format!("{id}.txt")]
    );
    // What is stored says nothing of what is in it, and a list needs no key.
    let stored = fs::read(machine.path(&format!("usb/blitzar/{id}.tar.zst.age"))).unwrap();
    assert!(stored.starts_with(b"age-encryption.org/v1\n"));
    let listed = &machine.list().archives[0];
    assert_eq!(listed.encrypted_to, [ANN[1], BOB[1]]);
    assert_eq!(listed.data_bytes, stored.len() as u64);

    let to = format!("{}, {}", ANN[1], BOB[1]);
    is_locked(
        &machine,
        &[],
        &format!("the archive {id}: it is encrypted to {to}"),
    );
    is_locked(
        &machine,
        &["eve"],
        &format!("the archive {id}: it is encrypted to {to}: no key in DIRkeys/eve opens it"),
    );
    is_locked(
        &machine,
        &["none"],
        &format!(
            "the archive {id}: it is encrypted to {to}: DIRkeys/none: no such file or directory"
        ),
    );
    for names in [&["ann"][..], &["bob"], &["eve", "bob"], &["none", "ann"]] {
        machine.write("root/persist/var/lib/app/data", "changed");
        let report = machine.restore_with(&Never, |options| {
            options.which.keyring = keyring(&machine, names);
            options.forget_replaced = true;
        });
        assert!(report.unwrap().executed);
        assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
        let which = which(&machine, names);
        let cx = machine.context(&Never);
        let verified = archives::verify(&cx, &which, None, false, &Silent).unwrap();
        assert_eq!(verified.archives[0].damage, None);
        let shown = archives::show(&cx, &which, "latest").unwrap();
        assert_eq!(shown.machine.machine, "blitzar");
    }
}

/// Refused, and nothing was touched.
fn is_refused(machine: &Machine, code: u8, wanted: &str) {
    let before = note(&machine.store());
    let error = restored(machine, &["ann"]).unwrap_err();
    let said = format!("{error:#}");
    assert!(exit(&error) == code && said.contains(wanted), "{said}");
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
    assert_eq!(machine.reserved(), [""; 0]);
}

#[test]
fn a_damaged_or_exchanged_object_is_refused_whoever_could_encrypt_it() {
    let machine = encrypting(&[ANN[1]]);
    let saved = |machine: &Machine| {
        let id = machine.backup().unwrap().id.unwrap();
        machine.path(&format!("usb/blitzar/{id}.tar.zst.age"))
    };
    let (first, second) = (saved(&machine), saved(&machine));
    let [one, two] = [&first, &second].map(|path| fs::read(path).unwrap());
    let put = |bytes: &[u8]| fs::write(&second, bytes).unwrap();
    // The label is not signed here, and says what a liar likes: what is behind it is looked at.
    let label = second.with_file_name(format!("{}.txt", machine.list().archives[1].id));
    let text = fs::read_to_string(&label).unwrap();
    let put_with_length = |bytes: &[u8]| {
        let length = |bytes: &[u8]| format!("data-bytes: {}\n", bytes.len());
        let lie = text.replace(&length(&two), &length(bytes));
        fs::write(&label, lie).unwrap();
        put(bytes);
    };
    // The data of another archive, encrypted to the same key.
    put_with_length(&one);
    is_refused(&machine, 13, "it is another archive than its label says");
    // Encrypted to somebody else under the same label.
    let other = encrypting(&[BOB[1]]);
    put_with_length(&fs::read(saved(&other)).unwrap());
    is_refused(
        &machine,
        13,
        "a key that it was encrypted to does not open it: it was changed",
    );
    // Cut off, longer, nothing at all.
    put_with_length(&two[..two.len() - 1]);
    is_refused(
        &machine,
        13,
        "it does not decrypt: it was cut off or changed",
    );
    put_with_length(&two);
    put(&two[..two.len() - 1]);
    is_refused(&machine, 13, "bytes long, not");
    put(&[&two[..], b"x"].concat());
    is_refused(&machine, 13, "bytes long, not");
    put(b"");
    is_refused(&machine, 13, "bytes long, not");
    // One bit of the header, and one of each of the first, a middle and the last byte after it.
    let header = two.windows(5).position(|end| end == b"\n--- ").unwrap() + 5 + 43 + 1;
    for at in (0..header + 20).chain([two.len() / 2, two.len() - 1]) {
        let mut changed = two.clone();
        changed[at] ^= 1 << (at % 8);
        put(&changed);
        is_refused(&machine, 13, "");
    }
    put(&two);
    restored(&machine, &["ann"]).unwrap();
}

/// Keys were changed: each archive is opened by the keys of its day, a lost key opens none.
#[test]
fn keys_can_be_changed_and_archives_keep_theirs() {
    let machine = encrypting(&[ANN[1]]);
    let old = machine.backup().unwrap().id.unwrap();
    machine.configure(&format!("[archive]\nencrypt-to = [{:?}]\n", BOB[1]));
    let new = machine.backup().unwrap().id.unwrap();
    let opens = |name: &str, id: &str| {
        let which = which(&machine, &[name]);
        archives::show(&machine.context(&Never), &which, id).is_ok()
    };
    assert!(opens("ann", &old) && !opens("ann", &new));
    assert!(opens("bob", &new) && !opens("bob", &old));
    let listed = machine.list().archives;
    let to: Vec<_> = listed.iter().map(|a| a.encrypted_to.as_slice()).collect();
    assert_eq!(to, [[ANN[1].to_owned()], [BOB[1].to_owned()]]);
    // A file with both keys opens both.
    machine.write("keys/both", &format!("{}\n{}\n", ANN[0], BOB[0]));
    assert!(opens("both", &old) && opens("both", &new));
}

/// The machine cannot read its own archives, and builds on them all the same; whoever can read
/// the last one can read those that it builds on.
#[test]
fn a_chain_is_read_with_one_key_and_ends_where_the_recipients_change() {
    let machine = encrypting(&[ANN[1]]);
    let first = machine.backup_next().id.unwrap();
    machine.write("root/persist/var/lib/app/data", "second");
    let second = machine.backup_next();
    let listed = machine.list().archives;
    assert_eq!(listed[1].parent.as_ref(), Some(&first), "{second:?}");
    assert_eq!(exit(&restored(&machine, &["eve"]).unwrap_err()), 12);
    fs::remove_dir_all(machine.store().join("var")).unwrap();
    restored(&machine, &["ann"]).unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "second");
    assert_eq!(
        machine.read("root/persist/var/lib/app/sub/more").len(),
        500_000
    );
    // The data of the first under a name of its own is not the first's any more.
    let data = machine.path(&format!("usb/blitzar/{first}.tar.zst.age"));
    let mut bytes = fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, &bytes).unwrap();
    let error = machine.restore_with(&Never, |options| {
        options.which.keyring = keyring(&machine, &["ann"]);
        options.forget_replaced = true;
    });
    assert_eq!(exit(&error.unwrap_err()), 13);
    bytes[middle] ^= 1;
    fs::write(&data, &bytes).unwrap();

    // Bob is to read the next one, and could not read those before.
    machine.configure(&format!("[archive]\nencrypt-to = [{:?}]\n", BOB[1]));
    machine.write("root/persist/var/lib/app/data", "third");
    machine.backup_next();
    assert_eq!(machine.list().archives[2].parent, None);
    machine.write("root/persist/var/lib/app/data", "lost");
    let restored = machine.restore_with(&Never, |options| {
        options.which.keyring = keyring(&machine, &["bob"]);
        options.forget_replaced = true;
    });
    restored.unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "third");
}

#[test]
#[ignore = "needs age, zstd, tar and sha256sum"]
fn peers_stock_tools_open_what_was_encrypted() {
    let machine = encrypting(&[ANN[1], BOB[1]]);
    let id = machine.backup().unwrap().id.unwrap();
    fs::create_dir(machine.path("out")).unwrap();
    let run = |script: &str| machine.by_hand(&script.replace("NAME", &id));
    let open = "sed -n 's/^data-sha256: \\(.*\\)/\\1  NAME.tar.zst.age/p' NAME.txt | sha256sum -c
        age -d -i ../../keys/KEY NAME.tar.zst.age | zstd -d | tar -xp --numeric-owner --xattrs \
        --xattrs-include='*' --acls -C ../../out
        cd ../../out && sha256sum -c .state/SHA256SUMS";
    for key in ["ann", "bob"] {
        let (is_open, said) = run(&open.replace("KEY", key));
        assert!(is_open, "{said}");
        assert_eq!(machine.read("out/var/lib/app/data"), "data");
    }
    assert!(!run(&open.replace("KEY", "eve")).0);
}

#[test]
fn a_machine_without_a_key_builds_on_what_it_cannot_read() {
    let machine = encrypting(&[ANN[1]]);
    let full = machine.backup_next().id;
    machine.write("root/persist/var/lib/app/data", "second");
    let second = machine.backup_next();
    assert_eq!((&second.parent, second.totals.files), (&full, 1));
    // A full archive made where the key is: its manifest is not known here.
    let which = which(&machine, &["ann"]);
    let kept = machine.store().join(".state/archive");
    let elsewhere = machine.path("elsewhere");
    fs::rename(&kept, &elsewhere).unwrap();
    let cx = machine.context(&Never);
    let done = backup::consolidate(&cx, &which, "latest", &Silent).unwrap();
    assert!(done.id.is_some());
    fs::rename(&elsewhere, &kept).unwrap();
    machine.write("root/persist/var/lib/app/data", "third");
    assert_eq!(machine.backup_next().parent, second.id);
    machine.write("root/persist/var/lib/app/data", "lost");
    assert_eq!(exit(&restored(&machine, &["bob"]).unwrap_err()), 12);
    restored(&machine, &["ann"]).unwrap();
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "third");
    // Whoever is to read the next one could not read the last: a full one.
    machine.configure(&format!("[archive]\nencrypt-to = {:?}\n", [ANN[1], BOB[1]]));
    machine.write("root/persist/var/lib/app/data", "fourth");
    let next = machine.backup_next();
    let why = "others are to read it than could read the last one";
    assert_eq!(
        (next.parent, next.full_because.as_deref()),
        (None, Some(why))
    );
}

#[test]
fn what_no_key_opens_is_told_and_the_others_are_verified() {
    let machine = encrypting(&[ANN[1]]);
    let first = machine.backup().unwrap().id.unwrap();
    machine.configure(&format!("[archive]\nencrypt-to = [\"{}\"]\n", BOB[1]));
    let second = machine.backup().unwrap().id.unwrap();
    let which = archives::Which {
        keyring: keyring(&machine, &["bob"]),
        ..Default::default()
    };
    let cx = machine.context(&Never);
    let verified = archives::verify(&cx, &which, None, true, &Silent).unwrap();
    let found: Vec<_> = (verified.archives.iter())
        .map(|verdict| (&verdict.archive.id, verdict.locked.is_some()))
        .collect();
    assert_eq!(found, [(&first, true), (&second, false)]);
    let mut verdicts = verified.archives.iter();
    assert!(verdicts.all(|verdict| verdict.damage.is_none()));
}

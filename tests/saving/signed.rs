//! Who made an archive: signed, checked, and refused when it is not by whom it must be.

use super::machine::{Machine, exit, note};
use state::archive::signature::Signer;
use state::ops::seal::Signature;
use state::ops::{archives, prune, restore};
use state::progress::Silent;
use state::retention::Reason;
use state_api::Never;
use std::fs;

/// Two throw-away keys of these tests alone.
pub(crate) const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACBTEGR0Z6EcAtgKcmsFCs9dI0+FcXXQ73kFwHrZtUTgqwAAAIgKo3uwCqN7
sAAAAAtzc2gtZWQyNTUxOQAAACBTEGR0Z6EcAtgKcmsFCs9dI0+FcXXQ73kFwHrZtUTgqw
AAAEC7KKfeHMt6rJY2A4c/2CMqHdrA8uc01cP34zsZmXO6z1MQZHRnoRwC2ApyawUKz10j
T4VxddDveQXAetm1ROCrAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";
pub(crate) const OTHER: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDdm3ucTcmjn/KZvxJVoQP3wQX7LFqsm1g3+Puurf9L/AAAAIi2MklDtjJJ
QwAAAAtzc2gtZWQyNTUxOQAAACDdm3ucTcmjn/KZvxJVoQP3wQX7LFqsm1g3+Puurf9L/A
AAAEBfKhIRLXyGQHIEkkS9FeKrPLOLuzzvEoRUD6q1rUAH+d2be5xNyaOf8pm/ElWhA/fB
BfssWqybWDf4+66t/0v8AAAABW90aGVy
-----END OPENSSH PRIVATE KEY-----
";

pub(crate) const SIGN: &str = "[archive]\nsign-with = \"/etc/ssh/key\"\n";
const TRUST: &str = "trusted-signers = \"/etc/state/allowed_signers\"\n";

pub(crate) fn signer(key: &str) -> Signer {
    Signer::from_openssh(key).unwrap()
}

/// A machine that signs, and trusts the keys of `trusted`.
fn signing(trusted: &[String]) -> Machine {
    let machine = Machine::new();
    machine.write("root/etc/ssh/key", KEY);
    machine.write("root/etc/state/allowed_signers", &trusted.join("\n"));
    machine.configure(&format!("{SIGN}{TRUST}"));
    machine
}

fn own() -> String {
    signer(KEY).allowed_line("blitzar").unwrap()
}

/// Restores without `--allow-unsigned`.
fn restored(machine: &Machine, key: Option<String>) -> anyhow::Result<restore::Report> {
    machine.restore_with(&Never, |options| {
        options.allow_unsigned = false;
        options.which.trust_key = key;
    })
}

/// Refused with exit code 12, even when unsigned archives are allowed, and nothing was touched.
fn is_refused(machine: &Machine, wanted: &str) {
    machine.write("root/persist/var/lib/app/data", "present");
    let before = note(&machine.store());
    for allow_unsigned in [false, true] {
        let error = machine
            .restore_with(&Never, |options| options.allow_unsigned = allow_unsigned)
            .unwrap_err();
        assert_eq!(exit(&error), 12, "{error:#}");
        assert!(error.to_string().contains(wanted), "{error:#}");
    }
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
    assert!(!machine.store().join(".state/restore.json").exists());
    let which = archives::Which::default();
    let shown = archives::show(&machine.context(&Never), &which, "latest");
    assert_eq!(exit(&shown.unwrap_err()), 12);
    let verified = verified(machine);
    assert!(
        matches!(&verified.signature, Signature::Refused { why } if wanted.contains(why.as_str())
            || why.contains(wanted)),
        "{verified:?}"
    );
}

fn verified(machine: &Machine) -> archives::Listed {
    let which = archives::Which::default();
    let verified = archives::verify(&machine.context(&Never), &which, None, false, &Silent);
    let mut verified = verified.unwrap();
    assert_eq!(verified.archives[0].damage, None);
    verified.archives.remove(0).archive
}

#[test]
fn what_the_machine_signed_is_restored_without_a_word() {
    let machine = signing(&[own()]);
    let saved = machine.backup().unwrap();
    let key = signer(KEY).fingerprint();
    assert_eq!(
        (saved.signed_by.as_ref(), &saved.notes),
        (Some(&key), &Vec::new())
    );
    let id = saved.id.unwrap();
    assert_eq!(
        machine.objects(),
        [
            format!("{id}.tar.zst"),
            format!("{id}.txt"),
            format!("{id}.txt.sig")
        ]
    );
    let trusted = Signature::Trusted { key };
    assert_eq!(machine.list().archives[0].signature, trusted);
    assert_eq!(machine.list().odd, []);
    assert_eq!(verified(&machine).signature, trusted);
    let report = restored(&machine, None).unwrap();
    assert!(report.executed);
    assert_eq!(report.signature, trusted);
}

#[test]
fn a_changed_label_is_refused() {
    let machine = signing(&[own()]);
    let id = machine.backup().unwrap().id.unwrap();
    let name = format!("usb/blitzar/{id}.txt");
    let text = machine.read(&name);
    machine.write(
        &name,
        &text.replace("config-dirty: no", "config-dirty: yes"),
    );
    is_refused(
        &machine,
        "it does not fit the text: one of the two was changed",
    );
    machine.write(&name, &text);
    machine.write(&format!("{name}.sig"), "");
    is_refused(&machine, "it is no OpenSSH signature");
}

#[test]
fn a_signature_by_another_key_or_machine_is_refused() {
    let untrusted = format!(
        "the key {} is not trusted for blitzar",
        signer(KEY).fingerprint()
    );
    // The list knows another key for this machine, and this key for another machine.
    let machine = signing(&[
        signer(OTHER).allowed_line("blitzar").unwrap(),
        signer(KEY).allowed_line("quasar").unwrap(),
    ]);
    let saved = machine.backup().unwrap();
    assert_eq!(
        saved.notes,
        [format!(
            "a restore here would refuse its signature: {untrusted}"
        )]
    );
    is_refused(&machine, &untrusted);
    // A person may know better.
    let key = signer(KEY).fingerprint();
    assert!(restored(&machine, Some(key)).unwrap().executed);
    let wrong = restored(&machine, Some(signer(OTHER).fingerprint())).unwrap_err();
    assert_eq!(exit(&wrong), 12);
    let nonsense = restored(&machine, Some("blitzar".into())).unwrap_err();
    assert_eq!(exit(&nonsense), 2);
}

#[test]
fn another_machines_signed_archive_is_not_ours() {
    let machine = signing(&["* ".to_owned() + own().split_once(' ').unwrap().1]);
    let id = machine.backup().unwrap().id.unwrap();
    fs::rename(machine.path("usb/blitzar"), machine.path("usb/quasar")).unwrap();
    let error = machine
        .restore_with(&Never, |options| {
            options.which.machine = Some("quasar".into())
        })
        .unwrap_err();
    assert_ne!(exit(&error), 0);
    let wanted = format!("quasar/{id}.txt: the label of another archive");
    assert!(format!("{error:#}").contains(&wanted), "{error:#}");
}

#[test]
fn without_a_list_a_person_must_know_the_key() {
    let machine = signing(&[]);
    machine.configure(SIGN);
    machine.backup().unwrap();
    let key = signer(KEY).fingerprint();
    let unknown = Signature::Unknown { key: key.clone() };
    assert_eq!(machine.list().archives[0].signature, unknown);
    let error = restored(&machine, None).unwrap_err();
    assert_eq!(exit(&error), 12);
    assert!(error.to_string().contains(&key), "{error:#}");
    let wrong = restored(&machine, Some(signer(OTHER).fingerprint())).unwrap_err();
    assert_eq!(exit(&wrong), 12);
    let report = restored(&machine, Some(key.clone())).unwrap();
    assert_eq!(report.signature, Signature::Trusted { key });
}

/// On fresh hardware there are no settings: the list comes from the configuration's repository.
#[test]
fn a_list_that_a_person_names_counts_alone() {
    let machine = signing(&[own()]);
    machine.backup().unwrap();
    machine.configure(SIGN); // which trusts nobody
    let list = machine.path("repo/allowed_signers");
    let restored = |lines: &[String]| {
        machine.write("repo/allowed_signers", &lines.join("\n"));
        machine.restore_with(&Never, |options| {
            options.allow_unsigned = false;
            options.forget_replaced = true;
            options.which.trusted_signers = Some(list.clone());
        })
    };
    let key = signer(KEY).fingerprint();
    let trusted = restored(&["nonsense".into(), own()]).unwrap().signature;
    assert_eq!(trusted, Signature::Trusted { key: key.clone() });
    let other = signer(OTHER).allowed_line("blitzar").unwrap();
    let error = restored(&[other, "nonsense".into()]).unwrap_err();
    assert_eq!(
        (exit(&error), error.to_string()),
        (
            12,
            format!(
                "the signature of the archive {}: the key {key} is not trusted for blitzar (line \
                 2: it ends before its key)",
                machine.list().archives[0].id
            )
        )
    );
    // It replaces that of the settings.
    machine.configure(&format!("{SIGN}{TRUST}"));
    assert_eq!(exit(&restored(&[]).unwrap_err()), 12);
    fs::remove_file(&list).unwrap();
    let missing = machine.restore_with(&Never, |options| {
        options.which.trusted_signers = Some(list.clone());
    });
    assert_eq!(exit(&missing.unwrap_err()), 12);
}

/// The host key was replaced. The old one stays on the list while its archives are to be
/// believed, and is put out of force once it is not any more.
#[test]
fn a_machine_that_has_a_new_key_is_known_by_both() {
    let machine = signing(&[own()]);
    let old = machine.backup().unwrap().id.unwrap();
    machine.write("root/etc/ssh/key", OTHER);
    let refused = machine.backup().unwrap();
    assert_eq!(refused.notes.len(), 1, "{:?}", refused.notes);
    let new = signer(OTHER).allowed_line("blitzar").unwrap();
    let believe = |lines: &[&str]| {
        machine.write("root/etc/state/allowed_signers", &lines.join("\n"));
        let list = machine.list().archives;
        let trusted =
            |archive: &archives::Listed| matches!(archive.signature, Signature::Trusted { .. });
        (
            trusted(list.iter().find(|archive| archive.id == old).unwrap()),
            trusted(list.last().unwrap()),
        )
    };
    assert_eq!(believe(&[&own()]), (true, false));
    assert_eq!(believe(&[&own(), &new]), (true, true));
    let revoked = own().replacen(' ', " valid-before=\"20200101Z\",", 1);
    assert_eq!(believe(&[&revoked, &new]), (false, true));
    assert_eq!(machine.backup().unwrap().notes, Vec::<String>::new());
}

#[test]
fn a_label_whose_signature_is_gone_is_unsigned() {
    let machine = signing(&[own()]);
    let id = machine.backup().unwrap().id.unwrap();
    fs::remove_file(machine.path(&format!("usb/blitzar/{id}.txt.sig"))).unwrap();
    assert_eq!(machine.list().archives[0].signature, Signature::Unsigned);
    let error = restored(&machine, None).unwrap_err();
    assert_eq!(exit(&error), 12);
    machine.restore().unwrap();
}

/// Whoever can write to the target can put a newer full archive there, and sign it with a key of
/// his own: nothing of this machine builds on it, or says that it was proven.
#[test]
fn nothing_is_signed_above_what_nobody_vouches_for() {
    let foreign = signer(OTHER).fingerprint();
    for (list, sign) in [
        (None, SIGN.to_owned()),
        (Some(own()), format!("{SIGN}{TRUST}")),
    ] {
        let machine = signing(list.as_slice());
        machine.configure(&sign);
        let first = machine.backup().unwrap().id;
        machine.write("root/persist/var/lib/app/data", "second");
        let own = machine.backup_next();
        assert_eq!(own.parent, first, "its own it believes");
        machine.write("root/etc/ssh/key", OTHER);
        let forged = machine.backup().unwrap().id.unwrap();
        machine.write("root/etc/ssh/key", KEY);

        match super::drill::drill(&machine) {
            Ok(report) => {
                let drilled = &report.drills[0];
                assert!(drilled.found.as_ref().unwrap().contains(&foreign));
                assert_eq!((drilled.proof(), drilled.is_published), (None, false));
            }
            Err(error) => assert!(list.is_some() && exit(&error) == 12, "{error:#}"),
        }
        let why = match list {
            None => format!(
                "the archive {forged} is signed by {foreign}, which nothing here vouches for"
            ),
            Some(_) => format!(
                "the signature of the archive {forged}: the key {foreign} is not trusted for \
                 blitzar"
            ),
        };
        // Nothing changed since, if one believed it.
        let next = machine.backup_next();
        assert_eq!((next.parent, next.full_because), (None, Some(why)));
        assert!(next.id.is_some());
    }
}

/// Whoever may write and not delete puts archives there that would fill the rules' places.
#[test]
fn what_nobody_vouches_for_lets_nothing_else_go() {
    for (list, sign) in [
        (None, SIGN.to_owned()),
        (Some(own()), format!("{SIGN}{TRUST}")),
    ] {
        let machine = signing(list.as_slice());
        machine.configure_target("keep = { last = 2 }");
        let text = machine.read("root/etc/state/state.toml") + &sign;
        machine.write("root/etc/state/state.toml", &text);
        let mut ids: Vec<String> = Vec::new();
        for key in [KEY, KEY, KEY, OTHER, OTHER] {
            machine.write("root/etc/ssh/key", key);
            ids.push(machine.backup().unwrap().id.unwrap());
        }
        machine.write("root/etc/ssh/key", KEY);
        fs::remove_file(machine.path(&format!("usb/blitzar/{}.txt.sig", ids[4]))).unwrap();
        let which = archives::Which::default();
        let report = prune::run(&machine.context(&Never), &which, &Silent).unwrap();
        let kept: Vec<_> = (report.targets[0].archives.iter())
            .map(|verdict| verdict.kept_by.clone())
            .collect();
        assert_eq!(
            kept,
            [
                vec![],
                vec![Reason::Last],
                vec![Reason::Newest, Reason::Last],
                vec![Reason::Unvouched],
                vec![Reason::Unvouched]
            ]
        );
        assert_eq!(report.targets[0].deleted, ids[..1]);
    }
}

#[test]
fn nothing_is_built_on_where_nobody_knows_whom_to_believe() {
    let machine = signing(&[own()]);
    let id = machine.backup().unwrap().id.unwrap();
    let list = "root/etc/state/allowed_signers";
    fs::rename(machine.path(list), machine.path("list")).unwrap();
    let next = machine.backup_next();
    let why = "whose signatures to believe cannot be read";
    assert_eq!(
        (next.parent, next.full_because.as_deref()),
        (None, Some(why))
    );
    // Where nothing is signed, nothing can be vouched for either.
    machine.configure("");
    let unsigned = machine.backup_next();
    assert_eq!(
        (unsigned.id, unsigned.unchanged_since),
        (None, next.id.clone())
    );
    // Unsigned, where this machine signs.
    fs::rename(machine.path("list"), machine.path(list)).unwrap();
    machine.configure(&format!("{SIGN}{TRUST}"));
    let newest = next.id.unwrap();
    assert!(newest > id);
    fs::remove_file(machine.path(&format!("usb/blitzar/{newest}.txt.sig"))).unwrap();
    let next = machine.backup_next();
    let why = format!("the archive {newest} is not signed: nobody vouches for who made it");
    assert_eq!((next.parent, next.full_because), (None, Some(why)));
}

#[test]
fn a_key_that_cannot_sign_is_found_before_anything_is_written() {
    let machine = signing(&[]);
    machine.write("root/etc/ssh/key", "nonsense");
    let error = machine.backup().unwrap_err();
    assert_eq!(exit(&error), 12, "{error:#}");
    fs::remove_file(machine.path("root/etc/ssh/key")).unwrap();
    let error = machine.backup().unwrap_err();
    let said = (exit(&error), error.to_string());
    let wanted = "reading /etc/ssh/key: no such file or directory";
    assert_eq!(said, (12, wanted.to_owned()));
    assert_eq!(machine.objects(), Vec::<String>::new());
}

#[test]
#[ignore = "needs ssh-keygen, zstd, tar and sha256sum"]
fn peers_stock_tools_verify_and_open_what_was_signed() {
    let machine = signing(&[own()]);
    let id = machine.backup().unwrap().id.unwrap();
    fs::create_dir(machine.path("out")).unwrap();
    let run = |script: String| machine.by_hand(&script.replace("NAME", &id));
    let verify = "ssh-keygen -Y verify -f ../../root/etc/state/allowed_signers -I HOST \
                  -n state-archive -s NAME.txt.sig < NAME.txt";
    let is_signed = |host: &str| run(verify.replace("HOST", host)).0;
    assert!(is_signed("blitzar"));
    assert!(!is_signed("quasar"));
    let open = "sed -n 's/^data-sha256: \\(.*\\)/\\1  NAME.tar.zst/p' NAME.txt | sha256sum -c
        zstd -d < NAME.tar.zst | tar -xp --numeric-owner --xattrs --xattrs-include='*' --acls -C ../../out
        cd ../../out && sha256sum -c .state/SHA256SUMS";
    let (is_open, said) = run(open.to_owned());
    assert!(is_open, "{said}");
    assert_eq!(machine.read("out/var/lib/app/data"), "data");
    let name = format!("usb/blitzar/{id}.txt");
    machine.write(&name, &machine.read(&name).replace("blitzar", "Blitzar"));
    assert!(!is_signed("blitzar"));
}

#[test]
fn no_interruption_leaves_an_archive_without_its_signature() {
    let machine = signing(&[own()]);
    let first = machine.backup().unwrap().id.unwrap();
    let second = machine.backup().unwrap().id.unwrap();
    // Every state in which a run may have died: the label comes last.
    let name = |end: &str| machine.path("usb/blitzar").join(format!("{second}{end}"));
    let published = |end: &str| fs::metadata(name(end)).unwrap().modified().unwrap();
    assert!(published(".tar.zst") <= published(".txt.sig"));
    assert!(published(".txt.sig") <= published(".txt"));
    fs::remove_file(name(".txt")).unwrap();
    let list = machine.list();
    assert_eq!(list.archives.len(), 1);
    let odd: Vec<_> = list
        .odd
        .iter()
        .map(|odd| odd.object.clone().unwrap())
        .collect();
    let left = ["tar.zst", "txt.sig"].map(|end| format!("blitzar/{second}.{end}"));
    assert_eq!(odd, left);
    assert_eq!(restored(&machine, None).unwrap().id, first);
    let report = machine.backup().unwrap();
    assert_eq!(report.targets[0].removed, left);
    assert_eq!(machine.list().odd, []);
    assert_eq!(machine.objects().len(), 6);
}

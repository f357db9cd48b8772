//! Where recipients and identities come from, and those that cannot be used.

use super::machine::exit;
use super::sealed::{ANN, BOB, EVE, encrypting, is_locked, restored, which};
use super::signed::{KEY, SIGN, signer};
use state::ask::Nobody;
use state::ops::archives;
use state::ops::keyring::Keyring;
use state_api::Never;
use std::sync::Arc;

#[test]
fn recipients_and_identities_come_from_files_and_units_too() {
    let machine = encrypting(&["/etc/state/recipients"]);
    machine.write(
        "root/etc/state/recipients",
        &format!("# ann\n{}\n\n  {}\n", ANN[1], BOB[1]),
    );
    let saved = machine.backup().unwrap();
    assert_eq!(saved.encrypted_to, [ANN[1], BOB[1]]);
    // The one in the settings is used, unless a person names another.
    machine.configure("[archive]\nidentity-file = \"/etc/key\"\n");
    machine.write("root/etc/key", ANN[0]);
    restored(&machine, &[]).unwrap();
    assert_eq!(exit(&restored(&machine, &["eve"]).unwrap_err()), 12);
    // And a unit's credential where the settings say nothing.
    machine.configure("");
    let credential = Some(machine.path("keys/bob"));
    let report = machine.restore_with(&Never, |options| {
        options.which.keyring = Keyring::new(Vec::new(), credential, Arc::new(Nobody));
        options.forget_replaced = true;
    });
    assert!(report.unwrap().executed);
}

#[test]
fn recipients_that_cannot_be_used_are_found_before_anything_is_written() {
    for (to, code, wanted) in [
        (
            "age1nobody1qypqx850lf9",
            12,
            "[archive] encrypt-to: the program age-plugin-nobody is not in $PATH",
        ),
        (
            ANN[0],
            12,
            "[archive] encrypt-to: a private key (AGE-SECRET-KEY-…) stands where a recipient \
             (age1…) belongs",
        ),
        (
            "age1x",
            12,
            "[archive] encrypt-to: \"age1x\" is no age recipient",
        ),
        (
            "/etc/none",
            12,
            "[archive] encrypt-to: reading /etc/none: no such file or directory",
        ),
        (
            "/etc/machine-id",
            12,
            "[archive] encrypt-to: there is no recipient",
        ),
    ] {
        let machine = encrypting(&[to]);
        machine.write("root/etc/machine-id", "# nobody\n");
        let error = machine.backup().unwrap_err();
        assert_eq!((exit(&error), error.to_string()), (code, wanted.to_owned()));
        assert_eq!(machine.objects(), Vec::<String>::new());
    }
}

#[test]
fn identity_files_that_cannot_be_used_are_named() {
    let machine = encrypting(&[ANN[1]]);
    let id = machine.backup().unwrap().id.unwrap();
    for (content, wanted) in [
        ("", "there is no identity in it"),
        (ANN[1], "it is no file of age identities (AGE-SECRET-KEY-…)"),
        (
            "AGE-PLUGIN-NOBODY-1QYPQXNRCRF6",
            "the program age-plugin-nobody is not in $PATH",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\n",
            "an SSH key opens no archive, an age key does",
        ),
    ] {
        machine.write("keys/odd", content);
        let wanted = format!(
            "the archive {id}: it is encrypted to {}: DIRkeys/odd: {wanted}",
            ANN[1]
        );
        is_locked(&machine, &["odd"], &wanted);
        // Beside one that opens it, it hinders nobody.
        let which = which(&machine, &["odd", "ann"]);
        archives::show(&machine.context(&Never), &which, "latest").unwrap();
    }
}

/// What `state doctor` says of keys, looked at on a machine.
#[test]
fn the_doctor_finds_keys_that_do_not_fit() {
    let machine = encrypting(&[EVE[1]]);
    machine.configure(&format!(
        "{SIGN}encrypt-to = [{:?}]\nidentity-file = \"/etc/key\"\n\
         trusted-signers = \"/etc/state/allowed_signers\"\n",
        EVE[1]
    ));
    machine.write("root/etc/ssh/key", KEY);
    let key = signer(KEY).fingerprint();
    let own = signer(KEY).allowed_line("blitzar").unwrap();
    let found = |identity: &str, list: &str| {
        machine.write("root/etc/key", identity);
        machine.write("root/etc/state/allowed_signers", list);
        let report = state::ops::doctor::run(&machine.context(&Never)).unwrap();
        let keys = report.findings.into_iter().filter(|f| f.check == "keys");
        keys.map(|finding| finding.fact).collect::<Vec<_>>()
    };
    assert_eq!(
        found(EVE[0], &own),
        ["/etc/key opens archives: whoever takes this machine has the key to them"]
    );
    assert_eq!(
        found(ANN[0], "nonsense\n"),
        [
            "the list of trusted signers, line 1: it ends before its key: it makes nobody trusted"
                .to_owned(),
            format!("the list of trusted signers does not know {key}, which signs here"),
            "the key that should open archives here does not: /etc/key: it is the key of none of \
             the recipients"
                .to_owned(),
        ]
    );
}

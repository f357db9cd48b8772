//! What is asked in the middle of work: whose key this is, a passphrase, a hardware key's PIN.

use super::machine::{Machine, note};
use super::sealed::{ANN, encrypting};
use super::signed::{KEY, OTHER, SIGN, signer};
use std::path::Path;
use std::process::Command;

/// A recipient and an identity of `bin/age-plugin-fake`.
const FAKE: [&str; 2] = ["age1fake1qypqx3dw5w3", "AGE-PLUGIN-FAKE-1QYPQXL03ZWV"];

const STATE: &str = env!("CARGO_BIN_EXE_state");

fn bin() -> String {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/saving/bin");
    here.display().to_string()
}

/// Runs a shell command on a terminal of its own, in the machine's directory; what it shows, and
/// how it ended. `STATE` stands for the program, with this machine as its root directory.
fn converse(machine: &Machine, talk: &[[&str; 2]], script: &str) -> (String, Option<i32>) {
    let state = format!("{STATE} --root root --color never --no-progress");
    let run = Command::new(format!("{}/converse", bin()))
        .arg(serde_json::to_string(talk).unwrap())
        .args([
            "bash",
            "-o",
            "pipefail",
            "-c",
            &script.replace("STATE", &state),
        ])
        .current_dir(machine.path("."))
        .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin()))
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].concat();
    (String::from_utf8(said).unwrap(), run.status.code())
}

fn is_unchanged(machine: &Machine, run: impl FnOnce()) {
    let before = note(&machine.store());
    run();
    assert_eq!(
        before.differences(&note(&machine.store())),
        Vec::<String>::new()
    );
}

#[test]
#[ignore = "needs python3"]
fn peers_a_person_is_asked_whose_key_it_is_and_nothing_else_answers() {
    let machine = Machine::new();
    machine.write("root/etc/ssh/key", KEY);
    machine.configure(SIGN);
    let id = machine.backup().unwrap().id.unwrap();
    machine.write("root/persist/var/lib/app/data", "changed");
    let key = signer(KEY).fingerprint();
    let question = format!(
        "The archive {id} is signed by {key}. Compare it with your recovery sheet, or with what \
         `ssh-keygen -lf` prints of the key you know. Is that the key of blitzar? [y/N] "
    );
    let refused = format!(
        "error: the archive {id} is signed by {key}, which nothing here vouches for\n\
         hint: name the allowed_signers file in your configuration's repository, \
         --trusted-signers FILE; or compare the key with your recovery sheet, then say \
         --trust-key {key}\n"
    );
    // A no; an end of input; `--yes`, which answers other questions; nobody there.
    let ask = [[question.as_str(), "n\n"]];
    let end = [[question.as_str(), "\x04"]];
    for (talk, script, shown) in [
        (&ask[..], "STATE restore", format!("{question}n\n{refused}")),
        (
            &ask[..],
            "STATE --yes restore",
            format!("{question}n\n{refused}"),
        ),
        (&end[..], "STATE restore", format!("{question}{refused}")),
        (&[][..], "STATE --yes restore < /dev/null", refused.clone()),
    ] {
        is_unchanged(&machine, || {
            assert_eq!(
                converse(&machine, talk, script),
                (shown, Some(12)),
                "{script}"
            );
        });
    }
    // A wrong list and a wrong key are no questions.
    machine.write("list", &signer(OTHER).allowed_line("blitzar").unwrap());
    let other = signer(OTHER).fingerprint();
    for option in ["--trusted-signers list", &format!("--trust-key {other}")] {
        is_unchanged(&machine, || {
            let (said, status) = converse(&machine, &[], &format!("STATE restore {option}"));
            assert_eq!(status, Some(12), "{said}");
            assert!(said.contains("is not trusted for blitzar"), "{said}");
        });
    }
    let talk = [
        [question.as_str(), "y\n"],
        ["What is there is kept. [y/N] ", "y\n"],
    ];
    let (said, status) = converse(&machine, &talk, "STATE restore");
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains(&format!("signed   by {key}, trusted for blitzar\n")),
        "{said}"
    );
    assert_eq!(machine.read("root/persist/var/lib/app/data"), "data");
}

/// An identity file that `age -p` would make of `text`, with little work for the test.
fn locked(text: &str, passphrase: &str) -> Vec<u8> {
    use std::io::Write as _;
    let mut lock = age::scrypt::Recipient::new(age::secrecy::SecretString::from(passphrase));
    lock.set_work_factor(4);
    let lock: &dyn age::Recipient = &lock;
    let encryptor = age::Encryptor::with_recipients([lock].into_iter()).unwrap();
    let mut writer = encryptor.wrap_output(Vec::new()).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

#[test]
#[ignore = "needs python3"]
fn peers_a_passphrase_is_asked_for_once_and_never_shown() {
    let machine = encrypting(&[ANN[1]]);
    let id = machine.backup().unwrap().id.unwrap();
    std::fs::write(machine.path("key"), locked(ANN[0], "right")).unwrap();
    let (said, status) = converse(&machine, &[], "chmod 644 key");
    assert_eq!(status, Some(0), "{said}");
    let restore = "STATE restore --allow-unsigned --identity key; \
                   echo status $?; stty -a | grep -Eo -- '-?(echo|isig)\\b' | sort";
    let ask = "Passphrase of key: ";
    let after = "-echo\n-isig\n";
    let talk = [
        [ask, "wrong\n"],
        [ask, "right\n"],
        ["What is there is kept. [y/N] ", "y\n"],
    ];
    let (said, _) = converse(&machine, &talk, restore);
    let begin = format!(
        "note: key can be read by others: chmod 600 keeps the key to yourself\n\
         {ask}\nnote: that passphrase is wrong\n{ask}\nRestore {id} of blitzar"
    );
    assert!(said.starts_with(&begin), "{said}");
    assert!(
        said.contains("\nstatus 0\n") && !said.contains(after),
        "{said}"
    );
    assert!(
        !said.contains("right") && !said.contains("wrong\n\n"),
        "{said}"
    );
    // Control-C, and nobody there: refused, and the terminal is as it was.
    let refused = format!(
        "error: the archive {id}: it is encrypted to {}: key: it is protected by a passphrase, \
         and nobody can be asked for it\nhint: name a file with the age key (AGE-SECRET-KEY-…) \
         of one of them: --identity FILE, or [archive] identity-file\nstatus 12\n",
        ANN[1]
    );
    converse(&machine, &[], "chmod 600 key");
    for (talk, script) in [
        (&[[ask, "ri\x03"]][..], restore.to_owned()),
        (&[][..], restore.replace(" key;", " key < /dev/null;")),
    ] {
        is_unchanged(&machine, || {
            let (said, _) = converse(&machine, talk, &script);
            assert!(said.contains(&refused) && !said.contains(after), "{said}");
        });
    }
}

#[test]
#[ignore = "needs python3"]
fn peers_control_c_ends_a_question() {
    let machine = Machine::new();
    machine.backup().unwrap();
    machine.write("root/persist/var/lib/app/data", "later");
    machine.backup().unwrap();
    // Where no configuration says what is meant, as on a live medium.
    let from = "--root . --color never restore --from file://$PWD/usb --into root/persist";
    for (question, script) in [
        ("[y/N]", "STATE restore --allow-unsigned".to_owned()),
        (
            "Which archive? [1]",
            format!("{STATE} {from} --allow-unsigned"),
        ),
    ] {
        is_unchanged(&machine, || {
            let (said, status) = converse(&machine, &[[question, "\x03"]], &script);
            assert!(said.ends_with("\nerror: interrupted\n"), "{said}");
            assert_eq!(status, Some(130), "{said}");
        });
    }
}

#[test]
#[ignore = "needs python3, age, zstd and tar"]
fn peers_a_plugin_is_asked_and_asks() {
    let machine = encrypting(&[FAKE[0], ANN[1]]);
    let (said, status) = converse(&machine, &[], "STATE backup --quiet");
    assert_eq!((said.as_str(), status), ("", Some(0)));
    machine.write("key", FAKE[1]);
    let pin = "PIN of the fake key: ";
    let verify = "chmod 600 key; STATE archives verify --identity key";
    let (said, status) = converse(&machine, &[[pin, "1234\n"]], verify);
    assert!(said.starts_with("note: the fake key blinks\n"), "{said}");
    assert!(status == Some(0) && said.contains("\nwhole "), "{said}");
    let (said, status) = converse(&machine, &[[pin, "4321\n"]], verify);
    assert!(status == Some(12) && said.contains("wrong PIN"), "{said}");
    let (said, status) = converse(&machine, &[], &format!("PATH=/usr/bin; {verify}"));
    assert_eq!(status, Some(12), "{said}");
    let wanted = "the program age-plugin-fake is not in $PATH";
    assert!(said.contains(wanted), "{said}");
    // The program `age` has the same conversation.
    let open = "age -d -i key usb/blitzar/*.age | zstd -d | tar -t | grep machine";
    let (said, status) = converse(&machine, &[["PIN of the fake key:", "1234\n"]], open);
    assert!(
        status == Some(0) && said.contains("./.state/machine.json"),
        "{said}"
    );
}

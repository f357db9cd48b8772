//! What is not as it was when the archive was made: every conversation in whole text.

use super::machine::Machine;
use state::cli::{Screen, restore};
use state_api::Never;
use std::fs;
use std::process::Command;

/// Runs git in the machine's configuration; what it prints.
fn git(machine: &Machine, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(machine.path("root/persist/etc/nixos"))
        .args(["-c", "user.name=ann", "-c", "user.email=ann@example.org"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A machine whose configuration lies in a repository; its first commit.
fn configured() -> (Machine, String) {
    let machine = Machine::new();
    machine.configure("[config]\nrepo = \"/persist/etc/nixos\"\n");
    machine.write("root/persist/etc/nixos/flake.nix", "{ }\n");
    git(&machine, &["init", "-q"]);
    let first = commit(&machine, "one");
    (machine, first)
}

fn commit(machine: &Machine, text: &str) -> String {
    machine.write("root/persist/etc/nixos/flake.nix", text);
    git(machine, &["add", "."]);
    git(machine, &["commit", "-qm", text]);
    git(machine, &["rev-parse", "HEAD"])
}

/// What is told of a restore, from its second line on; its names taken out.
fn told(machine: &Machine, change: impl FnOnce(&mut state::ops::restore::Options)) -> String {
    let report = machine.restore_with(&Never, change).unwrap();
    let text = Screen::text(None, |out| restore::human(&report, out));
    let text = text.replace(&machine.path("root").display().to_string(), "ROOT");
    text.split_once('\n').unwrap().1.to_owned()
}

const UNSIGNED: &str = "         unsigned: nobody vouches for who made it\n";
const RESTORED: &str = "restored ROOT/persist: 9 entries, 488 KiB\n         \
                        `state undo` puts back what was there\n";

#[test]
fn another_commit_a_dirty_one_and_none() {
    let (machine, first) = configured();
    // Beside the stores, where a restore does not reach.
    fs::rename(
        machine.path("root/persist/etc/nixos"),
        machine.path("root/nixos"),
    )
    .unwrap();
    machine.configure("[config]\nrepo = \"/nixos\"\n");
    let id = machine.backup().unwrap().id.unwrap();
    let here = |machine: &Machine, args: &[&str]| {
        let link = machine.path("root/persist/etc/nixos");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::rename(machine.path("root/nixos"), &link).unwrap();
        let said = git(machine, args);
        fs::rename(&link, machine.path("root/nixos")).unwrap();
        said
    };
    let short = first[..12].to_owned();
    let head = format!("{UNSIGNED}config   commit {short}\n{RESTORED}");
    let forget = |id: &str| {
        let id = id.to_owned();
        move |options: &mut state::ops::restore::Options| {
            options.forget_replaced = true;
            options.archive = Some(id);
        }
    };
    assert_eq!(told(&machine, forget(&id)), head);

    machine.write("root/nixos/flake.nix", "two");
    here(&machine, &["commit", "-qam", "two"]);
    let second = here(&machine, &["rev-parse", "HEAD"])[..12].to_owned();
    assert_eq!(
        told(&machine, forget(&id)),
        format!(
            "{head}note     it belongs to the configuration {short}; checked out is {second}: \
             `git -C /nixos checkout {short}`, and rebuild, before its services start\n"
        )
    );

    machine.write("root/nixos/flake.nix", "two and a half");
    let dirty = machine.backup().unwrap().id.unwrap();
    assert_eq!(
        told(&machine, forget(&dirty)),
        format!(
            "{UNSIGNED}config   commit {second}\n{RESTORED}note     its configuration differed from \
             the commit it names, {second}: what was not committed is in no repository\n"
        )
    );

    fs::remove_dir_all(machine.path("root/nixos")).unwrap();
    assert_eq!(
        told(&machine, forget(&id)),
        format!(
            "{head}note     it belongs to the configuration {short}; what is checked out here is not \
             known: asking for the commit of /nixos: no such file or directory\n"
        )
    );
}

#[test]
fn another_machine() {
    let machine = Machine::new();
    machine.backup().unwrap();
    let text = machine.read("root/etc/state/state.toml");
    machine.write(
        "root/etc/state/state.toml",
        &text.replace("blitzar", "quasar"),
    );
    let told = told(&machine, |options| {
        options.which.machine = Some("blitzar".into())
    });
    assert_eq!(
        told,
        format!(
            "{UNSIGNED}{RESTORED}note     this machine is called quasar: it becomes blitzar in all \
             that is kept, and two machines with one identity (machine-id, host keys) disturb each other\n"
        )
    );
    // Without a word it is nobody else's archive that is restored.
    let error = machine.restore().unwrap_err();
    let told = state::cli::exit::tell(&error);
    assert_eq!(
        (told.error.as_str(), told.hint.as_deref(), told.exit),
        (
            "an archive of quasar does not exist",
            Some("there are archives of blitzar: choose with --machine"),
            10
        )
    );
}

#[cfg(feature = "offsite")]
#[test]
fn a_key_that_is_missing_or_another_one() {
    use super::sealed::{ANN, encrypting, keyring};
    let machine = encrypting(&[ANN[1]]);
    let id = machine.backup().unwrap().id.unwrap();
    let cure = "name a file with the age key (AGE-SECRET-KEY-…) of one of them: --identity FILE, or \
                [archive] identity-file";
    let eve = machine.path("keys/eve");
    let why = format!(": no key in {} opens it", eve.display());
    for (names, why) in [(&[][..], ""), (&["eve"][..], why.as_str())] {
        let error = machine
            .restore_with(&Never, |options| {
                options.which.keyring = keyring(&machine, names);
            })
            .unwrap_err();
        let told = state::cli::exit::tell(&error);
        assert_eq!(
            (told.error, told.hint.as_deref(), told.exit),
            (
                format!("the archive {id}: it is encrypted to {}{why}", ANN[1]),
                Some(cure),
                12
            )
        );
    }
}

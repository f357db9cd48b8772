//! `state recovery-sheet`: what is on the page, and what never is.

use super::machine::Machine;
#[cfg(feature = "offsite")]
use super::machine::note;
use state::cli::{Screen, recovery_sheet as cli};
use state::ops::recovery_sheet;
use state_api::Never;
use std::process::Command;

/// The page as text.
#[cfg(feature = "offsite")]
fn page(machine: &Machine) -> String {
    let report = recovery_sheet::run(&machine.context(&Never)).unwrap();
    Screen::text(None, |out| cli::human(&report, out))
}

#[test]
fn no_secret_is_on_the_page() {
    const SECRET: &str = "s3cr3t";
    let machine = Machine::new();
    for file in ["b2", "identity", "key", "hosts"] {
        machine.write(
            &format!("root/secrets/{file}"),
            &format!("aws_access_key_id = {SECRET}\nAGE-SECRET-KEY-1{SECRET}\n"),
        );
    }
    machine.configure(&format!(
        "[archive]\nidentity-file = \"/secrets/identity\"\n\
         [archive.hooks]\non-failure = [\"curl\", \"-H\", \"Authorization: {SECRET}\"]\n\
         [target.b2]\nurl = \"s3://bucket/fleet?endpoint=https://example.org\"\ncredentials = \"/secrets/b2\"\n\
         [target.nas]\nurl = \"sftp://backup@nas/srv\"\nkey = \"/secrets/key\"\nknown-hosts = \"/secrets/hosts\"\n\
         [config]\nrepo = \"/etc/nixos\"\n"
    ));
    machine.write("root/etc/nixos/flake.nix", "{ }");
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(machine.path("root/etc/nixos"));
        git.args(["-c", "user.name=a", "-c", "user.email=a"])
            .args(args);
        assert!(git.output().unwrap().status.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "one"]);
    git(&[
        "remote",
        "add",
        "origin",
        &format!("https://ann:{SECRET}@example.org/nixos.git"),
    ]);
    for json in [&[][..], &["--json"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_state"))
            .arg("--root")
            .arg(machine.path("root"))
            .args(json)
            .arg("recovery-sheet")
            .env("AWS_ACCESS_KEY_ID", SECRET)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_SESSION_TOKEN", SECRET)
            .env("CREDENTIALS_DIRECTORY", machine.path("root/secrets"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        assert!(!text.contains(SECRET), "{text}");
        // What is to be on it is.
        for there in [
            "blitzar",
            "s3://bucket/fleet",
            "sftp://backup@nas/srv",
            "https://example.org/nixos.git",
            "/secrets/b2",
        ] {
            assert!(text.contains(there), "{there}: {text}");
        }
    }
    // A password in a URL is refused before anything is printed.
    machine.configure(&format!("[target.x]\nurl = \"sftp://u:{SECRET}@h/x\"\n"));
    let report = recovery_sheet::run(&machine.context(&Never));
    let text = match report {
        Ok(report) => Screen::text(None, |out| cli::human(&report, out)),
        Err(error) => state::cli::exit::tell(&error).error,
    };
    assert!(!text.contains(SECRET), "{text}");
}

/// The commands on the page, typed as they stand.
#[cfg(feature = "offsite")]
#[test]
#[ignore = "needs root, age, zstd, tar and ssh-keygen"]
fn peers_the_commands_on_the_page_bring_everything_back() {
    use super::sealed::{ANN, encrypting, keyring};
    use super::signed::KEY;
    for is_sealed in [true, false] {
        let machine = encrypting(&[ANN[1]]);
        machine.write("root/etc/ssh/key", KEY);
        machine.configure(&match is_sealed {
            true => format!(
                "[archive]\nencrypt-to = [\"{}\"]\nsign-with = \"/etc/ssh/key\"\n",
                ANN[1]
            ),
            false => String::new(),
        });
        let first = machine.backup().unwrap().id.unwrap();
        machine.write("root/persist/var/lib/app/data", "newer");
        std::fs::remove_file(machine.store().join("var/lib/app/sub/more")).unwrap();
        let second = machine.backup_next().id.unwrap();
        let text = page(&machine);
        let commands = text.split("GNU tar and coreutils\n").nth(1).unwrap();
        assert!(commands.contains(&format!("  ID={second} ")), "{commands}");
        let work = machine.path("work");
        std::fs::create_dir_all(work.join("DIR")).unwrap();
        std::fs::copy(machine.path("keys/ann"), work.join("KEYFILE")).unwrap();
        for (n, id) in [&first, &second].into_iter().enumerate() {
            // A full archive has nothing to remove.
            let lines = commands
                .lines()
                .filter(|line| n == 1 || !line.contains("./.state/deleted"));
            let script = lines.collect::<Vec<_>>().join("\n");
            let script = script.replace(&format!("ID={second}"), &format!("ID={id}"));
            let ran = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script])
                .current_dir(&work)
                .output();
            let ran = ran.unwrap();
            assert!(ran.status.success(), "{script}\n{ran:?}");
        }
        std::fs::remove_dir_all(work.join("DIR/.state")).unwrap();
        let restored = machine.path("to");
        std::fs::create_dir(&restored).unwrap();
        let report = machine.restore_with(&Never, |options| {
            options.into = Some(restored.clone());
            options.which.keyring = keyring(&machine, &["ann"]);
        });
        report.unwrap();
        let mut differences = note(&work.join("DIR")).differences(&note(&restored));
        // tar leaves the time at which it removed something in a directory that stays.
        differences.retain(|line| !line.ends_with(": modified"));
        assert_eq!(differences, Vec::<String>::new());
    }
}

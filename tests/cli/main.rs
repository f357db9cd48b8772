//! The command line from outside: help, exit codes, messages, machines laid out as directories.

mod hooks;
mod init;

use state_linux::lock::{Lock, Taken};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Ran {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

fn state(arguments: &[&str]) -> Ran {
    let out = Command::new(env!("CARGO_BIN_EXE_state"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    Ran {
        exit: out.status.code(),
        stdout: String::from_utf8(out.stdout).unwrap(),
        stderr: String::from_utf8(out.stderr).unwrap(),
    }
}

fn machines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines")
}

/// A copy of a machine that a test may write to.
fn copy_of(name: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                fs::create_dir(&to).unwrap();
                copy(&from, &to);
            } else if kind.is_symlink() {
                symlink(fs::read_link(&from).unwrap(), &to).unwrap();
            } else {
                fs::write(&to, fs::read(&from).unwrap()).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(&machines().join(name), to.path());
    to
}

fn text_of(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_names_every_verb_and_every_exit_code() {
    let help = state(&["--help"]);
    assert_eq!((help.exit, help.stderr.as_str()), (Some(0), ""));
    let told = "\
Exit status:
    0  done, or nothing to do
    1  failed, nothing changed
    2  usage or configuration
    3  done in part: run again to finish
    4  refused: no blank, a stale plan, not understood, or it would destroy
    5  needs attention: status, doctor or drill found something
   10  no such archive
   11  another run holds the lock
   12  key or signature
   13  verification failed
  130  interrupted
";
    assert!(help.stdout.ends_with(told), "{}", help.stdout);
    for verb in state::cli::command().get_subcommands() {
        let name = verb.get_name();
        assert!(verb.get_about().is_some(), "{name} says what it is for");
        assert!(help.stdout.contains(&format!("\n  {name} ")), "{name}");
        assert_eq!(state(&[name, "--help"]).exit, Some(0), "{name}");
    }
}

#[test]
fn the_manual_says_what_the_help_says() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        state(&["man", "--output", text_of(dir.path())]).exit,
        Some(0)
    );
    let page = fs::read_to_string(dir.path().join("state.1")).unwrap();
    let statuses = page.split(".SH \"EXIT STATUS\"").nth(1).unwrap();
    for exit in state::cli::Exit::ALL {
        let entry = format!(".TP\n\\fB{}\\fR\n{}", exit.code(), exit.meaning());
        assert!(statuses.contains(&entry), "{entry}\n{statuses}");
    }
    for verb in state::cli::command().get_subcommands() {
        let page = dir.path().join(format!("state-{}.1", verb.get_name()));
        assert!(fs::read_to_string(page).unwrap().contains("EXIT STATUS"));
    }
    let reference = fs::read_to_string(dir.path().join("state.toml.5")).unwrap();
    for key in ["subvolume", "hide\\-mounts", "if\\-missing"] {
        assert!(reference.contains(key), "{key}");
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = state(&["completions", shell]);
        assert_eq!((ran.exit, ran.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ran.stdout.contains("doctor"), "{shell}");
    }
}

#[test]
fn usage_errors_exit_with_2() {
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["init", "--frobnicate"],
        &["-q", "-v", "doctor"],
        &["--color", "mauve", "doctor"],
        &["completions", "tcsh"],
        &["init", "--store", "persist", "--dry-run"],
        &["init", "--from", "impermanence"],
        &["init", "list.json"],
    ] {
        let ran = state(arguments);
        assert_eq!(
            (ran.exit, ran.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert!(!ran.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_target_that_nobody_configured_is_a_usage_error() {
    let machine = machines().join("nixos-btrfs");
    let ran = state(&[
        "--root",
        text_of(&machine),
        "archives",
        "list",
        "--from",
        "usbb",
    ]);
    assert_eq!(ran.exit, Some(2), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("usbb: no target of that name is configured\nhint: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.toml");
    fs::write(
        &file,
        "[persist.\"/persist\"]\ndirectores = [\"/var/log\"]\n",
    )
    .unwrap();
    let name = text_of(&file);
    assert_eq!(
        state(&["--config", name, "status"]),
        Ran {
            exit: Some(2),
            stdout: String::new(),
            stderr: format!(
                "\
error: {name}:2:1: unknown key `directores` in [persist.\"/persist\"]
  |
2 | directores = [\"/var/log\"]
  | ^^^^^^^^^^
hint: did you mean `directories`?
"
            ),
        }
    );
}

#[test]
fn with_json_a_failure_is_an_object_too() {
    let ran = state(&["--json", "--config", "/nonexistent/s.toml", "status"]);
    assert_eq!(ran.exit, Some(2));
    assert_eq!(
        ran.stdout,
        "\
{
  \"error\": \"reading /nonexistent/s.toml: no such file or directory\",
  \"exit\": 2
}
"
    );
    assert_eq!(
        ran.stderr,
        "error: reading /nonexistent/s.toml: no such file or directory\n"
    );
}

#[test]
fn no_configuration_says_how_to_get_one() {
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir_all(empty.path().join("proc/self")).unwrap();
    fs::write(empty.path().join("proc/self/mountinfo"), "").unwrap();
    let root = text_of(empty.path());
    assert_eq!(
        state(&["--root", root, "status"]),
        Ran {
            exit: Some(2),
            stdout: String::new(),
            stderr: format!(
                "\
error: {root}/etc/state/state.toml does not exist, and no mounted store has a copy
hint: `state init` looks at this machine and writes one; `--config FILE` names another
"
            ),
        }
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_state"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), stderr.as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_full_disk_behind_standard_output_is_a_failure() {
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_state"))
        .arg("man")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1));
    let stderr = String::from_utf8(out.stderr).unwrap();
    assert!(
        stderr.starts_with("error: writing to standard output: no space left on device\n"),
        "{stderr}"
    );
}

#[test]
fn quiet_and_colour_are_heard() {
    let root = machines().join("debian-btrfs");
    let root = text_of(&root);
    let quiet = state(&["-q", "--root", root, "doctor"]);
    assert_eq!(
        (quiet.exit, quiet.stdout.as_str(), quiet.stderr.as_str()),
        (Some(5), "", "")
    );
    let plain = state(&["--root", root, "doctor"]);
    assert!(!plain.stdout.contains('\u{1b}'), "no colours in a pipe");
    let colourful = state(&["--color", "always", "--root", root, "doctor"]);
    assert!(colourful.stdout.contains("\u{1b}["));
    let relative = Command::new(env!("CARGO_BIN_EXE_state"))
        .current_dir(root)
        .args(["--root", ".", "doctor"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(relative.stdout).unwrap(), plain.stdout);
}

/// What `doctor` and `status` say of the machines in `tests/fixtures/machines`, as whole text in
/// `doctor.txt` and `status.txt` beside them. `BLESS=1` writes the texts anew.
#[test]
fn machines_are_judged() {
    let is_root = rustix::process::geteuid().is_root();
    let mut wrong = Vec::new();
    for (machine, verb, exit) in [
        ("nixos-btrfs", "doctor", if is_root { 5 } else { 0 }),
        ("nixos-btrfs", "status", 0),
        ("debian-btrfs", "doctor", 5),
        ("debian-btrfs", "status", 5),
        ("nixos-tmpfs", "doctor", 5),
        ("nixos-tmpfs", "status", 2),
        ("nixos-zfs", "doctor", 0),
        ("nixos-zfs", "status", 0),
    ] {
        // A copy belongs to whoever runs the tests, as a machine's files belong to root.
        let copy = copy_of(machine);
        let root = text_of(copy.path());
        let ran = state(&["--root", root, verb]);
        let told = format!("{}{}", ran.stdout, ran.stderr).replace(root, "ROOT");
        // Free space is that of the machine that runs the tests, and an ordinary user is denied
        // what root is told does not exist.
        let told: Vec<&str> = told
            .lines()
            .filter(|line| {
                !line.contains("mounting the top level of") && line.trim() != "this needs root"
            })
            .map(|line| {
                line.split_once(" GiB of ")
                    .map_or(line, |_| "store    (space)")
            })
            .collect();
        let told = told.join("\n") + "\n";
        let file = machines().join(machine).join(format!("{verb}.txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &told).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if (ran.exit, &told) != (Some(exit), &expected) {
            wrong.push(format!(
                "{machine} {verb}: {:?}\n{told}instead of {exit}\n{expected}",
                ran.exit
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! `state blank run` and `state blank undo` on a real btrfs, through the program: a command in a copy
//! of blank that succeeds, that fails, that is killed; what it finds there, and what it leaves.

mod boot;
mod machine;

use machine::{Machine, code, stderr, stdout};
use serde_json::Value;
use state_linux::mountinfo;
use state_testing::disk::Disk;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_a_command_makes_of_blank_is_the_blank_until_it_is_undone() {
    let machine = Machine::new();
    let mounts = mountinfo::read().unwrap();
    let first = machine.blanks();
    let ran = machine.run(
        "set -e
         echo installed >/usr/new
         echo data >/var/lib/thing/data
         echo more >/var/lib/linked/more
         echo id >/etc/id
         (read pid <anything) 2>/dev/null || :
         read self rest </proc/self/stat
         test $$ = 2 -a -e /proc/1/stat -a -c /dev/null -a -d /sys/class
         test \"$SYSTEMD_OFFLINE\" = 1
         { read policy; } </usr/sbin/policy-rc.d
         test ! -e /run/systemd -a -w /tmp
         echo 'root:x:0:0::/root:/bin/sh
thing:x:99:99::/var/lib/thing:/bin/false' >/etc/passwd.new
         exec 3</etc/passwd.new; while read line <&3; do echo \"$line\"; done >/etc/passwd",
    );
    assert_eq!(
        (code(&ran), stdout(&ran).as_str(), stderr(&ran).as_str()),
        (
            0,
            "root-blank is renewed; the next boot has it\n\
             /etc/passwd changed with it\n\
             the blank before it is kept: `state blank undo` goes back to it\n",
            ""
        )
    );
    let second = machine.blanks();
    assert_eq!(second["previous"], previous(&first["blank"]));
    assert_ne!(second["blank"]["identity"], first["blank"]["identity"]);
    assert_eq!(
        machine.done(&["blank", "verify"]),
        "root-blank is blank: a reset can use it\n"
    );
    for (path, text) in [
        ("root-blank/usr/new", "installed\n"),
        ("persist/var/lib/thing/data", "data\n"),
        ("persist/var/lib/linked/more", "more\n"),
        ("persist/etc/id", "id\n"),
        ("root-blank/etc/resolv.conf", "nameserver 192.0.2.1\n"),
    ] {
        assert_eq!(machine.read(path), text, "{path}");
    }
    for path in ["persist/etc/passwd", "root-blank/etc/passwd"] {
        assert!(machine.read(path).contains("thing:x:99"), "{path}");
    }
    for path in [
        "root/usr/new",
        "root-blank/usr/sbin/policy-rc.d",
        "root-blank/var/lib/thing/data",
        "root-blank-previous/usr/new",
    ] {
        assert!(!machine.top(path).exists(), "{path}");
    }
    assert_eq!(mountinfo::read().unwrap().len(), mounts.len());
    assert_eq!(
        machine.volumes(),
        ["root", "root-blank", "root-blank-previous"]
    );

    machine.done(&["blank", "undo"]);
    assert_eq!(
        machine.blanks()["blank"]["identity"],
        first["blank"]["identity"]
    );
    assert!(!machine.top("root-blank/usr/new").exists());
    machine.done(&["blank", "undo"]);
    assert_eq!(machine.blanks(), second);
}

/// A blank as it is told once it is the previous one.
fn previous(blank: &Value) -> Value {
    let mut blank = blank.clone();
    blank["name"] = "root-blank-previous".into();
    blank
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_command_that_fails_leaves_blank_as_it_is() {
    let machine = Machine::new();
    machine.run("echo one >/usr/one");
    let before = machine.blanks();
    for (args, status, told) in [
        (&["sh", "-c", "echo x >/usr/new; exit 7"][..], 7, "/persist"),
        (&["sh", "-c", "kill -9 $$"], 137, "/persist"),
        (&["nothing-of-that-name"], 1, "no such file"),
    ] {
        let ran = machine.state(&[&["blank", "run", "--"], args].concat());
        let said = stdout(&ran) + &stderr(&ran);
        assert_eq!(
            (code(&ran), said.contains(told)),
            (status, true),
            "{args:?}: {said}"
        );
        assert_eq!(machine.blanks(), before, "{args:?}");
        assert_eq!(machine.volumes().len(), 3, "{args:?}");
    }
    // What it wrote into a store is told, and left to people.
    let ran = machine.run("echo x >/var/lib/thing/data; exit 1");
    let told = stdout(&ran);
    assert!(told.contains("/persist changed meanwhile"), "{told}");
    let name = told
        .split("rollback ")
        .nth(1)
        .unwrap()
        .split('`')
        .next()
        .unwrap();
    let diff = machine.done(&["snapshot", "diff", name]);
    assert!(diff.contains("/persist/var/lib/thing/data"), "{diff}");
    // Of what is copied, nothing is saved.
    let ran = machine.run("echo 'root:x:0:0:::' >/etc/passwd; exit 1");
    assert_eq!(code(&ran), 1);
    assert_eq!(
        machine.read("persist/etc/passwd"),
        "root:x:0:0::/root:/bin/sh\n"
    );
}

/// Ends with the process that has it, and with those that it has started.
const FOREVER: &str =
    "echo x >/usr/new; (exec 3<>/dev/ptmx; read x <&3) & exec 3<>/dev/ptmx; read x <&3";

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many processes run on a root of their own below this machine's.
fn enclosed(machine: &Machine) -> usize {
    let inside = machine.root("run/state/blank");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let roots = processes.filter_map(|process| fs::read_link(process.path().join("root")).ok());
    roots.filter(|root| root.starts_with(&inside)).count()
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_renewal_that_is_killed_leaves_nothing_that_runs_and_is_cleared_away() {
    let machine = Machine::new();
    let before = machine.blanks();
    for (signal, status) in [("KILL", None), ("INT", Some(130)), ("TERM", Some(130))] {
        let mut command = machine.command(&["blank", "run", "--", "sh", "-c", FOREVER]);
        let mut child = command.process_group(0).spawn().unwrap();
        until("the command runs", || {
            machine.top("root-blank.draft/usr/new").exists() && enclosed(&machine) >= 3
        });
        let locked = machine.state(&["blank", "run", "--", "true"]);
        assert_eq!(code(&locked), 11, "{locked:?}");
        let sent = Command::new("kill")
            .args(["-s", signal, &child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), status, "{signal}");
        until("nothing runs any more", || enclosed(&machine) == 0);
        assert_eq!(machine.blanks(), before, "{signal}");
        assert_eq!(
            machine.volumes().len(),
            2 + usize::from(status.is_none()),
            "{signal}"
        );
        // A draft that was left goes when there is time, or now.
        match signal {
            "KILL" => drop(machine.done(&["roots", "gc"])),
            _ => assert_eq!(code(&machine.run("exit 3")), 3),
        }
        assert_eq!(machine.volumes(), ["root", "root-blank"], "{signal}");
    }
}

/// On a terminal of its own. A shell takes that for itself, and does not see whose it was.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_somebody_is_asked_at_the_end_of_a_shell() {
    let machine = Machine::new();
    for (typed, status, is_renewed) in [
        ("echo one >/usr/new\nexit\ny\n", 0, true),
        ("echo two >/usr/new\nexit 3\nn\n", 3, false),
    ] {
        let before = machine.blanks();
        let shell = machine.command(&["blank", "shell"]);
        let words: Vec<_> = [shell.get_program()]
            .into_iter()
            .chain(shell.get_args())
            .collect();
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        let mut script = Command::new("script")
            .args(["-qec", &words.join(" "), "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        script
            .stdin
            .take()
            .unwrap()
            .write_all(typed.as_bytes())
            .unwrap();
        let ended = script.wait_with_output().unwrap();
        assert_eq!(code(&ended), status, "{ended:?}");
        assert_eq!(machine.blanks() != before, is_renewed, "{ended:?}");
    }
    assert_eq!(machine.read("root-blank/usr/new"), "one\n");
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_a_store_without_snapshots_is_refused_unless_that_is_said() {
    let machine = Machine::new();
    let plain = Disk::new("ext4", 64);
    let _plain = plain.mount(None, &machine.root("plain"));
    machine.configure("/plain");
    let refused = machine.run("true");
    assert_eq!(
        (code(&refused), stderr(&refused).as_str()),
        (
            4,
            "error: the store /plain cannot be snapshotted\n\
             hint: what the command writes there cannot be taken back: `state backup` first, then \
             `--no-snapshot`\n"
        )
    );
    let ran = machine.state(&[
        "blank",
        "run",
        "--no-snapshot",
        "--",
        "sh",
        "-c",
        "echo x >/var/lib/thing/x",
    ]);
    assert_eq!(code(&ran), 0, "{ran:?}");
    assert_eq!(
        fs::read_to_string(machine.root("plain/var/lib/thing/x")).unwrap(),
        "x\n"
    );
}

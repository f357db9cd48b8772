//! `sftp://` against OpenSSH.

use crate::client::{Client, files, ran};
use crate::sshd::Sshd;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_keeps_what_was_saved() {
    let sshd = Sshd::start("");
    let client = Client::new("blitzar", 5 * MIB, &sshd.target("key", "known_hosts"));
    let saved = client.backup();
    saved.expect(0, &["\"is_published\":true"]);
    let id = saved.json["id"].as_str().unwrap();
    assert_eq!(client.ids(), [id]);
    let data = format!("blitzar/{id}.tar.zst");
    assert_eq!(
        files(&sshd.objects()),
        [data.clone(), format!("blitzar/{id}.txt")]
    );
    client.run(&["archives", "verify"]).expect(0, &[]);
    client.restores("nas");

    // What a killed run left is gone after the next.
    fs::write(sshd.objects().join("blitzar/.x.tar.zst.partial"), "half").unwrap();
    client.backup().expect(0, &[]);
    let left = files(&sshd.objects());
    assert!(
        left.len() == 4 && !left.iter().any(|name| name.contains("partial")),
        "{left:?}"
    );

    // Bytes that the server changed are noticed.
    let path = sshd.objects().join(data);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    client
        .run(&["archives", "verify", id])
        .expect(13, &["\"damage\":\""]);
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_failures_are_told_and_leave_nothing() {
    let sshd = Sshd::start("");
    let client = Client::new("blitzar", MIB, "");
    let nowhere = sshd.path("nowhere");
    let target = |key: &str, known: &str| sshd.target(key, known);
    for (targets, words) in [
        (
            target("stranger", "known_hosts"),
            ["Permission denied", "does not accept the key"],
        ),
        (
            target("absent", "known_hosts"),
            ["opening the key", "no such file"],
        ),
        (
            target("key", "other_hosts"),
            ["Host key verification failed", "the server is another"],
        ),
        (
            target("key", "absent"),
            ["Host key verification failed", "ssh-keyscan"],
        ),
        (
            sshd.target_at(&nowhere, "key", "known_hosts"),
            ["no such directory at the server", "make it there"],
        ),
        (
            "[target.nas]\nurl = \"sftp://root@127.0.0.1:1/srv\"\n".into(),
            ["Connection refused", "does the server run, at that port?"],
        ),
    ] {
        client.configure("blitzar", &targets);
        client.backup().expect(1, &words);
        assert_eq!(files(&sshd.objects()), Vec::<String>::new());
    }
    // One target that fails leaves the others alone.
    let usb = client.path("usb");
    fs::create_dir(&usb).unwrap();
    let both = format!(
        "{}[target.usb]\nurl = \"file://{}\"\n",
        target("stranger", "known_hosts"),
        usb.display()
    );
    client.configure("blitzar", &both);
    client
        .backup()
        .expect(3, &["Permission denied", "\"is_published\":true"]);
    assert_eq!(files(&usb).len(), 2);
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_a_full_disk_is_named() {
    let sshd = Sshd::start("");
    let small = sshd.path("small");
    fs::create_dir(&small).unwrap();
    let mount = |args: &[&str]| {
        let run = std::process::Command::new(args[0])
            .args(&args[1..])
            .arg(&small)
            .status();
        assert!(run.unwrap().success(), "{args:?}");
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=2m", "state-offsite"]);
    let client = Client::new(
        "blitzar",
        8 * MIB,
        &sshd.target_at(&small, "key", "known_hosts"),
    );
    let ran = client.backup();
    let left = files(&small);
    mount(&["umount"]);
    ran.expect(1, &["no space is left there"]);
    assert_eq!(left, Vec::<String>::new());
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_gone_or_told_to_stop_in_the_middle() {
    let mut sshd = Sshd::start("");
    let slow = format!(
        "{}bandwidth = \"1 MiB/s\"\n",
        sshd.target("key", "known_hosts")
    );
    let client = Client::new("blitzar", 8 * MIB, &slow);
    let begin = || {
        let mut command = client.command(&["backup"]);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while files(&sshd.objects()).is_empty() {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "nothing is written"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    };
    let told = begin();
    let pid = rustix::process::Pid::from_child(&told);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let stopped = Instant::now();
    ran(told.wait_with_output().unwrap()).expect(130, &[]);
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert_eq!(files(&sshd.objects()), Vec::<String>::new());
    assert_eq!(client.ids(), Vec::<String>::new());

    let cut = begin();
    sshd.kill();
    ran(cut.wait_with_output().unwrap()).expect(1, &["sftp://root@127.0.0.1"]);
    let left = files(&sshd.objects());
    assert!(left.len() == 1 && left[0].ends_with(".partial"), "{left:?}");
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_a_connection_that_breaks_off_is_made_again() {
    // The server itself notes how much was written to each file.
    let log = tempfile::NamedTempFile::new().unwrap();
    let sshd = Sshd::start(&format!(
        "ForceCommand /usr/lib/openssh/sftp-server -e -l INFO 2>>{}",
        log.path().display()
    ));
    let slow = format!(
        "{}bandwidth = \"2 MiB/s\"\n",
        sshd.target("key", "known_hosts")
    );
    let client = Client::new("blitzar", 12 * MIB, &slow);
    let mut command = client.command(&["backup"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let size = || {
        let names = files(&sshd.objects());
        let partial = names.iter().find(|name| name.ends_with(".partial"));
        let at = partial.map(|name| sshd.objects().join(name));
        at.and_then(|at| fs::metadata(at).ok())
            .map_or(0, |m| m.len())
    };
    let begun = Instant::now();
    for least in [2 * MIB as u64, 6 * MIB as u64] {
        while size() < least {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stands still");
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd.hang_up();
    }
    ran(child.wait_with_output().unwrap()).expect(0, &["\"is_published\":true"]);
    client.run(&["archives", "verify"]).expect(0, &[]);
    // It went on where it was: no more was written after the last break than was left.
    let log = fs::read_to_string(log.path()).unwrap();
    let of_data = |line: &&str| line.contains(".tar.zst.partial\" bytes read 0");
    let line = log.lines().rfind(of_data).unwrap();
    let words = line.split("written ").nth(1).unwrap();
    let last: usize = words.split(' ').next().unwrap().parse().unwrap();
    assert!(last > MIB && last < 8 * MIB, "{last}: {log}");
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_reading_goes_on_when_the_connection_breaks_off() {
    // Once it is wanted, every conversation ends after so many bytes of answers, and each is noted.
    const MOST: usize = 5_000_000;
    let dir = tempfile::tempdir().unwrap();
    let turns = dir.path().join("turns");
    let server = "/usr/lib/openssh/sftp-server";
    let command = format!(
        "ForceCommand test -e {0} || exec {server}; echo >>{0}; {server} | (stdbuf -o0 head -c {MOST}; kill 0)",
        turns.display()
    );
    let sshd = Sshd::start(&command);
    let client = Client::new("blitzar", 12 * MIB, &sshd.target("key", "known_hosts"));
    client.backup().expect(0, &["\"is_published\":true"]);
    let conversations = |read: &dyn Fn()| {
        fs::write(&turns, "").unwrap();
        read();
        fs::read_to_string(&turns).unwrap().lines().count()
    };
    let verified = conversations(&|| {
        client.run(&["archives", "verify"]).expect(0, &[]);
    });
    let restored = conversations(&|| client.restores("nas"));
    assert!(
        verified.min(restored) > 12 * MIB / MOST,
        "{verified}, {restored}"
    );
}

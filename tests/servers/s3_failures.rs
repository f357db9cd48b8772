//! `s3://` where something goes wrong: what is told, and what is left at the server.

use crate::client::{Client, ran};
use crate::gate::Act;
use crate::moto::SECRET;
use crate::s3::{MIB, World};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
#[ignore = "needs moto"]
fn servers_s3_failures_are_told_and_leave_nothing() {
    let world = World::new(60 * MIB);
    let wrong = (world.moto.owner.0.clone(), SECRET.to_owned());
    let unknown = ("AKIAUNKNOWN".to_owned(), SECRET.to_owned());
    let owner = &world.moto.owner;
    let url = world.moto.url(world.gate.port);
    let nothing = (Vec::new(), 0);
    let refused = "connection refused";
    for (target, words) in [
        (
            world.target(&wrong, &url, ""),
            ["SignatureDoesNotMatch", "the secret key is another one"],
        ),
        (
            world.target(&unknown, &url, ""),
            ["InvalidAccessKeyId", "does not know this access key"],
        ),
        (
            world.target(owner, &url.replace("//bkt/", "//nobucket/"), ""),
            ["NoSuchBucket", "make the bucket, or correct the URL"],
        ),
        (
            world.target(owner, "s3://bkt?endpoint=http://127.0.0.1:1&retries=0", ""),
            [refused, "does the server run, at that port?"],
        ),
        (
            world.target(
                owner,
                "s3://bkt?endpoint=http://state.invalid&retries=0",
                "",
            ),
            [
                "s3://bkt?endpoint=http://state.invalid",
                "is the endpoint's name right",
            ],
        ),
        (
            world.target(
                owner,
                &url.replace("http:", "https:")
                    .replace("retries=1", "retries=0"),
                "",
            ),
            ["tls handshake", "does the server speak TLS"],
        ),
    ] {
        world.client.configure("blitzar", &target);
        world.client.backup().expect(1, &words);
        assert_eq!(world.objects(), nothing, "{words:?}");
    }

    // What goes wrong in the middle, and what is left of it: nothing.
    world.configure(owner, "");
    let is_part = |path: &str| path.contains("partNumber=2");
    type Rule = Box<dyn Fn(&str, &str) -> Act + Send + Sync>;
    let rules: [(Rule, i32, &str); 4] = [
        (
            Box::new(move |_, path| match is_part(path) {
                true => Act::Answer(500, "InternalError"),
                false => Act::Pass,
            }),
            1,
            "InternalError",
        ),
        (
            Box::new(move |_, path| match is_part(path) {
                true => Act::Answer(503, "SlowDown"),
                false => Act::Pass,
            }),
            1,
            "the server is busy",
        ),
        (
            Box::new(move |_, path| if is_part(path) { Act::Cut } else { Act::Pass }),
            1,
            "writing blitzar/",
        ),
        (
            Box::new(
                |method, path| match method == "POST" && path.contains("uploadId") {
                    true => Act::Answer(507, "InsufficientStorage"),
                    false => Act::Pass,
                },
            ),
            1,
            "InsufficientStorage",
        ),
    ];
    for (rule, exit, words) in rules {
        world.gate.rule(rule);
        world.client.backup().expect(exit, &[words]);
        assert_eq!(world.objects(), nothing, "{words}");
    }

    // Something that passes by itself is no failure.
    let left = std::sync::atomic::AtomicU32::new(1);
    world.gate.rule(move |_, path| {
        let again = path.contains("partNumber=1&") || path.ends_with("partNumber=1");
        let first = again && left.swap(0, std::sync::atomic::Ordering::Relaxed) == 1;
        if first {
            Act::Answer(503, "SlowDown")
        } else {
            Act::Late(Duration::from_millis(50))
        }
    });
    world.client.backup().expect(0, &["\"is_published\":true"]);
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_other_bytes_than_sent_are_no_archive() {
    let world = World::new(MIB);
    world.gate.rule(
        |method, path| match method == "GET" && path.contains(".tar.zst") {
            true => Act::Alter,
            false => Act::Pass,
        },
    );
    world
        .client
        .backup()
        .expect(13, &["gives back something else than was written"]);
    assert_eq!(world.client.ids(), Vec::<String>::new());
    // The data without a label is named, and goes with the next archive that is whole.
    let list = world.client.run(&["archives", "list"]);
    list.expect(0, &["an interrupted backup left it"]);
    world.gate.rule(|_, _| Act::Pass);
    world
        .client
        .backup()
        .expect(0, &["\"removed\":[\"blitzar/"]);
    assert_eq!(world.objects().0.len(), 2);
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_told_to_stop_or_killed_in_the_middle() {
    let world = World::new(150 * MIB);
    world
        .gate
        .rule(|_, path| match path.contains("partNumber=") {
            true => Act::Late(Duration::from_millis(700)),
            false => Act::Pass,
        });
    let child = world.begin();
    world.wait_for_parts(1);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    ran(child.wait_with_output().unwrap()).expect(130, &[]);
    assert_eq!(world.objects(), (Vec::new(), 0));

    world.gate.seen();
    let mut child = world.begin();
    world.wait_for_parts(1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.objects(), (Vec::new(), 1));
    assert_eq!(world.client.ids(), Vec::<String>::new());
    world.gate.rule(|_, _| Act::Pass);
    world.client.backup().expect(0, &[]);
    let (names, unfinished) = world.objects();
    assert_eq!((names.len(), unfinished), (2, 0));
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_a_stranger_with_a_certificate_of_his_own_is_refused() {
    let client = Client::new("blitzar", 1, "");
    let (key, cert) = (client.path("tls-key"), client.path("tls-cert"));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = crate::client::free_port();
    let mut server = Command::new("openssl")
        .args([
            "s_server",
            "-quiet",
            "-www",
            "-accept",
            &port.to_string(),
            "-key",
        ])
        .arg(&key)
        .arg("-cert")
        .arg(&cert)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    crate::sshd::wait_for(port, "openssl");
    let keys = client.credentials(("AKIA", SECRET));
    let url = format!("s3://bkt?endpoint=https://localhost:{port}&retries=0");
    let target = format!(
        "[target.b2]\nurl = \"{url}\"\ncredentials = \"{}\"\n",
        keys.display()
    );
    client.configure("blitzar", &target);
    let ran = client.backup();
    server.kill().unwrap();
    server.wait().unwrap();
    ran.expect(1, &["certificate", "is it the server you mean?"]);
}

/// As on many a live medium.
#[test]
#[ignore = "needs moto"]
fn servers_s3_no_certificates_of_authorities_are_needed_where_nobody_shows_one() {
    let world = World::new(1);
    let run = || {
        let mut command = world.client.command(&["backup"]);
        command.env("SSL_CERT_FILE", "/dev/null");
        ran(command
            .env("SSL_CERT_DIR", "/nonexistent")
            .output()
            .unwrap())
    };
    run().expect(0, &["\"is_published\":true"]);
    let url = "s3://bkt?endpoint=https://localhost:1&retries=0";
    let target = world.target(&world.moto.owner, url, "");
    world.client.configure("blitzar", &target);
    run().expect(1, &["preparing TLS", "ca-certificates", "SSL_CERT_FILE"]);
}

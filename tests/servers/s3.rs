//! `s3://` against moto, through a gate that counts and misbehaves.

use crate::client::{Client, ran};
use crate::gate::{Act, Gate};
use crate::moto::{Moto, SECRET};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

/// A server, a gate before it, and a machine.
pub(crate) struct World {
    moto: Moto,
    pub(crate) gate: Gate,
    pub(crate) client: Client,
}

impl World {
    pub(crate) fn new(bytes: usize) -> Self {
        let moto = Moto::start();
        let gate = Gate::open(moto.port);
        let client = Client::new("blitzar", bytes, "");
        let world = Self { moto, gate, client };
        world.configure(&world.moto.owner, "");
        world
    }

    pub(crate) fn configure(&self, key: &(String, String), more: &str) {
        self.client.configure(
            "blitzar",
            &self.target(key, &self.moto.url(self.gate.port), more),
        );
    }

    fn target(&self, (access, secret): &(String, String), url: &str, more: &str) -> String {
        let file = self.client.credentials((access, secret));
        format!(
            "[target.b2]\nurl = \"{url}\"\ncredentials = \"{}\"\n{more}",
            file.display()
        )
    }

    /// The names of all objects, and how many uploads are unfinished; asked of the server by
    /// another client than ours.
    fn objects(&self) -> (Vec<String>, usize) {
        let python = std::env::var("STATE_TEST_MOTO")
            .unwrap()
            .replace("moto_server", "python3");
        let script = "import sys, boto3\n\
            c = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', \
            aws_access_key_id=sys.argv[2], aws_secret_access_key=sys.argv[3])\n\
            for o in c.list_objects_v2(Bucket='bkt').get('Contents', []): print(o['Key'])\n\
            print(len(c.list_multipart_uploads(Bucket='bkt').get('Uploads', [])))";
        let (access, secret) = &self.moto.owner;
        let endpoint = format!("http://127.0.0.1:{}", self.moto.port);
        let said = Command::new(python)
            .args(["-c", script, &endpoint, access, secret])
            .output()
            .unwrap();
        assert!(
            said.status.success(),
            "{}",
            String::from_utf8_lossy(&said.stderr)
        );
        let said = String::from_utf8(said.stdout).unwrap();
        let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
        let unfinished = lines.pop().unwrap().parse().unwrap();
        (lines, unfinished)
    }

    fn begin(&self) -> Child {
        let mut command = self.client.command(&["backup"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until so many parts have been sent.
    fn wait_for_parts(&self, parts: usize) {
        let begun = Instant::now();
        while self.gate.count(|seen| seen.path.contains("partNumber=")) < parts {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "no parts are sent"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_keeps_what_was_saved_in_bounded_memory() {
    // Twelve parts: more than twice of what may be in memory at once.
    let world = World::new(280 * MIB);
    let child = world.begin();
    let pid = child.id();
    let watch = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = Moto::peak_memory(pid) {
            peak = now;
            std::thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let saved = ran(child.wait_with_output().unwrap());
    saved.expect(0, &["\"is_published\":true"]);
    let peak = watch.join().unwrap();
    assert!(peak < 240 << 20, "{} MiB", peak >> 20);
    let id = saved.json["id"].as_str().unwrap();
    let seen = world.gate.seen();
    let parts = seen
        .iter()
        .filter(|seen| seen.path.contains("partNumber="))
        .count();
    assert_eq!(parts, 12);
    assert!(
        seen.iter().all(|seen| seen.path.starts_with("/b")),
        "{seen:?}"
    );

    let names = [".tar.zst", ".txt"].map(|end| format!("fleet/blitzar/{id}{end}"));
    assert_eq!(world.objects(), (names.to_vec(), 0));
    assert_eq!(world.client.ids(), [id]);

    // One path is restored without reading the rest.
    world.gate.seen();
    let path = "/etc/machine-id";
    std::fs::remove_file(world.client.path("root/persist/etc/machine-id")).unwrap();
    world
        .client
        .run(&["restore", path, "--allow-unsigned", "--yes"])
        .expect(0, &[]);
    let moved: u64 = world.gate.seen().iter().map(|seen| seen.answered).sum();
    assert!(moved < 16 << 20, "{moved}");
}

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
fn servers_s3_a_key_that_may_not_delete_deletes_nothing() {
    let world = World::new(MIB);
    let keep = "keep = { last = 1 }\n";
    world.configure(&world.moto.appender, keep);
    world.client.run(&["backup", "--full"]).expect(0, &[]);
    world.client.run(&["backup", "--full"]).expect(0, &[]);
    let before = world.objects();
    let refused = world.client.run(&["archives", "prune"]);
    refused.expect(4, &["\"is_append_only\":true", "AccessDenied"]);
    assert_eq!((world.objects(), world.client.ids().len()), (before, 2));

    world.configure(&world.moto.owner, keep);
    world.client.run(&["archives", "prune"]).expect(0, &[]);
    assert_eq!((world.objects().0.len(), world.client.ids().len()), (2, 1));
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_a_fleet_is_listed_by_one_label_of_each() {
    let world = World::new(1000);
    let target = world.target(&world.moto.owner, &world.moto.url(world.gate.port), "");
    for machine in ["blitzar", "desk", "blitzar", "kiosk"] {
        world.client.configure(machine, &target);
        world.client.backup().expect(0, &[]);
    }
    world.gate.seen();
    let listed = world.client.run(&["archives", "list", "--machines"]);
    listed.expect(0, &[]);
    let machines = listed.json["machines"].as_array().unwrap();
    let found: Vec<_> = machines
        .iter()
        .map(|machine| {
            (
                machine["machine"].as_str().unwrap(),
                machine["archives"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(found, [("blitzar", 2), ("desk", 1), ("kiosk", 1)]);
    // One listing, and of each machine a label and the question for its signature.
    let seen = world.gate.seen();
    assert_eq!(seen.len(), 1 + 3 * 2, "{seen:?}");
    assert!(
        seen.iter().all(|seen| !seen.path.contains(".tar.")),
        "{seen:?}"
    );
    world.client.run(&["archives", "verify"]).expect(0, &[]);
    world.client.restores("b2");
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

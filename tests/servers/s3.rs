//! `s3://` against moto, through a gate that counts and misbehaves.

use crate::client::{Client, ran};
use crate::gate::Gate;
use crate::moto::Moto;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const MIB: usize = 1 << 20;

/// A server, a gate before it, and a machine.
pub(crate) struct World {
    pub(crate) moto: Moto,
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

    pub(crate) fn target(
        &self,
        (access, secret): &(String, String),
        url: &str,
        more: &str,
    ) -> String {
        let file = self.client.credentials((access, secret));
        format!(
            "[target.b2]\nurl = \"{url}\"\ncredentials = \"{}\"\n{more}",
            file.display()
        )
    }

    /// The names of all objects, and how many uploads are unfinished; asked of the server by
    /// another client than ours.
    pub(crate) fn objects(&self) -> (Vec<String>, usize) {
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

    pub(crate) fn begin(&self) -> Child {
        let mut command = self.client.command(&["backup"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until so many parts have been sent.
    pub(crate) fn wait_for_parts(&self, parts: usize) {
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
    assert!(machines.iter().all(|machine| machine["proven"].is_null()));
    // A drill of the last one is one small object more to read.
    world
        .client
        .run(&["drill"])
        .expect(0, &["\"is_published\":true"]);
    world.gate.seen();
    let listed = world.client.run(&["archives", "list", "--machines"]);
    assert_eq!(listed.json["machines"][2]["proven"]["against"], "manifest");
    let seen = world.gate.seen();
    assert_eq!(seen.len(), 1 + 3 * 2 + 1, "{seen:?}");
    world.client.run(&["archives", "verify"]).expect(0, &[]);
    world.client.restores("b2");
}

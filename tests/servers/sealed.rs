//! Encrypted archives at real servers: what is read of them, counted at the server.

use crate::client::Client;
use crate::gate::Seen;
use crate::s3::World;
use crate::sshd::Sshd;
use std::fs;

const MIB: usize = 1 << 20;
const KIB: u64 = 1 << 10;
/// How much of the machine does not compress.
const NOISE: usize = 8 * MIB;
/// A throw-away key of these tests alone: the private one, the public one.
const KEY: [&str; 2] = [
    "AGE-SECRET-KEY-18G3NWPWAFTWDLAMMGNEKLUYHRZC45MEAANNUJGCPFNTJM8SA0FTQVRSEVM",
    "age1c6g8zqta3kt4fguwtum5agm6cfv0s4gdhvxnppdeqxqhm5y69s7qye9q7t",
];

/// Adds to the machine's configuration that it encrypts, and some thousand small files.
fn encrypt(client: &Client) {
    let toml = "root/etc/state/state.toml";
    let text = fs::read_to_string(client.path(toml)).unwrap();
    let text = format!("{text}\n[archive]\nencrypt-to = [\"{}\"]\n", KEY[1]);
    client.write(toml, text.as_bytes());
    client.write("key", KEY[0].as_bytes());
    // Before and behind them lies what does not compress.
    let noise = fs::read(client.path("root/persist/var/lib/app/noise")).unwrap();
    client.write("root/persist/var/lib/app/tail", &noise);
    for n in 0..2000 {
        let name = format!("root/persist/var/lib/app/small/{:02}/{n:04}", n % 100);
        client.write(&name, format!("{n}\n").repeat(20).as_bytes());
    }
}

/// Lists, shows one archive, and restores one path of it; each time `moved` says what passed.
fn looks<T>(client: &Client, moved: &mut dyn FnMut() -> T) -> [T; 3] {
    client
        .backup()
        .expect(0, &["\"is_published\":true", KEY[1]]);
    let key = client.path("key");
    let key = key.to_str().unwrap();
    moved();
    client.run(&["archives", "list"]).expect(0, &[KEY[1]]);
    let list = moved();
    client
        .run(&["archives", "show", "--identity", key])
        .expect(0, &["\"machine\":\"blitzar\""]);
    let show = moved();
    let path = "/var/lib/app/small/07/1107";
    let file = client.path("root/persist").join(&path[1..]);
    fs::remove_file(&file).unwrap();
    let restore = [
        "restore",
        path,
        "--allow-unsigned",
        "--yes",
        "--identity",
        key,
    ];
    client.run(&restore).expect(0, &[]);
    assert_eq!(fs::read_to_string(file).unwrap(), "1107\n".repeat(20));
    let restored = moved();
    client
        .run(&["archives", "verify", "--identity", key])
        .expect(0, &["\"damage\":null"]);
    [list, show, restored]
}

#[test]
#[ignore = "needs moto"]
fn servers_s3_of_an_encrypted_archive_is_read_what_is_needed() {
    let world = World::new(NOISE);
    encrypt(&world.client);
    let gate = &world.gate;
    let [list, show, restored] = looks(&world.client, &mut || gate.seen());
    let data = |seen: &[Seen]| {
        let of_data = seen.iter().filter(|seen| seen.path.ends_with(".age"));
        let bytes: Vec<u64> = of_data.map(|seen| seen.answered).collect();
        (bytes.len(), bytes.iter().sum::<u64>())
    };
    // A list reads labels. A look costs the beginning, the end and little else.
    assert_eq!(data(&list), (0, 0), "{list:?}");
    let (requests, bytes) = data(&show);
    assert!(requests <= 3 && bytes < 512 * KIB, "{show:?}");
    // A path is looked for twice: for the plan that a person is shown, and when it is restored.
    let (requests, bytes) = data(&restored);
    assert!(requests <= 10 && bytes < 2048 * KIB, "{restored:?}");
}

#[test]
#[ignore = "needs sshd and root"]
fn servers_sftp_of_an_encrypted_archive_is_read_what_is_needed() {
    // The server itself notes how much was read of each file.
    let log = tempfile::NamedTempFile::new().unwrap();
    let sshd = Sshd::start(&format!(
        "ForceCommand /usr/lib/openssh/sftp-server -e -l INFO 2>>{}",
        log.path().display()
    ));
    let client = Client::new("blitzar", NOISE, &sshd.target("key", "known_hosts"));
    encrypt(&client);
    let mut before = 0;
    let [list, show, restored] = looks(&client, &mut || {
        let log = fs::read_to_string(log.path()).unwrap();
        let closed = log
            .lines()
            .filter(|line| line.contains(".age\" bytes read"));
        let read = closed.map(|line| {
            let words = line.split("bytes read ").nth(1).unwrap();
            words.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        let now: u64 = read.sum();
        now - std::mem::replace(&mut before, now)
    });
    assert_eq!(list, 0);
    assert!(show > 0 && show < 512 * KIB, "{show}");
    assert!(restored > 0 && restored < 2048 * KIB, "{restored}");
}

//! The whole conversation of a restore onto fresh hardware, at a terminal, with a server that keeps the
//! archives of two machines.

use crate::client::Client;
use crate::gate::Gate;
use crate::moto::Moto;
use crate::sshd::Sshd;
use state_linux::mount;
use state_linux::{mountinfo, namespace};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A throw-away key of these tests alone: the private one, the public one.
const KEY: [&str; 2] = [
    "AGE-SECRET-KEY-18G3NWPWAFTWDLAMMGNEKLUYHRZC45MEAANNUJGCPFNTJM8SA0FTQVRSEVM",
    "age1c6g8zqta3kt4fguwtum5agm6cfv0s4gdhvxnppdeqxqhm5y69s7qye9q7t",
];

/// Two machines at one target, and an empty disk.
struct Stage {
    machines: [Client; 2],
    /// The ids of the first machine's archives, the newest first.
    ids: [String; 2],
    /// The fingerprint of the key that signs.
    signer: String,
    url: String,
    /// The words that lead to it.
    access: String,
}

impl Stage {
    /// `target` is its table in the configuration.
    fn new(url: String, access: String, target: &str) -> Self {
        namespace::own_mounts().expect("this needs root");
        let machines = ["blitzar", "quasar"].map(|name| {
            let client = Client::new(name, 100_000, "");
            let key = client.path("root/etc/ssh/key");
            fs::create_dir_all(key.parent().unwrap()).unwrap();
            // One key for both: who knows it knows both machines.
            let run = ["-q", "-t", "ed25519", "-N", "", "-f"];
            ran(Command::new("ssh-keygen").args(run).arg(&key));
            let more = format!(
                "[archive]\nencrypt-to = [\"{}\"]\nsign-with = \"/etc/ssh/key\"\n{target}",
                KEY[1]
            );
            client.configure(name, &more);
            let text = fs::read(client.path("root/etc/state/state.toml")).unwrap();
            client.write("root/persist/etc/state/state.toml", &text);
            client
        });
        let first = &machines[0];
        let backup = |client: &Client| {
            let saved = client.backup();
            saved.expect(0, &["\"is_published\":true"]);
            saved.json["id"].as_str().unwrap().to_owned()
        };
        let old = backup(first);
        first.write("root/persist/var/lib/app/more", b"more");
        let new = backup(first);
        backup(&machines[1]);
        let key = first.write("key", KEY[0].as_bytes());
        fs::set_permissions(key, PermissionsExt::from_mode(0o600)).unwrap();
        File::create(first.path("new.img"))
            .unwrap()
            .set_len(400 << 20)
            .unwrap();
        let shown = Command::new("ssh-keygen")
            .args(["-l", "-f"])
            .arg(first.path("root/etc/ssh/key.pub"))
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        Self {
            ids: [new, old],
            signer: shown.split(' ').nth(1).unwrap().to_owned(),
            machines,
            url,
            access,
        }
    }

    fn dir(&self) -> PathBuf {
        self.machines[0].path("")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir().join("mnt").join(path)
    }

    /// What a terminal shows of it, and how it ends. `DIR` stands for a directory that differs from run
    /// to run.
    fn restore(&self, talk: &[[&str; 2]], words: &str) -> (String, Option<i32>) {
        let converse = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/saving/bin/converse");
        let script = format!(
            "{} --color never --no-progress restore --from '{}' {} {words}",
            env!("CARGO_BIN_EXE_state"),
            self.url,
            self.access
        );
        let run = Command::new(converse)
            .arg(serde_json::to_string(talk).unwrap())
            .args(["bash", "-c", &script])
            .current_dir(self.dir())
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .output()
            .unwrap();
        let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
        let dir = self.dir().display().to_string();
        (
            said.replace(dir.trim_end_matches('/'), "DIR"),
            run.status.code(),
        )
    }

    fn is_untouched(&self) {
        let image = fs::read(self.dir().join("new.img")).unwrap();
        assert!(image.iter().all(|byte| *byte == 0));
    }

    fn unmount(&self) {
        let mounts = mountinfo::read().unwrap();
        let below = |mount: &&mountinfo::Mount| mount.at.starts_with(self.at(""));
        for mount in mounts.iter().rev().filter(below) {
            mount::unmount(&mount.at).unwrap();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn ran(command: &mut Command) {
    let run = command.output().unwrap();
    assert!(run.status.success(), "{run:?}");
}

/// Every question that is asked, in their order.
fn answers(last: &'static str) -> Vec<[&'static str; 2]> {
    vec![
        ["Which machine? ", "1\n"],
        ["Which archive? [1] ", "\n"],
        ["Is that the key of blitzar? [y/N] ", "y\n"],
        ["onto it? [y/N] ", last],
    ]
}

const DISK: &str = "--provision new.img --backend tmpfs --into mnt --identity key";

/// The program works on this machine here: two at once would find each other's lock.
static TURN: Mutex<()> = Mutex::new(());

fn a_stranger_is_led_through(stage: &Stage) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (signer, [new, old]) = (&stage.signer, &stage.ids);
    // What is missing is said before anything is asked.
    assert_eq!(
        stage.restore(&[], "--provision new.img --into mnt --identity key"),
        (
            "error: nothing says what root is to live on\n\
             hint: --backend btrfs, zfs, tmpfs or overlay\n"
                .into(),
            Some(2)
        )
    );
    let no_key = format!(
        "error: the archive {old}: it is encrypted to {}\n\
         hint: name a file with the age key (AGE-SECRET-KEY-…) of one of them: --identity FILE, or \
         [archive] identity-file\n",
        KEY[1]
    );
    let (said, status) = stage.restore(&answers("")[..2], &DISK.replace("--identity key", ""));
    assert!(said.ends_with(&no_key) && status == Some(12), "{said}");
    let mut stranger = answers("");
    stranger.truncate(3);
    stranger[2][1] = "n\n";
    let (said, status) = stage.restore(&stranger, DISK);
    let unknown = format!("is signed by {signer}, which nothing here vouches for\n");
    assert!(said.contains(&unknown) && status == Some(12), "{said}");
    let (said, status) = stage.restore(&answers("n\n"), DISK);
    let end = "error: not confirmed: everything stays as it is\n";
    assert!(said.ends_with(end) && status == Some(4), "{said}");
    stage.is_untouched();

    let (said, status) = stage.restore(&answers("y\n"), DISK);
    assert_eq!(status, Some(0), "{said}");
    let mut rest = said.as_str();
    for part in [
        "Machines\n1  blitzar  ".to_owned(),
        "\n2  quasar   ".into(),
        format!("\nArchives of blitzar\n1  {new}  "),
        format!("\n2  {old}  "),
        format!("The archive {new} is signed by {signer}. Compare it with your recovery sheet, "),
        "To lay out DIR/new.img (400 MiB)\n  1. make a filesystem, ext4, on /dev/loop".into(),
        format!("\nTo restore onto it\narchive  {new} of blitzar, made "),
        format!("\nsigned   by {signer}, trusted for blitzar\n"),
        "would restore ".into(),
        "\nLaid out DIR/new.img (400 MiB), mounted at DIR/mnt\n".into(),
        format!("\nsigned   by {signer}, trusted for blitzar\n"),
        "restored DIR/mnt/persist: ".into(),
        "\nfitted   [root] in DIR/mnt/persist/etc/state/state.toml to the new disk\n".into(),
        "\nLines for /etc/fstab\n  tmpfs / tmpfs ".into(),
        "\nLeft to do\n  * the system itself is in no archive\n".into(),
        "\n`state --root DIR/mnt doctor`\n".into(),
    ] {
        let Some((_, after)) = rest.split_once(&part) else {
            panic!("{part:?} is not in {rest}");
        };
        rest = after;
    }
    assert_eq!(
        fs::read(stage.at("persist/var/lib/app/more")).unwrap(),
        b"more"
    );
    let talk = [
        answers("")[2],
        ["Go on with its configuration and its system? [y/N] ", "y\n"],
    ];
    let (said, status) = stage.restore(&talk, &format!("{DISK} --machine blitzar"));
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(", by an earlier run, "), "{said}");
}

#[test]
#[ignore = "needs sshd, python3 and a loop device"]
fn servers_sftp_a_stranger_is_led_through_a_restore() {
    let sshd = Sshd::start("");
    let access = |key: &str, known: &str| {
        let path = |name| sshd.path(name).display().to_string();
        format!("--ssh-key {} --known-hosts {}", path(key), path(known))
    };
    let target = sshd.target("key", "known_hosts");
    let url = sshd.url(&sshd.objects());
    let mut stage = Stage::new(url.clone(), access("key", "known_hosts"), &target);
    a_stranger_is_led_through(&stage);
    stage.unmount();

    // What keeps anybody from getting there: a hint for each.
    let port = url.rsplit_once(':').unwrap().1.split('/').next().unwrap();
    let scan = format!("`ssh-keyscan -p {port} 127.0.0.1` shows it");
    for (change, words) in [
        (access("stranger", "known_hosts"), "does not accept the key"),
        (access("key", "other_hosts"), "the server is another one"),
        (access("key", "absent"), &scan),
        (access("absent", "known_hosts"), "opening the key"),
    ] {
        stage.access = change;
        let (said, status) = stage.restore(&[], DISK);
        assert!(said.contains(words) && status == Some(1), "{said}");
    }
    stage.access = access("key", "known_hosts");
    for (url, words, exit) in [
        (
            "sftp://root@127.0.0.1:1/srv".to_owned(),
            "does the server run, at that port?",
            1,
        ),
        (
            format!("{url}/blitzar"),
            "does the URL name the one above?",
            10,
        ),
        (format!("{url}/nowhere"), "no such directory", 1),
    ] {
        stage.url = url;
        let (said, status) = stage.restore(&[], DISK);
        assert!(said.contains(words) && status == Some(exit), "{said}");
    }
}

#[test]
#[ignore = "needs moto, python3 and a loop device"]
fn servers_s3_a_stranger_is_led_through_a_restore() {
    let moto = Moto::start();
    let keys = Client::new("keys", 1, "");
    let file = keys.credentials((&moto.owner.0, &moto.owner.1));
    let file = file.display().to_string();
    let gate = Gate::open(moto.port);
    let url = moto.url(gate.port);
    let target = format!("[target.b2]\nurl = \"{url}\"\ncredentials = \"{file}\"\n");
    let mut stage = Stage::new(url.clone(), format!("--credentials {file}"), &target);
    a_stranger_is_led_through(&stage);
    stage.unmount();

    let wrong = keys.credentials((&moto.owner.0, crate::moto::SECRET));
    for (url, access, words) in [
        (
            url.replace("bkt", "none"),
            stage.access.clone(),
            "make the bucket, or correct the URL",
        ),
        (url.clone(), String::new(), "AWS_ACCESS_KEY_ID"),
        (
            url,
            format!("--credentials {}", wrong.display()),
            "look at the credentials",
        ),
    ] {
        (stage.url, stage.access) = (url, access);
        let (said, status) = stage.restore(&[], DISK);
        assert!(
            said.contains(words) && status == Some(1),
            "{status:?} {said}"
        );
        assert!(!said.contains(crate::moto::SECRET), "{said}");
    }
}

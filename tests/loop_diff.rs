//! `state mount`, `diff`, `roots diff` and `roots recover` on a machine whose root is a real
//! btrfs: what is seen below mounts and in nested subvolumes, renames, and the way back.

use serde_json::Value;
use state_linux::mount;
use state_testing::disk::{Disk, subvolume};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A machine with root and store as subvolumes of one btrfs on a loop device. Mounts are in a
/// namespace of the test's thread and the image has no name: nothing is left behind.
struct Machine {
    dir: tempfile::TempDir,
    disk: Disk,
}

impl Machine {
    fn new() -> Self {
        let disk = Disk::new("btrfs", 256);
        let dir = tempfile::tempdir().unwrap();
        let machine = Self { dir, disk };
        machine.mount("/", "top");
        for name in ["root", "persist"] {
            subvolume(&machine.at("top").join(name));
        }
        machine.write("top/root/usr/sbin/init", "init");
        std::os::unix::fs::symlink("usr/sbin", machine.at("top/root/sbin")).unwrap();
        fs::create_dir_all(machine.at("initrd/etc")).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    fn mount(&self, subvolume: &str, at: &str) {
        // It ends with the thread's mounts, or with `shut_down`.
        std::mem::forget(self.disk.mount(Some(subvolume), &self.at(at)));
    }

    /// What a boot mounts.
    fn boot(&self) {
        self.mount("root", "machine");
        self.mount("persist", "machine/persist");
    }

    fn shut_down(&self) {
        mount::unmount_lazily(&self.at("machine")).unwrap();
    }

    fn state(&self, root: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state"));
        command
            .arg("--root")
            .arg(self.at(root))
            .arg("--config")
            .arg(self.at("state.toml"));
        command.args(args).stdin(Stdio::null()).output().unwrap()
    }

    fn done(&self, root: &str, args: &[&str]) -> String {
        let output = self.state(root, args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn lost(&self, args: &[&str]) -> Vec<String> {
        let told = self.done("machine", args);
        told.split_terminator('\0').map(str::to_owned).collect()
    }
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_a_reset_throws_away_is_told_before_and_brought_back_after() {
    let machine = Machine::new();
    let config = format!(
        "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
         [persist.\"/persist\"]\ndirectories = [\"/var/lib/kept\", \"/etc/app\"]\n",
        machine.disk.device().display()
    );
    machine.write("state.toml", &config);
    machine.write("top/root/etc/app/installed", "by a package");
    machine.write("top/root/etc/renamed from", "the same inode");
    machine.write("top/root/etc/mode", "x");
    machine.write("top/root/etc/gone", "x");
    for dir in ["persist", "srv", "var/lib/machines"] {
        fs::create_dir_all(machine.at("top/root").join(dir)).unwrap();
    }
    machine.done("initrd", &["blank", "take", "--yes"]);

    machine.boot();
    // The store has nothing yet: what blank brought to the path fills it.
    machine.done("machine", &["mount"]);
    assert_eq!(
        fs::read(machine.at("top/persist/etc/app/installed")).unwrap(),
        b"by a package"
    );
    machine.write("machine/etc/app/kept", "in the store");
    machine.write("machine/var/lib/kept/too", "in the store");
    let nothing = machine.done("machine", &["diff"]);
    assert!(
        nothing.starts_with("nothing would be lost at the next reset"),
        "{nothing}"
    );

    let etc = machine.at("machine/etc");
    fs::rename(etc.join("renamed from"), etc.join("renamed to")).unwrap();
    fs::set_permissions(etc.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(etc.join("gone")).unwrap();
    machine.write("machine/srv/a b\n/file", "precious");
    machine.write("top/root/var/lib/kept/hidden", "below the mount");
    subvolume(&machine.at("machine/srv/nested"));
    machine.write("machine/srv/nested/in it", "precious too");
    let expected = [
        "/etc/mode",
        "/etc/renamed to",
        "/srv/a b\n",
        "/srv/a b\n/file",
        "/srv/nested",
        "/srv/nested/in it",
        "/var/lib/kept/hidden",
    ];
    assert_eq!(machine.lost(&["diff", "-0"]), expected);
    let report: Value =
        serde_json::from_str(&machine.done("machine", &["diff", "--json", "/etc"])).unwrap();
    let told: Vec<_> = (report["changes"].as_array().unwrap().iter())
        .map(|change| format!("{} {} {}", change["path"], change["what"], change["from"]))
        .collect();
    let renamed = r#""/etc/renamed to" "renamed" "/etc/renamed from""#;
    assert_eq!(
        told,
        [
            r#""/etc/gone" "deleted" null"#,
            r#""/etc/mode" "changed" null"#,
            renamed
        ]
    );

    machine.shut_down();
    machine.done("initrd", &["reset"]);
    machine.boot();
    assert_eq!(machine.lost(&["roots", "diff", "latest", "-0"]), expected);
    assert!(!machine.at("machine/srv/nested").exists());
    machine.done("machine", &["roots", "recover", "/srv/nested"]);
    machine.done(
        "machine",
        &["roots", "recover", "/etc/mode", "--to", "/srv/mode of then"],
    );
    assert_eq!(
        fs::read(machine.at("machine/srv/nested/in it")).unwrap(),
        b"precious too"
    );
    let recovered = fs::metadata(machine.at("machine/srv/mode of then")).unwrap();
    assert_eq!(recovered.mode() & 0o7777, 0o600);
    let refused = machine.state("machine", &["roots", "recover", "/etc/mode"]);
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    machine.done("machine", &["mount"]);
    assert_eq!(
        fs::read(machine.at("machine/etc/app/kept")).unwrap(),
        b"in the store"
    );
    machine.shut_down();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_every_boot_makes_anew_is_learned_and_told_again_when_it_differs() {
    let machine = Machine::new();
    let config = format!(
        "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
         [persist.\"/persist\"]\n",
        machine.disk.device().display()
    );
    machine.write("state.toml", &config);
    fs::create_dir_all(machine.at("top/root/persist")).unwrap();
    machine.done("initrd", &["blank", "take", "--yes"]);
    let learned = machine.at("top/persist/.state/learned.json");
    for (boot, expected) in [
        vec!["/srv/anew", "/srv/anew/of course", "/srv/boot 0"],
        vec!["/srv/anew", "/srv/anew/of course", "/srv/boot 1"],
        vec!["/srv/boot 2"],
    ]
    .into_iter()
    .enumerate()
    {
        machine.boot();
        machine.done("machine", &["roots", "gc"]);
        assert_eq!(learned.exists(), boot > 0);
        machine.write("machine/srv/anew/of course", "the same every time");
        machine.write(&format!("machine/srv/boot {boot}"), "this time");
        assert_eq!(machine.lost(&["diff", "-0"]), expected, "boot {boot}");
        if boot == 2 {
            let said = machine.done("machine", &["diff", "--all"]);
            assert!(said.contains("the same after every reset"), "{said}");
            machine.write("machine/srv/anew/of course", "not this time");
            assert_eq!(
                machine.lost(&["diff", "-0"]),
                ["/srv/anew/of course", "/srv/boot 2"]
            );
        }
        machine.shut_down();
        machine.done("initrd", &["reset"]);
    }
    // What is broken there teaches nothing and stops nobody.
    fs::write(&learned, "{").unwrap();
    machine.boot();
    machine.write("machine/srv/anew/of course", "the same every time");
    assert_eq!(
        machine.lost(&["diff", "-0"]),
        ["/srv/anew", "/srv/anew/of course"]
    );
    machine.done("machine", &["roots", "gc"]);
    machine.shut_down();
}

#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_to_keep_is_decided_on_a_terminal() {
    let machine = Machine::new();
    let config = format!(
        "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n\
         [persist.\"/persist\"] # mine\n",
        machine.disk.device().display()
    );
    machine.write("state.toml", &config);
    for dir in ["persist", "srv"] {
        fs::create_dir_all(machine.at("top/root").join(dir)).unwrap();
    }
    machine.done("initrd", &["blank", "take", "--yes"]);
    machine.boot();
    machine.write("machine/srv/app/data", "precious");
    machine.write("machine/srv/noise", "");

    let refused = machine.state("machine", &["diff", "--interactive"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let command = format!(
        "stty rows 24 cols 80; {} --root {} --config {} diff --interactive",
        env!("CARGO_BIN_EXE_state"),
        machine.at("machine").display(),
        machine.at("state.toml").display()
    );
    let on_a_terminal = |keys: &[&str]| {
        let mut script = Command::new("timeout")
            .args(["60", "script", "-qec", &command, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keyboard = script.stdin.take().unwrap();
        let mut screen = script.stdout.take().unwrap();
        let mut said = Vec::new();
        let mut block = [0; 4096];
        // Keys count from when there is something to see.
        while !said.windows(11).any(|seen| seen == b"throws away") {
            let length = screen.read(&mut block).unwrap();
            assert_ne!(length, 0, "{}", String::from_utf8_lossy(&said));
            said.extend_from_slice(&block[..length]);
        }
        for key in keys {
            keyboard.write_all(key.as_bytes()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        screen.read_to_end(&mut said).unwrap();
        let code = script.wait().unwrap().code();
        (code, String::from_utf8(said).unwrap())
    };
    let (down, enter) = ("\x1b[B", "\r");
    // Nothing is done without the last page.
    let (code, _) = on_a_terminal(&[down, "k", "q", "q"]);
    assert_eq!(code, Some(0));
    assert_eq!(
        fs::read_to_string(machine.at("state.toml")).unwrap(),
        config
    );

    let (code, said) = on_a_terminal(&[down, enter, down, "k", "i", "q", "y"]);
    assert_eq!(code, Some(0), "{said}");
    let (screens, rest) = said.rsplit_once("\x1b[?1049l").expect("the screen is left");
    assert!(screens.contains("doing nothing"), "{screens}");
    assert!(rest.contains("/srv/app"), "{rest}");
    let edited = fs::read_to_string(machine.at("state.toml")).unwrap();
    let parts = [
        "# mine",
        "\"/srv/app\"",
        "[diff]",
        "ignore = [\"/srv/noise\"]",
    ];
    assert!(parts.iter().all(|part| edited.contains(part)), "{edited}");
    let kept = fs::read(machine.at("top/persist/srv/app/data")).unwrap();
    assert_eq!(kept, b"precious");
    let nothing = machine.done("machine", &["diff"]);
    // What lies below the new mount is thrown away: the store has it.
    assert!(!nothing.contains("noise"), "{nothing}");
    machine.shut_down();
}

/// What `keep` copied stands below the mount until the reset; nobody loses it.
#[test]
#[ignore = "needs root and a loop device"]
fn loop_what_was_kept_is_not_told_until_it_is_dropped() {
    let machine = Machine::new();
    let config = format!(
        "[root]\nbackend = \"btrfs\"\ndevice = \"{}\"\nsubvolume = \"root\"\n[persist.\"/persist\"]\n",
        machine.disk.device().display()
    );
    machine.write("state.toml", &config);
    fs::create_dir_all(machine.at("top/root/persist")).unwrap();
    machine.done("initrd", &["blank", "take", "--yes"]);
    machine.boot();
    machine.write("machine/srv/big/file", "precious");
    machine.write("machine/srv/other", "not kept");
    let diff = ["diff", "-0"];
    assert_eq!(
        machine.lost(&diff),
        ["/srv/big", "/srv/big/file", "/srv/other"]
    );
    machine.done("machine", &["keep", "/srv/big"]);
    assert_eq!(machine.lost(&diff), ["/srv/other"]);
    machine.done("machine", &["drop", "/srv/big"]);
    // The directory itself is still a mount's place.
    assert_eq!(machine.lost(&diff), ["/srv/big/file", "/srv/other"]);
}

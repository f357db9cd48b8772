//! Where the configuration is looked for, and what is merged with it.

use state::cli::{exit, output};
use state::config;
use state::context::Context;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A machine whose `/persist` is mounted.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.file(
            "proc/self/mountinfo",
            "20 1 0:30 / / rw - tmpfs none rw\n\
             30 20 254:1 / /persist rw - ext4 /dev/vda1 rw\n\
             31 20 254:2 / /mnt/a\\040b rw - ext4 /dev/vdb1 rw\n\
             32 20 0:31 / /remote rw - nfs4 server:/ rw\n\
             33 20 8:1 / /media/ann/stick rw,nosuid - ext4 /dev/sda1 rw\n",
        );
        machine
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, config_file: Option<&Path>) -> Result<config::Config, String> {
        let cx = Context {
            root_dir: self.0.path().to_owned(),
            config_file: config_file.map(Path::to_owned),
            now: chrono::DateTime::UNIX_EPOCH,
            boot_id: String::new(),
            interrupt: &state_api::Never,
            dry_run: true,
        };
        config::read(&cx).map_err(|error| {
            let told = output::told_text(&exit::tell(&error.into()));
            told.replace(self.0.path().to_str().unwrap(), "ROOT")
        })
    }

    /// The paths of the files that were read, and the directories of `/persist`.
    fn outcome(&self) -> (Vec<String>, Vec<String>) {
        let config = self.read(None).unwrap();
        let files = config.files.iter().map(|file| {
            let file = file.strip_prefix(self.0.path()).unwrap();
            file.to_str().unwrap().to_owned()
        });
        let store = &config.settings.persist[Path::new("/persist")];
        let kept = store
            .directories
            .iter()
            .map(|entry| entry.path().to_str().unwrap().to_owned());
        (files.collect(), kept.collect())
    }
}

const MAIN: &str = "[persist.\"/persist\"]\ndirectories = [\"/var/log\"]\n";
const KEPT: &str = "[persist.\"/persist\"]\ndirectories = [\"/var/lib/foo\"]\n";

#[test]
fn it_is_read_from_etc_with_what_lies_beside_it() {
    let machine = Machine::new();
    machine.file("etc/state/state.toml", MAIN);
    machine.file("etc/state/state.d/kept.toml", KEPT);
    machine.file("etc/state/state.d/kept.toml.bak", "rubbish = true\n");
    machine.file("persist/etc/state/state.toml", "rubbish = true\n");
    assert_eq!(
        machine.outcome(),
        (
            vec![
                "etc/state/state.toml".into(),
                "etc/state/state.d/kept.toml".into()
            ],
            vec!["/var/log".into(), "/var/lib/foo".into()],
        )
    );
}

#[test]
fn else_from_a_mounted_store() {
    let machine = Machine::new();
    machine.file("persist/etc/state/state.toml", MAIN);
    machine.file("remote/etc/state/state.toml", "rubbish = true\n");
    machine.file("media/ann/stick/etc/state/state.toml", "rubbish = true\n");
    assert_eq!(machine.outcome().0, ["persist/etc/state/state.toml"]);
}

#[test]
fn several_copies_are_not_chosen_among() {
    let machine = Machine::new();
    machine.file("persist/etc/state/state.toml", MAIN);
    let other = machine.file("mnt/a b/etc/state/state.toml", MAIN);
    assert_eq!(
        machine.read(None).unwrap_err(),
        "\
error: ROOT/etc/state/state.toml does not exist, and several stores have a copy: \
ROOT/persist/etc/state/state.toml, ROOT/mnt/a b/etc/state/state.toml
hint: say which with `--config FILE`
"
    );
    assert_eq!(machine.read(Some(&other)).unwrap().files, [other]);
}

/// On NixOS the file is a link into the Nix store, where nothing can be put beside it; what `keep`
/// writes lies beside the store's copy, and may be seen at both places.
#[test]
fn what_is_kept_on_nixos_is_merged_once() {
    let machine = Machine::new();
    let rendered = machine.file("nix/store/abc-state.toml", MAIN);
    let kept = machine.file("persist/etc/state/state.d/kept.toml", KEPT);
    fs::create_dir_all(machine.0.path().join("etc/state/state.d")).unwrap();
    symlink(rendered, machine.0.path().join("etc/state/state.toml")).unwrap();
    symlink(kept, machine.0.path().join("etc/state/state.d/kept.toml")).unwrap();
    assert_eq!(machine.outcome().1, ["/var/log", "/var/lib/foo"]);
}

#[test]
fn what_is_said_twice_is_told_with_both_places() {
    let machine = Machine::new();
    machine.file("etc/state/state.toml", "[machine]\nname = \"a\"\n");
    machine.file("etc/state/state.d/10.toml", "machine.name = \"b\"\n");
    machine.file(
        "etc/state/state.d/20.toml",
        "[persist.\"/persist\"]\nfiles = [\"/a\", \"/a\"]\n",
    );
    assert_eq!(
        machine.read(None).unwrap_err(),
        "\
error: ROOT/etc/state/state.d/10.toml:1:9: `name` is said in two files
  |
1 | machine.name = \"b\"
  |         ^^^^
  |
  : ROOT/etc/state/state.toml:2:1
2 | name = \"a\"
  | ^^^^ here first
hint: only lists and tables are joined; remove one of the two
"
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let machine = Machine::new();
    let latin = machine.0.path().join("latin.toml");
    fs::write(&latin, b"[machine]\nname = \"caf\xe9\"\n").unwrap();
    let directory = machine.0.path().join("proc");
    for (file, told) in [
        (
            latin,
            "error: ROOT/latin.toml:2: not UTF-8\n\
             hint: TOML is UTF-8; a path with other bytes cannot be declared\n",
        ),
        (directory, "error: reading ROOT/proc: is a directory\n"),
        (
            machine.0.path().join("none"),
            "error: reading ROOT/none: no such file or directory\n",
        ),
    ] {
        assert_eq!(machine.read(Some(&file)).unwrap_err(), told);
    }
}

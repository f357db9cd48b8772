//! A machine below a directory: a configuration, stores, a target.

use chrono::DateTime;
use state::context::Context;
use state::ops::{archives, backup, restore};
use state::progress::Silent;
use state_api::{Interrupt, Never};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Machine {
    dir: tempfile::TempDir,
    pub(crate) now: Cell<i64>,
}

/// Says stop after so many questions.
pub(crate) struct After(pub(crate) AtomicU64);

impl Interrupt for After {
    fn is_set(&self) -> bool {
        let next = |left: u64| Some(left.saturating_sub(1));
        let left = (self.0).fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        left == Ok(0)
    }
}

impl Machine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Self {
            dir,
            now: Cell::new(1_800_000_000),
        };
        fs::create_dir(machine.path("usb")).unwrap();
        machine.write(
            "root/persist/etc/machine-id",
            "0123456789abcdef0123456789abcdef\n",
        );
        machine.write("root/persist/var/lib/app/data", "data");
        machine.write(
            "root/persist/var/lib/app/sub/more",
            &"more ".repeat(100_000),
        );
        machine.write("root/persist/orphan", "nobody declared this");
        machine.configure("");
        machine
    }

    pub(crate) fn configure(&self, more: &str) {
        let url = self.path("usb");
        self.write(
            "root/etc/state/state.toml",
            &format!(
                "version = 1\n[machine]\nname = \"blitzar\"\n[target.usb]\nurl = \"file://{}\"\n\
                 [persist.\"/persist\"]\ndirectories = [\"/var/lib/app\"]\n\
                 files = [\"/etc/machine-id\"]\n{more}\n",
                url.display()
            ),
        );
    }

    /// The same, with more keys in the target's table.
    pub(crate) fn configure_target(&self, keys: &str) {
        self.configure("");
        let text = self.read("root/etc/state/state.toml");
        let text = text.replace("[persist.", &format!("{keys}\n[persist."));
        self.write("root/etc/state/state.toml", &text);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("root/persist")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn context<'a>(&self, interrupt: &'a dyn Interrupt) -> Context<'a> {
        self.now.set(self.now.get() + 60);
        Context {
            root_dir: self.path("root"),
            config_file: None,
            now: DateTime::from_timestamp(self.now.get(), 0).unwrap(),
            boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
            interrupt,
            dry_run: false,
        }
    }

    pub(crate) fn backup(&self) -> anyhow::Result<backup::Report> {
        self.backup_until(&Never)
    }

    pub(crate) fn backup_until(&self, interrupt: &dyn Interrupt) -> anyhow::Result<backup::Report> {
        let options = backup::Options {
            full: true,
            ..Default::default()
        };
        backup::run(&self.context(interrupt), &options, &Silent)
    }

    /// An archive that builds on the last one, if anything changed.
    pub(crate) fn backup_next(&self) -> backup::Report {
        backup::run(&self.context(&Never), &backup::Options::default(), &Silent).unwrap()
    }

    /// What is in the store's reserved directory beside what backups and restores remember.
    pub(crate) fn reserved(&self) -> Vec<String> {
        let names = fs::read_dir(self.store().join(".state"))
            .into_iter()
            .flatten();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| !["archive", "ledger.json", "restored.json"].contains(&name.as_str()))
            .collect()
    }

    pub(crate) fn restore(&self) -> anyhow::Result<restore::Report> {
        self.restore_with(&Never, |_| {})
    }

    pub(crate) fn restore_with(
        &self,
        interrupt: &dyn Interrupt,
        change: impl FnOnce(&mut restore::Options),
    ) -> anyhow::Result<restore::Report> {
        let mut options = restore::Options {
            allow_unsigned: true,
            ..Default::default()
        };
        change(&mut options);
        restore::run(&self.context(interrupt), &options, &Silent)
    }

    /// Whether a script for bash succeeds where the archives are, and what it says.
    #[cfg(feature = "offsite")]
    pub(crate) fn by_hand(&self, script: &str) -> (bool, String) {
        let run = std::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.path("usb/blitzar"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        (run.status.success(), said)
    }

    pub(crate) fn list(&self) -> archives::List {
        archives::list(&self.context(&Never), &archives::Which::default()).unwrap()
    }

    /// The names of all objects at the target, hidden ones included.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut names = Vec::new();
        for machine in fs::read_dir(self.path("usb")).unwrap() {
            for object in fs::read_dir(machine.unwrap().path()).unwrap() {
                names.push(object.unwrap().file_name().into_string().unwrap());
            }
        }
        names.sort();
        names
    }

    /// The data object of an archive, to be damaged.
    pub(crate) fn data(&self, id: &str) -> PathBuf {
        self.path("usb/blitzar").join(format!("{id}.tar.zst"))
    }
}

/// Everything in a directory but what is ours.
pub(crate) fn note(dir: &Path) -> state::inventory::Inventory {
    let view = state_api::View::live(fs::File::open(dir).unwrap().into());
    state::inventory::take(&view, &|path| path == Path::new(".state"), &Never).unwrap()
}

/// The exit code that the command line gives for this failure.
pub(crate) fn exit(error: &anyhow::Error) -> u8 {
    state::cli::exit::exit_of(error).code()
}

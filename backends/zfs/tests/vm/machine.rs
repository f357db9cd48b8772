//! A throw-away pool laid out like an erase-your-darlings machine.
#![allow(dead_code)] // each of the test programs uses its part

use state_api::{
    Apply as _, Never, PastRootName, Plan, Reset, Retire, RootBackend, RootFacts, Source, execute,
};
use state_zfs::{Live, Step, Survey, Zfs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program and gives what it printed; a failure fails the test.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn zfs(args: &[&str]) -> String {
    run("zfs", args)
}

/// One machine. Its pool goes with it, also when a test fails.
pub(crate) struct Machine {
    pub(crate) pool: String,
    pub(crate) root: String,
    directory: tempfile::TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.pool.is_empty() {
            return; // it stays
        }
        let destroyed = Command::new("zpool")
            .args(["destroy", "-f", &self.pool])
            .status();
        if !destroyed.is_ok_and(|status| status.success()) && !std::thread::panicking() {
            panic!("{} cannot be destroyed: something still uses it", self.pool);
        }
    }
}

impl Machine {
    /// A pool on a file, with nothing in it.
    pub(crate) fn bare(root: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        fs::File::create(&disk).unwrap().set_len(512 << 20).unwrap();
        let mut machine = Self::on(disk.to_str().unwrap(), root);
        machine.directory = directory;
        machine
    }

    /// The same on a device.
    pub(crate) fn on(device: &str, root: &str) -> Self {
        let (pool, _) = root.split_once('/').unwrap();
        let none = ["-O", "mountpoint=none", "-O", "atime=off"];
        run("zpool", &[&["create"], &none[..], &[pool, device]].concat());
        Self::imported(root)
    }

    /// The machine of a pool that is there.
    pub(crate) fn imported(root: &str) -> Self {
        let (pool, _) = root.split_once('/').unwrap();
        Self {
            pool: pool.into(),
            root: root.into(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Ends with the pool on its disk, as a machine that is shut down.
    pub(crate) fn exported(self) {
        run("zpool", &["export", &self.pool]);
        self.left_as_it_is();
    }

    /// Ends as a machine that is switched off.
    pub(crate) fn left_as_it_is(mut self) {
        self.pool.clear();
    }

    /// Root with a blank that holds an `etc`, and with clutter.
    pub(crate) fn installed(root: &str) -> Self {
        let machine = Self::bare(root);
        zfs(&["create", "-p", "-o", "mountpoint=legacy", root]);
        machine.write(root, "etc/installed", "yes");
        zfs(&["snapshot", &format!("{root}@blank")]);
        machine.write(root, "clutter", "0");
        machine
    }

    /// The file that the pool is in.
    pub(crate) fn disk(&self) -> String {
        self.directory.path().join("disk").display().to_string()
    }

    /// A path beside it that nothing has yet.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A new engine, as a new boot makes one.
    pub(crate) fn engine(&self) -> Zfs<Live> {
        Zfs::new(Live::new(), &self.root, "blank").unwrap()
    }

    pub(crate) fn facts(&self) -> RootFacts {
        let engine = self.engine();
        engine.facts(&engine.survey().unwrap())
    }

    pub(crate) fn past(&self, name: &str) -> String {
        let (parent, _) = self.root.rsplit_once('/').unwrap();
        format!("{parent}/past-roots/{name}")
    }

    /// Mounts a dataset or snapshot while `f` runs.
    pub(crate) fn mounted<T>(&self, dataset: &str, f: impl FnOnce(&Path) -> T) -> T {
        let at = self.directory.path().join("mnt");
        fs::create_dir_all(&at).unwrap();
        let path = at.to_str().unwrap();
        // Without its helper, which refuses what `zfs mount` should mount, and the other way round.
        run("mount", &["-i", "-t", "zfs", dataset, path]);
        let result = f(&at);
        run("umount", &[path]);
        result
    }

    pub(crate) fn write(&self, dataset: &str, file: &str, content: &str) {
        self.mounted(dataset, |top| {
            let file = top.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        });
    }

    /// Every file of a dataset or snapshot with its content, `path=content`, sorted.
    pub(crate) fn files(&self, dataset: &str) -> Vec<String> {
        self.mounted(dataset, files)
    }

    /// A local property of a dataset; `-` if it is not set there.
    pub(crate) fn local(&self, dataset: &str, property: &str) -> String {
        let args = [
            "get", "-Hp", "-s", "local", "-o", "value", property, dataset,
        ];
        zfs(&args).trim_end().to_owned()
    }

    pub(crate) fn exists(&self, dataset: &str) -> bool {
        let all = zfs(&["list", "-H", "-o", "name"]);
        all.lines().any(|name| name == dataset)
    }

    pub(crate) fn guid(&self, name: &str) -> String {
        zfs(&["get", "-Hp", "-o", "value", "guid", name])
    }

    /// Surveys, plans, checks again and carries out, as `state reset` does.
    pub(crate) fn reset(&self, reset: &Reset) -> state_api::Result<Vec<Step>> {
        let (mut engine, plan) = self.planned(reset)?;
        let done = execute(&mut engine, &plan, &Never, |_| ()).map_err(|failed| failed.error)?;
        Ok(done.into_iter().map(|done| done.step).collect())
    }

    /// The same, killed after so many steps; whether that were all.
    pub(crate) fn reset_killed_after(&self, reset: &Reset, steps: usize) -> bool {
        let (mut engine, plan) = self.planned(reset).unwrap();
        for step in plan.steps.iter().take(steps) {
            engine.apply(step).unwrap();
        }
        steps >= plan.steps.len()
    }

    fn planned(&self, reset: &Reset) -> state_api::Result<(Zfs<Live>, Plan<Step>)> {
        let engine = self.engine();
        let survey: Survey = engine.survey()?;
        let plan = engine.plan_reset(&survey, reset)?;
        engine.recheck(&survey)?;
        Ok((engine, plan))
    }
}

/// What every ordinary boot asks.
pub(crate) fn keep(name: &str) -> Reset {
    Reset {
        retire: Retire::Keep(name.parse().unwrap()),
        source: Some(Source::Blank),
        needs_init: false,
    }
}

pub(crate) fn give_up() -> Reset {
    Reset {
        retire: Retire::GiveUp,
        source: Some(Source::Blank),
        needs_init: false,
    }
}

pub(crate) fn name(name: &str) -> PastRootName {
    name.parse().unwrap()
}

/// Every file below a directory with its content, `path=content`, sorted.
pub(crate) fn files(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let content = fs::read_to_string(&path).unwrap();
                let rel = path.strip_prefix(top).unwrap().display();
                found.push(format!("{rel}={content}"));
            }
        }
    }
    found.sort();
    found
}

//! `state mount --watch`: saves copied files into the store whenever they have changed, until it
//! is told to stop.

use super::mount::{self, Options, Status, Which};
use crate::config::{self, Config};
use crate::context::{Context, Locked};
use crate::failure::{Failure, message};
use crate::persist::{Blank, Entry, PersistTree};
use anyhow::Context as _;
use chrono::Utc;
use serde::Serialize;
use state_api::{Error, Never};
use state_linux::lock::{Lock, Taken};
use state_linux::watch::{Event, Watch};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The lock that says that somebody watches, in the run directory.
pub const LOCK: &str = "watch.lock";

/// What comes in so short a time is saved at once.
const QUIET: Duration = Duration::from_millis(300);
/// What changes all the time is saved so often all the same.
const LONGEST: Duration = Duration::from_secs(3);
/// A signal that comes just before the wait is noticed after it.
const PULSE: Duration = Duration::from_secs(2);
/// How long, at the end, another run is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// What could not be saved is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// How the watch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many files were watched last.
    pub watched: usize,
    /// How many of them are not saved.
    pub unsaved: usize,
}

/// Watches. `told` hears what was done and what failed, whenever that is news.
///
/// # Errors
/// There is no configuration, somebody watches already, or the kernel does not let us.
pub fn run(cx: &Context, told: &mut dyn FnMut(&mount::Report)) -> anyhow::Result<Report> {
    let path = cx.run_dir().join(LOCK);
    let taken = Lock::take(&path).map_err(|error| Error::os("taking the watch", error))?;
    let _lock = match taken {
        Taken::Mine(lock) => lock,
        Taken::Held { by } => {
            let who = by.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            return Err(Failure::refused(format!("another run watches already{who}")).into());
        }
    };
    let mut watcher = Watcher {
        cx,
        told,
        last: String::new(),
    };
    let mut what = What::read(cx)?;
    loop {
        if what.copied().next().is_none() {
            return Ok(Report {
                watched: 0,
                unsaved: 0,
            });
        }
        match watcher.until_changed(&what)? {
            Next::Stop => break,
            Next::Again => {}
            // The files may be half written: until they are right, the old ones hold.
            Next::Reread => match What::read(cx) {
                Ok(new) => what = new,
                Err(error) => watcher.trouble(&error),
            },
        }
    }
    // What was declared just before the end counts as well.
    if let Ok(now) = What::read(cx) {
        what = now;
    }
    Ok(Report {
        watched: what.copied().count(),
        unsaved: watcher.save_at_last(&what),
    })
}

/// What is watched.
struct What {
    config: Config,
    tree: PersistTree,
}

impl What {
    fn read(cx: &Context) -> anyhow::Result<Self> {
        let config = config::read(cx)?;
        let tree = mount::tree(cx, &config.settings)?;
        Ok(Self { config, tree })
    }

    fn copied(&self) -> impl Iterator<Item = &Entry> {
        self.tree.copied()
    }
}

/// A name in a directory.
type Name = (PathBuf, OsString);

/// The names that mean something.
#[derive(Default)]
struct Names {
    /// A file to save.
    files: BTreeSet<Name>,
    /// A directory that leads to one and was not there.
    leading: BTreeSet<Name>,
    /// A file of the configuration.
    config: BTreeSet<Name>,
    /// A directory in which every file whose name ends so is one.
    drop_ins: BTreeSet<PathBuf>,
}

enum Next {
    Stop,
    Again,
    Reread,
}

/// How a try to save ended.
#[derive(PartialEq)]
enum Saved {
    All,
    /// So many are not; it may help to try again.
    Not(usize),
}

struct Watcher<'a> {
    cx: &'a Context<'a>,
    told: &'a mut dyn FnMut(&mount::Report),
    /// The failures told last.
    last: String,
}

impl Watcher<'_> {
    /// Saves whenever something changes, until what is watched changes itself.
    fn until_changed(&mut self, what: &What) -> anyhow::Result<Next> {
        let watching = "watching the copied files";
        let mut watch = Watch::new().context(watching)?;
        let names = arm(self.cx, &mut watch, what).context(watching)?;
        // A configuration that was changed after it was read, and before it was watched, raises
        // no event.
        if What::read(self.cx).is_ok_and(|now| now.config != what.config) {
            return Ok(Next::Reread);
        }
        // Once everything is watched, so that no change falls in between.
        let mut tried = Instant::now();
        let mut saved = self.save(what);
        loop {
            if self.cx.interrupt.is_set() {
                return Ok(Next::Stop);
            }
            let events = watch.wait(PULSE).context(watching)?;
            let mut is_dirty = saved != Saved::All && tried.elapsed() > AGAIN;
            if let Some(next) = judge(&names, &events, &mut is_dirty) {
                return Ok(next);
            }
            let begun = Instant::now();
            while is_dirty && begun.elapsed() < LONGEST && !self.cx.interrupt.is_set() {
                let more = watch.wait(QUIET).context(watching)?;
                if more.is_empty() {
                    break;
                }
                if let Some(next) = judge(&names, &more, &mut is_dirty) {
                    return Ok(next);
                }
            }
            if is_dirty {
                saved = self.save(what);
                tried = Instant::now();
            }
        }
    }

    fn save(&mut self, what: &What) -> Saved {
        let cx = Context {
            root_dir: self.cx.root_dir.clone(),
            config_file: self.cx.config_file.clone(),
            boot_id: self.cx.boot_id.clone(),
            now: Utc::now(),
            // A save is short, and what has begun is finished.
            interrupt: &Never,
            ..*self.cx
        };
        let place = || -> anyhow::Result<mount::Report> {
            let _lock = cx.lock()?;
            let settings = &what.config.settings;
            let blank = Blank::new(|| mount::blank(&cx, settings));
            let which = Which::Copied;
            let options = (Options { which }, Default::default());
            Ok(mount::place_all(
                &cx, settings, &what.tree, &blank, options,
            )?)
        };
        match place() {
            Ok(report) => {
                self.tell(&report);
                match report.failed() + usize::from(report.trouble.is_some()) {
                    0 => Saved::All,
                    n => Saved::Not(n),
                }
            }
            Err(error) => {
                if !error.is::<Locked>() {
                    self.trouble(&error);
                }
                Saved::Not(what.copied().count())
            }
        }
    }

    /// How many files are not saved when the machine goes down.
    fn save_at_last(&mut self, what: &What) -> usize {
        let begun = Instant::now();
        loop {
            match self.save(what) {
                Saved::All => return 0,
                Saved::Not(n) if begun.elapsed() > PATIENCE => return n,
                Saved::Not(n) if !self.is_locked() => return n,
                Saved::Not(_) => std::thread::sleep(QUIET),
            }
        }
    }

    fn is_locked(&self) -> bool {
        self.cx.lock().is_err()
    }

    /// Tells what was done, and what failed if that is not what failed before.
    fn tell(&mut self, report: &mount::Report) {
        let failures: Vec<String> = (report.entries.iter())
            .filter_map(|entry| match &entry.status {
                Status::Failed { error, .. } => Some(format!("{:?} {error}", entry.path)),
                _ => None,
            })
            .chain(report.trouble.clone())
            .collect();
        let failures = failures.join("\n");
        let is_done = |entry: &mount::EntryReport| matches!(entry.status, Status::Done { .. });
        if report.entries.iter().any(is_done) || failures != self.last {
            (self.told)(report);
        }
        self.last = failures;
    }

    fn trouble(&mut self, error: &anyhow::Error) {
        self.tell(&mount::Report {
            swaps: Vec::new(),
            executed: true,
            entries: Vec::new(),
            notes: Vec::new(),
            trouble: Some(message(error)),
        });
    }
}

/// Watches the directories of everything that matters.
fn arm(cx: &Context, watch: &mut Watch, what: &What) -> std::io::Result<Names> {
    let mut names = Names::default();
    for entry in what.copied() {
        let path = cx.rooted(&entry.path);
        let file = lead(watch, &mut names.leading, &path)?;
        names.files.extend(file);
    }
    for file in &what.config.files {
        // `keep` replaces what a link leads to.
        let file = file.canonicalize().unwrap_or_else(|_| file.clone());
        if let (Some(dir), Some(name)) = (file.parent(), file.file_name()) {
            watch.add(dir)?;
            names.config.insert((dir.to_owned(), name.to_owned()));
        }
    }
    let stores = what.config.settings.persist.keys().map(PathBuf::as_path);
    let first = what.config.files.first().into_iter();
    for dir in first.flat_map(|first| config::drop_in_dirs(cx, first, stores.clone())) {
        let any = lead(watch, &mut names.leading, &dir.join("any"))?;
        names.drop_ins.extend(any.map(|(dir, _)| dir));
    }
    Ok(names)
}

/// Watches the directory that `path` is in, and tells its name in it; while that is not there, what
/// leads to it.
fn lead(
    watch: &mut Watch,
    leading: &mut BTreeSet<Name>,
    path: &Path,
) -> std::io::Result<Option<Name>> {
    while let Some(there) = path.ancestors().skip(1).find(|above| above.is_dir()) {
        watch.add(there)?;
        let mut rest = path.strip_prefix(there).unwrap_or(path).iter();
        let name = (there.to_owned(), rest.next().unwrap_or_default().to_owned());
        if rest.next().is_none() {
            return Ok(Some(name));
        }
        if !there.join(&name.1).is_dir() {
            leading.insert(name);
            break;
        } // else it was made before its name was watched
    }
    Ok(None)
}

/// What events mean.
fn judge(names: &Names, events: &[Event], is_dirty: &mut bool) -> Option<Next> {
    for event in events {
        match event {
            Event::Lost => return Some(Next::Again),
            Event::Changed { dir, name } => {
                let name = (dir.clone(), name.clone());
                let is_new = names.drop_ins.contains(dir)
                    && Path::new(&name.1).extension() == Some("toml".as_ref());
                if is_new || names.config.contains(&name) {
                    return Some(Next::Reread);
                }
                if names.leading.contains(&name) {
                    return Some(Next::Again);
                }
                *is_dirty |= names.files.contains(&name);
            }
        }
    }
    None
}

/// How many copied files nobody saves when they change, on the machine that runs.
pub fn unwatched(cx: &Context, tree: &PersistTree) -> usize {
    let is_watched = || super::look::holder(cx, Path::new(LOCK)).is_some();
    match cx.root_dir == Path::new("/") && !is_watched() {
        true => tree.copied().count(),
        false => 0,
    }
}

//! `state roots capture`: what the next boot would lose of a root in memory becomes a past root.
//! Runs when the machine goes down, so it is bounded: in size, and in time.
//!
//! What is small comes first: a machine's edited files are small, and what fills the bounds is
//! not. An archive of the smallest is published before a larger one is begun, so that whatever is
//! whole when the time is up stays.

use super::archives::machine_name;
use super::backup::system::{names, nixos};
use super::diff;
use super::reset::no_root;
use crate::archive::machine::{Machine, Store};
use crate::archive::manifest::{Bytes, Missing};
use crate::archive::member::name;
use crate::archive::select::Selection;
use crate::archive::write::path_bytes;
use crate::archive::{self, FORMAT, label};
use crate::captured::{self, Content};
use crate::context::{Context, Locked};
use crate::diff::{Change, What};
use crate::failure::Failure;
use crate::paths;
use crate::progress::Silent;
use crate::settings::{Root, Settings};
use crate::{config, engine};
use anyhow::Context as _;
use chrono::SecondsFormat;
use serde::Serialize;
use state_api::{Error, Interrupt, PastRootName, RootBackend as _};
use state_linux::lock::Lock;
use state_linux::stat::Kind;
use state_tmpfs::{Live, Tmpfs};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How much of the bound the archives may hold that are published on the way to the last one.
const SHARES: [u64; 3] = [64, 8, 1];
/// How often another run is asked whether it has ended.
const PATIENCE: Duration = Duration::from_millis(200);

/// What was captured, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether it was carried out (false: a dry run).
    pub executed: bool,
    /// The past root; `None`: there was nothing to capture, or nothing was to be.
    pub past_root: Option<PastRootName>,
    /// Files, directories, symlinks …: everything with a name.
    pub entries: u64,
    /// The sizes of the files.
    pub bytes: u64,
    /// The size of the archive; 0 in a dry run.
    pub archive_bytes: u64,
    /// What should be in it and is not.
    pub left_out: Vec<LeftOut>,
    /// Why nothing was to be captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_wanted: Option<String>,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Where it is.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Why it is not in it.
    pub why: String,
}

/// The end of the time that there is, on top of what else interrupts.
struct Deadline<'a> {
    until: Instant,
    inner: &'a dyn Interrupt,
}

impl Deadline<'_> {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

impl Interrupt for Deadline<'_> {
    fn is_set(&self) -> bool {
        self.inner.is_set() || self.is_over()
    }
}

/// Captures.
///
/// # Errors
/// Root is not in memory, the store is not mounted, nothing could be compared in time, or nothing
/// could be written. Nothing partial is ever listed.
pub fn run(cx: &Context) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let root = settings.root.as_ref().ok_or_else(no_root)?;
    let Root::Tmpfs {
        capture,
        past_roots,
        ..
    } = root
    else {
        let fact = format!("a {} root is put away by its reset", engine::name(root));
        return Err(Failure::usage(fact)
            .hint("only a root in memory has to be captured")
            .into());
    };
    let mut report = Report {
        executed: !cx.dry_run,
        past_root: None,
        entries: 0,
        bytes: 0,
        archive_bytes: 0,
        left_out: Vec::new(),
        not_wanted: None,
    };
    if past_roots.last == 0 {
        report.not_wanted = Some("past-roots.last is 0".into());
        return Ok(report);
    }
    let deadline = Deadline {
        until: Instant::now() + Duration::from_secs(capture.time_limit.into()),
        inner: cx.interrupt,
    };
    let _lock = (!cx.dry_run).then(|| lock(cx, &deadline)).transpose()?;
    let mut root = engine::root(cx, root, &settings.persist)?;
    let engine::Root::Tmpfs(on) = &mut root else {
        unreachable!("its settings are those of a tmpfs");
    };
    let survey = on.survey().context("looking at root")?;
    let home = engine::home(&settings.persist);
    refuse_unless_ready(&survey, home)?;

    let found = diff::run(&bounded(cx, &deadline), &diff::Options::default(), &Silent)
        .map_err(|error| in_time(&deadline, error, "comparing root with blank"))?;
    let wanted = Wanted::of(found.changes);
    report.left_out = not_compared(&found.unreadable);
    if wanted.all.is_empty() {
        return Ok(report);
    }
    let name = PastRootName::new(cx.now, &cx.boot_id, |name| survey.is_taken(name));
    report.past_root = Some(name.clone());
    if cx.dry_run {
        let chosen = wanted.choose(capture.max_bytes.0);
        report.entries = chosen.paths.len() as u64;
        report.bytes = chosen.bytes;
        report.left_out.extend(chosen.left_out.iter().map(left_out));
        return Ok(report);
    }
    publish(cx, &settings, on, &name, &wanted, &deadline, &mut report)?;
    Ok(report)
}

/// Another run may be at its end: the machine goes down for it as well.
fn lock(cx: &Context, deadline: &Deadline<'_>) -> anyhow::Result<Lock> {
    loop {
        match cx.lock() {
            Err(error) if error.downcast_ref::<Locked>().is_some() && !deadline.is_set() => {
                sleep(PATIENCE);
            }
            taken => return taken,
        }
    }
}

fn refuse_unless_ready(survey: &state_tmpfs::Survey, home: Option<&Path>) -> anyhow::Result<()> {
    let mounted = &survey.mounted;
    if !mounted.is_tmpfs() {
        let fact = format!("root at {} is not in memory", mounted.at.display());
        return Err(Failure::refused(fact)
            .hint("it has to be mounted as [root] says: `state doctor`")
            .into());
    }
    let Some(home) = home else {
        return Err(Failure::usage("every store is a cache")
            .hint("a past root wants a store that is kept: class = \"local\" or \"backup\"")
            .into());
    };
    let store = mounted.stores.iter().find(|store| store.path == home);
    if store.is_none_or(|store| store.filesystem.is_none()) {
        let fact = format!("the store {} is not mounted", home.display());
        return Err(Failure::refused(fact)
            .hint("what is written there now ends with root")
            .into());
    }
    Ok(())
}

fn bounded<'a>(cx: &'a Context<'_>, deadline: &'a Deadline<'_>) -> Context<'a> {
    Context {
        root_dir: cx.root_dir.clone(),
        config_file: cx.config_file.clone(),
        boot_id: cx.boot_id.clone(),
        now: cx.now,
        dry_run: cx.dry_run,
        interrupt: deadline,
    }
}

/// The time that was up is no signal that somebody sent.
fn in_time(deadline: &Deadline<'_>, error: anyhow::Error, doing: &str) -> anyhow::Error {
    match deadline.is_over() && !deadline.inner.is_set() {
        true => anyhow::anyhow!("{doing}: the time that `capture.time-limit` leaves is over"),
        false => error,
    }
}

fn not_compared(unreadable: &[String]) -> Vec<LeftOut> {
    let line = |line: &String| LeftOut {
        path: PathBuf::new(),
        why: line.clone(),
    };
    unreadable.iter().map(line).collect()
}

fn left_out(missing: &Missing) -> LeftOut {
    let path = missing
        .path
        .0
        .strip_prefix(b"./")
        .unwrap_or(&missing.path.0);
    LeftOut {
        path: Path::new("/").join(std::ffi::OsStr::from_bytes(path)),
        why: missing.why.clone(),
    }
}

/// What the next boot would lose, the smallest first.
struct Wanted {
    all: Vec<(u64, PathBuf)>,
}

/// A part of it that fits.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    paths: BTreeSet<PathBuf>,
    bytes: u64,
    left_out: Vec<Missing>,
}

impl Wanted {
    fn of(changes: Vec<Change>) -> Self {
        let is_there = |change: &Change| {
            !matches!(change.what, What::Deleted) && !change.path.as_os_str().is_empty()
        };
        let size = |change: &Change| match change.kind {
            Kind::File => change.size_bytes,
            _ => 0,
        };
        let there = changes.into_iter().filter(is_there);
        let mut all: Vec<_> = there.map(|change| (size(&change), change.path)).collect();
        all.sort();
        Self { all }
    }

    /// As many of the smallest as hold no more than `most` bytes.
    fn choose(&self, most: u64) -> Chosen {
        let mut chosen = Chosen {
            paths: BTreeSet::new(),
            bytes: 0,
            left_out: Vec::new(),
        };
        for (size, path) in &self.all {
            let bytes = chosen.bytes.saturating_add(*size);
            if bytes <= most {
                chosen.bytes = bytes;
                chosen.paths.insert(path.clone());
            } else {
                chosen.left_out.push(Missing {
                    path: Bytes(name(path_bytes(path))),
                    why: format!("its {size} bytes are more than there is room for"),
                });
            }
        }
        chosen
    }
}

/// Publishes ever more of what is wanted, until all of it is there or the time is up.
fn publish(
    cx: &Context,
    settings: &Settings,
    on: &mut Tmpfs<Live>,
    name: &PastRootName,
    wanted: &Wanted,
    deadline: &Deadline<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let Some(Root::Tmpfs { capture, .. }) = &settings.root else {
        unreachable!("its settings are those of a tmpfs");
    };
    let view = on.open_root().context("opening root")?;
    let doing = || format!("capturing root as {name}");
    let machine = machine(cx, settings);
    let earlier = std::mem::take(&mut report.left_out);
    let mut published = 0;
    for share in SHARES {
        let chosen = wanted.choose(capture.max_bytes.0 / share);
        if chosen.paths.len() == published {
            continue;
        }
        let selection = Selection::exactly(chosen.paths.clone());
        let mut made = None;
        let outcome = on.capture(name, &mut |dir| {
            let content = Content {
                view: &view,
                selection: &selection,
                left_out: chosen.left_out.clone(),
                machine: &machine,
                at: cx.now,
            };
            made = Some(captured::write(content, dir, deadline).map_err(plain)?);
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            // What was captured by then is more than nothing.
            Err(Error::Interrupted) if published > 0 && deadline.is_over() => break,
            Err(Error::Os { source, .. })
                if published > 0 && source.kind() == io::ErrorKind::StorageFull =>
            {
                break;
            }
            Err(error) => {
                let error = anyhow::Error::from(error).context(doing());
                return Err(in_time(deadline, error, &doing()));
            }
        }
        let (label, written) = made.expect("it was captured");
        published = chosen.paths.len();
        report.entries = chosen.paths.len() as u64;
        report.bytes = written.totals.bytes;
        report.archive_bytes = label.data_bytes;
        report.left_out.clone_from(&earlier);
        report
            .left_out
            .extend(written.incomplete.iter().map(left_out));
        if chosen.left_out.is_empty() {
            break;
        }
    }
    Ok(())
}

fn plain(error: archive::Error) -> Error {
    match error {
        archive::Error::Other(error) => error,
        other => Error::Malformed {
            what: "the archive".into(),
            why: other.told(),
        },
    }
}

/// What the archive says of itself.
fn machine(cx: &Context, settings: &Settings) -> Machine {
    let random = cx
        .boot_id
        .get(..8)
        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let id = label::Id::new(cx.now, random.unwrap_or_default(), []);
    Machine {
        format: FORMAT,
        tool: concat!("state ", env!("CARGO_PKG_VERSION")).into(),
        id: id.to_string(),
        parent: None,
        // No machine is without a name that an archive can have for want of which root is lost.
        machine: machine_name(cx, settings).unwrap_or_else(|_| "machine".into()),
        time: cx.now.to_rfc3339_opts(SecondsFormat::Secs, true),
        root: Some("tmpfs".into()),
        stores: vec![Store {
            path: Bytes(b"/".to_vec()),
            engine: "tmpfs".into(),
            filesystem: "tmpfs".into(),
            total_bytes: 0,
            is_frozen: false,
            identity: None,
            entries: Vec::new(),
        }],
        config: None,
        nixos: nixos(cx),
        users: names(cx, "/etc/passwd"),
        groups: names(cx, "/etc/group"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_come_first_and_what_is_left_out_is_named() {
        let all = [(0, "dir"), (5, "b"), (5, "a"), (100, "big"), (7, "c")];
        let mut all = all.map(|(size, path)| (size, PathBuf::from(path))).to_vec();
        all.sort();
        let wanted = Wanted { all };
        let chosen = |most| {
            let chosen = wanted.choose(most);
            let left_out = chosen.left_out.iter().map(left_out);
            let left_out: Vec<_> = left_out.map(|one| one.path.display().to_string()).collect();
            (chosen.paths.len(), chosen.bytes, left_out.join(" "))
        };
        assert_eq!(chosen(0), (1, 0, "/a /b /c /big".into()));
        assert_eq!(chosen(12), (3, 10, "/c /big".into()));
        assert_eq!(chosen(99), (4, 17, "/big".into()));
        assert_eq!(chosen(117), (5, 117, String::new()));
    }
}

//! `state init`: look at the machine, write a first configuration, explain what was found.
//!
//! Never writes over a configuration, and never proposes one that would not be accepted.

mod draft;
mod fresh;
mod import;
mod keep;
pub mod migrate;
mod propose;
mod store;
mod wanted;

pub(in crate::ops) use fresh::fresh;
pub use import::{LeftOut, Origin};

use crate::config;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::paths::{self, Shown};
use crate::persist::CONFIGURATION;
use anyhow::Context as _;
use import::Imported;
use serde::Serialize;
use state_api::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The store, if the person knows better.
    pub store: Option<PathBuf>,
    /// Where the configuration is written instead of into the store.
    pub output: Option<PathBuf>,
    /// A list of another tool to bring over, and the file with its JSON; `-` is standard input.
    pub from: Option<(Origin, PathBuf)>,
}

/// What was found, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, a sentence each.
    pub found: Vec<String>,
    /// What has to be done before the first reset.
    pub todo: Vec<Todo>,
    /// What of the list that was brought over has no place in the configuration.
    pub left_out: Vec<LeftOut>,
    /// The configuration.
    pub configuration: String,
    /// Where it was, or would be, written.
    pub file: PathBuf,
    /// Whether it was.
    pub executed: bool,
}

/// Something that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Todo {
    /// The bare fact.
    pub fact: String,
    /// The cure.
    pub cure: String,
}

/// Looks, proposes, and writes.
///
/// # Errors
/// There is a configuration already, there is no store to write it into, or writing it failed.
pub fn run(cx: &Context, options: &Options) -> anyhow::Result<Report> {
    let machine = Machine::look(cx).context("looking at the machine")?;
    let imported = match &options.from {
        Some((origin, file)) => Some(import(*origin, file)?),
        None => None,
    };
    let of_list = imported.as_ref().and_then(Imported::first_store);
    let store = of_list.or_else(|| options.store.clone());
    let proposal = propose::propose(&machine, store.as_deref(), imported, &Probe { cx })?;
    let configuration = draft::toml(&proposal);
    // A fault of ours, not of the machine: better found here than at the next boot.
    config::parse_text(Path::new("the proposed configuration"), &configuration)
        .context("checking what would be written")?;
    let in_store = config::store_copy(cx, &proposal.store);
    let file = options.output.clone().unwrap_or(in_store);
    if options.output.is_none() {
        refuse_to_replace(cx, &file)?;
        if !cx.dry_run && !proposal.store_is_mounted {
            let store = Shown(&proposal.store);
            return Err(Failure::refused(format!("no store is mounted at {store}"))
                .hint(format!(
                    "{}; `--output FILE` writes the configuration all the same",
                    store::how_to_make_a_store(&machine, &proposal.store)
                ))
                .into());
        }
    }
    if !cx.dry_run {
        let _lock = cx.lock()?;
        write(&file, &configuration).with_context(|| format!("writing {}", Shown(&file)))?;
    }
    Ok(Report {
        found: proposal.found,
        todo: proposal.todo,
        left_out: proposal
            .imported
            .map_or(Vec::new(), |imported| imported.left_out),
        configuration,
        file,
        executed: !cx.dry_run,
    })
}

/// Reads the list of another tool.
fn import(origin: Origin, file: &Path) -> anyhow::Result<Imported> {
    let doing = || format!("reading the list of {} in {}", origin.name(), Shown(file));
    let text = match file == Path::new("-") {
        true => io::read_to_string(io::stdin()),
        false => fs::read_to_string(file),
    };
    let text = text.map_err(|error| Error::os(doing(), error))?;
    import::read(origin, &text).with_context(doing)
}

fn refuse_to_replace(cx: &Context, file: &Path) -> anyhow::Result<()> {
    for there in [&cx.rooted(CONFIGURATION), file] {
        if fs::symlink_metadata(there).is_ok() {
            return Err(Failure::refused(format!("{} exists already", Shown(there)))
                .hint("`state doctor` checks it; `--dry-run` shows what would be proposed, `--output FILE` writes that elsewhere")
                .into());
        }
    }
    Ok(())
}

/// Whole or not at all, and never over anything.
fn write(file: &Path, text: &str) -> Result<(), Error> {
    let wrong = |doing: &str| {
        let doing = doing.to_owned();
        move |error: io::Error| Error::os(doing, error)
    };
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    fs::create_dir_all(dir).map_err(wrong("making its directory"))?;
    let mut new = tempfile::Builder::new()
        .prefix(".state.toml.")
        .tempfile_in(dir)
        .map_err(wrong("making a temporary file"))?;
    new.write_all(text.as_bytes())
        .and_then(|()| {
            fs::set_permissions(
                new.path(),
                std::os::unix::fs::PermissionsExt::from_mode(0o644),
            )
        })
        .and_then(|()| new.as_file().sync_all())
        .map_err(wrong("writing a temporary file"))?;
    new.persist_noclobber(file)
        .map_err(|failed| wrong("putting it in place")(failed.error))?;
    OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::DIRECTORY.bits().cast_signed())
        .open(dir)
        .and_then(|dir: File| dir.sync_all())
        .map_err(wrong("flushing its directory"))
}

/// What `propose` asks of the file system.
struct Probe<'a> {
    cx: &'a Context<'a>,
}

impl propose::Look for Probe<'_> {
    fn seen(&self, path: &Path) -> Option<propose::Seen> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::symlink_metadata(self.cx.rooted(path)).ok()?;
        Some(propose::Seen {
            is_directory: metadata.is_dir(),
            is_file: metadata.is_file(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        })
    }

    fn names(&self, dir: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cx.rooted(dir)) else {
            return Vec::new(); // not there, or not ours to read: nothing to propose
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn names_one_device(&self, a: &Path, b: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(self.cx.rooted(path)).ok();
        real(a).is_some() && real(a) == real(b)
    }

    fn text(&self, path: &Path) -> String {
        fs::read(self.cx.rooted(path))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }
}

/// A store that was named has to be a place that can be one.
fn named_store(store: &Path) -> anyhow::Result<PathBuf> {
    paths::normal(store).map_err(|why| {
        Failure::usage(format!("the store {} {why}", Shown(store)))
            .hint("a store is a mounted filesystem or volume, as in /persist")
            .into()
    })
}

/// What would be proposed for a machine laid out in `tests/fixtures/machines`, where owners and
/// modes are in a file: those of a checkout are whoever's made it.
#[cfg(test)]
pub(crate) fn of_fixture(name: &str, list: Option<(Origin, &str)>) -> anyhow::Result<Report> {
    struct Fixture<'a> {
        probe: Probe<'a>,
    }

    impl propose::Look for Fixture<'_> {
        fn seen(&self, path: &Path) -> Option<propose::Seen> {
            let mut seen = self.probe.seen(path)?;
            (seen.uid, seen.gid) = (0, 0);
            seen.mode = if seen.is_directory { 0o755 } else { 0o644 };
            for line in self.text(Path::new("/ownership")).lines() {
                let fields: Vec<_> = line.split(' ').collect();
                if let [of, uid, gid, mode] = fields[..]
                    && Path::new(of) == path
                {
                    seen.uid = uid.parse().unwrap();
                    seen.gid = gid.parse().unwrap();
                    seen.mode = u32::from_str_radix(mode, 8).unwrap();
                }
            }
            Some(seen)
        }
        fn names(&self, dir: &Path) -> Vec<String> {
            self.probe.names(dir)
        }
        fn names_one_device(&self, a: &Path, b: &Path) -> bool {
            self.probe.names_one_device(a, b)
        }
        fn text(&self, path: &Path) -> String {
            self.probe.text(path)
        }
    }

    let machine = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/machines")
        .join(name);
    let cx = Context::below(machine);
    let machine = Machine::look(&cx)?;
    let imported = list.map(|(origin, text)| import::read(origin, text));
    let imported = imported.transpose()?;
    let store = imported.as_ref().and_then(Imported::first_store);
    let proposal = propose::propose(
        &machine,
        store.as_deref(),
        imported,
        &Fixture {
            probe: Probe { cx: &cx },
        },
    )?;
    let configuration = draft::toml(&proposal);
    let read = config::parse_text(Path::new("the proposed configuration"), &configuration)?;
    if let Some(imported) = &proposal.imported {
        assert_eq!(
            read.persist, imported.stores,
            "what is written is what was read"
        );
    }
    Ok(Report {
        found: proposal.found,
        todo: proposal.todo,
        left_out: (proposal.imported).map_or(Vec::new(), |imported| imported.left_out),
        configuration,
        file: config::store_copy(&cx, &proposal.store)
            .strip_prefix(&cx.root_dir)?
            .into(),
        executed: false,
    })
}

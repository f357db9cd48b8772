//! Putting entries in place, one after the other.

use super::{EntryReport, Options, Report, Status, Which};
use crate::context::Context;
use crate::paths;
use crate::persist::{
    self, Agreed, Anchors, Applier, Blank, Entry, Method, PersistTree, Step, Verdict, When,
};
use crate::settings::Settings;
use state_api::{Error, Plan, Result, execute};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the table of words for file managers is, below `root_dir`: only the running machine has
/// one that lasts.
fn words_table(root_dir: &Path) -> Option<&'static Path> {
    (root_dir == Path::new("/")).then(|| Path::new(persist::utab::TABLE))
}

/// Puts the entries of `tree` in place, one after the other, parents first; none from the `unfit`
/// stores.
///
/// # Errors
/// The root directory cannot be opened, or the run was interrupted.
pub fn place_all(
    cx: &Context,
    settings: &Settings,
    tree: &PersistTree,
    blank: &Blank<'_>,
    (options, unfit): (Options<'_>, BTreeMap<PathBuf, String>),
) -> Result<Report> {
    // A root that is erased must not hold the stores: the machine would boot empty, look fine,
    // and write into what the next boot throws away.
    let anchors = Anchors::open(&cx.root_dir, tree, settings.root.is_some(), unfit)?;
    let mut placer = Placer {
        cx,
        tree,
        anchors: &anchors,
        blank,
        options,
        applier: Applier::new(&anchors, cx.interrupt, cx.now),
        agreed: Agreed::read(&cx.run_dir(), &cx.boot_id),
        has_agreed: false,
        entries: Vec::new(),
        status: BTreeMap::new(),
    };
    let mut placed = Ok(());
    for entry in tree.entries().filter(|entry| options.concerns(entry)) {
        placed = placer.place(entry);
        if placed.is_err() {
            break;
        }
    }
    let Placer {
        mut applier,
        mut entries,
        agreed,
        has_agreed,
        ..
    } = placer;
    let notes = applier.take_notes();
    let mut trouble = applier.finish().err().map(|error| error.to_string());
    // Also when the run was interrupted: what was copied must not look like what blank brought.
    if has_agreed && !cx.dry_run {
        let written = agreed.write(&cx.run_dir()).err();
        trouble = trouble.or(written.map(|error| error.to_string()));
    }
    placed?;
    if matches!(options.which, Which::All | Which::One(_)) {
        if options.which == Which::All {
            entries.extend(unknown_users(tree));
        }
        if let (Some(table), false) = (words_table(&cx.root_dir), cx.dry_run)
            && let Err(error) = persist::utab::note(table, tree.entries())
        {
            trouble.get_or_insert(error.to_string());
        }
    }
    Ok(Report {
        executed: !cx.dry_run,
        swaps: Vec::new(),
        entries,
        notes,
        trouble,
    })
}

struct Placer<'a> {
    cx: &'a Context<'a>,
    tree: &'a PersistTree,
    anchors: &'a Anchors,
    blank: &'a Blank<'a>,
    options: Options<'a>,
    applier: Applier<'a>,
    agreed: Agreed,
    /// Whether that is worth writing down.
    has_agreed: bool,
    entries: Vec<EntryReport>,
    /// Where in `entries` each path is.
    status: BTreeMap<&'a Path, usize>,
}

impl<'a> Placer<'a> {
    fn place(&mut self, entry: &'a Entry) -> Result<()> {
        let status = self.status(entry)?;
        self.status.insert(&entry.path, self.entries.len());
        self.entries.push(EntryReport {
            path: entry.path.clone(),
            source: entry.source(),
            method: entry.method,
            status,
        });
        Ok(())
    }

    fn status(&mut self, entry: &Entry) -> Result<Status> {
        let failed = |error: String, hint: Option<&str>| {
            let hint = hint.map(str::to_owned);
            Ok(Status::Failed { error, hint })
        };
        if let Some(why) = self.anchors.why_missing(&entry.store) {
            let store = paths::Shown(&entry.store);
            let hint = "the store is mounted before its entries are put in place";
            return failed(
                format!("the store {store} cannot be used: {why}"),
                Some(hint),
            );
        }
        // While an entry around this one is only planned, what will be seen here is in its store.
        let mut planned = None;
        if let Some(outer) = self.tree.around(&entry.path)
            && let Some(index) = self.status.get(outer.path.as_path())
        {
            match self.entries[*index].status {
                Status::InPlace | Status::Done { .. } => {}
                Status::Planned { .. } => planned = Some(outer),
                Status::LeftOut { .. } | Status::Failed { .. } => {
                    return failed(format!("{outer}, which it lies in, is not in place"), None);
                }
            }
        }
        let at = |path: &Path| match planned {
            Some(outer) if path.starts_with(&outer.path) => persist::below(&outer.store, path),
            _ => path.to_owned(),
        };
        let mut seen = persist::survey(self.anchors, entry, &at, self.blank, self.cx.interrupt)?;
        if let Some(copies) = &mut seen.copies {
            copies.agreed = self.agreed.of(&entry.path).cloned();
            if let (Some(live), Some(stored)) = (&copies.live, &copies.stored)
                && live.digest == stored.digest
            {
                self.has_agreed |= self.agreed.note(&entry.path, &live.digest);
            }
        }
        let when = match self.options.which {
            Which::All | Which::One(_) => When::Asked,
            Which::Early => When::Early,
            Which::Copied => When::Watching,
        };
        match persist::plan(self.tree, entry, &seen, when) {
            Verdict::LeaveOut(why) => Ok(Status::LeftOut { why: why.into() }),
            Verdict::Refuse(refusal) => failed(refusal.to_string(), refusal.hint().as_deref()),
            Verdict::Do(plan) if plan.is_nothing() => Ok(Status::InPlace),
            Verdict::Do(Plan { steps }) if self.cx.dry_run => Ok(Status::Planned { steps }),
            Verdict::Do(plan) => {
                match execute(&mut self.applier, &plan, self.cx.interrupt, |_| {}) {
                    Ok(_) => {
                        for step in &plan.steps {
                            if let Step::CopyIn { digest, .. } | Step::Save { digest, .. } = step {
                                self.has_agreed |= self.agreed.note(&entry.path, digest);
                            }
                        }
                        Ok(Status::Done { steps: plan.steps })
                    }
                    Err(stopped) => match stopped.error {
                        Error::Interrupted => Err(Error::Interrupted),
                        error => failed(error.to_string(), error.hint().as_deref()),
                    },
                }
            }
        }
    }
}

/// The entries of users whom the machine does not know.
fn unknown_users(tree: &PersistTree) -> impl Iterator<Item = EntryReport> {
    tree.unresolved().iter().flat_map(|unresolved| {
        unresolved.paths.iter().map(|path| {
            let home = format!("~{}", unresolved.user);
            EntryReport {
                path: Path::new(&home).join(path),
                source: unresolved.store.clone(),
                method: Method::Bind,
                status: Status::Failed {
                    error: format!("{} {}", unresolved.user, unresolved.why),
                    hint: Some(
                        "make the user, or take the entries out; the next `state mount` puts them \
                         in place"
                            .into(),
                    ),
                },
            }
        })
    })
}

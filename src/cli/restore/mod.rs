//! `state restore`

mod choose;
mod rebuilt;
mod rest;
mod text;

pub use text::human;

use super::output::HEADER;
use super::size::moment;
use super::which::Which;
use super::{Exit, Globals, Screen, exit, provision as laid_out};
use crate::context::Context;
use crate::failure::Failure;
use crate::ops::archives::is_nobody;
use crate::ops::provision;
use crate::ops::rebuild::Rebuilt;
use crate::ops::restore::{self, Opened, Options, Report};
use crate::ops::seal::Signature;
use rest::Rest;
use serde::Serialize;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Restore an archive, or one path out of it: staged, verified, then swapped in
///
/// What is there is kept: `state undo` puts it back. A store that is in use is exchanged by the next
/// boot, before anything of it is put in place; until then nothing changes. An interrupted restore changes nothing and
/// goes on where it was when it is run again.
///
/// On fresh hardware, from any live medium: `state restore --from URL --provision DEVICE --backend
/// ENGINE`. It shows the machines and archives at the target, lays out the disk, restores the
/// stores, fits `[root]` to the new disk, checks out the configuration, tells the system's install
/// command, and looks at the result as `state doctor` does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this path of the machine.
    path: Option<PathBuf>,
    #[command(flatten)]
    which: Which,
    /// The archive's id; by default the newest complete one.
    #[arg(long, value_name = "ID")]
    archive: Option<String>,
    /// Restore into the store at this directory instead of where it was.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Only this one of the archive's stores, by the directory it was mounted at.
    #[arg(long, value_name = "PATH", conflicts_with = "path")]
    store: Option<PathBuf>,
    /// Restore although nobody vouches for who made the archive.
    #[arg(long)]
    allow_unsigned: bool,
    /// Give up the tree that an earlier restore replaced and that is still kept.
    #[arg(long)]
    forget_replaced: bool,
    /// Swap it in now or not at all; a store that is in use is refused, instead of being left to
    /// the next boot.
    #[arg(long)]
    now: bool,
    /// Lay out this disk first, or in this pool, and restore a whole machine onto it; --into is the
    /// directory that it is mounted at then, by default /mnt.
    #[arg(long, value_name = "DEVICE|POOL", conflicts_with_all = ["path", "store"])]
    provision: Option<PathBuf>,
    #[command(flatten)]
    disk: laid_out::Disk,
    /// Clone the machine's configuration from here, at the commit that belongs to the archive,
    /// instead of from the remote that was recorded.
    #[arg(long, value_name = "URL", conflicts_with_all = ["path", "store"])]
    config_from: Option<String>,
    /// Run the system's own install command at the end, instead of telling it: nixos-install, where the archive is of NixOS.
    #[arg(long, conflicts_with_all = ["path", "store"])]
    run_install: bool,
    /// Show what would be restored and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Everything that one run did.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Whole {
    #[serde(flatten)]
    restore: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    provision: Option<provision::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<Rebuilt>,
}

/// Runs the verb.
///
/// # Errors
/// Those of [`restore`], or it was not confirmed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let mut options = Options {
        path: args.path,
        which: args.which.archives(globals),
        archive: args.archive,
        into: args.into,
        store: args.store,
        allow_unsigned: args.allow_unsigned,
        forget_replaced: args.forget_replaced,
        now: args.now,
    };
    if args.provision.is_some() {
        args.disk.engine()?; // before anything is asked
    }
    let look = globals.context(true)?;
    if is_nobody(&look, &options.which) {
        choose::which(globals, &look, &mut options)?;
    }
    let rest = Rest {
        config_from: args.config_from,
        run_install: args.run_install,
    };
    match args.provision {
        Some(on) => onto_disk(
            globals,
            &look,
            options,
            &on,
            &args.disk,
            &rest,
            args.dry_run,
        ),
        None if args.disk.is_given() => {
            Err(Failure::usage("a disk is described, and none is named")
                .hint("--provision DEVICE names it")
                .into())
        }
        None => into_place(globals, &look, &options, &rest, args.dry_run),
    }
}

/// Has somebody vouch for the archive, if nothing here does.
fn vouched(
    globals: &Globals,
    options: &Options,
    archive: &mut Opened<'_>,
    plan: &mut Report,
) -> anyhow::Result<()> {
    match plan.signature.clone() {
        Signature::Unknown { key } if !options.allow_unsigned => {
            let question = format!(
                "The archive {} is signed by {key}. Compare it with your recovery sheet, or \
                 with what `ssh-keygen -lf` prints of the key you know. Is that the key of {}?",
                plan.id, plan.machine
            );
            if !globals.vouch(&question)? {
                return plan.signature.demand(&plan.id, false);
            }
            archive.trust();
            plan.signature = Signature::Trusted { key };
            Ok(())
        }
        signature => signature.demand(&plan.id, options.allow_unsigned),
    }
}

/// What is asked when an earlier run has restored all of it.
fn already(plan: &Report, rest: &Rest) -> String {
    let system = match rest.run_install {
        true => rest.then(),
        false => " and its system",
    };
    format!(
        "{} of {} is restored already. Go on with its configuration{system}?",
        plan.id, plan.machine
    )
}

fn not_confirmed() -> anyhow::Error {
    Failure::refused("not confirmed: everything stays as it is").into()
}

/// What a dry run ends with: it shows all, also what would be refused.
fn demanded(globals: &Globals, options: &Options, plan: &Report) -> anyhow::Result<Exit> {
    match plan.signature.demand(&plan.id, options.allow_unsigned) {
        Ok(()) => Ok(Exit::Done),
        Err(error) if globals.json => Ok(exit::exit_of(&error)), // one object is printed
        Err(error) => Err(error),
    }
}

fn ended(whole: &Whole) -> Exit {
    let is_partial = whole.rebuilt.as_ref().is_some_and(Rebuilt::is_partial);
    match whole.restore.is_partial() || is_partial {
        true => Exit::Partial,
        false => Exit::Done,
    }
}

/// When it will be there, if not now.
fn waits_for(plan: &Report) -> String {
    let user = plan
        .stores
        .iter()
        .find_map(|store| store.waits_for.as_ref());
    user.map_or(String::new(), |by| {
        format!(" at the next boot (in use by {})", exit::one_line(by))
    })
}

/// Into stores that are there.
fn into_place(
    globals: &Globals,
    look: &Context<'_>,
    options: &Options,
    rest: &Rest,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    let chosen = restore::choose(look, options)?;
    let data = chosen.data()?;
    let mut archive = data.open()?;
    let mut plan = archive.run(look, globals.progress().as_ref())?;
    rest.demand(&plan)?;
    if dry_run {
        globals.show(&plan, human)?;
        return demanded(globals, options, &plan);
    }
    vouched(globals, options, &mut archive, &mut plan)?;
    let into: Vec<_> = plan
        .stores
        .iter()
        .map(|s| s.into.display().to_string())
        .collect();
    let question = match plan.is_done() {
        true => already(&plan, rest),
        false => format!(
            "Restore {} of {}, made {}, into {}{}{}? What is there is kept.",
            plan.id,
            plan.machine,
            moment(plan.time),
            into.join(" and "),
            waits_for(&plan),
            rest.then()
        ),
    };
    if !globals.confirm(&question)? {
        return Err(not_confirmed());
    }
    // The archive that was shown, even if a newer one has come.
    let restore = archive.run(&globals.context(false)?, globals.progress().as_ref())?;
    let mut whole = Whole {
        restore,
        provision: None,
        rebuilt: None,
    };
    if options.path.is_none() {
        whole.rebuilt = rest.run(globals, &whole.restore, None)?;
    }
    globals.show(&whole, human_whole)?;
    Ok(ended(&whole))
}

/// Onto a disk that is laid out first.
fn onto_disk(
    globals: &Globals,
    look: &Context<'_>,
    mut options: Options,
    on: &Path,
    disk: &laid_out::Disk,
    rest: &Rest,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    let into = options.into.clone().unwrap_or_else(|| "/mnt".into());
    let into = std::path::absolute(into)?;
    options.into = Some(into.clone());
    let chosen = restore::choose(look, &options)?;
    let data = chosen.data()?;
    let mut archive = data.open()?;
    let mut restore = archive.foresee(look, globals.progress().as_ref())?;
    rest.demand(&restore)?;
    if !dry_run {
        vouched(globals, &options, &mut archive, &mut restore)?;
    }
    let is_nixos = restore
        .archived
        .as_ref()
        .is_some_and(|archived| archived.nixos.is_some());
    let stores = restore
        .stores
        .iter()
        .map(|store| store.store.clone())
        .collect();
    let mut wanted = disk.options(on, stores, &into, is_nixos)?;
    wanted.name = Some(restore.machine.clone());
    let plan = provision::run(look, &wanted)?;
    let plan_is_empty = plan.plan.is_empty();
    restore = match plan_is_empty {
        true => archive.run(look, globals.progress().as_ref())?,
        false => restore,
    };
    if let Some(bytes) = plan.bytes.filter(|_| !restore.is_done()) {
        restore.demand_room(on, bytes)?;
    }
    let mut whole = Whole {
        restore,
        provision: Some(plan),
        rebuilt: None,
    };
    if dry_run || !globals.json {
        globals.show(&whole, human_whole)?;
    }
    if dry_run {
        return demanded(globals, &options, &whole.restore);
    }
    let first = match plan_is_empty {
        true => "Restore".into(),
        false => format!("Lay out {} like this, and restore", crate::paths::Shown(on)),
    };
    let question = match whole.restore.is_done() {
        true => already(&whole.restore, rest),
        false => format!(
            "{first} {} of {}, made {}, onto it{}?",
            whole.restore.id,
            whole.restore.machine,
            moment(whole.restore.time),
            rest.then(),
        ),
    };
    if !globals.confirm(&question)? {
        return Err(not_confirmed());
    }
    wanted.passphrase = disk.passphrase(globals)?;
    wanted.uuid = whole.provision.and_then(|plan| plan.uuid); // what was shown is what is written
    let cx = globals.context(false)?;
    let laid_out = provision::run(&cx, &wanted)?;
    // The archive that was shown, even if a newer one has come.
    let restore = archive.run(&cx, globals.progress().as_ref())?;
    let rebuilt = rest.run(globals, &restore, Some(&laid_out))?;
    whole = Whole {
        restore,
        provision: Some(laid_out),
        rebuilt,
    };
    globals.show(&whole, human_whole)?;
    Ok(ended(&whole))
}

fn human_whole(whole: &Whole, out: &mut Screen<'_>) -> io::Result<()> {
    if let Some(provision) = &whole.provision {
        laid_out::steps(provision, out)?;
        match provision.executed {
            true => writeln!(out)?,
            false => writeln!(out, "\n{HEADER}To restore onto it{HEADER:#}")?,
        }
    }
    human(&whole.restore, out)?;
    match &whole.rebuilt {
        Some(rebuilt) => rebuilt::human(rebuilt, out),
        None => Ok(()),
    }
}

//! `state init --install-boot`: gives the machine's maker of initrds and its systemd what starts
//! `state` at boot, and has the initrds made anew. Doing it again changes nothing that is right.

mod put;
mod refuse;

use super::init::Todo;
use super::renew;
use crate::boot::files;
use crate::boot::initrd::find;
use crate::boot::maker::Maker;
use crate::boot::saving;
use crate::boot::unit;
use crate::boot::upgrade::{self, MANAGERS, Manager};
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::machine::Machine;
use crate::ops::{initrd, look};
use crate::paths::{self, Shown};
use crate::persist::PersistTree;
use crate::settings::{Root, Settings};
use anyhow::Context as _;
use put::put_all;
use serde::Serialize;
use state_api::{Error, RootFacts};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// An initrd with everything in it, for several kernels, on a slow machine.
const REBUILD_LIMIT: Duration = Duration::from_secs(30 * 60);
/// How deep initrds lie, or images that they are part of: `EFI/Linux/NAME.efi`, `ID/VERSION/initrd`.
const BOOT_DEPTH: u32 = 2;
/// What is typed to have it done again.
pub(super) const COMMAND: &str = "state init --install-boot";
/// Where a program is that initrds and units find.
const PROGRAM_DIRS: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// What was installed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The maker of initrds; `None`: files were written for one that asked for them.
    pub maker: Option<Maker>,
    /// The files and links.
    pub files: Vec<Installed>,
    /// The command that makes the initrds anew.
    pub rebuild: Option<String>,
    /// The initrds that were read back and will reset the next boot.
    #[serde(serialize_with = "paths::serialize_all")]
    pub checked: Vec<PathBuf>,
    /// What is left to do.
    pub todo: Vec<Todo>,
    /// Whether it was done (false: a dry run).
    pub executed: bool,
}

impl Report {
    /// The files that are not as they should be, or were not.
    pub fn stale(&self) -> Vec<PathBuf> {
        let stale = self.files.iter().filter(|file| file.is_new);
        stale.map(|file| file.path.clone()).collect()
    }
}

/// One file or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Where it is.
    #[serde(serialize_with = "paths::serialize")]
    pub path: PathBuf,
    /// Whether it differs from what was there.
    pub is_new: bool,
}

/// Installs what the machine needs at boot, and has its initrds made anew.
///
/// # Errors
/// It was refused, or writing or making failed; then running it again finishes it.
pub fn run(cx: &Context, maker: Option<Maker>) -> anyhow::Result<Report> {
    let (settings, tree, _) = declared(cx)?;
    let machine = Machine::look(cx).context("looking at the machine")?;
    let mut report = install(cx, &machine, maker, &settings, &tree)?;
    report.todo.extend(to_blank(cx, &settings));
    Ok(report)
}

/// The same for a configuration that may not be in its place yet, on a machine as it is or is going
/// to be.
///
/// # Errors
/// Those of [`run`].
pub fn install(
    cx: &Context,
    machine: &Machine,
    maker: Option<Maker>,
    settings: &Settings,
    tree: &PersistTree,
) -> anyhow::Result<Report> {
    if machine.distribution.is_nixos {
        return Err(Failure::refused("NixOS makes its initrd and units itself")
            .hint("import contrib/nixos/module.nix, which declares the same units")
            .into());
    }
    refuse::covered(cx, machine, settings.root.as_ref())?;
    let maker = find_maker(cx, maker)?;
    refuse::makers_without_a_place(cx, maker, settings.root.as_ref())?;
    let program = find_program(cx)?;
    refuse::stores_out_of_reach(machine, tree, maker)?;
    refuse::line_for_root(machine, settings.root.as_ref())?;
    let mut units = unit::system(settings.root.as_ref(), tree, &program);
    units.extend(saving::units(settings, tree, &program));
    let mut contents = files::system(units);
    let is_there = |manager: &Manager| cx.rooted(manager.sign).exists();
    contents.offer(upgrade::units(
        settings.root.as_ref(),
        MANAGERS.into_iter().find(is_there),
        tree,
        &settings.snapshots.keep,
        &program,
    ));
    contents.files.extend(maker.files());
    let command = maker.command();
    let mut todo = Vec::new();
    let is_this_machine = cx.root_dir == Path::new("/");
    if !is_this_machine {
        todo.push(Todo {
            fact: "the initrds of a machine below --root are not made from outside".into(),
            cure: format!("run `{command}` in it"),
        });
    }
    let _lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let files = put_all(cx, &cx.root_dir, &contents)?;
    let mut checked = Vec::new();
    if is_this_machine && !cx.dry_run {
        let begun = SystemTime::now();
        let (rebuild, args) = maker.rebuild();
        rebuild
            .run("making the initrds", args, REBUILD_LIMIT)
            .context("the files are in place; making the initrds anew")?;
        let is_made = |dir: &PathBuf| has_newer(&cx.rooted(dir), begun, BOOT_DEPTH);
        if !find::dirs(machine, settings.root.as_ref())
            .iter()
            .any(is_made)
        {
            // It says the same when it found no kernel, and the machine would boot without a reset.
            return Err(Failure::new(
                Class::Partial,
                format!("`{command}` ended well and wrote nothing into /boot or /efi"),
            )
            .hint("find out which initrd this machine boots, and make that one; the files for it are in place")
            .into());
        }
        checked = read_back(cx, &mut todo)?;
    }
    Ok(Report {
        maker: Some(maker),
        files,
        checked,
        rebuild: is_this_machine.then_some(command),
        todo,
        executed: !cx.dry_run,
    })
}

/// The initrds that start next and will reset: what was made is believed only when it was read.
fn read_back(cx: &Context, todo: &mut Vec<Todo>) -> anyhow::Result<Vec<PathBuf>> {
    let Some(seen) = initrd::look(cx).context("reading the new initrds back")? else {
        return Ok(Vec::new());
    };
    let next = seen.images.iter().filter(|image| image.is_next);
    let mut checked = Vec::new();
    for image in next {
        if let Some(fault) = image.faults().first() {
            let fact = format!("{}: {fault}", Shown(&image.path));
            return Err(Failure::new(Class::Partial, fact)
                .hint("the next boot would not be reset; `state doctor` tells all that is wrong with the initrds")
                .into());
        }
        checked.push(image.path.clone());
    }
    if checked.is_empty() {
        todo.push(Todo {
            fact: "no initrd of the newest kernel was found in /boot or /efi".into(),
            cure: "find out which initrd this machine boots, and make that one; `state doctor` reads it".into(),
        });
    }
    Ok(checked)
}

/// Writes what an initrd holds beside the program below `dir`: what the hooks call.
///
/// # Errors
/// There is no configuration, or writing failed.
pub fn initrd_files(cx: &Context, dir: &Path) -> anyhow::Result<Report> {
    let (settings, tree, text) = declared(cx)?;
    let contents = files::initrd(&settings, &tree, &text);
    Ok(Report {
        maker: None,
        files: put_all(cx, dir, &contents)?,
        rebuild: None,
        checked: Vec::new(),
        todo: Vec::new(),
        executed: !cx.dry_run,
    })
}

/// The settings, the persist tree, and the text of the configuration's own file.
pub(super) fn declared(cx: &Context) -> anyhow::Result<(Settings, PersistTree, String)> {
    let config = config::read(cx)?;
    let tree = look::tree(cx, &config.settings)
        .ok_or_else(|| Failure::usage("the persist tree contradicts itself"))?;
    let file = config.files.first().expect("it was read from a file");
    let reading = || format!("reading {}", Shown(file));
    let text = fs::read_to_string(file)
        .map_err(|error| Error::os(reading(), error))
        .with_context(reading)?;
    // The initrd has this file alone until the stores are there.
    let alone = config::parse_text(file, &text)?;
    if alone.root != config.settings.root {
        let fact = format!(
            "[root] is declared beside {}, and the initrd has that file alone",
            Shown(file)
        );
        return Err(Failure::usage(fact)
            .hint(format!("move [root] into {}", Shown(file)))
            .into());
    }
    Ok((config.settings, tree, text))
}

fn find_maker(cx: &Context, asked: Option<Maker>) -> anyhow::Result<Maker> {
    let is_there = |maker: &Maker| cx.rooted(maker.sign()).exists();
    // Where there are several, somebody chose one before.
    let has_ours = |maker: &Maker| {
        let files = maker.files();
        files.iter().any(|file| cx.rooted(&file.path).exists())
    };
    match asked {
        Some(maker) if is_there(&maker) => Ok(maker),
        Some(maker) => Err(Failure::refused(format!("{maker} is not installed here")).into()),
        None => {
            let mut makers: Vec<Maker> = Maker::ALL.into_iter().filter(is_there).collect();
            makers.sort_by_key(|maker| !has_ours(maker));
            let unknown = || {
                Failure::refused("no maker of initrds was found").hint(
                    "dracut, initramfs-tools and mkinitcpio are known; docs/boot.md says what any other must do",
                )
            };
            Ok(makers.first().copied().ok_or_else(unknown)?)
        }
    }
}

/// Where this program is on the machine. It has to be where the makers of initrds look, and in
/// root, where blank has it.
pub(super) fn find_program(cx: &Context) -> anyhow::Result<PathBuf> {
    let is_there = |path: &PathBuf| cx.rooted(path).is_file();
    let places = PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join("state"));
    let mut places = places.filter(is_there);
    let program = places.next().ok_or_else(|| {
        Failure::refused("the program is not installed on this machine")
            .hint("`install -m 755 state /usr/local/bin/` first: the next boot must find it")
    })?;
    // A shell, the units and the hooks do not all look in the same order.
    for other in places {
        if !is_same_file(&cx.rooted(&program), &cx.rooted(&other))? {
            let fact = format!("{} and {} differ", Shown(&program), Shown(&other));
            return Err(Failure::refused(fact)
                .hint("delete the one that is not to run: which of them an initrd gets would be left to chance")
                .into());
        }
    }
    Ok(program)
}

/// Whether both have the same content.
fn is_same_file(one: &Path, other: &Path) -> anyhow::Result<bool> {
    let read = |path: &Path| {
        let reading = || format!("reading {}", Shown(path));
        fs::read(path).map_err(|error| Error::os(reading(), error))
    };
    Ok(fs::canonicalize(one).ok() == fs::canonicalize(other).ok() || read(one)? == read(other)?)
}

/// What was installed is in root; the next boot has what is in blank.
fn to_blank(cx: &Context, settings: &Settings) -> Option<Todo> {
    let root = settings.root.as_ref()?;
    let facts = look::root(cx, settings).and_then(Result::ok);
    let runs = |facts: &RootFacts| facts.mounted_at.iter().any(|at| at == Path::new("/"));
    let take = |fact: &str| Todo {
        fact: fact.into(),
        cure: "`state blank take` makes root as it is now the blank".into(),
    };
    match (root, facts) {
        // What is installed is the blank, and a root above it was refused or has a /boot of its own.
        (Root::Overlay { .. }, _) => None,
        (_, Some(facts)) if facts.blank.is_some() && cx.root_dir == Path::new("/") => {
            // In a draft: that becomes the blank.
            let is_draft = matches!(root, Root::Btrfs { .. }) && !runs(&facts);
            (!is_draft).then(|| Todo {
                fact: "blank was taken before this, and what is installed into root lasts until the next boot".into(),
                cure: renew::lasting(root, COMMAND),
            })
        }
        (_, Some(facts)) if facts.blank.is_some() => Some(take("blank was taken before this")),
        _ => Some(take("there is no blank yet")),
    }
}

/// Whether a file below `dir` was written since.
fn has_newer(dir: &Path, since: SystemTime, depth: u32) -> bool {
    // Filesystems keep times by the tick of the kernel, or (FAT) by two seconds.
    let since = since - Duration::from_secs(2);
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries.flatten().any(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => depth > 0 && has_newer(&entry.path(), since, depth - 1),
        Ok(found) => found.is_file() && found.modified().is_ok_and(|time| time >= since),
        Err(_) => false,
    })
}

#[cfg(test)]
mod tests;

//! `state provision`: from an empty device to the layout that an engine needs, mounted below a
//! directory.
//!
//! Never touches a device that holds anything, unless it was told word for word what would be lost,
//! and never one that anybody uses. It looks first and does what is left to do, so a run that was cut
//! off is finished by the next.

mod act;
mod device;
mod in_place;
mod inside;
mod journal;
mod layout;
mod plan;
mod pool;
mod probe;
mod step;
mod survey;

pub use layout::{Backend, Filesystem, Place, Wanted};
pub use step::Step;

use super::act::{Act, carry_out_all, planned};
use super::init::{self, Todo};
use crate::config;
use crate::context::Context;
use crate::failure::Failure;
use crate::paths::Shown;
use crate::settings::Root;
use act::Provisioner;
use anyhow::Context as _;
use layout::Layout;
use plan::below;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What opens an encrypted disk. Never shown, and never on a command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Vec<u8>);

impl Passphrase {
    /// It is these bytes.
    ///
    /// # Errors
    /// Nobody could type it at a boot.
    pub fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        if bytes.is_empty() || bytes.iter().any(|byte| b"\n\0".contains(byte)) {
            return Err(Failure::usage("a passphrase is one line that is not empty").into());
        }
        Ok(Self(bytes.to_vec()))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(not shown)")
    }
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// A device or a file, or, without a slash in front, a pool or a dataset to make everything in.
    pub on: PathBuf,
    /// The layout.
    pub wanted: Wanted,
    /// The directory that the new machine is mounted at.
    pub into: PathBuf,
    /// The machine's name.
    pub name: Option<String>,
    /// Whether it will be NixOS.
    pub is_nixos: bool,
    /// The name below `/dev/mapper`, if the device is to be encrypted.
    pub encrypt: Option<String>,
    /// What opens it; not needed to plan.
    pub passphrase: Option<Passphrase>,
    /// What may be lost: the word that the refusal says.
    pub erase: Option<String>,
    /// The UUID of the filesystem; by default a new one.
    pub uuid: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The device, pool or dataset.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub on: PathBuf,
    /// Its size, of a device.
    pub bytes: Option<u64>,
    /// The directory that the new machine is mounted at.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub into: PathBuf,
    /// The plan.
    pub plan: Vec<Act>,
    /// Whether it was carried out.
    pub executed: bool,
    /// The UUID of the filesystem.
    pub uuid: Option<String>,
    /// The first configuration, and where it is written.
    pub configuration: String,
    /// Where that is.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub file: PathBuf,
    /// The lines for fstab(5).
    pub fstab: Vec<String>,
    /// The line for crypttab(5).
    pub crypttab: Option<String>,
    /// What is left to a person.
    pub todo: Vec<Todo>,
    /// The root that the configuration names.
    #[serde(skip)]
    pub(crate) root: Option<Root>,
}

/// Looks and plans; carries the plan out unless it is a dry run.
///
/// # Errors
/// It was refused, failed, or was interrupted. Run again, it goes on.
pub fn run(cx: &Context, options: &Options) -> anyhow::Result<Report> {
    let layout = Layout::of(&options.wanted)?;
    let into = std::path::absolute(&options.into).context("finding the directory")?;
    let into: PathBuf = into.components().collect(); // without a slash at its end
    if into == Path::new("/") {
        return Err(Failure::usage("the new machine cannot be mounted at /")
            .hint("--into /mnt is the usual place")
            .into());
    }
    let lock = (!cx.dry_run).then(|| cx.lock()).transpose()?;
    let asked = survey::Asked {
        cx,
        options,
        layout: &layout,
        into: &into,
    };
    let mut found = asked.look()?;
    let uuid = found.note.uuid.clone();
    let root = layout.root(&uuid);
    let fstab = layout.fstab(&uuid);
    let crypttab = options.encrypt.as_ref().map(|mapper| {
        let luks = &found.note.luks;
        format!("{mapper} UUID={luks} none luks,discard")
    });
    let apart: Vec<&Path> = (layout.volumes.iter())
        .filter(|volume| volume.at != Path::new("/") && volume.at != layout.store)
        .map(|volume| volume.at.as_path())
        .collect();
    let store = layout.store.clone();
    let configuration = init::fresh(
        options.name.clone(),
        root.clone(),
        store,
        options.is_nixos,
        &apart,
    );
    // A fault of ours: better found here than at the first boot.
    config::parse_text(Path::new("the first configuration"), &configuration)
        .context("checking what would be written")?;
    let mut files = Vec::new();
    let in_store = |file: &str| below(&into, &layout.store).join(file);
    let texts = [
        Some(configuration.clone()),
        Some(lines(&fstab)),
        crypttab
            .as_ref()
            .map(|line| lines(std::slice::from_ref(line))),
    ];
    for (file, text) in Layout::FILES.iter().zip(texts) {
        files.extend(text.map(|text| (in_store(file), text)));
    }
    asked.look_at_files(&mut found.seen, &files);
    let plan = plan::plan(&layout, &found.seen, &into, &files);
    let mut report = Report {
        on: options.on.clone(),
        bytes: found.device.as_ref().map(|device| device.bytes),
        into: into.clone(),
        plan: planned(&plan),
        executed: false,
        uuid: layout.filesystem.map(|_| uuid),
        configuration,
        file: in_store(Layout::FILES[0]),
        fstab,
        crypttab,
        todo: todo(options, &layout, &into),
        root: Some(root),
    };
    if cx.dry_run {
        return Ok(report);
    }
    let inner = found.seen.device.clone();
    let mut provisioner = Provisioner {
        cx,
        layout: &layout,
        into: &into,
        device: found.device.as_ref(),
        inner,
        note: found.note,
        passphrase: options.passphrase.as_ref(),
        is_resumed: found.is_resumed,
    };
    let (acts, ended) = carry_out_all(&mut provisioner, &plan, cx.interrupt);
    report.plan = acts;
    ended.with_context(|| format!("laying out {}", Shown(&options.on)))?;
    if let Some(device) = &found.device {
        journal::forget(cx, device)?;
    }
    report.executed = true;
    drop(lock);
    Ok(report)
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What is left to a person before the machine can run.
fn todo(options: &Options, layout: &Layout, into: &Path) -> Vec<Todo> {
    let mut todo = Vec::new();
    let mut add = |fact: &str, cure: String| {
        todo.push(Todo {
            fact: fact.to_owned(),
            cure,
        });
    };
    let into = Shown(into);
    let has_blank = !matches!(layout.backend, Backend::Tmpfs | Backend::Overlay);
    if options.is_nixos {
        add(
            "the system is not installed",
            format!(
                "`nixos-generate-config --root {into}`, then import contrib/nixos/module.nix, then `nixos-install --root {into}`; the stores and /nix are neededForBoot"
            ),
        );
    } else if layout.backend != Backend::Overlay {
        add(
            "the system is not installed",
            format!(
                "install it into {into}; the lines for its /etc/fstab are in {into}{}/etc/state/fstab",
                layout.store.display()
            ),
        );
    }
    if has_blank && !layout.takes_blank {
        add(
            "blank is not taken",
            format!(
                "when the system is installed: `state init --install-boot` in it, then `state --root {into} blank take`"
            ),
        );
    }
    if layout
        .volumes
        .iter()
        .any(|volume| matches!(volume.place, Place::Dataset(_)))
    {
        let pool = layout.pool.split('/').next().unwrap_or_default();
        add(
            "the pool is imported here",
            format!("before the reboot: `umount -R {into}`, then `zpool export {pool}`"),
        );
    }
    todo
}

//! `state archives`: what there is at the targets, and whether it is whole.

mod find;
mod list;
mod show;
mod verify;

pub(crate) use find::{Found, find, find_alone};
pub use list::{List, list};
pub use show::{Show, show};
pub use verify::{Unreadable, Verdict, Verified, verify};

use super::keyring::Keyring;
use super::seal::Signature;
use crate::archive::Result;
use crate::archive::label::{Label, check_machine};
use crate::config;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::settings::Settings;
use crate::target::catalog::Catalog;
use crate::target::{self, Target};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which archives are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// A target, by name or URL; by default all that are configured.
    pub from: Option<String>,
    /// A machine; by default this one.
    pub machine: Option<String>,
    /// The fingerprint of the key whose signatures are believed, whatever the settings say.
    pub trust_key: Option<String>,
    /// A list of keys that are believed, instead of that of the settings.
    pub trusted_signers: Option<PathBuf>,
    /// What opens encrypted archives.
    pub keyring: Keyring,
    /// What a target that is named by its URL is reached with.
    pub access: Access,
}

/// What a target is reached with, as in its table of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// A file with the credentials of an object store.
    pub credentials: Option<PathBuf>,
    /// The private key for an ssh server.
    pub key: Option<PathBuf>,
    /// The file with the ssh server's host key.
    pub known_hosts: Option<PathBuf>,
}

/// An archive as its label describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// The target's name or URL.
    pub target: String,
    /// The machine.
    pub machine: String,
    /// The archive's id.
    pub id: String,
    /// The archive it builds on.
    pub parent: Option<String>,
    /// Its place in its chain: 0 is a full archive.
    pub position: u64,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Whether everything that should be in it is.
    pub is_complete: bool,
    /// What is wrong with its data, as far as can be seen without reading it.
    pub broken: Option<String>,
    /// The public keys that it is encrypted to.
    pub encrypted_to: Vec<String>,
    /// Who vouches for it.
    pub signature: Signature,
    /// The commit of the machine's configuration.
    pub commit: Option<String>,
    /// Whether the configuration's work tree differed from it.
    pub is_dirty: bool,
    /// How many entries it has.
    pub entries: u64,
    /// The size of its content.
    pub bytes: u64,
    /// Its size as stored.
    pub data_bytes: u64,
}

impl Listed {
    fn of(target: &str, catalog: &Catalog, label: &Label, signature: Signature) -> Self {
        Self {
            target: target.to_owned(),
            machine: label.machine.clone(),
            id: label.id.to_string(),
            parent: label.parent.as_ref().map(ToString::to_string),
            position: label.position,
            time: label.time,
            is_complete: label.is_complete,
            broken: catalog.broken.get(&label.id).cloned(),
            encrypted_to: label.recipients.clone(),
            signature,
            commit: label.commit.clone(),
            is_dirty: label.is_dirty,
            entries: label.totals.entries,
            bytes: label.totals.bytes,
            data_bytes: label.data_bytes,
        }
    }
}

/// Something at a target that is no archive.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Odd {
    /// The target.
    pub target: String,
    /// The object, if it is about one.
    pub object: Option<String>,
    /// What is the matter with it.
    pub why: String,
}

fn none(machine: &str, id: Option<&str>) -> Failure {
    let what = id.map_or("an archive".to_owned(), |id| format!("the archive {id}"));
    Failure::new(
        Class::NoSuchArchive,
        format!("{what} of {machine} does not exist"),
    )
    .hint("`state archives list --machines` shows what there is")
}

pub(crate) fn machine_of(
    cx: &Context,
    settings: &Settings,
    which: &Which,
) -> anyhow::Result<String> {
    match &which.machine {
        Some(machine) => {
            check_machine(machine).map_err(Failure::usage)?;
            Ok(machine.clone())
        }
        None => machine_name(cx, settings),
    }
}

/// The targets that are meant.
pub(crate) fn targets(settings: &Settings, from: Option<&str>) -> anyhow::Result<Vec<String>> {
    let targets: Vec<String> = match from {
        Some(name) => vec![name.to_owned()],
        None => target::configured(settings).map(str::to_owned).collect(),
    };
    if targets.is_empty() {
        return Err(Failure::usage("there is no target to look for archives at")
            .hint("add [target.NAME] with a url, or name one: --from file:///mnt/usb/state")
            .into());
    }
    Ok(targets)
}

/// Looks at each target that is meant; those that cannot be looked at.
///
/// # Errors
/// None can.
pub(super) fn at_each(
    settings: &Settings,
    which: &Which,
    mut look: impl FnMut(&str, &dyn Target) -> Result<()>,
) -> anyhow::Result<Vec<Odd>> {
    let targets = targets(settings, which.from.as_deref())?;
    let mut unreached = Vec::new();
    let mut failure = None;
    for name in &targets {
        let looked = target::open(settings, name).and_then(|target| look(name, target.as_ref()));
        if let Err(error) = looked {
            unreached.push(Odd {
                target: name.clone(),
                object: None,
                why: error.told(),
            });
            failure = Some(error);
        }
    }
    match failure {
        Some(error) if unreached.len() == targets.len() => Err(error.into()),
        _ => Ok(unreached),
    }
}

/// The settings; none are needed where the target is a URL, as on a machine that is not there
/// yet.
pub(crate) fn settings(cx: &Context, which: &Which) -> anyhow::Result<Settings> {
    let url = which.from.as_ref().filter(|from| from.contains("://"));
    let mut settings = match config::load(cx) {
        Err(_) if url.is_some() && cx.config_file.is_none() => Settings::default(),
        settings => settings?,
    };
    if which.access != Access::default() {
        let url = url.ok_or_else(|| {
            Failure::usage("what a target is reached with is named beside its URL only")
                .hint("--from URL; a target of the configuration has it in its table")
        })?;
        let access = which.access.clone();
        let target = crate::settings::Target {
            url: url.clone(),
            credentials: access.credentials,
            key: access.key,
            known_hosts: access.known_hosts,
            bandwidth: None,
            keep: crate::settings::Keep::default(),
        };
        settings.target.insert(url.clone(), target);
    }
    Ok(settings)
}

/// Whether no configuration says which machine this is, as on a live medium.
pub fn is_nobody(cx: &Context, which: &Which) -> bool {
    let is_url = which.from.as_ref().is_some_and(|from| from.contains("://"));
    is_url && which.machine.is_none() && cx.config_file.is_none() && config::load(cx).is_err()
}

/// The machine's name in archives.
///
/// # Errors
/// It has none, or one that is no name.
pub(crate) fn machine_name(cx: &Context, settings: &Settings) -> anyhow::Result<String> {
    let name = match &settings.machine.name {
        Some(name) => name.clone(),
        None => match std::fs::read_to_string(cx.rooted("/etc/hostname")) {
            Ok(text) => text.trim().to_owned(),
            Err(_) if cx.root_dir == Path::new("/") => {
                let uname = rustix::system::uname();
                uname
                    .nodename()
                    .to_str()
                    .context("reading the host name")?
                    .to_owned()
            }
            Err(_) => String::new(),
        },
    };
    check_machine(&name).map_err(|why| {
        let fact = match name.is_empty() {
            true => "this machine has no name: no [machine] name and no host name".to_owned(),
            false => format!("{name:?} cannot be the machine's name: {why}"),
        };
        Failure::usage(fact).hint("set [machine] name in state.toml")
    })?;
    Ok(name)
}

//! `state recovery-sheet`: one page for the drawer. What a person with an empty disk has to know, and
//! nothing that a thief could use.
//!
//! Only what the settings say and what is public is read: no file of credentials, no private key but
//! for the public half of the one that signs, no environment.

use super::{archives, backup, seal};
use crate::archive::label::Id;
use crate::config;
use crate::context::Context;
use crate::engine;
use crate::ledger::Ledger;
use crate::settings::{self, Class, Settings};
use crate::target::place::{Place, S3, Sftp, without_password};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::PathBuf;

/// The page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The machine's name in archives.
    pub machine: String,
    /// When it was written.
    pub time: DateTime<Utc>,
    /// The engine of root.
    pub root: Option<&'static str>,
    /// The stores whose content is archived.
    #[serde(serialize_with = "crate::paths::serialize_all")]
    pub stores: Vec<PathBuf>,
    /// The repository of the configuration.
    pub config: Option<Config>,
    /// Where archives are.
    pub targets: Vec<Target>,
    /// The key that signs them.
    pub signer: Option<Signer>,
    /// Who can read them: public keys, and files that list some.
    pub encrypted_to: Vec<String>,
}

/// The machine's other half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// The work tree.
    #[serde(serialize_with = "crate::paths::serialize")]
    pub repo: PathBuf,
    /// Where it can be cloned from.
    pub url: Option<String>,
    /// The commit that is checked out.
    pub commit: Option<String>,
}

/// A place where archives are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// Its name in the settings.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// What it is reached with: names of files, not what is in them.
    pub with: Vec<String>,
    /// The newest complete archive there, as far as this machine knows.
    pub newest: Option<Newest>,
    /// What fetches all objects of one archive, `$ID`, with stock tools.
    pub fetch: String,
}

/// The newest archive at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Newest {
    /// Its id.
    pub id: String,
    /// When it was published.
    pub published: DateTime<Utc>,
}

/// The key that signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signer {
    /// Its fingerprint.
    pub fingerprint: String,
    /// The line of an allowed_signers file that trusts it.
    pub allowed: String,
}

/// Writes the page.
///
/// # Errors
/// There is no configuration, or the machine has no name.
pub fn run(cx: &Context) -> anyhow::Result<Report> {
    let settings = config::load(cx)?;
    let machine = archives::machine_name(cx, &settings)?;
    let signer = seal::Seal::of(cx, &settings).context("reading the key that signs")?;
    let signer = signer.map(|seal| seal.public(&machine)).transpose()?;
    let signer = signer.map(|(fingerprint, allowed)| Signer {
        fingerprint,
        allowed,
    });
    // What it cannot say is left out.
    let ledger = Ledger::read(cx, &settings).unwrap_or_default();
    let targets = settings.target.iter();
    let targets = targets.map(|(name, target)| self::target(name, target, &machine, &ledger));
    let stores = settings.persist.iter();
    let stores = stores.filter(|(_, store)| store.class == Class::Backup);
    Ok(Report {
        time: cx.now,
        root: settings.root.as_ref().map(engine::name),
        stores: stores.map(|(path, _)| path.clone()).collect(),
        config: config(cx, &settings),
        targets: targets.collect(),
        signer,
        encrypted_to: settings.archive.encrypt_to.clone(),
        machine,
    })
}

fn config(cx: &Context, settings: &Settings) -> Option<Config> {
    let repo = &settings.config.as_ref()?.repo;
    let found = backup::commit(&cx.rooted(repo), repo).ok();
    Some(Config {
        repo: repo.clone(),
        url: found.as_ref().and_then(|found| found.url.clone()),
        commit: found.map(|found| found.commit),
    })
}

fn target(name: &str, target: &settings::Target, machine: &str, ledger: &Ledger) -> Target {
    let with = [
        ("key", &target.key),
        ("known hosts", &target.known_hosts),
        ("credentials", &target.credentials),
    ];
    let with = with.iter().filter_map(|(what, file)| {
        let file = file.as_ref()?;
        Some(format!("{what}: {}", file.display()))
    });
    let there = ledger.archives.iter().filter(|entry| {
        entry.target == name
            && entry.machine == machine
            && entry.is_complete
            && entry.damaged.is_none()
    });
    let newest = there.max_by_key(|entry| entry.id.parse::<Id>().ok());
    Target {
        name: name.to_owned(),
        url: without_password(&target.url),
        with: with.collect(),
        newest: newest.map(|entry| Newest {
            id: entry.id.clone(),
            published: entry.published,
        }),
        fetch: fetch(target, machine),
    }
}

/// What fetches an archive without `state`.
fn fetch(target: &settings::Target, machine: &str) -> String {
    match Place::parse(&target.url) {
        Ok(Place::File(path)) => format!("cp {}/{machine}/$ID.* .", path.display()),
        Ok(Place::Sftp(Sftp {
            user,
            host,
            port,
            directory,
            ..
        })) => {
            let user = user.map_or(String::new(), |user| format!("{user}@"));
            let port = port.map_or(String::new(), |port| format!("-P {port} "));
            format!("sftp {port}{user}{host}:{directory}/{machine}/$ID.'*' .")
        }
        Ok(Place::S3(S3 {
            bucket,
            prefix,
            endpoint,
            ..
        })) => {
            let endpoint = endpoint.map_or(String::new(), |url| format!("--endpoint-url {url} "));
            let prefix = match prefix.trim_matches('/') {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            };
            format!(
                "aws s3 cp {endpoint}--recursive --exclude '*' --include \"$ID.*\" s3://{bucket}/{prefix}{machine}/ ."
            )
        }
        Err(_) => String::new(),
    }
}

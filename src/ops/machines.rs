//! `state archives list --machines`: the machines at a target, each by its newest archive.

use super::archives::{Odd, Which, at_each, settings};
use super::drill::publish::newest as newest_proof;
use super::seal::{Signature, Trust};
use crate::archive::proof::Proof;
use crate::context::Context;
use crate::target::{self, Object, Target, catalog};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// The machines that there are archives of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Target by target, by name.
    pub machines: Vec<Machine>,
    /// Labels that cannot be used, targets that cannot be reached.
    pub odd: Vec<Odd>,
}

/// One machine at one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The target's name or URL.
    pub target: String,
    /// The machine.
    pub machine: String,
    /// How many archives there are.
    pub archives: usize,
    /// What all its objects take there.
    pub stored_bytes: u64,
    /// The newest complete archive; none if there is no such.
    pub newest: Option<Newest>,
    /// The last proven restore; none if none is known there.
    pub proven: Option<Proven>,
}

/// A proof that a restore worked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proven {
    /// The proof.
    #[serde(flatten)]
    pub proof: Proof,
    /// Who vouches for it.
    pub signature: Signature,
}

/// The newest complete archive of a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Newest {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// The size of its content.
    pub bytes: u64,
    /// The commit of the machine's configuration.
    pub commit: Option<String>,
    /// Who vouches for it.
    pub signature: Signature,
}

/// Looks. One listing, and of each machine the newest label with its signature and the newest
/// proof: others only where the newest is incomplete or cannot be used.
///
/// # Errors
/// No target can be reached.
pub fn run(cx: &Context, which: &Which) -> anyhow::Result<Report> {
    let settings = settings(cx, which)?;
    let trust = Trust::of(cx, &settings, which)?;
    let mut report = Report {
        machines: Vec::new(),
        odd: Vec::new(),
    };
    let unreached = at_each(&settings, which, |name, target| {
        let machines = target::by_machine(target.list("")?);
        for (machine, objects) in machines {
            look(&mut report, name, target, &machine, &objects, &trust)?;
        }
        Ok(())
    })?;
    report.odd.extend(unreached);
    Ok(report)
}

fn look(
    report: &mut Report,
    name: &str,
    target: &dyn Target,
    machine: &str,
    objects: &[Object],
    trust: &Trust,
) -> crate::archive::Result<()> {
    let labels: Vec<&Object> = objects
        .iter()
        .filter(|object| catalog::is_label(object))
        .collect();
    if labels.is_empty() {
        return Ok(()); // what an interrupted first run left is no machine yet
    }
    let mut newest = None;
    // By name, which is by the time of publication.
    for object in labels.iter().rev() {
        match catalog::read_label(target, object) {
            Ok(label) if label.is_complete => {
                newest = Some(Newest {
                    id: label.id.to_string(),
                    time: label.time,
                    bytes: label.totals.bytes,
                    commit: label.commit.clone(),
                    signature: trust.look(target, &label)?,
                });
                break;
            }
            Ok(_) => {}
            Err(error) => report.odd.push(Odd {
                target: name.to_owned(),
                object: Some(object.name.clone()),
                why: error.told(),
            }),
        }
    }
    let mut odd = |object: &str, why| {
        report.odd.push(Odd {
            target: name.to_owned(),
            object: Some(object.to_owned()),
            why,
        });
    };
    let proven = newest_proof(target, machine, objects, trust, &mut odd)?;
    let proven = proven.map(|(proof, signature)| Proven { proof, signature });
    report.machines.push(Machine {
        target: name.to_owned(),
        machine: machine.to_owned(),
        archives: labels.len(),
        stored_bytes: objects.iter().map(|object| object.bytes).sum(),
        newest,
        proven,
    });
    Ok(())
}

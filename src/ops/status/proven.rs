//! Whether a restore is proven to work, from the ledger alone: a glance waits for no network.

use crate::context::Context;
use crate::ledger::{Drill, Ledger};
use crate::ops::archives::machine_name;
use crate::settings::{Age, Settings};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// What is known of drills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proven {
    /// How old the last proof may be.
    pub max_age: Option<Age>,
    /// The last proof, at whichever target.
    pub proven: Option<Drill>,
    /// Whether it is too old, or there is none.
    pub is_overdue: bool,
    /// The drills that failed since the last proof of their target.
    pub failed: Vec<Drill>,
    /// Why nothing is known; ordinary users cannot look.
    pub unseen: Option<String>,
}

impl Proven {
    /// Whether something wants attention.
    pub fn needs_attention(&self) -> bool {
        self.is_overdue || !self.failed.is_empty()
    }
}

/// Looks; nothing where nobody asks for drills and none was done.
pub(super) fn look(cx: &Context, settings: &Settings) -> Option<Proven> {
    let max_age = settings.drill.max_age;
    let known = Ledger::read(cx, settings)
        .map_err(anyhow::Error::from)
        .and_then(|ledger| Ok((ledger, machine_name(cx, settings)?)));
    match known {
        Ok((ledger, machine)) => judge(ledger, &machine, settings, cx.now),
        Err(error) => max_age.map(|_| Proven {
            max_age,
            proven: None,
            is_overdue: false,
            failed: Vec::new(),
            unseen: Some(crate::failure::message(&error)),
        }),
    }
}

fn judge(ledger: Ledger, machine: &str, settings: &Settings, now: DateTime<Utc>) -> Option<Proven> {
    let max_age = settings.drill.max_age;
    // What is no longer configured says nothing of what is.
    let is_here =
        |drill: &Drill| drill.machine == machine && settings.target.contains_key(&drill.target);
    let drills = ledger.drills.into_iter().filter(is_here);
    let (proofs, failed): (Vec<_>, Vec<_>) = drills.partition(Drill::is_proof);
    let proven = proofs.into_iter().max_by_key(|proof| proof.at);
    if max_age.is_none() && proven.is_none() && failed.is_empty() {
        return None;
    }
    let is_overdue = max_age.is_some_and(|max_age| match &proven {
        None => true,
        // One of the future is by a clock that was wrong, or is.
        Some(proof) => {
            let age = now - proof.at;
            age > max_age.span() || age < TimeDelta::days(-1)
        }
    });
    Some(Proven {
        max_age,
        proven,
        is_overdue,
        failed,
        unseen: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::proof::Against;

    #[test]
    fn what_is_too_old_or_failed_since_wants_attention() {
        let text = |drill: &str| -> Settings {
            format!("[target.usb]\nurl = \"file:///mnt\"\n{drill}")
                .parse()
                .unwrap()
        };
        let asked = text("[drill]\nmax-age = \"2 d\"\n");
        let day = |n: i64| DateTime::from_timestamp(1_800_000_000 + n * 86_400, 0).unwrap();
        let drill = |target: &str, at: i64, found: Option<&str>| Drill {
            target: target.into(),
            machine: "blitzar".into(),
            id: "x".into(),
            data_sha256: String::new(),
            at: day(at),
            entries: 3,
            bytes: 33,
            against: Against::Manifest,
            found: found.map(str::to_owned),
        };
        let judged = |drills: &[Drill], settings: &Settings, now| {
            let mut ledger = Ledger::default();
            drills.iter().for_each(|one| ledger.drilled(one.clone()));
            judge(ledger, "blitzar", settings, day(now)).map(|seen| seen.needs_attention())
        };
        let other = Drill {
            machine: "kiosk".into(),
            ..drill("usb", 10, None)
        };
        for (drills, settings, now, wanted) in [
            (vec![], &text(""), 10, None),
            (vec![], &asked, 10, Some(true)),
            (vec![drill("usb", 10, None)], &asked, 12, Some(false)),
            (vec![drill("usb", 10, None)], &asked, 13, Some(true)),
            (vec![drill("usb", 10, None)], &text(""), 13, Some(false)),
            // By a clock of the future.
            (vec![drill("usb", 10, None)], &asked, 8, Some(true)),
            // Of another machine, and at a target that is no longer there.
            (vec![other, drill("gone", 10, None)], &asked, 10, Some(true)),
            (
                vec![drill("usb", 10, None), drill("usb", 11, Some("x"))],
                &text(""),
                11,
                Some(true),
            ),
        ] {
            assert_eq!(judged(&drills, settings, now), wanted, "{drills:?} {now}");
        }
    }
}

//! What is kept and what may go: a pure function of what there is, the policy and the time.
//!
//! Every verdict has its reasons, and whatever is doubtful is kept: things of other makers, ages
//! that cannot be told, everything while the clock is behind what it once said.

use crate::settings::{Keep, PastRoots};
use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use serde::Serialize;
use state_api::{PastRoot, PastRootName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Why something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is the newest there is.
    Newest,
    /// The user pinned it.
    Pinned,
    /// Something else that is kept cannot be seen without it.
    Needed,
    /// It is one of the `last` newest.
    Last,
    /// It is younger than `days`.
    Days,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is the newest of its year.
    Yearly,
    /// No rule is configured.
    NoRule,
    /// `state` did not name it.
    NotOurs,
    /// The next backup asks what differs from it.
    Backup,
    /// The clock stood wrong when it was made.
    AgeUnknown,
    /// The clock is behind a time that it showed before, or was never set.
    ClockWrong,
    /// Something that is kept builds on it.
    Parent,
    /// It is incomplete, and nothing complete is newer.
    NothingBetter,
    /// Something is wrong with it: a person shall look.
    Broken,
    /// Nobody who is believed signed it: a person shall look.
    Unvouched,
    /// What it is cannot be read, or what might build on it.
    Unreadable,
    /// The newest has not been read back since it was published.
    NewestUnproven,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Newest => "newest",
            Self::Pinned => "pinned",
            Self::Needed => "needed by another",
            Self::Last => "last",
            Self::Days => "days",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
            Self::NoRule => "no rule configured",
            Self::NotOurs => "named by hand",
            Self::Backup => "the next backup's",
            Self::AgeUnknown => "age unknown",
            Self::ClockWrong => "the clock is wrong",
            Self::Parent => "others build on it",
            Self::NothingBetter => "nothing better is newer",
            Self::Broken => "broken",
            Self::Unvouched => "nobody vouches for it",
            Self::Unreadable => "not everything there can be read",
            Self::NewestUnproven => "the newest was not read back",
        })
    }
}

/// What is decided about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict<N> {
    /// Which.
    pub name: N,
    /// Why it is kept; empty: it goes.
    pub kept_by: Vec<Reason>,
}

impl<N> Verdict<N> {
    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        !self.kept_by.is_empty()
    }
}

/// No honest clock has shown an earlier time to this program: 2026-01-01T00:00:00Z.
const CLOCK_WAS_SET: DateTime<Utc> = DateTime::from_timestamp(1_767_225_600, 0).expect("in range");

/// So far a time may lie ahead without meaning that the clock moved backwards: in the initrd, a
/// hardware clock that keeps local time is taken for UTC. The error is on the safe side: ages
/// come out too small.
const SLACK: TimeDelta = TimeDelta::days(1);

fn clock_is_wrong(now: DateTime<Utc>, times: impl Iterator<Item = DateTime<Utc>>) -> bool {
    now < CLOCK_WAS_SET || times.max().is_some_and(|latest| latest > now + SLACK)
}

/// Decides about past roots: the `last` newest are kept *and* those younger than `days`; `last = 0`
/// keeps none. Verdicts come oldest first.
///
/// The order is that of `sequence`; ages come from the times in the names, which are the record
/// of the rotation. A time that the order contradicts is replaced by the next later one that it
/// does not: the youngest that the root can be.
pub fn past_roots(
    roots: &[PastRoot],
    policy: PastRoots,
    now: DateTime<Utc>,
) -> Vec<Verdict<PastRootName>> {
    let mut roots: Vec<&PastRoot> = roots.iter().collect();
    roots.sort_by_key(|root| root.sequence);
    let ours = roots.iter().filter(|root| root.rotated_at.is_some());
    let mut newest: Vec<u64> = ours.map(|root| root.sequence).collect();
    newest.reverse();
    let clock_is_wrong = clock_is_wrong(now, roots.iter().filter_map(|root| root.rotated_at));
    let oldest_kept = TimeDelta::try_days(policy.days.into())
        .and_then(|days| now.checked_sub_signed(days))
        .unwrap_or(DateTime::<Utc>::MIN_UTC);

    let ages = youngest_possible(&roots);
    let verdicts = roots.iter().zip(ages).map(|(root, age)| {
        let mut kept_by = Vec::new();
        let mut keep = |reason, applies| {
            if applies {
                kept_by.push(reason);
            }
        };
        keep(Reason::Pinned, root.is_pinned);
        keep(Reason::Needed, !root.needed_by.is_empty());
        keep(Reason::NotOurs, root.rotated_at.is_none());
        if policy.last > 0 && root.rotated_at.is_some() {
            let last = usize::try_from(policy.last).unwrap_or(usize::MAX);
            keep(Reason::Newest, newest.first() == Some(&root.sequence));
            keep(
                Reason::Last,
                newest.iter().take(last).any(|n| *n == root.sequence),
            );
            keep(Reason::Days, age.is_some_and(|at| at > oldest_kept));
            keep(Reason::AgeUnknown, age.is_none());
            keep(Reason::ClockWrong, clock_is_wrong);
        }
        Verdict {
            name: root.name.clone(),
            kept_by,
        }
    });
    verdicts.collect()
}

/// For each root (in order of sequence) the latest time at which it can have been rotated, as far
/// as the recorded times can be believed.
fn youngest_possible(roots: &[&PastRoot]) -> Vec<Option<DateTime<Utc>>> {
    let mut latest = CLOCK_WAS_SET;
    let believed: Vec<_> = roots
        .iter()
        .map(|root| {
            let at = root.rotated_at.filter(|at| *at >= latest)?;
            latest = at;
            Some(at)
        })
        .collect();
    let mut next = None;
    let mut times: Vec<_> = believed
        .into_iter()
        .rev()
        .map(|at| {
            next = at.or(next);
            next
        })
        .collect();
    times.reverse();
    times
}

/// A snapshot or archive as retention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<N> {
    /// What it is called in the verdict.
    pub name: N,
    /// When it was made, by `state`'s own record; `None` for things that are named by hand.
    pub at: Option<DateTime<Utc>>,
    /// Grows with every one made; says which is newest when clocks lie.
    pub sequence: u64,
}

/// Decides by a `keep = { last = …, hourly = … }` policy: each rule keeps the newest of each of
/// the latest so many hours, days, … that have one; hours and days are those of UTC. Without a rule
/// everything is kept. Verdicts come oldest first.
pub fn keep<N: Clone>(items: &[Item<N>], policy: &Keep, now: DateTime<Utc>) -> Vec<Verdict<N>> {
    let mut items: Vec<&Item<N>> = items.iter().collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.sequence));
    let clock_is_wrong = clock_is_wrong(now, items.iter().filter_map(|item| item.at));
    let mut rules = rules(policy);
    let mut newest = true;
    let verdicts = items.iter().map(|item| {
        let mut kept_by = Vec::new();
        if let Some(at) = item.at {
            if std::mem::take(&mut newest) {
                kept_by.push(Reason::Newest);
            }
            for rule in &mut rules {
                if rule.takes(at, item.sequence) {
                    kept_by.push(rule.reason);
                }
            }
            if *policy == Keep::default() {
                kept_by.push(Reason::NoRule);
            }
            if at < CLOCK_WAS_SET {
                kept_by.push(Reason::AgeUnknown);
            }
            if clock_is_wrong {
                kept_by.push(Reason::ClockWrong);
            }
        } else {
            kept_by.push(Reason::NotOurs);
        }
        Verdict {
            name: item.name.clone(),
            kept_by,
        }
    });
    let mut verdicts: Vec<_> = verdicts.collect();
    verdicts.reverse();
    verdicts
}

/// An archive as retention sees it. The order of their names is the order they were published in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its id.
    pub name: String,
    /// When it was made, by the machine's clock.
    pub at: DateTime<Utc>,
    /// The archive it builds on.
    pub parent: Option<String>,
    /// Whether everything that should be in it is.
    pub is_complete: bool,
    /// What is wrong with it, as far as can be seen: it stays, and takes no place in a rule.
    pub doubt: Option<Reason>,
}

/// Decides about the archives of one machine at one target, by the same policy as [`keep`].
/// Only complete ones take a place in a rule; an incomplete one is kept until a complete one is
/// newer. Whatever a kept one builds on is kept. `doubt` is a reason to keep everything.
pub fn archives(
    archives: &[Archived],
    policy: &Keep,
    now: DateTime<Utc>,
    doubt: Option<Reason>,
) -> Vec<Verdict<String>> {
    let mut archives: Vec<&Archived> = archives.iter().collect();
    archives.sort_by(|a, b| a.name.cmp(&b.name));
    let is_sound = |archive: &Archived| archive.is_complete && archive.doubt.is_none();
    let sound = archives
        .iter()
        .enumerate()
        .filter(|(_, archive)| is_sound(archive));
    let items: Vec<Item<String>> = sound
        .map(|(n, archive)| Item {
            name: archive.name.clone(),
            at: Some(archive.at),
            sequence: n as u64,
        })
        .collect();
    let newest = items.last().map(|item| item.name.clone());
    let clock_is_wrong = clock_is_wrong(now, archives.iter().map(|archive| archive.at));
    let mut kept: BTreeMap<String, Vec<Reason>> = keep(&items, policy, now)
        .into_iter()
        .map(|verdict| (verdict.name, verdict.kept_by))
        .collect();
    for archive in &archives {
        let reasons = kept.entry(archive.name.clone()).or_default();
        let mut keep = |reason, applies| {
            if applies && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        };
        if let Some(doubt) = archive.doubt {
            keep(doubt, true);
        }
        keep(
            Reason::NothingBetter,
            !archive.is_complete && newest.as_ref().is_none_or(|newest| *newest < archive.name),
        );
        keep(Reason::NoRule, *policy == Keep::default());
        keep(Reason::ClockWrong, clock_is_wrong);
        if let Some(doubt) = doubt {
            keep(doubt, true);
        }
    }
    // Down from each one that is kept to the full one; names say nothing about who builds on whom
    // once the clock was wrong.
    let parents: BTreeMap<&str, &str> = archives
        .iter()
        .filter_map(|archive| Some((archive.name.as_str(), archive.parent.as_deref()?)))
        .collect();
    for archive in &archives {
        let mut at = archive.name.as_str();
        while kept.get(at).is_some_and(|reasons| !reasons.is_empty())
            && let Some(parent) = parents.get(at)
            && let Some(reasons) = kept.get_mut(*parent)
            && !reasons.contains(&Reason::Parent)
        {
            reasons.push(Reason::Parent);
            at = parent;
        }
    }
    let verdicts = kept
        .into_iter()
        .map(|(name, kept_by)| Verdict { name, kept_by });
    verdicts.collect()
}

/// Tells the period that a time (of the item with that sequence) belongs to.
type Period = fn(DateTime<Utc>, u64) -> (i64, u64);

/// One rule of a policy while it walks from the newest to the oldest.
struct Rule {
    reason: Reason,
    left: u32,
    period: Period,
    taken: BTreeSet<(i64, u64)>,
}

impl Rule {
    fn takes(&mut self, at: DateTime<Utc>, sequence: u64) -> bool {
        if self.left == 0 || !self.taken.insert((self.period)(at, sequence)) {
            return false;
        }
        self.left -= 1;
        true
    }
}

fn rules(policy: &Keep) -> [Rule; 6] {
    let table: [(Reason, u32, Period); 6] = [
        (Reason::Last, policy.last, |_, sequence| (0, sequence)),
        (Reason::Hourly, policy.hourly, |at, _| {
            (at.num_days_from_ce().into(), at.hour().into())
        }),
        (Reason::Daily, policy.daily, |at, _| {
            (at.num_days_from_ce().into(), 0)
        }),
        (Reason::Weekly, policy.weekly, |at, _| {
            let week = at.iso_week();
            (week.year().into(), week.week().into())
        }),
        (Reason::Monthly, policy.monthly, |at, _| {
            (at.year().into(), at.month().into())
        }),
        (Reason::Yearly, policy.yearly, |at, _| (at.year().into(), 0)),
    ];
    table.map(|(reason, left, period)| Rule {
        reason,
        left,
        period,
        taken: BTreeSet::new(),
    })
}

#[cfg(test)]
mod archives_tests;
#[cfg(test)]
mod tests;

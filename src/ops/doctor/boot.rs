//! This boot: root was reset, the clock is right, nothing else is at work.

use super::{Facts, Finding, Severity};
use chrono::DateTime;

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    facts.config.as_ref().ok()?.settings.root.as_ref()?;
    if !facts.machine.is_running {
        return None;
    }
    let bad = |fact: String| Finding::new("boot", Severity::Bad, fact);
    Some(match &facts.record {
        Err(error) => vec![bad(error.clone())],
        Ok(None) => vec![
            bad("nothing tells that root was reset at this boot".into()).cure(
                "`state reset` has to run in the initrd, before root is mounted: docs/boot.md",
            ),
        ],
        Ok(Some(record)) if record.outcome.is_success() => Vec::new(),
        Ok(Some(record)) => {
            let (fact, cure) = record.why_not();
            let mut finding = bad(format!("root was not reset at this boot: {fact}"));
            finding.cure = cure;
            vec![finding]
        }
    })
}

/// Names, ages and retention go by the clock.
pub(super) fn clock(facts: &Facts) -> Option<Vec<Finding>> {
    // Some day before this program existed.
    let earliest = DateTime::from_timestamp(1_735_689_600, 0).expect("a date chrono can hold");
    let warn = |fact: String| {
        Some(vec![
            Finding::new("clock", Severity::Warn, fact)
                .cure("set it; until then nothing is deleted by age"),
        ])
    };
    let record = facts.record.as_ref().ok().and_then(Option::as_ref);
    match record {
        _ if facts.now < earliest => {
            warn(format!("the clock says {}", facts.now.format("%Y-%m-%d")))
        }
        Some(record) if record.at > facts.now => warn(format!(
            "the clock went backwards: root was reset at {}, and now it is {}",
            record.at.format("%Y-%m-%d %H:%M"),
            facts.now.format("%Y-%m-%d %H:%M")
        )),
        _ => Some(Vec::new()),
    }
}

pub(super) fn lock(facts: &Facts) -> Option<Vec<Finding>> {
    let finding = |pid| {
        let fact = format!("another run of state is changing something (pid {pid})");
        Finding::new("lock", Severity::Note, fact)
    };
    Some(facts.lock_holder.map(finding).into_iter().collect())
}

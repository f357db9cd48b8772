//! The configuration: it is right, and its master copy is where no reset erases it.

use super::{Facts, Finding, Severity};
use crate::ops::look::StoreCopy;

const CHECK: &str = "configuration";

pub(super) fn check(facts: &Facts) -> Option<Vec<Finding>> {
    let config = match &facts.config {
        Ok(config) => config,
        Err(error) => {
            let finding = |fault: &crate::config::Fault| Finding {
                excerpt: fault.excerpt.clone(),
                cure: fault.hint.clone(),
                ..Finding::new(CHECK, Severity::Bad, fault.fact.clone())
            };
            return Some(error.faults.iter().map(finding).collect());
        }
    };
    let mut findings = Vec::new();
    if config.settings.persist.is_empty() {
        findings.push(
            Finding::new(
                CHECK,
                Severity::Warn,
                "no store is declared: nothing is kept",
            )
            .cure("add [persist.\"/persist\"]; `state init --dry-run` proposes one"),
        );
    }
    match facts.store_copy {
        Some(StoreCopy::Missing) if config.settings.root.is_some() => findings.push(
            Finding::new(
                CHECK,
                Severity::Bad,
                "the store has no copy of the configuration: the next reset erases it",
            )
            .cure("copy it to etc/state/state.toml in the store"),
        ),
        Some(StoreCopy::Different) => findings.push(
            Finding::new(
                CHECK,
                Severity::Warn,
                "the store's copy of the configuration says something else",
            )
            .cure("compare the two; after the next boot the one in the store is in force"),
        ),
        Some(StoreCopy::Same | StoreCopy::MadeByNix | StoreCopy::Missing) | None => {}
    }
    Some(findings)
}

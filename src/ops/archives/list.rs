//! `state archives list`: the archives of one machine.

use super::{Listed, Odd, Which, at_each, machine_of, settings};
use crate::context::Context;
use crate::ledger::Ledger;
use crate::ops::seal::Trust;
use crate::target::Target;
use crate::target::catalog::Catalog;
use serde::Serialize;

/// The archives there are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List {
    /// Oldest first, target by target.
    pub archives: Vec<Listed>,
    /// Labels that cannot be used, what interrupted runs left, targets that cannot be reached.
    pub odd: Vec<Odd>,
}

/// Lists the archives of a machine.
///
/// # Errors
/// No target can be reached.
pub fn list(cx: &Context, which: &Which) -> anyhow::Result<List> {
    let settings = settings(cx, which)?;
    let mut list = List {
        archives: Vec::new(),
        odd: Vec::new(),
    };
    let machine = machine_of(cx, &settings, which)?;
    let trust = Trust::of(cx, &settings, which)?;
    // What it cannot say counts as not known.
    let ledger = Ledger::read(cx, &settings).unwrap_or_default();
    let unreached = at_each(&settings, which, |name, target| {
        let mut catalog = Catalog::read(target, &machine)?;
        catalog.distrust_damaged(|label| ledger.is_damaged(name, label.id.as_str()));
        list.add(name, target, &catalog, &trust)
    })?;
    list.odd.extend(unreached);
    Ok(list)
}

impl List {
    fn add(
        &mut self,
        target: &str,
        at: &dyn Target,
        catalog: &Catalog,
        trust: &Trust,
    ) -> crate::archive::Result<()> {
        for label in &catalog.labels {
            let signature = trust.look(at, label)?;
            self.archives
                .push(Listed::of(target, catalog, label, signature));
        }
        for (name, error) in &catalog.unreadable {
            self.odd.push(Odd {
                target: target.to_owned(),
                object: Some(name.clone()),
                why: error.told(),
            });
        }
        for object in &catalog.leftovers {
            self.odd.push(Odd {
                target: target.to_owned(),
                object: Some(object.name.clone()),
                why: "an interrupted backup left it; the next one removes it".into(),
            });
        }
        Ok(())
    }
}

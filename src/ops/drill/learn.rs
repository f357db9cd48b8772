//! Proofs that were made elsewhere: where a machine has no key to its archives, the drill runs
//! where its owner's key is, and the machine is to know.

use super::publish::newest;
use crate::archive::Result;
use crate::archive::proof::Named;
use crate::context::Context;
use crate::ledger::{Drill, Ledger};
use crate::ops::seal::{Signature, Trust};
use crate::settings::Settings;
use crate::target::Target;
use crate::target::catalog::Catalog;

/// The proof at a target that is newer than what the ledger has of it, if it is to be believed:
/// by whom the settings trust, or anybody's where they trust nobody. A machine that did its drills
/// itself reads nothing.
pub(in crate::ops) fn look(
    cx: &Context,
    settings: &Settings,
    (name, machine): (&str, &str),
    (target, catalog): (&dyn Target, &Catalog),
    ledger: &Ledger,
    trust: &Trust,
) -> Result<Option<Drill>> {
    let known = ledger.proof(name, machine).map(|proof| proof.at);
    let is_news = |named: Named| known.is_none_or(|at| at < named.time) && named.time <= cx.now;
    let news = catalog.proofs.iter();
    let news = news.filter(|proof| Named::of(&proof.name).is_some_and(is_news));
    let news: Vec<_> = news.cloned().collect();
    let found = newest(target, machine, &news, trust, &mut |_, _| {})?;
    let is_believed = |signature: &Signature| match signature {
        Signature::Trusted { .. } => true,
        _ => settings.archive.trusted_signers.is_none(),
    };
    Ok(found
        .filter(|(_, signature)| is_believed(signature))
        .map(|(proof, _)| Drill::of(name, &proof, None)))
}

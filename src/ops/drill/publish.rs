//! Proofs at targets: published beside the archives, found again by their names.

use crate::archive::proof::{MOST_BYTES, Named, Proof};
use crate::archive::{Error, Result};
use crate::ops::seal::{self, Seal, Signature, Trust};
use crate::target::catalog::Catalog;
use crate::target::{Object, Target};

/// Publishes a proof. Those before it go, where the target lets them: they say less.
pub(super) fn publish(
    target: &dyn Target,
    catalog: &Catalog,
    proof: &Proof,
    seal: Option<&Seal>,
) -> Result<()> {
    let mut object = proof.to_text();
    if let Some(seal) = seal {
        object += &seal.sign(&object)?;
    }
    seal::put(target, &proof.name(), &object)?;
    // One that a clock ahead of time made would be the newest for ever.
    let others = catalog.proofs.iter().filter(|old| old.name != proof.name());
    for old in others {
        match target.delete(&old.name) {
            Err(error) if !error.is_denied() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// So many are tried before none is believed.
const MOST_TRIED: usize = 3;

/// The newest proof among a machine's objects that is not to be refused, and what of it cannot
/// be used. Names decide what is read: one object where all is well.
pub(in crate::ops) fn newest(
    target: &dyn Target,
    machine: &str,
    objects: &[Object],
    trust: &Trust,
    odd: &mut dyn FnMut(&str, String),
) -> Result<Option<(Proof, Signature)>> {
    let mut named: Vec<(Named, &Object)> = (objects.iter())
        .filter_map(|object| Some((Named::of(&object.name)?, object)))
        .collect();
    named.sort_by_key(|(named, _)| std::cmp::Reverse(named.time));
    for (_, object) in named.into_iter().take(MOST_TRIED) {
        let source = target.get_listed(object)?;
        let length = source.length();
        if length > MOST_BYTES {
            odd(&object.name, format!("a proof of {length} bytes"));
            continue;
        }
        let text = source.read(0, length as usize)?;
        match Proof::from_object(&object.name, &text) {
            Ok((proof, signature)) => {
                match trust.judge(machine, &proof.to_text(), signature.as_deref()) {
                    Signature::Refused { why } => {
                        odd(&object.name, format!("its signature: {why}"))
                    }
                    signature => return Ok(Some((proof, signature))),
                }
            }
            Err(error @ (Error::Damaged { .. } | Error::Newer { .. })) => {
                odd(&object.name, error.told());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

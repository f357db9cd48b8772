//! The data object on its way to the targets, and the label behind it.

use super::fan::Fan;
use crate::archive::label::Label;
use crate::archive::read::digest;
use crate::archive::write::Written;
use crate::archive::{Error, Result};
use crate::context::Context;
use crate::ops::encryption::Encryption;
use crate::ops::seal::{self, Seal};
use crate::progress::Progress;
use crate::target::Target;
use std::io::Write;

/// A label that says what was written, and each target's outcome.
pub(super) type Made = (Label, Written, Vec<Result<()>>);

/// Stores at all targets what `write` writes. `label` says what is known of it beforehand.
pub(super) fn store(
    cx: &Context,
    targets: &[&dyn Target],
    mut label: Label,
    encryption: Encryption,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<Written>,
) -> anyhow::Result<Made> {
    let mut fan = Fan::begin(targets, &label.data_name());
    if fan.is_lost() {
        let failure = fan.into_failure();
        return Err(failure.map_or_else(|| anyhow::anyhow!("no target"), anyhow::Error::from));
    }
    let mut sink = encryption.sink(&mut fan)?;
    let written = write(&mut sink);
    let written = written.and_then(|written| sink.finish().map(|()| written));
    let written = match written {
        Ok(written) => written,
        Err(error) if fan.is_lost() => {
            let cause = fan.into_failure();
            return Err(cause.unwrap_or(error).into());
        }
        Err(error) => return Err(error.into()),
    };
    if cx.interrupt.is_set() {
        return Err(state_api::Error::Interrupted.into());
    }
    let (bytes, sha256, outcomes) = fan.finish();
    label.is_complete = written.incomplete.is_empty();
    label.totals = written.totals;
    label.data_bytes = bytes;
    label.data_sha256 = sha256;
    label.manifest_sha256 = written.manifest_sha256;
    label.index_sha256 = written.index_sha256;
    Ok((label, written, outcomes))
}

/// Reads the data object back, and publishes the label if it is what was written. Until then
/// there is no archive. The signature comes before the label: no interruption leaves an archive
/// for which nobody vouches.
pub(super) fn publish(
    cx: &Context,
    target: &dyn Target,
    label: &Label,
    seal: Option<&Seal>,
    progress: &dyn Progress,
) -> Result<()> {
    let signature = seal.map(|seal| seal.sign(&label.to_text())).transpose()?;
    let name = label.data_name();
    let source = target.get(&name)?;
    let mut read = |bytes| progress.advance(bytes);
    if source.length() != label.data_bytes
        || digest(source.as_ref(), cx.interrupt, &mut read)? != label.data_sha256
    {
        return Err(Error::damaged(
            name,
            "the target gives back something else than was written",
        ));
    }
    if let Some(signature) = signature {
        seal::put(target, &seal::name(label), &signature)?;
    }
    seal::put(target, &label.name(), &label.to_text())
}

//! One archive, as people read of it.

use super::remarks;
use crate::cli::Screen;
use crate::cli::backup::{encrypted, names, path};
use crate::cli::exit::one_line;
use crate::cli::output::{FAINT, WARN};
use crate::cli::size::{entries, moment, size};
use crate::ops::archives::Show;
use crate::ops::seal::Signature;
use std::io::{self, Write as _};

/// One archive as people read of it.
///
/// # Errors
/// The screen's.
pub(super) fn human(show: &Show, out: &mut Screen<'_>) -> io::Result<()> {
    let (archive, machine) = (&show.archive, &show.machine);
    writeln!(
        out,
        "archive  {} of {} at {}",
        archive.id, archive.machine, archive.target
    )?;
    writeln!(
        out,
        "made     {} by {}",
        moment(archive.time),
        one_line(&machine.tool)
    )?;
    let (content, stored) = (size(archive.bytes), size(archive.data_bytes));
    writeln!(
        out,
        "holds    {}, {content}, stored as {stored}",
        entries(archive.entries)
    )?;
    if let Some(parent) = &archive.parent {
        writeln!(
            out,
            "chain    builds on {parent}, {} back to a full one",
            archive.position
        )?;
    }
    encrypted(&archive.encrypted_to, out)?;
    if let Signature::Trusted { key } = &archive.signature {
        writeln!(out, "signed   by {key}, trusted for {}", archive.machine)?;
    }
    let remarks = remarks(archive);
    if !remarks.is_empty() {
        writeln!(out, "         {WARN}{remarks}{WARN:#}")?;
    }
    match &machine.config {
        Some(config) => {
            let dirty = if config.is_dirty {
                ", and changes on top"
            } else {
                ""
            };
            writeln!(out, "config   commit {}{dirty}", config.commit)?;
            if let Some(url) = &config.url {
                writeln!(out, "         {}", one_line(url))?;
            }
        }
        None => writeln!(out, "config   {FAINT}no commit is known{FAINT:#}")?,
    }
    for store in &machine.stores {
        let store_path = path(&store.path.0);
        let (declared, on) = (store.entries.len(), &store.filesystem);
        let plural = if declared == 1 { "" } else { "s" };
        writeln!(
            out,
            "store    {store_path} on {on}, {declared} declared path{plural}"
        )?;
        if out.is_verbose() {
            for entry in &store.entries {
                writeln!(out, "         {}", path(&entry.0[1..]))?;
            }
        }
    }
    names(out, "incomplete", &show.incomplete)?;
    if out.is_verbose() {
        names(out, "left out", &show.left_out)?;
    }
    Ok(())
}

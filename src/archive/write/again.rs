//! A full archive out of a chain: nothing of the machine is read again.

use super::notes::Notes;
use super::plan::Walked;
use super::{Progress, Writer, Written};
use crate::archive::frame::FRAME_BYTES;
use crate::archive::machine::Machine;
use crate::archive::manifest::What;
use crate::archive::member::{Member, padded};
use crate::archive::read::{Archive, Piece};
use crate::archive::tar::Tar;
use crate::archive::{Error, Result};
use state_api::Interrupt;
use std::io::Write;

/// Writes what `archive` has, whichever of its chain holds it, as the full archive that `machine`
/// describes. Every member is compared with its record on the way.
///
/// # Errors
/// An archive of the chain is damaged, the new one could not be written, or the run was
/// interrupted.
pub fn again(
    archive: &Archive<'_>,
    machine: &Machine,
    level: i32,
    out: &mut dyn Write,
    interrupt: &dyn Interrupt,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Written> {
    let notes = Notes {
        missing: archive.index().incomplete.clone(),
        left_out: archive.index().left_out.clone(),
        ..Notes::default()
    };
    let tar = Tar::new(out, level)?;
    let (mut writer, machine_part) = Writer::begin(tar, machine, &[], notes, interrupt, watch)?;
    let mut members = archive.members();
    let mut offset = 0;
    for record in archive.records() {
        let (mut record, has_member) = record?;
        if interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        if has_member {
            let (mut data, mut stored) = (0, 0);
            let tar = &mut writer.tar;
            members.pieces(&record, &mut |piece| {
                if interrupt.is_set() {
                    return Err(state_api::Error::Interrupted.into());
                }
                match piece {
                    Piece::Headers(member) => {
                        // Owners are called as on the day of the last archive.
                        let member = Member {
                            user: machine.user(member.uid).to_vec(),
                            group: machine.group(member.gid).to_vec(),
                            ..member.clone()
                        };
                        let headers = (member.encode()).map_err(|bad| {
                            Error::os("encoding a member", std::io::Error::other(bad))
                        })?;
                        stored = member.stored_bytes;
                        tar.begin(headers.len() as u64 + padded(stored))?;
                        offset = tar.position();
                        tar.push(&headers)
                    }
                    Piece::Map(bytes) => tar.push(bytes),
                    Piece::Data(_, bytes) => {
                        data += bytes.len() as u64;
                        tar.push(bytes)
                    }
                }
            })?;
            writer.tar.pad(stored)?;
            // What comes behind a large file is read without its last frame.
            if writer.tar.position() - offset > FRAME_BYTES as u64 {
                writer.tar.cut()?;
            }
            if let What::File { .. } = record.what {
                writer.totals.files += 1;
                writer.totals.bytes += data;
            }
        }
        (record.archive, record.offset) = (0, offset);
        writer.totals.tar_bytes = writer.tar.position();
        writer.record(&record)?;
        (writer.watch)(Progress {
            entries: writer.totals.entries,
            bytes: writer.totals.bytes,
            path: &record.path,
        });
    }
    writer.tar.cut()?;
    writer.finish(machine_part, None, Walked::default())
}

//! Which devices this system is in the middle of laying out.
//!
//! A program that makes a filesystem and is killed leaves something that nobody can tell from
//! somebody's data. So it is noted down before the first act that writes to a device which was
//! empty or was given up, and forgotten when the disk is whole. It lies in `/run`: after a power
//! cut such a device is as foreign as any other.

use super::device::Device;
use crate::context::Context;
use serde::{Deserialize, Serialize};
use state_api::{Error, Result};
use std::fs;
use std::io;
use std::path::PathBuf;

/// What is being made on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Note {
    /// Its size: another device may get the same name.
    pub(super) bytes: u64,
    /// The UUID of the filesystem.
    pub(super) uuid: String,
    /// The UUID of the LUKS device.
    pub(super) luks: String,
}

fn file(cx: &Context, device: &Device) -> PathBuf {
    let name = device.path.to_string_lossy().replace('/', "-");
    cx.run_dir().join(format!("provision{name}.json"))
}

/// What was noted of a device.
pub(super) fn read(cx: &Context, device: &Device) -> Option<Note> {
    let text = fs::read(file(cx, device)).ok()?;
    let note: Note = serde_json::from_slice(&text).ok()?;
    (note.bytes == device.bytes).then_some(note)
}

/// Notes it down.
pub(super) fn write(cx: &Context, device: &Device, note: &Note) -> Result<()> {
    let file = file(cx, device);
    let text = serde_json::to_vec(note).expect("a note is JSON");
    fs::create_dir_all(cx.run_dir())
        .and_then(|()| fs::write(&file, text))
        .map_err(|error| Error::os(format!("writing {}", file.display()), error))
}

/// The disk is whole.
pub(super) fn forget(cx: &Context, device: &Device) -> Result<()> {
    let file = file(cx, device);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::os(format!("removing {}", file.display()), error))
        }
        _ => Ok(()),
    }
}

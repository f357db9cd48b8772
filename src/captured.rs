//! A captured root: an archive of what root held when the machine went down, in a directory of its
//! own, with the label beside it. The tmpfs engine knows where these directories are; what is in
//! them is known here.

use crate::archive::extract::Job;
use crate::archive::label::{self, Label};
use crate::archive::machine::Machine;
use crate::archive::manifest::{Digest, Missing};
use crate::archive::owners::Owners;
use crate::archive::read::Archive;
use crate::archive::select::Selection;
use crate::archive::write::{Draft, Input, Written, path_bytes};
use crate::archive::{self, Error};
use crate::copy::{self, Fidelity};
use crate::target::FileSource;
use rustix::fs::{Mode, OFlags, openat};
use sha2::{Digest as _, Sha256};
use state_api::{Interrupt, Never, View};
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The archive.
pub const DATA: &str = "root.tar.zst";
/// Its label.
pub const LABEL: &str = "root.txt";
/// zstd's level: somebody waits for the machine to go down.
const LEVEL: i32 = 1;
/// So much is written before it has to be on the disk: else the time that writing takes would
/// only be known at the end.
const AT_ONCE: u64 = 16 << 20;

/// What is captured.
#[derive(Debug)]
pub struct Content<'a> {
    /// Root.
    pub view: &'a View,
    /// What of it.
    pub selection: &'a Selection,
    /// What is left out, and why.
    pub left_out: Vec<Missing>,
    /// The machine and the moment.
    pub machine: &'a Machine,
    /// When that is.
    pub at: chrono::DateTime<chrono::Utc>,
}

/// Writes a captured root into the directory `dir`, onto the disk.
///
/// # Errors
/// It cannot be written, or `interrupt` was set before the end.
pub fn write(
    content: Content<'_>,
    dir: BorrowedFd<'_>,
    interrupt: &dyn Interrupt,
) -> archive::Result<(Label, Written)> {
    let id = content.machine.id.parse();
    let id = id.map_err(|why: &str| Error::damaged(&content.machine.id, why))?;
    let mut out = Out::new(create(dir, DATA)?);
    let draft = Draft {
        level: LEVEL,
        workers: 0,
        machine: content.machine,
        inputs: &[Input {
            view: content.view,
            selection: content.selection,
        }],
        incomplete: content.left_out,
        since: None,
    };
    let written = draft.write(&mut out, interrupt, &mut |_| {})?;
    let syncing = |error| Error::os(format!("writing {DATA}"), error);
    out.file.sync_all().map_err(syncing)?;
    let label = Label {
        machine: content.machine.machine.clone(),
        id,
        parent: None,
        position: 0,
        time: content.at,
        is_complete: written.incomplete.is_empty(),
        commit: None,
        is_dirty: false,
        totals: written.totals,
        suffix: label::DATA.into(),
        recipients: Vec::new(),
        data_bytes: out.bytes,
        data_sha256: Digest::from(out.hash),
        manifest_sha256: written.manifest_sha256,
        index_sha256: written.index_sha256,
    };
    let mut file = create(dir, LABEL)?;
    let text = label.to_text();
    (file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all()))
    .map_err(|error| Error::os(format!("writing {LABEL}"), error))?;
    Ok((label, written))
}

fn create(dir: BorrowedFd<'_>, name: &str) -> archive::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let made = openat(dir, name, flags, Mode::RUSR | Mode::WUSR);
    made.map(File::from)
        .map_err(|errno| Error::os(format!("making {name}"), errno))
}

/// A file whose bytes are counted and hashed on their way to the disk.
struct Out {
    file: File,
    hash: Sha256,
    bytes: u64,
    synced: u64,
}

impl Out {
    fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
            bytes: 0,
            synced: 0,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.bytes += n as u64;
        if self.bytes - self.synced >= AT_ONCE {
            self.file.sync_data()?;
            self.synced = self.bytes;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What the tmpfs engine leaves to this floor: copying trees, and unpacking captured roots.
#[derive(Debug)]
pub struct Craftsman;

impl state_tmpfs::Craft for Craftsman {
    fn copy(
        &self,
        from: &View,
        to: BorrowedFd<'_>,
        leave_out: &dyn Fn(&Path) -> bool,
    ) -> state_api::Result<Vec<String>> {
        let copied = copy::tree(from, to, leave_out, Fidelity::AsFarAsAllowed, &Never)?;
        Ok(copied.dropped)
    }

    fn unpack(
        &self,
        from: BorrowedFd<'_>,
        part: &Path,
        to: BorrowedFd<'_>,
    ) -> state_api::Result<()> {
        unpack(from, part, to).map_err(|error| match error {
            Error::Other(error) => error,
            other => state_api::Error::Malformed {
                what: "the captured root".into(),
                why: other.told(),
            },
        })
    }
}

fn unpack(from: BorrowedFd<'_>, part: &Path, to: BorrowedFd<'_>) -> archive::Result<()> {
    let open = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(from, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| Error::os(format!("opening {name}"), errno))
    };
    let mut text = Vec::new();
    open(LABEL)?
        .take(label::MOST_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| Error::os(format!("reading {LABEL}"), error))?;
    let label = Label::from_text(LABEL, &text)?;
    let source = FileSource::new(DATA, open(DATA)?)
        .map_err(|error| Error::os(format!("opening {DATA}"), error))?;
    let archive = Archive::open(&source, &label)?;
    let job = Job {
        archive: &archive,
        store: 0,
        under: Some(path_bytes(part)).filter(|part| !part.is_empty()),
        owners: &Owners::default(),
        interrupt: &Never,
    };
    job.extract(to, &mut |_| {})?;
    Ok(())
}

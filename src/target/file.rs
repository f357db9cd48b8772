//! `file://`: a directory, on a disk that is there or a share that is mounted.
//!
//! An object is written without a name (or under a hidden one, where a file without a name is
//! not possible), synced, given its name without ever replacing anything, and the directory is
//! synced. After a failed sync the file is abandoned: the kernel forgets what it could not write.

use super::{
    Object, Target, Upload, check_name, check_range, is_partial, missing, partial, shortened,
};
use crate::archive::label::check_machine;
use crate::archive::read::Source;
use crate::archive::{Error, Result};
use crate::paths::Typed;
use rustix::fs::{
    Advice, AtFlags, CWD, Mode, OFlags, RenameFlags, fadvise, fsync, linkat, mkdirat, openat,
    renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use state_api::Outcome;
use state_linux::stat::{Kind, Stat};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A directory that keeps objects.
#[derive(Debug)]
pub struct FileTarget {
    url: String,
    path: PathBuf,
    dir: OwnedFd,
    /// For tests: as on a filesystem that has no files without names.
    always_named: bool,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

impl FileTarget {
    /// Opens the directory. It must exist: a disk that is not mounted is not written to.
    ///
    /// # Errors
    /// It does not.
    pub fn open(url: &str, path: PathBuf) -> Result<Self> {
        let dir = openat(CWD, &path, DIRECTORY, Mode::empty()).map_err(|errno| Error::Target {
            target: url.to_owned(),
            why: io::Error::from(errno).to_string(),
            cure: match errno {
                Errno::NOENT | Errno::NOTDIR => format!(
                    "mount the disk, or make the directory: mkdir -p {}",
                    Typed(&path)
                ),
                _ => "look at the disk or share: `dmesg` says more".into(),
            },
        })?;
        Ok(Self {
            url: url.to_owned(),
            path,
            dir,
            always_named: false,
        })
    }

    fn os(&self, doing: &str, name: &str, errno: impl Into<io::Error>) -> Error {
        let path = self.path.join(name);
        Error::os(format!("{doing} {}", path.display()), errno)
    }

    /// The directory of one machine.
    fn machine(&self, machine: &str) -> Result<Option<OwnedFd>> {
        match self.open_machine(machine) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.os("opening", machine, errno)),
        }
    }

    fn open_machine(&self, machine: &str) -> rustix::io::Result<OwnedFd> {
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        openat(&self.dir, machine, flags, Mode::empty())
    }

    fn make_machine(&self, machine: &str) -> Result<OwnedFd> {
        match mkdirat(&self.dir, machine, Mode::RWXU) {
            Ok(()) => fsync(&self.dir).map_err(|e| self.os("syncing", "", e))?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(self.os("making", machine, errno)),
        }
        let dir = self.machine(machine)?;
        dir.ok_or_else(|| self.os("opening", machine, Errno::NOENT))
    }

    fn names(&self, dir: &OwnedFd) -> Result<Vec<String>> {
        let names = state_linux::tree::names(dir).map_err(|e| self.os("listing", "", e))?;
        let mut names: Vec<String> = (names.into_iter())
            .filter_map(|name| name.into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

impl Target for FileTarget {
    fn url(&self) -> &str {
        &self.url
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        let is_wanted = |machine: &str| match prefix.split_once('/') {
            Some((wanted, _)) => machine == wanted,
            None => machine.starts_with(prefix) && check_machine(machine).is_ok(),
        };
        // `names` wants a descriptor that nobody else reads the directory through.
        let top = openat(&self.dir, c".", DIRECTORY, Mode::empty());
        let top = top.map_err(|e| self.os("opening", "", e))?;
        for machine in self.names(&top)? {
            if !is_wanted(&machine) {
                continue;
            }
            let dir = match self.open_machine(&machine) {
                Ok(dir) => dir,
                // Not a directory (any more), so nothing of ours.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
                Err(errno) => return Err(self.os("opening", &machine, errno)),
            };
            for file in self.names(&dir)? {
                let name = format!("{machine}/{file}");
                if !name.starts_with(prefix) || check_name(&name).is_err() {
                    continue;
                }
                match Stat::of(&dir, file.as_str()) {
                    Ok(stat) if stat.kind == Kind::File => objects.push(Object {
                        name,
                        bytes: stat.size,
                    }),
                    Ok(_) => {}
                    Err(error) => return Err(self.os("looking at", &name, error)),
                }
            }
        }
        Ok(objects)
    }

    fn put(&self, name: &str) -> Result<Box<dyn Upload + '_>> {
        let (machine, file) = check_name(name)?;
        let dir = self.make_machine(machine)?;
        if Stat::of(&dir, file).is_ok() {
            return Err(self.os("writing", name, Errno::EXIST));
        }
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let nameless = match self.always_named {
            true => Err(Errno::OPNOTSUPP),
            false => openat(&dir, c".", flags | OFlags::TMPFILE, mode),
        };
        let (open, partial) = match nameless {
            Ok(open) => (open, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let partial = partial(file);
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                match openat(&dir, &partial, flags, mode) {
                    Ok(open) => (open, Some(partial)),
                    Err(errno) => return Err(self.os("writing", name, errno)),
                }
            }
            Err(errno) => return Err(self.os("writing", name, errno)),
        };
        Ok(Box::new(FileUpload {
            target: self,
            dir,
            name: name.to_owned(),
            open: File::from(open),
            partial,
        }))
    }

    fn get(&self, name: &str) -> Result<Box<dyn Source + '_>> {
        let (machine, file) = check_name(name)?;
        let missing = || missing(name, &self.url);
        let dir = self.machine(machine)?.ok_or_else(missing)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let open = match openat(&dir, file, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Err(missing()),
            open => open.map_err(|e| self.os("opening", name, e))?,
        };
        // What was just written is to be read from the disk, not from memory.
        fadvise(&open, 0, None, Advice::DontNeed).map_err(|e| self.os("reading", name, e))?;
        let stat = Stat::of_open(&open).map_err(|e| self.os("reading", name, e))?;
        if stat.kind != Kind::File {
            return Err(missing());
        }
        Ok(Box::new(FileSource {
            name: self.path.join(name).display().to_string(),
            length: stat.size,
            open: File::from(open),
        }))
    }

    fn delete(&self, name: &str) -> Result<Outcome> {
        let (machine, file) = check_name(name)?;
        let Some(dir) = self.machine(machine)? else {
            return Ok(Outcome::AlreadySo);
        };
        match unlinkat(&dir, file, AtFlags::empty()) {
            Ok(()) => {
                fsync(&dir).map_err(|e| self.os("syncing", machine, e))?;
                Ok(Outcome::Made)
            }
            Err(Errno::NOENT) => Ok(Outcome::AlreadySo),
            Err(errno) => Err(self.os("deleting", name, errno)),
        }
    }

    fn sweep(&self, prefix: &str) -> Result<u64> {
        let machine = prefix.split('/').next().unwrap_or_default();
        let Some(dir) = self.machine(machine)? else {
            return Ok(0);
        };
        let mut swept = 0;
        for name in self.names(&dir)? {
            if is_partial(&name) {
                unlinkat(&dir, &name, AtFlags::empty())
                    .map_err(|e| self.os("deleting", &format!("{machine}/{name}"), e))?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

struct FileUpload<'t> {
    target: &'t FileTarget,
    dir: OwnedFd,
    name: String,
    open: File,
    /// The hidden name, if it has one.
    partial: Option<String>,
}

impl FileUpload<'_> {
    fn publish(&mut self) -> rustix::io::Result<()> {
        let (_, file) = self.name.split_once('/').unwrap_or(("", &self.name));
        let Some(partial) = &self.partial else {
            let path = format!("/proc/self/fd/{}", self.open.as_raw_fd());
            return linkat(CWD, path, &self.dir, file, AtFlags::SYMLINK_FOLLOW);
        };
        match renameat_with(&self.dir, partial, &self.dir, file, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            done => {
                done?;
                self.partial = None;
                return Ok(());
            }
        }
        // Some shares know no such rename, but links do not replace either.
        match linkat(&self.dir, partial, &self.dir, file, AtFlags::empty()) {
            Ok(()) => return Ok(()), // the hidden name goes when this is dropped
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            Err(_) => {}
        }
        // FAT knows neither. The name holds the time and something random, and nobody else
        // writes into this machine's directory.
        if Stat::of(&self.dir, file).is_ok() {
            return Err(Errno::EXIST);
        }
        renameat(&self.dir, partial, &self.dir, file)?;
        self.partial = None;
        Ok(())
    }
}

impl Write for FileUpload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use io::ErrorKind::{Interrupted, QuotaExceeded, StorageFull};
        self.open.write(bytes).map_err(|error| match error.kind() {
            Interrupted => error, // to be tried again
            StorageFull | QuotaExceeded => io::Error::other(Error::Target {
                target: self.target.url.clone(),
                why: format!("writing {}: no space is left there", self.name),
                cure: "`state archives prune`, or make room there".into(),
            }),
            _ => io::Error::other(self.target.os("writing", &self.name, error)),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for FileUpload<'_> {
    fn finish(mut self: Box<Self>) -> Result<()> {
        fsync(&self.open).map_err(|e| self.target.os("syncing", &self.name, e))?;
        self.publish()
            .map_err(|e| self.target.os("publishing", &self.name, e))?;
        fsync(&self.dir).map_err(|e| self.target.os("syncing the directory of", &self.name, e))
    }
}

impl Drop for FileUpload<'_> {
    fn drop(&mut self) {
        if let Some(partial) = self.partial.take() {
            // If it cannot be removed, the next run sweeps it.
            unlinkat(&self.dir, partial, AtFlags::empty()).unwrap_or(());
        }
    }
}

/// A file whose bytes are read.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    length: u64,
    open: File,
}

impl FileSource {
    /// What `open` holds now; `name` is what errors call it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn new(name: impl Into<String>, open: File) -> io::Result<Self> {
        Ok(Self {
            name: name.into(),
            length: open.metadata()?.len(),
            open,
        })
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        check_range(self, at, length)?;
        let mut bytes = vec![0; length];
        match self.open.read_exact_at(&mut bytes, at) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(shortened(&self.name))
            }
            Err(error) => Err(Error::os(format!("reading {}", self.name), error)),
        }
    }
}

#[cfg(test)]
mod tests;

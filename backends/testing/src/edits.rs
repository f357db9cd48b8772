//! Random edits of a real directory, and the reference for whoever says where two trees differ.

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, IFlags, Mode, OFlags, RenameFlags, Timespec,
    Timestamps, Uid, XattrFlags,
};
use state_api::{Changes, View};
use state_linux::stat::{Stat, Time};
use state_linux::tree::{Boundary, Entry, Unreadable, Walk};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};

/// Few names, so that they meet: those that scripts and parsers of streams fall over.
const NAMES: [&[u8]; 12] = [
    b"a",
    b"b",
    b"c d",
    b"new\nline",
    b"tab\t\\0011",
    b"not utf-8 \xff\xfe",
    b"-rf",
    b"o257-8-0",
    b"->",
    b"R",
    b"\xe2\x80\xae",
    b"quote'\"$(x)`",
];

/// Edits that follow from a number: the same number, the same edits.
#[derive(Debug)]
pub struct Edits {
    state: u64,
    top: PathBuf,
    /// Deleted files are written on, as programs do.
    open: Vec<File>,
    /// Makes (`true`) or deletes a nested volume, where the filesystem has them.
    volumes: Option<fn(&Path, bool) -> io::Result<()>>,
}

impl Edits {
    /// Edits below `top`.
    pub fn new(seed: u64, top: &Path) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            top: top.to_owned(),
            open: Vec::new(),
            volumes: None,
        }
    }

    /// The same, nested volumes included.
    #[must_use]
    pub fn with_volumes(mut self, volumes: fn(&Path, bool) -> io::Result<()>) -> Self {
        self.volumes = Some(volumes);
        self
    }

    /// A random number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        usize::try_from(self.state >> 33).expect("31 bits fit") % limit.max(1)
    }

    /// Makes so many edits. Those that make no sense where they fall do nothing.
    pub fn run(&mut self, count: usize) {
        for _ in 0..count {
            // What cannot be is no failure: the tree is whatever it is then.
            let _done: io::Result<()> = self.edit();
        }
    }

    /// Closes the deleted files.
    pub fn close(&mut self) {
        self.open.clear();
    }

    fn name(&mut self) -> &'static OsStr {
        OsStr::from_bytes(NAMES[self.below(NAMES.len())])
    }

    /// Something below the top.
    fn any(&mut self) -> PathBuf {
        match self.descend() {
            at if at == self.top => at.join(self.name()), // it is empty
            at => at,
        }
    }

    fn descend(&mut self) -> PathBuf {
        let mut at = self.top.clone();
        for _ in 0..=self.below(4) {
            let names: Vec<_> = match fs::read_dir(&at) {
                Ok(names) => names
                    .filter_map(Result::ok)
                    .map(|e| e.file_name())
                    .collect(),
                Err(_) => break,
            };
            if names.is_empty() {
                break;
            }
            let mut names = names;
            names.sort();
            at.push(&names[self.below(names.len())]);
        }
        at
    }

    fn directory(&mut self) -> PathBuf {
        let at = self.descend();
        match fs::symlink_metadata(&at) {
            Ok(found) if found.is_dir() => at,
            _ => at.parent().unwrap_or(&self.top).to_owned(),
        }
    }

    fn place(&mut self) -> PathBuf {
        let dir = self.directory();
        dir.join(self.name())
    }

    /// A regular file: opening a fifo would wait for ever.
    fn file(&mut self) -> io::Result<PathBuf> {
        let at = self.any();
        match fs::symlink_metadata(&at)?.is_file() {
            true => Ok(at),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn open(&mut self) -> io::Result<File> {
        let at = self.file()?;
        OpenOptions::new().read(true).write(true).open(at)
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = [0, 1, 40, 3000, 5000, 70_000][self.below(6)];
        let byte = u8::try_from(self.below(256)).expect("it is below that");
        vec![byte; length]
    }

    fn edit(&mut self) -> io::Result<()> {
        match self.below(30) {
            0..=3 => {
                let at = self.place();
                let mut file = File::create_new(at)?;
                file.write_all(&self.bytes())
            }
            4 => fs::create_dir(self.place()),
            5 => fs::create_dir_all(self.place().join(self.name()).join(self.name())),
            6 | 7 => fs::remove_file(self.any()),
            8 => fs::remove_dir(self.any()),
            9 => fs::remove_dir_all(self.any()),
            10..=12 => fs::rename(self.any(), self.place()),
            13 => {
                let (a, b) = (self.any(), self.any());
                Ok(rustix::fs::renameat_with(
                    CWD,
                    a,
                    CWD,
                    b,
                    RenameFlags::EXCHANGE,
                )?)
            }
            14 => {
                let (a, b) = (self.any(), self.any());
                fs::rename(a, b)
            }
            15 | 16 => fs::hard_link(self.any(), self.place()),
            17 => symlink(self.name(), self.place()),
            18 => {
                let kinds = [FileType::Fifo, FileType::Socket, FileType::CharacterDevice];
                let kind = kinds[self.below(3)];
                Ok(rustix::fs::mknodat(
                    CWD,
                    self.place(),
                    kind,
                    Mode::RUSR,
                    259,
                )?)
            }
            _ => self.change(),
        }
    }

    /// Changes what is there.
    fn change(&mut self) -> io::Result<()> {
        match self.below(14) {
            0 => self.open()?.write_all(&self.bytes()),
            1 => {
                let mut file = self.open()?;
                file.seek(SeekFrom::End(0))?;
                file.write_all(&self.bytes())
            }
            2 => {
                // As many bytes as before and the times of before: only the change time tells.
                let file = self.open()?;
                let was = file.metadata()?;
                file.write_all_at(b"!", was.len() / 2)?;
                file.set_modified(was.modified()?)
            }
            3 => {
                let length = [0, 1, 5000, 1 << 20][self.below(4)];
                self.open()?.set_len(length)
            }
            4 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(rustix::fs::fallocate(self.open()?, flags, 4096, 8192)?)
            }
            5 => {
                let flags = FallocateFlags::KEEP_SIZE;
                Ok(rustix::fs::fallocate(self.open()?, flags, 0, 1 << 20)?)
            }
            6 => Ok(rustix::fs::ioctl_ficlone(self.open()?, self.open()?)?),
            7 => {
                let mode = [0o600, 0o644, 0o4755, 0o700][self.below(4)];
                let at = self.any();
                Ok(rustix::fs::chmodat(
                    CWD,
                    at,
                    Mode::from_raw_mode(mode),
                    AtFlags::empty(),
                )?)
            }
            8 => {
                let owner = u32::try_from(self.below(3)).expect("it is below that");
                let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let at = self.any();
                Ok(rustix::fs::chownat(CWD, at, Some(uid), Some(gid), flags)?)
            }
            9 => {
                let value = self.bytes();
                let value = &value[..value.len().min(2000)];
                let name = ["trusted.a", "user.b"][self.below(2)];
                let flags = XattrFlags::empty();
                Ok(rustix::fs::lsetxattr(self.any(), name, value, flags)?)
            }
            10 => {
                let name = ["trusted.a", "user.b"][self.below(2)];
                Ok(rustix::fs::lremovexattr(self.any(), name)?)
            }
            11 => {
                let time = Timespec {
                    tv_sec: [-1, 0, 1_600_000_000][self.below(3)],
                    tv_nsec: 7,
                };
                let times = Timestamps {
                    last_access: time,
                    last_modification: time,
                };
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(rustix::fs::utimensat(CWD, self.any(), &times, flags)?)
            }
            12 => {
                let at = self.file()?;
                let mut file = OpenOptions::new().append(true).open(&at)?;
                fs::remove_file(&at)?;
                file.write_all(&self.bytes())?;
                self.open.push(file);
                Ok(())
            }
            _ => self.rarely(),
        }
    }

    fn rarely(&mut self) -> io::Result<()> {
        match self.below(4) {
            0 => {
                let at = self.directory();
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let file = rustix::fs::open(at, flags, Mode::empty())?;
                let old = rustix::fs::ioctl_getflags(&file)?;
                Ok(rustix::fs::ioctl_setflags(&file, old ^ IFlags::NODUMP)?)
            }
            1 => {
                // More names than fit into one block of a directory.
                let dir = self.place();
                fs::create_dir(&dir)?;
                for number in 0..300 {
                    File::create(dir.join(format!("{number:0>200}")))?;
                }
                Ok(())
            }
            2 => {
                // More names of one inode than fit beside it.
                let (of, dir) = (self.any(), self.directory());
                for number in 0..40 {
                    fs::hard_link(&of, dir.join(format!("{number:0>240}")))?;
                }
                Ok(())
            }
            _ => {
                let Some(volumes) = self.volumes else {
                    return Ok(());
                };
                match self.below(3) {
                    0 => volumes(&self.any(), false), // never the top
                    _ => {
                        let at = self.place();
                        volumes(&at, true)?;
                        fs::write(at.join("in it"), self.bytes())
                    }
                }
            }
        }
    }
}

/// What differs in `old` and `new` but is not named among `changes`: there must be nothing. Every
/// path of either tree is looked at, and everything that `stat` tells but the access time counts:
/// no filesystem changes a file's content or attributes without its change time.
pub fn unnamed(old: &View, new: &View, changes: &Changes) -> Vec<PathBuf> {
    unnamed_but(old, new, changes, |_| ())
}

/// The same where a filesystem tells things that say nothing about the tree: `forget` removes them.
pub fn unnamed_but(
    old: &View,
    new: &View,
    changes: &Changes,
    forget: fn(&mut Stat),
) -> Vec<PathBuf> {
    let (old, new) = (all(old, forget), all(new, forget));
    let paths: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let is_unnamed =
        |path: &&PathBuf| old.get(*path) != new.get(*path) && changes.covers(path).is_none();
    paths.into_iter().filter(is_unnamed).cloned().collect()
}

fn all(view: &View, forget: fn(&mut Stat)) -> BTreeMap<PathBuf, (Stat, Option<Boundary>)> {
    let tell = |entry: Result<Entry, Unreadable>| {
        let entry = entry.expect("the tree can be read");
        let mut stat = entry.stat;
        stat.accessed = Time::default();
        stat.id.device = 0;
        let is_top = entry.path.as_os_str().is_empty()
            || view.grafts.iter().any(|graft| graft.at == entry.path);
        if is_top || entry.is_hollow() {
            stat.changed = Time::default(); // btrfs makes it up in memory
        }
        if entry.is_hollow() {
            (stat.modified, stat.born) = (Time::default(), None);
        }
        forget(&mut stat);
        (entry.path, (stat, entry.boundary))
    };
    Walk::new(view).map(tell).collect()
}

//! A walk that visits only the places where something may differ.

use super::{Entry, Unreadable, Walk};
use crate::stat::Kind;
use state_api::{Changes, Extent, View};
use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// What a walk has yet to visit.
pub(super) struct Places<'v> {
    top: BorrowedFd<'v>,
    rest: VecDeque<(PathBuf, Extent)>,
    /// The place that was yielded last.
    last: Option<PathBuf>,
}

impl Places<'_> {
    /// Leaves out what is below the place that was yielded last, and says which that is.
    pub(super) fn prune(&mut self) -> Option<&Path> {
        let last = self.last.as_deref()?;
        self.rest.retain(|(path, _)| !path.starts_with(last));
        Some(last)
    }

    fn next(&mut self) -> Option<(PathBuf, Extent)> {
        let (path, extent) = self.rest.pop_front()?;
        self.last = Some(path.clone());
        Some((path, extent))
    }
}

impl<'v> Walk<'v> {
    /// A walk that visits only these places, in the same order as a walk of everything. Where
    /// nothing is there is nothing to visit.
    pub fn over(view: &'v View, places: &Changes) -> Self {
        let mut walk = Self::new(view);
        let places: VecDeque<(PathBuf, Extent)> = (places.places())
            .map(|(path, extent)| (path.to_owned(), extent))
            .collect();
        // A graft that no place leads to is none that could not be reached.
        walk.unreached.retain(|at| {
            let leads_there = |(path, extent): &(PathBuf, Extent)| {
                path == at || *extent == Extent::Whole && at.starts_with(path)
            };
            places.iter().any(leads_there)
        });
        walk.start = None;
        walk.places = Some(Places {
            top: view.dir.as_fd(),
            rest: places,
            last: None,
        });
        walk
    }

    /// The next thing in a directory that is visited as a whole, or else at the next place.
    pub(super) fn next_of_places(&mut self) -> Option<Result<Entry, Unreadable>> {
        loop {
            let found = match self.stack.last_mut() {
                Some(frame) if !frame.is_way => match frame.names.next() {
                    Some(name) => {
                        self.places.as_mut()?.last = None; // this is no place itself
                        self.visit(name).map(Some)
                    }
                    None => self.leave().map(|()| None),
                },
                _ => match self.places.as_mut()?.next() {
                    Some((path, extent)) => self.go_to(&path, extent),
                    None => {
                        let lost = self.unreached.pop_first()?;
                        return Some(Err(Unreadable {
                            path: lost.to_owned(),
                            doing: "reaching the nested volume",
                            source: std::io::ErrorKind::NotFound.into(),
                            is_live: false,
                        }));
                    }
                },
            };
            match found {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => {
                    if self.stack.last().is_some_and(|frame| frame.dir.is_none()) {
                        self.stack.clear(); // the way back is lost: begin at the top again
                    }
                    return Some(Err(error));
                }
            }
        }
    }

    /// What is at `path`: the directories on the way to it become the innermost ones. Behind
    /// what a walk of everything does not enter there is nothing.
    fn go_to(&mut self, path: &Path, extent: Extent) -> Result<Option<Entry>, Unreadable> {
        let parent = path.parent().unwrap_or(Path::new(""));
        while let Some(frame) = self.stack.last()
            && !parent.starts_with(&frame.path)
        {
            self.leave()?;
        }
        let mut at = match self.stack.last() {
            Some(_) => None,
            None => {
                let top = self.places.as_ref().map(|places| places.top);
                Some(self.top(top.expect("this is a walk over places"))?)
            }
        };
        let done = self.stack.last().map_or(Path::new(""), |frame| &frame.path);
        let rest = path.strip_prefix(done).unwrap_or(path).to_owned();
        for name in rest.components() {
            if let Some(entry) = at.take() {
                if entry.stat.kind != Kind::Directory || entry.boundary.is_some() {
                    return Ok(None);
                }
                self.step_into(entry)?;
            }
            let name = CString::new(name.as_os_str().as_bytes()).expect("a path holds no NUL");
            at = match self.visit(name) {
                Ok(entry) => Some(entry),
                Err(error) if error.is_missing() => return Ok(None),
                Err(error) => return Err(error),
            };
        }
        if extent == Extent::Alone {
            self.enter = None;
        }
        Ok(at)
    }

    fn step_into(&mut self, entry: Entry) -> Result<(), Unreadable> {
        self.enter = None;
        let dir = entry.open()?;
        self.push(dir, entry, Vec::new());
        if let Some(frame) = self.stack.last_mut() {
            frame.is_way = true;
        }
        Ok(())
    }
}

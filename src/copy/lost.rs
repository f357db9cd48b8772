//! What a copy could not take along.

use super::Fidelity;
use crate::paths::Shown;
use rustix::io::Errno;
use std::io;
use std::path::Path;

/// What the destination could not hold.
pub(super) struct Lost {
    fidelity: Fidelity,
    what: Vec<String>,
}

impl Lost {
    pub(super) fn new(fidelity: Fidelity) -> Self {
        Self {
            fidelity,
            what: vec![],
        }
    }

    /// Notes the loss of `what` where that is allowed and the kernel said that it must be.
    pub(super) fn unless<T>(&mut self, what: String, done: io::Result<T>) -> io::Result<()> {
        const MUST_BE: [Errno; 4] = [Errno::PERM, Errno::OPNOTSUPP, Errno::INVAL, Errno::NOTTY];
        match done {
            Ok(_) => Ok(()),
            Err(error) => {
                let must_be = Errno::from_io_error(&error).is_some_and(|e| MUST_BE.contains(&e));
                if self.fidelity == Fidelity::Exact || !must_be {
                    return Err(error);
                }
                self.what.push(what);
                Ok(())
            }
        }
    }

    pub(super) fn told(self, path: &Path) -> Option<String> {
        let what = self.what.join(", ");
        (!what.is_empty()).then(|| format!("{}: {what}", Shown(path)))
    }
}

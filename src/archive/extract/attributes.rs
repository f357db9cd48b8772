//! Giving a staged entry its owner, attributes, mode and times, in the order that keeps them:
//! a change of owner strips setuid bits and capabilities, a change of mode touches ACLs.

use super::{Aspect, Loss};
use crate::archive::manifest::{Record, What};
use crate::archive::owners::Owners;
use crate::archive::{Error, Result};
use rustix::fs::{AtFlags, Mode, chmodat, fchmod};
use rustix::io::Errno;
use state_linux::acl::{self, Acl};
use state_linux::metadata::{Flags, Place};
use state_linux::stat::{Stat, Time};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The capability attribute, which every change of owner or content removes.
const CAPABILITY: &[u8] = b"security.capability";

/// Attributes that are restored. The others belong to a machine, not to its data: signatures of
/// integrity measurement, for one, hold for another machine's keys.
fn is_restored(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.") // overlay layers of containers live on these
        || name == CAPABILITY
        || name == b"security.selinux"
        || name == b"btrfs.compression"
}

/// Gives entries what is theirs, and keeps what they could not be given.
#[derive(Debug)]
pub(super) struct Losses<'a> {
    pub(super) owners: &'a Owners,
    pub(super) losses: Vec<Loss>,
}

impl Losses<'_> {
    /// Keeps what failed for good as a loss, and lets pass only what says that the filesystem is
    /// broken.
    pub(super) fn unless(
        &mut self,
        record: &Record,
        aspect: Aspect,
        what: impl FnOnce() -> String,
        done: io::Result<()>,
    ) -> Result<bool> {
        let error = match done {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let is_refusal = Errno::from_io_error(&error).is_some_and(|errno| {
            [
                Errno::OPNOTSUPP,
                Errno::PERM,
                Errno::ACCESS,
                Errno::INVAL,
                Errno::NOTTY,
                Errno::NOSYS,
                Errno::NOSPC, // ext4 says so of an attribute that does not fit beside the others
                Errno::RANGE,
                Errno::OVERFLOW,
                Errno::TOOBIG,
            ]
            .contains(&errno)
        });
        if !is_refusal {
            return Err(Error::os(format!("restoring {}", what()), error));
        }
        self.push(record, aspect, format!("{}: {error}", what()));
        Ok(false)
    }

    pub(super) fn push(&mut self, record: &Record, aspect: Aspect, what: String) {
        self.losses.push(Loss {
            path: record.path.clone(),
            aspect,
            what: crate::failure::plain_errnos(&what),
        });
    }

    /// Everything but inode flags, of the thing at `place`. What is right already, by what was
    /// `found` there, is left: each change costs as much as making the file.
    pub(super) fn apply(
        &mut self,
        record: &Record,
        place: &Place<'_, BorrowedFd<'_>>,
        found: Option<&Stat>,
    ) -> Result<()> {
        let (uid, gid) = (self.owners.user(record.uid), self.owners.group(record.gid));
        let owner = || format!("owner {uid}:{gid}");
        let is_owned = found.is_some_and(|found| (found.uid, found.gid) == (uid, gid));
        let has_owner =
            is_owned || self.unless(record, Aspect::Owner, owner, place.set_owner(uid, gid))?;
        let is_capability = |(name, _): &(&Vec<u8>, &Vec<u8>)| name.as_slice() == CAPABILITY;
        let (capability, others): (Vec<_>, Vec<_>) =
            record.extra.xattrs.iter().partition(is_capability);
        for (name, value) in others {
            self.xattr(record, place, name, value)?;
        }
        for (kind, aspect, text) in [
            (acl::ACCESS, Aspect::Acl, &record.extra.access_acl),
            (acl::DEFAULT, Aspect::DefaultAcl, &record.extra.default_acl),
        ] {
            if let Some(text) = text {
                let acl: Acl =
                    (text.parse()).map_err(|bad: acl::BadAcl| Error::member(&record.path, bad))?;
                let done = place.set_acl(kind, &self.owners.acl(&acl));
                self.unless(record, aspect, || format!("ACL {text}"), done)?;
            }
        }
        for (name, value) in capability {
            if has_owner {
                self.xattr(record, place, name, value)?;
            } else {
                let aspect = Aspect::Attribute(name.clone());
                self.push(record, aspect, "capabilities, for want of the owner".into());
            }
        }
        // A change of owner takes bits of the mode away, an ACL changes it.
        let is_right = is_owned
            && record.extra.is_none()
            && found.is_some_and(|found| found.mode == record.mode);
        if !is_right && !matches!(record.what, What::Symlink { .. }) {
            // What runs with its owner's rights must not run with those of somebody else.
            let mode = if has_owner {
                record.mode
            } else {
                record.mode & 0o1777
            };
            let mode = Mode::from_raw_mode(mode);
            let done = if place.name.is_empty() {
                fchmod(place.dir, mode)
            } else {
                chmodat(place.dir, place.name, mode, AtFlags::empty())
            };
            self.unless(
                record,
                Aspect::Mode,
                || format!("mode {:04o}", record.mode),
                done.map_err(Into::into),
            )?;
        }
        let time = Time {
            seconds: record.modified.seconds,
            nanoseconds: record.modified.nanoseconds,
        };
        let what = || format!("time {}", record.modified);
        self.unless(record, Aspect::Time, what, place.set_modified(time))?;
        Ok(())
    }

    fn xattr(
        &mut self,
        record: &Record,
        place: &Place<'_, BorrowedFd<'_>>,
        name: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let what = || format!("attribute {}", String::from_utf8_lossy(name));
        let aspect = Aspect::Attribute(name.to_vec());
        if !is_restored(name) {
            self.push(
                record,
                aspect,
                format!("{}: attributes of this kind are not restored", what()),
            );
            return Ok(());
        }
        let name = CString::new(name).map_err(|e| Error::member(&record.path, e))?;
        self.unless(record, aspect, what, place.set_xattr(&name, value))?;
        Ok(())
    }

    /// Those of the record's inode flags that are in `which`.
    pub(super) fn flags(
        &mut self,
        record: &Record,
        open: impl AsFd,
        which: impl Fn(Flags) -> Flags,
    ) -> Result<()> {
        let Some(text) = &record.extra.flags else {
            return Ok(());
        };
        let flags: Flags = text.parse().map_err(|e| Error::member(&record.path, e))?;
        let wanted = which(flags);
        // One that the filesystem does not know must not cost the others.
        if wanted.each().count() > 1 && wanted.add_to(&open).is_err() {
            let mut each = wanted.each();
            return each.try_for_each(|flag| self.flag(record, &open, flag));
        }
        self.flag(record, open, wanted)
    }

    fn flag(&mut self, record: &Record, open: impl AsFd, wanted: Flags) -> Result<()> {
        let what = || format!("flags {wanted}");
        match wanted.add_to(open) {
            Ok(missing) if missing.is_none() => {}
            Ok(missing) => {
                let what = format!("flags {missing}: ignored");
                self.push(record, Aspect::Flags, what);
            }
            Err(error) => {
                self.unless(record, Aspect::Flags, what, Err(error))?;
            }
        }
        Ok(())
    }
}

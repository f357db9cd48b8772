//! Doing something where it can write to one directory and nowhere else (Landlock).
//!
//! The kernel binds a thread for as long as it lives, so the work is done by a thread of its own;
//! threads and programs that it starts are bound with it. Reading is not restricted, nor is what
//! is open already: what is read may come over a network, with all that this needs.

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError,
};
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::thread;

/// Whether the kernel kept the work in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// It did.
    Confined,
    /// It did not, and this is why.
    Unconfined(String),
}

/// Does `work` where it can write below `dir` only, or nowhere. What cannot be confined is done
/// all the same: an old kernel must not keep anybody from a restore.
pub fn confined<T: Send>(
    dir: Option<BorrowedFd<'_>>,
    work: impl FnOnce(Confinement) -> T + Send,
) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let confinement = match restrict(dir) {
                Ok(()) => Confinement::Confined,
                Err(error) => Confinement::Unconfined(why(&error)),
            };
            work(confinement)
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Everything that changes something. The kernels of the second version are the first in which
/// what is restricted can still link and rename from one directory to another.
const WHAT: ABI = ABI::V5;
const LEAST: ABI = ABI::V2;

fn restrict(dir: Option<BorrowedFd<'_>>) -> Result<(), RulesetError> {
    let writing = |abi| AccessFs::from_write(abi);
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(writing(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writing(WHAT))?
        .create()?;
    let rules = match dir {
        Some(dir) => rules.add_rule(PathBeneath::new(dir, writing(WHAT)))?,
        None => rules,
    };
    // Programs that are started want it for their output.
    let null: BitFlags<AccessFs> = AccessFs::WriteFile.into();
    let rules = match PathFd::new("/dev/null") {
        Ok(file) => rules.add_rule(PathBeneath::new(file, null))?,
        Err(_) => rules,
    };
    rules.restrict_self().map(drop)
}

fn why(error: &RulesetError) -> String {
    match error {
        RulesetError::HandleAccesses(_) | RulesetError::CreateRuleset(_) => {
            "this kernel cannot (Landlock came with Linux 5.19, and may be switched off)".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{ErrorKind, Write};
    use std::os::fd::AsFd;

    fn refused<T: std::fmt::Debug>(done: std::io::Result<T>) {
        assert_eq!(done.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }

    /// Root or not: it is the kernel that refuses.
    #[test]
    fn nothing_is_written_outside_and_everything_inside() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["stage", "stage/a", "stage/b", "canary"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("canary/file"), "as it was").unwrap();
        let stage = File::open(path("stage")).unwrap();
        let attempt = |confinement| {
            if confinement != Confinement::Confined {
                return confinement; // this kernel has no Landlock
            }
            fs::write(path("stage/a/file"), "new").unwrap();
            fs::hard_link(path("stage/a/file"), path("stage/b/link")).unwrap();
            fs::rename(path("stage/a/file"), path("stage/b/file")).unwrap();
            fs::remove_file(path("stage/b/file")).unwrap();
            assert_eq!(fs::read(path("canary/file")).unwrap(), b"as it was");
            refused(fs::write(path("canary/new"), "x"));
            refused(fs::write(path("canary/file"), "x"));
            refused(File::options().append(true).open(path("canary/file")));
            refused(fs::create_dir(path("canary/dir")));
            refused(fs::remove_file(path("canary/file")));
            refused(std::os::unix::fs::symlink("x", path("canary/link")));
            for (from, to) in [("canary/file", "stage/x"), ("stage/b/link", "canary/x")] {
                let moved = [
                    fs::rename(path(from), path(to)),
                    fs::hard_link(path(from), path(to)),
                ];
                assert!(moved.iter().all(Result::is_err), "{from} {to} {moved:?}");
            }
            // A thread and a program are bound as well.
            let inside = || refused(fs::write(path("canary/new"), "x"));
            thread::scope(|scope| scope.spawn(inside).join().unwrap());
            let touch = std::process::Command::new("touch")
                .arg(path("canary/new"))
                .output();
            assert!(touch.is_ok_and(|done| !done.status.success()));
            let mut null = File::options().write(true).open("/dev/null").unwrap();
            null.write_all(b"x").unwrap();
            confinement
        };
        let done = confined(Some(stage.as_fd()), attempt);
        let has = done == Confinement::Confined;
        // Who asked for it is not bound.
        fs::write(path("canary/new"), "x").unwrap();
        if has {
            confined(None, |_| refused(fs::write(path("stage/y"), "x")));
        }
    }
}

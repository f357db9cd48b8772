//! How long work tells how far it is, without knowing who looks.

use state_api::Interrupt;
use std::fmt;

/// What the numbers of a stage count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; shown as sizes and a rate.
    Bytes,
    /// Things: files, entries, archives.
    Items,
}

/// How much there is to be done in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Nobody knows before it is done.
    Unknown,
    /// So much, as far as can be told beforehand: it may turn out to be more or less.
    About(u64),
    /// Exactly so much.
    Is(u64),
}

/// Someone who is told. Called often and from several threads: implementations are cheap.
pub trait Progress: Sync {
    /// A stage begins, and ends one that was under way: `doing` is a gerund with its object.
    fn begin(&self, doing: &str, unit: Unit, total: Total);
    /// There will be so much of it in all: that was found out meanwhile.
    fn expect(&self, _total: Total) {}
    /// Whether anyone listens: only then is it worth finding out.
    fn is_heard(&self) -> bool {
        true
    }
    /// So much more of it is done.
    fn advance(&self, by: u64);
    /// So many entries of it are done in all, and this path is at work, as its bytes are.
    fn see(&self, _entries: u64, _path: &[u8]) {}
    /// The stage is over, in whatever way.
    fn end(&self);
}

/// Nobody looks.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _doing: &str, _unit: Unit, _total: Total) {}
    fn is_heard(&self) -> bool {
        false
    }
    fn advance(&self, _by: u64) {}
    fn end(&self) {}
}

/// Whom work that goes through a tree asks whether to stop, and tells how far it is. Stages are
/// begun and ended by whoever knows what the work is for.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked before every entry.
    pub interrupt: &'a dyn Interrupt,
    /// Told of every entry, and within long ones.
    pub progress: &'a dyn Progress,
}

/// Nobody looks.
impl<'a> From<&'a dyn Interrupt> for Watch<'a> {
    fn from(interrupt: &'a dyn Interrupt) -> Self {
        let progress = &Silent;
        Self {
            interrupt,
            progress,
        }
    }
}

/// Nobody looks.
impl<'a, I: Interrupt> From<&'a I> for Watch<'a> {
    fn from(interrupt: &'a I) -> Self {
        Self::from(interrupt as &dyn Interrupt)
    }
}

impl Watch<'_> {
    /// Does one stage of the work, as [`Progress::begin`] has it.
    pub fn stage<T>(&self, doing: &str, unit: Unit, total: Total, work: impl FnOnce() -> T) -> T {
        self.progress.begin(doing, unit, total);
        let done = work();
        self.progress.end();
        done
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod heard {
    use super::*;
    use std::sync::Mutex;

    /// What was told of one stage.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Stage {
        pub(crate) doing: String,
        pub(crate) total: Total,
        pub(crate) done: u64,
        /// The last path that was at work.
        pub(crate) path: String,
    }

    /// Someone who remembers.
    #[derive(Debug, Default)]
    pub(crate) struct Heard(Mutex<Vec<Stage>>);

    impl Heard {
        fn last(&self, change: impl FnOnce(&mut Stage)) {
            change(self.0.lock().unwrap().last_mut().unwrap());
        }

        pub(crate) fn stages(&self) -> Vec<Stage> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Progress for Heard {
        fn begin(&self, doing: &str, _: Unit, total: Total) {
            self.0.lock().unwrap().push(Stage {
                doing: doing.to_owned(),
                total,
                done: 0,
                path: String::new(),
            });
        }

        fn expect(&self, total: Total) {
            self.last(|stage| stage.total = total);
        }

        fn advance(&self, by: u64) {
            self.last(|stage| stage.done += by);
        }

        fn see(&self, _: u64, path: &[u8]) {
            self.last(|stage| stage.path = String::from_utf8_lossy(path).into_owned());
        }

        fn end(&self) {}
    }
}

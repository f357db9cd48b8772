//! How long work tells how far it is, without knowing who looks.

/// What the numbers of a stage count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; shown as sizes and a rate.
    Bytes,
    /// Things: files, entries, archives.
    Items,
}

/// Someone who is told. Called often and from several threads: implementations are cheap.
pub trait Progress: Sync {
    /// A stage begins: `doing` is a gerund with its object, `total` is known or not.
    fn begin(&self, doing: &str, unit: Unit, total: Option<u64>);
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
    fn begin(&self, _doing: &str, _unit: Unit, _total: Option<u64>) {}
    fn advance(&self, _by: u64) {}
    fn end(&self) {}
}

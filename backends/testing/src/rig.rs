//! What the sweep needs of a simulated machine.

use crate::tape::Fault;
use crate::tree::Tree;
use std::collections::BTreeMap;

/// Everything on a machine's disk that a reset may touch or must not touch, as one value.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct World {
    /// The root volume's tree, under its own name.
    pub root: Option<Tree>,
    /// The blank, under whatever name it has in the middle of a plan.
    pub blank: Option<Tree>,
    /// The blank before this one, kept when it was renewed.
    pub previous: Option<Tree>,
    /// The copy of blank that a renewal works in.
    pub draft: Option<Tree>,
    /// The past roots by name, pinned or not.
    pub past: BTreeMap<String, Tree>,
    /// Volumes with names of neither kind: leftovers, if they are there at all.
    pub strays: BTreeMap<String, Tree>,
    /// Everything else: the persist tree, other volumes, plain files. Never changes.
    pub bystanders: BTreeMap<String, Tree>,
    /// What must be as before once a reset has finished: the default subvolume, `bootfs`, local
    /// properties of root, the blank's identity and name, pins.
    pub standing: BTreeMap<String, String>,
}

/// A simulated machine: a disk with its history, between two boots or in the middle of one.
pub trait Rig: Sized {
    /// An independent copy, running on from here.
    #[must_use]
    fn fork(&self) -> Self;

    /// What is on the disk now.
    fn world(&self) -> World;

    /// A digest of everything on the disk: machines of equal digests behave alike.
    fn digest(&self) -> u64;

    /// Begins a new history: everything is on the disk, nobody has it mounted.
    fn rewind(&mut self);

    /// The machine as it comes back from a power cut, once for every state that a cut at any
    /// moment since the rewind can leave. The first is the state at the rewind, the last the
    /// present one.
    fn comebacks(&self) -> Vec<Self>;

    /// How many states there are since the rewind.
    fn frames(&self) -> usize;

    /// Whether everything done so far survives a power cut.
    fn is_durable(&self) -> bool;

    /// Sets the failure that a later act meets; `None` mends the disk.
    fn fail(&mut self, fault: Option<Fault>);

    /// How many acts the engine tried since the last [`fail`](Rig::fail) or rewind.
    fn acts(&self) -> usize;

    /// Boots the present root, has somebody write `note` in it (and a nested volume, where
    /// systemd would make one), and shuts down. False if there is no root to boot.
    fn live(&mut self, note: &str) -> bool;

    /// Has a command write `note` in the draft, and make a nested volume there, where systemd
    /// would make one. False if there is none.
    fn work(&mut self, note: &str) -> bool;
}

//! What all simulated machines have in common: a disk on a tape, behind a handle.

use crate::rig::{Rig, World};
use crate::tape::{Fault, Tape};
use rustix::io::Errno;
use state_api::{Error, Outcome, Result};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// One kind of machine.
pub trait Machine: Clone {
    /// What its disk holds.
    type Disk: Clone + PartialEq + Hash;

    /// Its disk.
    fn tape(&self) -> &Tape<Self::Disk>;

    /// Its disk.
    fn tape_mut(&mut self) -> &mut Tape<Self::Disk>;

    /// Nothing is mounted any more.
    fn unmount_all(&mut self);

    /// The machine as it comes back from a power cut that left this on the disk.
    fn with(&self, disk: Self::Disk) -> Self;

    /// What is on the disk now.
    fn world(&self) -> World;

    /// What [`Rig::live`] says.
    fn live(sim: &Sim<Self>, note: &str) -> bool;

    /// What [`Rig::work`] says.
    fn work(_sim: &Sim<Self>, _note: &str) -> bool {
        false
    }
}

/// What an act says of whether it changed anything.
pub(crate) fn changed(is: bool) -> Outcome {
    if is {
        Outcome::Made
    } else {
        Outcome::AlreadySo
    }
}

/// A handle on a machine: clones are the same one. [`Rig::fork`] makes another.
#[derive(Debug)]
pub struct Sim<M> {
    pub(crate) machine: Rc<RefCell<M>>,
}

impl<M> Clone for Sim<M> {
    fn clone(&self) -> Self {
        Self {
            machine: Rc::clone(&self.machine),
        }
    }
}

impl<M: Machine> Sim<M> {
    pub(crate) fn of(machine: M) -> Self {
        Self {
            machine: Rc::new(RefCell::new(machine)),
        }
    }

    pub(crate) fn seen<T>(&self, look: impl FnOnce(&M::Disk) -> T) -> T {
        look(self.machine.borrow().tape().now())
    }

    /// Looks as the kernel does, which says what is not there.
    pub(crate) fn look<T>(
        &self,
        doing: &str,
        look: impl FnOnce(&M::Disk) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        self.seen(look).map_err(|errno| Error::os(doing, errno))
    }

    /// Unmounts everything.
    pub fn unmount_all(&self) {
        self.machine.borrow_mut().unmount_all();
    }
}

impl<M: Machine> Rig for Sim<M> {
    fn fork(&self) -> Self {
        Self::of(self.machine.borrow().clone())
    }

    fn world(&self) -> World {
        self.machine.borrow().world()
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.seen(|disk| disk.hash(&mut hasher));
        hasher.finish()
    }

    fn rewind(&mut self) {
        let mut machine = self.machine.borrow_mut();
        machine.unmount_all();
        machine.tape_mut().rewind();
    }

    fn comebacks(&self) -> Vec<Self> {
        let machine = self.machine.borrow();
        let frames = machine.tape().frames().iter();
        frames
            .map(|disk| Self::of(machine.with(disk.clone())))
            .collect()
    }

    fn frames(&self) -> usize {
        self.machine.borrow().tape().frames().len()
    }

    fn is_durable(&self) -> bool {
        self.machine.borrow().tape().is_durable()
    }

    fn fail(&mut self, fault: Option<Fault>) {
        self.machine.borrow_mut().tape_mut().fail(fault);
    }

    fn acts(&self) -> usize {
        self.machine.borrow().tape().acts()
    }

    fn live(&mut self, note: &str) -> bool {
        M::live(self, note)
    }

    fn work(&mut self, note: &str) -> bool {
        M::work(self, note)
    }
}

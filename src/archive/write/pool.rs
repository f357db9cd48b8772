//! The threads of a run: one that walks, some that work, and the caller, who takes in order.
//!
//! Whatever happens, every thread has ended when [`Pool::run`] returns: an error or an interrupt
//! sets `stop`, which all of them look at, and closes the channels that they wait for.

use super::Machine;
use super::ahead::Ahead;
use super::entry::Maker;
use super::plan::{Plan, Walked};
use super::unit::{Made, Task};
use crate::archive::crew::{TICK, cores};
use crate::archive::{Error, Result};
use state_api::Interrupt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Descriptors that units may keep open for each other to finish.
const MOST_HELD: usize = 4096;

pub(super) struct Pool<'p> {
    pub(super) machine: &'p Machine,
    level: i32,
    workers: usize,
    stop: AtomicBool,
    pub(super) ahead: Ahead,
    descriptors: Arc<Descriptors>,
}

/// What a worker gets: a unit, and where what becomes of it goes.
pub(super) type Job = (Task, SyncSender<Result<Made>>);

impl<'p> Pool<'p> {
    pub(super) fn new(workers: usize, level: i32, machine: &'p Machine) -> Self {
        let workers = if workers == 0 { cores() } else { workers };
        Self {
            machine,
            level,
            workers,
            stop: AtomicBool::new(false),
            ahead: Ahead::new(workers, descriptors() / 2),
            descriptors: Arc::default(),
        }
    }

    /// Whether the run is over before its end.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Walks, works, and hands over what was made in order.
    pub(super) fn run(
        &self,
        plan: Plan<'_, '_>,
        interrupt: &dyn Interrupt,
        take: &mut dyn FnMut(Made) -> Result<()>,
    ) -> Result<Walked> {
        // Units ahead of the writer: each is a few frames at most.
        let (order, ordered) = mpsc::sync_channel(2 * self.workers + 4);
        let (work, queue) = mpsc::channel::<Job>();
        let queue = Mutex::new(queue);
        thread::scope(|scope| {
            let walk = scope.spawn(|| plan.run(order, work));
            for _ in 0..self.workers {
                scope.spawn(|| self.work(&queue));
            }
            let taken = self.take(ordered, interrupt, take);
            if taken.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            taken?;
            let walked = walk.join();
            Ok(walked.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    fn take(
        &self,
        ordered: Receiver<Receiver<Result<Made>>>,
        interrupt: &dyn Interrupt,
        take: &mut dyn FnMut(Made) -> Result<()>,
    ) -> Result<()> {
        while let Some(made) = patient(&ordered, interrupt)? {
            let died = || Error::os("archiving", std::io::Error::other("a thread died"));
            take(patient(&made, interrupt)?.ok_or_else(died)??)?;
        }
        Ok(())
    }

    fn work(&self, queue: &Mutex<Receiver<Job>>) {
        let mut maker = None;
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((task, to)) = job else { return };
            if self.is_stopped() {
                return;
            }
            // A compressor takes megabytes: a worker without work has none.
            let made = match &mut maker {
                Some(maker) => Ok(maker),
                none => Maker::new(self, self.level).map(|maker| none.insert(maker)),
            }
            .and_then(|maker| maker.make(task));
            // Nobody waits for it any more: the run was stopped.
            if to.send(made).is_err() {
                return;
            }
        }
    }

    /// Waits until `more` descriptors may be kept open.
    pub(super) fn hold(&self, more: usize) -> Held {
        let most = descriptors();
        let mut held = self.descriptors.lock();
        // One unit alone always may: how much it holds is bounded by the plan.
        while *held > 0 && *held + more > most && !self.is_stopped() {
            let waited = self.descriptors.released.wait_timeout(held, TICK);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *held += more;
        drop(held);
        Held {
            of: Arc::clone(&self.descriptors),
            count: more,
        }
    }
}

/// How many descriptors units may keep open for each other: half of those that there may be.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(MOST_HELD, |n| usize::try_from(n).unwrap_or(MOST_HELD) / 2);
    half.min(MOST_HELD)
}

/// How many descriptors are kept open by units under way.
#[derive(Default)]
struct Descriptors {
    held: Mutex<usize>,
    released: Condvar,
}

impl Descriptors {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to keep some descriptors open.
pub(super) struct Held {
    of: Arc<Descriptors>,
    count: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.of.lock() -= self.count;
        self.of.released.notify_all();
    }
}

/// What comes next, with an ear for interrupts; `None` when nothing comes any more.
fn patient<T>(from: &Receiver<T>, interrupt: &dyn Interrupt) -> Result<Option<T>> {
    loop {
        if interrupt.is_set() {
            return Err(state_api::Error::Interrupted.into());
        }
        match from.recv_timeout(TICK) {
            Ok(next) => return Ok(Some(next)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

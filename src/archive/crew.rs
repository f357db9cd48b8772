//! Work that is given out in order and done in any.

use super::read::Scope;
use super::{Error, Result};
use std::collections::VecDeque;
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits before it looks around.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// How many threads work when nobody says otherwise: as many as there are cores.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// How many threads work on a part of an archive.
pub(super) fn cores_for(scope: &Scope) -> usize {
    match scope.is_little() {
        true => 1,
        false => cores(),
    }
}

/// Does some work for each number below `count`, on up to so many threads, this one among them, as long as it
/// says `true`. Says whether it always did. `begin` makes what a thread works with.
pub(crate) fn share<W: FnMut(usize) -> bool>(
    count: usize,
    threads: usize,
    begin: impl Fn() -> W + Sync,
) -> bool {
    let next = AtomicUsize::new(0);
    let run = || {
        let numbers = iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        numbers.take_while(|n| *n < count).all(begin())
    };
    thread::scope(|scope| {
        let more = count.min(threads).saturating_sub(1);
        let others: Vec<_> = (0..more).map(|_| scope.spawn(run)).collect();
        let mine = run();
        let others = others.into_iter().map(|other| other.join());
        others.fold(mine, |all, other| {
            all & other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// The one who gives out work, and what is known of it.
pub(super) struct Crew<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    /// How much is given out ahead.
    most: usize,
}

struct State<J> {
    jobs: VecDeque<(usize, J)>,
    given: usize,
    working: usize,
    is_over: bool,
    /// The failure of the earliest job.
    failure: Option<(usize, Error)>,
}

impl<J: Send> Crew<J> {
    /// Lets `give` give out jobs to `workers` threads, each of which `begin` makes able to do
    /// them. All have ended when this returns; `stop` tells them if they are to end early.
    ///
    /// # Errors
    /// The earliest job's failure, else what `give` fails with.
    pub(super) fn run<T, W: FnMut(J) -> Result<()>>(
        workers: usize,
        stop: &AtomicBool,
        begin: impl Fn() -> W + Sync,
        give: impl FnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let crew = Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                given: 0,
                working: 0,
                is_over: false,
                failure: None,
            }),
            changed: Condvar::new(),
            most: workers,
        };
        let given = thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| crew.work(begin()));
            }
            let given = give(&crew);
            let mut state = crew.lock();
            let is_interrupt = matches!(given, Err(Error::Other(state_api::Error::Interrupted)));
            if is_interrupt && state.failure.is_none() {
                stop.store(true, Ordering::Relaxed);
            }
            // What was given before a failure is done: an earlier one is the one to tell.
            state.is_over = true;
            drop(state);
            crew.changed.notify_all();
            given
        });
        let state = crew
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match state.failure {
            Some((_, failure)) => Err(failure),
            None => given,
        }
    }

    /// Gives out a job, once there is room for it. `meanwhile` is called while waiting.
    ///
    /// # Errors
    /// `meanwhile` fails, or a job has failed.
    pub(super) fn give(&self, job: J, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.wait(meanwhile, |state| state.jobs.len() < self.most)?;
        let mut state = self.lock();
        let number = state.given;
        state.given += 1;
        state.jobs.push_back((number, job));
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until everything that was given out is done.
    ///
    /// # Errors
    /// `meanwhile` fails, or a job has failed.
    pub(super) fn finish(&self, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.wait(meanwhile, |state| {
            state.jobs.is_empty() && state.working == 0
        })
    }

    fn wait(
        &self,
        meanwhile: &mut dyn FnMut() -> Result<()>,
        until: impl Fn(&State<J>) -> bool,
    ) -> Result<()> {
        loop {
            meanwhile()?;
            let state = self.lock();
            if state.failure.is_some() {
                // Told by `run`; this one only ends the giving.
                return Err(Error::Other(state_api::Error::Interrupted));
            }
            if until(&state) {
                return Ok(());
            }
            drop(self.changed.wait_timeout(state, TICK));
        }
    }

    fn work(&self, mut work: impl FnMut(J) -> Result<()>) {
        let _here = Here(self);
        loop {
            let mut state = self.lock();
            let (number, job) = loop {
                // After a failure only what came before it can still matter.
                let failed = state.failure.as_ref().map_or(usize::MAX, |(n, _)| *n);
                state.jobs.retain(|(number, _)| *number < failed);
                match state.jobs.pop_front() {
                    Some(job) => break job,
                    None if state.is_over => return,
                    None => {
                        let waited = self.changed.wait(state);
                        state = waited.unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            state.working += 1;
            drop(state);
            let done = work(job);
            let mut state = self.lock();
            state.working -= 1;
            if let Err(error) = done
                && state.failure.as_ref().is_none_or(|(n, _)| number < *n)
            {
                state.failure = Some((number, error));
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker. If it dies, nobody waits for it.
struct Here<'c, J: Send>(&'c Crew<J>);

impl<J: Send> Drop for Here<'_, J> {
    fn drop(&mut self) {
        if thread::panicking() {
            let died = Error::os("working", std::io::Error::other("a thread died"));
            self.0.lock().failure.get_or_insert((0, died));
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn failure(n: usize) -> Error {
        Error::damaged(n.to_string(), "bad")
    }

    #[test]
    fn everything_is_done_and_the_earliest_failure_is_told() {
        for workers in [1, 4] {
            let stop = AtomicBool::new(false);
            let sum = AtomicUsize::new(0);
            let all = Crew::run(
                workers,
                &stop,
                || {
                    |n| {
                        sum.fetch_add(n, Ordering::Relaxed);
                        Ok(())
                    }
                },
                |crew| {
                    (0..100).try_for_each(|n| crew.give(n, &mut || Ok(())))?;
                    crew.finish(&mut || Ok(()))?;
                    Ok(sum.load(Ordering::Relaxed))
                },
            );
            assert_eq!(all.unwrap(), 4950);
            let failed = Crew::run(
                workers,
                &stop,
                || {
                    |n: usize| {
                        // The later failure comes first.
                        thread::sleep(Duration::from_millis(if n == 20 { 20 } else { 0 }));
                        if n == 20 || n == 21 {
                            Err(failure(n))
                        } else {
                            Ok(())
                        }
                    }
                },
                |crew| (0..100).try_for_each(|n| crew.give(n, &mut || Ok(()))),
            );
            assert_eq!(failed.unwrap_err().to_string(), "20: bad");
            let failed = Crew::run(
                workers,
                &stop,
                || |_: usize| Ok(()),
                |crew| crew.give(0, &mut || Ok(())).and(Err::<(), _>(failure(7))),
            );
            assert_eq!(failed.unwrap_err().to_string(), "7: bad");
        }
    }

    #[test]
    fn an_interrupt_stops_what_is_under_way() {
        let stop = AtomicBool::new(false);
        let work = || {
            |_: usize| {
                while !stop.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                Ok(())
            }
        };
        let done = Crew::run(2, &stop, work, |crew| {
            crew.give(1, &mut || Ok(()))?;
            crew.finish(&mut || Err(state_api::Error::Interrupted.into()))
        });
        let interrupted = Err(Error::Other(state_api::Error::Interrupted));
        assert_eq!(
            format!("{done:?}"),
            format!("{:?}", interrupted as Result<()>)
        );
    }
}

//! What a simulated disk went through: every state it was in, what of it a power cut would keep,
//! and the failure that is waiting.

use rustix::io::Errno;
use state_api::{Error, Result};

/// A failure that an act will meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// So many acts succeed first.
    pub after: usize,
    /// What the failing act answers.
    pub errno: Errno,
    /// Whether all later acts fail too (a full or broken disk) or only this one.
    pub lasts: bool,
}

/// A disk's state and its history since the last [`rewind`](Tape::rewind).
///
/// An act happens whole or not at all. Acts are committed in order: a power cut loses a suffix
/// of those after the last commit, so that every frame of the tape is a state in which the
/// machine can come back.
#[derive(Debug, Clone)]
pub struct Tape<S> {
    frames: Vec<S>,
    durable: usize,
    acts: usize,
    fault: Option<Fault>,
}

impl<S: Clone + PartialEq> Tape<S> {
    /// A tape that begins in this state, all of it on the disk.
    pub fn new(state: S) -> Self {
        Self {
            frames: vec![state],
            durable: 0,
            acts: 0,
            fault: None,
        }
    }

    /// The present state.
    pub fn now(&self) -> &S {
        self.frames.last().expect("a tape has at least one frame")
    }

    /// Every state since the rewind, oldest first, the present one last.
    pub fn frames(&self) -> &[S] {
        &self.frames
    }

    /// How many acts were tried since the rewind, failed ones included.
    pub fn acts(&self) -> usize {
        self.acts
    }

    /// Whether a power cut now would lose nothing.
    pub fn is_durable(&self) -> bool {
        self.durable + 1 == self.frames.len()
    }

    /// Begins a new history with the present state, committed.
    pub fn rewind(&mut self) {
        *self = Self::new(self.now().clone());
    }

    /// Sets the failure that a later act meets, counted from now; `None` mends the disk.
    pub fn fail(&mut self, fault: Option<Fault>) {
        self.acts = 0;
        self.fault = fault;
    }

    /// Performs one act: whole, or on any error not at all.
    ///
    /// # Errors
    /// What the act itself answers, or the waiting fault.
    pub fn act<T>(
        &mut self,
        doing: impl Into<String>,
        act: impl FnOnce(&mut S) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        let turn = self.acts;
        self.acts += 1;
        if let Some(fault) = self.fault
            && (turn == fault.after || fault.lasts && turn > fault.after)
        {
            return Err(Error::os(doing, fault.errno));
        }
        let mut next = self.now().clone();
        let answer = act(&mut next).map_err(|errno| Error::os(doing, errno))?;
        if next != *self.now() {
            self.frames.push(next);
        }
        Ok(answer)
    }

    /// Everything done so far is on the disk.
    pub fn commit(&mut self) {
        self.durable = self.frames.len() - 1;
    }

    /// Changes the present state without an act: what people and other programs do.
    pub fn meanwhile<T>(&mut self, change: impl FnOnce(&mut S) -> T) -> T {
        let mut next = self.now().clone();
        let answer = change(&mut next);
        self.frames.push(next);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tape: &mut Tape<Vec<u8>>, value: u8) -> Result<()> {
        tape.act("pushing", |state| {
            state.push(value);
            Ok(())
        })
    }

    #[test]
    fn every_state_is_a_frame_and_failed_acts_are_none() {
        let mut tape = Tape::new(vec![]);
        push(&mut tape, 1).unwrap();
        tape.commit();
        tape.act("failing", |state| -> std::result::Result<(), Errno> {
            state.push(9);
            Err(Errno::EXIST)
        })
        .unwrap_err();
        assert!(tape.is_durable());
        push(&mut tape, 2).unwrap();
        assert!(!tape.is_durable());
        assert_eq!(tape.frames(), [vec![], vec![1], vec![1, 2]]);
        assert_eq!(tape.acts(), 3);
    }

    #[test]
    fn faults_strike_once_or_for_good() {
        for (lasts, expected) in [(false, vec![1, 3]), (true, vec![1])] {
            let mut tape = Tape::new(vec![]);
            tape.fail(Some(Fault {
                after: 1,
                errno: Errno::IO,
                lasts,
            }));
            let answers: Vec<bool> = (1..=3).map(|n| push(&mut tape, n).is_ok()).collect();
            assert_eq!(answers, [true, false, !lasts]);
            assert_eq!(*tape.now(), expected);
        }
    }
}

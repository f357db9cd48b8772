//! Survey → plan → execute: the loop, and the only one, that applies steps.

use crate::{Error, Result};
use serde::Serialize;
use std::fmt::{Debug, Display};
use std::time::Duration;

/// One act that the kernel performs whole or not at all, and that finds itself already done.
///
/// Its `Display` is what a dry run prints: an imperative sentence without a final stop.
pub trait Step: Clone + Debug + Display + Eq + Serialize {}
impl<T: Clone + Debug + Display + Eq + Serialize> Step for T {}

/// What is to be done, in order. Comparable and serialisable; made by a pure function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan<S> {
    /// The steps, first to last. Empty: there is nothing to do.
    pub steps: Vec<S>,
}

impl<S> Plan<S> {
    /// A plan that does nothing.
    pub fn nothing() -> Self {
        Self { steps: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }
}

impl<S> FromIterator<S> for Plan<S> {
    fn from_iter<I: IntoIterator<Item = S>>(steps: I) -> Self {
        Self {
            steps: steps.into_iter().collect(),
        }
    }
}

/// Leaves out the steps of one kind that stand in the plan before: a directory that several parts
/// of a plan need is made once.
pub fn once<S: Step>(steps: &mut Vec<S>, is_of_kind: impl Fn(&S) -> bool) {
    let mut before: Vec<S> = Vec::new();
    steps.retain(|step| {
        if !is_of_kind(step) {
            return true;
        }
        let is_new = !before.contains(step);
        before.push(step.clone());
        is_new
    });
}

/// Whether an act changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done now.
    Made,
    /// It had been done before; nothing was changed.
    AlreadySo,
}

/// Something that applies steps.
pub trait Apply {
    /// Its acts.
    type Step: Step;

    /// Performs one act, or finds it already performed.
    ///
    /// # Errors
    /// On failure the act has not happened; applying the same step again is always allowed.
    fn apply(&mut self, step: &Self::Step) -> Result<Outcome>;

    /// Whether the machine can be left as it is before this step, when the steps before it were
    /// carried out. Where it cannot (root has been renamed away and its successor is not there
    /// yet), somebody's Ctrl-C waits for the next step where it can.
    fn may_stop_before(&self, _: &Self::Step) -> bool {
        true
    }
}

/// Asked between steps whether to stop. Never asked in the middle of one, nor where the machine
/// must not be left. Long work has several threads, and each may ask.
pub trait Interrupt: Sync {
    /// Whether SIGINT or SIGTERM has arrived.
    fn is_set(&self) -> bool;
}

/// Nothing interrupts this run.
#[derive(Debug, Clone, Copy)]
pub struct Never;

impl Interrupt for Never {
    fn is_set(&self) -> bool {
        false
    }
}

/// A step that was carried out.
#[derive(Debug, Clone, Serialize)]
pub struct Done<S> {
    /// The step.
    pub step: S,
    /// Whether it changed anything.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(skip)]
    pub took: Duration,
}

/// A plan that was not carried out to its end. What was done stays done; running again finishes.
#[derive(Debug)]
pub struct Failed<S> {
    /// The steps before the failing one.
    pub done: Vec<Done<S>>,
    /// The step that failed; `None` when the run was interrupted between two.
    pub step: Option<S>,
    /// Why.
    pub error: Error,
}

/// What came of carrying out a plan.
pub type Executed<S> = Result<Vec<Done<S>>, Box<Failed<S>>>;

/// Applies a plan's steps in order and stops at the first failure.
///
/// The caller has already let the backend check that the survey behind the plan still holds.
///
/// # Errors
/// The failing step, what was done before it, and why.
pub fn execute<A: Apply>(
    on: &mut A,
    plan: &Plan<A::Step>,
    interrupt: &dyn Interrupt,
    mut watch: impl FnMut(&Done<A::Step>),
) -> Executed<A::Step> {
    let mut done = Vec::with_capacity(plan.steps.len());
    for step in &plan.steps {
        if (done.is_empty() || on.may_stop_before(step)) && interrupt.is_set() {
            return Err(Box::new(Failed {
                done,
                step: None,
                error: Error::Interrupted,
            }));
        }
        let begun = std::time::Instant::now();
        match on.apply(step) {
            Ok(outcome) => {
                let entry = Done {
                    step: step.clone(),
                    outcome,
                    took: begun.elapsed(),
                };
                watch(&entry);
                done.push(entry);
            }
            Err(error) => {
                return Err(Box::new(Failed {
                    done,
                    step: Some(step.clone()),
                    error,
                }));
            }
        }
    }
    Ok(done)
}

//! Plans as reports show them, and the carrying out that all verbs share.

use crate::failure::{Class, Failure};
use crate::record::Record;
use serde::Serialize;
use state_api::{Apply, Done, Error, Interrupt, Kind, Outcome, Plan, RootBackend, Step, execute};

/// A step of a plan: in words, as data, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Act {
    /// What a dry run prints.
    pub text: String,
    /// The step itself.
    pub step: serde_json::Value,
    /// Whether it changed anything; `None` until it is carried out.
    pub outcome: Option<Outcome>,
    /// How long it took, in microseconds.
    pub took_us: Option<u64>,
}

impl Act {
    fn planned(step: &impl Step) -> Self {
        Self {
            text: step.to_string(),
            step: serde_json::to_value(step).unwrap_or(serde_json::Value::Null),
            outcome: None,
            took_us: None,
        }
    }

    fn done<S: Step>(done: &Done<S>) -> Self {
        Self {
            outcome: Some(done.outcome),
            took_us: Some(Record::micros(done.took)),
            ..Self::planned(&done.step)
        }
    }
}

/// A plan as it stands in a dry run.
pub fn planned<S: Step>(plan: &Plan<S>) -> Vec<Act> {
    plan.steps.iter().map(Act::planned).collect()
}

/// How many of the acts were carried out.
pub fn count_done(acts: &[Act]) -> usize {
    acts.iter().filter(|act| act.outcome.is_some()).count()
}

/// What is said of a plan that was carried out in part; running again finishes it.
fn stopped(done: usize, all: usize, why: Error) -> anyhow::Error {
    let fact = format!("stopped after {done} of {all} steps");
    if why.kind() == Kind::Interrupted {
        return anyhow::Error::from(why).context(fact); // has an exit status of its own
    }
    let again = "run it again to finish; nothing is lost";
    let failure = Failure::new(Class::Partial, fact).hint(match why.hint() {
        Some(hint) => format!("{hint}. Then {again}"),
        None => again.to_owned(),
    });
    anyhow::Error::from(why).context(failure)
}

/// Checks that the survey still holds and carries the plan out. The acts of the whole plan come
/// back in any case, those that were done with their outcomes.
pub fn carry_out<B: RootBackend>(
    backend: &mut B,
    survey: &B::Survey,
    plan: &Plan<<B as Apply>::Step>,
    interrupt: &dyn Interrupt,
) -> (Vec<Act>, anyhow::Result<()>) {
    if plan.is_nothing() {
        return (Vec::new(), Ok(()));
    }
    if let Err(error) = backend.recheck(survey) {
        return (planned(plan), Err(error.into()));
    }
    carry_out_all(backend, plan, interrupt)
}

/// Carries a plan out that was made a moment ago.
pub fn carry_out_all<A: Apply>(
    on: &mut A,
    plan: &Plan<A::Step>,
    interrupt: &dyn Interrupt,
) -> (Vec<Act>, anyhow::Result<()>) {
    let mut acts = planned(plan);
    let mut done = 0;
    let ended = execute(on, plan, interrupt, |step| {
        acts[done] = Act::done(step);
        done += 1;
    });
    let ended = match ended {
        Ok(_) => Ok(()),
        Err(failed) if done == 0 => Err(failed.error.into()),
        Err(failed) => Err(stopped(done, plan.steps.len(), failed.error)),
    };
    (acts, ended)
}

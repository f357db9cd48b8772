//! Trees that wait for a boot to take a store's place, and those that did at this one.

use crate::context::Context;
use crate::engine;
use crate::ops::waiting::{self, Note, What};
use serde::Serialize;
use std::path::Path;

/// How it stands with a store's exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Swapped {
    /// The next boot makes it.
    Due {
        /// What waits, where that was noted.
        what: Option<What>,
    },
    /// This boot should have made it.
    Overdue {
        /// What waits, where that was noted.
        what: Option<What>,
        /// Why it did not.
        why: String,
        /// The cure.
        hint: Option<String>,
    },
    /// A tree was to wait, and none does.
    Lost {
        /// What waited.
        what: What,
    },
    /// This boot made it.
    Done {
        /// What is in place, where that was noted.
        what: Option<What>,
    },
}

impl Swapped {
    /// Whether something wants attention.
    pub fn needs_attention(&self) -> bool {
        matches!(self, Self::Overdue { .. } | Self::Lost { .. })
    }
}

/// Looks at the store that the machine knows as `store`. Who may not look at it sees nothing.
pub(super) fn look(cx: &Context, store: &Path) -> Option<Swapped> {
    let at = cx.rooted(store);
    let waits = engine::store(&at)
        .and_then(|engine| engine.waiting())
        .ok()?;
    let mut recorded = waiting::recorded(cx).into_iter();
    let recorded = recorded.rfind(|swap| swap.store == store);
    judge(cx, waits.is_some(), Note::read(&at), recorded)
}

fn judge(
    cx: &Context,
    waits: bool,
    note: Option<Note>,
    recorded: Option<waiting::Swap>,
) -> Option<Swapped> {
    let failure = recorded.as_ref().and_then(|swap| swap.failure.clone());
    match (waits, note) {
        (true, note) => {
            let is_of_this_boot = note.as_ref().map(|note| note.boot_id == cx.boot_id);
            let what = note.map(|note| note.what);
            Some(match failure {
                // It was asked for after this boot had come to what waited before.
                _ if is_of_this_boot == Some(true) => Swapped::Due { what },
                Some(failure) => Swapped::Overdue {
                    what,
                    why: failure.error,
                    hint: failure.hint,
                },
                None if is_of_this_boot.is_none() => Swapped::Due { what },
                None => Swapped::Overdue {
                    what,
                    why: "nothing put it in place when this machine started".into(),
                    hint: Some(
                        "`state init --install-boot` renews what runs at boot; `state undo` calls it off"
                            .into(),
                    ),
                },
            })
        }
        (false, Some(note)) => Some(Swapped::Lost { what: note.what }),
        (false, None) => recorded
            .filter(|swap| swap.failure.is_none())
            .map(|swap| Swapped::Done { what: swap.what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Failure;

    #[test]
    fn what_this_boot_should_have_done_wants_attention() {
        let boot = |boot_id: &str| Context {
            now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            boot_id: boot_id.into(),
            ..Context::below("/nowhere")
        };
        let (before, now) = (boot("before"), boot("now"));
        let note = |cx: &Context| Some(Note::new(cx, What::Undo));
        let swap = |error: Option<&str>| {
            Some(waiting::Swap {
                store: "/persist".into(),
                what: Some(What::Undo),
                at: now.now,
                failure: error.map(|error| Failure {
                    error: error.into(),
                    hint: None,
                }),
            })
        };
        let what = Some(What::Undo);
        let overdue = |why: &str, hint: Option<&str>| Swapped::Overdue {
            what: Some(What::Undo),
            why: why.into(),
            hint: hint.map(Into::into),
        };
        let unrun = overdue(
            "nothing put it in place when this machine started",
            Some("`state init --install-boot` renews what runs at boot; `state undo` calls it off"),
        );
        for (waits, note, recorded, expected) in [
            (false, None, None, None),
            (
                true,
                note(&now),
                None,
                Some(Swapped::Due { what: what.clone() }),
            ),
            (true, None, None, Some(Swapped::Due { what: None })),
            (true, note(&before), None, Some(unrun)),
            (
                true,
                note(&before),
                swap(Some("no space")),
                Some(overdue("no space", None)),
            ),
            (
                false,
                note(&before),
                None,
                Some(Swapped::Lost { what: What::Undo }),
            ),
            (
                false,
                None,
                swap(None),
                Some(Swapped::Done { what: what.clone() }),
            ),
            // Put in place, and then asked to go back.
            (
                true,
                note(&now),
                swap(None),
                Some(Swapped::Due { what: what.clone() }),
            ),
            // It failed and was called off, and another one was asked for.
            (
                true,
                note(&now),
                swap(Some("no space")),
                Some(Swapped::Due { what }),
            ),
            (
                true,
                None,
                swap(Some("no space")),
                Some(Swapped::Overdue {
                    what: None,
                    why: "no space".into(),
                    hint: None,
                }),
            ),
        ] {
            assert_eq!(judge(&now, waits, note, recorded), expected);
        }
    }
}

//! How it stands with the exchange of a store.

use super::super::Screen;
use super::super::exit::one_line;
use super::super::output::{BAD, GOOD};
use crate::ops::status::Swapped;
use crate::ops::waiting::What;
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::Path;

pub(super) fn swapped(swap: &Swapped, store: &Path, out: &mut Screen<'_>) -> io::Result<()> {
    let named = |what: &Option<What>| {
        (what.as_ref()).map_or("another tree".into(), |what| one_line(&what.to_string()))
    };
    match swap {
        Swapped::Due { what } => writeln!(
            out,
            "         the next boot puts {} in its place; `state undo` calls that off",
            named(what)
        ),
        Swapped::Overdue { what, why, hint } => {
            writeln!(
                out,
                "         {BAD}{} should be in its place{BAD:#}: {}",
                named(what),
                one_line(why)
            )?;
            match hint {
                Some(hint) => writeln!(out, "         {}", one_line(hint)),
                None => Ok(()),
            }
        }
        Swapped::Lost { what } => writeln!(
            out,
            "         {BAD}{} was to take its place and is gone{BAD:#}: nothing was changed; `state undo {}` forgets it",
            one_line(&what.to_string()),
            Shown(store)
        ),
        Swapped::Done { what } => writeln!(
            out,
            "         {GOOD}this boot put {} in its place{GOOD:#}; `state undo` goes back",
            named(what)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_told() {
        let text = |swap| Screen::text(Some(80), |out| swapped(&swap, Path::new("/persist"), out));
        assert_eq!(
            [
                text(Swapped::Due { what: None }),
                text(Swapped::Lost { what: What::Undo }),
                text(Swapped::Done {
                    what: Some(What::Undo)
                }),
            ]
            .concat(),
            "         the next boot puts another tree in its place; `state undo` calls that off\n         \
             what `state undo` brings back was to take its place and is gone: nothing was changed; \
             `state undo /persist` forgets it\n         \
             this boot put what `state undo` brings back in its place; `state undo` goes back\n"
        );
    }
}

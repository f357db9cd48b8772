//! Which machine, which archive: where no configuration says it, as on a live medium.

use crate::ask::Ask as _;
use crate::cli::exit::one_line;
use crate::cli::output::{FAINT, HEADER};
use crate::cli::size::{moment, size};
use crate::cli::table::{Column, Table};
use crate::cli::{Globals, Screen};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::ops::archives::{self, List, Listed};
use crate::ops::machines::{self, Machine};
use crate::ops::restore::Options;
use state_api::Error;
use state_linux::signal;
use std::io::{self, Write as _};

/// How many archives are shown to choose from.
const MOST: usize = 20;

/// Sets the machine, and the archive if a person wants another one than the newest.
///
/// # Errors
/// There is none, there are several and nobody can be asked, or the target cannot be read.
pub(super) fn which(globals: &Globals, cx: &Context, options: &mut Options) -> anyhow::Result<()> {
    let found = machines::run(cx, &options.which)?;
    let machine = match &found.machines[..] {
        [] => {
            let at = options.which.from.as_deref().unwrap_or("the target");
            let failure = Failure::new(
                Class::NoSuchArchive,
                format!("there are no archives at {at}"),
            );
            return Err(match found.odd.first() {
                Some(odd) => failure.hint(odd.why.clone()),
                None => failure.hint("archives lie in a directory for each machine: does the URL name the one above?"),
            }
            .into());
        }
        [one] => one.machine.clone(),
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|machine| machine.machine.clone())
                .collect();
            let shown = |out: &mut Screen<'_>| machines(several, out);
            ask(globals, "Which machine?", &names, None, shown)?.ok_or_else(|| {
                Failure::usage(format!(
                    "there are archives of several machines: {}",
                    names.join(", ")
                ))
                .hint("choose one with --machine")
            })?
        }
    };
    options.which.machine = Some(machine);
    if options.archive.is_some() || options.path.is_some() || globals.yes {
        return Ok(());
    }
    let list = archives::list(cx, &options.which)?;
    let newest = newest_first(&list);
    if newest.len() > 1 {
        let ids: Vec<_> = newest.iter().map(|archive| archive.id.clone()).collect();
        let latest = newest.iter().position(|archive| archive.is_complete);
        let shown = |out: &mut Screen<'_>| archives(&newest, out);
        // Nobody there: the newest complete one, as everywhere.
        options.archive = ask(globals, "Which archive?", &ids, latest, shown)?;
    }
    Ok(())
}

fn newest_first(list: &List) -> Vec<&Listed> {
    list.archives.iter().rev().take(MOST).collect()
}

/// Shows a numbered list and asks for one of it. Nothing: nobody can be asked.
fn ask(
    globals: &Globals,
    question: &str,
    names: &[String],
    default: Option<usize>,
    show: impl FnOnce(&mut Screen<'_>) -> io::Result<()>,
) -> anyhow::Result<Option<String>> {
    let person = globals.person();
    if !globals.has_person() {
        return Ok(None);
    }
    globals.explain(show)?;
    let default_shown = default.map_or(String::new(), |n| format!(" [{}]", n + 1));
    loop {
        let Some(answer) = person.text(&format!("{question}{default_shown}")) else {
            return Err(match signal::has_arrived() {
                true => Error::Interrupted.into(),
                false => Failure::refused("nothing was chosen: everything stays as it is").into(),
            });
        };
        match pick(names, default, &answer) {
            Some(n) => return Ok(Some(names[n].clone())),
            None => person.say(&format!("a number from 1 to {}, or a name", names.len())),
        }
    }
}

/// Which one an answer means: its number, its name, or the beginning of it while that is clear.
fn pick(names: &[String], default: Option<usize>, answer: &str) -> Option<usize> {
    let answer = answer.trim();
    if answer.is_empty() {
        return default;
    }
    if let Some(n) = names.iter().position(|name| name == answer) {
        return Some(n);
    }
    if let Ok(n) = answer.parse::<usize>()
        && (1..=names.len()).contains(&n)
    {
        return Some(n - 1);
    }
    let mut found = (0..names.len()).filter(|n| names[*n].starts_with(answer));
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn machines(machines: &[Machine], out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "{HEADER}Machines{HEADER:#}")?;
    let mut table = Table::new([
        ("", Column::Right),
        ("", Column::Left),
        ("", Column::Left),
        ("", Column::Right),
    ]);
    for (n, machine) in machines.iter().enumerate() {
        let newest = machine.newest.as_ref();
        table.styled([
            ((n + 1).to_string(), FAINT),
            (one_line(&machine.machine), HEADER),
            (
                newest.map_or("nothing complete".into(), |newest| moment(newest.time)),
                FAINT,
            ),
            (
                newest.map_or(String::new(), |newest| size(newest.bytes)),
                FAINT,
            ),
        ]);
    }
    table.print(out)
}

fn archives(archives: &[&Listed], out: &mut Screen<'_>) -> io::Result<()> {
    let machine = archives
        .first()
        .map_or(String::new(), |archive| one_line(&archive.machine));
    writeln!(out, "{HEADER}Archives of {machine}{HEADER:#}")?;
    let mut table = Table::new([
        ("", Column::Right),
        ("", Column::Left),
        ("", Column::Left),
        ("", Column::Right),
        ("", Column::Left),
    ]);
    for (n, archive) in archives.iter().enumerate() {
        let remark = match (&archive.broken, archive.is_complete) {
            (Some(_), _) => "broken".to_owned(),
            (None, false) => "incomplete".to_owned(),
            (None, true) => archive.signature.remark().unwrap_or_default(),
        };
        table.styled([
            ((n + 1).to_string(), FAINT),
            (archive.id.clone(), HEADER),
            (moment(archive.time), FAINT),
            (size(archive.bytes), FAINT),
            (remark, FAINT),
        ]);
    }
    table.print(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::machines::Newest;
    use crate::ops::seal::Signature;
    use chrono::DateTime;

    #[test]
    fn a_number_a_name_or_its_beginning() {
        let names = ["blitzar", "quasar", "quark", "12"].map(str::to_owned);
        for (answer, default, expected) in [
            ("1\n", None, Some(0)),
            ("4", None, Some(3)),
            ("12", None, Some(3)),
            ("quasar", None, Some(1)),
            ("b", None, Some(0)),
            ("qua", None, None),
            ("0", None, None),
            ("5", None, None),
            ("x", Some(2), None),
            ("", Some(2), Some(2)),
            (" \n", None, None),
        ] {
            assert_eq!(pick(&names, default, answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn the_lists_are_numbered() {
        let machine = |name: &str, newest| Machine {
            proven: None,
            target: "usb".into(),
            machine: name.into(),
            archives: 3,
            stored_bytes: 1 << 20,
            newest,
        };
        let newest = Newest {
            id: "20261121T113705Z-3f6a90c1".into(),
            time: DateTime::from_timestamp(1_795_261_025, 0).unwrap(),
            bytes: 2 << 20,
            commit: None,
            signature: Signature::Unsigned,
        };
        let list = [machine("blitzar", Some(newest)), machine("quasar", None)];
        assert_eq!(
            Screen::text(None, |out| machines(&list, out)),
            "Machines\n1  blitzar  2026-11-21 11:37  2.0 MiB\n2  quasar   nothing complete\n"
        );
    }
}

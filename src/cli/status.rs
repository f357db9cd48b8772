//! `state status`

mod swapped;

use super::exit::one_line;
use super::output::{BAD, FAINT, GOOD};
use super::size::{duration, moment, size};
use super::{Exit, Globals, Screen};
use crate::ops::look::{Place, Placed};
use crate::ops::status::{Glance, Last, Proven, Report, Reset, Store, run as status};
use crate::paths::Shown;
use crate::record::{Outcome, Record};
use crate::settings::Class;
use state_api::{RootFacts, Source};
use std::io::{self, Write as _};
use std::time::Duration;
use swapped::swapped;

/// Show this boot at a glance: was root reset, is the persist tree in place
///
/// Exits with 5 if root was not reset at this boot, a store or an entry is not in place, the last
/// drill failed, or the last proven restore is older than `[drill] max-age`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep what came of this boot in the store, with the last twenty: the unit says this once at
    /// each boot
    #[arg(long)]
    remember: bool,
}

/// Runs the verb.
///
/// # Errors
/// There is no configuration, or the machine cannot be looked at.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(true)?;
    let report = status(&cx, args.remember)?;
    globals.judge(&report, report.needs_attention(), human)
}

fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    match &report.reset {
        Reset::Done => {
            let how = report.record.as_ref().map(how).unwrap_or_default();
            writeln!(out, "boot     {GOOD}reset{GOOD:#}{how}")?;
        }
        Reset::NotDone { why, hint } => {
            writeln!(out, "boot     {BAD}not reset{BAD:#}: {}", one_line(why))?;
            if let Some(hint) = hint {
                writeln!(out, "         {}", one_line(hint))?;
            }
        }
        Reset::NotDeclared => writeln!(
            out,
            "boot     {FAINT}no root is declared: nothing is erased{FAINT:#}"
        )?,
        Reset::NotRunning => writeln!(out, "boot     {FAINT}not the running machine{FAINT:#}")?,
    }
    if let Some(past) = report
        .record
        .as_ref()
        .and_then(|record| record.past_root.as_ref())
    {
        writeln!(out, "         the root before is kept as {past}")?;
    }
    if let Some(glance) = &report.boots {
        boots(glance, out)?;
    }
    if let Some(why) = &report.not_remembered {
        writeln!(
            out,
            "boots    {BAD}this one is not remembered{BAD:#}: {}",
            one_line(why)
        )?;
    }
    if let Some(facts) = &report.root {
        root(facts, out)?;
    }
    if let Some(why) = &report.root_unseen {
        writeln!(out, "root     {FAINT}{}{FAINT:#}", one_line(why))?;
    }
    if let Some(all) = &report.entries {
        entries(all, report.out_of_place(), out)?;
    }
    if report.unwatched > 0 {
        writeln!(
            out,
            "copies   {BAD}changes of {} are not saved{BAD:#}: `state doctor`",
            report.unwatched
        )?;
    }
    report.stores.iter().try_for_each(|of| store(of, out))?;
    for target in &report.targets {
        writeln!(
            out,
            "target   {}: {}",
            target.name,
            last(&target.archives, "archive", out)
        )?;
    }
    report
        .drill
        .as_ref()
        .map_or(Ok(()), |drill| proven(drill, out))
}

fn proven(drill: &Proven, out: &mut Screen<'_>) -> io::Result<()> {
    let old = match (drill.is_overdue, drill.max_age) {
        (true, Some(age)) => format!(", and should be at most {age} ago: `state drill`"),
        _ => String::new(),
    };
    match (&drill.proven, &drill.unseen) {
        (_, Some(why)) => writeln!(out, "drill    {FAINT}{}{FAINT:#}", one_line(why))?,
        (Some(proof), None) => {
            let style = if drill.is_overdue { BAD } else { GOOD };
            let (age, at) = (out.age(proof.at), one_line(&proof.target));
            writeln!(
                out,
                "drill    {style}restore proven {age}{style:#} at {at}{old}"
            )?;
        }
        (None, None) => writeln!(
            out,
            "drill    {BAD}no restore was proven yet{BAD:#}: `state drill`"
        )?,
    }
    drill.failed.iter().try_for_each(|failed| {
        let (age, at) = (out.age(failed.at), one_line(&failed.target));
        let why = one_line(failed.found.as_deref().unwrap_or_default());
        writeln!(out, "         {BAD}failed {age} at {at}{BAD:#}: {why}")
    })
}

fn boots(glance: &Glance, out: &mut Screen<'_>) -> io::Result<()> {
    let Some(newest) = glance.newest else {
        return Ok(());
    };
    let (n, all, age) = (glance.not_reset, glance.remembered, out.age(newest));
    writeln!(
        out,
        "boots    {n} of the last {all} not reset, the newest {age}"
    )
}

/// So many are named; `doctor` names all.
const NAMED: usize = 5;

fn entries<'a>(
    all: &[Placed],
    out_of_place: impl Iterator<Item = &'a Placed>,
    out: &mut Screen<'_>,
) -> io::Result<()> {
    let missing: Vec<&Placed> = out_of_place.collect();
    if missing.is_empty() {
        let left_out = all
            .iter()
            .filter(|entry| matches!(entry.place, Place::LeftOut { .. }))
            .count();
        write!(out, "entries  {} in place", all.len() - left_out)?;
        return match left_out {
            0 => writeln!(out),
            n => writeln!(out, ", {n} left out as declared"),
        };
    }
    writeln!(
        out,
        "entries  {BAD}{} of {} not in place{BAD:#}",
        missing.len(),
        all.len()
    )?;
    for entry in missing.iter().take(NAMED) {
        let why = match &entry.place {
            Place::Stuck { why, .. } => format!(": {}", one_line(why)),
            _ => String::new(),
        };
        writeln!(out, "         {}{why}", Shown(&entry.path))?;
    }
    if missing.len() > NAMED {
        writeln!(
            out,
            "         and {} more: `state doctor`",
            missing.len() - NAMED
        )?;
    }
    Ok(())
}

fn root(facts: &RootFacts, out: &mut Screen<'_>) -> io::Result<()> {
    write!(out, "root     {}: ", one_line(&facts.root))?;
    match &facts.blank {
        Some(blank) => write!(out, "blank {}", one_line(&blank.name))?,
        None => write!(out, "{BAD}no blank{BAD:#}")?,
    }
    let newest = facts.past_roots.last().and_then(|past| past.rotated_at);
    match (facts.past_roots.len(), newest) {
        (0, _) => writeln!(out, ", no past roots"),
        (1, Some(at)) => writeln!(out, ", one past root, put away {}", out.age(at)),
        (n, Some(at)) => writeln!(out, ", {n} past roots, the newest put away {}", out.age(at)),
        (n, None) => writeln!(out, ", {n} past roots"),
    }
}

/// ` from root-blank, 2026-11-21 11:37, in 18 ms`
fn how(record: &Record) -> String {
    let from = match (&record.source, &record.blank) {
        _ if record.outcome == Outcome::Checked => ": it came fresh by itself".to_owned(),
        (Some(Source::Past(name)), _) => format!(" from the past root {name}"),
        (_, Some(blank)) => format!(" from {}", one_line(&blank.name)),
        _ => String::new(),
    };
    let took = duration(Duration::from_micros(record.took_us));
    format!("{from}, {}, in {took}", moment(record.at))
}

fn store(store: &Store, out: &mut Screen<'_>) -> io::Result<()> {
    let class = match store.class {
        Class::Backup => "",
        Class::Local => " (local)",
        Class::Cache => " (cache)",
    };
    write!(out, "store    {}{class}: ", Shown(&store.path))?;
    if !store.is_there {
        return writeln!(out, "{BAD}not mounted{BAD:#}");
    }
    match store.space {
        Some(space) => {
            let (free, total) = (size(space.free_bytes), size(space.total_bytes));
            write!(out, "{free} of {total} free")?;
        }
        None => write!(out, "mounted")?,
    }
    match &store.snapshots {
        Last::Never => writeln!(out)?,
        of => writeln!(out, ", {}", last(of, "snapshot", out))?,
    }
    (store.swap.as_ref()).map_or(Ok(()), |swap| swapped(swap, &store.path, out))
}

fn last(last: &Last, kind: &str, out: &Screen<'_>) -> String {
    match last {
        Last::Is { at: Some(at), .. } => format!("last {kind} {}", out.age(*at)),
        Last::Is { name, at: None } => format!("last {kind} {name}"),
        Last::None => format!("no {kind} yet"),
        Last::Never => format!("no {kind}s"),
        Last::Unseen { why } => one_line(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::proof::Against;
    use crate::ledger::Drill;
    use crate::ops::look::Space;
    use crate::ops::look::{Place, Placed};
    use crate::ops::status::{Swapped, Target};
    use crate::ops::waiting::What;
    use state_api::{Blank, Identity, PastRoot};

    fn placed(path: &str, place: Place) -> Placed {
        Placed {
            path: path.into(),
            place,
        }
    }

    fn past(day: u32) -> PastRoot {
        PastRoot {
            name: format!("202611{day:02}T000000Z-6d3f20c1").parse().unwrap(),
            rotated_at: Some(format!("2026-11-{day:02}T00:00:00Z").parse().unwrap()),
            sequence: day.into(),
            is_pinned: false,
            needed_by: Vec::new(),
        }
    }

    fn record() -> Record {
        crate::record::parse(include_bytes!("../../tests/fixtures/boot-record/v1.json")).unwrap()
    }

    fn drill(target: &str, at: &str, found: Option<&str>) -> Drill {
        Drill {
            target: target.into(),
            machine: "blitzar".into(),
            id: "20261119T090000Z-3f6a90c1".into(),
            data_sha256: String::new(),
            at: at.parse().unwrap(),
            entries: 3,
            bytes: 33,
            against: Against::Snapshot,
            found: found.map(str::to_owned),
        }
    }

    fn text(reset: Reset, record: Option<Record>) -> String {
        let report = Report {
            boot_id: "6d3f20c1-96c1-4b53-a1de-3f6f8f7e0a11".into(),
            reset,
            record,
            root: Some(RootFacts {
                root: "/dev/vda2[root]".into(),
                exists: true,
                mounted_at: vec!["/".into()],
                blank: Some(Blank {
                    name: "root-blank".into(),
                    identity: Identity("9f1c@17".into()),
                    taken_at: None,
                }),
                previous_blank: None,
                past_roots: [1, 2].map(past).into(),
                leftovers: vec![],
                refusals: vec![],
            }),
            root_unseen: None,
            entries: Some(vec![
                placed("/a", Place::InPlace),
                placed("/b\n", Place::NotYet),
                placed(
                    "/c",
                    Place::Stuck {
                        why: "something else is mounted there".into(),
                        hint: None,
                    },
                ),
            ]),
            unwatched: 2,
            stores: vec![
                Store {
                    path: "/persist".into(),
                    class: Class::Backup,
                    is_there: true,
                    space: Some(Space {
                        free_bytes: 12 << 30,
                        total_bytes: 100 << 30,
                    }),
                    snapshots: Last::Is {
                        name: "20261121T100000Z".into(),
                        at: Some("2026-11-21T10:00:00Z".parse().unwrap()),
                    },
                    swap: Some(Swapped::Overdue {
                        what: Some(What::Undo),
                        why: "renaming a:\nno space".into(),
                        hint: Some("make room".into()),
                    }),
                },
                Store {
                    path: "/cache\n".into(),
                    class: Class::Cache,
                    is_there: false,
                    space: None,
                    snapshots: Last::Never,
                    swap: None,
                },
            ],
            targets: vec![
                Target {
                    name: "nas".into(),
                    archives: Last::None,
                },
                Target {
                    name: "usb".into(),
                    archives: Last::Unseen {
                        why: "file:///mnt/usb: no such file or directory".into(),
                    },
                },
            ],
            boots: Some(Glance {
                remembered: 20,
                not_reset: 2,
                newest: Some("2026-11-19T10:00:00Z".parse().unwrap()),
            }),
            not_remembered: Some("writing\nit: no space".into()),
            drill: Some(Proven {
                max_age: Some("1 d".parse().unwrap()),
                proven: Some(drill("nas", "2026-11-19T10:00:00Z", None)),
                is_overdue: true,
                failed: vec![drill(
                    "usb",
                    "2026-11-21T10:00:00Z",
                    Some("/a: it\nis gone"),
                )],
                unseen: None,
            }),
        };
        Screen::text(Some(80), |out| human(&report, out))
    }

    const STORES: &str = "\
boots    2 of the last 20 not reset, the newest 2 days ago
boots    this one is not remembered: writing\\nit: no space
root     /dev/vda2[root]: blank root-blank, 2 past roots, the newest put away 19 days ago
entries  2 of 3 not in place
         /b\\n
         /c: something else is mounted there
copies   changes of 2 are not saved: `state doctor`
store    /persist: 12 GiB of 100 GiB free, last snapshot 2 hours ago
         what `state undo` brings back should be in its place: renaming a:\\nno space
         make room
store    /cache\\n (cache): not mounted
target   nas: no archive yet
target   usb: file:///mnt/usb: no such file or directory
drill    restore proven 2 days ago at nas, and should be at most 1 d ago: `state drill`
         failed 2 hours ago at usb: /a: it\\nis gone
";

    #[test]
    fn a_boot_that_was_reset() {
        assert_eq!(
            text(Reset::Done, Some(record())),
            format!(
                "\
boot     reset from root-blank, 2026-11-21 11:37, in 18 ms
         the root before is kept as 20261121T113705Z-6d3f20c1
{STORES}"
            )
        );
    }

    #[test]
    fn a_boot_that_was_not() {
        let reset = Reset::NotDone {
            why: "no reset ran at this boot".into(),
            hint: Some("`state doctor` looks for the reason".into()),
        };
        assert_eq!(
            text(reset, None),
            format!(
                "\
boot     not reset: no reset ran at this boot
         `state doctor` looks for the reason
{STORES}"
            )
        );
    }
}

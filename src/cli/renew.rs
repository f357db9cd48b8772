//! `state blank run`, `state blank shell`, `state blank undo`

use super::exit::one_line;
use super::output::{BAD, GOOD, Screen};
use super::{Exit, Globals, steps};
use crate::ops::renew::{self, Options, Report};
use crate::paths::Shown;
use std::ffi::OsString;
use std::io::{self, Write as _};

/// The options of what runs in a copy of the blank.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct How {
    /// Go on where a store has no snapshots.
    #[arg(long)]
    no_snapshot: bool,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    how: How,
    /// The command and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Shell {
    #[command(flatten)]
    how: How,
}

#[derive(Debug, clap::Args)]
pub(super) struct Undo {
    /// The kernel that the boot loader starts, where that is not the newest in a separate /boot.
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(globals: &Globals, args: Run) -> anyhow::Result<Exit> {
    renewed(globals, args.how, args.command, &mut |status| {
        Ok(status == 0)
    })
}

pub(super) fn shell(globals: &Globals, args: Shell) -> anyhow::Result<Exit> {
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let question = "Make what the shell has left the blank?";
    if !args.how.dry_run {
        globals.can_confirm(question)?;
    }
    renewed(globals, args.how, vec![shell], &mut |_| {
        globals.confirm(question)
    })
}

fn renewed(
    globals: &Globals,
    how: How,
    command: Vec<OsString>,
    accept: &mut (dyn FnMut(u8) -> anyhow::Result<bool> + Send),
) -> anyhow::Result<Exit> {
    let cx = globals.context(how.dry_run)?;
    let options = Options {
        command,
        without_snapshot: how.no_snapshot,
        is_aside: globals.json,
        accept,
    };
    let report = renew::run(&cx, options)?;
    globals.show(&report, human)?;
    Ok(match report.status {
        Some(status) if !report.renewed && status != 0 => Exit::Command(status),
        _ => Exit::Done,
    })
}

pub(super) fn undo(globals: &Globals, args: Undo) -> anyhow::Result<Exit> {
    let undo = renew::undo(&globals.context(args.dry_run)?, args.kernel.as_deref())?;
    globals.show(&undo, human_undo)?;
    Ok(Exit::Done)
}

/// What a renewal did, as people read it.
fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    let command = one_line(&report.command.join(" "));
    let snapshots = report
        .snapshots
        .iter()
        .map(|created| Shown(&created.store).to_string());
    let snapshots: Vec<String> = snapshots.collect();
    let Some(status) = report.status else {
        let mut planned = vec![];
        planned.extend(snapshots.iter().map(|store| format!("snapshot {store}")));
        planned.extend(report.begin.iter().map(|act| act.text.clone()));
        let shared = report.shared.iter().map(|at| Shown(at).to_string());
        let shared: Vec<String> = shared.collect();
        planned.push(match shared.is_empty() {
            true => "put it in place".into(),
            false => format!(
                "put it in place, with {} and every entry",
                shared.join(", ")
            ),
        });
        planned.push(format!("run {command}"));
        planned.push("make it the blank, if that succeeds".into());
        writeln!(out, "the blank of {} would be renewed:", report.root)?;
        for (n, text) in planned.iter().enumerate() {
            writeln!(out, "  {}. {}", n + 1, one_line(text))?;
        }
        return Ok(());
    };
    if report.renewed {
        let name = report.blank.as_ref().map_or("blank", |blank| &blank.name);
        writeln!(out, "{GOOD}{name}{GOOD:#} is renewed; the next boot has it")?;
        if !report.saved.is_empty() {
            let saved: Vec<String> = report
                .saved
                .iter()
                .map(|at| Shown(at).to_string())
                .collect();
            writeln!(out, "{} changed with it", saved.join(" and "))?;
        }
        if report.previous.is_some() {
            writeln!(
                out,
                "the blank before it is kept: `state blank undo` goes back to it"
            )?;
        }
    } else {
        if status != 0 {
            writeln!(out, "{BAD}{command}{BAD:#} ended with {status}")?;
        }
        match report.tell_stores() {
            Some(told) => writeln!(out, "{told}")?,
            None if report.unchanged.is_empty() => writeln!(out, "blank is what it was")?,
            None => {
                let stores = report.unchanged.iter().map(|at| Shown(at).to_string());
                let stores: Vec<String> = stores.collect();
                writeln!(out, "blank is what it was, and so is {}", stores.join(", "))?;
            }
        }
    }
    for note in &report.notes {
        writeln!(out, "note: {}", one_line(note))?;
    }
    if out.is_verbose() {
        steps::print(&report.begin, out)?;
        steps::print(&report.end, out)?;
    }
    Ok(())
}

/// What taking a renewal back did, as people read it.
fn human_undo(undo: &renew::Undo, out: &mut Screen<'_>) -> io::Result<()> {
    if !undo.executed {
        writeln!(
            out,
            "the previous blank of {} would be the blank:",
            undo.root
        )?;
        return steps::print(&undo.plan, out);
    }
    let name = undo.blank.as_ref().map_or("blank", |blank| &blank.name);
    writeln!(
        out,
        "{GOOD}{name}{GOOD:#} is what it was before; the next boot has it"
    )?;
    writeln!(
        out,
        "what it was until now is kept: `state blank undo` goes back to that"
    )?;
    if out.is_verbose() {
        steps::print(&undo.plan, out)?;
    }
    Ok(())
}

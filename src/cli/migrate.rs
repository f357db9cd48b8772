//! `state init --migrate`: shows the whole plan, asks, and tells what was done.

use super::output::{BAD, FAINT, GOOD, HEADER, Screen, WARN};
use super::{Exit, Globals, exit, size};
use crate::boot::maker::Maker;
use crate::failure::Failure;
use crate::ops::init::Options;
use crate::ops::init::migrate::{Report, Step, run as migrate};
use crate::paths::Shown;
use std::io::{self, Write as _};

/// Runs it.
///
/// # Errors
/// Those of [`migrate`], or it was not confirmed.
pub fn run(
    globals: &Globals,
    options: &Options,
    maker: Option<Maker>,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    let migrate = |dry_run| {
        let (cx, progress) = (globals.context(dry_run)?, globals.progress());
        migrate(&cx, options, maker, progress.as_ref())
    };
    let plan = migrate(true)?;
    if dry_run || !plan.obstacles.is_empty() || plan.steps.is_empty() {
        globals.show(&plan, human)?;
        return Ok(match plan.obstacles.is_empty() {
            true => Exit::Done,
            false => Exit::Refused,
        });
    }
    if !globals.json {
        globals.show(&plan, human)?;
    }
    if !globals.confirm("Migrate this machine?")? {
        return Err(Failure::refused("not confirmed: everything stays as it is").into());
    }
    let done = migrate(false)?;
    globals.show(&done, human)?;
    Ok(Exit::Done)
}

/// A step in words.
fn words(step: &Step) -> String {
    match step {
        Step::Configure { file } => format!("write the configuration, {}", Shown(file)),
        Step::Fill {
            path,
            source,
            bytes,
            is_anew,
        } => {
            let verb = if *is_anew { "bring up to date" } else { "copy" };
            let (path, source) = (Shown(path), Shown(source));
            format!("{verb} {path} to {source}, {}", size::size(*bytes))
        }
        Step::InstallBoot { maker, files } => {
            let maker = maker.map_or(String::new(), |maker| format!(" by {maker}"));
            format!(
                "install what starts `state` at boot ({files} new files), make the initrds{maker}"
            )
        }
        Step::ReleaseRoot { file } => format!(
            "make the line for / in {} a comment: the initrd mounts what is installed, read-only",
            Shown(file)
        ),
        Step::TakeBlank { root } => format!("take blank of {root}"),
    }
}

fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    if report.executed {
        return done(report, out);
    }
    writeln!(out, "{HEADER}This machine{HEADER:#}")?;
    for fact in &report.found {
        writeln!(out, "  {}", exit::one_line(fact))?;
    }
    if let Some(text) = &report.configuration {
        writeln!(out, "\n{HEADER}Its configuration{HEADER:#}")?;
        for line in text.lines() {
            writeln!(out, "{}", format!("  {line}").trim_end())?;
        }
    }
    if !report.steps.is_empty() {
        writeln!(out, "\n{HEADER}What is to be done{HEADER:#}")?;
        for (n, step) in report.steps.iter().enumerate() {
            writeln!(out, "  {}. {}", n + 1, exit::one_line(&words(step)))?;
        }
        writeln!(
            out,
            "  {FAINT}nothing of the installation is removed{FAINT:#}"
        )?;
    }
    if !report.left.is_empty() {
        writeln!(out, "\n{HEADER}What is left as it is{HEADER:#}")?;
        for left in &report.left {
            writeln!(out, "  {}: {}", Shown(&left.path), left.why)?;
        }
    }
    for (title, color, list) in [
        ("What stands in the way", BAD, &report.obstacles),
        ("What is left to you", WARN, &report.todo),
    ] {
        if list.is_empty() {
            continue;
        }
        writeln!(out, "\n{HEADER}{title}{HEADER:#}")?;
        for todo in list {
            writeln!(out, "  {color}*{color:#} {}", exit::one_line(&todo.fact))?;
            writeln!(out, "    {}", exit::one_line(&todo.cure))?;
        }
    }
    if report.steps.is_empty() && report.obstacles.is_empty() {
        writeln!(out, "\n{GOOD}Nothing is to be done.{GOOD:#}")?;
    }
    Ok(())
}

fn done(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "{GOOD}Migrated{GOOD:#}: {} steps", report.done)?;
    if !report.moved.is_empty() {
        let n = report.moved.len();
        writeln!(out, "{WARN}*{WARN:#} changed while it was copied ({n}):")?;
        for path in report.moved.iter().take(10) {
            writeln!(out, "    {}", Shown(path))?;
        }
        if n > 10 {
            writeln!(out, "    … and {} more", n - 10)?;
        }
    }
    for todo in &report.todo {
        writeln!(out, "{WARN}*{WARN:#} {}", exit::one_line(&todo.fact))?;
        writeln!(out, "    {}", exit::one_line(&todo.cure))?;
    }
    writeln!(
        out,
        "\nThe next boot erases root. Until then programs go on writing to the originals, not to the store:\n\
         reboot now, or run this again right before you do. What is missed is in the past root then\n\
         (`state roots diff latest`)."
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::init::Todo;
    use crate::ops::init::migrate::Left;

    fn plan() -> Report {
        Report {
            found: vec!["Debian, called lab".into()],
            configuration: Some("[persist.\"/persist\"]\n".into()),
            steps: vec![
                Step::Configure {
                    file: "/persist/etc/state/state.toml".into(),
                },
                Step::Fill {
                    path: "/home".into(),
                    source: "/persist/home".into(),
                    bytes: 3 << 20,
                    is_anew: false,
                },
                Step::Fill {
                    path: "/a\nb".into(),
                    source: "/persist/a\nb".into(),
                    bytes: 0,
                    is_anew: true,
                },
                Step::InstallBoot {
                    maker: Some(Maker::Dracut),
                    files: 7,
                },
                Step::ReleaseRoot {
                    file: "/etc/fstab".into(),
                },
                Step::TakeBlank {
                    root: "/dev/vda2[root]".into(),
                },
            ],
            left: vec![Left {
                path: "/srv".into(),
                why: "the store has the same",
            }],
            obstacles: vec![],
            todo: vec![Todo {
                fact: "a fact".into(),
                cure: "a cure".into(),
            }],
            moved: vec![],
            done: 0,
            executed: false,
        }
    }

    #[test]
    fn a_plan_is_shown_whole() {
        assert_eq!(
            Screen::text(None, |out| human(&plan(), out)),
            "\
This machine
  Debian, called lab

Its configuration
  [persist.\"/persist\"]

What is to be done
  1. write the configuration, /persist/etc/state/state.toml
  2. copy /home to /persist/home, 3.0 MiB
  3. bring up to date /a\\nb to /persist/a\\nb, 0 B
  4. install what starts `state` at boot (7 new files), make the initrds by dracut
  5. make the line for / in /etc/fstab a comment: the initrd mounts what is installed, read-only
  6. take blank of /dev/vda2[root]
  nothing of the installation is removed

What is left as it is
  /srv: the store has the same

What is left to you
  * a fact
    a cure
"
        );
    }

    #[test]
    fn what_stands_in_the_way_and_what_was_done() {
        let refused = Report {
            steps: vec![],
            left: vec![],
            configuration: None,
            obstacles: plan().todo,
            todo: vec![],
            ..plan()
        };
        assert_eq!(
            Screen::text(None, |out| human(&refused, out)),
            "\
This machine
  Debian, called lab

What stands in the way
  * a fact
    a cure
"
        );
        let done = Report {
            executed: true,
            done: 5,
            moved: vec!["/var/log/x".into()],
            ..plan()
        };
        assert_eq!(
            Screen::text(None, |out| human(&done, out)),
            "\
Migrated: 5 steps
* changed while it was copied (1):
    /var/log/x
* a fact
    a cure

The next boot erases root. Until then programs go on writing to the originals, not to the store:
reboot now, or run this again right before you do. What is missed is in the past root then
(`state roots diff latest`).
"
        );
    }
}

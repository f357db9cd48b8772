//! `state demo`

use super::output::{BAD, FAINT, GOOD, HEADER, Screen};
use super::{
    Exit, Globals, backup, blank, diff, mount, recover, reset, restore, roots, size, snapshot,
};
use crate::ops::demo::{self, Backend, Event, Narrator, Options, Report, Shown};
use crate::program;
use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use chrono::Utc;
use state_api::Interrupt;
use std::io::{self, Write};
use unicode_width::UnicodeWidthStr as _;

/// The whole life of a machine on a throw-away image, in a minute
///
/// Lays out a machine, lives on it, resets it, brings back what was lost, backs it up, destroys its
/// disk, restores everything on another filesystem, and proves that nothing is missing. Changes
/// nothing on this system and leaves nothing behind. As root it uses a disk image and a loop
/// device; as an ordinary user everything is in memory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What root lives on: btrfs, zfs or tmpfs; by default the best there is.
    #[arg(long, value_name = "ENGINE", hide_possible_values = true)]
    backend: Option<Engine>,
    /// Leave the archives and the new disk's image in /var/tmp, to be looked at.
    #[arg(long)]
    keep: bool,
    /// Play on ZFS in a pool of this name, which another process removes in the end.
    #[arg(long, value_name = "NAME", hide = true)]
    in_pool: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Btrfs,
    Zfs,
    Tmpfs,
}

impl From<Engine> for Backend {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Btrfs => Self::Btrfs,
            Engine::Zfs => Self::Zfs,
            Engine::Tmpfs => Self::Tmpfs,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// Those of [`demo::run`].
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let cx = globals.context(false)?;
    if args.backend == Some(Engine::Zfs) && args.in_pool.is_none() {
        return watched(cx.interrupt);
    }
    let options = Options {
        backend: args.backend.map(Backend::from),
        keep: args.keep,
        pool: args.in_pool,
    };
    let report = if globals.json || globals.quiet {
        demo::run(options, cx.interrupt, &mut Silent)?
    } else {
        let width = super::output::terminal_width(std::io::stdout()).unwrap_or(80);
        let mut voice = Voice {
            out: globals.stdout(),
            width: width.clamp(20, 90),
            scenes: 0,
        };
        match demo::run(options, cx.interrupt, &mut voice) {
            // `state demo | head`: the play ends, and its stage is taken down, without a word.
            Err(error) if nobody_listens(&error) => return Ok(Exit::Done),
            played => played?,
        }
    };
    globals.show(&report, human)?;
    Ok(match report.differences.is_empty() {
        true => Exit::Done,
        false => Exit::Verification,
    })
}

/// Whether what failed was to tell it, to a reader that went away.
fn nobody_listens(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let source = match cause.downcast_ref() {
            Some(state_api::Error::Os { source, .. }) => Some(source),
            _ => cause.downcast_ref::<io::Error>(),
        };
        source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Plays in a second process, and removes its pool whatever ends it: unlike mounts and loop devices,
/// a pool outlives its process.
fn watched(interrupt: &dyn Interrupt) -> anyhow::Result<Exit> {
    let pool = format!("state-demo-{}", std::process::id());
    let args = std::env::args_os()
        .skip(1)
        .chain(["--in-pool".into(), pool.clone().into()]);
    let ended = program::ourselves(args, interrupt).context("starting the demo");
    demo::remove_pool(&pool)?;
    let code = ended?.code().and_then(|code| u8::try_from(code).ok());
    let exit = Exit::ALL.into_iter().find(|exit| Some(exit.code()) == code);
    Ok(exit.unwrap_or(Exit::Failed))
}

/// Nobody listens.
struct Silent;

impl Narrator for Silent {
    fn tell(&mut self, _event: Event<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Tells it on a terminal, as it happens.
struct Voice<W> {
    out: W,
    width: usize,
    scenes: usize,
}

/// How far the play is set in under the headings.
const INDENT: &str = "   ";
/// How far reports are set in.
const DEEPER: &str = "     ";

const COMMAND: Style = AnsiColor::Cyan.on_default();

impl<W: Write> Narrator for Voice<W> {
    fn tell(&mut self, event: Event<'_>) -> io::Result<()> {
        match event {
            Event::Begins(text) => self.words("", text)?,
            Event::Scene(title) => {
                self.scenes += 1;
                writeln!(self.out, "\n{HEADER}{}. {title}{HEADER:#}", self.scenes)?;
            }
            Event::Tells(text) => self.words(INDENT, text)?,
            Event::Runs(command) => {
                writeln!(
                    self.out,
                    "{INDENT}{FAINT}${FAINT:#} {COMMAND}{command}{COMMAND:#}"
                )?;
            }
            Event::Shows(shown) => self.shows(&shown)?,
            Event::Proves(text) => {
                write!(self.out, "{GOOD}")?;
                self.words(INDENT, text)?;
                write!(self.out, "{GOOD:#}")?;
            }
            Event::Took(took) => {
                writeln!(self.out, "{INDENT}{FAINT}{}{FAINT:#}", size::duration(took))?;
            }
        }
        self.out.flush()
    }
}

impl<W: Write> Voice<W> {
    fn words(&mut self, indent: &str, text: &str) -> io::Result<()> {
        for line in wrapped(text, self.width - indent.len()) {
            writeln!(self.out, "{indent}{line}")?;
        }
        Ok(())
    }

    fn shows(&mut self, shown: &Shown<'_>) -> io::Result<()> {
        let mut text = Vec::new();
        let mut screen = Screen::sized(&mut text, self.width - DEEPER.len(), Utc::now());
        match shown {
            Shown::Take(report) => blank::human_take(report, &mut screen)?,
            Shown::Mount(report) => mount::human(report, &mut screen)?,
            Shown::Diff(report) => diff::human(report, false, &mut screen)?,
            Shown::Reset(report) => reset::human(report, &mut screen)?,
            Shown::Roots(report) => roots::human(report, &mut screen)?,
            Shown::Recovered(report) => recover::human(report, &mut screen)?,
            Shown::Snapshot(report) => snapshot::human_create(report, &mut screen)?,
            Shown::Backup(report) => backup::human(report, &mut screen)?,
            Shown::Restored(report) => restore::human(report, &mut screen)?,
        }
        drop(screen);
        let room = self.width - DEEPER.len();
        for line in String::from_utf8_lossy(&text).lines() {
            let plain = anstream::adapter::strip_str(line).to_string();
            if plain.width() <= room {
                writeln!(self.out, "{DEEPER}{line}")?;
                continue;
            }
            for part in folded(&plain, room) {
                writeln!(self.out, "{DEEPER}{part}")?;
            }
        }
        Ok(())
    }
}

/// Text in lines of at most `width` columns, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first line");
        if !line.is_empty() && line.width() + 1 + word.width() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// A line of a report in lines of at most `width` columns, each after the first set in to where the
/// text behind the label begins.
fn folded(line: &str, width: usize) -> Vec<String> {
    let body = line.trim_start();
    let label = body.find("  ").map_or(0, |end| {
        let gap = body[end..].len() - body[end..].trim_start().len();
        end + gap
    });
    let text_at = line.len() - body.len() + label;
    let indent = match line.get(..text_at).map(|head| head.width()) {
        Some(columns) if columns > 0 && columns < width / 2 => columns,
        _ => 2,
    };
    let (head, text) = match indent == 2 && text_at != 2 {
        true => ("", line),
        false => line.split_at(text_at),
    };
    let mut lines = wrapped(text, width.saturating_sub(indent).max(1));
    for (n, line) in lines.iter_mut().enumerate() {
        *line = match n {
            0 => format!("{head}{line}"),
            _ => format!("{:indent$}{line}", ""),
        };
    }
    lines
}

fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out)?;
    for difference in report.differences.iter().take(20) {
        writeln!(out, "{BAD}differs:{BAD:#} {difference}")?;
    }
    if report.differences.len() > 20 {
        writeln!(out, "and {} more", report.differences.len() - 20)?;
    }
    let took: u64 = report.scenes.iter().map(|scene| scene.took_us).sum();
    let took = size::duration(std::time::Duration::from_micros(took));
    match &report.kept {
        Some(dir) => {
            let dir = dir.display();
            writeln!(
                out,
                "{GOOD}Done{GOOD:#} in {took}. What is kept is in {dir}:"
            )?;
            if report.had_devices {
                writeln!(out, "  mount -o loop,ro {dir}/new-disk.img /mnt")?;
            }
            writeln!(
                out,
                "  state archives list --from file://{dir}/usb --machine demo"
            )
        }
        None => writeln!(out, "{GOOD}Done{GOOD:#} in {took}; nothing is left behind."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_never_broken() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a-very-long-word b", 4), ["a-very-long-word", "b"]);
        assert_eq!(wrapped("", 4), [""]);
    }

    #[test]
    fn lines_of_reports_are_continued_under_their_text() {
        assert_eq!(
            folded("archive  one two three four five", 24),
            ["archive  one two three", "         four five"]
        );
        assert_eq!(
            folded("root on some-long-name is a copy", 20),
            ["root on", "  some-long-name is", "  a copy"]
        );
        assert_eq!(
            folded("         far in and on", 20),
            ["         far in and", "         on"]
        );
    }

    #[test]
    fn a_scene_as_it_is_told_on_a_narrow_terminal() {
        let mut text = Vec::new();
        let mut voice = Voice {
            out: anstream::StripStream::new(&mut text as &mut dyn Write),
            width: 30,
            scenes: 0,
        };
        for event in [
            Event::Begins("Everything happens on disks that nobody else sees."),
            Event::Scene("A machine"),
            Event::Tells("It has a root and a store."),
            Event::Runs("state reset"),
            Event::Took(std::time::Duration::from_millis(38)),
        ] {
            voice.tell(event).unwrap();
        }
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\
Everything happens on disks
that nobody else sees.

1. A machine
   It has a root and a store.
   $ state reset
   38 ms
"
        );
    }
}

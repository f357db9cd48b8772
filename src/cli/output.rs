//! Where a report goes: text for people, JSON for programs.

use super::exit::Told;
use super::{Exit, Globals};
use anstream::{AutoStream, ColorChoice, StripStream};
use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::fd::AsFd;

/// Headers of tables and sections.
pub const HEADER: Style = Style::new().bold();
/// What is well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What wants a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// What can be read over.
pub const FAINT: Style = Style::new().dimmed();

/// What people read: a writer that knows its width, the time, and how much is wanted.
///
/// Text for people is a pure function of a report and a screen.
pub struct Screen<'a> {
    out: Box<dyn Write + 'a>,
    width: Option<usize>,
    now: DateTime<Utc>,
    verbosity: u8,
}

impl<'a> Screen<'a> {
    /// A screen over any writer, without limit of width.
    pub fn new(out: impl Write + 'a, now: DateTime<Utc>) -> Self {
        Self {
            out: Box::new(out),
            width: None,
            now,
            verbosity: 0,
        }
    }

    /// A screen of so many columns over any writer.
    pub fn sized(out: impl Write + 'a, width: usize, now: DateTime<Utc>) -> Self {
        Self {
            width: Some(width),
            ..Self::new(out, now)
        }
    }

    /// The number of columns; `None` when it is no terminal and lines may be of any length.
    pub fn width(&self) -> Option<usize> {
        self.width
    }

    /// The time that ages are counted to.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Whether `-v` was given.
    pub fn is_verbose(&self) -> bool {
        self.verbosity > 0
    }

    /// How long ago that was.
    pub fn age(&self, then: DateTime<Utc>) -> String {
        super::size::age(then, self.now)
    }

    /// What `write` writes, without colours, at 2026-11-21 12:00 UTC: for tests.
    ///
    /// # Panics
    /// When `write` fails.
    pub fn text(
        width: Option<usize>,
        write: impl FnOnce(&mut Screen<'_>) -> io::Result<()>,
    ) -> String {
        let mut bytes = Vec::new();
        let noon = DateTime::from_timestamp(1_795_262_400, 0).expect("a date chrono can hold");
        let mut screen = Screen::new(StripStream::new(&mut bytes as &mut dyn Write), noon);
        screen.width = width;
        write(&mut screen).expect("writing to memory does not fail");
        drop(screen);
        String::from_utf8(bytes).expect("text for people is UTF-8")
    }
}

impl Write for Screen<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl fmt::Debug for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen")
            .field("width", &self.width)
            .field("now", &self.now)
            .field("verbosity", &self.verbosity)
            .finish_non_exhaustive()
    }
}

/// `--color`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

impl From<Color> for ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

/// A reader that went away (`state roots | head -1`) is no failure: the work was done.
fn unless_closed(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("writing to standard output"),
    }
}

impl Globals {
    /// Whether standard output shows colours.
    #[cfg(feature = "interactive")]
    pub fn has_colors(&self) -> bool {
        let choice = match self.color {
            Color::Auto => AutoStream::choice(&io::stdout()),
            told => told.into(),
        };
        choice != ColorChoice::Never
    }

    /// Shows a report that may want attention, which is an exit status of its own.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn judge<R: Serialize>(
        &self,
        report: &R,
        needs_attention: bool,
        human: impl FnOnce(&R, &mut Screen<'_>) -> io::Result<()>,
    ) -> anyhow::Result<Exit> {
        self.show(report, human)?;
        Ok(match needs_attention {
            true => Exit::Attention,
            false => Exit::Done,
        })
    }

    /// Shows a report: with `--json` exactly it, else the text that `human` makes of it (nothing
    /// with `-q`).
    ///
    /// # Errors
    /// Standard output cannot be written. A closed pipe is no error.
    pub fn show<R: Serialize>(
        &self,
        report: &R,
        human: impl FnOnce(&R, &mut Screen<'_>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.json {
            return unless_closed(write_json(report));
        }
        if self.quiet {
            return Ok(());
        }
        let stdout = io::stdout();
        let width = (stdout.is_terminal())
            .then(|| terminal_width(&stdout))
            .flatten();
        let stream = AutoStream::new(stdout, self.color.into());
        let mut screen = Screen::new(BufWriter::new(stream), Utc::now());
        screen.width = width;
        screen.verbosity = self.verbose;
        unless_closed(human(report, &mut screen).and_then(|()| screen.flush()))
    }

    /// Shows what a question is about, where questions are asked.
    ///
    /// # Errors
    /// Standard error cannot be written.
    pub(super) fn explain(
        &self,
        human: impl FnOnce(&mut Screen<'_>) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut screen = Screen::new(BufWriter::new(self.stderr()), Utc::now());
        screen.width = terminal_width(io::stderr());
        unless_closed(human(&mut screen).and_then(|()| screen.flush()))
    }

    /// Writes bytes as they are: completions, man pages, `-0` lists.
    ///
    /// # Errors
    /// Standard output cannot be written. A closed pipe is no error.
    pub fn raw(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout();
        unless_closed(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Writes a line for people while a verb is still at work, on standard error. Not with
    /// `--json` or `-q`.
    ///
    /// # Errors
    /// Standard error cannot be written.
    pub fn note(&self, line: &str) -> io::Result<()> {
        if self.json || self.quiet {
            return Ok(());
        }
        writeln!(self.stderr(), "{}", super::exit::one_line(line))
    }

    pub(super) fn stdout(&self) -> AutoStream<io::Stdout> {
        AutoStream::new(io::stdout(), self.color.into())
    }

    pub(super) fn stderr(&self) -> AutoStream<io::Stderr> {
        AutoStream::new(io::stderr(), self.color.into())
    }

    /// Tells of a failure on standard error, and with `--json` on standard output too.
    ///
    /// # Errors
    /// Neither can be written.
    pub(super) fn tell(&self, told: &Told) -> io::Result<()> {
        let mut text = Vec::new();
        write_told(told, &mut text)?;
        self.stderr().write_all(&text)?;
        if self.json { write_json(told) } else { Ok(()) }
    }
}

/// The error as people read it, without colours: for tests and records.
pub fn told_text(told: &Told) -> String {
    Screen::text(None, |screen| write_told(told, screen))
}

/// The error as people read it.
pub(super) fn write_told(told: &Told, out: &mut impl Write) -> io::Result<()> {
    let hint = AnsiColor::Cyan.on_default().bold();
    writeln!(out, "{BAD}error:{BAD:#} {}", told.error)?;
    if let Some(excerpt) = &told.excerpt {
        writeln!(out, "{excerpt}")?;
    }
    if let Some(cure) = &told.hint {
        writeln!(out, "{hint}hint:{hint:#} {}", super::exit::one_line(cure))?;
    }
    told.also.iter().try_for_each(|told| write_told(told, out))
}

fn write_json(value: &impl Serialize) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout());
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()
}

/// The columns of the terminal that `to` is. A serial console does not know how many it has, and says 0.
pub(super) fn terminal_width(to: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(to).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    #[test]
    fn a_terminal_that_does_not_know_its_size_has_none() {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        for (columns, width) in [(0, None), (132, Some(132))] {
            let size = Winsize {
                ws_row: 0,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&terminal, size).unwrap();
            assert_eq!(terminal_width(&terminal), width);
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(terminal_width(file), None);
    }
}

//! Questions to the person at the terminal.

use super::Globals;
use super::exit::one_line;
use crate::ask::Ask;
use crate::failure::Failure;
use crate::ops::keyring::Keyring;
use anyhow::Context as _;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use state_linux::signal;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

/// What an answer means. Anything but a clear yes is a no.
fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

impl Globals {
    /// Asks a yes-or-no question; `--yes` answers it. An end of input is a no.
    ///
    /// # Errors
    /// Nobody can be asked: standard input or standard error is no terminal.
    pub fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        if !self.has_person() {
            return Err(Failure::refused(format!("nobody can be asked: {question}"))
                .hint("look at the plan with `--dry-run`, then add `--yes`")
                .into());
        }
        self.ask(question)
    }

    /// Fails as [`Globals::confirm`] would, before there is anything to ask about.
    ///
    /// # Errors
    /// Nobody can be asked.
    pub fn can_confirm(&self, question: &str) -> anyhow::Result<()> {
        match self.yes || self.has_person() {
            true => Ok(()),
            false => self.confirm(question).map(drop),
        }
    }

    /// Asks whether a key is known; `--yes` does not answer that. Where nobody can be asked, it is
    /// a no.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn vouch(&self, question: &str) -> anyhow::Result<bool> {
        match self.has_person() {
            false => Ok(false),
            true => self.ask(question),
        }
    }

    /// Whether somebody can be asked.
    pub(super) fn has_person(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// The person at the terminal.
    pub(super) fn person(&self) -> impl Ask {
        Terminal(self.clone())
    }

    /// What opens encrypted archives: the files that were named, else what a unit was given.
    pub fn keyring(&self, named: Vec<PathBuf>) -> Keyring {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let credential = credentials.map(|dir| dir.join(Keyring::CREDENTIAL));
        let credential = credential.filter(|file| file.exists());
        Keyring::new(named, credential, Arc::new(Terminal(self.clone())))
    }

    fn ask(&self, question: &str) -> anyhow::Result<bool> {
        let mut stderr = self.stderr();
        let asking = "asking on the terminal";
        write!(stderr, "{} [y/N] ", one_line(question)).context(asking)?;
        stderr.flush().context(asking)?;
        match self.answer() {
            Err(_) if signal::has_arrived() => Err(state_api::Error::Interrupted.into()),
            answer => Ok(is_yes(&answer.context(asking)?)),
        }
    }

    /// The line that is typed, with its end; nothing at the end of input. Control-C ends it.
    fn answer(&self) -> io::Result<String> {
        if let Err(error) = signal::wait_to_read(io::stdin()) {
            writeln!(self.stderr())?; // after the terminal's `^C`
            return Err(error);
        }
        // A terminal gives one line at a time.
        let mut stdin = io::stdin().lock();
        let answer = stdin.fill_buf()?.to_vec();
        stdin.consume(answer.len());
        String::from_utf8(answer).map_err(io::Error::other)
    }
}

/// The terminal that the program was started from, if it is one.
struct Terminal(Globals);

impl Terminal {
    /// Writes the question and reads a line.
    fn line(&self, question: &str) -> Option<String> {
        let mut stderr = self.0.stderr();
        write!(stderr, "{} ", one_line(question)).ok()?;
        stderr.flush().ok()?;
        let line = self.0.answer().ok()?;
        (!line.is_empty()).then(|| line.trim_end_matches('\n').to_owned())
    }
}

impl Ask for Terminal {
    fn say(&self, text: &str) {
        if !self.0.quiet {
            // A closed standard error leaves nobody to tell.
            drop(writeln!(self.0.stderr(), "note: {}", one_line(text)));
        }
    }

    fn secret(&self, question: &str) -> Option<String> {
        let hidden = self.0.has_person().then(Hidden::begin)?.ok()?;
        let line = self.line(question);
        drop(hidden);
        drop(writeln!(self.0.stderr()));
        line.filter(|line| !line.contains(CANCEL as char))
    }

    fn text(&self, question: &str) -> Option<String> {
        self.0.has_person().then(|| self.line(question))?
    }

    fn choose(&self, question: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let question = match no {
            Some(no) => format!("{question} (y: {yes}, n: {no})"),
            None => format!("{question} (y: {yes})"),
        };
        self.text(&question).map(|answer| is_yes(&answer))
    }
}

/// Control-C. While a secret is typed it ends the line instead of raising a signal: a run that
/// ended there would leave a terminal that shows nothing.
const CANCEL: u8 = 3;

/// The terminal shows nothing of what is typed until this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO | LocalModes::ISIG;
        hidden.special_codes[SpecialCodeIndex::VEOL] = CANCEL;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no repair.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.0).unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, yes) in [
            ("y\n", true),
            ("Yes \n", true),
            ("\n", false),
            ("n\n", false),
            ("yess\n", false),
            ("", false),
        ] {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}

//! Questions to the person at the terminal.

use super::Globals;
use super::exit::one_line;
use crate::failure::Failure;
use anyhow::Context as _;
use std::io::{self, BufRead, IsTerminal as _, Write as _};

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
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::refused(format!("nobody can be asked: {question}"))
                .hint("look at the plan with `--dry-run`, then add `--yes`")
                .into());
        }
        self.ask(question)
    }

    /// Asks whether a key is known; `--yes` does not answer that. Where nobody can be asked, it is
    /// a no.
    ///
    /// # Errors
    /// The terminal fails.
    pub fn vouch(&self, question: &str) -> anyhow::Result<bool> {
        match self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            true => Ok(false),
            false => self.ask(question),
        }
    }

    fn ask(&self, question: &str) -> anyhow::Result<bool> {
        let mut stderr = self.stderr();
        let asking = "asking on the terminal";
        write!(stderr, "{} [y/N] ", one_line(question)).context(asking)?;
        stderr.flush().context(asking)?;
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer).context(asking)?;
        Ok(read > 0 && is_yes(&answer))
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

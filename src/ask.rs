//! Questions that come up in the middle of work: passphrases, and what a hardware key wants.

use std::fmt;

/// The person at the terminal.
pub trait Ask: Send + Sync {
    /// Says something: that a key waits to be touched, that a file can be read by others.
    fn say(&self, text: &str);
    /// Asks for a secret, without showing what is typed. Nothing: nobody can be asked.
    fn secret(&self, question: &str) -> Option<String>;
    /// Asks for something that is no secret. Nothing: nobody can be asked.
    fn text(&self, question: &str) -> Option<String>;
    /// Asks to choose between two. Nothing: nobody can be asked.
    fn choose(&self, question: &str, yes: &str, no: Option<&str>) -> Option<bool>;
}

impl fmt::Debug for dyn Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

/// Nobody is there, as in a timer's run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Ask for Nobody {
    fn say(&self, _: &str) {}
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn text(&self, _: &str) -> Option<String> {
        None
    }
    fn choose(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }
}

//! `state completions SHELL`

use super::{Exit, Globals};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the verb.
///
/// # Errors
/// The output cannot be written.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "state", &mut script);
    globals.raw(&script)?;
    Ok(Exit::Done)
}

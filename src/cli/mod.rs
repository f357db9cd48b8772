//! The command line: the only module that prints, prompts and exits.
//!
//! A verb has a file here with its arguments, `run`, and the text that people read, which is a
//! pure function of the verb's report. What it does is in `ops`.

pub mod archives;
pub mod backup;
pub mod blank;
#[cfg(feature = "interactive")]
mod browse;
pub mod capture;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod doctor;
pub mod drill;
pub mod drop;
pub mod exit;
pub mod init;
pub mod install_boot;
pub mod keep;
pub mod man;
pub mod migrate;
pub mod mount;
pub mod orphans;
pub mod output;
mod progress;
mod prompt;
pub mod provision;
pub mod recover;
pub mod recovery_sheet;
mod renew;
pub mod reset;
pub mod restore;
pub mod roots;
pub mod size;
pub mod snapshot;
pub mod status;
mod steps;
pub mod table;
pub mod undo;
pub mod which;

pub use exit::Exit;
pub use man::pages;
pub use output::Screen;

use crate::context::Context;
use anyhow::Context as _;
use chrono::Utc;
use clap::{CommandFactory as _, Parser};
use output::Color;
use state_api::Interrupt;
use state_linux::signal;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Makes the enum of verbs and its dispatch: one line per verb, in the order of the help.
macro_rules! verbs {
    ($($variant:ident => $module:ident,)*) => {
        #[derive(Debug, clap::Subcommand)]
        #[expect(clippy::large_enum_variant, reason = "there is one of it")]
        enum Verb {
            $($variant($module::Args),)*
        }

        impl Verb {
            fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
                match self {
                    $(Self::$variant(args) => $module::run(globals, args),)*
                }
            }
        }
    };
}

verbs! {
    Init => init,
    Doctor => doctor,
    Status => status,
    Reset => reset,
    Roots => roots,
    Blank => blank,
    Mount => mount,
    Diff => diff,
    Orphans => orphans,
    Keep => keep,
    Drop => drop,
    Snapshot => snapshot,
    Backup => backup,
    Archives => archives,
    Restore => restore,
    Undo => undo,
    Provision => provision,
    RecoverySheet => recovery_sheet,
    Drill => drill,
    Demo => demo,
    Completions => completions,
    Man => man,
}

/// Erase a machine's root at every boot, keep exactly what was declared
#[derive(Debug, Parser)]
#[command(
    name = "state",
    version,
    about,
    after_long_help = exit_codes(),
    arg_required_else_help = true,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The options that every verb takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The configuration file; by default /etc/state/state.toml, else the one in a store.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Look for everything below this directory.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true
    )]
    pub root: PathBuf,
    /// Print the report as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colours.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: Color,
    /// Show no progress of long work.
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Answer every question with yes.
    #[arg(long, global = true)]
    pub yes: bool,
}

/// The command as clap knows it, for help, completions, man pages and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program: parses the command line, runs the verb, tells of a failure.
pub fn state_main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own rendering; a closed standard error leaves nobody to tell.
            drop(error.print());
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    match cli.verb.run(&cli.globals) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let told = exit::tell(&error);
            drop(cli.globals.tell(&told));
            exit::exit_of(&error).into()
        }
    }
}

fn exit_codes() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
    format!("Exit status:\n{}", lines.join("\n"))
}

/// The signal flag as the seams ask for it.
#[derive(Debug)]
struct Signals(signal::Flag);

impl Interrupt for Signals {
    fn is_set(&self) -> bool {
        self.0.is_set()
    }
}

impl Globals {
    /// The surroundings of this run. From here on SIGINT and SIGTERM are heard between steps.
    ///
    /// # Errors
    /// The signals cannot be caught, or the kernel does not tell the boot's id.
    pub fn context(&self, dry_run: bool) -> anyhow::Result<Context<'static>> {
        /// A signal handler reaches nothing but statics; this is its other end.
        static SIGNALS: OnceLock<Signals> = OnceLock::new();
        let flag = signal::catch().context("catching SIGINT and SIGTERM")?;
        Ok(Context {
            root_dir: path::absolute(&self.root).context("finding the root directory")?,
            config_file: self.config.clone(),
            now: Utc::now(),
            boot_id: boot_id(&self.root)?,
            interrupt: SIGNALS.get_or_init(|| Signals(flag)),
            dry_run,
        })
    }
}

/// The boot's id, from below the root directory if there is a /proc (a whole machine, or a
/// fixture of one), else the running kernel's.
fn boot_id(root: &Path) -> anyhow::Result<String> {
    const FILE: &str = "proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(root.join(FILE))
        .or_else(|_| fs::read_to_string(Path::new("/").join(FILE)))
        .context("reading the boot's id")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        command().debug_assert();
    }
}

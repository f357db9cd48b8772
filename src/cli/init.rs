//! `state init`

use super::output::{GOOD, HEADER, WARN};
use super::{Exit, Globals, Screen, install_boot};
use crate::ops::init::{Options, Report, run as init};
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Look at this machine and write a first configuration
///
/// Looks at what is mounted and what lies where, explains it, and writes a configuration into the
/// store, for you to read and change. Never writes over an existing one; root is not touched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The store; by default the volume mounted at /persist or the like.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Write the configuration here instead of into the store.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what would be written, write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    boot: install_boot::Args,
}

/// Runs the verb.
///
/// # Errors
/// There is a configuration already, or no store, or writing failed.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    if let Some(exit) = install_boot::run(globals, args.boot, args.dry_run)? {
        return Ok(exit);
    }
    let cx = globals.context(args.dry_run)?;
    let options = Options {
        store: args.store,
        output: args.output,
    };
    globals.show(&init(&cx, &options)?, human)?;
    Ok(Exit::Done)
}

fn human(report: &Report, out: &mut Screen<'_>) -> io::Result<()> {
    writeln!(out, "{HEADER}This machine{HEADER:#}")?;
    for fact in &report.found {
        writeln!(out, "  {}", super::exit::one_line(fact))?;
    }
    let file = Shown(&report.file);
    writeln!(out)?;
    if report.executed {
        writeln!(out, "{GOOD}Written{GOOD:#} to {file}:")?;
    } else {
        writeln!(out, "Would be written to {file}:")?;
    }
    writeln!(out)?;
    for line in report.configuration.lines() {
        writeln!(out, "{}", format!("  {line}").trim_end())?;
    }
    if !report.todo.is_empty() {
        writeln!(out, "\n{HEADER}Before the first reset{HEADER:#}")?;
        for todo in &report.todo {
            writeln!(
                out,
                "  {WARN}*{WARN:#} {}",
                super::exit::one_line(&todo.fact)
            )?;
            writeln!(out, "    {}", super::exit::one_line(&todo.cure))?;
        }
    }
    if report.executed {
        writeln!(
            out,
            "\nRead it, change what is not right, then run `state doctor`."
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What is shown for each machine of `tests/fixtures/machines`, as whole text in `init.txt`
    /// beside it. `BLESS=1` writes it anew.
    #[test]
    fn each_machine_gets_a_configuration_of_its_own() {
        let machines = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/machines");
        let mut seen = 0;
        for machine in std::fs::read_dir(machines).unwrap() {
            let machine = machine.unwrap();
            let name = machine.file_name().into_string().unwrap();
            let report = crate::ops::init::of_fixture(&name).unwrap();
            let text = Screen::text(None, |out| human(&report, out));
            let expected = machine.path().join("init.txt");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&expected, &text).unwrap();
            }
            assert_eq!(text, std::fs::read_to_string(&expected).unwrap(), "{name}");
            seen += 1;
        }
        assert!(seen > 3);
    }
}

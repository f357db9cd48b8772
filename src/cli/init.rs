//! `state init`

use super::output::{GOOD, HEADER, WARN};
use super::{Exit, Globals, Screen, install_boot, migrate};
use crate::ops::init::{Options, Origin, Report, run as init};
use crate::paths::Shown;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Here, because below the command line nobody knows that there is one.
impl clap::ValueEnum for Origin {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

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
    /// Bring over what another tool keeps: `impermanence` or `preservation`. What has no place in
    /// the configuration is named.
    #[arg(
        long,
        value_name = "TOOL",
        requires = "list",
        conflicts_with = "store",
        hide_possible_values = true
    )]
    from: Option<Origin>,
    /// The tool's options as `nix eval --json` writes them; `-` reads them from standard input.
    #[arg(value_name = "FILE.json", requires = "from")]
    list: Option<PathBuf>,
    /// Turn an ordinary installation into one that erases its root: write the configuration if
    /// there is none, copy what it keeps into the store, do --install-boot, take blank. Shows the
    /// whole plan first, removes nothing, and goes on where it was interrupted.
    #[arg(long, conflicts_with_all = ["output", "from"])]
    migrate: bool,
    /// Show what would be done, write nothing.
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
    if args.migrate {
        let options = Options {
            store: args.store,
            ..Options::default()
        };
        return migrate::run(globals, &options, args.boot.maker(), args.dry_run);
    }
    if let Some(exit) = install_boot::run(globals, args.boot, args.dry_run)? {
        return Ok(exit);
    }
    let cx = globals.context(args.dry_run)?;
    let options = Options {
        store: args.store,
        output: args.output,
        from: args.from.zip(args.list),
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
    if !report.left_out.is_empty() {
        writeln!(out, "\n{HEADER}Not brought over{HEADER:#}")?;
        for left in &report.left_out {
            let of = super::exit::one_line(&left.of);
            writeln!(out, "  {WARN}*{WARN:#} {of}")?;
            writeln!(out, "    {}", super::exit::one_line(&left.what))?;
        }
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
            let report = crate::ops::init::of_fixture(&name, None).unwrap();
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

    /// What is made of each list of `tests/fixtures/lists`, as whole text beside it, on one
    /// machine. The lists are what the tools' options evaluated to, by Nix, at several times.
    #[test]
    fn each_list_is_brought_over_or_said_not_to_be() {
        let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lists");
        let mut seen = 0;
        for list in std::fs::read_dir(lists).unwrap() {
            let list = list.unwrap().path();
            if list.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let name = list.file_stem().unwrap().to_str().unwrap();
            let origin = Origin::ALL
                .into_iter()
                .find(|origin| name.starts_with(origin.name()))
                .unwrap();
            let json = std::fs::read_to_string(&list).unwrap();
            let of = Some((origin, json.as_str()));
            let text = match crate::ops::init::of_fixture("nixos-btrfs", of) {
                Ok(report) => Screen::text(None, |out| human(&report, out)),
                Err(error) => format!("{:#?}\n", super::super::exit::tell(&error)),
            };
            let expected = list.with_extension("txt");
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(&expected, &text).unwrap();
            }
            assert_eq!(text, std::fs::read_to_string(&expected).unwrap(), "{name}");
            seen += 1;
        }
        assert!(seen > 8);
    }
}

//! `state man`

use super::{Exit, Globals};
use anyhow::Context as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Print the manual page, or write all pages into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write state.1 and a page for each verb there.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// The output cannot be written.
pub fn run(globals: &Globals, args: Args) -> anyhow::Result<Exit> {
    let pages = pages().context("making the manual pages")?;
    match args.output {
        None => globals.raw(&pages[0].1)?,
        Some(dir) => {
            for (name, page) in &pages {
                let path = dir.join(name);
                fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
            }
        }
    }
    Ok(Exit::Done)
}

/// Every page by its file name; `state.1` first.
pub fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = super::command();
    command.build();
    let mut pages = vec![("state.1".to_owned(), page(command.clone())?)];
    for verb in command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        let name = format!("state-{}", verb.get_name());
        // clap keeps `'static` names; a dozen short strings live until the process ends.
        let verb = verb.clone().name(&*name.clone().leak());
        pages.push((format!("{name}.1"), page(verb)?));
    }
    Ok(pages)
}

fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    let man = Man::new(
        command
            .after_long_help(None::<&str>)
            .after_help(None::<&str>),
    );
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    man.render_subcommands_section(&mut out)?;
    let mut exits = Roff::new();
    exits.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        exits.control("TP", []);
        exits.text([bold(exit.code().to_string())]);
        exits.text([roman(exit.meaning())]);
    }
    exits.to_writer(&mut out)?;
    out.flush()?;
    Ok(out)
}

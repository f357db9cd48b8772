//! `state man`

use super::{Exit, Globals};
use crate::settings::reference;
use anyhow::Context as _;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Print the manual page, or write all pages into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write state.1, a page for each verb, and state.toml.5 there.
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
            fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
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
    pages.push(("state.toml.5".to_owned(), configuration()?));
    Ok(pages)
}

/// The reference of the configuration as a page of section 5.
fn configuration() -> io::Result<Vec<u8>> {
    let mut page = Roff::new();
    // The reference marks code as Markdown does; a terminal shows it in bold.
    let text = |page: &mut Roff, text: &str| {
        let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
            0 => roman(part),
            _ => bold(part),
        });
        page.text(parts.collect::<Vec<_>>());
    };
    page.control(
        "TH",
        [
            "state.toml",
            "5",
            "",
            concat!("state ", env!("CARGO_PKG_VERSION")),
        ],
    );
    page.control("SH", ["NAME"]);
    page.text([roman("state.toml - the configuration of state(1)")]);
    page.control("SH", ["DESCRIPTION"]);
    for (n, about) in reference::ABOUT.iter().enumerate() {
        if n > 0 {
            page.control("PP", []);
        }
        text(&mut page, about);
    }
    page.control("SH", ["EXAMPLE"]);
    page.control("nf", []);
    for line in reference::EXAMPLE.lines() {
        page.text([roman(line)]);
    }
    page.control("fi", []);
    for section in reference::sections() {
        page.control("SH", [section.title.replace('`', "").as_str()]);
        text(&mut page, &section.about);
        for key in &section.keys {
            page.control("TP", []);
            page.text([
                bold(&key.name),
                roman(" ("),
                italic(reference::takes(key).replace('`', "")),
                roman(")"),
            ]);
            text(&mut page, &key.docs);
            if !key.example.is_empty() {
                page.control("br", []);
                page.text([roman(format!("{} = {}", key.name, key.example))]);
            }
        }
    }
    let mut out = Vec::new();
    page.to_writer(&mut out)?;
    Ok(out)
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

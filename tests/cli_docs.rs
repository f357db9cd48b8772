//! The documents say what the program does: the reference is made of the types, and every TOML
//! example is a configuration that is accepted. With `BLESS=1` the reference is written anew.

use state::config;
use state::settings::reference;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else if at.is_file() {
        found.push(at.to_owned());
    }
}

/// The ```` ```toml ```` blocks of a text, with the line each begins on.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in text.lines().enumerate() {
        let mark = line.trim_start();
        match &mut open {
            None if mark == "```toml" => open = Some((n + 2, String::new())),
            Some(_) if mark == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

#[test]
fn every_example_is_accepted() {
    let mut documents = Vec::new();
    for at in ["README.md", "docs", "contrib"] {
        files(&top().join(at), &mut documents);
    }
    let mut seen = 0;
    for document in documents {
        let examples = match document.extension().and_then(|e| e.to_str()) {
            Some("md") => blocks(&fs::read_to_string(&document).unwrap()),
            Some("toml") => vec![(1, fs::read_to_string(&document).unwrap())],
            _ => continue,
        };
        for (line, example) in examples {
            seen += 1;
            let name = format!("{} (from line {line})", document.display());
            if let Err(error) = config::parse_text(Path::new(&name), &example) {
                panic!("{error}");
            }
        }
    }
    assert!(seen > 0, "the reference alone has an example");
}

#[test]
fn the_reference_is_that_of_the_types() {
    let file = top().join("docs/configuration.md");
    let text = reference::markdown();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap_or_default() == text,
        "docs/configuration.md is out of step: BLESS=1 cargo test --test cli_docs"
    );
}

#[test]
fn every_key_has_an_example_that_is_accepted() {
    for section in reference::sections() {
        for key in section.keys.iter().filter(|key| !key.example.is_empty()) {
            let text = section.example(key);
            config::parse_text(Path::new("example"), &text)
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
    }
}

#[test]
fn the_whole_example_is_accepted() {
    config::parse_text(Path::new("example"), reference::EXAMPLE).unwrap();
}

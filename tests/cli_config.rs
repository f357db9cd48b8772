//! Bad configurations and everything that is told of them, as whole text: `configs/bad/X.toml`
//! and `configs/bad/X.txt`. With `BLESS=1` the texts are written anew, for a person to read.

use proptest::prelude::*;
use state::cli::{exit, output};
use state::config;
use state::settings::reference;
use std::fs;
use std::path::{Path, PathBuf};

fn configs(which: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/configs")
        .join(which);
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// What the command line would print.
fn told(name: &Path, text: &str) -> Option<String> {
    let error = config::parse_text(name, text).err()?;
    let error = anyhow::Error::from(error);
    assert_eq!(exit::exit_of(&error), exit::Exit::Usage);
    Some(output::told_text(&exit::tell(&error)))
}

#[test]
fn every_fault_is_told_with_its_place_and_cure() {
    let mut wrong = Vec::new();
    for file in configs("bad") {
        let text = fs::read_to_string(&file).unwrap();
        let name = Path::new(file.file_name().unwrap());
        let told = told(name, &text).unwrap_or_else(|| panic!("{} is accepted", name.display()));
        let expected_file = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_file, &told).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if told != expected {
            wrong.push(format!(
                "{}:\n{told}\ninstead of\n{expected}",
                name.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_right_is_accepted() {
    for file in configs("good") {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(told(&file, &text), None, "{}", file.display());
    }
}

proptest! {
    /// Whatever is in the file, it is accepted or told of, with a place inside the file.
    #[test]
    fn no_text_is_too_much(
        at in 0..reference::EXAMPLE.len(),
        cut in 0..40usize,
        noise in "[\\PC\n\t\"'\\[\\]{}=#.]{0,12}",
    ) {
        let example = reference::EXAMPLE;
        let floor = |mut at: usize| {
            at = at.min(example.len());
            while !example.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let text = format!("{}{noise}{}", &example[..floor(at)], &example[floor(at + cut)..]);
        if let Err(error) = config::parse_text(Path::new("t"), &text) {
            let lines = text.lines().count() + 1;
            for fault in &error.faults {
                let line = fault.fact.strip_prefix("t:").and_then(|rest| rest.split(':').next());
                let line: usize = line.expect("every fault has a place").parse().unwrap();
                prop_assert!((1..=lines).contains(&line), "{}", fault.fact);
            }
        }
    }

    /// Any path can be declared: it comes out as it went in.
    #[test]
    fn any_name_survives(name in "[^/\u{0}]{1,20}") {
        prop_assume!(name != "." && name != ".." && name != ".state");
        let path = format!("/{name}");
        let quoted = toml::Value::String(path.clone());
        let text = format!("[persist.\"/s t\"]\nfiles = [{quoted}]\n");
        prop_assume!(path != "/s t");
        let settings = config::parse_text(Path::new("t"), &text).unwrap();
        prop_assert_eq!(settings.persist[Path::new("/s t")].files[0].path(), Path::new(&path));
    }
}

/// What is read can be written and read again: nothing is lost on the way into a report.
#[test]
fn settings_survive_being_written() {
    let settings = config::parse_text(Path::new("t"), reference::EXAMPLE).unwrap();
    let text = toml::to_string(&settings).unwrap();
    assert_eq!(config::parse_text(Path::new("t"), &text).unwrap(), settings);
}

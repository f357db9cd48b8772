//! Bad configurations and everything that is told of them, as whole text: `configs/bad/X.toml`
//! and `configs/bad/X.txt`. With `BLESS=1` the texts are written anew, for a person to read.

use state::cli::{exit, output};
use state::config;
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

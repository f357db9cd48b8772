//! The floors of `docs/architecture.md`, where cargo cannot enforce them: ground modules are
//! pure, and one module prints.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that decide and never touch the world.
const GROUND: &[&str] = &[
    "backends/api/src",
    "src/archive/frame.rs",
    "src/archive/label.rs",
    "src/archive/machine.rs",
    "src/archive/manifest",
    "src/archive/member",
    "src/archive/member.rs",
    "src/archive/pax.rs",
    "src/archive/proof.rs",
    "src/archive/sums.rs",
    "src/config/edit.rs",
    "src/metrics.rs",
    "src/ops/init/fresh.rs",
    "src/ops/keep/step.rs",
    "src/ops/provision/layout.rs",
    "src/ops/provision/plan.rs",
    "src/ops/provision/probe.rs",
    "src/ops/provision/step.rs",
    "src/paths.rs",
    "src/persist/entry.rs",
    "src/persist/plan",
    "src/persist/plan.rs",
    "src/persist/seen.rs",
    "src/persist/step.rs",
    "src/persist/tree.rs",
    "src/persist/users.rs",
    "src/retention.rs",
    "src/settings.rs",
    "src/settings",
    "src/target/place.rs",
];

/// What ground must not name: files, processes, clocks, the environment.
const WORLD: &[&str] = &[
    "std::fs",
    "fs::File",
    "std::process",
    "std::env",
    "rustix::",
    "state_linux::",
    "Utc::now",
    "SystemTime::now",
];

fn sources(at: &Path, found: &mut Vec<PathBuf>) {
    if at.is_dir() {
        let entries = fs::read_dir(at).expect("the tree can be listed");
        for entry in entries {
            sources(&entry.expect("the tree can be listed").path(), found);
        }
    } else if at.extension().is_some_and(|e| e == "rs") {
        found.push(at.to_owned());
    }
}

/// The lines of `file` that contain one of `words` outside comments and unit tests.
fn offences(file: &Path, words: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a source file is text");
    text.lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(n, line)| format!("{}:{}: {}", file.display(), n + 1, line.trim()))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn ground_modules_are_pure() {
    let mut files = Vec::new();
    for module in GROUND {
        assert!(
            root().join(module).exists(),
            "the list of ground modules has gone stale: {module}"
        );
        sources(&root().join(module), &mut files);
    }
    assert!(
        files.len() > 8,
        "the list of ground modules has gone stale: {files:?}"
    );
    let offences: Vec<_> = files
        .iter()
        .flat_map(|file| offences(file, WORLD))
        .collect();
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn ops_and_below_never_reach_for_the_command_line() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    files.retain(|file| !file.starts_with(root().join("src/cli")));
    files.retain(|file| {
        !["main.rs", "lib.rs"].contains(&file.file_name().unwrap().to_str().unwrap())
    });
    let offences: Vec<_> = files
        .iter()
        .flat_map(|file| offences(file, &["crate::cli", "clap::"]))
        .collect();
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn programs_are_started_in_one_place() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("backends"), &mut files);
    // `backends/testing` and integration tests drive foreign tools on purpose; the ZFS engine may
    // not look up at `src`, so its two programs have a lid of their own.
    const LIDS: [&str; 3] = [
        "src/program.rs",
        "src/program/enclosed.rs",
        "backends/zfs/src/live/command.rs",
    ];
    files.retain(|file| {
        !file.starts_with(root().join("backends/testing"))
            && !file.components().any(|c| c.as_os_str() == "tests")
            && !LIDS.iter().any(|lid| *file == root().join(lid))
    });
    let offences: Vec<_> = files
        .iter()
        .flat_map(|file| offences(file, &["Command::new("]))
        .collect();
    assert_eq!(offences, Vec::<String>::new());
}

/// A table of what is tested is only worth something while the tests are there.
#[test]
fn tests_that_the_documents_name_exist() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    let text: String = files
        .iter()
        .map(|file| fs::read_to_string(file).expect("a source file is text"))
        .collect();
    let document = fs::read_to_string(root().join("docs/design/persist.md")).expect("it is there");
    let named: Vec<&str> = document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| {
            word.contains('_')
                && word
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
        })
        .collect();
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !text.contains(&format!("fn {name}(")))
        .collect();
    assert_eq!(missing, [&""; 0]);
}

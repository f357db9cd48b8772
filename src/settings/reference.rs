//! The reference of every key, made of the types.

use super::{
    Archive, Capture, ConfigRepo, Diff, Drill, EntryTable, Hooks, Keep, Key, Keys, Machine,
    Metrics, PastRoots, Root, Settings, Snapshots, Store, Target, UserEntries,
};
use std::fmt::Write as _;

/// The keys of one table.
#[derive(Debug, Clone)]
pub struct Section {
    /// How the table is called: `[machine]`.
    pub title: String,
    /// What it is.
    pub about: String,
    /// What stands before its keys in a file, what between them, and what after.
    pub frame: [&'static str; 3],
    /// Its keys.
    pub keys: Vec<Key>,
}

/// All tables, in the order of the reference.
pub fn sections() -> Vec<Section> {
    let section = |title: &str, about: &str, frame, keys| Section {
        title: title.to_owned(),
        about: about.to_owned(),
        frame,
        keys,
    };
    let mut sections = vec![
        section(
            "The file",
            "Each key but `version` is a table with a section of its own below.",
            ["", "\n", "\n"],
            Settings::keys(),
        ),
        section(
            "`[machine]`",
            "The machine itself.",
            ["[machine]\n", "\n", "\n"],
            Machine::keys(),
        ),
    ];
    for (word, about, mut keys) in Root::variants() {
        let (frame, example) = match word {
            "btrfs" => (["[root]\nbackend = \"btrfs\"\n", "\n", "\n"], "\"btrfs\""),
            "zfs" => (["[root]\nbackend = \"zfs\"\n", "\n", "\n"], "\"zfs\""),
            "tmpfs" => (["[root]\nbackend = \"tmpfs\"\n", "\n", "\n"], "\"tmpfs\""),
            _ => (
                ["[root]\nbackend = \"overlay\"\n", "\n", "\n"],
                "\"overlay\"",
            ),
        };
        keys.insert(
            0,
            Key {
                name: "backend".into(),
                docs: "The engine; decides which other keys there are.".into(),
                kind: format!("`{example}`"),
                default: None,
                example: "",
            },
        );
        sections.push(section(&format!("`[root]` on {word}"), &about, frame, keys));
    }
    sections.extend([
        section(
            "`past-roots`",
            "How long the roots that resets retired are kept: while either rule holds one. The \
             newest and pinned ones are always kept, and nothing is deleted while the clock is \
             behind the newest.",
            ["[root]\nbackend = \"zfs\"\ndataset = \"rpool/local/root\"\npast-roots = { ", ", ", " }\n"],
            PastRoots::keys(),
        ),
        section(
            "`capture`",
            "A root in memory ends with the power. When the machine goes down in order, what the \
             next boot would lose (what `state diff` shows then) becomes a past root: an archive in \
             the first store that is no cache.",
            ["[root]\nbackend = \"tmpfs\"\ncapture = { ", ", ", " }\n"],
            Capture::keys(),
        ),
        section(
            "`[persist.\"PATH\"]`",
            "A store of the persist tree, by the directory it is mounted at. Several are allowed: \
             an entry of one may lie inside an entry of another, never inside one of the same.",
            ["[persist.\"/persist\"]\n", "\n", "\n"],
            Store::keys(),
        ),
        section(
            "`[persist.\"PATH\".users.NAME]`",
            "Entries relative to a user's home, which the machine's user database says.",
            ["[persist.\"/persist\".users.ann]\n", "\n", "\n"],
            UserEntries::keys(),
        ),
        section(
            "An entry",
            "An element of `directories` or `files`: a path alone, or a table with these keys. \
             `/etc/state/state.toml` is an entry of the first `backup` store without being declared.",
            ["[persist.\"/persist\"]\nfiles = [{ ", ", ", " }]\n"],
            EntryTable::keys(),
        ),
        section(
            "`[config]`",
            "The other half of the machine: a configuration and an archive together make it anew.",
            ["[config]\n", "\n", "\n"],
            ConfigRepo::keys(),
        ),
        section("`[diff]`", "What `state diff` leaves out.", ["[diff]\n", "\n", "\n"], Diff::keys()),
        section(
            "`[snapshots]`",
            "Snapshots of the persist tree, inside its filesystem.",
            ["[snapshots]\n", "\n", "\n"],
            Snapshots::keys(),
        ),
        section(
            "`keep`",
            "A retention policy: an object is kept while any rule holds it. 0 switches a rule off.",
            ["[snapshots]\nkeep = { ", ", ", " }\n"],
            Keep::keys(),
        ),
        section("`[archive]`", "How archives are made.", ["[archive]\n", "\n", "\n"], Archive::keys()),
        section(
            "`[archive.hooks]`",
            "Programs around `state backup`. Each finds `STATE_MACHINE` in its environment; `after` \
             and `on-failure` also `STATE_OUTCOME` (`done`, `partial`, `failed`), `STATE_ARCHIVE` (the \
             id, or nothing) and `STATE_ERROR`. A name without a slash is looked for in the \
             system's directories.",
            ["[archive.hooks]\n", "\n", "\n"],
            Hooks::keys(),
        ),
        section(
            "`[drill]`",
            "Proofs that a restore works: `state drill` restores the newest archive to scratch and \
             compares it.",
            ["[drill]\n", "\n", "\n"],
            Drill::keys(),
        ),
        section(
            "`[metrics]`",
            "What is told to monitoring; `docs/targets.md` has the names.",
            ["[metrics]\n", "\n", "\n"],
            Metrics::keys(),
        ),
    ]);
    let (at_ssh, others) = (Target::keys().into_iter())
        .partition::<Vec<_>, _>(|key| ["key", "known-hosts"].contains(&key.name.as_str()));
    let (at_s3, all) = others
        .into_iter()
        .partition(|key| key.name == "credentials");
    sections.extend([
        section(
            "`[target.NAME]`",
            "A place where archives are published; `docs/targets.md` shows how each kind is set up.",
            ["[target.usb]\n", "\n", "\n"],
            all,
        ),
        section(
            "`[target.NAME]` at an ssh server",
            "What else a target `sftp://…` may say.",
            ["[target.nas]\nurl = \"sftp://backup@nas/srv/state\"\n", "\n", "\n"],
            at_ssh,
        ),
        section(
            "`[target.NAME]` in an object store",
            "What else a target `s3://…` may say.",
            ["[target.b2]\nurl = \"s3://bucket/prefix\"\n", "\n", "\n"],
            at_s3,
        ),
    ]);
    sections
}

impl Section {
    /// A whole file that says `key` by its example, and the keys that must be there.
    pub fn example(&self, key: &Key) -> String {
        let pairs: Vec<String> = self
            .keys
            .iter()
            .filter(|other| !other.example.is_empty())
            .filter(|other| other.name == key.name || other.default.is_none())
            .map(|other| format!("{} = {}", other.name, other.example))
            .collect();
        let [before, between, after] = self.frame;
        format!("{before}{}{after}", pairs.join(between))
    }
}

/// A whole configuration, as an introduction.
pub const EXAMPLE: &str = r#"[machine]
name = "blitzar"

[root]
backend = "btrfs"
device = "/dev/disk/by-uuid/1b2c4d5e-0f3a-4b6c-8d9e-a1b2c3d4e5f6"
subvolume = "root"

[persist."/persist"]
directories = [
  "/var/log",
  { path = "/var/lib/nixos", early = true },
  { path = "/var/lib/colord", user = "colord", group = "colord", mode = "0750" },
]
files = [
  "/etc/machine-id",
  { path = "/etc/ssh/ssh_host_ed25519_key", early = true, mode = "0600", if-missing = "skip" },
]

[persist."/persist".users.ann]
directories = ["Documents", { path = ".ssh", mode = "0700" }]

[target.usb]
url = "file:///mnt/usb/state"
"#;

/// Where the file is and how it is read, a paragraph each.
pub const ABOUT: [&str; 4] = [
    "The configuration is one TOML file. Because `/etc` is erased with root, its master copy is in \
     the store, at `STORE/etc/state/state.toml`, and is put in place as `/etc/state/state.toml` \
     like any other entry. Programs look there first, else for the copy in a mounted filesystem \
     that can be a store; `--config FILE` names another.",
    "Files named `state.d/*.toml` beside it, or beside its copy in a store, are merged with it: \
     tables are united, lists are joined, and a value said twice is an error.",
    "It is read strictly. A key that does not exist, a wrong type, a path with `..`, duplicate or \
     overlapping entries are errors with file, line and column, and nothing is done. `state \
     doctor` reads it and looks at the machine besides.",
    "Paths are TOML strings: any character is allowed in them, spaces, colons and newlines too. A \
     name that is not UTF-8 cannot be declared; the directory that holds it can.",
];

/// `docs/configuration.md`
pub fn markdown() -> String {
    let mut text = String::from(
        "<!-- Made of the types in src/settings by `BLESS=1 cargo test --test cli_docs`. -->\n\
         # The configuration, `state.toml`\n",
    );
    let mut paragraph = |part: &str| {
        text.push('\n');
        wrap(&mut text, part, "");
    };
    ABOUT.iter().for_each(|about| paragraph(about));
    // Writing to a `String` cannot fail.
    text += &format!("\n```toml\n{EXAMPLE}```\n");
    for section in sections() {
        text += &format!("\n## {}\n\n", section.title);
        wrap(&mut text, &section.about, "");
        text.push('\n');
        for key in &section.keys {
            wrap(
                &mut text,
                &format!("* **`{}`**: {}. {}", key.name, takes(key), key.docs),
                "  ",
            );
            if !key.example.is_empty() {
                let mut line = String::new();
                write!(line, "  `{} = {}`", key.name, key.example)
                    .expect("a String takes everything");
                text += &line;
                text.push('\n');
            }
        }
    }
    text
}

/// What a key takes, and what it is when it is left out.
pub fn takes(key: &Key) -> String {
    let kind = &key.kind;
    match &key.default {
        None => format!("{kind}; required"),
        Some(_) if key.example.is_empty() => kind.clone(),
        Some(default) if default.is_empty() => kind.clone(),
        // What a program is told is code, what a person is told is prose.
        Some(default) if default.contains(' ') && !default.starts_with(['{', '[']) => {
            format!("{kind}; default: {default}")
        }
        Some(default) if default.contains('`') => format!("{kind}; default: {default}"),
        Some(default) => format!("{kind}; default: `{default}`"),
    }
}

/// Fills lines of up to 100 columns.
fn wrap(text: &mut String, words: &str, indent: &str) {
    let mut column = 0;
    for word in words.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 100 {
            text.push('\n');
            text.push_str(indent);
            column = indent.len();
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

use super::*;
use crate::persist::entry::Ownership;
use crate::persist::seen::{Digest, Source, Stamp};
use crate::persist::{Users, Verdict, plan};
use std::path::Path;

const OWNED: Ownership = Ownership {
    uid: 0,
    gid: 0,
    mode: 0o644,
};

fn print(content: &str) -> Print {
    let stamp = Stamp {
        inode: 1,
        size: content.len() as u64,
        modified: (0, 0),
    };
    Print {
        digest: Digest(content.to_owned()),
        stamp,
    }
}

/// What is decided about `/f`, in words. `live` begins with `blank:` if blank holds the same.
fn decided(live: Option<&str>, stored: Option<&str>, agreed: Option<&str>, when: When) -> String {
    let text = "[persist.\"/p\"]\nfiles = [{ path = \"/f\", method = \"copy\" }]";
    let tree = PersistTree::resolve(&text.parse().unwrap(), &Users::default()).unwrap();
    let entry = tree.entry(Path::new("/f")).unwrap();
    let content = live.map(|live| live.trim_start_matches("blank:"));
    let hidden = match live.is_some_and(|live| live.starts_with("blank:")) {
        true => Hidden::InBlank,
        false => Hidden::Nowhere {
            example: "/f".into(),
            count: 1,
        },
    };
    let seen = Seen {
        live: match content {
            None => Live::Missing,
            Some("") => Live::Empty(EntryKind::File, OWNED, print("").stamp),
            Some(content) => Live::Full(EntryKind::File, hidden, print(content).stamp),
        },
        source: match stored {
            None => Source::Missing,
            Some(_) => Source::Present(EntryKind::File, OWNED),
        },
        parents: Vec::new(),
        machine_ids: None,
        copies: Some(Copies {
            live: content.map(print),
            stored: stored.map(print),
            agreed: agreed.map(|agreed| Digest(agreed.to_owned())),
        }),
    };
    match plan(&tree, entry, &seen, when) {
        Verdict::Do(plan) => {
            let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
            steps.join(", ")
        }
        Verdict::LeaveOut(why) => format!("left out: {why}"),
        Verdict::Refuse(refusal) => format!("refused: {refusal}"),
    }
}

#[test]
fn which_file_takes_the_place_of_the_other() {
    const IN: &str = "copy /p/f to /f";
    const SAVE: &str = "save /f to /p/f";
    const FIRST: &str = "refused: it differs from the store's, and its content exists nowhere else";
    const EMPTIED: &str =
        "refused: it is empty, and /p/f is not: a program may have stopped halfway";
    let table: &[([Option<&str>; 3], &str)] = &[
        ([None, None, None], "left out: there is nothing to copy yet"),
        ([None, Some("a"), None], IN),
        ([None, Some("a"), Some("a")], IN),
        ([Some("a"), None, None], SAVE),
        ([Some("a"), None, Some("a")], SAVE),
        ([Some("a"), Some("a"), None], ""),
        // The first time at this boot.
        ([Some("blank:b"), Some("a"), None], IN),
        ([Some(""), Some("a"), None], IN),
        ([Some("b"), Some("a"), None], FIRST),
        // Later.
        ([Some("a"), Some("new"), Some("a")], IN),
        ([Some("new"), Some("a"), Some("a")], SAVE),
        ([Some("blank:new"), Some("a"), Some("a")], SAVE),
        ([Some("new"), Some(""), Some("")], SAVE),
        ([Some(""), Some("a"), Some("a")], EMPTIED),
        ([Some(""), Some("b"), Some("a")], EMPTIED),
        (
            [Some("b"), Some("c"), Some("a")],
            "keep /p/f in quarantine, save /f to /p/f",
        ),
    ];
    for ([live, stored, agreed], expected) in table {
        let told = decided(*live, *stored, *agreed, When::Asked);
        assert_eq!(told, *expected, "{live:?} {stored:?} {agreed:?}");
        let watching = decided(*live, *stored, *agreed, When::Watching);
        let expected = match (*expected, live) {
            (IN, None) => "left out: it was deleted; `state mount` brings the store's back",
            (IN, Some(_)) => "left out: the store's is newer; `state mount` puts it in place",
            (other, _) => other,
        };
        assert_eq!(watching, expected, "{live:?} {stored:?} {agreed:?}");
    }
}

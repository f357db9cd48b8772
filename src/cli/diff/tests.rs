use super::*;
use crate::diff::{Aspect, Quiet};

fn change(path: &str, what: What, kind: Kind, size_bytes: u64, hours: i64) -> Change {
    Change {
        path: path.into(),
        what,
        kind,
        target: (kind == Kind::Symlink).then(|| "/some/where".into()),
        size_bytes,
        modified: Time {
            seconds: 1_795_262_400 - hours * 3600,
            nanoseconds: 5,
        },
        quiet: None,
    }
}

fn report() -> Report {
    let aspects = vec![Aspect::Content, Aspect::Mode];
    let changes = vec![
        change("etc/link", What::Created, Kind::Symlink, 0, 2),
        change(
            "etc/passwd",
            What::Changed { aspects },
            Kind::File,
            2048,
            48,
        ),
        change("etc/two\nlines", What::Deleted, Kind::File, 7, 3),
        change("srv", What::Created, Kind::Directory, 0, 72),
        change("srv/a", What::Created, Kind::Directory, 0, 72),
        change("srv/a/b", What::Created, Kind::File, 3 << 20, 3),
        change("var/fifo", What::Created, Kind::Fifo, 0, 1),
        change(
            "var/new",
            What::Renamed {
                from: "var/old".into(),
            },
            Kind::File,
            5,
            200,
        ),
    ];
    Report {
        past_root: None,
        blank: Some("root-blank".into()),
        totals: Totals {
            created: 5,
            changed: 1,
            deleted: 1,
            renamed: 1,
            bytes: (3 << 20) + 2048,
            quiet: 7,
        },
        changes,
        unreadable: vec![],
    }
}

#[test]
fn differences_are_grouped_by_directory() {
    let text = Screen::text(None, |out| human(&report(), false, out));
    let expected = "\
/etc
  + link                 2 hours ago  to /some/where
  ~ passwd      2.0 KiB  2 days ago   content, mode
  - two\\nlines
/
  + srv/        3.0 MiB  3 hours ago  2 things in it
/var
  + fifo                 1 hour ago   fifo
  > new             5 B  8 days ago   was /var/old
5 created, 1 changed, 1 renamed, 1 deleted: 3.0 MiB would be lost at the next reset (7 things are quiet: --all shows it)
";
    assert_eq!(text, expected);
}

#[test]
fn a_tree_shows_every_path() {
    let text = Screen::text(None, |out| human(&report(), true, out));
    let expected = "\
/
  etc/
    + link                 2 hours ago  to /some/where
    ~ passwd      2.0 KiB  2 days ago   content, mode
    - two\\nlines
  + srv/                   3 days ago
    + a/                   3 days ago
      + b         3.0 MiB  3 hours ago
  var/
    + fifo                 1 hour ago   fifo
    > new             5 B  8 days ago   was /var/old
5 created, 1 changed, 1 renamed, 1 deleted: 3.0 MiB would be lost at the next reset (7 things are quiet: --all shows it)
";
    assert_eq!(text, expected);
}

#[test]
fn the_last_line_says_what_it_amounts_to() {
    let mut report = report();
    report.totals = Totals {
        quiet: 1,
        ..Totals::default()
    };
    report.changes.clear();
    assert_eq!(
        summary(&report),
        "nothing would be lost at the next reset (1 thing is quiet: --all shows it)"
    );
    report.past_root = Some("20261121T113705Z-6d3f20c1".parse().unwrap());
    report.totals = Totals {
        created: 1,
        bytes: 7,
        ..Totals::default()
    };
    assert_eq!(
        summary(&report),
        "1 created: 7 B went with 20261121T113705Z-6d3f20c1; `state roots recover PATH --from \
         20261121T113705Z-6d3f20c1` brings it back"
    );
}

#[test]
fn what_is_quiet_says_why() {
    let mut report = report();
    report.changes.truncate(1);
    report.changes[0].quiet = Some(Quiet::Declared);
    let text = Screen::text(None, |out| human(&report, false, out));
    assert!(text.contains("to /some/where, made by NixOS\n"), "{text}");
    assert!(!text.contains("quiet"), "{text}");
}

#[test]
fn nul_ended_paths_are_those_that_would_be_lost() {
    let expected: &[u8] = b"/etc/link\0/etc/passwd\0/srv\0/srv/a\0/srv/a/b\0/var/fifo\0/var/new\0";
    assert_eq!(nul_ended(&report()), expected);
}

#[test]
fn the_report_is_the_json() {
    let mut report = report();
    report.changes.truncate(2);
    let json = serde_json::to_value(&report).unwrap();
    let expected = serde_json::json!({
        "past_root": null,
        "blank": "root-blank",
        "changes": [
            {
                "path": "/etc/link",
                "what": "created",
                "kind": "symlink",
                "target": "/some/where",
                "size_bytes": 0,
                "modified_seconds": 1_795_255_200,
            },
            {
                "path": "/etc/passwd",
                "what": "changed",
                "aspects": ["content", "mode"],
                "kind": "file",
                "size_bytes": 2048,
                "modified_seconds": 1_795_089_600,
            },
        ],
        "totals": {
            "created": 5,
            "changed": 1,
            "deleted": 1,
            "renamed": 1,
            "bytes": 3_147_776,
            "quiet": 7,
        },
        "unreadable": [],
    });
    assert_eq!(json, expected);
}

#[test]
fn paths_in_a_past_root_begin_at_its_top() {
    for path in ["etc/one", "/etc/one", "./etc//one"] {
        assert_eq!(
            super::in_tree(Path::new(path)).unwrap(),
            Path::new("/etc/one")
        );
    }
    assert!(super::in_tree(Path::new("../etc")).is_err());
}

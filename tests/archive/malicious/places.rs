//! Rules 2 and 5: nothing is made outside the staging directory, no path comes twice, nothing is
//! followed.

use super::forge::{Forge, link, symlink};
use super::{DIR, FILE, outcome, refused};

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for (path, why) in [
        ("..", "an empty, `.` or `..` component"),
        ("../canary/passwd", "an empty, `.` or `..` component"),
        ("a/../../canary/passwd", "an empty, `.` or `..` component"),
        ("/tmp/state-canary", "an empty, `.` or `..` component"),
        ("a//b", "an empty, `.` or `..` component"),
        ("./a", "an empty, `.` or `..` component"),
        ("nul\0", "a NUL in a name"),
        (".state/restore.json", "a path that is reserved"),
        (&"n".repeat(256), "a name longer than 255 bytes"),
        (&"n/".repeat(3000), "a path longer than 4095 bytes"),
        ("missing/file", "does not lie in a directory before it"),
    ] {
        refused(&Forge::new(&[(path, FILE, b"owned")]), why);
    }
}

#[test]
fn nothing_goes_through_a_symlink() {
    let through = "does not lie in a directory before it";
    refused(
        &Forge::new(&[
            ("evil", symlink("../canary"), b""),
            ("evil/passwd", FILE, b"owned"),
        ]),
        through,
    );
    refused(
        &Forge::new(&[("evil", symlink("../canary"), b""), ("evil/dir", DIR, b"")]),
        through,
    );
    for second in [DIR, FILE, symlink("x")] {
        let forge = Forge::new(&[("evil", symlink("../canary"), b""), ("evil", second, b"")]);
        refused(&forge, "a path that comes twice");
    }
}

#[test]
fn links_lead_only_to_what_came_before() {
    let nothing = "a further name of nothing that came before";
    for (target, why) in [
        ("/etc/passwd", "an empty, `.` or `..` component"),
        ("../canary/passwd", "an empty, `.` or `..` component"),
        ("later", nothing),
        ("evil", nothing),
        ("evil/passwd", nothing),
        ("dir", nothing),
        ("", nothing),
    ] {
        let forge = Forge::new(&[("dir", DIR, b""), ("e", link(target), b"")]);
        refused(&forge, why);
    }
    // A further name of a symlink is that symlink, never what it points to.
    let forge = Forge::new(&[
        ("evil", symlink("../canary/passwd"), b""),
        ("more", link("evil"), b""),
    ]);
    assert_eq!(outcome(&forge.make()), Ok(Vec::new()));
}

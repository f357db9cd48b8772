use super::browser::{Browser, Decisions, Key, Next};
use super::draw::draw;
use crate::diff::{Change, What};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use state_linux::stat::{Kind, Time};

fn change(path: &str, what: What, kind: Kind, size_bytes: u64) -> Change {
    Change {
        path: path.into(),
        what,
        kind,
        target: None,
        size_bytes,
        modified: Time::default(),
        quiet: None,
    }
}

fn browser() -> Browser {
    let created = |path, kind, size| change(path, What::Created, kind, size);
    Browser::new(&[
        change(
            "etc/passwd",
            What::Changed { aspects: vec![] },
            Kind::File,
            2048,
        ),
        change("etc/gone", What::Deleted, Kind::File, 1 << 40),
        created("var/lib/app", Kind::Directory, 0),
        created("var/lib/app/big", Kind::File, 3 << 20),
        created("var/lib/app/two\nlines", Kind::File, 1 << 20),
        created("var/log", Kind::Directory, 0),
    ])
}

fn screen(browser: &mut Browser, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(64, height)).unwrap();
    terminal.draw(|frame| draw(browser, true, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| {
        let row: String = (0..64).map(|x| buffer[(x, y)].symbol()).collect();
        format!("{}\n", row.trim_end())
    };
    (0..height).map(row).collect()
}

fn press(browser: &mut Browser, keys: &str) -> Option<Decisions> {
    for key in keys.chars() {
        let key = match key {
            '^' => Key::Up,
            'v' => Key::Down,
            '<' => Key::Left,
            '>' => Key::Right,
            '.' => Key::Enter,
            '$' => Key::End,
            '!' => Key::Escape,
            char => Key::Char(char),
        };
        if let Next::Done(decisions) = browser.press(key) {
            return Some(decisions);
        }
    }
    None
}

#[test]
fn directories_open_and_show_what_is_biggest_first() {
    let mut browser = browser();
    assert_eq!(
        screen(&mut browser, 6),
        "\
what the next reset throws away: 4.0 MiB
    4.0 MiB [##########] v   /
    4.0 MiB [##########]   >   var/
    2.0 KiB [#         ]   >   etc/

k keep  i ignore  enter open/close  q quit  ? help
"
    );
    assert_eq!(press(&mut browser, "v.>>>>>k$."), None);
    assert_eq!(
        screen(&mut browser, 12),
        "\
what the next reset throws away: 4.0 MiB
    4.0 MiB [##########] v   /
    4.0 MiB [##########]   v   var/
    4.0 MiB [##########]     v   lib/
    4.0 MiB [##########]       v + app/
K   3.0 MiB [##########]           + big
    1.0 MiB [####      ]           + two\\nlines
        0 B [          ]       + log/
    2.0 KiB [#         ]   v   etc/
    2.0 KiB [##########]       ~ passwd
        0 B [          ]       - gone
k keep  i ignore  enter open/close  q quit  ? help
"
    );
}

#[test]
fn a_small_screen_follows_the_cursor() {
    let mut browser = browser();
    press(&mut browser, "v..");
    screen(&mut browser, 4);
    press(&mut browser, "$");
    let expected = "\
what the next reset throws away: 4.0 MiB
    4.0 MiB [##########]   >   var/
    2.0 KiB [#         ]   >   etc/
k keep  i ignore  enter open/close  q quit  ? help
";
    assert_eq!(screen(&mut browser, 4), expected);
    screen(&mut browser, 1); // and of one line nothing breaks
}

#[test]
fn nothing_is_done_before_it_was_shown_and_confirmed() {
    let mut one = browser();
    assert_eq!(press(&mut one, "q"), Some(Decisions::default()));
    let mut one = browser();
    // var/log is to be ignored, lib/app kept; what lay decided inside gives way.
    assert_eq!(press(&mut one, "v.>.>.>k"), None);
    assert_eq!(press(&mut one, "^^k"), None);
    assert_eq!(press(&mut one, "$^iq"), None);
    let expected = "\
this would be done
keep   /var/lib/app
ignore /var/log

y do it  n back  q quit, doing nothing
";
    let shown = screen(&mut one, 5);
    assert_eq!(shown, expected);
    assert_eq!(press(&mut one, "x!"), None);
    assert_eq!(press(&mut one, "q?nqy"), {
        let paths = |path: &str| vec![path.into()];
        Some(Decisions {
            keep: paths("/var/lib/app"),
            ignore: paths("/var/log"),
        })
    });
    assert_eq!(press(&mut one, "q"), Some(Decisions::default()));
}

#[test]
fn what_makes_no_sense_is_said() {
    for (keys, expected) in [
        ("k", "all of root: that is what a reset is for"),
        ("x", "? shows which keys there are"),
        ("$.$k", "it is gone: there is nothing to keep"),
        ("$.i^>i", "it lies in /etc, and that is decided"),
    ] {
        let mut browser = browser();
        assert_eq!(press(&mut browser, keys), None);
        assert_eq!(browser.hint.as_deref(), Some(expected), "{keys}");
    }
    let mut browser = browser();
    assert_eq!(press(&mut browser, "vk^k?"), None);
    assert!(screen(&mut browser, 14).contains("K to be kept"));
    // The same key took the decision back: there is nothing to confirm.
    assert_eq!(press(&mut browser, "xq"), Some(Decisions::default()));
}

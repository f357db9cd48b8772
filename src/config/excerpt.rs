//! The lines of a file that a problem is about, with what is wrong marked below them.

use super::Fault;
use crate::paths::Shown;
use crate::settings::node::{Problem, Span};
use std::path::PathBuf;
use unicode_width::UnicodeWidthStr as _;

/// A file that was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// One line of a file, and the part of it that is meant.
struct Place<'a> {
    line: usize,
    column: usize,
    before: &'a str,
    meant: &'a str,
    after: &'a str,
}

impl Source {
    /// The line on which `span` begins. What goes on on later lines is left out.
    fn place(&self, span: Span) -> Place<'_> {
        let text = self.text.as_str();
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end).clamp(start, line_end);
        let before = &text[line_start..start];
        Place {
            line: text[..start].matches('\n').count() + 1,
            column: before.chars().count() + 1,
            before,
            meant: &text[start..end],
            after: text[end..line_end].trim_end(),
        }
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A tab is one column, and nothing moves the cursor.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Longer lines are cut at both ends around what is meant.
const LONGEST: usize = 100;
const BEFORE: usize = 40;

fn last_columns(text: &str, columns: usize) -> String {
    let count = text.chars().count();
    if count <= columns {
        return text.to_owned();
    }
    let tail: String = text.chars().skip(count - columns).collect();
    format!("…{tail}")
}

fn first_columns(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let head: String = text.chars().take(columns).collect();
    format!("{head}…")
}

fn lines(place: &Place<'_>, gutter: usize, label: &str) -> [String; 2] {
    let (before, meant, after) = (
        visible(place.before),
        visible(place.meant),
        visible(place.after),
    );
    let (before, meant, after) = if before.width() + meant.width() + after.width() > LONGEST {
        let meant = first_columns(&meant, LONGEST - BEFORE);
        let rest = (LONGEST - BEFORE).saturating_sub(meant.chars().count());
        (
            last_columns(&before, BEFORE),
            meant,
            first_columns(&after, rest),
        )
    } else {
        (before, meant, after)
    };
    let marks = "^".repeat(meant.width().max(1));
    let label = if label.is_empty() {
        String::new()
    } else {
        format!(" {label}")
    };
    [
        format!("{:>gutter$} | {before}{meant}{after}", place.line),
        format!(
            "{:gutter$} | {}{marks}{label}",
            "",
            " ".repeat(before.width())
        ),
    ]
}

/// What is told of a problem.
pub(super) fn fault(problem: &Problem, sources: &[Source]) -> Fault {
    let Some((span, source)) = problem.at.and_then(|at| Some((at, sources.get(at.file)?))) else {
        return Fault {
            fact: problem.fact.clone(),
            excerpt: None,
            hint: problem.hint.clone(),
        };
    };
    let place = source.place(span);
    let also = problem.also.and_then(|(at, label)| {
        let other = sources.get(at.file)?;
        Some((at, other, other.place(at), label))
    });
    let last = also
        .as_ref()
        .map_or(place.line, |(_, _, other, _)| place.line.max(other.line));
    let gutter = last.to_string().len();
    let mut excerpt = vec![format!("{:gutter$} |", "")];
    excerpt.extend(lines(&place, gutter, ""));
    if let Some((at, other, other_place, label)) = also {
        excerpt.push(format!("{:gutter$} |", ""));
        if at.file != span.file {
            let name = Shown(&other.path);
            excerpt.push(format!(
                "{:gutter$} : {name}:{}:{}",
                "", other_place.line, other_place.column
            ));
        }
        excerpt.extend(lines(&other_place, gutter, label));
    }
    Fault {
        fact: format!(
            "{}:{}:{}: {}",
            Shown(&source.path),
            place.line,
            place.column,
            problem.fact
        ),
        excerpt: Some(excerpt.join("\n")),
        hint: problem.hint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, start: usize, end: usize) -> (String, String) {
        let source = Source {
            path: "s.toml".into(),
            text: text.into(),
        };
        let span = Span {
            file: 0,
            start,
            end,
        };
        let fault = fault(&Problem::new(Some(span), "wrong"), &[source]);
        (fault.fact, fault.excerpt.unwrap())
    }

    #[test]
    fn what_is_meant_is_marked() {
        let text = "a = 1\n\tkey = \"日本\" # so\nb";
        let key = text.find("\"日").unwrap();
        assert_eq!(
            told(text, key, key + "\"日本\"".len()),
            (
                "s.toml:2:8: wrong".into(),
                "  |\n2 |  key = \"日本\" # so\n  |        ^^^^^^".into()
            )
        );
    }

    #[test]
    fn odd_spans_do_no_harm() {
        for (text, start, end, fact, excerpt) in [
            ("", 0, 0, "s.toml:1:1: wrong", "  |\n1 | \n  | ^"),
            ("ab", 2, 2, "s.toml:1:3: wrong", "  |\n1 | ab\n  |   ^"),
            ("ab", 9, 12, "s.toml:1:3: wrong", "  |\n1 | ab\n  |   ^"),
            ("é", 1, 2, "s.toml:1:1: wrong", "  |\n1 | é\n  | ^"),
            (
                "a = [\n1,\n]",
                4,
                10,
                "s.toml:1:5: wrong",
                "  |\n1 | a = [\n  |     ^",
            ),
            (
                "\u{1b}[2J",
                0,
                1,
                "s.toml:1:1: wrong",
                "  |\n1 | \u{fffd}[2J\n  | ^",
            ),
        ] {
            assert_eq!(
                told(text, start, end),
                (fact.into(), excerpt.into()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn long_lines_are_cut_around_what_is_meant() {
        let text = format!("{}here{}", "x".repeat(300), "y".repeat(300));
        let (fact, excerpt) = told(&text, 300, 304);
        assert_eq!(fact, "s.toml:1:301: wrong");
        assert_eq!(
            excerpt,
            format!(
                "  |\n1 | …{}here{}…\n  |  {}^^^^",
                "x".repeat(40),
                "y".repeat(56),
                " ".repeat(40)
            )
        );
    }
}

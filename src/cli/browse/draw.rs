//! What the browser looks like.

use super::browser::{Browser, Decision, Page};
use crate::cli::size;
use crate::paths::Shown;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use std::path::PathBuf;

const KEYS: &str = "k keep  i ignore  enter open/close  q quit  ? help";
const HELP: [&str; 12] = [
    "up, down     move; also page up, page down, home, end",
    "enter        open or close a directory; also right and left",
    "k            keep: copied to the store, declared, put in place",
    "i            ignore: `state diff` tells of it no more",
    "             (the same key again takes either back)",
    "q            quit; shows first what would be done",
    "",
    "+ new   ~ changed   > renamed   - deleted",
    "K to be kept   i to be ignored",
    "Sizes are those of what is new or rewritten, biggest first.",
    "",
    "any key      back",
];
const BAR: usize = 10;

/// Draws the page; `is_colored` as the command line and the environment have it.
pub(super) fn draw(browser: &mut Browser, is_colored: bool, frame: &mut Frame<'_>) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    browser.fit(body.height.into());
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let (title, hint) = match browser.page {
        Page::Tree => {
            let lost = size::size(browser.tree.0[0].bytes);
            let hint = browser.hint.clone().unwrap_or_else(|| KEYS.to_owned());
            (format!("what the next reset throws away: {lost}"), hint)
        }
        Page::Help => ("keys".to_owned(), "any key goes back".to_owned()),
        Page::Summary => (
            "this would be done".to_owned(),
            "y do it  n back  q quit, doing nothing".to_owned(),
        ),
    };
    let width = usize::from(frame.area().width);
    frame.render_widget(Line::styled(format!("{title:<width$}"), reversed), head);
    match browser.page {
        Page::Tree => tree(browser, is_colored, frame, body),
        Page::Help => text(HELP.map(str::to_owned).to_vec(), frame, body),
        Page::Summary => text(summary(browser, body.height.into()), frame, body),
    }
    frame.render_widget(Line::raw(hint), foot);
}

fn tree(browser: &Browser, is_colored: bool, frame: &mut Frame<'_>, area: Rect) {
    let lines = browser.lines();
    let seen = lines.iter().enumerate().skip(browser.first);
    for (row, (number, index)) in area.rows().zip(seen) {
        let node = &browser.tree.0[*index];
        let decision = browser.decision(*index);
        let mark = match decision {
            Some(Decision::Keep) => 'K',
            Some(Decision::Ignore) => 'i',
            None => ' ',
        };
        let fold = match (node.below.is_empty(), browser.is_open(*index)) {
            (true, _) => ' ',
            (false, true) => 'v',
            (false, false) => '>',
        };
        let text = format!(
            "{mark} {:>9} [{}] {}{fold} {} {}",
            size::size(node.bytes),
            bar(node.bytes, node.biggest_bytes),
            "  ".repeat(node.depth),
            node.sign.unwrap_or(' '),
            node.name,
        );
        let color = match (decision, node.sign) {
            (Some(Decision::Ignore), _) => Some(Color::DarkGray),
            (Some(Decision::Keep), _) | (None, Some('+')) => Some(Color::Green),
            (None, Some('-')) => Some(Color::Red),
            (None, Some(_)) => Some(Color::Yellow),
            (None, None) => None,
        };
        let mut style = Style::new();
        if let Some(color) = color.filter(|_| is_colored) {
            style = style.fg(color);
        }
        if number == browser.at {
            style = style.add_modifier(Modifier::REVERSED);
        }
        frame.render_widget(Line::styled(text, style), row);
    }
}

fn bar(bytes: u64, biggest: u64) -> String {
    let share = bytes.saturating_mul(BAR as u64).div_ceil(biggest.max(1));
    let full = usize::try_from(share).unwrap_or(BAR).min(BAR);
    format!("{}{}", "#".repeat(full), " ".repeat(BAR - full))
}

fn summary(browser: &Browser, height: usize) -> Vec<String> {
    let decisions = browser.decisions();
    let of = |word: &'static str, paths: Vec<PathBuf>| {
        let tell = move |path: PathBuf| format!("{word} {}", Shown(&path));
        paths.into_iter().map(tell)
    };
    let mut lines: Vec<String> = of("keep  ", decisions.keep)
        .chain(of("ignore", decisions.ignore))
        .collect();
    if lines.len() > height {
        let more = lines.len() + 1 - height;
        lines.truncate(height - 1);
        lines.push(format!("and {more} more"));
    }
    lines
}

fn text(lines: Vec<String>, frame: &mut Frame<'_>, area: Rect) {
    for (row, line) in area.rows().zip(lines) {
        frame.render_widget(Line::raw(line), row);
    }
}

//! `state diff --interactive`: deciding what to keep by looking. Nothing happens before the last
//! page was confirmed, and all of it after the terminal is what it was.

mod browser;
mod draw;
#[cfg(test)]
mod tests;
mod tree;

use browser::Decisions;

use crate::diff::Change;
use anyhow::Context as _;
use browser::{Browser, Key, Next};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use state_api::{Error, Interrupt};
use std::io;
use std::time::Duration;

/// How soon a signal is heard.
const PATIENCE: Duration = Duration::from_millis(100);

/// Lets a person look and decide. The terminal is restored however this ends, a panic included.
///
/// # Errors
/// The terminal fails; a signal arrived.
pub(super) fn browse(
    changes: &[Change],
    is_colored: bool,
    interrupt: &dyn Interrupt,
) -> anyhow::Result<Decisions> {
    let setting_up = "setting up the terminal";
    let viewport = match terminal::size().context(setting_up)? {
        // A serial line does not know its size.
        (0, _) | (_, 0) => Viewport::Fixed(Rect::new(0, 0, 80, 24)),
        _ => Viewport::Fullscreen,
    };
    let options = TerminalOptions { viewport };
    let mut terminal = ratatui::try_init_with_options(options).context(setting_up)?;
    let entered = execute!(io::stdout(), EnterAlternateScreen).context(setting_up);
    let ended =
        entered.and_then(|()| run(&mut terminal, Browser::new(changes), is_colored, interrupt));
    ratatui::try_restore().context("restoring the terminal")?;
    ended
}

fn run(
    terminal: &mut DefaultTerminal,
    mut browser: Browser,
    is_colored: bool,
    interrupt: &dyn Interrupt,
) -> anyhow::Result<Decisions> {
    loop {
        let drawn = terminal.draw(|frame| draw::draw(&mut browser, is_colored, frame));
        drawn.context("drawing on the terminal")?;
        while !event::poll(PATIENCE).context("waiting for a key")? {
            if interrupt.is_set() {
                return Err(Error::Interrupted.into());
            }
        }
        let Event::Key(pressed) = event::read().context("reading a key")? else {
            continue; // another size: it is drawn anew
        };
        if pressed.modifiers.contains(KeyModifiers::CONTROL) && pressed.code == KeyCode::Char('c') {
            return Err(Error::Interrupted.into());
        }
        if let Some(key) = key(pressed)
            && let Next::Done(decisions) = browser.press(key)
        {
            return Ok(decisions);
        }
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Char(char) => Key::Char(char),
        _ => return None,
    })
}

//! The browser as a state machine: keys in, decisions out. Nothing here touches a terminal.

use super::tree::Tree;
use crate::diff::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a person can press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Escape,
    Char(char),
}

/// What is to become of a path and everything below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    Ignore,
}

/// What was decided, by paths on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Decisions {
    /// To be kept from now on.
    pub keep: Vec<PathBuf>,
    /// To be told no more.
    pub ignore: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Tree,
    Help,
    /// What would be done; nothing is, before it is confirmed here.
    Summary,
}

/// What to do after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    /// It is over; nothing is to be done without decisions.
    Done(Decisions),
}

#[derive(Debug)]
pub(super) struct Browser {
    pub tree: Tree,
    open: BTreeSet<usize>,
    decided: BTreeMap<usize, Decision>,
    /// The line that the cursor is on.
    pub at: usize,
    /// The first line of the window.
    pub first: usize,
    /// How many lines are seen at once.
    pub height: usize,
    pub page: Page,
    /// What the last key had to say.
    pub hint: Option<String>,
}

impl Browser {
    pub(super) fn new(changes: &[Change]) -> Self {
        Self {
            tree: Tree::new(changes),
            open: BTreeSet::from([0]),
            decided: BTreeMap::new(),
            at: 0,
            first: 0,
            height: 1,
            page: Page::Tree,
            hint: None,
        }
    }

    /// The lines that are seen, as nodes of the tree.
    pub(super) fn lines(&self) -> Vec<usize> {
        let mut lines = Vec::new();
        let mut next = vec![0];
        while let Some(index) = next.pop() {
            lines.push(index);
            if self.open.contains(&index) {
                next.extend(self.tree.0[index].below.iter().rev());
            }
        }
        lines
    }

    pub(super) fn is_open(&self, index: usize) -> bool {
        self.open.contains(&index)
    }

    /// What was decided of a node, or of what it lies in.
    pub(super) fn decision(&self, index: usize) -> Option<Decision> {
        let own = self.decided.get(&index);
        own.or_else(|| {
            let mut above = self.tree.above(index);
            above.find_map(|above| self.decided.get(&above))
        })
        .copied()
    }

    /// What was decided, in the order of the paths.
    pub(super) fn decisions(&self) -> Decisions {
        let of = |wanted: Decision| {
            let mut paths: Vec<PathBuf> = (self.decided.iter())
                .filter(|(_, decision)| **decision == wanted)
                .map(|(index, _)| self.tree.0[*index].path.clone())
                .collect();
            paths.sort();
            paths
        };
        Decisions {
            keep: of(Decision::Keep),
            ignore: of(Decision::Ignore),
        }
    }

    pub(super) fn press(&mut self, key: Key) -> Next {
        self.hint = None;
        match self.page {
            Page::Help => self.page = Page::Tree,
            Page::Summary => match key {
                Key::Char('y') => return Next::Done(self.decisions()),
                Key::Char('q') => return Next::Done(Decisions::default()),
                Key::Escape | Key::Left | Key::Char('n') => self.page = Page::Tree,
                _ => {}
            },
            Page::Tree => return self.press_in_tree(key),
        }
        Next::Go
    }

    fn press_in_tree(&mut self, key: Key) -> Next {
        let lines = self.lines();
        let last = lines.len() - 1;
        let index = lines[self.at.min(last)];
        match key {
            Key::Up => self.at = self.at.saturating_sub(1),
            Key::Down => self.at += 1,
            Key::PageUp => self.at = self.at.saturating_sub(self.height),
            Key::PageDown => self.at += self.height,
            Key::Home => self.at = 0,
            Key::End => self.at = last,
            Key::Enter if self.is_open(index) => self.close(index),
            Key::Enter => self.open(index),
            Key::Right if self.is_open(index) => self.at += 1,
            Key::Right => self.open(index),
            Key::Left if self.is_open(index) && index != 0 => self.close(index),
            Key::Left => {
                let above = self.tree.0[index].above.unwrap_or(0);
                self.at = lines.iter().position(|line| *line == above).unwrap_or(0);
            }
            Key::Char('k') => self.decide(index, Decision::Keep),
            Key::Char('i') => self.decide(index, Decision::Ignore),
            Key::Char('?') => self.page = Page::Help,
            Key::Char('q') | Key::Escape if self.decided.is_empty() => {
                return Next::Done(Decisions::default());
            }
            Key::Char('q') | Key::Escape => self.page = Page::Summary,
            Key::Char(_) => self.hint = Some("? shows which keys there are".into()),
        }
        self.at = self.at.min(self.lines().len() - 1);
        Next::Go
    }

    fn open(&mut self, index: usize) {
        if !self.tree.0[index].below.is_empty() {
            self.open.insert(index);
        }
    }

    fn close(&mut self, index: usize) {
        self.open.remove(&index);
    }

    /// Decides, or takes the same decision back.
    fn decide(&mut self, index: usize, decision: Decision) {
        let node = &self.tree.0[index];
        if index == 0 {
            self.hint = Some("all of root: that is what a reset is for".into());
        } else if decision == Decision::Keep && node.is_gone() {
            self.hint = Some("it is gone: there is nothing to keep".into());
        } else if let Some(above) = self
            .tree
            .above(index)
            .find(|above| self.decided.contains_key(above))
        {
            let above = crate::paths::Shown(&self.tree.0[above].path);
            self.hint = Some(format!("it lies in {above}, and that is decided"));
        } else if self.decided.get(&index) == Some(&decision) {
            self.decided.remove(&index);
        } else {
            let tree = &self.tree;
            self.decided
                .retain(|other, _| !tree.above(*other).any(|above| above == index));
            self.decided.insert(index, decision);
            self.at += 1;
        }
    }

    /// Moves the window so that the cursor is in it.
    pub(super) fn fit(&mut self, height: usize) {
        self.height = height.max(1);
        self.first = self
            .first
            .clamp((self.at + 1).saturating_sub(self.height), self.at);
    }
}

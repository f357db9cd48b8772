//! Tables that fit the terminal.

use super::output::Screen;
use anstyle::Style;
use std::io::{self, Write as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a column does when the terminal is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Keeps its width, text to the left.
    Left,
    /// Keeps its width, text to the right: numbers and sizes.
    Right,
    /// Gives way, losing its middle: paths and names, whose end matters too.
    Flexible,
}

#[derive(Debug, Clone)]
struct Cell {
    text: String,
    style: Style,
}

/// Rows under a header.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Column)>,
    rows: Vec<Vec<Cell>>,
}

/// The narrowest that a flexible column becomes.
const NARROWEST: usize = 12;
const GAP: &str = "  ";

impl Table {
    /// A table without rows. An empty header text in every column leaves the header line out.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Column)>) -> Self {
        Self {
            columns: columns
                .into_iter()
                .map(|(name, column)| (name.to_owned(), column))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(|cell| (cell, Style::new()));
        self.styled(cells);
    }

    /// Adds a row whose cells have styles.
    pub fn styled<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = (S, Style)>) {
        let row: Vec<Cell> = cells
            .into_iter()
            .map(|(text, style)| Cell {
                text: super::exit::one_line(&text.into()),
                style,
            })
            .collect();
        debug_assert_eq!(row.len(), self.columns.len(), "a row has a cell per column");
        self.rows.push(row);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes it, no wider than the screen as far as the flexible columns can give way.
    ///
    /// # Errors
    /// The screen's.
    pub fn print(&self, out: &mut Screen<'_>) -> io::Result<()> {
        let widths = self.widths(out.width());
        if self.columns.iter().any(|(name, _)| !name.is_empty()) {
            let header: Vec<Cell> = self
                .columns
                .iter()
                .map(|(name, _)| Cell {
                    text: name.clone(),
                    style: super::output::HEADER,
                })
                .collect();
            self.line(out, &header, &widths)?;
        }
        self.rows
            .iter()
            .try_for_each(|row| self.line(out, row, &widths))
    }

    fn widths(&self, screen: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len())
            .map(|n| {
                self.rows
                    .iter()
                    .map(|row| row[n].text.width())
                    .chain([self.columns[n].0.width()])
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let Some(screen) = screen else {
            return widths;
        };
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(screen);
        while excess > 0 {
            // The widest flexible column gives way first, so that short ones stay whole.
            let widest = (0..widths.len())
                .filter(|&n| self.columns[n].1 == Column::Flexible && widths[n] > NARROWEST)
                .max_by_key(|&n| widths[n]);
            let Some(widest) = widest else { break };
            widths[widest] -= 1;
            excess -= 1;
        }
        widths
    }

    fn line(&self, out: &mut Screen<'_>, cells: &[Cell], widths: &[usize]) -> io::Result<()> {
        let mut pending = 0; // spaces that are written only if something follows
        for (n, cell) in cells.iter().enumerate() {
            let text = shorten(&cell.text, widths[n]);
            let padding = widths[n] - text.width().min(widths[n]);
            let before = match self.columns[n].1 {
                Column::Right => padding,
                _ => 0,
            };
            if !text.is_empty() {
                let style = cell.style;
                write!(out, "{:1$}{style}{text}{style:#}", "", pending + before)?;
                pending = padding - before;
            } else {
                pending += padding;
            }
            pending += GAP.len();
        }
        writeln!(out)
    }
}

/// `text` in at most `width` columns, its middle replaced by `…` if it is longer.
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let (head_room, tail_room) = (room / 2, room - room / 2);
    let fits = |room: usize| {
        let mut used = 0;
        move |c: &char| {
            used += c.width().unwrap_or(0);
            used <= room
        }
    };
    let head: String = text.chars().take_while(fits(head_room)).collect();
    let tail: Vec<char> = text.chars().rev().take_while(fits(tail_room)).collect();
    let tail: String = tail.into_iter().rev().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new([
            ("name", Column::Flexible),
            ("size", Column::Right),
            ("made", Column::Left),
        ]);
        table.row(["20261121T113705Z-6d3f20c1", "1.5 KiB", "3 days ago"]);
        table.row(["a\nb", "200 GiB", ""]);
        table.row(["日本語/設定/ファイル/とても長い名前", "9 B", "now"]);
        table
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(
            Screen::text(None, |out| sample().print(out)),
            "\
name                                    size  made
20261121T113705Z-6d3f20c1            1.5 KiB  3 days ago
a\\nb                                 200 GiB
日本語/設定/ファイル/とても長い名前      9 B  now
"
        );
    }

    #[test]
    fn a_narrow_terminal_takes_the_middle_of_flexible_columns() {
        let text = Screen::text(Some(40), |out| sample().print(out));
        assert_eq!(
            text,
            "\
name                    size  made
20261121T…-6d3f20c1  1.5 KiB  3 days ago
a\\nb                 200 GiB
日本語/設…長い名前       9 B  now
"
        );
        assert!(text.lines().all(|line| line.width() <= 40));
    }

    #[test]
    fn without_header_texts_there_is_no_header() {
        let mut table = Table::new([("", Column::Left), ("", Column::Left)]);
        assert!(table.is_empty());
        table.row(["a", "b"]);
        assert_eq!(Screen::text(None, |out| table.print(out)), "a  b\n");
    }
}

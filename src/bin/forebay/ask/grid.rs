//! A table that comes page by page and fits a terminal. Pure.
//!
//! Columns are as wide as the pages so far need: a table of a million rows is never in memory, and a wider cell of a later
//! page moves the columns behind it from there on. On a terminal the widest columns are cut, and what is cut ends with
//! `…`; columns that still find no room are left out from the right, with a column `…` in their place.

use crate::table::Side;
use crate::terminal::{head, width};

/// No column is cut below this, unless it says otherwise.
const NARROWEST: usize = 8;
/// A time to the millisecond.
pub const TIME: usize = 24;
/// Between two columns.
const GAP: usize = 2;

/// The head of a column.
#[derive(Clone)]
pub struct Title {
    text: String,
    side: Side,
    /// It is not cut below this.
    narrowest: usize,
}

impl Title {
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), side: Side::Left, narrowest: NARROWEST }
    }

    pub fn time(text: impl Into<String>) -> Self {
        Self { text: text.into(), side: Side::Left, narrowest: TIME }
    }

    /// A cut number is another number.
    pub fn number(text: impl Into<String>) -> Self {
        Self { text: text.into(), side: Side::Right, narrowest: usize::MAX }
    }
}

pub struct Grid {
    titles: Vec<Title>,
    /// Columns of the terminal.
    room: Option<usize>,
    /// What the widest cell of each column takes; empty before the first page.
    natural: Vec<usize>,
    /// Of the columns that are shown.
    widths: Vec<usize>,
}

impl Grid {
    pub fn new(titles: Vec<Title>, room: Option<usize>) -> Self {
        Self { titles, room, natural: Vec::new(), widths: Vec::new() }
    }

    /// Appends a page, on the first one's top the titles. Cells are shown as they are: text of unknown origin must be
    /// harmless already. A page without rows is nothing.
    pub fn write(&mut self, rows: &[Vec<String>], to: &mut String) {
        if rows.is_empty() {
            return;
        }
        let is_first = self.natural.is_empty();
        self.measure(rows);
        if is_first {
            let titles: Vec<String> = self.titles.iter().map(|title| title.text.clone()).collect();
            self.line(&titles, to);
        }
        rows.iter().for_each(|row| self.line(row, to));
    }

    fn measure(&mut self, rows: &[Vec<String>]) {
        if self.natural.is_empty() {
            self.natural = self.titles.iter().map(|title| width(&title.text)).collect();
        }
        for row in rows {
            self.natural.iter_mut().zip(row).for_each(|(widest, cell)| *widest = (*widest).max(width(cell)));
        }
        let mut widths = self.natural.clone();
        let room = self.room.unwrap_or(usize::MAX);
        let taken = |widths: &[usize]| widths.iter().map(|width| width + GAP).sum::<usize>().saturating_sub(GAP);
        while taken(&widths) > room
            && let Some((widest, _)) = widths
                .iter_mut()
                .zip(&self.titles)
                .filter(|(width, title)| **width > title.narrowest)
                .max_by_key(|(width, _)| **width)
        {
            *widest -= 1;
        }
        // One column for the mark, and one stays however narrow the terminal is.
        while taken(&widths) > room && widths.len() > 1 {
            widths.pop();
            while (taken(&widths) + GAP).saturating_add(1) > room && widths.len() > 1 {
                widths.pop();
            }
        }
        self.widths = widths;
    }

    fn line(&self, cells: &[String], to: &mut String) {
        let mut line = String::new();
        for ((cell, title), column) in cells.iter().zip(&self.titles).zip(&self.widths) {
            let cell = if self.room.is_some() { head(cell, *column) } else { cell.clone() };
            let space = " ".repeat(column.saturating_sub(width(&cell)));
            match title.side {
                Side::Left => line.extend([&cell, space.as_str(), "  "]),
                Side::Right => line.extend([space.as_str(), &cell, "  "]),
            }
        }
        if self.widths.len() < self.titles.len() {
            line.push('…');
        }
        to.push_str(line.trim_end());
        to.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(titles: &[&str], rows: &[&[&str]], room: Option<usize>) -> String {
        let titles = titles.iter().copied().map(Title::text).collect();
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let mut text = String::new();
        Grid::new(titles, room).write(&rows, &mut text);
        text
    }

    #[test]
    fn the_widest_column_is_cut_and_marked() {
        let rows: &[&[&str]] = &[&["a", "a long message of many words", "z"]];
        assert_eq!(shown(&["x", "msg", "y"], rows, Some(20)), "x  msg             y\na  a long messag…  z\n");
        assert_eq!(
            shown(&["x", "msg", "y"], rows, None),
            "x  msg                           y\na  a long message of many words  z\n"
        );
    }

    #[test]
    fn columns_without_room_are_left_out_and_marked() {
        let rows: &[&[&str]] = &[&["12345678", "12345678", "12345678"]];
        assert_eq!(shown(&["a", "b", "c"], rows, Some(25)), "a         b         …\n12345678  12345678  …\n");
        assert_eq!(shown(&["a", "b", "c"], rows, Some(3)), "a         …\n12345678  …\n");
        for room in 0..40 {
            let text = shown(&["a", "b", "c"], rows, Some(room));
            assert!(text.lines().all(|line| width(line) <= room.max(11)), "{room}: {text}");
        }
    }

    #[test]
    fn numbers_are_never_cut_and_times_keep_their_milliseconds() {
        let titles = vec![Title::time("ts"), Title::number("n"), Title::text("msg")];
        let row = ["2026-11-20T08:15:00.000Z", "123456789", "a message"].map(Into::into).to_vec();
        let mut text = String::new();
        Grid::new(titles, Some(45)).write(&[row], &mut text);
        assert!(text.ends_with("2026-11-20T08:15:00.000Z  123456789  a messa…\n"), "{text}");
    }

    #[test]
    fn a_later_page_widens_the_columns() {
        let mut grid = Grid::new(vec![Title::number("a"), Title::text("b")], Some(8));
        let mut text = String::new();
        grid.write(&[], &mut text);
        grid.write(&[vec!["12".into(), "x".into()]], &mut text);
        grid.write(&[vec!["1234".into(), "y".into()]], &mut text);
        assert_eq!(text, " a  b\n12  x\n1234  y\n");
    }
}

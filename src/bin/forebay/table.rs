//! A small table for people: columns as wide as what stands in them, numbers to the right.

use std::fmt::{self, Display, Write};

use crate::terminal::width;

/// On which side of a column its cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// Rows of cells under their titles.
pub struct Table<const N: usize> {
    columns: [(&'static str, Side); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [(&'static str, Side); N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Cells are shown as they are: text of unknown origin must be harmless already.
    pub fn push(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = self.columns.map(|(title, _)| width(title));
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(widest, cell)| *widest = (*widest).max(width(cell)));
        }
        let titles = self.columns.map(|(title, _)| title.to_owned());
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, (_, side)), column) in row.iter().zip(self.columns).zip(widths) {
                let (text, space) = (cell.as_str(), " ".repeat(column - width(cell)));
                match side {
                    Side::Left => write!(line, "{text}{space}  ")?,
                    Side::Right => write!(line, "{space}{text}  ")?,
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_do_not_shift_the_columns() {
        let mut table = Table::new([("file", Side::Left), ("rows", Side::Right), ("state", Side::Left)]);
        table.push(["日本.json".into(), "7".into(), "in".into()]);
        table.push(["eve.json".into(), "12,345".into(), String::new()]);
        assert_eq!(table.to_string(), "file         rows  state\n日本.json       7  in\neve.json   12,345\n");
    }
}

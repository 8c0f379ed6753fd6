//! Where an answer's rows go: standard output, in the form that was asked for, page by page.
//!
//! JSON has a row's exact text. The other forms are for people and their tools, and an attacker has written what stands in them:
//! characters that drive a terminal are escapes in all of them, and in CSV and TSV a text that a spreadsheet would take
//! for a formula has an apostrophe before it, which is what spreadsheets themselves write for "this is text".

use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::ControlFlow;

use clap::ValueEnum;
use forebay::repository::Stored;

use super::grid::{Grid, Title};
use super::row::{Cell, Column, Shown};
use crate::Exit;
use crate::ingest::Failure;
use crate::terminal::{self, Harmless, is_printable};

/// Most characters of a cell of a table.
const CELL: usize = 200;

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One array.
    Json,
    /// One object a line.
    Ndjson,
    /// For spreadsheets.
    Csv,
    /// One row a line, for `cut` and `awk`.
    Tsv,
}

impl Format {
    /// Returns the form that was asked for; else a table on a terminal, and lines of JSON elsewhere.
    pub fn or_fitting(chosen: Option<Self>) -> Self {
        chosen.unwrap_or(if terminal::columns().is_some() { Self::Table } else { Self::Ndjson })
    }
}

fn title(column: &Column) -> Title {
    match column {
        Column::Named("id" | "src_port" | "dst_port" | "link_type" | "length") => Title::number(column.title()),
        Column::Named("ts") => Title::time(column.title()),
        _ => Title::text(column.title()),
    }
}

enum Form {
    Table(Grid),
    Json { is_first: bool },
    Ndjson,
    Csv { is_first: bool },
    Tsv { is_first: bool },
}

/// Writes rows of one kind.
pub struct Sink<R> {
    columns: Vec<Column>,
    form: Form,
    rows: PhantomData<R>,
}

impl<R: Shown> Sink<R> {
    /// Makes a sink for the columns that were asked for, else for those that fit the form.
    pub fn new(format: Format, columns: Option<Vec<Column>>) -> Self {
        let names = if format == Format::Table { R::CHOSEN } else { R::COLUMNS };
        let columns = columns.unwrap_or_else(|| Column::named(names));
        let form = match format {
            Format::Table => {
                let titles = columns.iter().map(title).collect();
                Form::Table(Grid::new(titles, terminal::columns()))
            }
            Format::Json => Form::Json { is_first: true },
            Format::Ndjson => Form::Ndjson,
            Format::Csv => Form::Csv { is_first: true },
            Format::Tsv => Form::Tsv { is_first: true },
        };
        Self { columns, form, rows: PhantomData }
    }

    /// Writes a page; says whether somebody reads on.
    ///
    /// # Errors
    /// [`Failure`], when it could not be written.
    pub fn page(&mut self, rows: &[Stored<R>]) -> Result<ControlFlow<()>, Failure> {
        let text = self.form.page(&self.columns, rows).map_err(unwritten)?;
        write(&text)
    }

    /// Writes what stands behind the last page.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub fn finish(mut self) -> Result<(), Failure> {
        let mut text = self.form.page::<R>(&self.columns, &[]).map_err(unwritten)?;
        if let Form::Json { is_first } = self.form {
            text.push_str(if is_first { "[]\n" } else { "\n]\n" });
        }
        write(&text).map(drop)
    }
}

impl Form {
    fn page<R: Shown>(&mut self, columns: &[Column], rows: &[Stored<R>]) -> io::Result<String> {
        let mut text = String::new();
        let titles = || columns.iter().map(Column::title).collect::<Vec<_>>();
        match self {
            Self::Table(grid) => {
                let cells = |row| columns.iter().map(|column| column.of(row).shown(CELL)).collect();
                let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
                grid.write(&cells, &mut text);
            }
            Self::Json { is_first } => {
                for row in rows {
                    text.push_str(if *is_first { "[\n" } else { ",\n" });
                    *is_first = false;
                    object(columns, row, &mut text);
                }
            }
            Self::Ndjson => {
                for row in rows {
                    object(columns, row, &mut text);
                    text.push('\n');
                }
            }
            Self::Csv { is_first } => {
                if std::mem::take(is_first) {
                    csv_line(titles(), &mut text)?;
                }
                for row in rows {
                    csv_line(columns.iter().map(|column| sheet(&column.of(row), &['\n', '\r', '\t'])), &mut text)?;
                }
            }
            Self::Tsv { is_first } => {
                let mut line = |cells: Vec<String>| {
                    text.push_str(&cells.join("\t"));
                    text.push('\n');
                };
                if std::mem::take(is_first) {
                    line(titles());
                }
                for row in rows {
                    line(columns.iter().map(|column| sheet(&column.of(row), &[])).collect());
                }
            }
        }
        Ok(text)
    }
}

/// Appends a row as a JSON object.
pub fn object<R: Shown>(columns: &[Column], row: &Stored<R>, to: &mut String) {
    let mut comma = '{';
    for column in columns {
        to.push(comma);
        comma = ',';
        to.push_str(&serde_json::Value::from(column.title()).to_string());
        to.push(':');
        column.of(row).write_json(to);
    }
    to.push('}');
}

fn csv_line(cells: impl IntoIterator<Item = String>, to: &mut String) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    let line = writer.into_inner().map_err(|error| error.into_error())?;
    to.push_str(&String::from_utf8_lossy(&line));
    Ok(())
}

fn unwritten(error: io::Error) -> Failure {
    Failure { exit: Exit::NotWritten, message: format!("write the answer: {error}") }
}

/// Returns a cell for a spreadsheet, in which only `kept` of the characters that drive a terminal are left.
fn sheet(cell: &Cell<'_>, kept: &[char]) -> String {
    let text = cell.text();
    if matches!(cell, Cell::Nothing | Cell::Number(_) | Cell::Time(_)) {
        return text.into_owned();
    }
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let mut sheet = String::with_capacity(text.len());
    if is_formula {
        sheet.push('\'');
    }
    for character in text.chars() {
        if is_printable(character) || kept.contains(&character) {
            sheet.push(character);
        } else {
            sheet.extend(character.escape_unicode());
        }
    }
    sheet
}

/// Writes to standard output; says whether somebody reads on.
///
/// # Errors
/// [`Failure`], when it could not be written for another reason than that nobody reads it.
pub fn write(text: &str) -> Result<ControlFlow<()>, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(ControlFlow::Continue(())),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        Err(error) => Err(unwritten(error)),
    }
}

/// A cell of a table that shows text of unknown origin.
pub fn cell(text: &str) -> String {
    Harmless(text, CELL).to_string()
}

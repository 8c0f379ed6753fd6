//! What `forebay user`, `state` and `deployments` share: the way to the database, and how an answer is told.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::Path;

use forebay::repository::Repository;
use forebay::{Config, DatabaseUrl, Error, ErrorKind, maintenance};

use crate::Exit;
use crate::ingest::{self, Failure};
use crate::terminal::{self, Harmless};

/// Most bytes of one word of an answer on a terminal.
const WORD: usize = 200;

/// Where state, deployments and users are, and for whom the answer is.
pub struct Kept {
    pub url: String,
    pub config: Config,
    pub json: bool,
}

impl Kept {
    /// Opens the database, which must be there and up to date.
    pub fn open(&self) -> Result<Repository, Failure> {
        Repository::open_with(&self.url, &self.config).map_err(ingest::refused)
    }

    /// Opens the database, and makes its tables or brings them up to date as needed: whoever is the first to write does.
    pub fn open_to_write(&self) -> Result<Repository, Failure> {
        use ErrorKind::{NotADatabase, OlderSchema, System};
        match Repository::open_with(&self.url, &self.config) {
            // What is another program's is refused again there.
            Err(error) if matches!(error.kind(), System | OlderSchema | NotADatabase) => {
                let url = DatabaseUrl::parse(&self.url).map_err(ingest::refused)?;
                maintenance::init(&url, &self.config).map_err(ingest::refused)?;
                self.open()
            }
            opened => opened.map_err(ingest::refused),
        }
    }

    /// Tells the outcome of a change: as JSON, or in words.
    pub fn tell(&self, json: serde_json::Value, words: &str) -> Exit {
        terminal::print(&if self.json { format!("{json}\n") } else { format!("{words}\n") });
        Exit::Done
    }
}

/// Ends with what a change or a question met.
pub fn failed(error: Error) -> Failure {
    let exit = (error.kind() == ErrorKind::Conflict).then_some(Exit::Missing);
    let Failure { exit: refused, message } = ingest::refused(error);
    Failure { exit: exit.unwrap_or(refused), message }
}

/// Ends because what was asked for is not there, or not as expected.
pub fn missing(message: impl Into<String>) -> Failure {
    Failure { exit: Exit::Missing, message: message.into() }
}

pub fn usage(message: impl Into<String>) -> Failure {
    Failure { exit: Exit::Usage, message: message.into() }
}

/// Text from the database, for a cell of a table.
pub fn word(text: &str) -> String {
    Harmless(text, WORD).to_string()
}

/// Reads a whole file, or standard input for `-`, as text of at most `most` bytes.
pub fn read(path: &Path, most: usize) -> Result<String, Failure> {
    let failed = |error: io::Error| usage(format!("read {}: {error}", path.display()));
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(path).map_err(failed)?.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    }
    if bytes.len() > most {
        return Err(usage(format!("{} has more than {most} bytes", path.display())));
    }
    String::from_utf8(bytes).map_err(|_| usage(format!("{} is no UTF-8 text", path.display())))
}

/// Reads a secret: the first line of a file, else what a person types twice, else the first line of standard input.
pub fn secret(file: Option<&Path>, what: &str) -> Result<String, Failure> {
    if let Some(path) = file {
        return Ok(first_line(&read(path, 1 << 16)?).to_owned());
    }
    if !io::stdin().is_terminal() {
        let mut line = String::new();
        io::stdin()
            .lock()
            .take(1 << 16)
            .read_line(&mut line)
            .map_err(|error| usage(format!("read {what}: {error}")))?;
        return Ok(first_line(&line).to_owned());
    }
    let ask =
        |prompt: String| rpassword::prompt_password(prompt).map_err(|error| usage(format!("ask for {what}: {error}")));
    let first = ask(format!("{what}: "))?;
    if first != ask(format!("{what}, again: "))? {
        return Err(usage("the two are not the same; nothing was changed"));
    }
    Ok(first)
}

pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

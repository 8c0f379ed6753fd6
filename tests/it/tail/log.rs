//! A writer that rotates its log as writers do, and knows every line that it has written.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

pub struct Log {
    path: PathBuf,
    file: File,
    /// What was begun and has no line end yet.
    partial: String,
    pub written: Vec<String>,
    number: u64,
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

impl Log {
    pub fn new(path: PathBuf) -> Self {
        let file = append(&path);
        Self { path, file, partial: String::new(), written: Vec::new(), number: 0 }
    }

    pub fn lines(&mut self, lines: usize) {
        for _ in 0..lines {
            let line = self.next_line();
            self.write(&format!("{line}\n"));
        }
    }

    fn next_line(&mut self) -> String {
        self.number += 1;
        format!(r#"{{"n":{},"text":"{}"}}"#, self.number, "x".repeat((self.number * 37 % 90) as usize))
    }

    /// Writes a part of a line, if none is begun.
    pub fn half(&mut self) {
        if self.partial.is_empty() {
            let line = self.next_line();
            let half = line.len() / 2;
            self.file.write_all(&line.as_bytes()[..half]).unwrap();
            self.partial = line;
        }
    }

    /// Ends what was begun, and writes `text`, which is whole lines.
    fn write(&mut self, text: &str) {
        self.other_half();
        self.file.write_all(text.as_bytes()).unwrap();
        self.written.extend(text.lines().map(str::to_owned));
    }

    pub fn other_half(&mut self) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.file.write_all(&line.as_bytes()[line.len() / 2..]).unwrap();
            self.file.write_all(b"\n").unwrap();
            self.written.push(line);
        }
    }

    pub fn numbered(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }

    fn packed(&self, number: usize) -> PathBuf {
        PathBuf::from(format!("{}.{number}.gz", self.path.display()))
    }

    /// Makes room for `x.log.1`.
    pub fn shift(&self) {
        let exists = |number: &usize| self.numbered(*number).exists() || self.packed(*number).exists();
        let first_free = (1..).find(|number| !exists(number)).unwrap();
        for number in (1..first_free).rev() {
            for name in [Self::numbered, Self::packed] {
                if name(self, number).exists() {
                    fs::rename(name(self, number), name(self, number + 1)).unwrap();
                }
            }
        }
    }

    /// Renames; the writer goes on with the old file until [`reopen`](Self::reopen).
    pub fn rename(&mut self) {
        self.shift();
        if self.path.exists() {
            fs::rename(&self.path, self.numbered(1)).unwrap();
        }
    }

    /// Begins the new file, as after a signal.
    pub fn reopen(&mut self) {
        self.other_half();
        self.file = append(&self.path);
    }

    pub fn copytruncate(&mut self) {
        self.other_half();
        self.shift();
        fs::copy(&self.path, self.numbered(1)).unwrap();
        self.file.set_len(0).unwrap();
    }

    /// Compresses a rotated file, in small pieces, and deletes it, if it is there and not compressed.
    pub fn compress(&self, number: usize) {
        let (plain, packed) = (self.numbered(number), self.packed(number));
        if !plain.exists() {
            return;
        }
        let content = fs::read(&plain).unwrap();
        let mut gzip = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
        for piece in content.chunks(1000) {
            gzip.write_all(piece).unwrap();
            gzip.flush().unwrap();
        }
        gzip.finish().unwrap();
        fs::remove_file(plain).unwrap();
    }
}

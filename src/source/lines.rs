//! Cuts a stream into lines, with their numbers and their places in bytes, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

/// Reads lines of any bytes; one that is longer than the limit is cut, and says so.
pub struct LineReader<R> {
    reader: R,
    line: Vec<u8>,
    number: u64,
    offset: u64,
    max_bytes: usize,
}

/// One line, lent by its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset after its line end.
    pub end: u64,
    /// Its bytes without the line end (`\n` or `\r\n`); of a line that is too long, the first ones.
    pub bytes: &'a [u8],
    /// Whether it is longer than the limit, so that bytes are missing.
    pub is_cut: bool,
    /// Whether it has a line end; the last line of a file may have none.
    pub is_ended: bool,
}

impl<R: BufRead> LineReader<R> {
    /// Reads lines of at most `max_bytes` bytes, line end included.
    pub fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader, line: Vec::new(), number: 0, offset: 0, max_bytes }
    }

    /// Returns the next line, or `None` at the end.
    ///
    /// # Errors
    /// What the stream says. Bytes after the last line end that came before the error are not given.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let read = (&mut self.reader).take(self.max_bytes as u64).read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        let mut is_ended = self.line.last() == Some(&b'\n');
        let is_cut = !is_ended && self.line.len() == self.max_bytes && !self.reader.fill_buf()?.is_empty();
        let mut skipped = 0;
        if is_cut {
            (skipped, is_ended) = self.skip_line()?;
        }
        let start = self.offset;
        self.offset += read + skipped;
        self.number += 1;
        let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        Ok(Some(Line { number: self.number, start, end: self.offset, bytes, is_cut, is_ended }))
    }

    fn skip_line(&mut self) -> io::Result<(u64, bool)> {
        let mut skipped = 0;
        loop {
            let available = self.reader.fill_buf()?;
            let newline = available.iter().position(|byte| *byte == b'\n');
            let used = newline.map_or(available.len(), |at| at + 1);
            self.reader.consume(used);
            skipped += used as u64;
            if newline.is_some() || used == 0 {
                return Ok((skipped, newline.is_some()));
            }
        }
    }
}

impl<R: Read> LineReader<BufReader<R>> {
    /// Returns whether the end of the next line has yet to be read from the stream, which may take its time.
    pub fn is_drained(&self) -> bool {
        !self.reader.buffer().contains(&b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_come_with_number_place_and_whether_they_are_whole() {
        let mut lines = LineReader::new(&b"ab\r\n\n0123456789\nlast"[..], 6);
        let mut next =
            || lines.next_line().unwrap().map(|l| (l.number, l.start, l.end, l.bytes.to_vec(), l.is_cut, l.is_ended));
        assert_eq!(next(), Some((1, 0, 4, b"ab".to_vec(), false, true)));
        assert_eq!(next(), Some((2, 4, 5, b"".to_vec(), false, true)));
        assert_eq!(next(), Some((3, 5, 16, b"012345".to_vec(), true, true)));
        assert_eq!(next(), Some((4, 16, 20, b"last".to_vec(), false, false)));
        assert_eq!(next(), None);
    }

    proptest! {
        #[test]
        fn the_lines_cover_every_byte_once(text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..400), max in 1usize..40) {
            let mut lines = LineReader::new(io::BufReader::with_capacity(7, &text[..]), max);
            let mut end = 0;
            while let Some(line) = lines.next_line().unwrap() {
                prop_assert_eq!(line.start, end);
                prop_assert!(line.end > line.start && line.bytes.len() <= max);
                let whole = &text[line.start as usize..line.end as usize];
                prop_assert!(whole.starts_with(line.bytes));
                prop_assert_eq!(whole.iter().filter(|b| **b == b'\n').count(), usize::from(line.is_ended));
                end = line.end;
            }
            prop_assert_eq!(end as usize, text.len());
        }
    }
}

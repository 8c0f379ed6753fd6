//! Cuts what a peer sends into records. Pure: bytes in, records out, in bounded memory.
//!
//! However the bytes are split, the records are the same. A record above the limit is not gathered: its first bytes are
//! kept, the rest is passed over, and the next record is found where it begins; so one long record costs neither memory
//! nor the connection. A peer that announces four gigabytes must send them.

use serde::{Deserialize, Serialize};

/// How records are told apart on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each ends with a line feed; a carriage return before it is no part of it.
    #[default]
    Lines,
    /// Four bytes with its length, the highest first, stand before each.
    Length,
}

/// The same, with what only syslog does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Cutting {
    Lines,
    Length,
    /// Each message by itself: `LENGTH SPACE MESSAGE` if it begins so, else a line (RFC 6587, 3.4.1 and 3.4.2).
    Syslog,
}

impl From<Framing> for Cutting {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Lines => Self::Lines,
            Framing::Length => Self::Length,
        }
    }
}

/// One record, lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Whole(&'a [u8]),
    /// It is above the limit: its first bytes, and how many it has.
    TooLong {
        start: &'a [u8],
        bytes: u64,
    },
    /// The stream ended within it, and it is known to be longer.
    CutOff(&'a [u8]),
}

/// Bytes that are kept of a record above the limit.
const KEPT: usize = 64 << 10;
/// Room that a stream without a record keeps.
const SMALL: usize = 32 << 10;
/// Digits of the longest length that syslog may announce.
const MAX_DIGITS: usize = 10;

pub(super) struct Frames {
    cutting: Cutting,
    max: usize,
    buffer: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Up to where no line end was found.
    scanned: usize,
    passing: Option<Passing>,
    /// What is kept of the record that was passed over last, while it is lent.
    kept: Vec<u8>,
}

/// A record that is passed over.
struct Passing {
    kept: Vec<u8>,
    bytes: u64,
    end: End,
}

/// Where a record ends.
#[derive(Clone, Copy)]
enum End {
    LineFeed,
    After(u64),
}

/// What stands at the beginning of a record.
enum Head {
    /// Not enough to tell.
    Unknown,
    Line,
    /// So many bytes of head, then so many of record.
    Counted(usize, u64),
}

impl Frames {
    /// Records have at most `max` bytes, without what frames them.
    pub(super) fn new(cutting: Cutting, max: usize) -> Self {
        Self { cutting, max, buffer: Vec::new(), start: 0, scanned: 0, passing: None, kept: Vec::new() }
    }

    /// Takes what came. All records should have been taken before.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned = self.scanned.saturating_sub(self.start);
        self.start = 0;
        self.kept = Vec::new();
        if self.buffer.is_empty() && self.buffer.capacity() > SMALL {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next record, or `None` until more comes.
    pub(super) fn next(&mut self) -> Option<Frame<'_>> {
        if self.passing.is_some() {
            return self.pass();
        }
        if self.cutting == Cutting::Syslog {
            self.skip_gap();
        }
        match self.head() {
            Head::Unknown => None,
            Head::Line => self.line(),
            Head::Counted(head, bytes) => self.counted(head, bytes),
        }
    }

    /// Returns what is left at the end of the stream: a last line without its end, or a part of a record.
    pub(super) fn rest(&mut self) -> Option<Frame<'_>> {
        if let Some(passing) = self.passing.take() {
            self.kept = passing.kept;
            return Some(Frame::TooLong { start: &self.kept, bytes: passing.bytes });
        }
        let start = std::mem::replace(&mut self.start, self.buffer.len());
        let rest = &self.buffer[start..];
        match self.cutting {
            _ if rest.is_empty() => None,
            Cutting::Lines => Some(self.whole_line(rest)),
            Cutting::Syslog if !rest[0].is_ascii_digit() => Some(self.whole_line(rest)),
            _ => Some(Frame::CutOff(rest)),
        }
    }

    /// Passes over what some senders put after a counted message: line ends, spaces, NUL.
    fn skip_gap(&mut self) {
        let gap = |byte: &&u8| matches!(byte, b'\n' | b'\r' | b' ' | 0);
        self.start += self.buffer[self.start..].iter().take_while(gap).count();
        self.scanned = self.scanned.max(self.start);
    }

    fn head(&self) -> Head {
        let bytes = &self.buffer[self.start..];
        match self.cutting {
            Cutting::Lines => Head::Line,
            Cutting::Length => match bytes.first_chunk::<4>() {
                Some(length) => Head::Counted(4, u64::from(u32::from_be_bytes(*length))),
                None => Head::Unknown,
            },
            Cutting::Syslog => {
                let digits = bytes.iter().take(MAX_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
                match bytes.get(digits) {
                    None if digits == bytes.len() && digits <= MAX_DIGITS => Head::Unknown,
                    Some(b' ') if (1..=MAX_DIGITS).contains(&digits) && bytes[0] != b'0' => {
                        let length = bytes[..digits].iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
                        Head::Counted(digits + 1, length)
                    }
                    _ => Head::Line,
                }
            }
        }
    }

    fn line(&mut self) -> Option<Frame<'_>> {
        let from = self.scanned.max(self.start);
        let Some(at) = self.buffer[from..].iter().position(|byte| *byte == b'\n').map(|at| from + at) else {
            self.scanned = self.buffer.len();
            // One more than the limit may be the carriage return of a line that is just within it.
            if self.buffer.len() - self.start > self.max + 1 {
                self.begin_passing(self.start, End::LineFeed);
            }
            return None;
        };
        let line = self.start..at;
        self.start = at + 1;
        self.scanned = self.start;
        Some(self.whole_line(&self.buffer[line]))
    }

    fn whole_line<'a>(&self, line: &'a [u8]) -> Frame<'a> {
        match line.strip_suffix(b"\r").unwrap_or(line) {
            bytes if bytes.len() <= self.max => Frame::Whole(bytes),
            _ => Frame::TooLong { start: kept(&line[..self.max]), bytes: line.len() as u64 },
        }
    }

    fn counted(&mut self, head: usize, bytes: u64) -> Option<Frame<'_>> {
        let begin = self.start + head;
        if bytes > self.max as u64 {
            self.begin_passing(begin, End::After(bytes));
            return self.pass();
        }
        let end = begin + bytes as usize;
        if self.buffer.len() < end {
            return None;
        }
        self.start = end;
        self.scanned = end;
        Some(Frame::Whole(&self.buffer[begin..end]))
    }

    fn begin_passing(&mut self, begin: usize, end: End) {
        self.start = begin;
        self.passing = Some(Passing { kept: Vec::new(), bytes: 0, end });
        if matches!(end, End::LineFeed) {
            // There is no line end in the buffer: all of it is passed.
            self.pass();
        }
    }

    /// Goes on passing over a record; returns it when its end was found.
    fn pass(&mut self) -> Option<Frame<'_>> {
        let passing = self.passing.as_mut()?;
        let here = &self.buffer[self.start..];
        let (bytes, next, found) = match passing.end {
            End::LineFeed => match here.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at, at + 1, true),
                None => (here.len(), here.len(), false),
            },
            End::After(left) => {
                let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(here.len());
                passing.end = End::After(left - bytes as u64);
                (bytes, bytes, left == bytes as u64)
            }
        };
        let room = KEPT.min(self.max).saturating_sub(passing.kept.len());
        passing.kept.extend_from_slice(&here[..bytes.min(room)]);
        passing.bytes += bytes as u64;
        self.start += next;
        self.scanned = self.start;
        if !found {
            return None;
        }
        let Passing { kept, bytes, .. } = self.passing.take()?;
        self.kept = kept;
        Some(Frame::TooLong { start: &self.kept, bytes })
    }
}

/// Returns what is kept of a record above the limit.
pub(super) fn kept(record: &[u8]) -> &[u8] {
    &record[..record.len().min(KEPT)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 40;

    /// A record as a test compares it: its bytes, how many it has, and what became of it.
    type Seen = (Vec<u8>, u64, char);

    fn seen(frame: Frame<'_>) -> Seen {
        match frame {
            Frame::Whole(bytes) => (bytes.to_vec(), bytes.len() as u64, 'w'),
            Frame::TooLong { start, bytes } => (start.to_vec(), bytes, 'l'),
            Frame::CutOff(bytes) => (bytes.to_vec(), bytes.len() as u64, 'c'),
        }
    }

    /// Gives the bytes in pieces of these sizes, over and over.
    fn cut(cutting: Cutting, bytes: &[u8], pieces: &[usize]) -> Vec<Seen> {
        let mut frames = Frames::new(cutting, MAX);
        let mut all = Vec::new();
        let (mut rest, mut pieces) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*pieces.next().unwrap()).clamp(1, rest.len()));
            rest = later;
            frames.push(piece);
            while let Some(frame) = frames.next() {
                all.push(seen(frame));
            }
            assert!(frames.buffer.len() - frames.start <= MAX + 11, "a part of a record stays within the limit");
        }
        all.extend(frames.rest().map(seen));
        assert!(frames.rest().is_none() && frames.next().is_none(), "nothing is left");
        all
    }

    fn text(frames: &[Seen]) -> Vec<(&str, char)> {
        frames.iter().map(|(bytes, _, fate)| (str::from_utf8(bytes).unwrap(), *fate)).collect()
    }

    #[test]
    fn lines_end_with_a_line_feed_and_a_carriage_return_is_no_part_of_them() {
        let frames = cut(Cutting::Lines, b"a\r\n\nb\nc", &[3]);
        assert_eq!(text(&frames), [("a", 'w'), ("", 'w'), ("b", 'w'), ("c", 'w')]);
    }

    #[test]
    fn a_record_above_the_limit_is_passed_over_and_the_next_one_found() {
        let long = "x".repeat(1000);
        let within = "y".repeat(MAX);
        for piece in [1, 7, 5000] {
            let lines = cut(Cutting::Lines, format!("{long}\n{within}\r\n{within}y\n1\n").as_bytes(), &[piece]);
            assert_eq!((lines[0].1, lines[0].2), (1000, 'l'));
            assert!(!lines[0].0.is_empty() && lines[0].0.len() <= 1000);
            assert_eq!((text(&lines)[1], lines[2].2, text(&lines)[3]), ((&*within, 'w'), 'l', ("1", 'w')));
            let counted = cut(Cutting::Syslog, format!("1000 {long}3 abc<1>d\n").as_bytes(), &[piece]);
            assert_eq!(
                (counted[0].1, counted[0].2, text(&counted)[1..].to_vec()),
                (1000, 'l', vec![("abc", 'w'), ("<1>d", 'w')])
            );
        }
    }

    #[test]
    fn each_syslog_message_says_for_itself_how_it_is_framed() {
        for piece in [1, 4, 100] {
            let frames = cut(Cutting::Syslog, b"5 <1>ab<2>line\n4 <3>c\n7 <4>d\ne\n2024 \n0 x\n99", &[piece]);
            // `2024 \n0 x\n99` announces 2024 bytes, which never come.
            assert_eq!(text(&frames)[..4], [("<1>ab", 'w'), ("<2>line", 'w'), ("<3>c", 'w'), ("<4>d\ne\n", 'w')]);
            assert_eq!(frames[4].2, 'l');
        }
        assert_eq!(text(&cut(Cutting::Syslog, b"2024-01-02 x\n<1>y", &[2])), [("2024-01-02 x", 'w'), ("<1>y", 'w')]);
        assert_eq!(text(&cut(Cutting::Syslog, b"12345678901 x\n", &[2])), [("12345678901 x", 'w')]);
        assert_eq!(text(&cut(Cutting::Syslog, b"9 <1>short", &[2])), [("9 <1>short", 'c')]);
    }

    #[test]
    fn a_length_of_four_gigabytes_takes_no_memory() {
        let mut frames = Frames::new(Cutting::Length, MAX);
        frames.push(&u32::MAX.to_be_bytes());
        for _ in 0..1000 {
            assert_eq!(frames.next(), None);
            frames.push(&[b'x'; 1000]);
        }
        assert!(frames.next().is_none() && frames.buffer.capacity() < 4 * SMALL);
        assert_eq!(seen(frames.rest().unwrap()), (vec![b'x'; MAX], 1_000_000, 'l'));
    }

    proptest! {
        #[test]
        fn records_are_the_same_however_the_bytes_are_split(
            bytes in prop::collection::vec(prop::sample::select(b"<1> 02345\n\r\0ab\xff".to_vec()), 0..400),
            pieces in prop::collection::vec(1usize..90, 1..8),
        ) {
            for cutting in [Cutting::Lines, Cutting::Length, Cutting::Syslog] {
                prop_assert_eq!(cut(cutting, &bytes, &pieces), cut(cutting, &bytes, &[1]));
            }
        }

        #[test]
        fn what_is_framed_comes_back(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..MAX), 0..20),
            pieces in prop::collection::vec(1usize..90, 1..8),
        ) {
            let whole: Vec<_> = records.iter().map(|bytes| (bytes.clone(), bytes.len() as u64, 'w')).collect();
            let length = |bytes: &Vec<u8>| [&(bytes.len() as u32).to_be_bytes(), &bytes[..]].concat();
            let counted = |bytes: &Vec<u8>| [format!("{} ", bytes.len()).as_bytes(), &bytes[..]].concat();
            let framed = records.iter().flat_map(length).collect::<Vec<_>>();
            prop_assert_eq!(&cut(Cutting::Length, &framed, &pieces), &whole);
            let framed = records.iter().flat_map(counted).collect::<Vec<_>>();
            prop_assert_eq!(&cut(Cutting::Syslog, &framed, &pieces), &whole);
        }
    }
}

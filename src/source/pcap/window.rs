//! The bytes of a stream that are in memory: read in large pieces, given up from the front.
//!
//! `pcap-parser`'s buffer has to be told when to grow and to refill, and loses the cause of a failed read; `BufReader`
//! cannot give more than its capacity in one slice. Memory: 256 KiB, more only while a record needs it, and then only
//! as fast as the bytes arrive, so that a length that lies costs at most twice what was there.

use std::io::{self, Read};

const INITIAL: usize = 256 * 1024;

pub(super) struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl<R: Read> Window<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; INITIAL], start: 0, end: 0, offset: 0 }
    }

    /// Returns how far into the stream the window starts.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the next `want` bytes without giving them up; fewer only when the stream has ended.
    pub(super) fn peek(&mut self, want: usize) -> io::Result<&[u8]> {
        if self.end - self.start < want {
            self.refill(want)?;
        }
        Ok(&self.buffer[self.start..self.end.min(self.start + want)])
    }

    /// Gives up the next `count` bytes, which have been peeked at, and returns them for a last time.
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.start;
        self.start = self.end.min(from + count);
        self.offset += (self.start - from) as u64;
        &self.buffer[from..self.start]
    }

    /// Gives up the next `count` bytes unseen, in constant memory; `false` when the stream ended before.
    pub(super) fn skip(&mut self, mut count: usize) -> io::Result<bool> {
        while count > 0 {
            let step = self.peek(count.min(INITIAL))?.len();
            if step == 0 {
                return Ok(false);
            }
            self.take(step);
            count -= step;
        }
        Ok(true)
    }

    fn refill(&mut self, want: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < want {
            if self.end == self.buffer.len() {
                let length = want.min(self.end * 2);
                self.buffer.reserve_exact(length - self.end);
                self.buffer.resize(length, 0);
            }
            let space = &mut self.buffer[self.end..];
            match self.reader.read(space) {
                Ok(0) => break,
                Ok(count) => self.end += count.min(space.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most seven bytes a read, and is interrupted before each.
    struct Trickle<'a>(&'a [u8], bool);

    impl Read for Trickle<'_> {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = space.len().min(7);
            self.0.read(&mut space[..most])
        }
    }

    #[test]
    fn a_slow_reader_gives_the_same_bytes() {
        let stream: Vec<u8> = (0..100).collect();
        let mut window = Window::new(Trickle(&stream, false));
        assert_eq!(window.peek(20).unwrap(), &stream[..20]);
        assert_eq!(window.take(20), &stream[..20]);
        assert!(window.skip(30).unwrap());
        assert_eq!((window.offset(), window.peek(100).unwrap()), (50, &stream[50..]));
        assert!(!window.skip(51).unwrap());
        assert_eq!(window.offset(), 100);
    }

    #[test]
    fn memory_follows_the_bytes_that_arrive_and_not_the_ones_that_are_wanted() {
        let mut window = Window::new(io::repeat(7).take(INITIAL as u64 + 1));
        assert_eq!(window.peek(64 << 20).unwrap().len(), INITIAL + 1);
        assert!(window.buffer.len() <= 4 * INITIAL);
    }
}

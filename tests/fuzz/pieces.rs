//! The same bytes in pieces, whose sizes the bytes themselves choose: so an input says all there is to say.

use std::io::{self, Read};

/// A stream that gives a piece a read.
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
}

impl Pieces {
    /// Takes a copy of the bytes, for streams that outlive them.
    pub fn owned(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), at: 0 }
    }

    /// Cuts the bytes.
    pub fn sizes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            let (piece, after) = rest.split_at(size(rest)?);
            rest = after;
            Some(piece)
        })
    }
}

/// The size of the piece in front: 1 to 32.
fn size(rest: &[u8]) -> Option<usize> {
    let middle = rest.get(rest.len() / 2)?;
    rest.first().map(|first| 1 + usize::from(first ^ middle) % 32.min(rest.len()))
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        let taken = if rest.is_empty() { 0 } else { size(rest).unwrap_or_default().min(buffer.len()) };
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}

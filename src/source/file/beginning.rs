//! How a stream begins: gzip or not, and the first bytes, from which its kind is told.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

use super::super::format::Format;
use super::super::pcap;
use super::FileKind;

/// Bytes of which a reader holds at most so many.
pub(super) const BUFFER: usize = 64 << 10;
/// Most bytes at the start of a stream from which its kind is told.
const HEAD: usize = 64 << 10;
/// Lines from which a log is told: later ones change nothing.
const LINES: usize = 16;
/// With so many bytes a capture is told from anything else.
const MAGIC: usize = 12;

/// Looks at the first two bytes and decompresses gzip (RFC 1952), also of several members.
pub(super) fn decompressed(mut stream: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(2);
    (&mut stream).take(2).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(stream);
    Ok(if magic == [0x1f, 0x8b] {
        Box::new(Explained(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, whole))))
    } else {
        Box::new(whole)
    })
}

/// What the first bytes tell, and the stream from its start again.
pub(super) struct Beginning {
    /// `None` for a stream of nothing but white space.
    pub(super) content: Option<Content>,
    pub(super) stream: Box<dyn Read>,
}

/// What a stream seems to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Known(FileKind),
    Unknown,
}

/// Reads as much of the start of a stream as it takes to tell its kind, at most 64 KiB: a pipe may be slow.
///
/// # Errors
/// When the first read fails. A later fault is met again by whoever reads the stream.
pub(super) fn look(mut stream: Box<dyn Read>) -> io::Result<Beginning> {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    let mut fault = None;
    let mut told = None;
    // Asked again only when a line has come that can change the answer: pieces of a few bytes each, in which whoever
    // writes to a pipe may send white space, would have all of it looked at again for each of them.
    let (mut asked, mut has_news) = (0, false);
    while length < HEAD && told.is_none() {
        let before = length;
        match stream.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if length == 0 => return Err(error),
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
        let piece = &head[before..length];
        has_news |= !piece.trim_ascii().is_empty();
        if length < MAGIC {
            continue;
        }
        if pcap::is_capture(&head[..length]) {
            told = Some(FileKind::Capture);
        } else if has_news
            && asked < LINES
            && (piece.contains(&b'\n') || before < MAGIC)
            && head[..length].contains(&b'\n')
        {
            told = kind(&head[..length]);
            (asked, has_news) = (asked + 1, false);
        }
    }
    head.truncate(length);
    let content = match told.or_else(|| kind(&head)) {
        Some(kind) => Some(Content::Known(kind)),
        None if length < HEAD && head.iter().all(u8::is_ascii_whitespace) => None,
        None => Some(Content::Unknown),
    };
    let rest: Box<dyn Read> = match fault {
        Some(fault) => Box::new(Failing(Some(fault))),
        None => stream,
    };
    Ok(Beginning { content, stream: Box::new(Cursor::new(head).chain(rest)) })
}

fn kind(head: &[u8]) -> Option<FileKind> {
    if pcap::is_capture(head) { Some(FileKind::Capture) } else { Format::detect(head).map(FileKind::Lines) }
}

/// A stream that has failed.
struct Failing(Option<io::Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Says of faults that they are in the compression; the decoder's own words are "failed to fill whole buffer".
struct Explained<R>(R);

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the gzip data ends in the middle"),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                io::Error::new(error.kind(), format!("the gzip data is damaged: {error}"))
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one piece a read, then what a fault is given.
    struct Pieces(Vec<&'static [u8]>, Option<io::Error>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return self.1.take().map_or(Ok(0), Err);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    fn content(pieces: &[&'static [u8]]) -> Option<Content> {
        let mut beginning = look(Box::new(Pieces(pieces.to_vec(), None))).unwrap();
        let mut whole = Vec::new();
        beginning.stream.read_to_end(&mut whole).unwrap();
        assert_eq!(whole, pieces.concat());
        beginning.content
    }

    #[test]
    fn what_a_pipe_holds_does_not_depend_on_the_pieces_in_which_it_comes() {
        let eve = Some(Content::Known(FileKind::Lines(Format::Eve)));
        let line = b"{\"timestamp\":\"2019-01-02T03:50:11.315110\",\"flow_id\":1,\"event_type\":\"dns\"}\n";
        assert_eq!(content(&[line]), eve);
        assert_eq!(content(&[b"half of a line that a rotation has cut\n", line]), eve);
        assert_eq!(content(&[&line[..20], &line[20..]]), eve);
        assert_eq!(content(&[b"\n\n\n\n\n\n\n\n\n\n\n\n\n", line]), eve);
        let pcap = [&b"\xd4"[..], b"\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0", b"\0"];
        assert_eq!(content(&pcap), Some(Content::Known(FileKind::Capture)));
    }

    #[test]
    fn nothing_but_white_space_is_nothing() {
        assert_eq!(content(&[]), None);
        assert_eq!(content(&[b"\r\n", b" \n"]), None);
        assert_eq!(content(&[b"hello\n"]), Some(Content::Unknown));
    }

    #[test]
    fn a_fault_behind_the_first_bytes_is_met_again() {
        let fault = io::Error::other("the disk is gone");
        let mut beginning = look(Box::new(Pieces(vec![b"{\"a\":1}"], Some(fault)))).unwrap();
        let mut whole = Vec::new();
        assert_eq!(beginning.stream.read_to_end(&mut whole).unwrap_err().to_string(), "the disk is gone");
        assert_eq!(whole, b"{\"a\":1}");
    }
}

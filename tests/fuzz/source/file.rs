//! How a stream begins.

use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
pub use forebay::source::file::FileKind;

use crate::pieces::Pieces;
use beginning::{Content, decompressed, look};

// Its constants are for the file beside it, too.
#[allow(dead_code)]
#[path = "../../../src/source/file/beginning.rs"]
mod beginning;

/// Bytes that are read of what is decompressed.
const MOST: u64 = 128 << 10;

/// What comes out is what gzip says it is, whole or up to its fault, in whatever pieces it comes in; looking takes nothing.
pub fn beginning(input: &[u8]) {
    let (packed, plain) = match input.split_first() {
        // Damaged gzip hardly gets past its checksum; so half of the inputs are compressed here, in two members.
        Some((b'z', rest)) => (gzip(rest), Some(rest)),
        _ => (input.to_vec(), None),
    };
    let expected = if packed.starts_with(&[0x1f, 0x8b]) {
        all_of(&mut MultiGzDecoder::new(&packed[..]))
    } else {
        (packed[..packed.len().min(MOST as usize)].to_vec(), true)
    };
    if let Some(plain) = plain {
        assert_eq!(expected, (plain.to_vec(), true));
    }
    let pieces = read(Box::new(Pieces::owned(&packed)));
    for (bytes, is_whole) in [read(Box::new(Cursor::new(packed))), pieces] {
        assert_eq!(is_whole, expected.1);
        // In front of damage the decoder gives up what it has not handed out yet, which depends on the pieces.
        let shorter = bytes.len().min(expected.0.len());
        assert_eq!(bytes[..shorter], expected.0[..shorter]);
        assert!(!is_whole || bytes.len() == expected.0.len());
    }
}

/// Reads a stream as the library does: its bytes, and whether it ended well.
fn read(stream: Box<dyn Read>) -> (Vec<u8>, bool) {
    let Ok(opened) = decompressed(stream).and_then(look) else { return (Vec::new(), false) };
    let mut stream = opened.stream;
    let (bytes, is_whole) = all_of(&mut stream);
    match opened.content {
        None => assert!(bytes.iter().all(u8::is_ascii_whitespace)),
        Some(Content::Known(FileKind::Capture)) => assert!(forebay::source::pcap::is_capture(&bytes)),
        Some(_) => {}
    }
    (bytes, is_whole)
}

fn all_of(stream: &mut dyn Read) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let read = stream.take(MOST).read_to_end(&mut bytes);
    (bytes, read.is_ok())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let member = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes everything")
    };
    [member(first), member(second)].concat()
}

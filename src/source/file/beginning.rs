//! How a stream begins: gzip or not, and the first bytes, from which its kind is told.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Bytes at the start of a stream from which its kind is told.
pub(super) const HEAD: usize = 64 << 10;

/// Looks at the first two bytes and decompresses gzip (RFC 1952), also of several members.
pub(super) fn decompressed(mut stream: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(2);
    (&mut stream).take(2).read_to_end(&mut magic)?;
    let whole = Cursor::new(magic.clone()).chain(stream);
    Ok(if magic == [0x1f, 0x8b] {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(HEAD, whole)))
    } else {
        Box::new(whole)
    })
}

/// Reads the start of a stream: up to 64 KiB, less if a whole line is there already (a pipe may be slow).
pub(super) fn read_head(stream: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    let mut length = 0;
    while length < HEAD && !(length >= 12 && head[..length].contains(&b'\n')) {
        match stream.read(&mut head[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What can be told from what is there is told; the reading will meet the error again.
            Err(_) if length > 0 => break,
            Err(error) => return Err(error),
        }
    }
    head.truncate(length);
    Ok(head)
}

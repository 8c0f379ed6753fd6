//! The bytes of a file as lines have them: those of a gzipped file decompressed.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

use super::super::identity::{self, HEAD};

/// A decompressing reader of a whole file.
pub(super) type Gunzip = MultiGzDecoder<BufReader<FromStart>>;

const BUFFER: usize = 64 << 10;

/// How the lines of a file are stored (RFC 1952 for the first two bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    Plain,
    Gzip,
}

/// Tells how a file is stored; `None` while it has less than two bytes.
///
/// # Errors
/// When it cannot be read.
pub(super) fn storage(file: &File) -> io::Result<Option<Storage>> {
    let mut magic = [0; 2];
    Ok(match identity::read_fully_at(file, &mut magic, 0)? {
        2 if magic == [0x1f, 0x8b] => Some(Storage::Gzip),
        2 => Some(Storage::Plain),
        _ => None,
    })
}

/// Reads a file from its beginning, with a position of its own: that of a descriptor is shared by its duplicates.
pub(super) struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Begins to decompress a file.
///
/// # Errors
/// When there are too many descriptors.
pub(super) fn gunzip(file: &File) -> io::Result<Gunzip> {
    let stream = FromStart { file: file.try_clone()?, at: 0 };
    Ok(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, stream)))
}

/// Returns the first bytes, at most as many as tell files apart.
///
/// # Errors
/// When the file cannot be read. Of compressed bytes that end in the middle, those that are there come.
pub(super) fn head(file: &File, storage: Storage) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD as usize];
    let length = match storage {
        Storage::Plain => identity::read_fully_at(file, &mut head, 0)?,
        Storage::Gzip => {
            let mut stream = gunzip(file)?;
            let mut filled = 0;
            while filled < head.len() {
                match stream.read(&mut head[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                    Err(error) => return Err(error),
                }
            }
            filled
        }
    };
    head.truncate(length);
    Ok(head)
}

/// Returns `length` bytes from `offset` on, fewer at the end; of a compressed file that takes reading all before them.
///
/// # Errors
/// When the file cannot be read; `UnexpectedEof` when compressed bytes end in the middle before that.
pub(super) fn bytes_at(file: &File, storage: Storage, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let filled = match storage {
        Storage::Plain => identity::read_fully_at(file, &mut bytes, offset)?,
        Storage::Gzip => {
            let mut stream = gunzip(file)?;
            io::copy(&mut (&mut stream).take(offset), &mut io::sink())?;
            bytes.clear();
            stream.take(length as u64).read_to_end(&mut bytes)?
        }
    };
    bytes.truncate(filled);
    Ok(bytes)
}

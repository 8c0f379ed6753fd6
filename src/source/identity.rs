//! What makes a file the same file, as the ledger sees it.
//!
//! A name in the ledger is made of the inode, its time of birth, and the length and hash of the file's first bytes (up
//! to 4096, as many as there were when the file was first seen). Inode and birth survive a rename and an append, and no
//! two files of one file system share them: not even a copy, and not a new file in a deleted one's inode. The first
//! bytes tell a file that was emptied and filled anew (logrotate's `copytruncate`), or an inode that was reused on a
//! file system that records no births. Where the first bytes are the same again (a log that begins with a fixed line, seen
//! when it held little more), a file shorter than what is committed of it was emptied: it gets a name of its own, with a
//! count. Not told: one that was emptied, begins with the same line, and has outgrown its former self by the next run. While
//! it is followed the bytes before the place of reading tell that too; over a restart they would have to be committed with
//! each batch, for each range, and ranges of one name may be committed out of order and are merged: a second ledger, that a
//! crash must not set at odds with the first, for a log that is emptied and outgrows itself while nobody runs.
//!
//! Turned down: content alone (two sensors may well write the same short log, and both must land; and the first bytes
//! of a file that is still short change with every append), the path (rotation renames files), the device number (it
//! changes with reboots; it stands in only where there is no time of birth). The price: a copy, a compressed copy, and
//! a move to another file system count as new files.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use crate::ranges::Ranges;

/// Most bytes at the start of a file that tell it from another.
pub(super) const HEAD: u64 = 4096;

/// A file's part of its name that can be told without knowing the ledger: `file/INODE-BIRTH-`.
///
/// # Errors
/// When the operating system does not describe the file.
pub fn ledger_prefix(file: &File) -> io::Result<String> {
    Ok(prefix_of(&file.metadata()?))
}

/// As [`ledger_prefix`].
pub(super) fn prefix_of(metadata: &Metadata) -> String {
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or_else(|| format!("dev{:x}", metadata.dev()), |born| format!("{:x}", born.as_nanos()));
    format!("file/{:x}-{born}-", metadata.ino())
}

/// Returns the file's name in the ledger: the one of `known` (what the ledger has for [`ledger_prefix`]) whose first bytes
/// are still there, or a new one.
///
/// # Errors
/// When the file cannot be read.
pub fn ledger_name(file: &File, prefix: &str, known: &BTreeMap<String, Ranges>) -> io::Result<String> {
    let length = file.metadata()?.len();
    let mut head = vec![0; usize::try_from(length.min(HEAD)).unwrap_or_default()];
    let read = read_fully_at(file, &mut head, 0)?;
    head.truncate(read);
    Ok(name_of(&head, length, prefix, known, Former::MayGoOn))
}

/// Returns whether a file whose first bytes are `head` may be a copy of the one that has this name: no more can be told
/// by the name.
pub(super) fn begins_alike(name: &str, head: &[u8]) -> bool {
    let print = Fingerprint::parse(name, prefix_in(name));
    print.is_some_and(|print| print.length > 0 && print == Fingerprint::of(head, print.length, print.count))
}

/// Returns what [`ledger_prefix`] was when the name was made.
pub(super) fn prefix_in(name: &str) -> &str {
    let end = name.match_indices('-').nth(1).map_or(0, |(at, _)| at + 1);
    &name[..end]
}

/// Whether a file can still be what the ledger knows of its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Former {
    MayGoOn,
    /// It was seen to be emptied: it is none of those.
    IsOver,
}

/// As [`ledger_name`], of a file of which the first bytes, at most [`HEAD`], and the length have been read already.
pub(super) fn name_of(
    head: &[u8],
    file_length: u64,
    prefix: &str,
    known: &BTreeMap<String, Ranges>,
    former: Former,
) -> String {
    // Positions are bytes of the lines, or fewer: numbers of packets. Those of compressed lines may lie beyond the end.
    let is_compressed = head.starts_with(&[0x1f, 0x8b]);
    let holds = |committed: &Ranges| is_compressed || committed.last().is_none_or(|last| last < file_length);
    let alike = known.iter().filter_map(|(name, committed)| Some((Fingerprint::parse(name, prefix)?, committed)));
    let alike: Vec<_> = alike.filter(|(print, _)| *print == Fingerprint::of(head, print.length, print.count)).collect();
    // The latest: with more bytes than the others, or the highest count.
    let latest = alike.iter().max_by_key(|(print, _)| (print.length, print.count));
    let same = latest.filter(|(_, committed)| former == Former::MayGoOn && holds(committed));
    let print = same.map_or_else(
        || {
            let taken = alike.iter().filter(|(print, _)| print.length == head.len()).map(|(print, _)| print.count + 1);
            Fingerprint::of(head, head.len(), taken.max().unwrap_or(1))
        },
        |(print, _)| *print,
    );
    print.name(prefix)
}

/// The part of a name that comes from the first bytes: `LENGTH-HASH`, from the second of the same on `LENGTH-HASH-COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    length: usize,
    hash: u64,
    count: u32,
}

impl Fingerprint {
    /// Of the first `length` bytes; a head that is shorter gives that of all it has, which is no equal.
    fn of(head: &[u8], length: usize, count: u32) -> Self {
        let bytes = head.get(..length).unwrap_or(head);
        Self { length: bytes.len(), hash: xxh3_64(bytes), count }
    }

    fn parse(name: &str, prefix: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(prefix)?.split('-');
        let length = usize::from_str_radix(parts.next()?, 16).ok()?;
        let hash = u64::from_str_radix(parts.next()?, 16).ok()?;
        let count = parts.next().map_or(Some(1), |count| count.parse().ok())?;
        Some(Self { length, hash, count })
    }

    fn name(&self, prefix: &str) -> String {
        let count = if self.count == 1 { String::new() } else { format!("-{}", self.count) };
        format!("{prefix}{:x}-{:016x}{count}", self.length, self.hash)
    }
}

/// Reads from `offset` on until the buffer is full or the file ends; returns how many bytes.
pub(super) fn read_fully_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::Path;

    fn name(path: &Path, known: &[&str]) -> String {
        let file = File::open(path).unwrap();
        let known = known.iter().map(|name| (name.to_string(), Ranges::default())).collect();
        ledger_name(&file, &ledger_prefix(&file).unwrap(), &known).unwrap()
    }

    fn append(path: &Path, text: &[u8]) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text).unwrap();
    }

    #[test]
    fn rename_and_append_keep_the_name_from_the_first_byte_on() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        append(&a, b"{");
        let first = name(&a, &[]);
        append(&a, &[b'x'; 9000]);
        std::fs::rename(&a, &b).unwrap();
        assert_eq!(name(&b, &["file/0-0-1-0", &first]), first);
        assert_ne!(name(&b, &[]), first, "unknown to the ledger it gets the longer fingerprint");
    }

    /// A log that always begins with the same line was read while it was short, grew, and was emptied by `copytruncate`.
    /// Its first bytes were all there again: what it held then was taken for what had been read before, and lost.
    #[test]
    fn a_file_that_is_emptied_and_begins_alike_has_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let a = dir.path().join("a");
        append(&a, b"{\"log\":\"begins\"}\n");
        let first = name(&a, &[]);
        let name = |known: &[(&str, u64)]| {
            let file = File::open(&a).unwrap();
            let known =
                known.iter().map(|(name, last)| (name.to_string(), [(0, *last)].into_iter().collect())).collect();
            ledger_name(&file, &ledger_prefix(&file).unwrap(), &known).unwrap()
        };
        assert_eq!(name(&[(&first, 16)]), first);
        let second = name(&[(&first, 9000)]);
        assert_eq!(second, format!("{first}-2"), "shorter than what is committed");
        append(&a, &[b'x'; 9000]);
        assert_eq!(name(&[(&first, 9000), (&second, 16)]), second, "the second goes on, also when it is longer again");
        let third = name(&[(&first, 9000), (&second, 9999)]);
        assert!(third != second && third != first, "nor does a third fall back to the first: {third}");
    }

    #[test]
    fn a_copy_a_successor_and_a_refilled_file_have_other_names() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        append(&a, b"same");
        let first = name(&a, &[]);
        std::fs::copy(&a, &b).unwrap();
        assert_ne!(name(&b, &[&first]), first, "a copy");
        std::fs::write(&a, b"new content").unwrap();
        assert_ne!(name(&a, &[&first]), first, "emptied and filled anew");
        std::fs::write(&a, b"sa").unwrap();
        assert_ne!(name(&a, &[&first]), first, "shorter than what was seen");
    }
}

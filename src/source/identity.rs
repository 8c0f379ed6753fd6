//! What makes a file the same file, as the ledger sees it.
//!
//! A name in the ledger is made of the inode, its time of birth, and the length and hash of the file's first bytes (up
//! to 4096, as many as there were when the file was first seen). Inode and birth survive a rename and an append, and no
//! two files of one file system share them: not even a copy, and not a new file in a deleted one's inode. The first
//! bytes tell a file that was emptied and filled anew (logrotate's `copytruncate`), or an inode that was reused on a
//! file system that records no births.
//!
//! Turned down: content alone (two sensors may well write the same short log, and both must land; and the first bytes
//! of a file that is still short change with every append), the path (rotation renames files), the device number (it
//! changes with reboots; it stands in only where there is no time of birth). The price: a copy, a compressed copy, and
//! a move to another file system count as new files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use xxhash_rust::xxh3::xxh3_64;

use crate::ranges::Ranges;

/// Most bytes at the start of a file that tell it from another.
const HEAD: u64 = 4096;

/// A file's part of its name that can be told without knowing the ledger: `file/INODE-BIRTH-`.
///
/// # Errors
/// When the operating system does not describe the file.
pub fn ledger_prefix(file: &File) -> io::Result<String> {
    let metadata = file.metadata()?;
    let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or_else(|| format!("dev{:x}", metadata.dev()), |born| format!("{:x}", born.as_nanos()));
    Ok(format!("file/{:x}-{born}-", metadata.ino()))
}

/// Returns the file's name in the ledger: one of `known` (what the ledger has for [`ledger_prefix`]) whose first bytes
/// are still there, or a new one.
///
/// # Errors
/// When the file cannot be read.
pub fn ledger_name(file: &File, prefix: &str, known: &BTreeMap<String, Ranges>) -> io::Result<String> {
    let mut head = vec![0; usize::try_from(file.metadata()?.len().min(HEAD)).unwrap_or_default()];
    let length = read_at_most(file, &mut head)?;
    head.truncate(length);
    let name = |length: usize| format!("{prefix}{length:x}-{:016x}", xxh3_64(&head[..length]));
    let same = known.keys().find(|known| {
        let length = known.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
        let length = length.and_then(|length| usize::from_str_radix(length, 16).ok());
        length.is_some_and(|length| length <= head.len() && **known == name(length))
    });
    Ok(same.cloned().unwrap_or_else(|| name(head.len())))
}

fn read_at_most(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
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

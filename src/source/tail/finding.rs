//! Looks which files there are: expands the patterns, and tells files apart by inode and birth, not by path.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::super::identity;

const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What was seen of a file; when it changes there is something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) length: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl Sight {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }
    }
}

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Finding {
    /// Every regular file, by the beginning of its name in the ledger: one that has several paths is there once.
    pub(super) files: BTreeMap<String, (PathBuf, Sight)>,
    /// Where files may come and change.
    pub(super) directories: HashSet<PathBuf>,
    /// What could not be looked at, or is not there yet: for people.
    pub(super) troubles: Vec<String>,
}

/// Looks at all files that the patterns match.
pub(super) fn find(patterns: &[String]) -> Finding {
    let mut finding = Finding::default();
    for pattern in patterns {
        finding.directories.insert(literal_directory(pattern));
        // `TailSettings::validate` has read the pattern.
        let Ok(paths) = glob::glob_with(pattern, MATCHING) else { continue };
        let mut is_matched = false;
        for path in paths {
            match path {
                Ok(path) => is_matched |= finding.add(path),
                Err(fault) => {
                    finding.troubles.push(trouble(fault.path(), fault.error()));
                    is_matched = true;
                }
            }
        }
        if !is_matched {
            // What is in a directory that may not be entered looks to `glob` like what is not there.
            finding.troubles.push(match fs::metadata(pattern) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => trouble(Path::new(pattern), &error),
                _ => format!("{} is not there yet", pattern.escape_debug()),
            });
        }
    }
    finding
}

impl Finding {
    /// Returns whether it is a file.
    fn add(&mut self, path: PathBuf) -> bool {
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // It was renamed or deleted just now: there will be another look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Err(error) => {
                self.troubles.push(trouble(&path, &error));
                return true;
            }
        };
        if !metadata.is_file() {
            return false;
        }
        if let Some(directory) = path.parent() {
            self.directories.insert(directory_or_here(directory));
        }
        self.files.entry(identity::prefix_of(&metadata)).or_insert((path, Sight::of(&metadata)));
        true
    }
}

/// What is wrong with a file, and what to do, for people.
pub(super) fn trouble(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "; let the user of this program read it, and enter the directories above it",
        _ => "",
    };
    format!("{}: {error}{advice}", shown(path))
}

/// A path for people, harmless on a terminal.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Returns the directory in which a pattern's first file may appear.
fn literal_directory(pattern: &str) -> PathBuf {
    let literal = &pattern[..pattern.find(['*', '?', '[']).unwrap_or(pattern.len())];
    let directory = literal.rfind('/').map_or("", |at| &literal[..=at]);
    directory_or_here(Path::new(directory))
}

fn directory_or_here(directory: &Path) -> PathBuf {
    if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(finding: &Finding) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = finding.files.values().map(|(path, _)| name(path)).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_of_several_paths_is_one_file_and_what_is_no_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["a.log", "b.log", ".hidden.log"] {
            fs::write(path(name), "x").unwrap();
        }
        fs::hard_link(path("a.log"), path("c.log")).unwrap();
        std::os::unix::fs::symlink(path("b.log"), path("d.log")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("e.log")).unwrap();
        fs::create_dir(path("f.log")).unwrap();
        let finding =
            find(&[path("*.log").to_string_lossy().into_owned(), path("a.log").to_string_lossy().into_owned()]);
        assert_eq!(names(&finding), ["a.log", "b.log"]);
        assert!(finding.troubles.is_empty() && finding.directories.contains(dir.path()), "{finding:?}");
    }

    #[test]
    fn what_is_not_there_is_said_and_where_it_may_come_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let pattern = format!("{}/none/*/x?.log", dir.path().display());
        let finding = find(std::slice::from_ref(&pattern));
        assert_eq!(finding.troubles, [format!("{pattern} is not there yet")]);
        assert!(finding.directories.contains(&dir.path().join("none")));
        assert_eq!(literal_directory("x.log"), Path::new("."));
        assert_eq!(literal_directory("/x[0-9].log"), Path::new("/"));
    }
}

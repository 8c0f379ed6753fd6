//! What a file's name tells of rotation. Pure.
//!
//! Rotation gives names that add digits or `.gz` to the log's: `x.log.1`, `x.log.2.gz`, `x.log-20261127`,
//! `x-20261127.log`, `conn.00:00:00-01:00:00.log.gz`. What is left without them is the same for all files of one log. It
//! is used only to choose which files may be copies of which; the bytes decide.

/// Returns a file's name without what rotation adds: groups of digits, each with the separator before it, and `.gz`.
pub(super) fn log_of(name: &str) -> String {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let mut log = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_separator = |c: char| matches!(c, '.' | '-' | '_' | ':');
        let digits =
            rest[first.len_utf8()..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - first.len_utf8());
        let is_group = is_separator(first) && digits > 0 && rest[1 + digits..].chars().next().is_none_or(is_separator);
        if is_group {
            rest = &rest[1 + digits..];
        } else {
            log.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    log
}

/// Returns whether rotation has given the file its name.
pub(super) fn is_rotated(name: &str) -> bool {
    log_of(name) != name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_log_have_one_name_without_what_rotation_adds() {
        for name in ["x.log", "x.log.1", "x.log.12.gz", "x.log-20261127", "x.log-2026-11-27.gz", "x-20261127.log.gz"] {
            assert_eq!(log_of(name), "x.log", "{name}");
            assert_eq!(is_rotated(name), name != "x.log", "{name}");
        }
        assert_eq!(log_of("conn.00:00:00-01:00:00.log.gz"), "conn.log");
        for name in ["eth0.log", "9.log", "x.log-1st", "é1", "", ".", "a.b", "x.log.old"] {
            assert_eq!(log_of(name), name);
        }
    }
}

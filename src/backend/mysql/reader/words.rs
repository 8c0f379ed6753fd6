//! What MySQL and MariaDB say differently.

use crate::backend::sql::query::Dialect;
use crate::backend::sql::query::statement::Sql;
use crate::repository::FieldPath;

pub(crate) struct MysqlWords;

impl Dialect for MysqlWords {
    /// Our columns' collation takes `a` and `a ` for equal, but of texts that are equal for it and equally long every byte
    /// is the same. So the index serves.
    fn equal(sql: Sql, column: &'static str, text: &str) -> Sql {
        let sql = sql.own(column).own(" = ").text(text).own(" AND LENGTH(").own(column);
        sql.own(") = ").number(text.len() as i64)
    }

    fn address(sql: Sql, column: &'static str) -> Sql {
        sql.own("INET6_ATON(").own(column).own(")")
    }

    /// `LOWER` of a text changes all letters, of bytes none. Thai has no small letters: as `tis620` the bytes of UTF-8 keep
    /// all that is beyond ASCII (tested for each byte), and a text in UTF-8 stands in another where its bytes do.
    fn contains(sql: Sql, column: &'static str, small: &str) -> Sql {
        let sql = sql.own("LOCATE(").bytes(small).own(", CAST(LOWER(CONVERT(CAST(");
        sql.own(column).own(" AS BINARY) USING tis620)) AS BINARY)) > 0")
    }

    /// A text without escapes stands in the JSON as it is: most rows need not be read as JSON. About rows that
    /// [`may_be_wrong`] leaves the server is not asked: `doubtful` knows of them.
    fn field(sql: Sql, path: &FieldPath, text: &str) -> Sql {
        let at = json_path(path);
        let sql = may_have(has_no_escaped_key(sql.own("("), path).own(" AND "), text)
            .own(" AND CASE JSON_TYPE(JSON_EXTRACT(fields, ")
            .text(&at);
        let sql = sql.own(")) WHEN 'STRING' THEN CAST(JSON_UNQUOTE(JSON_EXTRACT(fields, ").text(&at);
        let sql = sql.own(")) AS BINARY) = ").bytes(text).own(" WHEN 'OBJECT' THEN FALSE WHEN 'ARRAY' THEN FALSE");
        let sql = sql.own(" ELSE CAST(JSON_EXTRACT(fields, ").text(&at).own(") AS BINARY) = ").bytes(text);
        sql.own(" END)")
    }

    fn group(column: &'static str) -> String {
        format!("{column}, LENGTH({column})")
    }

    const RUNS: Option<&'static str> = None;
    const TEXT: &'static str = "CHAR";
    const DIVIDED_BY: &'static str = "DIV";
}

/// Adds a condition that every row satisfies whose `fields` have the text somewhere as a value.
pub(super) fn may_have(sql: Sql, text: &str) -> Sql {
    sql.own("(LOCATE(").text(text).own(", fields) > 0 OR LOCATE(").text("\\").own(", fields) > 0)")
}

/// Escapes that a key of a path may be written with: it has no character that must be.
fn escapes(path: &FieldPath) -> &'static [&'static str] {
    if path.keys().iter().any(|key| key.contains('/')) { &["\\u", "\\/"] } else { &["\\u"] }
}

fn has_no_escaped_key(sql: Sql, path: &FieldPath) -> Sql {
    let none = |sql: Sql, escape: &&str| sql.own(" AND LOCATE(").text(escape).own(", fields) = 0");
    escapes(path).iter().fold(sql.own("fields IS NOT NULL"), none)
}

/// Adds a condition that every row satisfies about whose `fields` a server's JSON functions may be wrong.
pub(super) fn may_be_wrong(sql: Sql, path: &FieldPath) -> Sql {
    let some = |sql: Sql, escape: &&str| sql.own(" OR LOCATE(").text(escape).own(", fields) > 0");
    escapes(path).iter().fold(sql.own("(JSON_VALID(fields) = 0"), some).own(")")
}

/// No key has a quotation mark or a backslash.
fn json_path(path: &FieldPath) -> String {
    path.keys().iter().fold("$".to_owned(), |text, key| text + ".\"" + key + "\"")
}

//! What SQLite says differently, and three functions that it does not have: ours, in Rust, on reading connections only.
//!
//! So a place in JSON is read by the code that says what it means (`repository::FieldPath`). Turned down: SQLite's own
//! `json_extract`, which takes JSON5, and has its own way to write numbers.

use std::net::IpAddr;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteAggregateFunction;

use crate::backend::sql::query::Dialect;
use crate::backend::sql::query::quarters::Runs;
use crate::backend::sql::query::statement::Sql;
use crate::repository::FieldPath;

/// Stands between keys in a bound path: a key has no control character.
const BETWEEN: char = '\u{1f}';

#[diesel::declare_sql_function]
extern "SQL" {
    fn forebay_address(text: Nullable<Text>) -> Nullable<diesel::sql_types::Binary>;
    fn forebay_field(fields: Nullable<Text>, path: Text, text: Text) -> diesel::sql_types::Bool;
    #[aggregate]
    fn forebay_runs(ts: BigInt) -> Text;
}

impl SqliteAggregateFunction<i64> for Runs {
    type Output = String;

    fn step(&mut self, ts: i64) {
        self.add(ts);
    }

    fn finalize(runs: Option<Self>) -> String {
        runs.unwrap_or_default().to_string()
    }
}

/// Makes the functions known to a connection.
pub(super) fn register(connection: &mut SqliteConnection) -> QueryResult<()> {
    forebay_runs_utils::register_impl::<Runs, _>(connection)?;
    forebay_address_utils::register_impl(connection, |text: Option<String>| {
        text.and_then(|text| text.parse::<IpAddr>().ok()).map(|address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        })
    })?;
    forebay_field_utils::register_impl(connection, |fields: Option<String>, path: String, text: String| {
        let keys: Vec<&str> = path.split(BETWEEN).collect();
        fields.is_some_and(|fields| FieldPath::finds_at(&keys, &fields, &text))
    })
}

pub(crate) struct SqliteWords;

impl Dialect for SqliteWords {
    fn equal(sql: Sql, column: &'static str, text: &str) -> Sql {
        sql.own(column).own(" = ").text(text)
    }

    fn address(sql: Sql, column: &'static str) -> Sql {
        sql.own("forebay_address(").own(column).own(")")
    }

    /// Not LIKE, which takes a NUL for the end. `lower` changes letters of ASCII only.
    fn contains(sql: Sql, column: &'static str, small: &str) -> Sql {
        sql.own("instr(lower(").own(column).own("), ").text(small).own(") > 0")
    }

    fn field(sql: Sql, path: &FieldPath, text: &str) -> Sql {
        let keys = path.keys().join(&BETWEEN.to_string());
        sql.own("forebay_field(fields, ").text(&keys).own(", ").text(text).own(")")
    }

    fn group(column: &'static str) -> String {
        column.into()
    }

    const RUNS: Option<&'static str> = Some("forebay_runs(ts)");
    const TEXT: &'static str = "TEXT";
    const DIVIDED_BY: &'static str = "/";
}

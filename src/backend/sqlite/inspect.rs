//! Describes and checks a file, without writing to it: beside its writer, or without one.

use std::path::Path;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::lock::holder;
use super::open::{self, unusable};
use super::segments::{Segment, Segments, State};
use crate::backend::sql::audit::Audit;
use crate::backend::sql::schema::ingest_ledger::dsl;
use crate::chunk::RowKind;
use crate::error::{Error, ErrorKind};
use crate::maintenance::{DatabaseStatus, Finding, LedgerStatus, TableStatus};
use crate::timestamp::Timestamp;

/// A log of this length is worth a word.
const LONG_LOG: u64 = 256 << 20;

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    number: Option<i64>,
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[derive(QueryableByName)]
struct LedgerCounts {
    #[diesel(sql_type = BigInt)]
    sources: i64,
    #[diesel(sql_type = BigInt)]
    ranges: i64,
    #[diesel(sql_type = BigInt)]
    ephemeral: i64,
}

fn number(connection: &mut SqliteConnection, sql: &str) -> QueryResult<Option<i64>> {
    let query = diesel::sql_query(format!("SELECT ({sql}) AS number"));
    query.get_result::<Number>(connection).map(|row| row.number)
}

/// Describes the file.
pub(crate) fn status(path: &Path) -> Result<DatabaseStatus, Error> {
    let mut connection = open::to_read(path)?;
    let failed = |error| unusable(path, error);
    let version = open::pragma_number(&mut connection, "user_version").map_err(failed)?;
    let server: Line =
        diesel::sql_query("SELECT sqlite_version() AS line").get_result(&mut connection).map_err(failed)?;
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    let mut status = DatabaseStatus {
        backend: "sqlite",
        server: format!("SQLite {}", server.line),
        schema: (version > 0).then_some(version),
        known_schema: open::SCHEMA_VERSION,
        tables: Vec::new(),
        ledger: LedgerStatus::default(),
        rejects: 0,
        newest: [None; 2],
        log_bytes: Some(log),
        replica_seconds: None,
        locks: Some(writer(path).into_iter().collect()),
        warnings: Vec::new(),
    };
    if log > LONG_LOG {
        let why = "the log is long: a reader keeps its transaction open, or the writer was killed; end the reader, or \
                   open the database once more";
        status.warnings.push(why.into());
    }
    if version < open::SCHEMA_VERSION {
        status.warnings.push("the tables are not up to date; `forebay db init` makes them so".into());
        return Ok(status);
    }
    // One transaction: a writer may be at work.
    connection.transaction(|connection| describe(connection, &mut status)).map_err(failed)?;
    Ok(status)
}

fn describe(connection: &mut SqliteConnection, status: &mut DatabaseStatus) -> QueryResult<()> {
    let segments = Segments::read(connection)?;
    for kind in RowKind::ALL {
        let of_kind = || segments.all().filter(move |segment| segment.kind == kind && segment.is_visible());
        status.tables.push(TableStatus {
            name: kind.table().into(),
            rows: of_kind().map(|segment| segment.rows as u64).sum(),
            is_counted: true,
            bytes: of_kind().map(|segment| segments.bytes_of(segment) as u64).sum(),
        });
        let newest = of_kind().filter_map(|segment| segment.last_ts).max();
        status.newest[kind.index()] = newest.map(Timestamp::from_nanos);
    }
    let ledger: LedgerCounts = diesel::sql_query(
        "SELECT count(DISTINCT CASE WHEN source NOT GLOB 'memory/*' THEN source END) AS sources, \
         count(CASE WHEN source NOT GLOB 'memory/*' THEN 1 END) AS ranges, \
         count(CASE WHEN source GLOB 'memory/*' THEN 1 END) AS ephemeral FROM ingest_ledger",
    )
    .get_result(connection)?;
    let [sources, ranges, ephemeral] = [ledger.sources, ledger.ranges, ledger.ephemeral].map(|count| count as u64);
    status.ledger = LedgerStatus { sources, ranges, ephemeral };
    status.rejects = number(connection, "SELECT count(*) FROM ingest_rejects")?.unwrap_or(0) as u64;
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn writer(path: &Path) -> Option<String> {
    // The lock is beside the file itself, not beside a link to it.
    let path = path.canonicalize().ok()?;
    holder(&path)
        .map(|pid| if pid == 0 { "a process writes to it".into() } else { format!("process {pid} writes to it") })
}

/// Checks the whole file.
pub(crate) fn check(path: &Path) -> Result<Vec<Finding>, Error> {
    let mut connection = open::to_read(path)?;
    let failed = |error| unusable(path, error);
    let version = open::pragma_number(&mut connection, "user_version").map_err(failed)?;
    let checked = connection.transaction(|connection| {
        let pages: Vec<Line> =
            diesel::sql_query("SELECT integrity_check AS line FROM pragma_integrity_check").load(connection)?;
        let pages = pages.into_iter().filter(|page| page.line != "ok");
        let mut findings: Vec<_> = pages.map(|page| Finding::new("pages", page.line)).collect();
        if version == open::SCHEMA_VERSION && findings.is_empty() {
            findings.extend(tables(connection)?);
        }
        QueryResult::Ok(findings)
    });
    let mut findings = match checked.map_err(failed) {
        Ok(findings) => findings,
        // Damaged so that it cannot even be read to its end.
        Err(error) if error.kind() == ErrorKind::NotADatabase => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return Ok(vec![Finding::new("pages", format!("{error}{cause}"))]);
        }
        Err(error) => return Err(error),
    };
    if version < open::SCHEMA_VERSION {
        findings.push(Finding::new("schema", "the tables are not up to date; `forebay db init` makes them so"));
    }
    Ok(findings)
}

/// The segments against their catalogue, and the ledger against the ids that were given.
fn tables(connection: &mut SqliteConnection) -> QueryResult<Vec<Finding>> {
    let segments = Segments::read(connection)?;
    let mut findings = Vec::new();
    for segment in segments.all().filter(|segment| segment.state == State::Closed) {
        findings.extend(held(connection, segment)?);
    }
    for kind in RowKind::ALL {
        let seen: i64 = segments.all().filter(|s| s.kind == kind && s.is_visible()).map(|s| s.rows).sum();
        let shown = number(connection, &format!("SELECT count(*) FROM {}", kind.table()))?.unwrap_or(0);
        if findings.is_empty() && seen != shown {
            findings.push(Finding::new(kind.table(), format!("shows {shown} rows, its segments have {seen}")));
        }
    }
    let mut ids = number(connection, "SELECT max(id) FROM ingest_rejects")?.unwrap_or(0);
    ids += RowKind::ALL.into_iter().map(|kind| segments.next_id(kind) - 1).sum::<i64>();
    let mut audit = Audit::default();
    let ledger = dsl::ingest_ledger.select((dsl::source, dsl::first, dsl::last, dsl::rows));
    for row in ledger.order((dsl::source, dsl::first)).load_iter::<(String, i64, i64, i64), _>(connection)? {
        let (source, first, last, rows) = row?;
        audit.push(source, first, last, rows);
    }
    findings.extend(audit.end(ids));
    Ok(findings)
}

fn held(connection: &mut SqliteConnection, segment: &Segment) -> QueryResult<Option<Finding>> {
    let table = segment.table();
    let there = format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '{table}'");
    if number(connection, &there)? == Some(0) {
        let detail = format!("is not there; it had {} rows", segment.rows);
        return Ok(Some(Finding::new(table, detail)));
    }
    let counted = number(connection, &format!("SELECT count(*) FROM {table}"))?.unwrap_or(0);
    let detail = || format!("has {counted} rows, and had {} when it was closed", segment.rows);
    Ok((counted != segment.rows).then(|| Finding::new(table, detail())))
}

//! Describes and checks a database, beside its writers. What this user may not see is left out, not guessed.

use std::time::Duration;

use mysql_async::Row;

use super::error::Fault;
use super::schema::{self, OUR_TABLES};
use super::session::{Session, refused};
use crate::backend::sql::audit::Audit;
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::Error;
use crate::maintenance::{DatabaseStatus, Finding, LedgerStatus, TableStatus};
use crate::timestamp::Timestamp;

/// Longest wait for a check of all tables.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Tables of which the server thinks so are counted; of larger ones its estimate is told.
const COUNTED_ROWS: u64 = 1_000_000;
/// A redo log below this decides how fast rows go in: with MariaDB's default of 96 MiB and five indexes, more connections
/// make it slower (76, 67, 55 thousand rows/s over 4, 8, 16), with 2 GiB they do not.
const SMALL_LOG: u64 = 1 << 30;
/// Ledger rows that are read at once.
const PAGE: usize = 10_000;

/// Describes the database.
pub(crate) fn status(url: &MysqlUrl, config: &MysqlConfig) -> Result<DatabaseStatus, Error> {
    let mut session = Session::open(url, config, config.statement_timeout)?;
    describe(&mut session).map_err(|fault| refused(url, fault))
}

fn describe(session: &mut Session) -> Result<DatabaseStatus, Fault> {
    let server: Vec<String> = session.rows("SELECT @@version")?;
    let mut status = DatabaseStatus {
        backend: "mysql",
        server: server.into_iter().next().unwrap_or_default(),
        schema: version(session)?,
        known_schema: schema::KNOWN,
        tables: Vec::new(),
        ledger: LedgerStatus::default(),
        rejects: 0,
        newest: [None; 2],
        log_bytes: None,
        replica_seconds: replica_seconds(session),
        locks: locks(session),
        warnings: Vec::new(),
    };
    let names = "('innodb_log_file_size', 'innodb_log_files_in_group', 'innodb_redo_log_capacity')";
    let variables: Vec<(String, String)> =
        session.rows(&format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN {names}"))?;
    status.warnings.extend(redo_bytes(&variables).filter(|bytes| *bytes < SMALL_LOG).map(|bytes| {
        let mib = bytes >> 20;
        format!("innodb_log_file_size is {mib} MiB: inserts will wait for it, and more connections make that worse; set 2 GiB")
    }));
    if status.schema != Some(schema::KNOWN) {
        status.warnings.push("the tables are not up to date; `forebay db init` makes them so".into());
    }
    if status.schema.is_none() {
        return Ok(status);
    }
    let sizes: Vec<(String, u64, u64)> = session.rows(&format!(
        "SELECT table_name, COALESCE(table_rows, 0), COALESCE(data_length + index_length, 0) \
         FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({OUR_TABLES}) ORDER BY 1"
    ))?;
    for (name, estimate, bytes) in sizes {
        let is_counted = estimate < COUNTED_ROWS;
        let rows =
            if is_counted { session.number(&format!("SELECT count(*) FROM `{name}`"))? as u64 } else { estimate };
        match name.as_str() {
            "ingest_ledger" | "state" | "deployments" | "deployment_history" | "users" | "revoked_tokens" => {}
            "ingest_rejects" => status.rejects = rows,
            _ => status.tables.push(TableStatus { name, rows, is_counted, bytes }),
        }
    }
    for (place, table) in ["events", "captures"].into_iter().enumerate() {
        let newest: Vec<Option<i64>> = session.rows(&format!("SELECT MAX(ts) FROM {table}"))?;
        status.newest[place] = newest.first().copied().flatten().map(Timestamp::from_nanos);
    }
    let memory = "source >= 'memory/' AND source < 'memory0'";
    let ledger: Vec<(u64, u64, u64)> = session.rows(&format!(
        "SELECT COUNT(DISTINCT IF({memory}, NULL, source)), COUNT(IF({memory}, NULL, 1)), COUNT(IF({memory}, 1, NULL)) \
         FROM ingest_ledger"
    ))?;
    if let Some((sources, ranges, ephemeral)) = ledger.first().copied() {
        status.ledger = LedgerStatus { sources, ranges, ephemeral };
    }
    Ok(status)
}

/// Counts the rows, however long that takes.
pub(crate) fn count(url: &MysqlUrl, config: &MysqlConfig) -> Result<u64, Error> {
    let mut session = Session::open(url, config, PATIENCE)?;
    let mut counted = || match version(&mut session)? {
        Some(_) => session.number("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM captures)"),
        None => Ok(0),
    };
    counted().map(|rows| rows as u64).map_err(|fault| refused(url, fault))
}

fn version(session: &mut Session) -> Result<Option<i64>, Fault> {
    let there = "SELECT count(*) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_name = 'forebay_schema'";
    if session.number(there)? == 0 {
        return Ok(None);
    }
    session.number("SELECT MAX(version) FROM forebay_schema").map(Some)
}

/// `SHOW REPLICA STATUS` by its new and its old name; whether we may ask depends on our rights.
fn replica_seconds(session: &mut Session) -> Option<u64> {
    let ask = |words: &str, session: &mut Session| session.rows::<Row>(words).ok();
    let rows = ask("SHOW REPLICA STATUS", session).or_else(|| ask("SHOW SLAVE STATUS", session))?;
    let row = rows.into_iter().next()?;
    ["Seconds_Behind_Source", "Seconds_Behind_Master"].iter().find_map(|name| row.get_opt::<u64, _>(*name)?.ok())
}

fn locks(session: &mut Session) -> Option<Vec<String>> {
    let query = "SELECT CAST(trx_mysql_thread_id AS CHAR), CAST(trx_state AS CHAR), \
                 CAST(TIMESTAMPDIFF(SECOND, trx_started, NOW()) AS CHAR), CAST(trx_rows_locked AS CHAR) \
                 FROM information_schema.innodb_trx WHERE trx_rows_locked > 0 ORDER BY trx_started LIMIT 20";
    let rows: Vec<(String, String, String, String)> = session.rows(query).ok()?;
    let text =
        |(thread, state, seconds, rows)| format!("connection {thread} ({state}) locks {rows} rows, for {seconds} s");
    Some(rows.into_iter().map(text).collect())
}

/// The size of the redo log: MariaDB's one file, MySQL's several, or since 8.0.30 its capacity.
fn redo_bytes(variables: &[(String, String)]) -> Option<u64> {
    let value = |name: &str| variables.iter().find(|(known, _)| known == name)?.1.parse::<u64>().ok();
    value("innodb_redo_log_capacity")
        .or_else(|| Some(value("innodb_log_file_size")? * value("innodb_log_files_in_group").unwrap_or(1)))
}

/// Checks every table.
pub(crate) fn check(url: &MysqlUrl, config: &MysqlConfig) -> Result<Vec<Finding>, Error> {
    let mut session = Session::open(url, config, PATIENCE)?;
    examine(&mut session).map_err(|fault| refused(url, fault))
}

fn examine(session: &mut Session) -> Result<Vec<Finding>, Fault> {
    if version(session)? != Some(schema::KNOWN) {
        let why = "the tables are not there or not up to date; `forebay db init` makes them so";
        return Ok(vec![Finding::new("schema", why)]);
    }
    let there: Vec<String> = session.rows(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ({OUR_TABLES})"
    ))?;
    let ours = OUR_TABLES.split(',').map(|name| name.trim_matches('\''));
    let missing: Vec<_> = ours.filter(|name| !there.iter().any(|known| known == name)).collect();
    if !missing.is_empty() {
        return Ok(missing.into_iter().map(|name| Finding::new(name, "is not there")).collect());
    }
    let tables = OUR_TABLES.replace('\'', "`");
    let told: Vec<(String, String, String, String)> = session.rows(&format!("CHECK TABLE {tables}"))?;
    let is_bad = |(_, _, kind, text): &(String, String, String, String)| match kind.as_str() {
        "status" => text != "OK",
        "note" | "info" => false,
        _ => true,
    };
    let mut findings: Vec<_> = told
        .into_iter()
        .filter(is_bad)
        .map(|(table, _, kind, text)| Finding::new(table, format!("{kind}: {text}")))
        .collect();
    // One view of all tables, whatever is written meanwhile.
    session.rows::<Row>("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
    session.rows::<Row>("START TRANSACTION WITH CONSISTENT SNAPSHOT")?;
    let mut ids = 0;
    for table in ["events", "captures", "ingest_rejects"] {
        ids += session.number(&format!("SELECT MAX(id) FROM {table}"))?;
    }
    let mut audit = Audit::default();
    let mut after: Option<(Vec<u8>, i64)> = None;
    loop {
        let from = after.as_ref().map_or_else(String::new, |(source, first)| {
            format!("WHERE (source = {0} AND first > {first}) OR source > {0}", hex(source))
        });
        let rows: Vec<(Vec<u8>, i64, i64, i64)> = session.rows(&format!(
            "SELECT source, first, last, `rows` FROM ingest_ledger {from} ORDER BY source, first LIMIT {PAGE}"
        ))?;
        let is_end = rows.len() < PAGE;
        after = rows.last().map(|(source, first, ..)| (source.clone(), *first));
        for (source, first, last, rows) in rows {
            audit.push(String::from_utf8_lossy(&source).into_owned(), first, last, rows);
        }
        if is_end {
            break;
        }
    }
    findings.extend(audit.end(ids));
    Ok(findings)
}

/// Bytes as a literal that no content can break out of.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x'".to_owned(), |text, byte| text + &format!("{byte:02x}")) + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_redo_log_is_found_under_each_of_its_names() {
        let variables = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let mariadb = [("innodb_log_file_size", "100663296")];
        let mysql57 = [("innodb_log_file_size", "50331648"), ("innodb_log_files_in_group", "2")];
        let mysql8 = [("innodb_log_file_size", "50331648"), ("innodb_redo_log_capacity", "2147483648")];
        assert_eq!(redo_bytes(&variables(&mariadb)), Some(96 << 20));
        assert_eq!(redo_bytes(&variables(&mysql57)), Some(96 << 20));
        assert_eq!(redo_bytes(&variables(&mysql8)), Some(2 << 30));
        assert_eq!(redo_bytes(&[]), None);
    }

    #[test]
    fn a_name_from_outside_stays_a_literal() {
        assert_eq!(hex(b"a' OR 1"), "x'6127204f522031'");
    }
}

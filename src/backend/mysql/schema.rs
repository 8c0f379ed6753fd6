//! The tables of a database: made, once, by whichever process comes first, and checked by every link that is opened.
//!
//! A link whose server has our schema version costs one query here. Otherwise the migrations run under a lock of the
//! server (`GET_LOCK`), so that any number of processes may start at once; each statement may be repeated, because MySQL
//! commits every one by itself and a process may be killed in between. `forebay_schema` is made first: tables of our names
//! without it are another program's, and are left alone. Turned down: diesel_migrations, which notes a migration only
//! after all its statements and cannot go on behind the one that it was killed at.

use super::error::{Fault, Meaning};
use super::link::Link;
use crate::database_url::MysqlUrl;
use crate::error::ErrorKind;
use crate::timestamp::Timestamp;

/// The statements that lead from each version to the next; the first makes version 1.
const MIGRATIONS: [&str; 2] = [
    include_str!("migrations/2026-11-21-000001_rows/up.sql"),
    include_str!("migrations/2026-11-27-000001_state/up.sql"),
];
/// The version that they lead to.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;
pub(super) const OUR_TABLES: &str = "'events','captures','ingest_ledger','ingest_rejects','state','deployments',\
                                     'deployment_history','users','revoked_tokens'";
/// Tables whose names another program in the same database may well have, with their columns: what is there before we have
/// made it must be from a migration of ours that was killed.
const COMMON: &str = "('state','key,value,version,updated'),\
                      ('deployments','name,kind,host,services,config,address,hash,state,last_error,last_seen,created,updated'),\
                      ('deployment_history','id,deployment,at,from_state,to_state,reason'),\
                      ('users','id,name,role,password_hash,must_change,disabled,tokens_valid_from,created,updated'),\
                      ('revoked_tokens','token,user_id,at,expires')";
/// No server-wide name: two databases on one server do not wait for each other. A lock's name has at most 64 characters.
pub(super) const LOCK: &str = "CONCAT('forebay-', MD5(DATABASE()))";

/// Brings the tables up to date if they are not.
///
/// # Errors
/// With [`Meaning::Refused`] when they cannot be ours, are newer than we, or the server lets us not make them.
pub(super) async fn ensure(link: &mut Link, url: &MysqlUrl) -> Result<(), Fault> {
    let known = KNOWN;
    if version(link).await? == Some(known) {
        return Ok(());
    }
    let locked = link.number(&format!("SELECT CAST(COALESCE(GET_LOCK({LOCK}, 5), 0) AS SIGNED) AS number")).await?;
    if locked != Some(1) {
        return Err(Fault::new(Meaning::Passing("locked"), "another process is making the tables"));
    }
    let made = migrate(link, url, known).await;
    // On an error the link is closed, and the lock with it.
    made?;
    link.number(&format!("SELECT CAST(COALESCE(RELEASE_LOCK({LOCK}), 0) AS SIGNED) AS number")).await.map(drop)
}

/// Returns the version of the tables; `None` when there are none, 0 when making them was begun.
async fn version(link: &mut Link) -> Result<Option<i64>, Fault> {
    let is_there = "SELECT count(*) AS number FROM information_schema.tables \
                    WHERE table_schema = DATABASE() AND table_name = 'forebay_schema'";
    if link.number(is_there).await? == Some(0) {
        return Ok(None);
    }
    link.number("SELECT COALESCE(MAX(version), 0) AS number FROM forebay_schema").await
}

async fn migrate(link: &mut Link, url: &MysqlUrl, known: i64) -> Result<(), Fault> {
    let database = &url.database;
    let found = version(link).await?;
    let foreign = format!(
        "SELECT count(*) AS number FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name IN ({OUR_TABLES},'events_view','captures_view')"
    );
    if found.is_none() && link.number(&foreign).await? != Some(0) {
        let text = format!(
            "the database `{database}` has tables of our names that are another program's; use another database"
        );
        return Err(Fault::new(Meaning::Refused(ErrorKind::NotADatabase, ""), text));
    }
    if found > Some(known) {
        let found = found.unwrap_or_default();
        let text = format!(
            "the database `{database}` has schema version {found}, this forebay knows {known}; use a newer one"
        );
        return Err(Fault::new(Meaning::Refused(ErrorKind::NewerSchema, ""), text));
    }
    let others = format!(
        "SELECT count(*) AS number FROM (SELECT table_name AS t, GROUP_CONCAT(column_name ORDER BY ordinal_position) AS c \
         FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name IN ({OUR_TABLES}) \
         AND table_name NOT IN ('events', 'captures', 'ingest_ledger', 'ingest_rejects') GROUP BY table_name) AS found \
         WHERE (t, c) NOT IN ({COMMON})"
    );
    if found < Some(2) && link.number(&others).await? != Some(0) {
        let text = format!(
            "the database `{database}` has a table `state`, `deployments`, `deployment_history`, `users` or `revoked_tokens` \
             that is another program's; use another database"
        );
        return Err(Fault::new(Meaning::Refused(ErrorKind::NotADatabase, ""), text));
    }
    link.batch(
        "CREATE TABLE IF NOT EXISTS forebay_schema (version INT NOT NULL PRIMARY KEY, at BIGINT NOT NULL) ENGINE=InnoDB",
    )
    .await?;
    for (from, statements) in MIGRATIONS.iter().enumerate().skip(found.unwrap_or(0) as usize) {
        for statement in statements.split(";\n").map(without_comments).filter(|statement| !statement.is_empty()) {
            link.batch(&statement).await?;
        }
        let now = Timestamp::now().as_nanos();
        link.batch(&format!("INSERT IGNORE INTO forebay_schema (version, at) VALUES ({}, {now})", from + 1)).await?;
    }
    Ok(())
}

/// Refuses tables that would not keep their promises: on an engine without transactions (which a server may choose by
/// itself), or with text that cannot hold every character.
pub(super) async fn check(link: &mut Link, url: &MysqlUrl) -> Result<(), Fault> {
    let engine = format!(
        "SELECT count(*) AS number FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name IN ({OUR_TABLES}) AND engine <> 'InnoDB'"
    );
    let charset = format!(
        "SELECT count(*) AS number FROM information_schema.columns WHERE table_schema = DATABASE() \
         AND table_name IN ({OUR_TABLES}) AND column_name NOT IN ('src_ip', 'dst_ip') AND character_set_name <> 'utf8mb4'"
    );
    let is_wrong = match (link.number(&engine).await?, link.number(&charset).await?) {
        (Some(0), Some(0)) => return Ok(()),
        (Some(0), _) => "do not hold every text; ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        _ => "are not on InnoDB, so a batch would not be all or nothing; ALTER TABLE ... ENGINE=InnoDB",
    };
    let text = format!("tables of the database `{}` {is_wrong}", url.database);
    Err(Fault::new(Meaning::Refused(ErrorKind::Configuration, ""), text))
}

fn without_comments(statement: &str) -> String {
    statement
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect::<Vec<_>>()
        .join("\n")
        .trim()
        .to_owned()
}

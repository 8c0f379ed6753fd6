//! Makes the tables of a database without writing a row, and drops them all.

use std::time::{Duration, Instant};

use mysql_async::Row;

use super::compat;
use super::error::Fault;
use super::link::Servers;
use super::schema::{self, LOCK};
use super::session::{Session, check_password, refused, run, start};
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};

/// What we make, in the order in which it can be dropped. The version goes last: what is half dropped is still ours.
const VIEWS: [&str; 2] = ["events_view", "captures_view"];
const TABLES: [&str; 10] = [
    "events",
    "captures",
    "ingest_ledger",
    "ingest_rejects",
    "state",
    "deployments",
    "deployment_history",
    "users",
    "revoked_tokens",
    "forebay_schema",
];
/// Longest wait for a statement: a large table takes its time.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long others who are connected may take to leave: a program that has just ended still has its connections there.
const FAREWELL: Duration = Duration::from_secs(2);

/// Makes the tables as needed; returns the version of the schema.
pub(crate) fn init(url: &MysqlUrl, config: &MysqlConfig) -> Result<i64, Error> {
    check_password(url, config)?;
    let servers = Servers::new(url.clone(), config)?;
    let runtime = start()?;
    let made = run(Some(&runtime), async {
        let mut link = servers.connect().await?;
        schema::ensure(&mut link, url).await?;
        schema::check(&mut link, url).await
    });
    runtime.shutdown_background();
    made.map_err(|fault: Fault| refused(url, fault))?;
    Ok(schema::KNOWN)
}

/// Drops every table and view that is ours; refuses when there are others, or somebody else is connected.
pub(crate) fn reset(url: &MysqlUrl, config: &MysqlConfig) -> Result<Vec<String>, Error> {
    let mut session = Session::open(url, config, PATIENCE)?;
    let failed = |fault| refused(url, fault);
    let compat = compat::there(&mut session, url)?;
    let list = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1";
    let there: Vec<String> = session.rows(list).map_err(failed)?;
    let is_ours =
        |name: &str| TABLES.contains(&name) || VIEWS.contains(&name) || compat.iter().any(|view| view == name);
    let foreign: Vec<&str> = there.iter().map(String::as_str).filter(|name| !is_ours(name)).collect();
    if !foreign.is_empty() || !(there.is_empty() || there.iter().any(|name| name == "forebay_schema")) {
        let names = if foreign.is_empty() { "of our names, but another program's".into() } else { foreign.join(", ") };
        let why =
            format!("the database `{}` has tables that are not ours ({names}); nothing was dropped", url.database);
        return Err(Error::new(ErrorKind::NotADatabase, why));
    }
    wait_for_farewells(&mut session, url)?;
    session.rows::<Row>("SET SESSION lock_wait_timeout = 30").map_err(failed)?;
    if session.number(&format!("SELECT COALESCE(GET_LOCK({LOCK}, 5), 0)")).map_err(failed)? != 1 {
        let why = format!("another process is making or dropping the tables of `{}`; try again", url.database);
        return Err(Error::new(ErrorKind::InUse, why));
    }
    let mut dropped = Vec::new();
    let compat: Vec<&str> = compat.iter().map(String::as_str).collect();
    for (what, names) in [("VIEW", &compat[..]), ("VIEW", &VIEWS[..]), ("TABLE", &TABLES[..])] {
        for name in names.iter().filter(|name| there.iter().any(|known| known == *name)) {
            session.rows::<Row>(&format!("DROP {what} IF EXISTS `{name}`")).map_err(failed)?;
            dropped.push((*name).to_owned());
        }
    }
    Ok(dropped)
}

/// Without a special right a user sees its own connections only: those of our own pipelines, mostly.
fn wait_for_farewells(session: &mut Session, url: &MysqlUrl) -> Result<(), Error> {
    let others = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
    let began = Instant::now();
    loop {
        let count = session.number(others).map_err(|fault| refused(url, fault))?;
        if count == 0 {
            return Ok(());
        }
        if began.elapsed() >= FAREWELL {
            let why = format!("{count} others are connected to the database `{}`; stop them first", url.database);
            return Err(Error::new(ErrorKind::InUse, why));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

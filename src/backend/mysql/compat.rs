//! Makes and drops the views for DECNET, beside writers or without any.

use mysql_async::Row;

use super::session::{Session, refused};
use crate::backend::sql::decnet::{Dialect, VIEWS, statements};
use crate::config::MysqlConfig;
use crate::database_url::MysqlUrl;
use crate::error::{Error, ErrorKind};

const DIALECT: Dialect = Dialect {
    // From a moment that is given, not FROM_UNIXTIME, which follows the session's time zone. The text is a DATETIME(6).
    time: "TIMESTAMPADD(MICROSECOND, ts DIV 1000 - (MOD(ts, 1000) < 0), CAST('1970-01-01 00:00:00' AS DATETIME(6)))",
    inner: "CASE JSON_TYPE(JSON_EXTRACT(fields, '$.fields')) WHEN 'OBJECT' THEN JSON_EXTRACT(fields, '$.fields') END",
    service: "JSON_UNQUOTE(JSON_EXTRACT(fields, '$.service'))",
};

/// Makes the views, or makes them anew.
pub(crate) fn add_decnet_views(url: &MysqlUrl, config: &MysqlConfig) -> Result<(), Error> {
    let mut session = Session::open(url, config, config.statement_timeout)?;
    there(&mut session, url)?;
    for statement in statements(&DIALECT) {
        let statement = statement.replacen("CREATE VIEW", "CREATE OR REPLACE SQL SECURITY INVOKER VIEW", 1);
        session.rows::<Row>(&statement).map_err(|fault| refused(url, fault))?;
    }
    Ok(())
}

/// Drops the views; returns whether there were any.
pub(crate) fn drop_decnet_views(url: &MysqlUrl, config: &MysqlConfig) -> Result<bool, Error> {
    let mut session = Session::open(url, config, config.statement_timeout)?;
    let there = there(&mut session, url)?;
    for name in &there {
        session.rows::<Row>(&format!("DROP VIEW IF EXISTS `{name}`")).map_err(|fault| refused(url, fault))?;
    }
    Ok(!there.is_empty())
}

/// Returns which of the views there are; refuses a database where something else has one of their names.
pub(super) fn there(session: &mut Session, url: &MysqlUrl) -> Result<Vec<String>, Error> {
    let names = VIEWS.map(|name| format!("'{name}'")).join(",");
    // A view is ours if it reads our tables.
    let list = format!(
        "SELECT t.table_name, COALESCE(v.view_definition LIKE '%events%' OR v.view_definition LIKE '%captures%', 0) \
         FROM information_schema.tables t LEFT JOIN information_schema.views v \
         ON v.table_schema = t.table_schema AND v.table_name = t.table_name \
         WHERE t.table_schema = DATABASE() AND t.table_name IN ({names})"
    );
    let found: Vec<(String, bool)> = session.rows(&list).map_err(|fault| refused(url, fault))?;
    if let Some((name, _)) = found.iter().find(|(_, is_ours)| !is_ours) {
        let why = format!(
            "the database `{}` has a table or view `{name}` that is not ours; nothing was changed",
            url.database
        );
        return Err(Error::new(ErrorKind::NotADatabase, why));
    }
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

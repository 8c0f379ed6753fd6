//! MySQL and MariaDB as they are met in the field: every test talks to a real MariaDB server that it starts itself.

use std::time::Duration;

use forebay::backend::mysql::Mysql;
use forebay::database_url::MysqlUrl;
use forebay::{Config, DatabaseUrl, Error, Pipeline};

#[cfg(feature = "cli")]
mod ask;
#[cfg(feature = "cli")]
mod bench;
mod cluster;
mod exactly_once;
mod galera;
mod ledger;
#[cfg(feature = "cli")]
mod maintenance;
pub mod open;
#[cfg(feature = "cli")]
mod program;
mod proxy;
mod rows;
pub mod server;
mod tls;
mod wedged;

pub const LONG: Duration = Duration::from_secs(30);

/// Settings with which a failing server is tried again soon, and batches are written at once.
pub fn impatient() -> Config {
    let mut config = Config::default();
    config.batch.max_wait = Duration::ZERO;
    config.retry.initial = Duration::from_millis(5);
    config.retry.max = Duration::from_millis(100);
    config.mysql.connect_timeout = Duration::from_secs(2);
    config.mysql.ping_timeout = Duration::from_secs(1);
    config.mysql.statement_timeout = Duration::from_secs(5);
    config
}

pub fn parsed(url: &str) -> MysqlUrl {
    match DatabaseUrl::parse(url).unwrap() {
        DatabaseUrl::Mysql(url) => *url,
        other => panic!("{other}"),
    }
}

pub fn open(url: &str) -> Mysql {
    Mysql::open(&parsed(url), &impatient().mysql).unwrap()
}

pub fn pipeline(url: &str, config: Config) -> Result<Pipeline, Error> {
    Pipeline::builder().config(config).database(url).open()
}

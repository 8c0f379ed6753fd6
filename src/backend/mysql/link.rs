//! One connection: opened to the first server that takes us, set up, and never used again once its state is unknown.
//!
//! `pool` keeps links; `schema`, `write` and `ledger` speak over them. Every call has a time limit, since the driver has
//! none. A link is *dirty* from the beginning of a piece of work until that has ended with nothing open; a dirty one does
//! not go back into the pool. It is closed at once: dropped by itself, the driver's connection would wait in the
//! background for the answer of a server that may hang, and hold the socket, and with it a transaction's locks.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::mysql::Mysql as MysqlDialect;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error as DieselError, QueryResult};
use diesel::sql_types::{BigInt, Text};
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncMysqlConnection, SimpleAsyncConnection};
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts};
use tokio::time::timeout;

use super::error::{Fault, Meaning};
use super::tls;
use crate::config::MysqlConfig;
use crate::database_url::{MysqlUrl, TlsMode};
use crate::error::{Error, ErrorKind};

/// Largest packet that is sent as one: with more, the driver and the server cut it, which costs time and gains nothing.
const LARGEST_PACKET: usize = (1 << 24) - (1 << 16);

/// The servers of one database, and how to reach them.
#[derive(Debug)]
pub(super) struct Servers {
    url: MysqlUrl,
    tls: Option<SslOpts>,
    limits: Limits,
}

/// How long each kind of call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    connect: Duration,
    pub(super) ping: Duration,
    statement: Duration,
}

/// What a server says of itself.
#[derive(Debug, QueryableByName)]
struct Greeting {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    packet: i64,
    #[diesel(sql_type = Text)]
    read_only: String,
}

#[derive(QueryableByName)]
struct Shown {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl Servers {
    /// Reads the certificates that the URL names; connects to nothing.
    pub(super) fn new(url: MysqlUrl, config: &MysqlConfig) -> Result<Self, Error> {
        let limits = Limits {
            connect: url.connect_timeout.unwrap_or(config.connect_timeout),
            ping: config.ping_timeout,
            statement: config.statement_timeout,
        };
        let tls = tls::options(&url.tls)?;
        Ok(Self { url, tls, limits })
    }

    pub(super) fn url(&self) -> &MysqlUrl {
        &self.url
    }

    /// Returns how long [`connect`](Self::connect) may take at most.
    pub(super) fn patience(&self) -> Duration {
        let tries = if matches!(self.url.tls.mode, TlsMode::Preferred | TlsMode::VerifyCa) { 2 } else { 1 };
        self.limits.connect * 2 * (self.url.hosts.len().max(1) * tries) as u32
    }

    /// Connects to the first server that takes us and may be written.
    ///
    /// # Errors
    /// Of several servers the error that tells most: one that answered and refused goes before one that is away.
    pub(super) async fn connect(&self) -> Result<Link, Fault> {
        let mut told: Option<Fault> = None;
        for place in 0..self.url.hosts.len().max(1) {
            let fault = match self.connect_to(place).await {
                Ok(link) => return Ok(link),
                Err(fault) => fault.at(self.place(place)),
            };
            if told.as_ref().is_none_or(|told| matches!(told.meaning, Meaning::Passing("connection" | "timeout"))) {
                told = Some(fault);
            }
        }
        Err(told.unwrap_or_else(|| Fault::of_connection("no server is named")))
    }

    fn place(&self, place: usize) -> String {
        let host = self.url.hosts.get(place).map(ToString::to_string);
        host.unwrap_or_else(|| self.url.socket.as_ref().map_or_else(String::new, |path| path.display().to_string()))
    }

    /// Connects to the first server that answers, whether it may be written or not.
    pub(super) async fn reach_any(&self) -> Result<Conn, Fault> {
        let mut told = None;
        for place in 0..self.url.hosts.len().max(1) {
            match self.reach(place).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => told = told.or(Some(fault.at(self.place(place)))),
            }
        }
        Err(told.unwrap_or_else(|| Fault::of_connection("no server is named")))
    }

    async fn connect_to(&self, place: usize) -> Result<Link, Fault> {
        self.set_up(self.reach(place).await?).await
    }

    async fn reach(&self, place: usize) -> Result<Conn, Fault> {
        let mut connection = self.handshake(place, self.tls.clone()).await;
        if let Err(error) = &connection
            && let Some(otherwise) = self.otherwise(error)
        {
            connection = self.handshake(place, otherwise).await;
        }
        connection.map_err(Fault::of_driver)
    }

    /// Returns with what TLS a second handshake is to be made, if the URL allows another than the one that failed.
    fn otherwise(&self, error: &mysql_async::Error) -> Option<Option<SslOpts>> {
        use mysql_async::{DriverError::NoClientSslFlagFromServer, Error::Driver};
        match (self.url.tls.mode, error) {
            (TlsMode::Preferred, Driver(NoClientSslFlagFromServer)) => Some(None),
            (TlsMode::VerifyCa, error) => {
                let name = tls::name_in(error)?;
                Some(self.tls.clone().map(|tls| tls.with_danger_tls_hostname_override(Some(name))))
            }
            _ => None,
        }
    }

    async fn handshake(&self, place: usize, tls: Option<SslOpts>) -> Result<Conn, mysql_async::Error> {
        let mut options = OptsBuilder::default()
            .user(Some(&self.url.user))
            .pass(Some(self.url.password.reveal()).filter(|password| !password.is_empty()))
            .db_name(Some(&self.url.database))
            // diesel-async keeps the statements, and counts rows as diesel does elsewhere.
            .stmt_cache_size(0)
            .client_found_rows(true)
            .prefer_socket(false)
            .socket(self.url.socket.as_ref().map(|path| path.to_string_lossy().into_owned()))
            .ssl_opts(tls.filter(|_| self.url.socket.is_none()));
        if let Some(host) = self.url.hosts.get(place) {
            options = options.ip_or_hostname(&host.name).tcp_port(host.port);
        }
        let limit = self.limits.connect;
        timeout(limit, Conn::new(Opts::from(options))).await.unwrap_or_else(|_| {
            let text = format!("connect: no answer within {limit:?}");
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into())
        })
    }

    /// Makes the session strict, and finds out what the server allows.
    async fn set_up(&self, connection: Conn) -> Result<Link, Fault> {
        let limit = self.limits.connect;
        let work = async {
            let connection = AsyncMysqlConnection::try_from(connection).await;
            let connection = connection.map_err(|error| Fault::of_connection(error.to_string()))?;
            let mut link = Link {
                connection: Some(connection),
                is_dirty: true,
                is_of_cluster: false,
                limits: self.limits,
                packet: 0,
                most_at_once: 0,
            };
            link.batch(&self.session()).await?;
            let greeting = "SELECT CAST(@@version AS CHAR) AS version, CAST(@@max_allowed_packet AS SIGNED) AS packet, \
                            CAST(@@global.read_only AS CHAR) AS read_only";
            let greeting: Vec<Greeting> = link.load(diesel::sql_query(greeting)).await?;
            let greeting = greeting.first().ok_or_else(|| Fault::of_connection("the server says nothing of itself"))?;
            check_version(&greeting.version)?;
            if !matches!(greeting.read_only.as_str(), "0" | "OFF") {
                return Err(Fault::of_server(1290, "the server is read-only"));
            }
            // A node that has fallen out of its cluster has answered so far, and would refuse all work.
            link.ping().await?;
            let cluster: Vec<Shown> = link.load(diesel::sql_query("SHOW VARIABLES LIKE 'wsrep_on'")).await?;
            link.is_of_cluster = cluster.iter().any(|shown| shown.value == "ON");
            link.most_at_once = usize::try_from(greeting.packet).unwrap_or(0);
            link.packet = link.most_at_once.min(LARGEST_PACKET);
            Ok(link)
        };
        timeout(limit, work).await.unwrap_or_else(|_| Err(Fault::timed_out("set the session up", limit)))
    }

    /// The session's settings. Bad data is an error, never a warning. What waits or runs longer than we do ends in the
    /// server too; and a transaction whose client has vanished without a word is given up there, so that its locks do not
    /// outlive it by hours. (`/*M!` begins what only MariaDB reads.)
    fn session(&self) -> String {
        let statement = self.limits.statement;
        let lock_wait = (statement.as_secs() * 4 / 5).max(1);
        let idle = statement.as_secs() + 60;
        let run = statement.as_secs_f64().max(0.1);
        format!(
            "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', autocommit=1, \
             innodb_lock_wait_timeout={lock_wait}, lock_wait_timeout={lock_wait}, wait_timeout={idle} \
             /*M!100300 , max_statement_time={run}, idle_transaction_timeout={} */",
            idle - 30
        )
    }
}

/// Refuses a server that lacks what our tables and statements need: MariaDB 10.3, MySQL 5.7 (long index keys, strict
/// mode everywhere, time limits).
fn check_version(version: &str) -> Result<(), Fault> {
    let is_mariadb = version.to_ascii_lowercase().contains("mariadb");
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (name, least) = if is_mariadb { ("MariaDB", (10, 3)) } else { ("MySQL", (5, 7)) };
    if found >= least {
        return Ok(());
    }
    let text =
        format!("the server is {name} {}.{}; forebay needs {name} {}.{} or later", found.0, found.1, least.0, least.1);
    Err(Fault::new(Meaning::Refused(ErrorKind::Unsupported, "use a newer server"), text))
}

/// One connection.
pub(super) struct Link {
    /// `None` only while it is being dropped.
    connection: Option<AsyncMysqlConnection>,
    is_dirty: bool,
    is_of_cluster: bool,
    limits: Limits,
    packet: usize,
    most_at_once: usize,
}

impl Link {
    /// Returns how many bytes the server takes as one statement, in however many packets.
    pub(super) fn most_at_once(&self) -> usize {
        self.most_at_once
    }

    /// Returns how many bytes one statement should have.
    pub(super) fn packet(&self) -> usize {
        self.packet
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// From here on the connection may be left in a state that nobody knows, even by a future that is dropped.
    pub(super) fn begin_work(&mut self) {
        self.is_dirty = true;
    }

    /// Nothing is open any more: no transaction, no answer that is still to come.
    pub(super) fn end_work(&mut self) {
        self.is_dirty = false;
    }

    /// Asks for an answer.
    pub(super) async fn ping(&mut self) -> Result<(), Fault> {
        let limit = self.limits.ping;
        let answer = timeout(limit, self.connection().batch_execute("DO 0")).await;
        self.judged("ping", limit, answer).await
    }

    /// Waits until a cluster's node has everything that was committed over another one. A Galera node takes a commit for
    /// certain before it can be read there, so whoever has just come from another node would read an old ledger.
    pub(super) async fn catch_up(&mut self) -> Result<(), Fault> {
        if self.is_of_cluster {
            self.batch("SET SESSION wsrep_sync_wait=1").await?;
            self.number("SELECT COALESCE(MAX(version), 0) AS number FROM forebay_schema").await?;
            self.batch("SET SESSION wsrep_sync_wait=@@global.wsrep_sync_wait").await?;
        }
        Ok(())
    }

    /// Runs statements without values.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), Fault> {
        let limit = self.limits.statement;
        let answer = timeout(limit, self.connection().batch_execute(sql)).await;
        self.judged("wait for the server", limit, answer).await
    }

    /// Runs a prepared statement; returns how many rows it touched.
    pub(super) async fn execute<Q>(&mut self, query: Q) -> Result<usize, Fault>
    where
        Q: QueryFragment<MysqlDialect> + QueryId + Send,
    {
        let limit = self.limits.statement;
        let answer = timeout(limit, diesel_async::RunQueryDsl::execute(query, self.connection())).await;
        self.judged("wait for the server", limit, answer).await
    }

    /// Runs a query and returns its rows.
    pub(super) async fn load<'q, T, Q>(&mut self, query: Q) -> Result<Vec<T>, Fault>
    where
        T: Send,
        Q: LoadQuery<'q, AsyncMysqlConnection, T> + 'q,
    {
        let limit = self.limits.statement;
        let answer = timeout(limit, diesel_async::RunQueryDsl::load::<T>(query, self.connection())).await;
        self.judged("wait for the server", limit, answer).await
    }

    /// Runs a query that gives one number as `number`; `None` when it gives NULL or no row.
    pub(super) async fn number(&mut self, sql: &str) -> Result<Option<i64>, Fault> {
        let numbers: Vec<Number> = self.load(diesel::sql_query(sql)).await?;
        Ok(numbers.first().map(|row| row.number))
    }

    #[allow(clippy::expect_used)]
    fn connection(&mut self) -> &mut AsyncMysqlConnection {
        self.connection.as_mut().expect("taken by drop only")
    }

    async fn judged<T>(
        &mut self,
        doing: &str,
        limit: Duration,
        answer: Result<QueryResult<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, Fault> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.diagnosed(error).await),
            Err(_) => {
                self.is_dirty = true;
                Err(Fault::timed_out(doing, limit))
            }
        }
    }

    /// Finds out the code of an error. diesel-async tells a duplicate key by its kind, which is the error in the way of
    /// every second attempt; for all others the server is asked.
    async fn diagnosed(&mut self, error: DieselError) -> Fault {
        let DieselError::DatabaseError(kind, information) = &error else {
            return Fault::new(Meaning::Unknown, error.to_string());
        };
        let message = information.message();
        if matches!(kind, DatabaseErrorKind::UniqueViolation) {
            return Fault::of_server(1062, message);
        }
        // Such a node refuses our question for the code too.
        if message.starts_with("WSREP has not yet prepared node") {
            return Fault::of_server(1047, message);
        }
        let of_driver = ["Input/output error: ", "Driver error: ", "Other error: ", "URL error: "];
        if of_driver.iter().any(|beginning| message.starts_with(beginning)) {
            return Fault::of_connection(message);
        }
        match timeout(self.limits.ping, self.last_code()).await {
            Ok(Ok(code)) => Fault::of_server(code, message),
            // It hung up with its last words.
            Ok(Err(_)) | Err(_) => Fault::of_connection(message),
        }
    }

    async fn last_code(&mut self) -> QueryResult<u16> {
        let connection = self.connection();
        connection.batch_execute("GET DIAGNOSTICS CONDITION 1 @forebay_error = MYSQL_ERRNO").await?;
        let query = diesel::sql_query("SELECT CAST(COALESCE(@forebay_error, 0) AS SIGNED) AS number");
        let codes: Vec<Number> = diesel_async::RunQueryDsl::load(query, connection).await?;
        Ok(codes.first().and_then(|code| u16::try_from(code.number).ok()).unwrap_or(0))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().filter(|_| self.is_dirty) else { return };
        // On a thread without a runtime the driver has nowhere to wait in: it closes the socket. Without a thread to be
        // had, the closure is dropped here, and the socket closes when the server answers.
        let _ = std::thread::Builder::new().name("forebay-close".into()).spawn(move || drop(connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_are_refused_and_all_others_are_taken() {
        for old in ["5.5.62", "5.6.51-log", "10.2.44-MariaDB", "5.5.68-MariaDB", "10.1.48-mariadb"] {
            let fault = check_version(old).unwrap_err().to_string();
            assert!(fault.contains("forebay needs"), "{fault}");
        }
        let new = ["10.11.14-MariaDB-0+deb12u2", "11.4.2-MariaDB", "5.7.44", "8.4.0", "9.1.0", "8.0.11-TiDB-v7.5.0"];
        assert!(new.iter().all(|version| check_version(version).is_ok()));
    }
}

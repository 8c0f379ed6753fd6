//! Private MariaDB servers: each on a free port of 127.0.0.1, with a data directory of its own, gone at the end.
//!
//! A server must not outlive its test, however that ends: it is killed when its [`Server`] is dropped, and by the kernel
//! when this process is killed (`setpriv --pdeathsig`, from a thread that lives as long as the process: the signal comes
//! when the *thread* that started the server ends). Directories of killed runs are removed by the next. A server that runs
//! on the machine anyway is neither used nor touched.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Value};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::timeout;

use crate::harness::eventually;

const PREFIX: &str = "forebay-test-mysql-";

/// Where this process has its servers; made after what killed processes have left is gone.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let temporary = std::env::temp_dir();
    for entry in fs::read_dir(&temporary).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        if pid.is_some_and(|pid| test_kill_process(pid).is_err()) {
            // Another run may be removing it at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let home = temporary.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&home).unwrap();
    home
});

/// A data directory as a fresh installation has it, to be copied.
static TEMPLATE: LazyLock<PathBuf> = LazyLock::new(|| {
    let template = HOME.join("template");
    fs::create_dir(&template).unwrap();
    own(&template);
    let mut install = as_server_user("mariadb-install-db");
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg("--innodb-log-file-size=32M").arg(format!("--datadir={}", template.display()));
    with_room_of_its_own(&mut install, &HOME.join("template.tmp"));
    let output = install.output().unwrap_or_else(|error| panic!("mariadb-install-db: {error}; {INSTALL}"));
    assert!(output.status.success(), "{}; {INSTALL}", String::from_utf8_lossy(&output.stderr));
    template
});

const INSTALL: &str =
    "these tests need a MariaDB server: install the package `mariadb-server` (tests/run.sh does on Debian)";

/// Starts processes from a thread that never ends.
type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        for (mut command, reply) in orders {
            reply.send(command.spawn()).unwrap();
        }
    });
    Mutex::new(sender)
});

/// After this a server is taken to hang.
const ANSWER: Duration = Duration::from_secs(5);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Another server of this machine for those tests that do their server no harm, with an administrator's login:
/// `mysql://root:secret@127.0.0.1:3307`. What `cargo test --test it conformance::mysql` says of it is the point.
const OTHER: &str = "FOREBAY_TEST_MYSQL_URL";

/// One server, for all tests that do it no harm.
pub static SHARED: LazyLock<Server> =
    LazyLock::new(|| std::env::var(OTHER).map_or_else(|_| Server::start(), |url| Server::named(&url)));

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A server refuses to run as root.
fn as_server_user(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root() {
        command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
    }
    command.arg("--").arg(program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

/// A server that starts removes what it takes for remains of another from where temporary tables are. In a directory that
/// several share these were tables in use: one lost those of its first users, and nobody could log in.
fn with_room_of_its_own(command: &mut Command, directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    own(directory);
    command.env("TMPDIR", directory);
}

/// Gives files to the user as whom servers run.
pub fn own(path: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("-R").arg("mysql:mysql").arg(path).status().unwrap();
        assert!(status.success(), "there is no user `mysql`; {INSTALL}");
    }
}

/// Makes a directory that goes with this process.
pub fn new_directory() -> PathBuf {
    let directory = HOME.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&directory).unwrap();
    directory
}

/// Returns a port that nobody listens at, below those that the kernel gives to outgoing connections: a server that is
/// killed and started again must find its port free, and thousands of connections come and go meanwhile.
///
/// Once it came from the kernel. Now and then a restarted server found its port taken by a connection of another test (or
/// by one of its own clients, which had tried so often that it was connected to itself) and ended at once; its test failed
/// with senders that waited for the server, and hung.
pub fn free_port() -> u16 {
    let first = 20_000 + std::process::id() * 16 % 8000;
    let mut ports = std::iter::repeat_with(|| first + NUMBER.fetch_add(1, Ordering::Relaxed) % 4000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.by_ref().take(4000).filter_map(|port| u16::try_from(port).ok()).find(is_free).expect("a free port")
}

pub struct Server {
    directory: PathBuf,
    pub port: u16,
    options: Vec<String>,
    process: Mutex<Option<Child>>,
    /// The administrator and the password.
    login: (String, String),
    /// What names of databases begin with.
    prefix: String,
}

impl Server {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with([])
    }

    /// As [`start`](Self::start), with options of its own.
    pub fn start_with<const N: usize>(options: [String; N]) -> Self {
        let server = Self::prepare(options.into());
        server.run();
        server
    }

    /// Makes everything but the process; the port is kept free for it as far as that can be.
    pub fn prepare(options: Vec<String>) -> Self {
        let template = &*TEMPLATE;
        let directory = HOME.join(NUMBER.fetch_add(1, Ordering::Relaxed).to_string());
        let copied = Command::new("cp").arg("-r").arg(template).arg(&directory).status().unwrap();
        assert!(copied.success());
        own(&directory);
        let port = free_port();
        let (process, login) = (Mutex::new(None), ("root".to_owned(), String::new()));
        Self { directory, port, options, process, login, prefix: "d".to_owned() }
    }

    /// Takes a server that somebody else has started, and drops what killed runs have left there.
    fn named(url: &str) -> Self {
        let named = Opts::from_url(url).unwrap_or_else(|error| panic!("{OTHER}: {error}"));
        assert_eq!(named.ip_or_hostname(), "127.0.0.1", "{OTHER} names a server of this machine");
        let login = [named.user(), named.pass()].map(|text| text.unwrap_or_default().to_owned());
        let (ours, directory) = ("forebay_test_", HOME.join("other"));
        let server = Self {
            directory,
            port: named.tcp_port(),
            options: Vec::new(),
            process: Mutex::new(None),
            login: login.into(),
            prefix: format!("{ours}{}_", std::process::id()),
        };
        let mut admin = server.admin();
        for name in admin.texts("SHOW DATABASES") {
            let pid = name.strip_prefix(ours).and_then(|rest| rest.split('_').next()?.parse().ok());
            if pid.and_then(Pid::from_raw).is_some_and(|pid| test_kill_process(pid).is_err()) {
                admin.run(&format!("DROP DATABASE `{name}`"));
            }
        }
        server
    }

    /// Starts the process and waits until it answers.
    pub fn run(&self) {
        self.spawn(&[]);
        eventually("the server answers", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Starts the process, with options for this once, and waits for nothing.
    pub fn spawn(&self, once: &[&str]) {
        let log = fs::File::create(HOME.join(format!("{}.log", self.port))).unwrap();
        let mut command = as_server_user("mariadbd");
        command.args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--loose-innodb-fast-shutdown=0",
            "--port-open-timeout=20",
        ]);
        command.args(["--innodb-log-file-size=32M", "--innodb-buffer-pool-size=64M", "--innodb-autoinc-lock-mode=2"]);
        command.arg(format!("--datadir={}", self.directory.display())).arg(format!("--port={}", self.port));
        command.arg(format!("--socket={}", self.socket().display()));
        command.arg(format!("--pid-file={}", self.directory.join("m.pid").display()));
        command.args(&self.options).args(once);
        with_room_of_its_own(&mut command, &HOME.join(format!("{}.tmp", self.port)));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let (reply, answer) = mpsc::channel();
        STARTER.lock().unwrap().send((command, reply)).unwrap();
        let child = answer.recv().unwrap().unwrap_or_else(|error| panic!("mariadbd: {error}; {INSTALL}"));
        *self.process.lock().unwrap() = Some(child);
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("m.sock")
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it in the middle of whatever it does (SIGSTOP), until [`resume`](Self::resume).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap();
        let pid = Pid::from_child(process.as_ref().unwrap());
        kill_process(pid, signal).unwrap();
    }

    /// Connects as the administrator.
    pub fn admin(&self) -> Client {
        Client::connect(self.port, &self.login.0, &self.login.1, None)
    }

    /// Connects as the administrator to a server that may be away or hang.
    pub fn try_admin(&self) -> Option<Client> {
        Client::try_connect(self.port, &self.login.0, &self.login.1, None)
    }

    /// Makes a database of that name, with a user who may do what the README says; returns its URL.
    pub fn database(&self, name: &str) -> String {
        let mut admin = self.admin();
        admin.run(&format!("CREATE DATABASE `{name}`"));
        admin.run("CREATE USER IF NOT EXISTS writer@'127.0.0.1' IDENTIFIED BY 'p@ss:w/rd'");
        let grants = "SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, SHOW VIEW, DROP";
        admin.run(&format!("GRANT {grants} ON `{name}`.* TO writer@'127.0.0.1'"));
        format!("mysql://writer:p%40ss%3Aw%2Frd@127.0.0.1:{}/{name}", self.port)
    }

    /// As [`database`](Self::database), with a name that no other test has.
    pub fn new_database(&self) -> (String, String) {
        let name = format!("{}{}", self.prefix, NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = self.database(&name);
        (name, url)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // It is in a directory that the next run removes.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A plain connection, as another program would have it.
pub struct Client {
    runtime: tokio::runtime::Runtime,
    connection: Conn,
}

/// After this a server is taken to have hung up on a test.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    pub fn connect(port: u16, user: &str, password: &str, database: Option<&str>) -> Self {
        let mut client = None;
        eventually("the server lets us in", || {
            client = Self::try_connect(port, user, password, database);
            client.is_some()
        });
        client.unwrap()
    }

    pub fn try_connect(port: u16, user: &str, password: &str, database: Option<&str>) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let password = Some(password).filter(|password| !password.is_empty());
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).prefer_socket(false);
        let options = options.user(Some(user)).pass(password).db_name(database);
        // Shown when the test fails.
        let told = |fault: &dyn std::fmt::Display| eprintln!("port {port}: {fault}");
        let connection = runtime.block_on(async { timeout(ANSWER, Conn::new(options)).await });
        let connection = connection.inspect_err(|fault| told(fault)).ok()?.inspect_err(|fault| told(fault)).ok()?;
        Some(Self { connection, runtime })
    }

    /// Returns the value of what a SHOW statement shows first; `None` when it shows nothing, or the server hangs.
    pub fn shown(&mut self, sql: &str) -> Option<String> {
        let connection = &mut self.connection;
        let shown = self.runtime.block_on(async { timeout(ANSWER, connection.query_first(sql)).await });
        let (_, value): (String, String) = shown.ok()?.ok()??;
        Some(value)
    }

    pub fn run(&mut self, sql: &str) {
        self.try_run(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub fn try_run(&mut self, sql: &str) -> Result<(), mysql_async::Error> {
        let connection = &mut self.connection;
        waited(&self.runtime, sql, connection.query_drop(sql))
    }

    /// Returns all rows of a query, with their types.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Value>> {
        let rows = waited(&self.runtime, sql, self.connection.exec::<mysql_async::Row, _, _>(sql, ()));
        rows.unwrap_or_else(|error| panic!("{sql}: {error}")).into_iter().map(mysql_async::Row::unwrap).collect()
    }

    pub fn number(&mut self, sql: &str) -> i64 {
        waited(&self.runtime, sql, self.connection.query_first(sql)).unwrap().unwrap()
    }

    pub fn texts(&mut self, sql: &str) -> Vec<String> {
        waited(&self.runtime, sql, self.connection.query(sql)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// Waits for an answer, and not for ever: the driver has no time limit of its own.
fn waited<T>(runtime: &tokio::runtime::Runtime, sql: &str, answer: impl Future<Output = T>) -> T {
    let answer = runtime.block_on(async { timeout(PATIENCE, answer).await });
    answer.unwrap_or_else(|_| panic!("{sql}: no answer within {PATIENCE:?}"))
}

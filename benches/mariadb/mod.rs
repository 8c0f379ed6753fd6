//! A private MariaDB server for a benchmark: in a temporary directory, on a free port of 127.0.0.1, gone at the end. Or in
//! a directory that stays, for a benchmark that takes longer to load than to ask.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tempfile::TempDir;

/// What is set otherwise than the server's defaults; every commit is flushed (`innodb_flush_log_at_trx_commit=1`).
pub const SETTINGS: [&str; 6] = [
    "--innodb-log-file-size=2G",
    "--innodb-buffer-pool-size=2G",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-autoinc-lock-mode=2",
    "--local-infile=1",
    "--skip-name-resolve",
];
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

pub struct Server {
    process: Child,
    pub port: u16,
    directory: Directory,
}

/// Where the server's data are, and whether they stay.
enum Directory {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl Server {
    /// Makes a new server in a directory below `place`, and waits until it answers.
    pub fn start(place: &Path) -> Self {
        Self::start_with(place, &[])
    }

    /// The same with more settings, which go before [`SETTINGS`].
    pub fn start_with(place: &Path, more: &[&str]) -> Self {
        let directory = tempfile::tempdir_in(place).expect("a directory for the server");
        Self::start_in(Directory::Temporary(directory), more)
    }

    /// Starts a server in a directory that stays, with what an earlier one has left there.
    pub fn start_kept(directory: &Path, more: &[&str]) -> Self {
        std::fs::create_dir_all(directory).expect("a directory for the server");
        Self::start_in(Directory::Kept(directory.to_owned()), more)
    }

    fn start_in(directory: Directory, more: &[&str]) -> Self {
        let data = format!("--datadir={}", directory.path().join("data").display());
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            // A server refuses to run as root, and must reach its directory as another user.
            let chown = Command::new("chown").arg("mysql").arg(directory.path()).status().expect("chown");
            assert!(chown.success(), "there is no user `mysql`: install the package `mariadb-server`");
        }
        let command = |program: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]);
            if is_root {
                command.args(["--reuid", "mysql", "--regid", "mysql", "--clear-groups"]);
            }
            command.args(["--", program, "--no-defaults", &data]).env("PATH", PATH).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        if !directory.path().join("data/mysql").exists() {
            let installed = command("mariadb-install-db").arg("--auth-root-authentication-method=normal").status();
            let is_installed = installed.is_ok_and(|status| status.success());
            assert!(is_installed, "mariadb-install-db failed: install the package `mariadb-server`");
        }
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port").port();
        let mut server = command("mariadbd");
        server.args(SETTINGS).args(more).args(["--bind-address=127.0.0.1", &format!("--port={port}")]);
        server.arg(format!("--socket={}", directory.path().join("m.sock").display()));
        let process = server.spawn().expect("mariadbd starts");
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the server did not start within a minute");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, port, directory }
    }

    /// The administrator's way in.
    pub fn options(&self, database: Option<&str>) -> Opts {
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port).prefer_socket(false);
        options.user(Some("root")).db_name(database).into()
    }

    /// Runs statements as the administrator.
    pub fn run(&self, statements: &[&str]) {
        block_on(async {
            let mut connection = Conn::new(self.options(None)).await.expect("a connection");
            for statement in statements {
                connection.query_drop(*statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
        });
    }

    /// Returns the first value of a query.
    pub fn ask(&self, query: &str) -> String {
        block_on(async {
            let mut connection = Conn::new(self.options(None)).await.expect("a connection");
            let answer: Option<String> = connection.query_first(query).await.expect("an answer");
            answer.unwrap_or_default()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let (Directory::Kept(_), Some(process)) =
            (&self.directory, rustix::process::Pid::from_raw(self.process.id().cast_signed()))
        {
            // Its data are written first, so that the next one starts at once. It may be gone already.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        } else {
            // It may be gone already; its data are thrown away.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

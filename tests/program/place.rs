//! A directory for one test, in which the program runs as its users would run it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::database::Database;

/// For whatever must happen soon; far above what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for something to become true.
///
/// # Panics
/// When it does not within [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// An address at which nobody listens yet.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address").to_string()
}

/// A directory with files and a database, `forebay.db`; gone at the end.
pub struct Place {
    dir: TempDir,
    runs: AtomicU32,
}

impl Place {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory"), runs: AtomicU32::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).expect("write a file");
        self.path(name)
    }

    pub fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).open(self.path(name)).expect("open a file to append to");
        file.write_all(content.as_ref()).expect("append to a file");
    }

    pub fn database(&self) -> Database {
        Database::open(&self.path("forebay.db"))
    }

    /// Makes an empty database with its tables.
    pub fn make_database(&self) -> Database {
        self.write("nothing.json", "");
        assert_eq!(self.ingest(&["nothing.json"]).code, 0);
        self.database()
    }

    /// Starts the program with these arguments: no input, output kept, no setting from outside.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(arguments);
        self.start_command(command)
    }

    /// Starts a command in this directory.
    pub fn start_command(&self, mut command: Command) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (self.path(&format!("out-{run}")), self.path(&format!("err-{run}")));
        for (name, _) in std::env::vars_os() {
            let is_setting = ["FOREBAY_", "OTEL_"].iter().any(|ours| name.to_string_lossy().starts_with(ours));
            if is_setting && !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        let file = |path: &Path| File::create(path).expect("a file for the output");
        command.current_dir(self.dir.path()).stdout(file(&out)).stderr(file(&err));
        if command.get_args().all(|argument| argument != "-") {
            command.stdin(Stdio::null());
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        Running { child, out, err }
    }

    /// Runs `forebay` to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.start(arguments).finish()
    }

    /// Runs `forebay ingest --json --sensor here` to its end.
    pub fn ingest(&self, arguments: &[&str]) -> Outcome {
        self.start_ingest(arguments).finish()
    }

    pub fn start_ingest(&self, arguments: &[&str]) -> Running {
        self.start(&[&["ingest", "--json", "--sensor", "here"], arguments].concat())
    }
}

/// A test that fails shows what the program has said.
impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for run in 0..self.runs.load(Ordering::Relaxed) {
                let err = fs::read(self.path(&format!("err-{run}"))).unwrap_or_default();
                println!("run {run}: {}", String::from_utf8_lossy(&err));
            }
        }
    }
}

/// A process of the program; killed if it is dropped.
pub struct Running {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.out).expect("the output")).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).expect("the standard error")).into_owned()
    }

    /// Sends a signal: `INT`, `TERM`, `KILL`, `HUP`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("sh").args(["-c", "kill -$0 $1", name, &pid]).status().expect("run sh");
        assert!(status.success(), "kill -{name} {pid}");
    }

    /// Waits until standard error has this text.
    pub fn wait_for_err(&mut self, text: &str) {
        wait_for(&format!("{text:?} on standard error"), || {
            let err = self.err();
            let is_over = self.child.try_wait().expect("look at the process").is_some();
            assert!(!is_over || err.contains(text), "the program ended first: {err}");
            err.contains(text).then_some(())
        });
    }

    pub fn is_over(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("look at the process")
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Outcome {
        let status = wait_for("the program to end", || self.is_over());
        self.outcome(status)
    }

    /// Ends it without any chance to react.
    pub fn kill(mut self) -> Outcome {
        self.child.kill().expect("kill -9");
        let status = self.child.wait().expect("wait for the killed process");
        self.outcome(status)
    }

    fn outcome(&self, status: ExitStatus) -> Outcome {
        // 128 and the signal, as a shell says it.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().expect("a code or a signal"));
        Outcome { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to kill or wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Outcome {
    pub fn summary(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Rows committed, records that were in already, records set aside; checks that all of it is in.
    #[track_caller]
    pub fn counts(&self) -> (u64, u64, u64) {
        let summary = self.summary();
        let number = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("{key}: {self:?}"));
        assert_eq!(number("failed"), 0, "{self:?}");
        (number("rows"), number("already_in"), number("rejected"))
    }
}

//! What this binary does when a test starts it again as another process: one role a name, chosen by the environment.
//!
//! A child speaks in lines that begin with `@` on its standard output; everything else there is the test harness's. It
//! ends when its parent closes its standard input, so a test that dies leaves nobody behind.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "FOREBAY_TEST_ROLE";
const DATABASE: &str = "FOREBAY_TEST_DATABASE";

/// Not a claim by itself: without a parent that names a role there is nothing to do.
#[test]
fn plays_the_role_that_its_parent_names() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let database = PathBuf::from(std::env::var_os(DATABASE).expect("a role needs a database"));
    match role.as_str() {
        "hold" => hold(&database),
        "write" => crate::crash::write(&database),
        #[cfg(feature = "mysql")]
        "write_to_server" => crate::mysql::open::write(&database.to_string_lossy()),
        #[cfg(all(feature = "source", target_os = "linux"))]
        "live_unprivileged" => crate::wire::unprivileged(),
        #[cfg(all(feature = "source", target_os = "linux"))]
        "live_cable" => crate::wire::on_a_cable(),
        #[cfg(all(feature = "source", target_os = "linux"))]
        "live_everything" => crate::wire::veth::everything(&database),
        #[cfg(all(feature = "source", target_os = "linux"))]
        "live_too_much" => crate::wire::veth::too_much(&database),
        #[cfg(feature = "source")]
        "deaf" => crate::tail::deaf::follow(&database.to_string_lossy()),
        #[cfg(feature = "source")]
        "tail" => crate::tail::torture::follow(&database.to_string_lossy()),
        #[cfg(feature = "source")]
        "listen" => crate::socket::crash::listen(&database),
        "full_disk" => crate::sqlite::disk::on_a_full_disk(&database),
        "full_disk_amid_steps" => crate::sqlite::disk::on_a_full_disk_amid_steps(&database),
        "file_limit" => crate::sqlite::disk::at_a_file_limit(&database),
        other => panic!("no role {other}"),
    }
}

/// Returns the command that plays `role` on `database`.
pub fn command(role: &str, database: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments()).env(ROLE, role).env(DATABASE, database);
    command
}

/// Returns the command that runs `script`, which has `$0 "$@"` start this binary, and has it play `role`.
pub fn command_in_shell(shell: &[&str], script: &str, role: &str, database: &Path) -> Command {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("sh").arg("-c").arg(script);
    command.arg(std::env::current_exe().unwrap()).args(arguments());
    command.env(ROLE, role).env(DATABASE, database);
    command
}

fn arguments() -> [&'static str; 3] {
    ["--exact", "child::plays_the_role_that_its_parent_names", "--nocapture"]
}

/// A running child; killed when the test ends.
pub struct Running {
    pub process: Child,
    pub lines: BufReader<ChildStdout>,
    _stdin: ChildStdin,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let stdin = process.stdin.take().unwrap();
        Self { process, lines, _stdin: stdin }
    }

    /// Returns the next thing that the child says, or `None` at its end. A line that was cut by a kill is not said.
    pub fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = self.lines.read_line(&mut line).unwrap();
            if bytes == 0 || !line.ends_with('\n') {
                return None;
            }
            // The harness begins a line of its own, `test ... `, without ending it.
            if let Some((_, said)) = line.split_once('@') {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Kills the child as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Says something to the parent, at once and in one piece.
pub fn say(what: &str) {
    let line = format!("@{what}\n");
    // The parent may be gone; then nobody wants to hear it.
    let _ = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());
}

/// Waits until the parent closes this process's standard input, or ends.
pub fn wait_for_the_parent() {
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).unwrap();
}

fn hold(database: &Path) {
    let pipeline = forebay::Pipeline::open(&format!("sqlite:{}", database.display())).unwrap();
    pipeline.events().send_blocking(crate::harness::event("held")).unwrap().wait().unwrap();
    say("ready");
    wait_for_the_parent();
}

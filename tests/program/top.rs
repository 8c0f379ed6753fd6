//! `forebay top`: beside a real `forebay run`, in a terminal of its own, and before servers that mean harm.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::place::{Place, Running, free_address, wait_for};
use crate::run::{line, settings, start, tail, wait_for_messages};

const TOKEN: &str = "0123456789abcdef-top";

/// Starts `forebay run` that follows `a.json` and answers at the address returned.
fn serve(place: &Place, more: &str) -> (Running, String) {
    let address = free_address();
    settings(place, &(tail("log", "a.json") + &format!("[metrics]\nlisten = \"{address}\"\n{more}")));
    (start(place), address)
}

fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{202a}'..='\u{202e}')))
}

#[test]
fn once_it_tells_as_text_and_as_json_what_a_running_forebay_does() {
    let place = Place::new();
    let evil = "\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}";
    place.write("a.json", line(0) + &format!("{{\"msg\":{}}}\n", serde_json::to_string(&format!("{evil}!")).unwrap()));
    let (run, address) = serve(&place, "");
    wait_for_messages(&place, "forebay.db", 2);
    let shown = wait_for("both rows and the newest events", || {
        let outcome = place.run(&["top", "--once", &address]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
        (outcome.out.contains("newest events") && outcome.out.contains("sqlite  events")).then_some(outcome.out)
    });
    assert!(shown.starts_with("forebay ") && shown.contains(&format!("http://{address}/\n")), "{shown}");
    let row = |begin: &str| {
        let line = shown.lines().find(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{begin}: {shown}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("sqlite  events")[3..], ["2", "0", "0", "0"]);
    assert_eq!(row("log ")[..5], ["log", "tail", "running", "2", "0"]);
    assert_eq!(row("events ")[..4], ["events", "0", "65,536", "0"]);
    assert!(shown.contains("line 0") && shown.contains("\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}!"), "{shown}");
    assert!(is_harmless(&shown), "{shown:?}");
    // No terminal: once, too; and the settings name the address.
    let outcome = place.run(&["top", "--config", "forebay.toml"]);
    assert!(outcome.code == 0 && outcome.out.contains("sqlite  running"), "{outcome:?}");
    let outcome = place.run(&["top", "--json", &format!("http://{address}")]);
    assert_eq!((outcome.code, outcome.out.lines().count()), (0, 1), "{outcome:?}");
    assert_eq!(outcome.summary()["lanes"][0]["events"]["committed"], 2);
    assert!(outcome.summary().to_string().contains('\u{9b}') && is_harmless(&outcome.out), "{outcome:?}");
    run.signal("TERM");
    assert_eq!(run.finish().code, 0);
}

#[test]
fn an_address_where_nobody_answers_ends_with_3_and_a_hint_and_one_that_cannot_be_with_2() {
    let place = Place::new();
    for (address, code, hint) in [
        (free_address(), 3, "nobody listens there; is a forebay running"),
        ("https://127.0.0.1/".into(), 2, "https is not spoken here: ask through a proxy"),
        ("http://root:hunter2@127.0.0.1/".into(), 2, "the token is FOREBAY_METRICS_TOKEN"),
        ("127.0.0.1:http".into(), 2, "an address is `host:port`"),
    ] {
        for form in ["--once", "--json"] {
            let outcome = place.run(&["top", form, &address]);
            assert!(outcome.code == code && outcome.err.contains(hint) && outcome.out.is_empty(), "{outcome:?}");
            assert!(!outcome.err.contains("hunter2"), "{outcome:?}");
        }
    }
    place.write("tls.toml", "[metrics]\nlisten = '127.0.0.1:1'\n[metrics.tls]\ncert = 'c.pem'\nkey = 'k.pem'\n");
    let outcome = place.run(&["top", "--config", "tls.toml"]);
    assert!(outcome.code == 2 && outcome.err.contains("with `metrics.tls` these settings serve https"), "{outcome:?}");
}

#[test]
fn a_token_is_taken_from_the_environment_or_the_settings_and_never_shown() {
    let place = Place::new();
    place.write("a.json", line(0));
    place.write("token", format!("{TOKEN}\n"));
    let (run, address) = serve(&place, "token_file = \"token\"\n");
    let top = |arguments: &[&str], token: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(["top", "--once"]).args(arguments).envs(token.map(|token| ("FOREBAY_METRICS_TOKEN", token)));
        let outcome = place.start_command(command).finish();
        assert!(!(outcome.out.clone() + &outcome.err).contains("0123456789"), "{outcome:?}");
        outcome
    };
    for (arguments, token, code, told) in [
        (&[address.as_str()][..], None, 3, "asks for a token: set FOREBAY_METRICS_TOKEN"),
        (&[&address], Some("0123456789-another"), 3, "does not take this token"),
        (&[&address], Some("0123456789\r\nX: y"), 2, "a token is of ASCII characters"),
        (&[&address], Some(TOKEN), 0, ""),
        (&["--config", "forebay.toml"], None, 0, ""),
        (&["--config", "forebay.toml", &address], None, 0, ""),
        (&["--config", "forebay.toml"], Some("0123456789-another"), 3, "does not take this token"),
    ] {
        let outcome = top(arguments, token);
        assert!(outcome.code == code && outcome.err.contains(told), "{arguments:?}: {outcome:?}");
    }
    run.signal("TERM");
    assert_eq!(run.finish().code, 0);
}

/// Answers one request with whatever is given, and, if told so, without an end.
fn answer_once(answer: &'static [u8], is_endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        // The peer may end first in what follows: that is what is looked at.
        let _ = peer.read(&mut request);
        while peer.write_all(answer).is_ok() && is_endless {}
    });
    address
}

/// The one who answers may mean harm to the terminal, the memory or the time of who asks.
#[test]
fn a_server_that_means_harm_reaches_neither_terminal_nor_memory() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let waiting = place.start(&["top", "--once", &address]);
    for (answer, is_endless, told) in [
        (&b"SSH-2.0-\x1b[31mred\r\n\r\n"[..], false, "does not answer in HTTP"),
        (b"", false, "does not answer in HTTP"),
        (b"x: \x1b[31m", true, "too long for a status"),
        (b"HTTP/1.1 200 OK\r\n\r\n", true, "too long for a status"),
        (b"HTTP/1.1 200 OK\r\n\r\n{\"lanes\":\"\x1b[31mred\xc2\x9b\"}", false, "the answer is no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n{\"lanes\":\"\\u001b[31mred\xc2\x9b\"}", false, "the answer is no status"),
        (b"HTTP/1.1 200 OK\r\n\r\n\xff", false, "what is no text"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", false, "broke its answer off"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", false, "answers 302"),
        (b"HTTP/1.1 421 No\r\n\r\n", false, "metrics.hosts"),
    ] {
        let outcome = place.run(&["top", "--once", &answer_once(answer, is_endless)]);
        assert!(outcome.code == 3 && outcome.err.contains(told), "{told}: {outcome:?}");
        assert!(is_harmless(&outcome.err) && outcome.out.is_empty(), "{outcome:?}");
    }
    let hostile = b"HTTP/1.1 200 OK\r\n\r\n\
        {\"lanes\":[{\"lane\":\"\\u001b[2Jx\",\"state\":\"\\u001b]0;owned\\u0007\",\"error\":\"\\u009b31m\"}],\
        \"sources\":[{\"name\":\"\\u202ex\",\"state\":\"\\u001b[?1049l\",\"why\":\"a\\nb\\u001b[5n\"}],\
        \"version\":\"\xc2\x9b\xe2\x80\xae\",\"problems\":[\"\\u001b[31mred\"]}";
    let outcome = place.run(&["top", "--once", &answer_once(hostile, false)]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(is_harmless(&outcome.out) && outcome.out.contains("\\u{1b}[31mred\n"), "{outcome:?}");
    let outcome = place.run(&["top", "--json", &answer_once(hostile, false)]);
    assert!(is_harmless(&outcome.out) && outcome.summary()["version"] == "\u{9b}\u{202e}", "{outcome:?}");
    let outcome = waiting.finish();
    assert!(outcome.code == 3 && outcome.err.contains("no answer within 5 s"), "{outcome:?}");
}

/// A terminal, from the side of who sits before it.
struct Terminal {
    master: File,
    /// Held open, so that the terminal outlives the program.
    slave: File,
    name: String,
    shown: String,
}

impl Terminal {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(&name).unwrap();
        fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
        let terminal = Self { master: File::from(master), slave, name, shown: String::new() };
        terminal.resize(40, 100);
        terminal
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    /// Starts `forebay top` in it.
    fn start(&self, place: &Place, arguments: &[&str]) -> Running {
        let mut command = Command::new("sh");
        let line = "exec \"$0\" top --interval 100ms \"$@\" <\"$TERMINAL\" >\"$TERMINAL\"";
        command.args(["-c", line, env!("CARGO_BIN_EXE_forebay")]).args(arguments);
        command.env("TERMINAL", &self.name).env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        place.start_command(command)
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    fn read(&mut self) {
        let mut piece = [0; 1 << 16];
        while let Ok(length @ 1..) = self.master.read(&mut piece) {
            self.shown.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    }

    /// Waits until something is drawn that was not there at the last call.
    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |shown| shown.contains(text));
    }

    fn wait_until(&mut self, what: &str, is_shown: impl Fn(&str) -> bool) {
        wait_for(&format!("{what:?} on the terminal"), || {
            self.read();
            is_shown(&self.shown).then_some(())
        });
        self.shown.clear();
    }

    /// Whether all that was changed is as it was.
    #[track_caller]
    fn assert_given_back(&mut self, modes: &str) {
        self.read();
        assert_eq!(self.modes(), modes);
        assert!(self.shown.ends_with("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l"), "{:?}", self.shown);
    }
}

#[test]
fn in_a_terminal_it_lives_through_rows_a_lost_server_and_another_size() {
    let place = Place::new();
    place.write("a.json", line(0));
    let (run, address) = serve(&place, "");
    let mut terminal = Terminal::new();
    let modes = terminal.modes();
    let top = terminal.start(&place, &[&address]);
    terminal.wait_for("\u{1b}[?1049h");
    terminal.wait_for("line 0");
    assert_ne!(terminal.modes(), modes);
    place.append("a.json", line(1));
    terminal.wait_for("line 1");
    run.kill();
    terminal.wait_for("no answer for ");
    // What was last known stays in sight.
    terminal.wait_for("line 1");
    let again = start(&place);
    terminal.wait_for("  ready  ");
    terminal.resize(4, 30);
    top.signal("WINCH");
    let is_cut = |line: &str| line.contains(" more lines: ") && line.ends_with('…');
    terminal.wait_until("a line for those that do not fit, cut itself", |shown| shown.split('\u{1b}').any(is_cut));
    terminal.press(b"xq");
    let outcome = top.finish();
    assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
    terminal.assert_given_back(&modes);
    again.signal("TERM");
    assert_eq!(again.finish().code, 0);
}

#[test]
fn whatever_ends_it_the_terminal_is_given_back() {
    let place = Place::new();
    place.write("a.json", line(0));
    let (run, address) = serve(&place, "");
    for end in ["q", "\u{3}", "TERM", "HUP", "INT"] {
        let mut terminal = Terminal::new();
        let modes = terminal.modes();
        let top = terminal.start(&place, &[&address]);
        terminal.wait_for("q ends");
        match end {
            "TERM" | "HUP" | "INT" => top.signal(end),
            key => terminal.press(key.as_bytes()),
        }
        let outcome = top.finish();
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{end:?}: {outcome:?}");
        terminal.assert_given_back(&modes);
    }
    // Ctrl-Z gives it back too, for as long as others have it.
    let mut terminal = Terminal::new();
    let modes = terminal.modes();
    let top = terminal.start(&place, &[&address]);
    terminal.wait_for("q ends");
    terminal.press(b"\x1a");
    let stat = format!("/proc/{}/stat", top.pid());
    wait_for("it to stop", || std::fs::read_to_string(&stat).unwrap().contains(") T ").then_some(()));
    terminal.assert_given_back(&modes);
    terminal.shown.clear();
    top.signal("CONT");
    terminal.wait_for("\u{1b}[?1049h");
    terminal.wait_for("q ends");
    terminal.press(b"q");
    assert_eq!(top.finish().code, 0);
    terminal.assert_given_back(&modes);
    run.signal("TERM");
    assert_eq!(run.finish().code, 0);
}

#[test]
fn before_a_terminal_is_touched_the_server_must_have_answered() {
    let place = Place::new();
    let mut terminal = Terminal::new();
    let modes = terminal.modes();
    let outcome = terminal.start(&place, &[&free_address()]).finish();
    assert!(outcome.code == 3 && outcome.err.contains("nobody listens there"), "{outcome:?}");
    terminal.read();
    assert_eq!((terminal.modes(), terminal.shown.as_str()), (modes, ""));
}

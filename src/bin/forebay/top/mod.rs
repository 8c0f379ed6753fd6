//! `forebay top`: what a running forebay says of itself, live in a terminal.
//!
//! It asks `/api/status`, as the status page does, so it needs no right on the database and sees a host of the library as
//! well as the program. `address` says whom to ask, `client` asks, `status` is the answer, `picture` makes lines of it
//! (pure), `screen` puts them on a terminal and gives it back. Three threads tell the loop what happens, over one channel:
//! answers, keys and signals; so neither a slow server nor a lost one keeps `q` waiting.
//!
//! An answer is text from outside, of whoever listens there: whatever of it is shown is made harmless in `picture`.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use forebay::config::parse_duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

mod address;
mod client;
mod picture;
mod screen;
mod status;

use crate::Exit;
use crate::ask::{is_unicode, plain};
use crate::ingest::Failure;
use crate::kept::{self, usage};
use crate::settings::Metrics;
use crate::{signals, terminal};
use address::Address;
use client::Client;
use picture::{Line, Picture, Tone};
use screen::Screen;
use status::Status;

pub const HELP: &str = "\
Examples:
  forebay top                                        the forebay of these settings, else at 127.0.0.1:9464
  forebay top 192.0.2.7:9464                         the token from FOREBAY_METRICS_TOKEN
  forebay top http://127.0.0.1:8080/forebay/         behind a proxy
  forebay top --once | grep sqlite                   as text, once; so too when standard output is no terminal
  forebay top --json | jq '.lanes[].state'           for machines

q and Ctrl-C end it. A server that goes away is asked again. The token is FOREBAY_METRICS_TOKEN; without that variable the one of \
`metrics.token_file`, which is sent to this machine only. https is not spoken: ask through a proxy of this machine, or \
with `curl`.

Exit codes:
  0    shown; or ended by q, Ctrl-C or SIGTERM
  2    wrong usage or configuration
  3    there was no answer, or one that is no status";

/// How often a picture that nothing changes is drawn anew, for the time since the last answer.
const REDRAW: Duration = Duration::from_secs(1);
/// How long a server that has nothing to tell yet is asked again, before the first answer.
const BEGINNING: Duration = Duration::from_secs(3);
const CTRL_C: u8 = 3;
const CTRL_Z: u8 = 26;

#[derive(Debug, Args)]
pub struct Top {
    /// Whom to ask: `host:port` or an http URL. Default: `metrics.listen`, else http://127.0.0.1:9464/
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    /// Print the figures once, as text.
    #[arg(long)]
    once: bool,
    /// Print the server's answer once, as JSON on one line.
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Time between two questions. The server looks once a second.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_millis(100)..=Duration::from_secs(3600);
    parse_duration(text).and_then(|time| bounds.contains(&time).then_some(time).ok_or("must be 100ms to 1h".into()))
}

/// What the loop waits for.
enum Happening {
    Answer(Result<Box<Status>, String>),
    Key(u8),
    Resized,
    Stop,
}

impl Top {
    /// Asks and shows; on a terminal again and again.
    ///
    /// # Errors
    /// [`Failure`], when there was no first answer.
    pub fn run(&self, metrics: &Metrics, environment: impl Fn(&str) -> Option<String>) -> Result<Exit, Failure> {
        let address = match &self.address {
            Some(text) => Address::parse(text),
            None => Address::of(metrics),
        };
        let address = address.map_err(usage)?;
        let token = token(&address, self.address.is_none(), metrics, environment("FOREBAY_METRICS_TOKEN"))?;
        let client = Client::new(address, token).map_err(usage)?;
        let (text, status) = first(&client).map_err(|message| Failure { exit: Exit::NotWritten, message })?;
        if self.json {
            let mut line = String::with_capacity(text.len() + 1);
            plain(text.trim(), &mut line);
            terminal::print(&(line + "\n"));
            return Ok(Exit::Done);
        }
        let is_simple = environment("TERM").is_none_or(|term| term == "dumb");
        let mut picture = Picture::new(client.address().to_string(), is_unicode(&environment));
        picture.answered(status);
        if self.once || is_simple || !io::stdout().is_terminal() {
            let columns = terminal::columns().unwrap_or(usize::MAX);
            let cut = |line: Line| terminal::head(&line.text, columns) + "\n";
            terminal::print(&picture.lines().into_iter().map(cut).collect::<String>());
            return Ok(Exit::Done);
        }
        let failed =
            |error: io::Error| Failure { exit: Exit::NotWritten, message: format!("use the terminal: {error}") };
        let screen = Screen::open(environment("NO_COLOR").is_none()).map_err(failed)?;
        let ended = self.show(client, picture, &screen);
        drop(screen);
        ended.map_err(failed)
    }

    /// Draws until somebody ends it.
    fn show(&self, client: Client, mut picture: Picture, screen: &Screen) -> io::Result<Exit> {
        let (happens, happening) = mpsc::channel();
        watch_signals(happens.clone())?;
        read_keys(happens.clone())?;
        ask(client, self.interval, happens)?;
        loop {
            if !screen.is_ours() {
                return Err(io::Error::other("a thread has ended early"));
            }
            let mut lines = picture.lines();
            lines.insert(1, Line { tone: Tone::Dim, text: "q ends".into() });
            if screen.draw(&picture::fit(lines, screen.size())).is_err() {
                // The terminal is gone; nobody is left to be told.
                return Ok(Exit::Done);
            }
            match happening.recv_timeout(REDRAW) {
                Ok(Happening::Answer(Ok(status))) => picture.answered(*status),
                Ok(Happening::Answer(Err(why))) => picture.unanswered(&why),
                Ok(Happening::Key(b'q' | b'Q' | CTRL_C) | Happening::Stop) => return Ok(Exit::Done),
                Ok(Happening::Key(CTRL_Z)) => {
                    screen.suspended(|| signal_hook::low_level::emulate_default_handler(SIGTSTP))?
                }
                Ok(Happening::Key(_) | Happening::Resized) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("its threads have ended")),
            }
        }
    }
}

/// Returns what to show the server. The settings' own token is for the process that runs with them, which is on this machine.
fn token(
    address: &Address,
    is_default: bool,
    metrics: &Metrics,
    variable: Option<String>,
) -> Result<Option<String>, Failure> {
    let file = metrics.token_file.as_deref().filter(|_| is_default || address.is_loopback());
    let read = |path: &Path| Ok(kept::first_line(&kept::read(path, 1 << 16)?).trim().to_owned());
    variable.map_or_else(|| file.map(read).transpose(), |token| Ok(Some(token)))
}

/// Asks until there is something to show: a server that has just begun has not looked yet.
fn first(client: &Client) -> Result<(String, Status), String> {
    let began = Instant::now();
    loop {
        let text = client.ask()?;
        match Status::parse(&text) {
            Ok(status) => return Ok((text, status)),
            Err(why) if !status::is_empty(&text) || began.elapsed() > BEGINNING => return Err(why),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn ask(client: Client, interval: Duration, happens: Sender<Happening>) -> io::Result<()> {
    let asking = move || {
        loop {
            thread::sleep(interval);
            let answer = client.ask().and_then(|text| Status::parse(&text)).map(Box::new);
            if happens.send(Happening::Answer(answer)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("ask".into()).spawn(asking).map(drop)
}

fn read_keys(happens: Sender<Happening>) -> io::Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let reading = move || {
        let mut key = [0];
        loop {
            let happening = match io::stdin().lock().read(&mut key) {
                Ok(1..) => Happening::Key(key[0]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The terminal has hung up.
                _ => Happening::Stop,
            };
            let is_last = matches!(happening, Happening::Stop);
            if happens.send(happening).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(reading).map(drop)
}

fn watch_signals(happens: Sender<Happening>) -> io::Result<()> {
    let mut watched = signals::not_ignored(&[SIGINT, SIGTERM, SIGHUP]);
    watched.push(SIGWINCH);
    let mut signals = Signals::new(watched)?;
    let watching = move || {
        for signal in signals.forever() {
            let happening = if signal == SIGWINCH { Happening::Resized } else { Happening::Stop };
            if happens.send(happening).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watching).map(drop)
}

//! Makes lines of a status, and fits them into a terminal. Pure but for the time since the last answer.
//!
//! Most important first: what does not fit is cut at the bottom and at the right, and said to be. Every text of an answer
//! is made harmless here, and short, so that no name pushes the figures out of sight.

use std::time::Instant;

use forebay::Timestamp;

use super::status::{Lane, Source, Status};
use crate::ask::bar;
use crate::table::{Side, Table};
use crate::terminal::{Harmless, head, thousands};

/// Most columns of a name, and characters of a text.
const NAME: usize = 24;
const TEXT: usize = 200;
/// Seconds of a lane's course that are drawn.
const COURSE: usize = 60;
const NONE: &str = "-";

/// How a line is to strike the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Title,
    Good,
    Warn,
    Bad,
    Dim,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub tone: Tone,
    pub text: String,
}

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
}

/// The last answer, and what has become of the server since.
pub struct Picture {
    address: String,
    is_unicode: bool,
    status: Status,
    answered: Instant,
    trouble: Option<String>,
}

impl Picture {
    pub fn new(address: String, is_unicode: bool) -> Self {
        Self { address, is_unicode, status: Status::default(), answered: Instant::now(), trouble: None }
    }

    pub fn answered(&mut self, status: Status) {
        (self.status, self.answered, self.trouble) = (status, Instant::now(), None);
    }

    /// Notes that there was no answer; the last one stays in sight.
    pub fn unanswered(&mut self, why: &str) {
        self.trouble = Some(Harmless(why, TEXT).to_string());
    }

    pub fn lines(&self) -> Vec<Line> {
        let status = &self.status;
        let mut lines = vec![self.first()];
        let mut say = |tone, text| lines.push(Line { tone, text });
        if let Some(trouble) = &self.trouble {
            let since = span(self.answered.elapsed().as_secs_f64());
            say(Tone::Bad, format!("no answer for {since}, asked again; what follows was before: {trouble}"));
        }
        for problem in &status.problems {
            say(Tone::Bad, Harmless(problem, TEXT).to_string());
        }
        for lane in &status.lanes {
            if let Some(error) = &lane.error {
                let attempts = if lane.attempts > 0 { format!(", {} attempts", lane.attempts) } else { String::new() };
                say(
                    Tone::Bad,
                    format!("{} {}{attempts}: {}", name(&lane.lane), name(&lane.state), Harmless(error, TEXT)),
                );
            }
        }
        for source in &status.sources {
            if let Some(why) = &source.why {
                say(
                    tone(&source.state),
                    format!("{} {}: {}", name(&source.name), name(&source.state), Harmless(why, TEXT)),
                );
            }
        }
        add(&mut lines, &self.lanes(), status.lanes.iter().map(|lane| tone(&lane.state)));
        add(&mut lines, &self.kinds(), []);
        add(&mut lines, &self.queues(), []);
        add(&mut lines, &self.sources(), status.sources.iter().map(|source| tone(&source.state)));
        add(&mut lines, &self.rejects(), []);
        add(&mut lines, &self.events(), []);
        add(&mut lines, &self.figures(), []);
        lines
    }

    fn first(&self) -> Line {
        let status = &self.status;
        let (tone, verdict) = match (&self.trouble, status.ready, status.healthy) {
            (Some(_), ..) => (Tone::Bad, "no answer"),
            (None, true, _) => (Tone::Good, "ready"),
            (None, false, true) => (Tone::Warn, "not ready"),
            (None, false, false) => (Tone::Bad, "unhealthy"),
        };
        let up = span(status.at - status.started_at);
        let text =
            format!("forebay {}  {verdict}  up {up}  {}  {}", name(&status.version), utc(status.at), self.address);
        Line { tone, text }
    }

    fn lanes(&self) -> Table<10> {
        let mut table = Table::new([
            ("lane", Side::Left),
            ("state", Side::Left),
            ("rows/s", Side::Right),
            ("last commit", Side::Right),
            ("oldest", Side::Right),
            ("latency p50", Side::Right),
            ("p90", Side::Right),
            ("p99", Side::Right),
            ("writing", Side::Right),
            ("last minute", Side::Left),
        ]);
        for lane in &self.status.lanes {
            let Lane { latency, in_flight_batches, slots, .. } = lane;
            let ago = lane.last_commit.map_or_else(|| "never".into(), |at| span(self.status.at - at) + " ago");
            table.push([
                name(&lane.lane),
                name(&lane.state),
                rate(lane.events.per_second + lane.captures.per_second),
                ago,
                maybe(lane.oldest_seconds, span),
                maybe(latency.p50, span),
                maybe(latency.p90, span),
                maybe(latency.p99, span),
                format!("{in_flight_batches} of {slots}"),
                self.course(&lane.history),
            ]);
        }
        table
    }

    fn kinds(&self) -> Table<7> {
        let mut table = Table::new([
            ("lane", Side::Left),
            ("rows", Side::Left),
            ("rows/s", Side::Right),
            ("committed", Side::Right),
            ("waiting", Side::Right),
            ("set aside", Side::Right),
            ("failed", Side::Right),
        ]);
        for lane in &self.status.lanes {
            for (kind, of) in [("events", &lane.events), ("captures", &lane.captures)] {
                table.push([
                    name(&lane.lane),
                    kind.into(),
                    rate(of.per_second),
                    thousands(of.committed),
                    thousands(of.queued.saturating_add(of.in_flight)),
                    thousands(of.rejected),
                    thousands(of.failed),
                ]);
            }
        }
        table
    }

    fn queues(&self) -> Table<5> {
        let mut table = Table::new([
            ("queue", Side::Left),
            ("holds", Side::Right),
            ("most", Side::Right),
            ("dropped", Side::Right),
            ("filled", Side::Left),
        ]);
        let buffer = &self.status.buffer;
        // More than all of it is all of it: figures of one moment may differ by a few rows.
        let bar = |held: u64, most: u64| bar(held.min(most), most, self.is_unicode);
        for (kind, queue) in [("events", &buffer.events), ("captures", &buffer.captures)] {
            let (held, most) = (queue.rows, queue.max_rows);
            table.push([kind.into(), thousands(held), thousands(most), thousands(queue.discarded), bar(held, most)]);
        }
        let (held, most) = (buffer.bytes, buffer.max_bytes);
        table.push(["bytes".into(), size(held), size(most), String::new(), bar(held, most)]);
        table
    }

    fn sources(&self) -> Table<9> {
        let mut table = Table::new([
            ("source", Side::Left),
            ("kind", Side::Left),
            ("state", Side::Left),
            ("rows", Side::Right),
            ("set aside", Side::Right),
            ("to read", Side::Right),
            ("latest row", Side::Right),
            ("peers", Side::Right),
            ("lost", Side::Right),
        ]);
        for source in &self.status.sources {
            let Source { rows, malformed, lag_bytes, latest, peers, kernel_drops, .. } = source;
            table.push([
                name(&source.name),
                name(&source.kind),
                name(&source.state),
                thousands(*rows),
                thousands(*malformed),
                maybe(*lag_bytes, size),
                maybe(*latest, |latest| span((self.status.at - latest).max(0.0)) + " ago"),
                maybe(*peers, thousands),
                maybe(*kernel_drops, thousands),
            ]);
        }
        table
    }

    fn rejects(&self) -> Table<4> {
        let mut table =
            Table::new([("set aside", Side::Left), ("of", Side::Left), ("why", Side::Left), ("rows", Side::Right)]);
        for lane in &self.status.lanes {
            for reject in &lane.rejects {
                table.push([name(&lane.lane), name(&reject.kind), name(&reject.reason), thousands(reject.rows)]);
            }
        }
        table
    }

    fn events(&self) -> Table<6> {
        let columns = ["newest events", "sensor", "service", "event_type", "src", "msg"];
        let mut table = Table::new(columns.map(|title| (title, Side::Left)));
        for event in &self.status.events {
            let text = |text: &Option<String>| {
                text.as_ref().map_or_else(|| NONE.into(), |text| Harmless(text, TEXT).to_string())
            };
            let (sensor, service, kind) = (name(&event.sensor), name(&event.service), name(&event.event_type));
            table.push([utc(event.at), sensor, service, kind, text(&event.src), text(&event.msg)]);
        }
        table
    }

    fn figures(&self) -> Table<3> {
        let mut table = Table::new([("backend", Side::Left), ("of", Side::Left), ("figure", Side::Right)]);
        for figure in &self.status.backends {
            let title = figure.name.strip_prefix("forebay_").unwrap_or(&figure.name);
            let labels: Vec<String> = figure.labels.values().map(|value| name(value)).collect();
            let value = |value: f64| if title.ends_with("_bytes") { size(value as u64) } else { rate(value) };
            table.push([Harmless(title, 60).to_string(), labels.join(" "), maybe(figure.value, value)]);
        }
        table
    }

    /// Draws the rows of each of the last seconds, the highest as high as a line is.
    fn course(&self, history: &[f64]) -> String {
        let steps: &[char] = if self.is_unicode {
            &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']
        } else {
            &[' ', '.', ':', '-', '=', '+', '*', '%', '#']
        };
        let last = &history[history.len().saturating_sub(COURSE)..];
        let most = last.iter().copied().fold(1.0, f64::max);
        last.iter().map(|rows| steps[((rows / most * 8.0).ceil() as usize).min(8)]).collect()
    }
}

/// Adds a table under an empty line, if there is anything in it.
fn add<const N: usize>(lines: &mut Vec<Line>, table: &Table<N>, tones: impl IntoIterator<Item = Tone>) {
    let text = table.to_string();
    if text.lines().nth(1).is_none() {
        return;
    }
    lines.push(Line { tone: Tone::Plain, text: String::new() });
    let tones = std::iter::once(Tone::Title).chain(tones).chain(std::iter::repeat(Tone::Plain));
    lines.extend(text.lines().zip(tones).map(|(text, tone)| Line { tone, text: text.to_owned() }));
}

/// Cuts lines to what a terminal shows, and says how many are left out.
pub fn fit(mut lines: Vec<Line>, size: Size) -> Vec<Line> {
    if lines.len() > size.rows {
        let hidden = lines.len() - size.rows.saturating_sub(1);
        lines.truncate(size.rows.saturating_sub(1));
        let text = format!("{hidden} more lines: make the terminal taller, or take --once");
        lines.push(Line { tone: Tone::Dim, text });
        lines.truncate(size.rows);
    }
    for line in &mut lines {
        line.text = if size.columns == 0 { String::new() } else { head(&line.text, size.columns) };
    }
    lines
}

fn tone(state: &str) -> Tone {
    match state {
        "running" => Tone::Plain,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    }
}

fn name(text: &str) -> String {
    head(&Harmless(text, NAME).to_string(), NAME)
}

fn maybe<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.into(), text)
}

/// Below zero, and what is no number, counts as nothing.
fn rate(rows: f64) -> String {
    thousands(rows.round() as u64)
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(5);
    format!("{:.1} {}", bytes as f64 / 1024_f64.powi(power as i32), UNITS[power as usize - 1])
}

fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let whole = |unit: f64| (seconds / unit).round() as u64;
    match seconds {
        ..0.01 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{} ms", whole(0.001)),
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{} min", whole(60.0)),
        ..172_800.0 => format!("{} h", whole(3600.0)),
        _ => format!("{} d", whole(86_400.0)),
    }
}

/// Returns a time to the second; what is beyond the calendar is not known.
fn utc(seconds: f64) -> String {
    let text = Timestamp::from_nanos((seconds * 1e9) as i64).to_string();
    // 2026-11-20T08:15:00.000000001Z
    text.get(..19).filter(|_| text.len() == 30).map_or_else(|| NONE.into(), |text| format!("{text}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::{is_printable, width};

    const ANSWER: &str = r#"{"version":"0.1.0","at":1000000100.5,"started_at":1000000000,"healthy":true,"ready":true,"problems":[],
        "buffer":{"bytes":2097152,"max_bytes":67108864,"events":{"rows":32768,"max_rows":65536,"discarded":7},"captures":{"rows":0,"max_rows":65536,"discarded":0}},
        "lanes":[{"lane":"sqlite","state":"running","error":null,"attempts":0,
            "events":{"per_second":1234.4,"accepted":9,"committed":1234567,"rejected":3,"failed":0,"queued":30,"in_flight":2},
            "captures":{"per_second":0},"history":[0,50,100],"in_flight_batches":1,"slots":1,"oldest_seconds":0.0123,
            "last_commit":1000000100.1,"latency":{"p50":0.0512,"p90":1.5,"p99":null},"rejects":[{"kind":"events","reason":"bad_json","rows":3}]}],
        "sources":[{"name":"eve","kind":"tail","state":"running","why":null,"rows":5,"malformed":0,"lag_bytes":1536,"latest":999999900.5}],
        "backends":[{"name":"forebay_sqlite_wal_bytes","labels":{"lane":"sqlite"},"value":4096}],"unknown":[1]}"#;

    fn picture(answer: &str) -> Picture {
        let mut picture = Picture::new("http://h:1/".into(), true);
        picture.answered(Status::parse(answer).unwrap());
        picture
    }

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| line.text.clone() + "\n").collect()
    }

    #[test]
    fn every_figure_is_in_its_place() {
        let shown = text(&picture(ANSWER).lines());
        let expected = "\
forebay 0.1.0  ready  up 100.5 s  2001-09-09T01:48:20Z  http://h:1/

lane    state    rows/s  last commit  oldest  latency p50    p90  p99  writing  last minute
sqlite  running   1,234   400 ms ago   12 ms        51 ms  1.5 s    -   1 of 1   ▄█

lane    rows      rows/s  committed  waiting  set aside  failed
sqlite  events     1,234  1,234,567       32          3       0
sqlite  captures       0          0        0          0       0

queue       holds      most  dropped  filled
events     32,768    65,536        7  ████████████████████
captures        0    65,536        0
bytes     2.0 MiB  64.0 MiB           █▎

source  kind  state    rows  set aside  to read  latest row  peers  lost
eve     tail  running     5          0  1.5 KiB   3 min ago      -     -

set aside  of      why       rows
sqlite     events  bad_json     3

backend           of       figure
sqlite_wal_bytes  sqlite  4.0 KiB
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn troubles_come_first_and_the_last_answer_stays() {
        let answer = ANSWER
            .replace("\"ready\":true,\"problems\":[]", "\"ready\":false,\"problems\":[\"lane sqlite retries\"]")
            .replace("\"running\",\"error\":null,\"attempts\":0", "\"retrying\",\"error\":\"disk full\",\"attempts\":4")
            .replace("\"running\",\"why\":null", "\"waiting\",\"why\":\"eth0 is down\"");
        let mut picture = picture(&answer);
        let lines = picture.lines();
        let told: Vec<_> = lines[..4].iter().map(|line| (line.tone, line.text.as_str())).collect();
        assert!(told[0].0 == Tone::Warn && told[0].1.contains("not ready"), "{told:?}");
        assert_eq!(
            told[1..],
            [
                (Tone::Bad, "lane sqlite retries"),
                (Tone::Bad, "sqlite retrying, 4 attempts: disk full"),
                (Tone::Warn, "eve waiting: eth0 is down"),
            ]
        );
        picture.unanswered("ask h: nobody\u{1b}[2J listens");
        let lines = picture.lines();
        assert_eq!(lines[0].tone, Tone::Bad);
        assert!(lines[1].text.ends_with("what follows was before: ask h: nobody\\u{1b}[2J listens"), "{lines:?}");
        assert!(text(&lines).contains("1,234,567"));
    }

    #[test]
    fn hostile_text_stays_on_its_line_and_in_its_column() {
        let evil = r#"\u001b]0;owned\u0007\u009b31m\u202e\n\r日本日本日本日本日本日本日本日本日本日本"#;
        let strings = ["version", "lane", "state", "name", "kind", "reason"];
        let mut answer = strings.iter().fold(ANSWER.to_owned(), |answer, key| {
            let key = format!("\"{key}\":\"");
            answer.replace(&key, &format!("{key}{evil}"))
        });
        answer = answer.replace("\"problems\":[]", &format!("\"problems\":[\"{evil}\"]"));
        answer = answer.replace("null,\"rows\"", &format!("\"{evil}\",\"rows\""));
        let event = format!(r#""events":[{{"at":1e300,"sensor":"{evil}","src":"{evil}","msg":"{evil}"}}],"unknown""#);
        let lines = picture(&answer.replace("\"unknown\"", &event)).lines();
        for line in &lines {
            assert!(line.text.chars().all(is_printable), "{line:?}");
        }
        let size = Size { rows: 12, columns: 30 };
        let fitted = fit(lines, size);
        assert_eq!(fitted.len(), 12);
        assert!(fitted.iter().all(|line| width(&line.text) <= 30), "{fitted:?}");
    }

    #[test]
    fn numbers_beyond_all_bounds_do_no_harm() {
        let answer =
            ANSWER.replace("1234.4", "-1e308").replace("[0,50,100]", "[1e308,-1e308,1e308]").replace("0.0123", "1e308");
        let shown = text(&picture(&answer.replace("1000000100.5", "1e308").replace("4096", "1e308")).lines());
        assert!(shown.lines().all(|line| line.len() < 300), "{shown}");
        assert!(
            Status::parse("{}").is_err() && Status::parse("[]").is_err() && Status::parse(&"[".repeat(10_000)).is_err()
        );
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_to_be() {
        let lines = picture(ANSWER).lines();
        let count = lines.len();
        let fitted = fit(lines.clone(), Size { rows: 4, columns: 20 });
        assert_eq!(fitted.len(), 4);
        assert_eq!(fitted[0].text, "forebay 0.1.0  read…");
        assert!(fitted[3].text.starts_with(&format!("{} more lines", count - 3)), "{fitted:?}");
        for (rows, columns) in [(0, 0), (1, 1), (1, 0), (0, 80), (count, 80)] {
            assert!(fit(lines.clone(), Size { rows, columns }).len() <= rows);
        }
    }
}

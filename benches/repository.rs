//! What a host's questions cost, on SQLite and on a server, and what they cost the writer: `cargo bench --bench repository`.
//!
//! Three parts. A large SQLite file, and a private MariaDB: four questions of a dashboard through `Repository`, and the same
//! in SQL by hand, taking turns; answers are compared before they are timed. Then a writer at full speed on SQLite, alone
//! and beside readers, taking turns. `queries.rs` asks more of SQLite, also through its view.

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod asking;
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod grown;
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod mariadb;
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod sample;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asking::{Answer, Question, Tools};
use forebay::backend::Backend;
use forebay::backend::sqlite::Sqlite;
use forebay::repository::{EventColumn, Filter, Repository};
use forebay::{Config, Pipeline};
use grown::{BATCH, Grown, Rows, load, settle};
use mariadb::{Server, block_on};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};
use sample::{machine, median};

const HELP: &str = "\
Measures questions through Repository beside the same SQL by hand, and a writer beside readers.

  cargo bench --bench repository -- [options]

  --rows N         rows of the SQLite file [10000000]
  --server-rows N  rows on the server [2000000]
  --seconds S      time for each question [5]
  --load S         seconds of each round of the writer [10]
  --rounds N       rounds of the writer, alone and beside readers each [3]
  --readers N      readers beside it [4]
  --only PART      sqlite, server or writer
  --dir PATH       where files and the server's data are written [the target directory]
  --keep           leaves the SQLite file there, and uses the one that is; as of the bench `queries`

Rows are spread over four days. The server is asked by statements that are prepared once, all columns read.
";
const DAYS: f64 = 4.0;
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000_000_000;
/// Between two questions of a reader that is not busy all the time.
const PAUSE: Duration = Duration::from_millis(200);

struct Settings {
    rows: usize,
    server_rows: usize,
    each: Duration,
    load: Duration,
    rounds: usize,
    readers: usize,
    only: String,
    dir: PathBuf,
    is_kept: bool,
}

fn main() {
    let settings = settings();
    println!("{}", machine());
    let is_asked = |part: &str| settings.only.is_empty() || settings.only == part;
    if is_asked("sqlite") {
        sqlite(&settings);
    }
    if is_asked("server") {
        server(&settings);
    }
    if is_asked("writer") {
        writer(&settings);
    }
}

/// What a dashboard asks; `end` is the time after the last row.
fn questions(repository: &Repository, end: i64) -> [Question; 4] {
    let top = repository.events().count_by(EventColumn::SrcIp, &Filter::new(), 1).expect("an answer");
    let frequent = top[0].key.clone().expect("every row of the sample has one");
    [
        Question::NewestByTime,
        Question::NewestOf("the most frequent address", frequent),
        Question::HoursOfDay(end - DAY, end),
        Question::AddressesOfDay(end - DAY, end),
    ]
}

fn sqlite(settings: &Settings) {
    let own = tempfile::tempdir_in(&settings.dir).expect("a directory for the files");
    let grown = Grown::new(if settings.is_kept { &settings.dir } else { own.path() }, settings.rows, DAYS);
    grown.make();
    let tools = Tools::open(&grown);
    let repository = Repository::open(&format!("sqlite:{}", grown.ours.display())).expect("our file");
    title("SQLite, one ordinary table", settings.rows);
    for question in questions(&repository, grown.end()) {
        compare(&question, settings.each, || question.ask(&repository), || tools.table(&question));
    }
}

fn server(settings: &Settings) {
    let server = Server::start(&settings.dir);
    server.run(&[
        "CREATE DATABASE sensors",
        "CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'bench'",
        "GRANT ALL ON sensors.* TO writer@'127.0.0.1'",
    ]);
    let url = format!("mysql://writer:bench@127.0.0.1:{}/sensors", server.port);
    let pipeline = Pipeline::open(&url).expect("the server just started");
    let (producer, step) = (pipeline.events(), (DAYS * DAY as f64 / settings.server_rows as f64) as i64);
    let mut rows = Rows::new(0, step);
    for from in (0..settings.server_rows).step_by(BATCH) {
        let batch = rows.events(BATCH.min(settings.server_rows - from));
        drop(producer.send_many_blocking(batch).expect("a pipeline that runs"));
    }
    drop(producer);
    assert!(pipeline.shutdown_blocking(Duration::from_secs(300)).is_complete());
    server.run(&["ANALYZE TABLE sensors.events"]);
    let repository = Repository::open(&url).expect("the server just filled");
    let end = grown::Grown::new(&settings.dir, settings.server_rows, DAYS).end();
    title(&format!("MariaDB {}", server.ask("SELECT version()")), settings.server_rows);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut connection = runtime.block_on(Conn::new(server.options(Some("sensors")))).expect("a connection of our own");
    for question in questions(&repository, end) {
        let (sql, values) = by_hand(&question);
        let mut ask = || {
            let rows: Vec<Row> = runtime.block_on(connection.exec(sql, values.clone())).expect("an answer");
            rows.into_iter().map(answer).collect()
        };
        compare(&question, settings.each, || question.ask(&repository), &mut ask);
    }
    block_on(connection.disconnect()).expect("the server takes leave");
}

/// The question in the server's SQL, with what is bound.
fn by_hand(question: &Question) -> (&'static str, Vec<Value>) {
    match question {
        Question::NewestByTime => ("SELECT * FROM events ORDER BY ts DESC, id DESC LIMIT 50", vec![]),
        Question::NewestOf(_, address) => {
            ("SELECT * FROM events WHERE src_ip = ? ORDER BY ts DESC, id DESC LIMIT 50", vec![address.into()])
        }
        Question::HoursOfDay(from, end) => {
            let sql = "SELECT CAST(ts DIV 3600000000000 * 3600000000000 AS CHAR) AS hour, count(*) FROM events \
                       WHERE ts >= ? AND ts < ? GROUP BY 1 ORDER BY 1";
            (sql, vec![from.into(), end.into()])
        }
        Question::AddressesOfDay(from, end) => {
            let sql = "SELECT src_ip, count(*) AS found FROM events WHERE ts >= ? AND ts < ? GROUP BY 1 \
                       ORDER BY 2 DESC, 1 LIMIT 10";
            (sql, vec![from.into(), end.into()])
        }
        other => unreachable!("{} is not asked of a server", other.name()),
    }
}

/// An id of a page, or a name and its count.
fn answer(row: Row) -> (String, i64) {
    let number = |place| row.get::<i64, _>(place).expect("a number");
    if row.len() == 2 { (row.get(0).expect("a name"), number(1)) } else { (String::new(), number(0)) }
}

fn title(what: &str, rows: usize) {
    println!("\n{what}: {rows} rows over {DAYS} days, warm; milliseconds, medians");
    println!("{:<42} {:>10} {:>10} {:>8} {:>8}", "", "ours", "by hand", "ratio", "times");
}

/// Asks both in turns, and prints their medians.
fn compare(question: &Question, each: Duration, ours: impl Fn() -> Answer, mut hand: impl FnMut() -> Answer) {
    let (first, second) = (ours(), hand());
    assert!(first == second, "{}: {first:?}, by hand {second:?}", question.name());
    let (mut times, began) = ([Vec::new(), Vec::new()], Instant::now());
    while times[0].len() < 3 || began.elapsed() < each {
        let started = Instant::now();
        drop(ours());
        times[0].push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        drop(hand());
        times[1].push(started.elapsed().as_secs_f64() * 1e3);
    }
    let [own, other] = times.each_ref().map(|times| median(times));
    println!("{:<42} {own:>10.3} {other:>10.3} {:>8.2} {:>8}", question.name(), own / other, times[0].len());
}

/// A writer at full speed: alone, beside readers that ask without a pause, and beside readers that pause.
fn writer(settings: &Settings) {
    let dir = tempfile::tempdir_in(&settings.dir).expect("a directory for the file");
    let path = dir.path().join("busy.db");
    let backend = Sqlite::open(&path, &Config::default()).expect("a new database");
    // A day of rows, which is what the readers ask about; what is written meanwhile is later.
    let rows = 1_000_000;
    let mut day = Rows::new(0, DAY / rows as i64);
    for number in 0..rows / BATCH {
        backend.write(&day.batch(number, BATCH)).expect("a write");
    }
    settle(&path);
    let repository = Repository::open(&format!("sqlite:{}", path.display())).expect("the file just made");
    let newest = repository.events().page(&Filter::new(), &forebay::repository::Paging::newest(1)).expect("an answer");
    let questions = questions(&repository, newest.rows[0].row.ts().as_nanos());
    let count = || repository.events().count(&Filter::new()).expect("an answer");
    let ways = [None, Some(Duration::ZERO), Some(PAUSE)];
    let mut rates = [const { Vec::new() }; 3];
    let mut times = [const { [const { Vec::new() }; 4] }; 3];
    for number in 0..settings.rounds {
        for (way, pause) in ways.iter().enumerate() {
            let readers = pause.map_or(0, |_| settings.readers);
            let before = count();
            let source = format!("memory/load/{number}-{way}");
            let pause = pause.unwrap_or_default();
            let ((written, rate), asked) =
                round(&backend, &source, &repository, &questions, readers, pause, settings.load);
            assert_eq!(count() - before, written as u64, "rows of {source}");
            // Each way begins with nothing left to merge.
            settle(&path);
            rates[way].push(rate);
            for (all, new) in times[way].iter_mut().zip(asked) {
                all.extend(new);
            }
        }
    }
    let rates = rates.map(|rates| median(&rates));
    println!("\nSQLite, a writer at full speed; {} rounds of {:?}, medians", settings.rounds, settings.load);
    println!("alone {:.0} rows/s", rates[0]);
    for (way, name) in [(1, "without a pause".to_owned()), (2, format!("every {PAUSE:?}"))] {
        let (rate, ratio) = (rates[way], rates[way] / rates[0]);
        println!("beside {} readers, {name}: {rate:.0} rows/s, {ratio:.2} of that", settings.readers);
        for (question, times) in questions.iter().zip(&mut times[way]) {
            times.sort_by(f64::total_cmp);
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            let (p50, p99, name) = (at(0.5), at(0.99), question.name());
            println!("  {name:<42} {:>6} times, p50 {p50:.2} ms, p99 {p99:.2} ms", times.len());
        }
    }
}

/// Returns the writer's rows and rows per second, and the milliseconds of each question.
fn round(
    backend: &Sqlite,
    source: &str,
    repository: &Repository,
    questions: &[Question; 4],
    readers: usize,
    pause: Duration,
    lasts: Duration,
) -> ((usize, f64), [Vec<f64>; 4]) {
    let done = AtomicBool::new(false);
    let reader = |first: usize| {
        let mut times = [const { Vec::new() }; 4];
        for turn in first.. {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let asked = turn % questions.len();
            let began = Instant::now();
            drop(questions[asked].ask(repository));
            times[asked].push(began.elapsed().as_secs_f64() * 1e3);
            std::thread::sleep(pause);
        }
        times
    };
    std::thread::scope(|scope| {
        let reader = &reader;
        let readers: Vec<_> = (0..readers).map(|first| scope.spawn(move || reader(first))).collect();
        let writer = scope.spawn(|| load(backend, source, &done));
        std::thread::sleep(lasts);
        done.store(true, Ordering::Relaxed);
        let load = writer.join().expect("the writer went on to the end");
        let mut all = [const { Vec::new() }; 4];
        for reader in readers {
            for (all, times) in all.iter_mut().zip(reader.join().expect("a reader that was answered")) {
                all.extend(times);
            }
        }
        (load, all)
    })
}

fn settings() -> Settings {
    let mut settings = Settings {
        rows: 10_000_000,
        server_rows: 2_000_000,
        each: Duration::from_secs(5),
        load: Duration::from_secs(10),
        rounds: 3,
        readers: 4,
        only: String::new(),
        dir: env!("CARGO_TARGET_TMPDIR").into(),
        is_kept: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| refuse(&format!("{word} needs a value")));
        let number = |text: String| text.parse::<usize>().unwrap_or_else(|_| refuse(&format!("{text} is no number")));
        match word.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--rows" => settings.rows = number(value()).max(100_000),
            "--server-rows" => settings.server_rows = number(value()).max(100_000),
            "--seconds" => settings.each = Duration::from_secs(number(value()) as u64),
            "--load" => settings.load = Duration::from_secs(number(value()).max(1) as u64),
            "--rounds" => settings.rounds = number(value()).max(1),
            "--readers" => settings.readers = number(value()),
            "--only" => settings.only = value(),
            "--dir" => settings.dir = value().into(),
            "--keep" => settings.is_kept = true,
            "--help" | "-h" => {
                print!("{HELP}");
                std::process::exit(0);
            }
            other => refuse(&format!("{other} is no option")),
        }
    }
    settings
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}\n\n{HELP}");
    std::process::exit(2);
}

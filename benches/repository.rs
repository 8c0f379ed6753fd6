//! What a host's questions cost, on SQLite and on a server, and what they cost the writer: `cargo bench --bench repository`.
//!
//! Four parts. A large SQLite file, and a private MariaDB: four questions of a dashboard through `Repository`, and the same
//! in SQL by hand, taking turns; answers are compared before they are timed. Then a writer at full speed on SQLite, alone
//! and beside readers, taking turns. Last what it takes to compare a password, which is meant to be much. `queries.rs` asks
//! more of SQLite, also through its view.

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
use forebay::repository::{EventColumn, Filter, NewUser, Password, Repository, Role};
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
  --days N         days that the rows are spread over [4]
  --seconds S      time for each question [5]
  --load S         seconds of each round of the writer [10]
  --rounds N       rounds of the writer, alone and beside readers each [3]
  --readers N      readers beside it [4]
  --only PART      sqlite, server, writer or password
  --dir PATH       where files and the server's data are written [the target directory]
  --keep           leaves the SQLite file and the server's data there, and uses those that are

The server is asked by statements that are prepared once, all columns read. Its indexes are built when all rows are there:
then loading takes minutes instead of hours, and they are denser than indexes that have grown. Its buffer pool is 8 GiB.
A repository keeps counts of past quarters of an hour; `cold` is one that is asked for the first time.
";
/// What is set for the server, so that ten million rows fit in.
const POOL: &str = "--innodb-buffer-pool-size=8G";
/// The schema's indexes, as the tables of the MySQL backend have them.
const INDEXES: [&str; 3] = ["events_ts (ts)", "events_src_ip_ts (src_ip, ts)", "events_sensor_ts (sensor, ts)"];
const DAY: i64 = 24 * HOUR;
const HOUR: i64 = 3_600_000_000_000;
/// Between two questions of a reader that is not busy all the time.
const PAUSE: Duration = Duration::from_millis(200);

struct Settings {
    rows: usize,
    server_rows: usize,
    days: f64,
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
    if is_asked("password") {
        password(&settings);
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
    let grown = Grown::new(if settings.is_kept { &settings.dir } else { own.path() }, settings.rows, settings.days);
    grown.make();
    let tools = Tools::open(&grown);
    let url = format!("sqlite:{}", grown.ours.display());
    let repository = Repository::open(&url).expect("our file");
    title("SQLite, one ordinary table", settings.rows, settings.days);
    for question in questions(&repository, grown.end()) {
        compare(&question, settings.each, || question.ask(&repository), || tools.table(&question));
        cold(&question, || Repository::open(&url).expect("our file"));
    }
}

fn server(settings: &Settings) {
    let kept = settings.dir.join(format!("mariadb-{}-{}", settings.server_rows, settings.days));
    // Only data that were loaded to the end are used again.
    let loaded = kept.join("loaded");
    if !loaded.exists() && kept.exists() {
        std::fs::remove_dir_all(&kept).expect("what was left there goes");
    }
    let server =
        if settings.is_kept { Server::start_kept(&kept, &[POOL]) } else { Server::start_with(&settings.dir, &[POOL]) };
    let url = format!("mysql://writer:bench@127.0.0.1:{}/sensors", server.port);
    if !settings.is_kept || !loaded.exists() {
        fill(&server, &url, settings);
    }
    if settings.is_kept {
        std::fs::write(&loaded, "").expect("a note that it is loaded");
    }
    let mut config = Config::default();
    // Nobody writes: counts may be kept at once.
    config.mysql.longest_transaction = Duration::ZERO;
    let repository = Repository::open_with(&url, &config).expect("the server just filled");
    let end = grown::Grown::new(&settings.dir, settings.server_rows, settings.days).end();
    title(&format!("MariaDB {}", server.ask("SELECT version()")), settings.server_rows, settings.days);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut connection = runtime.block_on(Conn::new(server.options(Some("sensors")))).expect("a connection of our own");
    for question in questions(&repository, end) {
        let (sql, values) = by_hand(&question);
        let mut ask = || {
            let rows: Vec<Row> = runtime.block_on(connection.exec(sql, values.clone())).expect("an answer");
            rows.into_iter().map(answer).collect()
        };
        compare(&question, settings.each, || question.ask(&repository), &mut ask);
        cold(&question, || Repository::open(&url).expect("the same server"));
    }
    block_on(connection.disconnect()).expect("the server takes leave");
}

/// Loads the rows through a pipeline, which also makes the tables.
fn fill(server: &Server, url: &str, settings: &Settings) {
    let began = Instant::now();
    server.run(&[
        "CREATE DATABASE sensors",
        "CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'bench'",
        "GRANT ALL ON sensors.* TO writer@'127.0.0.1'",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
    ]);
    let pipeline = Pipeline::open(url).expect("the server just started");
    // A row that is committed: so the tables are there.
    let mut rows = Rows::new(0, (settings.days * DAY as f64 / settings.server_rows as f64) as i64);
    pipeline.events().send_many_blocking(rows.events(1)).expect("a pipeline that runs").wait().expect("a commit");
    let names = INDEXES.map(|index| index.split_once(' ').map_or(index, |(name, _)| name));
    server.run(&[&format!("ALTER TABLE sensors.events DROP INDEX {}", names.join(", DROP INDEX "))]);
    let producer = pipeline.events();
    for from in (1..settings.server_rows).step_by(BATCH) {
        let batch = rows.events(BATCH.min(settings.server_rows - from));
        drop(producer.send_many_blocking(batch).expect("a pipeline that runs"));
    }
    drop(producer);
    assert!(pipeline.shutdown_blocking(Duration::from_secs(300)).is_complete());
    eprintln!("{} rows written after {:.0?}", settings.server_rows, began.elapsed());
    server.run(&[
        &format!("ALTER TABLE sensors.events ADD INDEX {}", INDEXES.join(", ADD INDEX ")),
        "ANALYZE TABLE sensors.events",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
    ]);
    eprintln!("indexes built after {:.0?}", began.elapsed());
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

fn title(what: &str, rows: usize, days: f64) {
    println!("\n{what}: {rows} rows over {days} days, warm; milliseconds, medians");
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

/// Asks repositories that have counted nothing yet, with their connections made.
fn cold(question: &Question, open: impl Fn() -> Repository) {
    let mut times = Vec::new();
    for _ in 0..3 {
        let repository = open();
        drop(Question::NewestByTime.ask(&repository));
        let began = Instant::now();
        drop(question.ask(&repository));
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    println!("{:<42} {:>10.3}", "  cold", median(&times));
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

/// Compares a password again and again, alone: right, wrong, and of a name that nobody has.
fn password(settings: &Settings) {
    let dir = tempfile::tempdir_in(&settings.dir).expect("a directory for the file");
    let url = format!("sqlite:{}", dir.path().join("users.db").display());
    let pipeline = Pipeline::open(&url).expect("a new database");
    let repository = pipeline.repository().expect("the database just made");
    let (right, wrong) = (Password::new("correct horse"), Password::new("battery staple"));
    let new = NewUser { name: "ann", role: Role::Viewer, password: &right, must_change: false };
    repository.users().create(&new).expect("a user");
    println!("\nComparing a password: argon2id, 19 MiB, 2 passes, 1 lane; milliseconds, medians");
    for (what, name, password) in
        [("the right one", "ann", &right), ("a wrong one", "ann", &wrong), ("of nobody", "bob", &right)]
    {
        let verify = || repository.users().verify(name, password).expect("an answer");
        assert_eq!(verify().is_some(), what == "the right one");
        let (mut times, began) = (Vec::new(), Instant::now());
        while times.len() < 3 || began.elapsed() < settings.each {
            let started = Instant::now();
            drop(verify());
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        println!("{what:<42} {:>10.1} {:>8} times", median(&times), times.len());
    }
    assert!(pipeline.shutdown_blocking(Duration::from_secs(10)).is_complete());
}

fn settings() -> Settings {
    let mut settings = Settings {
        rows: 10_000_000,
        server_rows: 2_000_000,
        days: 4.0,
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
            "--days" => settings.days = number(value()).max(1) as f64,
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

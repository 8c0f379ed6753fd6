//! How close our SQLite writer, and the whole pipeline with it, come to the C API: `cargo bench --bench sqlite`.
//!
//! All contenders of a setting take turns, round after round, each with a fresh file; a figure is the median of its
//! rounds. The processor times are microseconds a row in the best round: of the thread that calls SQLite, which bounds
//! the rate where every thread has a core, and of the whole process. On a busy machine they are steadier than the clock.

mod raw;
mod sample;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forebay::backend::Backend;
use forebay::backend::sqlite::Sqlite;
use forebay::config::{Bytes, Config};
use forebay::{Batch, Event, Pipeline, Row};
use rustix::time::ClockId;
use sample::{Line, machine, median};

const HELP: &str = "\
Measures inserts into SQLite: the C API, our writer alone, the whole pipeline.

  cargo bench --bench sqlite -- [options]

  --rows N           rows of each run [200000]
  --rounds N         runs of each contender; their median counts [5]
  --quick            60,000 rows, 3 rounds
  --indexes LIST     of none,schema [all]
  --batches LIST     rows per transaction [100,1000,8192]
  --only LIST        contenders whose names contain one of these words, like `C,writer,8 send`
  --cache SIZE       page cache, for C and for us [256 MiB]
  --dir PATH         where the files are written [the target directory]

`schema`: C inserts in place into one table with the schema's three indexes, as everybody does; our writer into segments,
which it indexes as it goes. `none`: neither has a secondary index. A `built` pipeline builds its rows (one allocation,
a check of their JSON) within the measured time; the others send rows that are built already. In `send_many` a chunk
has 64 rows (50 in batches of 100: chunks are never cut). The ratios are to the best C and to the writer alone, of rows per second.
";

const INDEXES: [&str; 2] = ["none", "schema"];
/// One table for each kind of row, with the schema's indexes.
const ONE_TABLE: &str = include_str!("../src/backend/sqlite/migrations/2026-11-20-000001_rows/up.sql");

#[derive(Clone, Copy, PartialEq)]
enum Contender {
    C { per_statement: usize },
    Writer,
    Pipeline { producers: usize, chunk: usize, built: Rows },
}

#[derive(Clone, Copy, PartialEq)]
enum Rows {
    Before,
    Within,
}

impl Contender {
    fn all() -> Vec<Self> {
        let mut all: Vec<_> = [1, 32, 100].map(|per_statement| Self::C { per_statement }).into();
        all.push(Self::Writer);
        for built in [Rows::Before, Rows::Within] {
            for chunk in [1, 64] {
                all.extend([1, 2, 8].map(|producers| Self::Pipeline { producers, chunk, built }));
            }
        }
        all
    }

    fn name(self) -> String {
        match self {
            Self::C { per_statement } => format!("C {per_statement}/statement"),
            Self::Writer => "writer alone".into(),
            Self::Pipeline { producers, chunk, built } => {
                let built = if built == Rows::Within { " built" } else { "" };
                let call = if chunk == 1 { "send" } else { "send_many" };
                format!("{producers} {call}{built}")
            }
        }
    }
}

struct Settings {
    rows: usize,
    rounds: usize,
    indexes: Vec<&'static str>,
    batches: Vec<usize>,
    only: Vec<String>,
    cache: Bytes,
    dir: PathBuf,
}

/// What one run took.
struct Run {
    clock: Duration,
    /// Processor time of the thread that writes, and of all.
    writing: Duration,
    all: Duration,
}

fn main() {
    let settings = settings();
    let lines = sample::lines(settings.rows);
    let bytes = lines.iter().map(Line::bytes).sum::<usize>() / lines.len();
    println!("{}", machine());
    println!(
        "{} rows of {bytes} bytes a run, median of {} rounds, page cache {}, in {}",
        settings.rows,
        settings.rounds,
        settings.cache,
        settings.dir.display()
    );
    for indexes in &settings.indexes {
        for batch in &settings.batches {
            compare(&settings, &lines, indexes, *batch);
        }
    }
}

fn compare(settings: &Settings, lines: &[Line], indexes: &str, batch: usize) {
    let wanted = |name: &str| settings.only.is_empty() || settings.only.iter().any(|word| name.contains(word.as_str()));
    let contenders: Vec<_> = Contender::all().into_iter().filter(|one| wanted(&one.name())).collect();
    let mut runs: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..settings.rounds {
        // Every other round backwards, so that nobody always follows the same neighbour.
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let dir = tempfile::tempdir_in(&settings.dir).expect("a directory for the run");
            let path = dir.path().join("bench.db");
            if matches!(contenders[index], Contender::C { .. }) {
                create(&path, indexes);
            }
            let mut config = Config::default();
            config.batch.max_rows = batch;
            config.sqlite.cache = settings.cache;
            if indexes == "none" {
                // No segment is ever full, so none is indexed.
                (config.sqlite.segment_rows, config.sqlite.merged_rows) = (1_000_000, 2_000_000);
                (config.sqlite.segment_bytes, config.sqlite.merged_bytes) = (Bytes(1 << 30), Bytes(2 << 30));
            }
            runs[index].push(run(contenders[index], &path, lines, config));
            let count = count(&path);
            assert_eq!(count, lines.len(), "{} has lost or doubled rows", contenders[index].name());
        }
    }
    let rate =
        |runs: &[Run]| median(&runs.iter().map(|run| lines.len() as f64 / run.clock.as_secs_f64()).collect::<Vec<_>>());
    let rates: Vec<f64> = runs.iter().map(|runs| rate(runs)).collect();
    let best = |is: fn(&Contender) -> bool| {
        contenders.iter().zip(&rates).filter(|(one, _)| is(one)).map(|(_, rate)| *rate).reduce(f64::max)
    };
    let ratio = |rate: f64, to: Option<f64>| to.map_or("-".into(), |to| format!("{:.2}", rate / to));
    let best_c = best(|one| matches!(one, Contender::C { .. }));
    let writer = best(|one| *one == Contender::Writer);
    println!("\nindexes: {indexes}, batches of {batch}");
    println!("{:<22} {:>9} {:>8} {:>8} {:>11} {:>9}", "", "rows/s", "/ C", "/ writer", "CPU writing", "CPU all");
    for ((contender, runs), rate) in contenders.iter().zip(&runs).zip(rates) {
        let least = |time: fn(&Run) -> Duration| {
            runs.iter().map(time).min().unwrap_or_default().as_secs_f64() * 1e6 / lines.len() as f64
        };
        let (writing, all) = (least(|run| run.writing), least(|run| run.all));
        let (to_c, to_writer) = (ratio(rate, best_c), ratio(rate, writer));
        println!("{:<22} {rate:>9.0} {to_c:>8} {to_writer:>8} {writing:>11.2} {all:>9.2}", contender.name());
    }
}

/// Makes a file with one ordinary table.
fn create(path: &Path, indexes: &str) {
    let connection = raw::Connection::open(path);
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL");
    connection.execute(ONE_TABLE);
    if indexes == "none" {
        connection.execute("DROP INDEX events_ts; DROP INDEX events_src_ip_ts; DROP INDEX events_sensor_ts");
    }
}

fn count(path: &Path) -> usize {
    raw::Connection::open(path).count("SELECT count(*) FROM events")
}

fn run(contender: Contender, path: &Path, lines: &[Line], config: Config) -> Run {
    match contender {
        Contender::C { per_statement } => {
            raw::insert(path, lines, config.batch.max_rows, per_statement, config.sqlite.cache)
        }
        Contender::Writer => writer(path, lines, &config),
        Contender::Pipeline { producers, chunk, built } => pipeline(path, lines, config, producers, chunk, built),
    }
}

/// Measures `work`, whose writing is done by the thread of this name, or by this one.
fn measured(writing_thread: Option<&str>, work: impl FnOnce()) -> Run {
    let spent = |clock| {
        let time = rustix::time::clock_gettime(clock);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let writing = || writing_thread.map_or_else(|| spent(ClockId::ThreadCPUTime), spent_by);
    let (began, before) = (Instant::now(), (writing(), spent(ClockId::ProcessCPUTime)));
    work();
    let clock = began.elapsed();
    Run { clock, writing: writing() - before.0, all: spent(ClockId::ProcessCPUTime) - before.1 }
}

/// Returns the processor time of a thread of this process, by its name (Linux keeps 15 bytes of it); zero elsewhere.
fn spent_by(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let is_it = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let nanos = tasks.map(|task| task.path()).find(is_it).and_then(|task| {
        let stat = std::fs::read_to_string(task.join("schedstat")).ok()?;
        stat.split(' ').next()?.parse().ok()
    });
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn writer(path: &Path, lines: &[Line], config: &Config) -> Run {
    let backend = Sqlite::open(path, config).expect("a new database");
    let batch = config.batch.max_rows;
    let of = |(number, lines): (usize, &[Line])| {
        let rows = lines.iter().map(|line| Row::Keep(line.event())).collect();
        Batch::detached("memory/bench/0", (number * batch) as u64, rows)
    };
    let batches: Vec<Batch> = lines.chunks(batch).enumerate().map(of).collect();
    measured(None, || batches.iter().for_each(|batch| backend.write(batch).expect("a write")))
}

fn pipeline(path: &Path, lines: &[Line], config: Config, producers: usize, chunk: usize, built: Rows) -> Run {
    // Chunks are never cut: of 64 rows only one would go into a batch of 100.
    let chunk = chunk.min(config.batch.max_rows.div_ceil(2));
    let backend = Sqlite::open(path, &config).expect("a new database");
    let pipeline = Pipeline::builder().config(config).backend(backend).open().expect("a valid configuration");
    let shares: Vec<&[Line]> = lines.chunks(lines.len().div_ceil(producers)).collect();
    let build = |lines: &[Line]| lines.iter().map(Line::event).collect::<Vec<_>>();
    let before: Vec<Vec<Vec<Event>>> = match built {
        Rows::Before => shares.iter().map(|share| share.chunks(chunk).map(build).collect()).collect(),
        Rows::Within => shares.iter().map(|_| Vec::new()).collect(),
    };
    let run = measured(Some("forebay-sqlite-"), || {
        std::thread::scope(|scope| {
            for (share, before) in shares.iter().zip(before) {
                let producer = pipeline.events();
                scope.spawn(move || {
                    let send = |mut rows: Vec<Event>| match chunk {
                        1 => drop(producer.send_blocking(rows.remove(0)).expect("the pipeline is open")),
                        _ => drop(producer.send_many_blocking(rows).expect("the pipeline is open")),
                    };
                    match built {
                        Rows::Before => before.into_iter().for_each(send),
                        Rows::Within => share.chunks(chunk).map(build).for_each(send),
                    }
                });
            }
        });
        pipeline.flush().wait().expect("all rows are committed");
    });
    let summary = pipeline.shutdown_blocking(Duration::from_secs(60));
    assert!(summary.is_complete());
    run
}

fn settings() -> Settings {
    let mut settings = Settings {
        rows: 200_000,
        rounds: 5,
        indexes: INDEXES.to_vec(),
        batches: vec![100, 1000, 8192],
        only: Vec::new(),
        cache: Config::default().sqlite.cache,
        dir: env!("CARGO_TARGET_TMPDIR").into(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| refuse(&format!("{word} needs a value")));
        let number = |text: String| text.parse::<usize>().unwrap_or_else(|_| refuse(&format!("{text} is no number")));
        match word.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => (settings.rows, settings.rounds) = (60_000, 3),
            "--rows" => settings.rows = number(value()).max(1),
            "--rounds" => settings.rounds = number(value()).max(1),
            "--batches" => settings.batches = value().split(',').map(|text| number(text.to_owned())).collect(),
            "--indexes" => {
                let list = value();
                settings.indexes.retain(|name| list.split(',').any(|word| word == *name));
            }
            "--only" => settings.only = value().split(',').map(str::to_owned).collect(),
            "--cache" => settings.cache = value().parse().unwrap_or_else(|why: String| refuse(&why)),
            "--dir" => settings.dir = value().into(),
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

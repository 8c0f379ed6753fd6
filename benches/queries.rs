//! What segments cost those who read: `cargo bench --bench queries`.
//!
//! The same rows in one of our files and in one ordinary table with the schema's indexes; the same questions through
//! `Repository`, through the view `events`, and on the table, taking turns. Everything is in the page cache of the
//! system ("warm"). Answers are compared before they are timed.

mod asking;
mod grown;
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod sample;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use asking::{Question, Tools};
use forebay::Config;
use forebay::backend::Backend;
use forebay::backend::sqlite::Sqlite;
use forebay::repository::{EventColumn, Filter, Paging, Repository};
use grown::{BATCH, Grown, Rows, load, settle};
use sample::{machine, median};

const HELP: &str = "\
Measures queries on a large SQLite file: through Repository, through the view, and on one ordinary table.

  cargo bench --bench queries -- [options]

  --rows N      rows of the file [10000000]
  --days D      days that they are spread over [4]
  --quick       1,000,000 rows over 0.4 days
  --times N     times that each question is asked of each, at most [201]
  --seconds S   time for each question, at most [8]
  --load S      seconds at full speed for the open segment [20]
  --only-open   nothing but the questions that reach into the open segment
  --most N      segments above which the busy writer merges [sqlite.max_segments]
  --dir PATH    where the two files are written [the target directory]; 1.2 KB a row in all
  --keep        leaves the files there, and uses those that are
  --make        makes the files and ends, for --keep: what is timed can then be run when the machine is quiet
  --json        prints one JSON object

The view and the table are asked with all columns read into memory. The view's statements are prepared each time, as
tools do; the table's are prepared once, which favours it. Its indexes were built when all rows were there, which makes
them denser than grown ones. The ratios are of medians.
";

struct Settings {
    rows: usize,
    days: f64,
    times: usize,
    each: Duration,
    load: Duration,
    dir: PathBuf,
    most: usize,
    is_kept: bool,
    only_open: bool,
    only_make: bool,
    is_json: bool,
}

fn main() {
    let settings = settings();
    if settings.only_open {
        let report = open_segment(&settings);
        if settings.is_json {
            println!("{report}");
        }
        return;
    }
    let own = tempfile::tempdir_in(&settings.dir).expect("a directory for the files");
    let grown = Grown::new(if settings.is_kept { &settings.dir } else { own.path() }, settings.rows, settings.days);
    grown.make();
    if settings.only_make {
        return;
    }
    let tools = Tools::open(&grown);
    let (segments, by_index) = tools.plan();
    let mut report = serde_json::json!({
        "machine": machine(), "rows": settings.rows, "days": settings.days,
        "closed_segments": segments, "closed_segments_by_index": by_index,
    });
    if !settings.is_json {
        println!("{}", machine());
        println!("{} rows over {} days, warm; milliseconds, medians", settings.rows, settings.days);
        println!("plan of a page of an address on the view: {by_index} of {segments} closed segments by index\n");
        println!("{:<42} {:>10} {:>10} {:>10} {:>9} {:>9}", "", "ours", "view", "table", "ours/", "view/");
    }
    let mut queries = Vec::new();
    for question in Question::all(&tools, &grown) {
        let [ours, view, table] = compare(&tools, &question, &settings);
        let name = question.name();
        queries.push(serde_json::json!({ "query": name, "ours_ms": ours, "view_ms": view, "table_ms": table }));
        if !settings.is_json {
            let (to, view_to) = (ours / table, view / table);
            println!("{name:<42} {ours:>10.3} {view:>10.3} {table:>10.3} {to:>9.2} {view_to:>9.2}");
        }
    }
    report["queries"] = queries.into();
    drop(tools);
    report["open"] = open_segment(&settings);
    if settings.is_json {
        println!("{report}");
    }
}

/// Asks all three in turns; returns their medians in milliseconds.
fn compare(tools: &Tools, question: &Question, settings: &Settings) -> [f64; 3] {
    let answers = [tools.ours(question), tools.view(question), tools.table(question)];
    assert!(answers[0] == answers[2] && answers[1] == answers[2], "{}: {answers:?}", question.name());
    let mut times: [Vec<f64>; 3] = Default::default();
    let began = Instant::now();
    for turn in 0..settings.times {
        if turn >= 3 && began.elapsed() > settings.each {
            break;
        }
        for asked in 0..3 {
            let who = (turn + asked) % 3;
            let began = Instant::now();
            let answer = match who {
                0 => tools.ours(question),
                1 => tools.view(question),
                _ => tools.table(question),
            };
            times[who].push(began.elapsed().as_secs_f64() * 1e3);
            drop(answer);
        }
    }
    times.map(|times| median(&times))
}

/// How long queries take that reach into the open segment, in a file of its own.
fn open_segment(settings: &Settings) -> serde_json::Value {
    let dir = tempfile::tempdir_in(&settings.dir).expect("a directory for the file");
    let path = dir.path().join("open.db");
    let mut config = Config::default();
    config.sqlite.max_segments = settings.most;
    let mut rows = Rows::new(0, 10_000_000);
    let backend = Sqlite::open(&path, &config).expect("a new database");
    // Closed segments below, then rows that fill the open one to the brim, and no moment to index it.
    for number in 0..32 {
        backend.write(&rows.batch(number, BATCH)).expect("a write");
    }
    settle(&path);
    let mut missing = config.sqlite.segment_rows - BATCH / 8;
    for number in 100.. {
        let batch = missing.min(BATCH);
        backend.write(&rows.batch(number, batch)).expect("a write");
        missing -= batch;
        if missing == 0 {
            break;
        }
    }
    drop(backend);
    let reach = Reach::new(&path, settings);
    if !settings.is_json {
        println!("\nreaching into the open segment; milliseconds: median, p99, worst");
    }
    let mut report = serde_json::Map::new();
    let most = settings.times.max(20);
    report.extend([reach.ask("nearly full, not indexed", |turn| turn < most)]);
    let backend = Sqlite::open(&path, &config).expect("the file just made");
    settle(&path);
    let trickle = |turn| {
        backend.write(&rows.batch(1000 + turn, 1)).expect("a write");
        std::thread::sleep(Duration::from_millis(20));
        turn < most
    };
    report.extend([reach.ask("a row now and then", trickle)]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| load(&backend, "memory/load/0", &done));
        let began = Instant::now();
        let busy = |_| {
            std::thread::sleep(Duration::from_millis(20));
            began.elapsed() < settings.load
        };
        report.extend([reach.ask("a writer at full speed", busy)]);
        done.store(true, Ordering::Relaxed);
        let (_, rate) = writer.join().expect("the writer went on to the end");
        if !settings.is_json {
            println!("(the writer meanwhile: {rate:.0} rows/s)");
        }
        report.insert("writer_rows_per_second".into(), rate.into());
    });
    report.into()
}

/// Asks for pages that the open segment has rows of.
struct Reach {
    repository: Repository,
    address: String,
    is_json: bool,
}

impl Reach {
    fn new(path: &Path, settings: &Settings) -> Self {
        let repository = Repository::open(&format!("sqlite:{}", path.display())).expect("the file just made");
        let top = repository.events().count_by(EventColumn::SrcIp, &Filter::new(), 1).expect("an answer");
        let address = top[0].key.clone().expect("every row of the sample has one");
        Self { repository, address, is_json: settings.is_json }
    }

    fn ask(&self, what: &str, mut goes_on: impl FnMut(usize) -> bool) -> (String, serde_json::Value) {
        let by_address = Filter::new().is(EventColumn::SrcIp, &self.address);
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0.. {
            if !goes_on(turn) {
                break;
            }
            for (times, filter) in times.iter_mut().zip([&Filter::new(), &by_address]) {
                let began = Instant::now();
                let page = self.repository.events().page(filter, &Paging::newest(50)).expect("an answer");
                times.push(began.elapsed().as_secs_f64() * 1e3);
                assert_eq!(page.rows.len(), 50);
            }
        }
        let figures = ["newest 50", "newest 50 of an address"].iter().zip(&mut times).map(|(query, times)| {
            times.sort_by(f64::total_cmp);
            let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
            let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
            if !self.is_json {
                println!("{what:<26} {query:<24} {:>6} times {p50:>9.3} {p99:>9.3} {max:>9.3}", times.len());
            }
            serde_json::json!({ "query": query, "times": times.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max })
        });
        (what.to_owned(), figures.collect::<Vec<_>>().into())
    }
}

fn settings() -> Settings {
    let mut settings = Settings {
        rows: 10_000_000,
        days: 4.0,
        times: 201,
        each: Duration::from_secs(8),
        load: Duration::from_secs(20),
        dir: env!("CARGO_TARGET_TMPDIR").into(),
        most: Config::default().sqlite.max_segments,
        is_kept: false,
        only_open: false,
        only_make: false,
        is_json: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| refuse(&format!("{word} needs a value")));
        let number = |text: String| text.parse::<usize>().unwrap_or_else(|_| refuse(&format!("{text} is no number")));
        match word.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => (settings.rows, settings.days) = (1_000_000, 0.4),
            "--rows" => settings.rows = number(value()).max(100_000),
            "--days" => settings.days = value().parse().unwrap_or_else(|_| refuse("--days takes a number")),
            "--times" => settings.times = number(value()).max(3),
            "--seconds" => settings.each = Duration::from_secs(number(value()) as u64),
            "--load" => settings.load = Duration::from_secs(number(value()) as u64),
            "--dir" => settings.dir = value().into(),
            "--only-open" => settings.only_open = true,
            "--most" => settings.most = number(value()),
            "--keep" => settings.is_kept = true,
            "--make" => settings.only_make = true,
            "--json" => settings.is_json = true,
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

//! How fast rows go into MariaDB: `cargo bench --bench mysql`.
//!
//! Against a private server, with the schema's indexes: `LOAD DATA LOCAL INFILE` by the `mariadb` client, a loop over the
//! driver without us (prepared statements of 1024 rows, with and without a ledger row a transaction), and a whole pipeline
//! with its ledger. All take turns. Rows are built, and files written, before the measured time; after each run the rows
//! are counted, and the table emptied.

#[allow(dead_code, reason = "other benchmarks use the rest")]
mod mariadb;
#[allow(dead_code, reason = "other benchmarks use the rest")]
mod sample;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use forebay::{Config, Event, Pipeline};
use mariadb::{SETTINGS, Server, block_on};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Value};
use rustix::time::{ClockId, clock_gettime};
use sample::{Line, machine, median};

const HELP: &str = "\
Measures inserts into a private MariaDB server.

  cargo bench --bench mysql -- [options]

  --rows N     rows of each run [500000]
  --rounds N   runs of each contender; their median counts [5]
  --batch N    rows of a transaction [8192]
  --quick      100,000 rows, 3 rounds
  --only TEXT  contenders whose names contain this
  --dir PATH   where the server's data and the files are written [the target directory]

Ratios are to LOAD DATA over one connection. The processor time is that of this process, a row: for the pipeline from
channel to socket. LOAD DATA has 50,000 rows a statement, and truncates and coerces what does not fit.
";

const COLUMNS: &str =
    "ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,session,msg,fields,raw,trace_id,span_id";
const WIDTH: usize = 15;
/// Rows of one prepared statement.
const STATEMENT: usize = 1024;
/// Rows of one file for LOAD DATA.
const FILE: usize = 50_000;

struct Settings {
    rows: usize,
    rounds: usize,
    batch: usize,
    only: String,
    dir: PathBuf,
}

#[derive(Clone, Copy)]
enum Contender {
    LoadData { connections: usize },
    Driver { connections: usize, has_ledger: bool },
    Pipeline { pool: usize },
}

impl Contender {
    const ALL: [Self; 12] = [
        Self::LoadData { connections: 1 },
        Self::LoadData { connections: 2 },
        Self::LoadData { connections: 4 },
        Self::Driver { connections: 1, has_ledger: false },
        Self::Driver { connections: 2, has_ledger: false },
        Self::Driver { connections: 2, has_ledger: true },
        Self::Driver { connections: 4, has_ledger: false },
        Self::Pipeline { pool: 1 },
        Self::Pipeline { pool: 2 },
        Self::Pipeline { pool: 4 },
        Self::Pipeline { pool: 8 },
        Self::Pipeline { pool: 16 },
    ];

    fn name(self) -> String {
        match self {
            Self::LoadData { connections } => format!("LOAD DATA, {connections} connections"),
            Self::Driver { connections, has_ledger: false } => format!("driver, {connections} connections"),
            Self::Driver { connections, has_ledger: true } => format!("driver, {connections}, ledger"),
            Self::Pipeline { pool } => format!("forebay, pool of {pool}"),
        }
    }
}

/// What every contender is given.
struct Load {
    server: Server,
    url: String,
    events: Vec<Event>,
    files: Vec<PathBuf>,
    batch: usize,
}

fn main() {
    let settings = settings();
    let dir = tempfile::tempdir_in(&settings.dir).expect("a directory");
    let lines = sample::lines(settings.rows);
    let bytes = lines.iter().map(Line::bytes).sum::<usize>() / lines.len();
    let server = Server::start(&settings.dir);
    server.run(&[
        "CREATE DATABASE sensors",
        "CREATE USER writer@'127.0.0.1' IDENTIFIED BY 'bench'",
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW, SHOW VIEW, DROP ON sensors.* TO writer@'127.0.0.1'",
    ]);
    let url = format!("mysql://writer:bench@127.0.0.1:{}/sensors", server.port);
    // Makes the tables.
    Pipeline::open(&url).expect("the server just started").shutdown_blocking(Duration::from_secs(10));
    let files = files(&lines, dir.path());
    let events = lines.iter().map(Line::event).collect();
    drop(lines);
    let load = Load { server, url, events, files, batch: settings.batch };
    println!("{}", machine());
    println!("MariaDB {}, {}", load.server.ask("SELECT version()"), SETTINGS.join(" "));
    println!("{} rows of {bytes} bytes a run, {} a transaction", settings.rows, settings.batch);
    println!("median of {} rounds\n\n{:<26} {:>10} {:>7} {:>12}", settings.rounds, "", "rows/s", "ratio", "CPU us/row");

    let contenders: Vec<_> =
        Contender::ALL.into_iter().filter(|contender| contender.name().contains(&settings.only)).collect();
    let mut runs = vec![Vec::new(); contenders.len()];
    for _ in 0..settings.rounds {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            runs.push(load.run(*contender));
        }
    }
    let rates: Vec<f64> =
        runs.iter().map(|runs| median(&runs.iter().map(|run: &(f64, f64)| run.0).collect::<Vec<_>>())).collect();
    for ((contender, runs), rate) in contenders.iter().zip(&runs).zip(&rates) {
        let processor = median(&runs.iter().map(|run| run.1).collect::<Vec<_>>());
        println!("{:<26} {rate:>10.0} {:>7.2} {processor:>12.2}", contender.name(), rate / rates[0]);
    }
}

impl Load {
    /// Returns rows a second, and microseconds of this process's processor time a row.
    fn run(&self, contender: Contender) -> (f64, f64) {
        self.server.run(&["TRUNCATE sensors.events", "TRUNCATE sensors.ingest_ledger"]);
        let rows = self.events.len();
        let (clock, processor) = match contender {
            Contender::LoadData { connections } => measure(|| self.load_data(connections)),
            Contender::Driver { connections, has_ledger } => measure(|| self.driver(connections, has_ledger)),
            Contender::Pipeline { pool } => self.pipeline(pool),
        };
        let stored = self.server.ask("SELECT count(*) FROM sensors.events");
        assert_eq!(stored, rows.to_string(), "{}", contender.name());
        (rows as f64 / clock.as_secs_f64(), processor.as_secs_f64() * 1e6 / rows as f64)
    }

    fn load_data(&self, connections: usize) {
        let clients = (0..connections).map(|connection| {
            let load = |file: &PathBuf| {
                let file = file.display();
                format!("LOAD DATA LOCAL INFILE '{file}' INTO TABLE events CHARACTER SET utf8mb4 ({COLUMNS});")
            };
            let files = self.files.iter().skip(connection).step_by(connections);
            let mut client = Command::new("mariadb");
            client.args(["--no-defaults", "--local-infile=1", "--host=127.0.0.1", "--user=root", "--database=sensors"]);
            client
                .arg(format!("--port={}", self.server.port))
                .arg("--execute")
                .arg(files.map(load).collect::<String>());
            client.spawn().expect("the client `mariadb`")
        });
        for mut client in clients.collect::<Vec<_>>() {
            assert!(client.wait().expect("the client ends").success());
        }
    }

    fn driver(&self, connections: usize, has_ledger: bool) {
        let batches: Vec<&[Event]> = self.events.chunks(self.batch).collect();
        std::thread::scope(|scope| {
            for connection in 0..connections {
                let own: Vec<(usize, &[Event])> =
                    batches.iter().copied().enumerate().skip(connection).step_by(connections).collect();
                scope.spawn(move || block_on(self.write(&own, has_ledger)));
            }
        });
    }

    async fn write(&self, batches: &[(usize, &[Event])], has_ledger: bool) {
        let mut connection = Conn::new(self.server.options(Some("sensors"))).await.expect("a connection");
        for (number, batch) in batches {
            connection.query_drop("BEGIN").await.expect("BEGIN");
            if has_ledger {
                let entry = (format!("driver/{number}"), 0, batch.len() - 1, batch.len(), 0);
                let insert = "INSERT INTO ingest_ledger (source,first,last,`rows`,at) VALUES (?,?,?,?,?)";
                connection.exec_drop(insert, entry).await.expect("the ledger");
            }
            for rows in batch.chunks(STATEMENT) {
                let places = vec![format!("({})", ["?"; WIDTH].join(",")); rows.len()].join(",");
                let insert = format!("INSERT INTO events ({COLUMNS}) VALUES {places}");
                let values: Vec<Value> = rows.iter().flat_map(values).collect();
                connection.exec_drop(insert, values).await.expect("rows");
            }
            connection.query_drop("COMMIT").await.expect("COMMIT");
        }
    }

    fn pipeline(&self, pool: usize) -> (Duration, Duration) {
        let mut config = Config::default();
        config.mysql.pool_size = pool;
        config.batch.max_rows = self.batch;
        let pipeline = Pipeline::builder().config(config).database(&self.url).open().expect("a pipeline");
        let chunks: Vec<Vec<Event>> = self.events.chunks(64).map(<[Event]>::to_vec).collect();
        let measured = measure(|| {
            let producer = pipeline.events();
            for chunk in chunks {
                drop(producer.send_many_blocking(chunk).expect("a pipeline that runs"));
            }
            pipeline.flush().wait().expect("every row in the database");
        });
        assert!(pipeline.shutdown_blocking(Duration::from_secs(60)).is_complete());
        measured
    }
}

/// Returns what `work` takes on the clock, and of this process's processors.
fn measure(work: impl FnOnce()) -> (Duration, Duration) {
    let processor = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let (began, before) = (Instant::now(), processor());
    work();
    (began.elapsed(), processor() - before)
}

fn values(event: &Event) -> [Value; WIDTH] {
    let text = |text: Option<&str>| text.map_or(Value::NULL, Value::from);
    let port = |port: Option<u16>| port.map_or(Value::NULL, Value::from);
    [
        event.ts().as_nanos().into(),
        event.sensor().into(),
        event.service().into(),
        event.event_type().into(),
        text(event.src_ip()),
        port(event.src_port()),
        text(event.dst_ip()),
        port(event.dst_port()),
        text(event.proto()),
        text(event.session()),
        text(event.msg()),
        text(event.fields()),
        text(event.raw()),
        text(event.trace_id()),
        text(event.span_id()),
    ]
}

/// Writes the lines as LOAD DATA reads them by default: tabs between, backslashes before what is special.
fn files(lines: &[Line], dir: &Path) -> Vec<PathBuf> {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    let file = |(number, lines): (usize, &[Line])| {
        let path = dir.join(format!("{number}.tsv"));
        let mut file = std::io::BufWriter::new(fs::File::create(&path).expect("a file"));
        for line in lines {
            let Line { ts, sensor, service, event_type, src_ip, src_port, dst_ip, dst_port, session, .. } = line;
            let [msg, fields, raw] = [&line.msg, &line.fields, &line.raw].map(|text| escaped(text));
            writeln!(
                file,
                "{ts}\t{sensor}\t{service}\t{event_type}\t{src_ip}\t{src_port}\t{dst_ip}\t{dst_port}\ttcp\t{session}\t\
                 {msg}\t{fields}\t{raw}\t\\N\t\\N"
            )
            .expect("room for the file");
        }
        path
    };
    lines.chunks(FILE).enumerate().map(file).collect()
}

fn settings() -> Settings {
    let mut settings = Settings {
        rows: 500_000,
        rounds: 5,
        batch: 8192,
        only: String::new(),
        dir: env!("CARGO_TARGET_TMPDIR").into(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| refuse(&format!("{word} needs a value")));
        let number = |text: String| text.parse::<usize>().unwrap_or_else(|_| refuse(&format!("{text} is no number")));
        match word.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => (settings.rows, settings.rounds) = (100_000, 3),
            "--rows" => settings.rows = number(value()).max(1),
            "--rounds" => settings.rounds = number(value()).max(1),
            "--batch" => settings.batch = number(value()).clamp(1, 65_536),
            "--only" => settings.only = value(),
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

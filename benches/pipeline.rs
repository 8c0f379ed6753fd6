//! How many rows a second the pipeline takes when the database costs nothing, and how long a send takes:
//! `cargo bench --bench pipeline`.
//!
//! Everything goes into the `Memory` backend, so this is the price of channels, permits, batches and receipts. Rows are
//! built before the measured time. A send's latency is that of the whole call, waiting for room included: at this rate
//! the queue is full, and p99 is mostly that wait.

mod sample;

use std::time::{Duration, Instant};

use forebay::{Event, Pipeline, Producer};
use sample::{Line, machine, median};

const HELP: &str = "\
Measures the pipeline into memory, with 1 to 64 producers.

  cargo bench --bench pipeline -- [options]

  --rows N           rows of each run [500000]
  --rounds N         runs of each contender; their median counts [5]
  --quick            100,000 rows, 3 rounds
  --producers LIST   [1,2,8,64]

Producers are threads (`send_blocking`, `send_many_blocking`) or tokio tasks (`send`, `send_many`) on as many workers
as there are processors. In `send_many` a chunk has 64 rows, and its latency is that of the chunk.
";

#[derive(Clone, Copy, PartialEq)]
enum Host {
    Threads,
    Tasks,
}

struct Settings {
    rows: usize,
    rounds: usize,
    producers: Vec<usize>,
}

/// What one run took, and what its sends took.
struct Run {
    clock: Duration,
    p50: Duration,
    p99: Duration,
}

fn main() {
    let settings = settings();
    let lines = sample::lines(settings.rows);
    let events: Vec<Event> = lines.iter().map(Line::event).collect();
    println!("{}", machine());
    let bytes = lines.iter().map(Line::bytes).sum::<usize>() / lines.len();
    println!("{} rows of {bytes} bytes a run, median of {} rounds, into memory", settings.rows, settings.rounds);
    println!("\n{:<32} {:>10} {:>12} {:>12}", "", "rows/s", "send p50", "send p99");
    let mut contenders = Vec::new();
    for host in [Host::Threads, Host::Tasks] {
        for chunk in [1, 64] {
            contenders.extend(settings.producers.iter().map(|producers| (host, chunk, *producers)));
        }
    }
    let mut runs: Vec<Vec<Run>> = contenders.iter().map(|_| Vec::new()).collect();
    for _ in 0..settings.rounds {
        for (runs, (host, chunk, producers)) in runs.iter_mut().zip(&contenders) {
            runs.push(run(*host, *chunk, *producers, &events));
        }
    }
    for (runs, (host, chunk, producers)) in runs.iter().zip(&contenders) {
        let of = |value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
        let call = if *chunk == 1 { "send" } else { "send_many" };
        let who = if *host == Host::Threads { "threads" } else { "tasks" };
        println!(
            "{:<32} {:>10.0} {:>9.2} us {:>9.1} us",
            format!("{producers} {who}, {call}"),
            settings.rows as f64 / of(|run| run.clock.as_secs_f64()),
            of(|run| run.p50.as_secs_f64() * 1e6),
            of(|run| run.p99.as_secs_f64() * 1e6),
        );
    }
}

fn run(host: Host, chunk: usize, producers: usize, events: &[Event]) -> Run {
    let pipeline = Pipeline::builder().database("memory:").open().expect("a valid configuration");
    let share = |share: &[Event]| share.chunks(chunk).map(<[Event]>::to_vec).collect::<Vec<_>>();
    let shares: Vec<_> = events.chunks(events.len().div_ceil(producers)).map(share).collect();
    let (mut latencies, clock) = match host {
        Host::Threads => from_threads(&pipeline, shares),
        Host::Tasks => from_tasks(&pipeline, shares),
    };
    assert!(pipeline.shutdown_blocking(Duration::from_secs(60)).is_complete());
    latencies.sort_unstable();
    let quantile = |part: usize| latencies[(latencies.len() - 1) * part / 100];
    Run { clock, p50: quantile(50), p99: quantile(99) }
}

fn from_threads(pipeline: &Pipeline, shares: Vec<Vec<Vec<Event>>>) -> (Vec<Duration>, Duration) {
    let began = Instant::now();
    let send = |producer: Producer<Event>, chunks: Vec<Vec<Event>>| {
        let timed = |mut rows: Vec<Event>| {
            let began = Instant::now();
            let receipt = match rows.len() {
                1 => producer.send_blocking(rows.remove(0)).ok(),
                _ => producer.send_many_blocking(rows).ok(),
            };
            drop(receipt.expect("the pipeline is open"));
            began.elapsed()
        };
        chunks.into_iter().map(timed).collect::<Vec<_>>()
    };
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|chunks| {
                let producer = pipeline.events();
                scope.spawn(move || send(producer, chunks))
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect()
    });
    pipeline.flush().wait().expect("all rows are committed");
    (latencies, began.elapsed())
}

fn from_tasks(pipeline: &Pipeline, shares: Vec<Vec<Vec<Event>>>) -> (Vec<Duration>, Duration) {
    async fn send(producer: Producer<Event>, chunks: Vec<Vec<Event>>) -> Vec<Duration> {
        let mut latencies = Vec::with_capacity(chunks.len());
        for mut rows in chunks {
            let began = Instant::now();
            let receipt = match rows.len() {
                1 => producer.send(rows.remove(0)).await.ok(),
                _ => producer.send_many(rows).await.ok(),
            };
            drop(receipt.expect("the pipeline is open"));
            latencies.push(began.elapsed());
        }
        latencies
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let began = Instant::now();
    let latencies = runtime.block_on(async {
        let tasks: Vec<_> = shares.into_iter().map(|chunks| tokio::spawn(send(pipeline.events(), chunks))).collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.expect("a producer"));
        }
        pipeline.flush().await.expect("all rows are committed");
        latencies
    });
    (latencies, began.elapsed())
}

fn settings() -> Settings {
    let mut settings = Settings { rows: 500_000, rounds: 5, producers: vec![1, 2, 8, 64] };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| refuse(&format!("{word} needs a value")));
        let number =
            |text: &str| text.parse::<usize>().unwrap_or_else(|_| refuse(&format!("{text} is no number"))).max(1);
        match word.as_str() {
            // cargo says this to every benchmark.
            "--bench" => {}
            "--quick" => (settings.rows, settings.rounds) = (100_000, 3),
            "--rows" => settings.rows = number(&value()),
            "--rounds" => settings.rounds = number(&value()),
            "--producers" => settings.producers = value().split(',').map(number).collect(),
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

//! What metrics cost, and how fast they are served: `cargo bench --bench metrics -- [--rounds N] [--rows N] [URL]`.
//!
//! Two producers send events in chunks of 64 as fast as they are taken. Each run is a process of its own, since a process
//! has one recorder of metrics: one run without any, one with our exporter's recorder, its upkeep and the server, which
//! nobody asks; they take turns, and medians and the ratios of neighbours count. A third kind of run is scraped ten times
//! a second, and tells how long that took. URL is `memory:` (the way to the writer alone), or `sqlite` for a file in a
//! temporary directory.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay::server::{Exporter, Server, Settings, View};
use forebay::{Event, Pipeline};

const CHILD: &str = "FOREBAY_BENCH_METRICS";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let after = |flag: &str| arguments.iter().position(|word| word == flag).and_then(|at| arguments.get(at + 1));
    let number = |flag: &str, default: usize| after(flag).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, rows) = (number("--rounds", 9), number("--rows", 4_000_000));
    let url = arguments.last().filter(|word| *word == "sqlite").map_or("memory:", |_| "sqlite");
    if let Ok(kind) = std::env::var(CHILD) {
        return child(&kind, rows, url);
    }
    let run = |kind: &str| -> Vec<f64> {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.env(CHILD, kind).args(["--rows", &rows.to_string(), url]);
        let output = command.output().expect("a run");
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_whitespace().map(|word| word.parse().unwrap_or_else(|_| panic!("{kind}: {text}"))).collect()
    };
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut pair = [0.0; 2];
        // Whoever goes first has a cooler machine: they take turns in that too.
        for kind in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            pair[kind] = run(["without", "with"][kind])[0];
        }
        without.push(pair[0]);
        with.push(pair[1]);
        ratios.push(pair[1] / pair[0]);
    }
    let scraped = run("scraped");
    println!("{url}, {rows} rows, {rounds} rounds, medians");
    println!("without a recorder  {:>12.0} rows/s", median(&mut without));
    println!("with one, served    {:>12.0} rows/s, ratio {:.4}", median(&mut with), median(&mut ratios));
    println!("scraped meanwhile   {:>12.0} rows/s", scraped[0]);
    println!(
        "a scrape            p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms, of {}",
        scraped[1], scraped[2], scraped[3], scraped[4]
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn child(kind: &str, rows: usize, url: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let url = if url == "sqlite" { format!("sqlite://{}", dir.path().join("a.db").display()) } else { url.to_owned() };
    let exporter = (kind != "without").then(|| Exporter::install().expect("a recorder"));
    let pipeline = Pipeline::open(&url).expect("a pipeline");
    let server = exporter.map(|exporter| {
        let view = View::new(pipeline.observer()).exporter(exporter);
        Server::start(&Settings::at(([127, 0, 0, 1], 0).into()), view).expect("a server")
    });
    let is_over = AtomicBool::new(false);
    let (elapsed, mut scrapes) = std::thread::scope(|scope| {
        let scraper = server.as_ref().filter(|_| kind == "scraped").map(|server| {
            let address = server.address();
            let is_over = &is_over;
            scope.spawn(move || scrapes(address, is_over))
        });
        let began = Instant::now();
        let producers: Vec<_> = (0..2).map(|_| scope.spawn(|| send(&pipeline, rows / 2))).collect();
        producers.into_iter().for_each(|producer| producer.join().expect("a producer"));
        pipeline.flush().wait().expect("everything committed");
        let elapsed = began.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (elapsed, scraper.map_or_else(Vec::new, |scraper| scraper.join().expect("scrapes")))
    });
    print!("{}", rows as f64 / elapsed.as_secs_f64());
    if !scrapes.is_empty() {
        scrapes.sort_by(f64::total_cmp);
        let at = |share: f64| scrapes[((scrapes.len() - 1) as f64 * share) as usize];
        print!(" {} {} {} {}", at(0.5), at(0.99), at(1.0), scrapes.len());
    }
    pipeline.shutdown_blocking(Duration::from_secs(60));
}

fn send(pipeline: &Pipeline, rows: usize) {
    let events = pipeline.events();
    let event = Event::builder("web-1", "ssh", "login.failed").msg("root/123456").build().expect("an event");
    for _ in 0..rows / 64 {
        // The flush at the end waits for all.
        drop(events.send_many_blocking(vec![event.clone(); 64]).expect("taken"));
    }
}

/// Returns how many milliseconds each scrape took, from before it connected until all was read.
fn scrapes(address: SocketAddr, is_over: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("forebay_committed_rows_total"));
        times.push(began.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(100));
    }
    times
}

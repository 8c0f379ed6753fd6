//! How fast files are read, without a database: `cargo bench --bench source -- FILE...`
//!
//! Each file is read into memory, then parsed into rows on one core, again and again for a second; the best pass counts.
//! Without files: the samples of the tests.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use forebay::Timestamp;
use forebay::source::format::{Defaults, Format, Parser};
use forebay::source::pcap::{PcapReader, is_capture};

fn main() {
    let mut files: Vec<PathBuf> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).map(Into::into).collect();
    if files.is_empty() {
        files = ["loopback.pcap", "eve.json", "conn.zeek.json", "cowrie.json"].map(sample).into();
    }
    println!("{:24} {:>9} {:>12} {:>9}", "file", "records", "records/s", "MiB/s");
    for file in files {
        let content = std::fs::read(&file).expect("a readable file");
        let (mut records, mut best) = (0, Duration::MAX);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1) {
            let pass = Instant::now();
            records = if is_capture(&content) { packets(&content) } else { lines(&content) };
            best = best.min(pass.elapsed());
        }
        let per_second = f64::from(records) / best.as_secs_f64();
        let mib = content.len() as f64 / best.as_secs_f64() / f64::from(1 << 20);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!("{name:24} {records:>9} {per_second:>12.0} {mib:>9.0}");
    }
}

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn packets(content: &[u8]) -> u32 {
    let mut reader = PcapReader::open(content).expect("a capture");
    let mut rows = 0;
    while let Ok(Some(record)) = reader.next_record() {
        rows += u32::from(record.into_capture("bench").is_ok());
    }
    rows
}

fn lines(content: &[u8]) -> u32 {
    let format = Format::detect(content).expect("a log of a known kind");
    let defaults = Defaults { sensor: None, host: "bench", log_name: "bench", now: Timestamp::now() };
    let mut parser = Parser::new(format);
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| u32::from(matches!(parser.parse(line, &defaults), Ok(Some(_))))).sum()
}

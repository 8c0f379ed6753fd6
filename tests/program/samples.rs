//! Captures and logs, made or found.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// A classic pcap header: microseconds, link type USER0, whose packets nobody takes apart.
pub fn pcap_header() -> Vec<u8> {
    let mut header = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.extend(65_535_u32.to_le_bytes());
    header.extend(147_u32.to_le_bytes());
    header
}

/// One record with these bytes, `seconds` after the epoch.
pub fn packet(seconds: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("a short packet");
    let mut record: Vec<u8> = [seconds, 0, length, length].iter().flat_map(|number| number.to_le_bytes()).collect();
    record.extend(data);
    record
}

/// A capture whose packet `n` holds `n` as eight bytes and some more.
pub fn pcap(packets: u64) -> Vec<u8> {
    let records = (0..packets).flat_map(|n| {
        let data = [&n.to_be_bytes()[..], &[0xab; 52]].concat();
        packet(1_700_000_000 + n as u32, &data)
    });
    pcap_header().into_iter().chain(records).collect()
}

/// Line `n` of a log: plain JSON.
pub fn line(n: u64) -> String {
    format!("{{\"n\":{n},\"ts\":{},\"src_ip\":\"192.0.2.{}\",\"msg\":\"line {n}\"}}\n", 1_700_000_000 + n, n % 250)
}

/// Lines `from` up to, not including, `to`.
pub fn lines(from: u64, to: u64) -> String {
    (from..to).map(line).collect()
}

/// Record `n` of a Suricata log.
pub fn eve(n: u64) -> String {
    let (minute, second) = (n / 60 % 60, n % 60);
    format!(
        "{{\"timestamp\":\"2026-01-02T03:{minute:02}:{second:02}.000001+0000\",\"flow_id\":{n},\"event_type\":\"dns\",\
         \"src_ip\":\"192.0.2.7\",\"src_port\":53,\"dest_ip\":\"192.0.2.8\",\"dest_port\":53,\"proto\":\"UDP\",\
         \"dns\":{{\"rrname\":\"{n}.example.org\"}}}}\n"
    )
}

/// One gzip member.
pub fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content.as_ref()).expect("write to memory");
    encoder.finish().expect("write to memory")
}

/// A file of `tests/data`.
pub fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A file of the shared data, if the folder is there.
pub fn shared(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FOREBAY_SHARED_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("{} is not there: nothing is claimed about it", path.display());
        return None;
    }
    Some(path)
}

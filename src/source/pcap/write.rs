//! Writes packets as a pcapng file, so that [`PcapReader`](super::PcapReader) reads the same packets again: bytes, times to
//! the nanosecond, lengths, link types, comments. Pure but for the stream it writes to.
//!
//! pcapng and not pcap: a pcap file has one link type, and cannot name a sensor. Each link type of each sensor is an
//! interface of its own, described in front of its first packet, with the sensor as its name. Times before 1970, which
//! pcapng counts from an offset, are an interface of their own too. A section has so many interfaces at most; then a new
//! one begins, so that memory stays bounded whatever sensors there are.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};

use serde::Deserialize;

use crate::capture::Capture;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// Interfaces of one section.
const MAX_INTERFACES: u32 = 4096;
/// Bytes of a packet that can be written, and read again.
const MAX_DATA: usize = super::MAX_RECORD - (128 << 10);
/// Bytes of an option, whose length has 16 bits.
const MAX_OPTION: usize = 65_535;
/// In seconds: no `Timestamp` is earlier.
const BEFORE_ALL: i64 = -9_223_372_037;

/// Writes one pcapng file.
///
/// ```
/// use forebay::Capture;
/// use forebay::source::pcap::{PcapReader, PcapngWriter};
/// let packet = Capture::builder("tap-0", "packet").link_type(1).length(1514).data(vec![0; 64]).build()?;
/// let mut writer = PcapngWriter::open(Vec::new())?;
/// writer.write(&packet)?;
/// let file = writer.finish()?;
/// let mut reader = PcapReader::open(&file[..])?;
/// assert_eq!(reader.next_record()?.map(|record| (record.ts, record.length)), Some((packet.ts(), 1514)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PcapngWriter<W> {
    stream: W,
    block: Vec<u8>,
    /// By sensor: link type, whether before 1970, number.
    interfaces: HashMap<Box<str>, Vec<(u16, bool, u32)>>,
    next_interface: u32,
}

/// Why a row was not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum PcapWriteError {
    /// The stream failed; the file ends in the middle of a block.
    Write(io::Error),
    /// The row is none that a capture file can hold; nothing of it was written, and the next one can be.
    NotAPacket(&'static str),
}

impl fmt::Display for PcapWriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(_) => f.write_str("write a pcapng file"),
            Self::NotAPacket(why) => write!(f, "a capture file cannot hold this row: {why}"),
        }
    }
}

impl std::error::Error for PcapWriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Write(error) => Some(error),
            Self::NotAPacket(_) => None,
        }
    }
}

impl<W: Write> PcapngWriter<W> {
    /// Writes the beginning of a file. Each packet is one write of the stream, or two: buffer it.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn open(stream: W) -> io::Result<Self> {
        let mut writer = Self { stream, block: Vec::new(), interfaces: HashMap::new(), next_interface: 0 };
        writer.section()?;
        Ok(writer)
    }

    /// Writes a row of kind `packet`; another kind is written too if it has a link type.
    ///
    /// # Errors
    /// `NotAPacket` for a row without link type, with a length above 4 GiB or some 64 MiB of data; `Write`.
    pub fn write(&mut self, row: &Capture) -> Result<(), PcapWriteError> {
        let link_type = row.link_type().ok_or(PcapWriteError::NotAPacket("it has no link type"))?;
        let too_long = |_| PcapWriteError::NotAPacket("its length is above 4 GiB");
        let length = u32::try_from(row.length()).map_err(too_long)?;
        if row.data().len() > MAX_DATA {
            return Err(PcapWriteError::NotAPacket("its data is above 64 MiB"));
        }
        let is_before = row.ts().as_nanos() < 0;
        let interface = self.interface(row.sensor(), link_type, is_before).map_err(PcapWriteError::Write)?;
        let offset = if is_before { i128::from(BEFORE_ALL) * 1_000_000_000 } else { 0 };
        // Between 0 and 2^64 by the choice of the offset.
        let count = (i128::from(row.ts().as_nanos()) - offset) as u64;
        self.begin(PACKET);
        for number in [interface, (count >> 32) as u32, count as u32, row.data().len() as u32, length] {
            self.block.extend(number.to_le_bytes());
        }
        self.block.extend(row.data());
        self.pad();
        if let Some(comment) = row.fields().and_then(comment) {
            self.option(1, cut(&comment).as_bytes());
            self.option(0, &[]);
        }
        self.end().map_err(PcapWriteError::Write)
    }

    /// Flushes the stream and gives it back.
    ///
    /// # Errors
    /// When the stream fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.stream.flush()?;
        Ok(self.stream)
    }

    fn section(&mut self) -> io::Result<()> {
        self.interfaces.clear();
        self.next_interface = 0;
        self.begin(SECTION);
        self.block.extend(0x1a2b_3c4d_u32.to_le_bytes());
        self.block.extend([1, 0, 0, 0]);
        // Its length is not known.
        self.block.extend(u64::MAX.to_le_bytes());
        self.option(4, concat!("forebay ", env!("CARGO_PKG_VERSION")).as_bytes());
        self.option(0, &[]);
        self.end()
    }

    /// Returns the number of an interface, which it describes first if it is new.
    fn interface(&mut self, sensor: &str, link_type: u16, is_before: bool) -> io::Result<u32> {
        let known = self.interfaces.get(sensor).into_iter().flatten();
        let known =
            known.filter(|(known, before, _)| (*known, *before) == (link_type, is_before)).map(|(.., number)| number);
        if let Some(number) = known.copied().next() {
            return Ok(number);
        }
        if self.next_interface == MAX_INTERFACES {
            self.section()?;
        }
        let number = self.next_interface;
        self.next_interface += 1;
        self.interfaces.entry(sensor.into()).or_default().push((link_type, is_before, number));
        self.begin(INTERFACE);
        self.block.extend(link_type.to_le_bytes());
        // Two reserved bytes; a snap length of 0 is none.
        self.block.extend([0; 6]);
        self.option(2, cut(sensor).as_bytes());
        self.option(9, &[9]);
        if is_before {
            self.option(14, &BEFORE_ALL.to_le_bytes());
        }
        self.option(0, &[]);
        self.end()?;
        Ok(number)
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.block.extend(kind.to_le_bytes());
        self.block.extend([0; 4]);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.block.extend(code.to_le_bytes());
        self.block.extend((value.len() as u16).to_le_bytes());
        self.block.extend(value);
        self.pad();
    }

    fn end(&mut self) -> io::Result<()> {
        let length = (self.block.len() as u32 + 4).to_le_bytes();
        self.block[4..8].copy_from_slice(&length);
        self.block.extend(length);
        self.stream.write_all(&self.block)
    }
}

impl<W> fmt::Debug for PcapngWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcapngWriter").field("interfaces", &self.next_interface).finish_non_exhaustive()
    }
}

/// The comment that a file had on a packet.
fn comment(fields: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Fields {
        comment: Option<String>,
    }
    serde_json::from_str::<Fields>(fields).ok()?.comment
}

/// Cuts a text to what an option holds.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_OPTION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::PcapReader;
    use super::*;
    use crate::timestamp::Timestamp;

    fn packet(sensor: &str, nanos: i64) -> crate::CaptureBuilder<'_> {
        Capture::builder(sensor, "packet").ts(Timestamp::from_nanos(nanos)).link_type(1)
    }

    fn written(rows: &[Capture]) -> Vec<u8> {
        let mut writer = PcapngWriter::open(Vec::new()).unwrap();
        rows.iter().for_each(|row| writer.write(row).unwrap());
        writer.finish().unwrap()
    }

    /// The rows of a file; the sensor is not read.
    fn read(file: &[u8]) -> Vec<Capture> {
        let mut reader = PcapReader::open(file).unwrap();
        let mut rows = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            rows.push(record.into_capture("s").unwrap());
        }
        rows
    }

    #[test]
    fn every_time_length_link_type_and_comment_comes_back() {
        let times = [0, 1, -1, 1_999_999_999, i64::MAX, i64::MIN, i64::MIN + 1, -1_000_000_000];
        let mut rows: Vec<_> = times.iter().map(|nanos| packet("s", *nanos).build().unwrap()).collect();
        for (link_type, bytes) in [(0, 0), (1, 1), (65_535, 2), (276, 3), (101, 4), (147, 70_000)] {
            let row = packet("s", 5).link_type(link_type).data(vec![7; bytes]).length(u32::MAX.into());
            rows.push(row.build().unwrap());
        }
        rows.push(packet("s", 5).fields(r#"{"comment":"say \"hi\"\ntwice"}"#).build().unwrap());
        assert_eq!(read(&written(&rows)), rows);
    }

    #[test]
    fn any_number_of_sensors_is_written() {
        let names: Vec<_> = (0..10_000).map(|n| format!("sensor {n}")).collect();
        let rows: Vec<_> = names.iter().map(|name| packet(name, 5).data(name.as_bytes()).build().unwrap()).collect();
        let file = written(&rows);
        let data: Vec<_> = read(&file).iter().map(|row| row.data().to_vec()).collect();
        assert!(data.iter().eq(names.iter().map(String::as_bytes)));
        let sections = file.windows(8).filter(|bytes| bytes.starts_with(&SECTION.to_le_bytes())).count();
        assert_eq!(sections, 3);
    }

    #[test]
    fn what_no_capture_file_can_hold_is_refused_and_leaves_no_trace() {
        let mut writer = PcapngWriter::open(Vec::new()).unwrap();
        for row in [
            Capture::builder("s", "payload").data(vec![1]).build().unwrap(),
            packet("s", 1).length(1 << 32).build().unwrap(),
            packet("s", 1).data(vec![0; MAX_DATA + 1]).build().unwrap(),
        ] {
            assert!(matches!(writer.write(&row), Err(PcapWriteError::NotAPacket(_))));
        }
        let long = "ü".repeat(MAX_OPTION);
        let row = packet(&long, 1).fields(&serde_json::json!({ "comment": long }).to_string()).build().unwrap();
        writer.write(&row).unwrap();
        let rows = read(&writer.finish().unwrap());
        assert_eq!(rows.len(), 1);
        assert!(rows[0].fields().is_some_and(|fields| fields.len() > 65_000));
    }
}

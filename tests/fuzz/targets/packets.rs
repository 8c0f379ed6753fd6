//! Capture files, packets, and which packets are wanted.

use std::io::Read;

use forebay::source::link;
use forebay::source::pcap::{PcapReader, PcapngWriter, is_capture};
use forebay::{Capture, Timestamp};

use crate::pieces::Pieces;

/// Longest comment that is written whole.
const COMMENT: usize = 60_000;
const LINK_TYPES: [u16; 12] = [0, 1, 12, 14, 101, 108, 113, 147, 228, 229, 276, 65_535];

/// The rows of a file, and its faults.
fn packets(bytes: usize, stream: impl Read) -> Vec<Result<Capture, String>> {
    let mut found = Vec::new();
    let mut reader = match PcapReader::open(stream) {
        Ok(reader) => reader,
        Err(fault) => return vec![Err(fault.to_string())],
    };
    // A block has at least twelve bytes, so there cannot be more calls than this.
    for _ in 0..bytes / 12 + 3 {
        match reader.next_record() {
            Ok(None) => return found,
            Ok(Some(record)) => {
                assert_eq!(record.packet as usize, found.len());
                assert!(record.offset as usize + record.data.len() < bytes);
                found.push(Ok(record.into_capture("s").expect("a row")));
            }
            Err(fault) => found.push(Err(fault.to_string())),
        }
    }
    panic!("{} packets and faults of {bytes} bytes, and no end", found.len());
}

/// The same packets in whatever pieces the file comes; a file that is cut has the packets in front of the cut; and what
/// was read can be written and read again.
pub fn pcap(input: &[u8]) {
    let whole = packets(input.len(), input);
    assert_eq!(
        is_capture(input),
        !whole.first().is_some_and(|first| matches!(first, Err(why) if why.starts_with("not")))
    );
    assert_eq!(packets(input.len(), Pieces::owned(input)), whole);
    let cut = &input[..input.len() * 3 / 4];
    let kept = packets(cut.len(), cut);
    let same = kept.iter().zip(&whole).take_while(|(kept, whole)| kept == whole).count();
    assert!(same + 1 >= kept.len(), "{:?}", kept.get(same));
    let rows: Vec<Capture> = whole.into_iter().filter_map(Result::ok).collect();
    rows.iter().for_each(super::check_capture);
    check_written(&rows);
}

/// Rows of all that a file can hold are read as they were written.
pub fn pcap_write(input: &[u8]) {
    let mut rows = Vec::new();
    let mut rest = input;
    while let Some((head, after)) = rest.split_first_chunk::<17>() {
        let [t @ .., link_high, link_low, l0, l1, l2, l3, bytes, comment, sensor] = *head;
        let (data, after) = after.split_at(usize::from(bytes).min(after.len()));
        let (text, after) = after.split_at(usize::from(comment).min(after.len()));
        rest = after;
        let sensor = format!("sensor-{}", sensor % 4);
        let mut row = Capture::builder(&sensor, "packet")
            .ts(Timestamp::from_nanos(i64::from_be_bytes(t)))
            .link_type(u16::from_be_bytes([link_high, link_low]))
            .length(u32::from_be_bytes([l0, l1, l2, l3]).into())
            .data(data);
        let fields = serde_json::json!({ "comment": String::from_utf8_lossy(text) }).to_string();
        if !text.is_empty() {
            row = row.fields(&fields);
        }
        rows.push(row.build().expect("a row"));
    }
    check_written(&rows);
}

/// What is written is read again; who saw it and what was decoded of it are not part of a file.
fn check_written(rows: &[Capture]) {
    let mut writer = PcapngWriter::open(Vec::new()).expect("memory takes everything");
    rows.iter().for_each(|row| writer.write(row).expect("a packet"));
    let file = writer.finish().expect("memory takes everything");
    let read = packets(file.len(), &file[..]);
    assert_eq!(read.len(), rows.len());
    for (read, row) in read.iter().zip(rows) {
        let read = read.as_ref().expect("a packet");
        assert_eq!((read.ts(), read.link_type(), read.length()), (row.ts(), row.link_type(), row.length()));
        assert_eq!(read.data(), row.data());
        if row.fields().is_none_or(|fields| fields.len() < COMMENT) {
            assert_eq!(read.fields(), row.fields());
        }
    }
}

/// What the beginning of a frame says, the whole frame says too: cutting it short can only hide.
pub fn link(input: &[u8]) {
    let Some((kind, frame)) = input.split_first() else { return };
    let link_type = LINK_TYPES[usize::from(*kind) % LINK_TYPES.len()];
    let whole = link::decode(link_type, frame);
    let has_ports = whole.src_port.is_some() || whole.dst_port.is_some();
    assert!(!has_ports || (whole.src_ip.is_some() && whole.dst_ip.is_some() && whole.proto.is_some()));
    for length in 0..frame.len().min(160) {
        let cut = link::decode(link_type, &frame[..length]);
        assert!(cut.src_ip.is_none() || cut.src_ip == whole.src_ip);
        assert!(cut.dst_ip.is_none() || cut.dst_ip == whole.dst_ip);
        assert!(cut.src_port.is_none() || cut.src_port == whole.src_port);
        assert!(cut.dst_port.is_none() || cut.dst_port == whole.dst_port);
        assert!(cut.proto.is_none() || whole.proto.is_some());
    }
}

/// A filter that is taken is taken in brackets and negated, too; one that is not is refused with one line.
///
/// That the kernel takes what was compiled is checked where it is made (`source/live/filter/verifier.rs`).
#[cfg(target_os = "linux")]
pub fn filter(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let check = |filter: String| {
        let mut settings = forebay::source::live::LiveSettings::new("eth0");
        settings.filter = filter;
        settings.validate().map_err(|error| error.to_string())
    };
    match check(text.to_owned()) {
        Err(fault) => assert!(!fault.contains('\n') && fault.len() < 2 * text.len() + 400, "{fault}"),
        // Not of listings, and not of what is nested or long enough to meet a bound.
        Ok(()) if text.len() > 60 || text.trim_start().starts_with('{') || text.trim().is_empty() => {}
        Ok(()) => {
            assert_eq!(check(format!("({text})")), Ok(()));
            assert_eq!(check(format!("not ({text})")), Ok(()));
            assert_eq!(check(format!("tcp and ({text}) or udp")), Ok(()));
        }
    }
}

/// Live capture is for Linux.
#[cfg(not(target_os = "linux"))]
pub fn filter(_: &[u8]) {}

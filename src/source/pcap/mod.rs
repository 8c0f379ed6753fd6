//! Reads capture files, pcap and pcapng, from any stream, and turns their packets into `Capture` rows.
//!
//! Called by what ingests files; calls `link` for addresses and ports. Promises: every complete packet in front of a
//! fault is given; a fault is reported once, and each file ends in `None`; no length in a file decides how much is
//! allocated; the same bytes always give the same packet numbers, which are the positions for exactly-once. Memory:
//! 256 KiB, for a large packet as much as its block has, at most 64 MiB and a header (see `window`).
//!
//! By hand and not with `pcap-parser` 0.17: there, a packet block that claims more data than it has is reported as
//! "incomplete" or "buffer too small", exactly as a block that has not been read yet, so one bad byte makes the caller
//! grow its buffer and wait for the end of the file; a fault does not say how long its block was, so the file cannot
//! be read on; and the cause of a failed read is lost. The formats are small: `classic`, `ng`. `write` writes
//! rows back as pcapng.

mod classic;
mod ng;
mod window;
mod write;

pub use write::{PcapWriteError, PcapngWriter};

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;

use self::window::Window;
use super::link;
use crate::capture::Capture;
use crate::event::InvalidRow;
use crate::timestamp::Timestamp;

/// Largest record that is read, in bytes; a larger one is `Malformed`.
const MAX_RECORD: usize = 64 << 20;

/// Returns whether a file that starts with these bytes is one that [`PcapReader`] reads.
///
/// Twelve bytes decide; with fewer, at least four, a pcapng file is told by its first four alone.
///
/// ```
/// assert!(forebay::source::pcap::is_capture(&[0xd4, 0xc3, 0xb2, 0xa1]));
/// assert!(!forebay::source::pcap::is_capture(b"{\"event\":1}"));
/// ```
pub fn is_capture(first_bytes: &[u8]) -> bool {
    let Some((magic, rest)) = first_bytes.split_first_chunk::<4>() else { return false };
    if u32::from_be_bytes(*magic) != ng::SECTION {
        return classic::magic(*magic).is_some();
    }
    // Those four are line ends, which a damaged text file may start with too.
    rest.get(4..8).and_then(|bytes| bytes.first_chunk()).is_none_or(|bytes| ng::byte_order(*bytes).is_some())
}

/// Reads the packets of one capture file, in their order.
///
/// The stream needs no buffer of its own: it is read in pieces of up to 256 KiB.
///
/// ```
/// use forebay::source::pcap::PcapReader;
/// let file = [&[0xa1, 0xb2, 0xc3, 0xd4, 0, 2, 0, 4][..], &[0; 12], &[0, 0, 0, 101]].concat();
/// let mut reader = PcapReader::open(&file[..])?;
/// while let Some(record) = reader.next_record()? {
///     println!("{} {} bytes", record.ts, record.length);
/// }
/// # Ok::<(), forebay::source::pcap::PcapError>(())
/// ```
pub struct PcapReader<R> {
    window: Window<R>,
    format: Format,
    packet: u64,
    is_over: bool,
}

enum Format {
    Classic(classic::FileHeader),
    Ng(ng::Section),
}

/// One packet of a capture file; the bytes are lent by the reader.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// When it was captured, exact to the nanosecond.
    ///
    /// A simple packet block of pcapng has no time: it gets that of the packet before, or the epoch if it is the first.
    pub ts: Timestamp,
    /// Link type, as in the tcpdump group's registry (1 is Ethernet).
    pub link_type: u16,
    /// Bytes on the wire.
    pub length: u32,
    /// The bytes captured, up to the snap length.
    pub data: &'a [u8],
    /// Which packet of the file it is, from 0. A malformed one has a number too, so that each number is one place.
    pub packet: u64,
    /// Where its record or block starts in the file, in bytes.
    pub offset: u64,
    options: &'a [u8],
    order: Order,
}

/// Why a capture file, or one packet of it, cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum PcapError {
    /// The stream failed while the record at `offset` was being read.
    Read {
        /// Bytes into the file.
        offset: u64,
        /// What the stream said.
        source: io::Error,
    },
    /// Neither pcap nor pcapng.
    NotACapture {
        /// Up to twelve bytes that the file starts with.
        magic: Vec<u8>,
    },
    /// A classic pcap file of a version other than 2.
    UnsupportedVersion {
        /// As the file states it.
        major: u16,
        /// As the file states it.
        minor: u16,
    },
    /// The file ends inside a record: the writer died, or is still writing. All packets before have been given.
    Truncated {
        /// Where the incomplete record starts, in bytes.
        offset: u64,
        /// The number that its packet would have had, which is how many there were before.
        packet: u64,
    },
    /// A record that says what cannot be.
    Malformed {
        /// Where it starts, in bytes.
        offset: u64,
        /// Its number among the packets.
        packet: u64,
        /// One of a small set of texts.
        reason: &'static str,
        /// Whether the packets behind it can be reached.
        rest: Rest,
    },
}

/// What becomes of the file behind a malformed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The next call gives the packet after the malformed one.
    Follows,
    /// Nobody can say where the next record starts; the next call gives `None`.
    Lost,
}

impl<R: Read> PcapReader<R> {
    /// Reads the start of the stream and decides which format it is.
    ///
    /// # Errors
    /// `NotACapture` by its first bytes, `UnsupportedVersion`, `Truncated` when a classic file header is cut, `Read`.
    pub fn open(reader: R) -> Result<Self, PcapError> {
        let mut window = Window::new(reader);
        let start = window.peek(classic::FILE_HEADER).map_err(|source| PcapError::Read { offset: 0, source })?;
        if !is_capture(start) {
            return Err(PcapError::NotACapture { magic: start.iter().copied().take(12).collect() });
        }
        let Some(magic) = start.first_chunk().and_then(|magic| classic::magic(*magic)) else {
            return Ok(Self { window, format: Format::Ng(ng::Section::new()), packet: 0, is_over: false });
        };
        let header = start.first_chunk().ok_or(PcapError::Truncated { offset: 0, packet: 0 })?;
        let header = classic::FileHeader::parse(header, magic)?;
        window.take(classic::FILE_HEADER);
        Ok(Self { window, format: Format::Classic(header), packet: 0, is_over: false })
    }

    /// Returns the next packet, or `None` at the end and for ever after it.
    ///
    /// # Errors
    /// `Truncated`, `Malformed`, `Read`. It may be called again after each: after `Malformed` with [`Rest::Follows`] the
    /// next packet comes, after any other error `None`. So a loop that sets faults aside and goes on always ends.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, PcapError> {
        if self.is_over {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Classic(header) => header.next(&mut self.window, self.packet),
            Format::Ng(section) => section.next(&mut self.window, self.packet),
        };
        let goes_on = matches!(found, Ok(Some(_)) | Err(PcapError::Malformed { rest: Rest::Follows, .. }));
        self.is_over = !goes_on;
        let packet = self.packet;
        self.packet += u64::from(goes_on);
        let Some(found) = found? else { return Ok(None) };
        let offset = self.window.offset();
        let block = self.window.take(found.block);
        Ok(Some(Record {
            ts: found.ts,
            link_type: found.link_type,
            length: found.length,
            data: block.get(found.data).unwrap_or_default(),
            packet,
            offset,
            options: block.get(found.options).unwrap_or_default(),
            order: found.order,
        }))
    }
}

impl Record<'_> {
    /// Copies the packet into a row of kind `packet`, with addresses, ports and protocol where [`link::decode`] finds them.
    ///
    /// `fields` is NULL unless the file has a comment on this packet: `{"comment":"..."}`, several joined by line ends.
    ///
    /// # Errors
    /// When `sensor` has 4 GiB or more.
    pub fn into_capture(self, sensor: &str) -> Result<Capture, InvalidRow> {
        let ends = link::decode(self.link_type, self.data);
        let fields = self.comment().map(|comment| serde_json::json!({ "comment": comment }).to_string());
        let mut row = Capture::builder(sensor, "packet")
            .ts(self.ts)
            .src(ends.src_ip, ends.src_port)
            .dst(ends.dst_ip, ends.dst_port)
            .link_type(self.link_type)
            .length(u64::from(self.length))
            .data(self.data);
        if let Some(proto) = &ends.proto {
            row = row.proto(proto);
        }
        if let Some(fields) = &fields {
            row = row.fields(fields);
        }
        row.build()
    }

    /// Returns what people wrote about this packet into a pcapng file, joined by line ends.
    ///
    /// Malformed options end the search, and so do 64 KiB of comments.
    pub fn comment(&self) -> Option<String> {
        const OPT_COMMENT: u16 = 1;
        const ENOUGH: usize = 64 * 1024;
        let mut options = self.options;
        let mut comment: Option<String> = None;
        while let Ok(Some((code, value))) = ng::next_option(self.order, &mut options) {
            if code != OPT_COMMENT {
                continue;
            }
            let text = String::from_utf8_lossy(value);
            match &mut comment {
                None => comment = Some(text.into_owned()),
                Some(lines) if lines.len() >= ENOUGH => break,
                Some(lines) => lines.extend(["\n", &text]),
            }
        }
        comment
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("packet", &self.packet)
            .field("offset", &self.offset)
            .field("ts", &self.ts)
            .field("link_type", &self.link_type)
            .field("length", &self.length)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { offset, .. } => write!(f, "read capture file at byte {offset}"),
            Self::NotACapture { magic } if magic.is_empty() => f.write_str("not a pcap or pcapng file: it is empty"),
            Self::NotACapture { magic } => {
                f.write_str("not a pcap or pcapng file: it starts with the bytes")?;
                magic.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Self::UnsupportedVersion { major, minor } => {
                write!(f, "read pcap version {major}.{minor}: only 2 is known")
            }
            Self::Truncated { offset, packet } => {
                write!(
                    f,
                    "capture file ends inside the record at byte {offset}; the {packet} packets before it are whole"
                )
            }
            Self::Malformed { offset, packet, reason, rest } => {
                write!(f, "read packet {packet} at byte {offset}: {reason}; ")?;
                f.write_str(match rest {
                    Rest::Follows => "the packets behind it can be read",
                    Rest::Lost => "the rest of the file cannot be read",
                })
            }
        }
    }
}

impl std::error::Error for PcapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A packet that lies in the window: what its head says, and where in its block the bytes are.
struct Found {
    ts: Timestamp,
    link_type: u16,
    length: u32,
    block: usize,
    data: Range<usize>,
    options: Range<usize>,
    order: Order,
}

/// Byte order of numbers in a file. A number that is not there whole reads as 0; callers have checked the length.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        let bytes = array_at(bytes, at);
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let bytes = array_at(bytes, at);
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }

    fn i64_at(self, bytes: &[u8], at: usize) -> i64 {
        let bytes = array_at(bytes, at);
        match self {
            Self::Big => i64::from_be_bytes(bytes),
            Self::Little => i64::from_le_bytes(bytes),
        }
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

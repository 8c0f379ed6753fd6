//! Classic pcap: one file header, then records without any mark between them. Pure but for `next`'s reading.
//!
//! Called by `PcapReader`. Once a length lies there is no way back to the next record, so such a fault ends the file.
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>

use std::io::Read;

use super::window::Window;
use super::{Found, MAX_RECORD, Order, PcapError, Rest};
use crate::timestamp::Timestamp;

pub(super) const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

/// What libpcap itself takes for the largest sensible snap length. Some writers state a smaller one than they use.
const USUAL_LIMIT: usize = 262_144;

pub(super) struct FileHeader {
    order: Order,
    nanos_per_tick: u32,
    link_type: u16,
    /// A record with more captured bytes is taken for garbage.
    limit: usize,
}

/// Returns byte order and nanoseconds a tick of the four magic numbers, or `None` for anything else.
pub(super) fn magic(bytes: [u8; 4]) -> Option<(Order, u32)> {
    match u32::from_be_bytes(bytes) {
        0xa1b2_c3d4 => Some((Order::Big, 1000)),
        0xa1b2_3c4d => Some((Order::Big, 1)),
        0xd4c3_b2a1 => Some((Order::Little, 1000)),
        0x4d3c_b2a1 => Some((Order::Little, 1)),
        _ => None,
    }
}

impl FileHeader {
    /// Reads the header that follows (and contains) a known magic number.
    pub(super) fn parse(bytes: &[u8; FILE_HEADER], (order, nanos_per_tick): (Order, u32)) -> Result<Self, PcapError> {
        let (major, minor) = (order.u16_at(bytes, 4), order.u16_at(bytes, 6));
        if major != 2 {
            return Err(PcapError::UnsupportedVersion { major, minor });
        }
        let snap_length = order.u32_at(bytes, 16) as usize;
        // The upper half of the link type's field tells the length of the frame check sequence.
        let link_type = order.u32_at(bytes, 20) as u16;
        Ok(Self { order, nanos_per_tick, link_type, limit: snap_length.clamp(USUAL_LIMIT, MAX_RECORD) })
    }

    /// Looks at the next record and leaves it in the window.
    pub(super) fn next<R: Read>(&self, window: &mut Window<R>, packet: u64) -> Result<Option<Found>, PcapError> {
        let offset = window.offset();
        let cannot_read = |source| PcapError::Read { offset, source };
        let head = window.peek(RECORD_HEADER).map_err(cannot_read)?;
        if head.is_empty() {
            return Ok(None);
        }
        let Some(head) = head.first_chunk::<RECORD_HEADER>() else {
            return Err(PcapError::Truncated { offset, packet });
        };
        let found = self.record(head);
        if found.data.len() > self.limit {
            let reason = "captured length above the snap length";
            return Err(PcapError::Malformed { offset, packet, reason, rest: Rest::Lost });
        }
        if window.peek(found.block).map_err(cannot_read)?.len() < found.block {
            return Err(PcapError::Truncated { offset, packet });
        }
        Ok(Some(found))
    }

    fn record(&self, head: &[u8; RECORD_HEADER]) -> Found {
        let [seconds, ticks, captured, length] = [0, 4, 8, 12].map(|at| self.order.u32_at(head, at));
        // Both are 32 bits unsigned: until the year 2106, and far from the ends of an i64.
        let nanos = i64::from(seconds) * 1_000_000_000 + i64::from(ticks) * i64::from(self.nanos_per_tick);
        let block = RECORD_HEADER.saturating_add(captured as usize);
        Found {
            ts: Timestamp::from_nanos(nanos),
            link_type: self.link_type,
            length,
            block,
            data: RECORD_HEADER..block,
            options: block..block,
            order: self.order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PcapReader, is_capture};
    use super::*;

    /// A raw IP file of packets given as seconds, ticks and bytes; each is three bytes longer on the wire.
    fn file(magic: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let is_big = matches!(magic, 0xa1b2_c3d4 | 0xa1b2_3c4d);
        let u16_of = |n: u16| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
        let u32_of = |n: u32| if is_big { n.to_be_bytes() } else { n.to_le_bytes() };
        let mut file = [&magic.to_be_bytes()[..], &u16_of(2), &u16_of(4), &[0; 8]].concat();
        // A frame check sequence of four bytes is announced, which must not disturb the link type.
        file.extend([u32_of(65_535), u32_of(0x4400_0065)].concat());
        for (seconds, ticks, data) in packets {
            let length = data.len() as u32;
            file.extend([*seconds, *ticks, length, length + 3].map(u32_of).concat());
            file.extend(*data);
        }
        file
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_are_exact() {
        for (magic, nanos) in [(0xa1b2_c3d4, 5000), (0xd4c3_b2a1, 5000), (0xa1b2_3c4d, 5), (0x4d3c_b2a1, 5)] {
            let bytes = file(magic, &[(7, 5, b"abc"), (u32::MAX, 0, b"")]);
            assert!(is_capture(&bytes));
            let mut reader = PcapReader::open(&bytes[..]).unwrap();
            let first = reader.next_record().unwrap().unwrap();
            assert_eq!(first.ts.as_nanos(), 7_000_000_000 + nanos, "{magic:x}");
            assert_eq!((first.link_type, first.length, first.data), (101, 6, &b"abc"[..]));
            assert_eq!((first.packet, first.offset), (0, 24));
            let second = reader.next_record().unwrap().unwrap();
            assert_eq!(second.ts.as_nanos(), 4_294_967_295_000_000_000);
            assert_eq!((second.packet, second.offset, second.length), (1, 43, 3));
            assert!(reader.next_record().unwrap().is_none());
        }
    }

    #[test]
    fn a_cut_file_gives_every_whole_packet_and_then_where_it_was_cut() {
        let whole = file(0xa1b2_c3d4, &[(1, 0, b"abcd"), (2, 0, b"efgh")]);
        for cut in 24..=whole.len() {
            let mut reader = PcapReader::open(&whole[..cut]).unwrap();
            let complete = (cut - 24) / 20;
            for _ in 0..complete {
                assert_eq!(reader.next_record().unwrap().unwrap().data.len(), 4);
            }
            match reader.next_record() {
                Ok(None) => assert_eq!((cut - 24) % 20, 0),
                Err(PcapError::Truncated { offset, packet }) => {
                    assert_eq!((offset, packet), (24 + 20 * complete as u64, complete as u64));
                }
                other => panic!("{other:?}"),
            }
            assert!(reader.next_record().unwrap().is_none());
        }
        assert!(matches!(PcapReader::open(&whole[..23]), Err(PcapError::Truncated { offset: 0, packet: 0 })));
    }

    #[test]
    fn a_length_that_lies_ends_the_file_without_an_allocation() {
        let mut bytes = file(0xa1b2_c3d4, &[(1, 0, b"abcd"), (2, 0, b"efgh"), (3, 0, b"ijkl")]);
        bytes[24 + 20 + 8..][..4].fill(0xff);
        let mut reader = PcapReader::open(&bytes[..]).unwrap();
        assert!(reader.next_record().unwrap().is_some());
        let fault = reader.next_record().unwrap_err();
        assert!(matches!(fault, PcapError::Malformed { offset: 44, packet: 1, rest: Rest::Lost, .. }), "{fault}");
        assert!(reader.next_record().unwrap().is_none());
    }

    #[test]
    fn a_packet_larger_than_the_first_window_is_read_whole() {
        let large: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
        let mut bytes = file(0xd4c3_b2a1, &[(1, 0, b"a"), (2, 0, &large), (3, 0, b"z")]);
        bytes[16..20].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        let mut reader = PcapReader::open(&bytes[..]).unwrap();
        assert_eq!(reader.next_record().unwrap().unwrap().data, b"a");
        assert_eq!(reader.next_record().unwrap().unwrap().data, large);
        assert_eq!(reader.next_record().unwrap().unwrap().data, b"z");
    }

    #[test]
    fn a_foreign_file_is_named_by_its_first_bytes() {
        let told = |bytes: &[u8]| PcapReader::open(bytes).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(told(b""), "not a pcap or pcapng file: it is empty");
        assert_eq!(told(b"\x1f\x8b\x08"), "not a pcap or pcapng file: it starts with the bytes 1f 8b 08");
        assert!(told(b"\n\r\r\nnot a capture").ends_with("0a 0d 0d 0a 6e 6f 74 20 61 20 63 61"));
        let mut old = file(0xa1b2_c3d4, &[]);
        old[5] = 1;
        assert_eq!(told(&old), "read pcap version 1.4: only 2 is known");
    }

    #[test]
    fn a_failing_stream_keeps_its_cause() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the disk is gone"))
            }
        }
        let bytes = file(0xa1b2_c3d4, &[(1, 0, b"a")]);
        let mut reader = PcapReader::open(bytes.chain(Broken)).unwrap();
        assert!(reader.next_record().unwrap().is_some());
        let fault = reader.next_record().unwrap_err();
        assert_eq!(std::error::Error::source(&fault).unwrap().to_string(), "the disk is gone");
        assert!(reader.next_record().unwrap().is_none());
    }
}

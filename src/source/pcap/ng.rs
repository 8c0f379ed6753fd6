//! pcapng: sections of blocks, each with its length at both ends. Pure but for `next`'s reading.
//!
//! Called by `PcapReader`. A block whose two lengths agree can be stepped over whatever is in it, so a fault inside
//! costs that block alone; lengths that disagree end the file. Blocks that carry no packet and describe no interface
//! are not held in memory.
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html>

use std::io::Read;

use super::window::Window;
use super::{Found, MAX_RECORD, Order, PcapError, Rest};
use crate::timestamp::Timestamp;

pub(super) const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length in front, the length again behind.
const HEAD: usize = 8;
const TAIL: usize = 4;

/// Most interfaces of one section that are remembered, so that a file of nothing else cannot take the memory.
const MAX_INTERFACES: usize = 65_536;

/// What the blocks of a section need to know from those before.
pub(super) struct Section {
    order: Order,
    /// `None` where the description was malformed, so that the next ones keep their numbers.
    interfaces: Vec<Option<Interface>>,
    /// For simple packets, which have no time of their own.
    last_ts: Timestamp,
}

struct Interface {
    link_type: u16,
    snap_length: u32,
    ticks: Ticks,
    offset_nanos: i128,
}

/// How the 64-bit count of an interface's clock becomes nanoseconds.
enum Ticks {
    Times(i128),
    DividedBy(i128),
    Binary(u32),
}

/// Returns the byte order that a section's header states.
pub(super) fn byte_order(magic: [u8; 4]) -> Option<Order> {
    match u32::from_be_bytes(magic) {
        0x1a2b_3c4d => Some(Order::Big),
        0x4d3c_2b1a => Some(Order::Little),
        _ => None,
    }
}

impl Section {
    pub(super) fn new() -> Self {
        Self { order: Order::Little, interfaces: Vec::new(), last_ts: Timestamp::from_nanos(0) }
    }

    /// Looks for the next packet block and leaves it in the window.
    pub(super) fn next<R: Read>(&mut self, window: &mut Window<R>, packet: u64) -> Result<Option<Found>, PcapError> {
        loop {
            let offset = window.offset();
            let cannot_read = |source| PcapError::Read { offset, source };
            let malformed = |reason, rest| PcapError::Malformed { offset, packet, reason, rest };
            let truncated = PcapError::Truncated { offset, packet };

            let head = window.peek(HEAD + TAIL).map_err(cannot_read)?;
            if head.is_empty() {
                return Ok(None);
            }
            let Some(head) = head.first_chunk::<12>() else { return Err(truncated) };
            let (kind, length) = self.head(head).map_err(|reason| malformed(reason, Rest::Lost))?;

            let is_needed = matches!(kind, SECTION | INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET);
            let is_held = is_needed && length <= MAX_RECORD;
            let skipped = if is_held { 0 } else { length - TAIL };
            if !window.skip(skipped).map_err(cannot_read)? {
                return Err(truncated);
            }
            let block = window.peek(length - skipped).map_err(cannot_read)?;
            if block.len() < length - skipped {
                return Err(truncated);
            }
            if self.order.u32_at(block, block.len() - TAIL) as usize != length {
                return Err(malformed("the two lengths of a block differ", Rest::Lost));
            }
            let content = block.get(HEAD..block.len() - TAIL).unwrap_or_default();
            let outcome = match kind {
                _ if is_needed && !is_held => self.too_long(kind),
                SECTION => Self::check_version(self.order, content),
                INTERFACE => self.describe_interface(content),
                SIMPLE_PACKET => self.simple_packet(content).map(Some),
                ENHANCED_PACKET | OBSOLETE_PACKET => self.packet(kind, content).map(Some),
                _ => Ok(None),
            };
            if let Ok(Some(found)) = outcome {
                self.last_ts = found.ts;
                return Ok(Some(found));
            }
            window.take(length - skipped);
            // What follows a section header that is not understood would be read by guesswork.
            let rest = if kind == SECTION { Rest::Lost } else { Rest::Follows };
            outcome.map_err(|reason| malformed(reason, rest))?;
        }
    }

    /// Returns type and length of a block; a section header also says how to read the length, and forgets the rest.
    fn head(&mut self, head: &[u8; 12]) -> Result<(u32, usize), &'static str> {
        // The section's type reads the same in both byte orders.
        let kind = self.order.u32_at(head, 0);
        if kind == SECTION {
            self.order = byte_order([head[8], head[9], head[10], head[11]]).ok_or("section of unknown byte order")?;
            self.interfaces.clear();
        }
        let length = self.order.u32_at(head, 4) as usize;
        if length < HEAD + TAIL || !length.is_multiple_of(4) {
            return Err("impossible block length");
        }
        Ok((kind, length))
    }

    fn too_long(&mut self, kind: u32) -> Result<Option<Found>, &'static str> {
        if kind == INTERFACE {
            self.add_interface(None)?;
        }
        Err("block above 64 MiB")
    }

    fn check_version(order: Order, content: &[u8]) -> Result<Option<Found>, &'static str> {
        let header = content.first_chunk::<16>().ok_or("section header cut short")?;
        if order.u16_at(header, 4) == 1 { Ok(None) } else { Err("section of an unknown version") }
    }

    fn describe_interface(&mut self, content: &[u8]) -> Result<Option<Found>, &'static str> {
        let interface = Interface::parse(self.order, content);
        let fault = interface.as_ref().err().copied();
        self.add_interface(interface.ok())?;
        fault.map_or(Ok(None), Err)
    }

    fn add_interface(&mut self, interface: Option<Interface>) -> Result<(), &'static str> {
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err("more than 65536 interfaces in a section");
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn interface(&self, number: u32) -> Result<&Interface, &'static str> {
        let interface = self.interfaces.get(number as usize).ok_or("packet of an interface that is not described")?;
        interface.as_ref().ok_or("packet of an interface whose description is malformed")
    }

    /// Enhanced and obsolete packet blocks differ only in the width of the interface's number.
    fn packet(&self, kind: u32, content: &[u8]) -> Result<Found, &'static str> {
        const FIXED: usize = 20;
        let head = content.first_chunk::<FIXED>().ok_or("packet block cut short")?;
        let [number, high, low, captured, length] = [0, 4, 8, 12, 16].map(|at| self.order.u32_at(head, at));
        let number = if kind == OBSOLETE_PACKET { u32::from(self.order.u16_at(head, 0)) } else { number };
        let interface = self.interface(number)?;
        if captured as usize > content.len() - FIXED {
            return Err("captured length above the block's");
        }
        let data = HEAD + FIXED..HEAD + FIXED + captured as usize;
        let options = data.end.next_multiple_of(4)..HEAD + content.len();
        let block = HEAD + content.len() + TAIL;
        let ts = interface.time(u64::from(high) << 32 | u64::from(low)).ok_or("timestamp out of range")?;
        Ok(Found { ts, link_type: interface.link_type, length, block, data, options, order: self.order })
    }

    fn simple_packet(&self, content: &[u8]) -> Result<Found, &'static str> {
        const FIXED: usize = 4;
        let head = content.first_chunk::<FIXED>().ok_or("packet block cut short")?;
        let length = self.order.u32_at(head, 0);
        let interface = self.interface(0)?;
        let captured = if interface.snap_length == 0 { length } else { length.min(interface.snap_length) };
        if captured as usize > content.len() - FIXED {
            return Err("captured length above the block's");
        }
        let data = HEAD + FIXED..HEAD + FIXED + captured as usize;
        let block = HEAD + content.len() + TAIL;
        let (ts, link_type, order) = (self.last_ts, interface.link_type, self.order);
        Ok(Found { ts, link_type, length, block, options: data.end..data.end, data, order })
    }
}

impl Interface {
    fn parse(order: Order, content: &[u8]) -> Result<Self, &'static str> {
        const IF_TSRESOL: u16 = 9;
        const IF_TSOFFSET: u16 = 14;
        let (head, mut options) = content.split_first_chunk::<8>().ok_or("interface description cut short")?;
        let mut interface = Self {
            link_type: order.u16_at(head, 0),
            snap_length: order.u32_at(head, 4),
            ticks: Ticks::Times(1000),
            offset_nanos: 0,
        };
        while let Some((code, value)) = next_option(order, &mut options)? {
            match (code, value) {
                (IF_TSRESOL, &[resolution]) => interface.ticks = Ticks::per_second(resolution),
                (IF_TSOFFSET, value) if value.len() == 8 => {
                    interface.offset_nanos = i128::from(order.i64_at(value, 0)) * 1_000_000_000;
                }
                (IF_TSRESOL | IF_TSOFFSET, _) => return Err("interface option of impossible length"),
                _ => {}
            }
        }
        Ok(interface)
    }

    fn time(&self, count: u64) -> Option<Timestamp> {
        let count = i128::from(count);
        let nanos = match self.ticks {
            Ticks::Times(factor) => count * factor,
            Ticks::DividedBy(divisor) => count / divisor,
            Ticks::Binary(bits) => (count * 1_000_000_000) >> bits,
        };
        i64::try_from(nanos + self.offset_nanos).ok().map(Timestamp::from_nanos)
    }
}

impl Ticks {
    /// Reads `if_tsresol`: a negative power of 10, or of 2 if the highest bit is set.
    fn per_second(resolution: u8) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        match exponent {
            _ if resolution & 0x80 != 0 => Self::Binary(exponent),
            0..=9 => Self::Times(10_i128.pow(9 - exponent)),
            // Beyond the largest power every count is less than a nanosecond.
            _ => Self::DividedBy(10_i128.checked_pow(exponent - 9).unwrap_or(i128::MAX)),
        }
    }
}

/// Takes the next option, `None` at the end of the list.
///
/// # Errors
/// When the option is longer than what is left.
pub(super) fn next_option<'a>(order: Order, options: &mut &'a [u8]) -> Result<Option<(u16, &'a [u8])>, &'static str> {
    const END: u16 = 0;
    let Some((head, rest)) = options.split_first_chunk::<4>() else { return Ok(None) };
    let (code, length) = (order.u16_at(head, 0), usize::from(order.u16_at(head, 2)));
    if code == END {
        return Ok(None);
    }
    let value = rest.get(..length).ok_or("option longer than its block")?;
    *options = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok(Some((code, value)))
}

#[cfg(test)]
mod tests {
    use super::super::{PcapReader, is_capture};
    use super::*;

    /// Writes blocks in one byte order.
    #[derive(Clone, Copy)]
    struct Blocks(Order);

    impl Blocks {
        fn u16(self, n: u16) -> Vec<u8> {
            if matches!(self.0, Order::Big) { n.to_be_bytes().into() } else { n.to_le_bytes().into() }
        }
        fn u32s(self, numbers: &[u32]) -> Vec<u8> {
            let bytes = |n: &u32| if matches!(self.0, Order::Big) { n.to_be_bytes() } else { n.to_le_bytes() };
            numbers.iter().flat_map(bytes).collect()
        }
        fn block(self, kind: u32, content: &[u8]) -> Vec<u8> {
            let padding = vec![0; content.len().next_multiple_of(4) - content.len()];
            let length = self.u32s(&[(12 + content.len() + padding.len()) as u32]);
            [&self.u32s(&[kind])[..], &length, content, &padding, &length].concat()
        }
        fn section(self) -> Vec<u8> {
            let content = [self.u32s(&[0x1a2b_3c4d]), self.u16(1), self.u16(0), self.u32s(&[u32::MAX; 2])].concat();
            self.block(SECTION, &content)
        }
        fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
            let padding = vec![0; value.len().next_multiple_of(4) - value.len()];
            [&self.u16(code)[..], &self.u16(value.len() as u16), value, &padding].concat()
        }
        fn interface(self, link_type: u16, snap_length: u32, options: &[u8]) -> Vec<u8> {
            let content = [&self.u16(link_type)[..], &[0; 2], &self.u32s(&[snap_length]), options].concat();
            self.block(INTERFACE, &content)
        }
        fn packet(self, interface: u32, time: u64, data: &[u8], options: &[u8]) -> Vec<u8> {
            let length = data.len() as u32;
            let head = self.u32s(&[interface, (time >> 32) as u32, time as u32, length, length + 1]);
            let padding = vec![0; data.len().next_multiple_of(4) - data.len()];
            self.block(ENHANCED_PACKET, &[&head[..], data, &padding, options].concat())
        }
    }

    const BIG: Blocks = Blocks(Order::Big);
    const LITTLE: Blocks = Blocks(Order::Little);

    /// One line a call of `next_record`, until the end.
    fn told(file: &[u8]) -> Vec<String> {
        let mut reader = PcapReader::open(file).unwrap();
        let mut lines = Vec::new();
        loop {
            lines.push(match reader.next_record() {
                Ok(None) => return lines,
                Ok(Some(r)) => {
                    let text = String::from_utf8_lossy(r.data);
                    format!(
                        "{} at {}: {}ns link {} length {} {text}",
                        r.packet,
                        r.offset,
                        r.ts.as_nanos(),
                        r.link_type,
                        r.length
                    )
                }
                Err(PcapError::Truncated { offset, packet }) => format!("{packet} at {offset}: truncated"),
                Err(PcapError::Malformed { offset, packet, reason, rest }) => {
                    format!("{packet} at {offset}: {reason}, {rest:?}")
                }
                Err(other) => panic!("{other}"),
            });
        }
    }

    #[test]
    fn each_section_has_its_own_byte_order_and_interfaces() {
        let section = |b: Blocks, link_type, data: &[u8]| {
            [b.section(), b.interface(9, 0, &[]), b.interface(link_type, 0, &[]), b.packet(1, 1 << 32, data, &[])]
                .concat()
        };
        let file = [section(BIG, 1, b"one"), section(LITTLE, 276, b"two"), BIG.section(), BIG.packet(0, 0, b"x", &[])];
        assert!(is_capture(&file[0][..12]) && is_capture(&file[1][..4]));
        assert_eq!(
            told(&file.concat()),
            [
                "0 at 68: 4294967296000ns link 1 length 4 one",
                "1 at 172: 4294967296000ns link 276 length 4 two",
                "2 at 236: packet of an interface that is not described, Follows",
            ]
        );
    }

    #[test]
    fn every_resolution_and_offset_is_exact() {
        let nanos = |options: &[(u16, &[u8])], count: u64| {
            let options: Vec<u8> = options.iter().flat_map(|(code, value)| LITTLE.option(*code, value)).collect();
            let file = [LITTLE.section(), LITTLE.interface(1, 0, &options), LITTLE.packet(0, count, b"", &[])].concat();
            PcapReader::open(&file[..]).unwrap().next_record().ok().flatten().map(|record| record.ts.as_nanos())
        };
        assert_eq!(nanos(&[], 1_700_000_000_123_456), Some(1_700_000_000_123_456_000));
        assert_eq!(nanos(&[(9, &[9])], 1_700_000_000_123_456_789), Some(1_700_000_000_123_456_789));
        assert_eq!(nanos(&[(9, &[0])], 1_700_000_000), Some(1_700_000_000_000_000_000));
        assert_eq!(nanos(&[(9, &[12])], 5_999), Some(5));
        assert_eq!(nanos(&[(9, &[127])], u64::MAX), Some(0));
        assert_eq!(nanos(&[(9, &[0x80 | 10])], 1025), Some(1_000_976_562));
        assert_eq!(nanos(&[(9, &[0xff])], u64::MAX), Some(0));
        assert_eq!(nanos(&[(14, &(-2_i64).to_le_bytes())], 5), Some(-1_999_995_000));
        assert_eq!(nanos(&[(14, &i64::MAX.to_le_bytes())], 5), None);
        assert_eq!(nanos(&[(9, &[9])], u64::MAX), None);
        // Behind the end of the options nothing counts.
        assert_eq!(nanos(&[(0, &[]), (9, &[9])], 5), Some(5000));
    }

    #[test]
    fn all_three_packet_blocks_are_read_and_other_blocks_skipped() {
        let b = BIG;
        let obsolete = [b.u16(0), b.u16(7), b.u32s(&[0, 9, 2, 40]), b"ob".to_vec()].concat();
        let file = [
            b.section(),
            b.interface(101, 4, &[]),
            b.block(SIMPLE_PACKET, &[&b.u32s(&[3])[..], b"abc"].concat()),
            b.block(0x0bad_cafe, &[1; 300]),
            b.block(OBSOLETE_PACKET, &obsolete),
            b.block(5, &[]),
            b.block(SIMPLE_PACKET, &[&b.u32s(&[1500])[..], b"snap"].concat()),
        ];
        assert_eq!(
            told(&file.concat()),
            [
                "0 at 48: 0ns link 101 length 3 abc",
                "1 at 380: 9000ns link 101 length 40 ob",
                "2 at 428: 9000ns link 101 length 1500 snap",
            ]
        );
    }

    #[test]
    fn a_fault_inside_a_block_costs_that_block_alone() {
        let b = LITTLE;
        let mut lying = b.packet(0, 1, b"data", &[]);
        lying[20] = 200;
        let file = [
            b.section(),
            b.interface(1, 0, &[]),
            b.interface(1, 0, &b.option(9, &[6, 6])),
            lying,
            b.packet(1, 1, b"", &[]),
            b.packet(0, 1, b"good", &b.option(1, b"comment")[..6]),
            b.block(ENHANCED_PACKET, &[0; 8]),
            b.block(SIMPLE_PACKET, &[]),
            b.packet(0, 2, b"last", &[]),
        ];
        assert_eq!(
            told(&file.concat()),
            [
                "0 at 48: interface option of impossible length, Follows",
                "1 at 76: captured length above the block's, Follows",
                "2 at 112: packet of an interface whose description is malformed, Follows",
                "3 at 144: 1000ns link 1 length 5 good",
                "4 at 188: packet block cut short, Follows",
                "5 at 208: packet block cut short, Follows",
                "6 at 220: 2000ns link 1 length 5 last",
            ]
        );
    }

    #[test]
    fn lengths_that_cannot_be_end_the_file() {
        let b = LITTLE;
        let start = [b.section(), b.interface(1, 0, &[]), b.packet(0, 1, b"good", &[])].concat();
        let with_byte = |at: usize, byte: u8| {
            let mut bad = b.packet(0, 2, b"data", &[]);
            bad[at] = byte;
            told(&[&start[..], &bad, &start].concat())
        };
        assert_eq!(with_byte(32, 40)[1..], ["1 at 84: the two lengths of a block differ, Lost"]);
        assert_eq!(with_byte(4, 8)[1..], ["1 at 84: impossible block length, Lost"]);
        assert_eq!(with_byte(4, 37)[1..], ["1 at 84: impossible block length, Lost"]);
        assert_eq!(with_byte(7, 0xf0)[1..], ["1 at 84: truncated"]);
        let mut section = b.section();
        section[12] = 2;
        assert_eq!(
            told(&[&start[..], &section, &start].concat())[1..],
            ["1 at 84: section of an unknown version, Lost"]
        );
        section[8] = 0;
        assert_eq!(
            told(&[&start[..], &section, &start].concat())[1..],
            ["1 at 84: section of unknown byte order, Lost"]
        );
    }

    #[test]
    fn a_cut_file_gives_every_whole_packet_and_then_where_it_was_cut() {
        let b = BIG;
        let blocks = [b.section(), b.interface(1, 0, &[]), b.packet(0, 1, b"one", &[]), b.packet(0, 2, b"two", &[])];
        let whole = blocks.concat();
        let ends: Vec<usize> = [28, 48, 84, 120].into();
        for cut in 4..=whole.len() {
            let lines = told(&whole[..cut]);
            let packets = ends[2..].iter().filter(|end| **end <= cut).count();
            assert_eq!(lines.len(), packets + usize::from(!ends.contains(&cut)), "cut at {cut}: {lines:?}");
            assert_eq!(lines.last().is_some_and(|line| line.ends_with("truncated")), !ends.contains(&cut));
        }
    }

    #[test]
    fn a_block_above_the_limit_is_passed_over_without_being_held() {
        use std::io::{Cursor, repeat};
        let b = LITTLE;
        let content = MAX_RECORD as u64;
        let length = b.u32s(&[content as u32 + 12]);
        let front = [b.section(), b.interface(1, 0, &[]), b.u32s(&[ENHANCED_PACKET]), length.clone()].concat();
        let back = [length, b.packet(0, 1, b"next", &[])].concat();
        let mut reader = PcapReader::open(Cursor::new(front).chain(repeat(0).take(content)).chain(&back[..])).unwrap();
        let fault = reader.next_record().unwrap_err();
        assert!(matches!(fault, PcapError::Malformed { packet: 0, offset: 48, rest: Rest::Follows, .. }), "{fault}");
        assert_eq!(reader.next_record().unwrap().unwrap().data, b"next");
    }

    #[test]
    fn comments_become_fields() {
        let b = BIG;
        let options =
            [b.option(2, &[0; 4]), b.option(1, b"say \"hi\""), b.option(1, b"\xff"), b.option(0, &[])].concat();
        let file = [b.section(), b.interface(1, 0, &[]), b.packet(0, 1, b"odd", &options), b.packet(0, 1, b"", &[])];
        let file = file.concat();
        let mut reader = PcapReader::open(&file[..]).unwrap();
        let row = reader.next_record().unwrap().unwrap().into_capture("tap").unwrap();
        assert_eq!(row.fields(), Some("{\"comment\":\"say \\\"hi\\\"\\n\u{fffd}\"}"));
        assert_eq!((row.sensor(), row.kind(), row.length(), row.data()), ("tap", "packet", 4, &b"odd"[..]));
        assert_eq!(reader.next_record().unwrap().unwrap().into_capture("tap").unwrap().fields(), None);
    }
}

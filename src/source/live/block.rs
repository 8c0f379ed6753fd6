//! Reads one block of the kernel's ring: the packets in it, with what the kernel tells beside each. Pure.
//!
//! The layout is `struct tpacket3_hdr` of `linux/if_packet.h` (packet_mmap in the kernel's documentation). Every offset is
//! checked, so that a surprise ends the block and nothing else.

use crate::timestamp::Timestamp;

/// One packet, as it lies in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) ts: Timestamp,
    /// Bytes that it has, of which `data` are the first.
    pub(super) length: u32,
    pub(super) data: &'a [u8],
    /// A VLAN tag that the kernel took out of the frame: EtherType and content.
    pub(super) tag: Option<[u16; 2]>,
    pub(super) link: Link<'a>,
}

/// What `struct sockaddr_ll` says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link<'a> {
    /// EtherType.
    pub(super) protocol: u16,
    /// Index of the interface.
    pub(super) interface: u32,
    /// Kind of the interface (`ARPHRD_...`).
    pub(super) hardware: u16,
    /// Whether it was sent to us, to all, to others, or by us.
    pub(super) direction: u8,
    /// The sender's address in its link.
    pub(super) address: &'a [u8],
}

const HEADER: usize = 48;
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;

/// Returns the packets of a block.
pub(super) fn packets(block: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    let mut left = u32_at(block, 12).unwrap_or_default();
    let mut at = u32_at(block, 16).and_then(|at| usize::try_from(at).ok());
    std::iter::from_fn(move || {
        let begin = at.filter(|_| left > 0)?;
        left -= 1;
        let header = block.get(begin..)?;
        let next = u32_at(header, 0)? as usize;
        at = (next > 0).then(|| begin.checked_add(next)).flatten();
        packet(header)
    })
}

fn packet(header: &[u8]) -> Option<Packet<'_>> {
    let [seconds, nanos, kept, length, status] = [4, 8, 12, 16, 20].map(|at| u32_at(header, at));
    let (kept, status) = (kept? as usize, status?);
    let begin = usize::from(u16_at(header, 24)?);
    let [tag, kind] = [u32_at(header, 32)? as u16, u16_at(header, 36)?];
    let kind = if status & VLAN_TPID_VALID == 0 { 0x8100 } else { kind };
    Some(Packet {
        ts: Timestamp::from_parts(seconds?.into(), nanos?)?,
        length: length?,
        data: header.get(begin..begin.checked_add(kept)?)?,
        tag: (status & VLAN_VALID != 0).then_some([kind, tag]),
        link: link(header.get(HEADER..)?)?,
    })
}

fn link(address: &[u8]) -> Option<Link<'_>> {
    let length = usize::from(*address.get(11)?).min(8);
    Some(Link {
        protocol: u16::from_be_bytes(*address.get(2..)?.first_chunk()?),
        interface: u32_at(address, 4)?,
        hardware: u16_at(address, 8)?,
        direction: *address.get(10)?,
        address: address.get(12..12 + length)?,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with one packet of four bytes, whose header begins at 48.
    fn block(packets: u32, next: u32, status: u32) -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let mut block = words(&[3, 0, 1, packets, 48, 0, 0, 0, 0, 0, 0, 0]);
        block.extend(words(&[next, 5, 7, 4, 1500, status]));
        block.extend([72_u16.to_ne_bytes(), 86_u16.to_ne_bytes()].concat());
        block.extend(words(&[0, 0x2007, 0x88a8]));
        block.extend([0; 8]);
        block.extend([17_u16.to_ne_bytes(), 0x0800_u16.to_be_bytes()].concat());
        block.extend(words(&[9]));
        block.extend(772_u16.to_ne_bytes());
        block.extend([4, 6, 1, 2, 3, 4, 5, 6, 0, 0]);
        block.resize(48 + 72, 0);
        block.extend(b"data");
        block
    }

    #[test]
    fn a_packet_comes_with_its_time_length_tag_and_link() {
        let told = block(1, 0, VLAN_VALID | VLAN_TPID_VALID);
        let packets: Vec<_> = packets(&told).collect();
        let link = Link { protocol: 0x0800, interface: 9, hardware: 772, direction: 4, address: &[1, 2, 3, 4, 5, 6] };
        let ts = Timestamp::from_nanos(5_000_000_007);
        assert_eq!(packets, [Packet { ts, length: 1500, data: b"data", tag: Some([0x88a8, 0x2007]), link }]);
        let [without, old] = [0, VLAN_VALID].map(|status| self::packets(&block(1, 0, status)).next().unwrap().tag);
        assert_eq!((without, old), (None, Some([0x8100, 0x2007])));
    }

    #[test]
    fn no_number_in_a_block_leads_out_of_it() {
        for (packet_count, next) in [(0, 0), (7, 0), (7, 48), (u32::MAX, u32::MAX), (2, 1)] {
            let block = block(packet_count, next, 0);
            for cut in 0..=block.len() {
                assert!(packets(&block[..cut]).count() <= 2);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_block_makes_reading_panic_or_go_on_for_ever(
            words in proptest::collection::vec(proptest::prop_oneof![0..200_u32, proptest::prelude::any::<u32>()], 0..100),
        ) {
            let block: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            // A packet cannot begin before the one in front of it, and each takes a header.
            assert!(packets(&block).count() <= block.len());
        }
    }
}

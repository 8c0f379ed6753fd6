//! Makes of a packet of the ring the frame that a capture file would have. Pure.
//!
//! The kernel takes VLAN tags out of frames: the outermost is put back. On `any`, and on interfaces whose link header is
//! not known here, the kernel takes the link header away: the frame gets the cooked header of link type 276, as it has
//! with libpcap.
//!
//! Of two tags on `any`, newer kernels (seen on 6.18) tell in place of the inner one's kind the protocol behind it, and so
//! it stands in the frame, without addresses in the row: what is not told is not guessed. On the interface itself both
//! tags are whole.
//!
//! Format: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>

use super::block::Packet;
use super::filter::Start;

/// How frames of an interface are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Ethernet,
    /// IP without any link header: tun, WireGuard.
    RawIp,
    Cooked,
}

const COOKED_HEADER: usize = 20;
/// Where the EtherType, and so a tag, stands in an Ethernet frame.
const ADDRESSES: usize = 12;

impl Framing {
    /// Returns how an interface of this kind (`ARPHRD_...` of `linux/if_arp.h`) is captured.
    pub(super) fn of(hardware: u16) -> Self {
        match hardware {
            // Ethernet, loopback.
            1 | 772 => Self::Ethernet,
            // None, raw IP.
            0xfffe | 519 => Self::RawIp,
            _ => Self::Cooked,
        }
    }

    /// Returns the number of the tcpdump group's registry.
    pub(super) fn link_type(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::Cooked => 276,
        }
    }

    /// Returns what a filter sees of its packets.
    pub(super) fn start(self) -> Start {
        match self {
            Self::Ethernet => Start::Ethernet,
            Self::RawIp | Self::Cooked => Start::Network,
        }
    }

    /// Returns the first `most` bytes of the packet's frame, and how many that has in all.
    pub(super) fn frame(self, packet: &Packet<'_>, most: usize) -> (Vec<u8>, u64) {
        let tag = packet.tag.map(|[kind, content]| [kind.to_be_bytes(), content.to_be_bytes()].concat());
        let tag = tag.as_deref().unwrap_or_default();
        let length = u64::from(packet.length) + tag.len() as u64;
        let mut frame = Vec::with_capacity(most.min(COOKED_HEADER + tag.len() + packet.data.len()));
        let length = match self {
            Self::Cooked => {
                frame.extend(cooked_header(packet));
                // The header has the tag's kind in place of the protocol, which stands behind the tag's content.
                if let Some([_, content]) = packet.tag {
                    frame.extend([content.to_be_bytes(), packet.link.protocol.to_be_bytes()].concat());
                }
                frame.extend(&packet.data[..packet.data.len().min(most)]);
                length + COOKED_HEADER as u64
            }
            Self::Ethernet | Self::RawIp => {
                let place = if self == Self::Ethernet { packet.data.len().min(ADDRESSES) } else { 0 };
                let (before, behind) = packet.data.split_at(place);
                frame.extend(before);
                // Where there is no Ethernet header there is no place for a tag.
                let tag = if place == ADDRESSES { tag } else { &[] };
                frame.extend(tag);
                frame.extend(&behind[..behind.len().min(most)]);
                u64::from(packet.length) + tag.len() as u64
            }
        };
        frame.truncate(most);
        (frame, length)
    }
}

fn cooked_header(packet: &Packet<'_>) -> [u8; COOKED_HEADER] {
    let link = &packet.link;
    let mut header = [0; COOKED_HEADER];
    let protocol = packet.tag.map_or(link.protocol, |[kind, _]| kind);
    header[..2].copy_from_slice(&protocol.to_be_bytes());
    header[4..8].copy_from_slice(&link.interface.to_be_bytes());
    header[8..10].copy_from_slice(&link.hardware.to_be_bytes());
    header[10] = link.direction;
    header[11] = link.address.len() as u8;
    header[12..12 + link.address.len()].copy_from_slice(link.address);
    header
}

#[cfg(test)]
mod tests {
    use super::super::block::Link;
    use super::*;
    use crate::source::link::decode;
    use crate::timestamp::Timestamp;

    const IP: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

    fn packet(data: &[u8], tag: Option<[u16; 2]>) -> Packet<'_> {
        let link = Link { protocol: 0x0800, interface: 2, hardware: 1, direction: 4, address: &[7; 6] };
        Packet { ts: Timestamp::from_nanos(0), length: data.len() as u32 + 5, data, tag, link }
    }

    #[test]
    fn every_framing_leads_to_the_same_addresses_with_a_tag_or_without() {
        let ethernet = [&[1; 12][..], &[8, 0], &IP].concat();
        for (framing, data, header) in [(Framing::Ethernet, &ethernet[..], 0), (Framing::Cooked, &IP, 20)] {
            for (tag, more) in [(None, 0), (Some([0x88a8, 7]), 4)] {
                let (frame, length) = framing.frame(&packet(data, tag), 1000);
                assert_eq!(frame.len(), data.len() + header + more);
                assert_eq!(length, frame.len() as u64 + 5);
                let ends = decode(framing.link_type(), &frame);
                assert_eq!((ends.src_ip, ends.proto.as_deref()), ("10.0.0.1".parse().ok(), Some("gre")), "{framing:?}");
            }
        }
        let (frame, length) = Framing::RawIp.frame(&packet(&IP, None), 1000);
        assert_eq!((&frame[..], length), (&IP[..], 25));
        assert_eq!(decode(101, &frame).dst_ip, "10.0.0.2".parse().ok());
    }

    #[test]
    fn a_frame_is_cut_and_keeps_its_length() {
        for framing in [Framing::Ethernet, Framing::RawIp, Framing::Cooked] {
            let (whole, length) = framing.frame(&packet(&[3; 60], Some([0x8100, 1])), usize::MAX);
            for most in 0..whole.len() {
                assert_eq!(framing.frame(&packet(&[3; 60], Some([0x8100, 1])), most), (whole[..most].to_vec(), length));
            }
        }
        assert_eq!(Framing::Ethernet.frame(&packet(&[3; 5], Some([0x8100, 1])), 99), (vec![3; 5], 10));
    }

    #[test]
    fn the_kind_of_an_interface_decides_its_link_type() {
        assert_eq!(
            [1, 772, 0xfffe, 519, 512, 778].map(|kind| Framing::of(kind).link_type()),
            [1, 1, 101, 101, 276, 276]
        );
    }
}

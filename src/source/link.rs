//! Finds addresses, ports and protocol in a captured frame. Pure: bytes in, values out; no byte string makes it panic.
//!
//! Called for each packet by the readers of capture files and by live capture, so it allocates only to name a protocol
//! that has no name here. Tunnels are not opened: the outer addresses are the ones on the wire.
//!
//! Header by header with `etherparse`, not with its `LaxSlicedPacket`, which wants a whole TCP header where four bytes
//! give the ports, stops after three VLAN tags, and goes on reading extension headers inside later IPv6 fragments,
//! where the sender chooses what they say. By hand, since no slice there takes a cut one: the IPv4 header (options may
//! be cut off), ARP, BSD loopback, LLC and the two Linux cooked headers.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{EtherType, IpAuthHeaderSlice, IpNumber, ether_type, ip_number};
use etherparse::{Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice};

/// Who talks to whom in a frame; what the captured bytes do not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Source address of the outermost IP header; the sender's address of an ARP packet.
    pub src_ip: Option<IpAddr>,
    /// Destination address of the outermost IP header; the target's address of an ARP packet.
    pub dst_ip: Option<IpAddr>,
    /// Source port of TCP, UDP, UDP-Lite, SCTP and DCCP.
    pub src_port: Option<u16>,
    /// Destination port, likewise.
    pub dst_port: Option<u16>,
    /// Lower-case name of the innermost protocol found: `tcp`, `icmp6`, `arp` ...
    ///
    /// An IP protocol without a name here is its decimal number, an EtherType without one is like `0x22f0`.
    pub proto: Option<Cow<'static, str>>,
}

/// Returns what `frame` says of its endpoints; `link_type` is from the tcpdump group's registry.
///
/// Known are Ethernet (1), BSD loopback (0, 108), raw IP (12, 14, 101, 228, 229) and Linux cooked (113, 276); every
/// other link type gives nothing. VLAN tags, stacked or not, authentication headers and IPv6 extension headers are
/// stepped over. Addresses need the whole fixed IP header, ports their four bytes; of a fragmented packet only the
/// first fragment has ports.
///
/// Format: <https://www.tcpdump.org/linktypes.html>
///
/// ```
/// use forebay::source::link::decode;
/// let header = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
/// let ends = decode(101, &[&header[..], &[0, 53, 1, 0]].concat());
/// assert_eq!(ends.dst_ip, "10.0.0.2".parse().ok());
/// assert_eq!((ends.proto.as_deref(), ends.src_port, ends.dst_port), (Some("udp"), Some(53), Some(256)));
/// ```
pub fn decode(link_type: u16, frame: &[u8]) -> Endpoints {
    let decoded = match link_type {
        0 | 108 => bsd_loopback(frame),
        1 => ethernet(frame),
        12 | 14 | 101 => raw_ip(frame),
        113 => linux_cooked(frame),
        228 => Some(ipv4(frame)),
        229 => Some(ipv6(frame)),
        276 => linux_cooked_2(frame),
        _ => None,
    };
    decoded.unwrap_or_default()
}

/// IEEE 802.3: an EtherType up to here is a length, and an LLC header follows.
const MAX_LENGTH: u16 = 1500;

fn ethernet(frame: &[u8]) -> Option<Endpoints> {
    let (header, payload) = frame.split_first_chunk::<14>()?;
    Some(network(EtherType(u16_at(header, 12)?), payload))
}

/// The address family is in the byte order of the machine that captured, or big endian; BSDs differ in IPv6's number.
fn bsd_loopback(frame: &[u8]) -> Option<Endpoints> {
    let (family, packet) = frame.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*family).min(u32::from_le_bytes(*family)) {
        2 => Some(ipv4(packet)),
        10 | 24 | 28 | 30 => Some(ipv6(packet)),
        _ => None,
    }
}

fn raw_ip(packet: &[u8]) -> Option<Endpoints> {
    match packet.first()? >> 4 {
        4 => Some(ipv4(packet)),
        6 => Some(ipv6(packet)),
        _ => None,
    }
}

fn linux_cooked(frame: &[u8]) -> Option<Endpoints> {
    let (header, payload) = frame.split_first_chunk::<16>()?;
    Some(cooked(u16_at(header, 2)?, u16_at(header, 14)?, payload))
}

fn linux_cooked_2(frame: &[u8]) -> Option<Endpoints> {
    let (header, payload) = frame.split_first_chunk::<20>()?;
    Some(cooked(u16_at(header, 8)?, u16_at(header, 0)?, payload))
}

/// The protocol field is an EtherType, except on netlink devices and for the kernel's own small numbers.
fn cooked(device_type: u16, protocol: u16, payload: &[u8]) -> Endpoints {
    const ARPHRD_NETLINK: u16 = 824;
    const ETH_P_802_2: u16 = 4;
    match (device_type, protocol) {
        (ARPHRD_NETLINK, _) => only("netlink"),
        (_, ETH_P_802_2 | 1501..) => network(EtherType(protocol), payload),
        (_, other) => Endpoints { proto: Some(ether_name(EtherType(other))), ..Endpoints::default() },
    }
}

/// Steps over VLAN tags and LLC/SNAP, in a loop: a recursion would let a frame choose the depth of our stack.
fn network(mut kind: EtherType, mut payload: &[u8]) -> Endpoints {
    loop {
        let (high, low, rest) = match (kind.0, payload) {
            (0x8100 | 0x88a8 | 0x9100, [_, _, high, low, rest @ ..]) => (high, low, rest),
            // A length: LLC, here SNAP with Ethernet's organization code, so that an EtherType follows.
            (..=MAX_LENGTH, [0xaa, 0xaa, 3, 0, 0, 0, high, low, rest @ ..]) => (high, low, rest),
            _ => break,
        };
        kind = EtherType(u16::from_be_bytes([*high, *low]));
        payload = rest;
    }
    match kind {
        ether_type::IPV4 => ipv4(payload),
        ether_type::IPV6 => ipv6(payload),
        ether_type::ARP => arp(payload),
        EtherType(..=MAX_LENGTH) if payload.starts_with(&[0x42, 0x42]) => only("stp"),
        EtherType(..=MAX_LENGTH) => only("llc"),
        other => Endpoints { proto: Some(ether_name(other)), ..Endpoints::default() },
    }
}

fn arp(packet: &[u8]) -> Endpoints {
    let mut ends = only("arp");
    let (Some(ether_type::IPV4), Some(&[hardware, 4])) = (u16_at(packet, 2).map(EtherType), packet.get(4..6)) else {
        return ends;
    };
    let address = |at: usize| {
        let bytes = packet.get(at..)?.first_chunk::<4>()?;
        Some(IpAddr::V4(Ipv4Addr::from(*bytes)))
    };
    let hardware = usize::from(hardware);
    ends.src_ip = address(8 + hardware);
    ends.dst_ip = address(8 + hardware + 4 + hardware);
    ends
}

fn ipv4(packet: &[u8]) -> Endpoints {
    let Some(header) = packet.first_chunk::<20>().filter(|h| h[0] >> 4 == 4 && h[0] & 15 >= 5) else {
        return only("ipv4");
    };
    let [src, dst] = [12, 16].map(|at| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let header_len = usize::from(header[0] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    // A length that cannot be (segmentation offload writes 0) leaves the end of the frame as the end of the packet.
    let end = if total_len < header_len { packet.len() } else { total_len.min(packet.len()) };
    let payload = packet.get(header_len..end).unwrap_or_default();
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    transport(src.into(), dst.into(), IpNumber(header[9]), payload, fragment_offset == 0)
}

fn ipv6(packet: &[u8]) -> Endpoints {
    let Ok(header) = Ipv6HeaderSlice::from_slice(packet) else {
        return only("ipv6");
    };
    let payload = packet.get(40..).unwrap_or_default();
    // 0 is a jumbogram or segmentation offload: the packet ends with the frame.
    let end = match usize::from(header.payload_length()) {
        0 => payload.len(),
        length => length.min(payload.len()),
    };
    let (src, dst) = (header.source_addr().into(), header.destination_addr().into());
    transport(src, dst, header.next_header(), &payload[..end], true)
}

/// Steps over extension headers and reads the ports; a header that is cut off ends the walk with its own name.
fn transport(src: IpAddr, dst: IpAddr, mut kind: IpNumber, mut payload: &[u8], mut is_first: bool) -> Endpoints {
    // Each turn takes at least eight bytes of the packet. A later fragment has no headers of its own.
    while is_first {
        let (next, length) = match kind {
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS if src.is_ipv6() => {
                let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(payload) else { break };
                (header.next_header(), header.slice().len())
            }
            ip_number::IPV6_FRAG if src.is_ipv6() => {
                let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(payload) else { break };
                is_first = header.fragment_offset().value() == 0;
                (header.next_header(), header.slice().len())
            }
            ip_number::AUTH => {
                let Ok(header) = IpAuthHeaderSlice::from_slice(payload) else { break };
                (header.next_header(), header.slice().len())
            }
            _ => break,
        };
        kind = next;
        payload = payload.get(length..).unwrap_or_default();
    }
    let ports = match kind {
        ip_number::TCP | ip_number::UDP | ip_number::SCTP | ip_number::DCCP | ip_number::UDP_LITE if is_first => {
            payload
        }
        _ => &[],
    };
    Endpoints {
        src_ip: Some(src),
        dst_ip: Some(dst),
        // Both or none: half a port pair is a cut header, not an endpoint.
        src_port: u16_at(ports, 2).and(u16_at(ports, 0)),
        dst_port: u16_at(ports, 2),
        proto: Some(ip_name(kind)),
    }
}

fn only(proto: &'static str) -> Endpoints {
    Endpoints { proto: Some(Cow::Borrowed(proto)), ..Endpoints::default() }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Names as in IANA's registry of protocol numbers, in lower case and without hyphens.
fn ip_name(kind: IpNumber) -> Cow<'static, str> {
    Cow::Borrowed(match kind.0 {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        8 => "egp",
        9 => "igp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        43 => "ipv6route",
        44 => "ipv6frag",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmp6",
        59 => "ipv6nonxt",
        60 => "ipv6opts",
        88 => "eigrp",
        89 => "ospf",
        97 => "etherip",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        137 => "mpls",
        number => return Cow::Owned(number.to_string()),
    })
}

/// The EtherTypes of IEEE's registry that a sensor commonly meets.
fn ether_name(kind: EtherType) -> Cow<'static, str> {
    Cow::Borrowed(match kind.0 {
        0x0842 => "wol",
        0x8035 => "rarp",
        0x809b => "appletalk",
        0x8100 | 0x88a8 | 0x9100 => "vlan",
        0x8137 => "ipx",
        0x8809 => "lacp",
        0x8847 | 0x8848 => "mpls",
        0x8863 | 0x8864 => "pppoe",
        0x888e => "eapol",
        0x8892 => "profinet",
        0x88a4 => "ethercat",
        0x88cc => "lldp",
        0x88e5 => "macsec",
        0x88f7 => "ptp",
        0x8902 => "cfm",
        0x8906 => "fcoe",
        0x9000 => "loop",
        number => return Cow::Owned(format!("{number:#06x}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [u8; 4] = [0xc0, 0, 0, 22];

    fn v4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let [length_high, length_low] = (20 + payload.len() as u16).to_be_bytes();
        let [fragment_high, fragment_low] = fragment.to_be_bytes();
        let head = [0x45, 0, length_high, length_low, 0, 1, fragment_high, fragment_low, 64, protocol, 0, 0];
        [&head[..], &[10, 0, 0, 1], &[10, 0, 0, 2], payload].concat()
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let [length_high, length_low] = (payload.len() as u16).to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, length_high, length_low, next, 64];
        for last in [1, 2] {
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(payload);
        packet
    }

    fn ether(kind: u16, payload: &[u8]) -> Vec<u8> {
        [&[2; 12], &kind.to_be_bytes()[..], payload].concat()
    }

    /// One line a frame: `proto src:port > dst:port`, with a dash for what is not known.
    fn told(link_type: u16, frame: &[u8]) -> String {
        let ends = decode(link_type, frame);
        let side = |ip: Option<IpAddr>, port: Option<u16>| {
            let ip = ip.map_or("-".into(), |ip| ip.to_string());
            port.map_or(ip.clone(), |port| format!("{ip}#{port}"))
        };
        let proto = ends.proto.as_deref().unwrap_or("-");
        format!("{proto} {} > {}", side(ends.src_ip, ends.src_port), side(ends.dst_ip, ends.dst_port))
    }

    const SSH_V4: &str = "tcp 10.0.0.1#49152 > 10.0.0.2#22";
    const SSH_V6: &str = "tcp fd00::1#49152 > fd00::2#22";

    #[test]
    fn every_known_link_type_leads_to_the_same_packet() {
        let (four, six) = (v4(6, 0, &PORTS), v6(6, &PORTS));
        let cooked = |device: u8, kind: u16| [&[0, 0, 0, device][..], &[0; 10], &kind.to_be_bytes(), &four].concat();
        let cooked_2 = |kind: u16| [&kind.to_be_bytes()[..], &[0; 18], &six].concat();
        for (link_type, frame, expected) in [
            (1, ether(0x0800, &four), SSH_V4),
            (1, ether(0x86dd, &six), SSH_V6),
            (0, [&[2, 0, 0, 0], &four[..]].concat(), SSH_V4),
            (0, [&[0, 0, 0, 2], &four[..]].concat(), SSH_V4),
            (0, [&[30, 0, 0, 0], &six[..]].concat(), SSH_V6),
            (108, [&[0, 0, 0, 24], &six[..]].concat(), SSH_V6),
            (12, four.clone(), SSH_V4),
            (14, six.clone(), SSH_V6),
            (101, four.clone(), SSH_V4),
            (101, six.clone(), SSH_V6),
            (228, four.clone(), SSH_V4),
            (229, six.clone(), SSH_V6),
            (113, cooked(1, 0x0800), SSH_V4),
            (113, cooked(1, 0x000c), "0x000c - > -"),
            (276, cooked_2(0x86dd), SSH_V6),
            (147, four.clone(), "- - > -"),
        ] {
            assert_eq!(told(link_type, &frame), expected, "link type {link_type}");
        }
        assert_eq!(told(113, &[&[0, 0, 3, 56], &[0; 12][..]].concat()), "netlink - > -");
    }

    #[test]
    fn any_number_of_vlan_tags_and_snap_headers_is_stepped_over() {
        let tags = [0x88a8, 0x8100, 0x9100, 0x8100].into_iter().rev();
        let (kind, payload) = tags.fold((0x0800, v4(6, 0, &PORTS)), |(inner, payload), tag| {
            (tag, [&[0, 7], &u16::to_be_bytes(inner)[..], &payload].concat())
        });
        assert_eq!(told(1, &ether(kind, &payload)), SSH_V4);

        let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &v4(6, 0, &PORTS)[..]].concat();
        assert_eq!(told(1, &ether(snap.len() as u16, &snap)), SSH_V4);
        // Were this a recursion, the sender would choose how deep our stack goes.
        let nested = [0xaa, 0xaa, 3, 0, 0, 0, 0, 8].repeat(1 << 20);
        assert_eq!(told(1, &ether(8, &nested)), "llc - > -");
    }

    #[test]
    fn only_the_first_fragment_has_ports_and_all_have_addresses_and_protocol() {
        const MORE: u16 = 0x2000;
        assert_eq!(told(228, &v4(17, MORE, &PORTS)), "udp 10.0.0.1#49152 > 10.0.0.2#22");
        assert_eq!(told(228, &v4(17, MORE | 185, &PORTS)), "udp 10.0.0.1 > 10.0.0.2");
        let fragment = |next, offset: u16| {
            let [high, low] = (offset << 3 | 1).to_be_bytes();
            v6(44, &[&[next, 0, high, low, 0, 0, 0, 9], &PORTS[..]].concat())
        };
        assert_eq!(told(229, &fragment(17, 0)), "udp fd00::1#49152 > fd00::2#22");
        assert_eq!(told(229, &fragment(17, 185)), "udp fd00::1 > fd00::2");
    }

    #[test]
    fn a_later_fragment_cannot_pose_as_an_extension_header() {
        // Destination options, then "TCP", then ports: all of it is payload that the sender made up.
        let posing = [&[60, 0, 0x05, 0xc9, 0, 0, 0, 9], &[6, 0, 1, 4, 0, 0, 0, 0], &PORTS[..]].concat();
        assert_eq!(told(229, &v6(44, &posing)), "ipv6opts fd00::1 > fd00::2");
    }

    #[test]
    fn extension_and_authentication_headers_are_stepped_over() {
        let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        let auth = [6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let chain = [&options(43)[..], &[60, 0, 0, 0, 0, 0, 0, 0], &options(51), &auth, &PORTS].concat();
        assert_eq!(told(229, &v6(0, &chain)), SSH_V6);
        assert_eq!(told(228, &v4(51, 0, &[&auth[..], &PORTS].concat())), SSH_V4);
        assert_eq!(told(229, &v6(0, &options(43)[..7])), "hopopt fd00::1 > fd00::2");
        // In IPv4 these numbers are protocols like any other.
        assert_eq!(told(228, &v4(0, 0, &options(6))), "hopopt 10.0.0.1 > 10.0.0.2");
    }

    #[test]
    fn a_cut_frame_tells_what_is_still_there() {
        let whole = ether(0x0800, &v4(6, 0, &PORTS));
        for (bytes, expected) in [
            (13, "- - > -"),
            (14, "ipv4 - > -"),
            (33, "ipv4 - > -"),
            (34, "tcp 10.0.0.1 > 10.0.0.2"),
            (37, "tcp 10.0.0.1 > 10.0.0.2"),
            (38, SSH_V4),
        ] {
            assert_eq!(told(1, &whole[..bytes]), expected, "{bytes} bytes");
        }
        let mut with_cut_options = v4(6, 0, &[]);
        with_cut_options[0] = 0x4f;
        assert_eq!(told(101, &with_cut_options), "tcp 10.0.0.1 > 10.0.0.2");
        let six = v6(6, &PORTS);
        assert_eq!(told(101, &six[..39]), "ipv6 - > -");
        assert_eq!(told(101, &six[..42]), "tcp fd00::1 > fd00::2");
    }

    #[test]
    fn padding_behind_the_packet_is_not_read_as_ports() {
        let padded = [ether(0x0800, &v4(6, 0, &[])), vec![9; 26]].concat();
        assert_eq!(told(1, &padded), "tcp 10.0.0.1 > 10.0.0.2");
        // Segmentation offload leaves the length at zero: then the frame's end counts.
        let mut offloaded = v4(6, 0, &PORTS);
        offloaded[2..4].fill(0);
        assert_eq!(told(228, &offloaded), SSH_V4);
    }

    #[test]
    fn an_impossible_ip_header_gives_no_addresses() {
        let mut short_header = v4(6, 0, &PORTS);
        short_header[0] = 0x44;
        assert_eq!(told(228, &short_header), "ipv4 - > -");
        assert_eq!(told(1, &ether(0x0800, &v6(6, &PORTS))), "ipv4 - > -");
        assert_eq!(told(1, &ether(0x86dd, &v4(6, 0, &PORTS))), "ipv6 - > -");
        assert_eq!(told(101, &[0; 60]), "- - > -");
    }

    #[test]
    fn what_is_not_ip_has_a_name() {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1], &[2; 6][..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat();
        assert_eq!(told(1, &ether(0x0806, &arp)), "arp 10.0.0.1 > 10.0.0.2");
        assert_eq!(told(1, &ether(0x0806, &arp[..18])), "arp 10.0.0.1 > -");
        assert_eq!(told(1, &ether(0x0806, &[])), "arp - > -");
        assert_eq!(told(1, &ether(0x88cc, &[])), "lldp - > -");
        assert_eq!(told(1, &ether(0x22f0, &[])), "0x22f0 - > -");
        assert_eq!(told(1, &ether(38, &[0x42, 0x42, 3])), "stp - > -");
        assert_eq!(told(228, &v4(58, 0, &[])), "icmp6 10.0.0.1 > 10.0.0.2");
        assert_eq!(told(228, &v4(253, 0, &PORTS)), "253 10.0.0.1 > 10.0.0.2");
    }
}

//! Makes classic BPF of an expression. Pure.
//!
//! A prologue notes once, in the machine's memory, what every test asks for: EtherType, where the network header begins,
//! IP protocol, where the transport header begins. It steps over two VLAN tags in the frame (the kernel takes the outermost
//! out of most frames by itself, and then tcpdump steps over it too), so that a test means the same with a tag or without;
//! and it asks for the length before each load. A load behind the end would refuse the packet whatever the expression
//! says, so that whoever cuts a packet short could hide it from `not port 22`; here a test of what is not there is false.
//! Of a fragmented packet only the first fragment has ports.

use ipnet::{IpNet, Ipv6Net};

use super::assembly::*;
use super::expression::{ARP, Expression, Layer, RARP, Relation, Side, Test, Versions, Within};
use super::{Instruction, Start};

/// Cells of the machine's memory.
const ETHER_TYPE: u32 = 0;
const NETWORK: u32 = 1;
const IP_PROTOCOL: u32 = 2;
/// 0 if there is none: an IP header is in front of it.
const TRANSPORT: u32 = 3;
/// The EtherType of a packet with IPv4 addresses, IP or ARP, else 0; and the addresses.
const HAS_ADDRESSES: u32 = 4;
const SOURCE: u32 = 5;
const DESTINATION: u32 = 6;
/// In the cell of the IP protocol: there is none.
const NO_PROTOCOL: u32 = 256;

const VLAN_TAGS: [u32; 3] = [0x8100, 0x88a8, 0x9100];
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// Refuses what is sent on the loopback device: the same packet arrives there.
pub(super) fn without_sent_on(device: u32) -> Vec<Instruction> {
    const OUTGOING: u32 = 4;
    let step = |code, yes, no, k| Instruction { code, yes, no, k };
    vec![
        step(LOAD_WORD, 0, 0, PACKET_TYPE),
        step(IF_EQUAL, 0, 3, OUTGOING),
        step(LOAD_WORD, 0, 0, INTERFACE),
        step(IF_EQUAL, 0, 1, device),
        keep(0),
    ]
}

pub(super) fn compile(expression: &Expression, start: Start, snap_length: u32) -> Result<Vec<Instruction>, String> {
    let mut code = Code::new(start);
    let [first, accept, refuse] = [code.label(), code.label(), code.label()];
    code.prologue(first);
    code.place(first);
    code.expression(expression, accept, refuse)?;
    code.place(accept);
    code.plain(RETURN, snap_length);
    code.place(refuse);
    code.plain(RETURN, 0);
    code.assemble()
}

impl Code {
    /// Fills the memory, and goes to `done`.
    fn prologue(&mut self, done: Label) {
        self.plain(LOAD_CONSTANT, 0);
        for cell in [ETHER_TYPE, NETWORK, TRANSPORT, HAS_ADDRESSES, SOURCE, DESTINATION] {
            self.plain(STORE, cell);
        }
        self.plain(LOAD_CONSTANT, NO_PROTOCOL);
        self.plain(STORE, IP_PROTOCOL);
        if self.start == Start::Ethernet {
            self.plain(INDEX_CONSTANT, 0);
            self.need_bytes(14, done);
            self.plain(LOAD_HALF, 12);
            self.plain(INDEX_CONSTANT, 14);
        } else {
            self.plain(LOAD_WORD, PROTOCOL);
            self.plain(INDEX_CONSTANT, 0);
        }
        let known = self.label();
        self.plain(STORE, ETHER_TYPE);
        for _ in 0..2 {
            let tag = self.label();
            for kind in VLAN_TAGS {
                self.unless(IF_EQUAL, kind, tag);
            }
            self.jump(known);
            self.place(tag);
            self.need_bytes(4, known);
            self.plain(LOAD_HALF + INDIRECT, 2);
            self.plain(STORE, ETHER_TYPE);
            self.add_to_index(4);
            self.plain(LOAD_MEMORY, ETHER_TYPE);
        }
        self.place(known);
        self.plain(STORE_INDEX, NETWORK);
        self.plain(LOAD_MEMORY, ETHER_TYPE);
        let (four, six, transport) = (self.label(), self.label(), self.label());
        self.unless(IF_EQUAL, IPV4, four);
        self.unless(IF_EQUAL, IPV6, six);
        let arp = self.label();
        self.unless(IF_EQUAL, ARP.into(), arp);
        self.need(IF_EQUAL, RARP.into(), done);
        self.place(arp);
        self.need_bytes(28, done);
        self.note_addresses(14, 24);
        self.jump(done);

        self.place(four);
        self.need_bytes(20, done);
        self.note_addresses(12, 16);
        self.plain(LOAD_BYTE + INDIRECT, 9);
        self.plain(STORE, IP_PROTOCOL);
        self.plain(LOAD_HALF + INDIRECT, 6);
        let is_first = self.label();
        self.branch(IF_ANY_BIT, 0x1fff, done, is_first);
        self.place(is_first);
        self.plain(LOAD_BYTE + INDIRECT, 0);
        self.plain(AND, 15);
        self.plain(SHIFT_LEFT, 2);
        self.plain(ADD_INDEX, 0);
        self.plain(TO_INDEX, 0);
        self.jump(transport);

        self.place(six);
        self.need_bytes(40, done);
        self.plain(LOAD_BYTE + INDIRECT, 6);
        self.plain(STORE, IP_PROTOCOL);
        self.add_to_index(40);
        self.plain(LOAD_MEMORY, IP_PROTOCOL);
        let fragment = self.label();
        self.branch(IF_EQUAL, 44, fragment, transport);
        self.place(fragment);
        self.need_bytes(8, done);
        self.plain(LOAD_BYTE + INDIRECT, 0);
        self.plain(STORE, IP_PROTOCOL);
        self.plain(LOAD_HALF + INDIRECT, 2);
        let is_first = self.label();
        self.branch(IF_ANY_BIT, 0xfff8, done, is_first);
        self.place(is_first);
        self.add_to_index(8);

        self.place(transport);
        self.plain(LOAD_LENGTH, 0);
        self.need(IF_AT_LEAST_INDEX, 0, done);
        self.plain(STORE_INDEX, TRANSPORT);
    }

    fn note_addresses(&mut self, source: u32, destination: u32) {
        self.plain(LOAD_WORD + INDIRECT, source);
        self.plain(STORE, SOURCE);
        self.plain(LOAD_WORD + INDIRECT, destination);
        self.plain(STORE, DESTINATION);
        self.plain(LOAD_MEMORY, ETHER_TYPE);
        self.plain(STORE, HAS_ADDRESSES);
    }

    fn expression(&mut self, expression: &Expression, yes: Label, no: Label) -> Result<(), String> {
        match expression {
            Expression::Not(inner) => self.expression(inner, no, yes),
            Expression::Test(test) => self.test(test, yes, no),
            Expression::All(list) | Expression::Any(list) => {
                let is_all = matches!(expression, Expression::All(_));
                for inner in list {
                    let next = self.label();
                    let (yes, no) = if is_all { (next, no) } else { (yes, next) };
                    self.expression(inner, yes, no)?;
                    self.place(next);
                }
                self.jump(if is_all { yes } else { no });
                Ok(())
            }
        }
    }

    fn test(&mut self, test: &Test, yes: Label, no: Label) -> Result<(), String> {
        match *test {
            Test::EtherType(kind) => {
                self.plain(LOAD_MEMORY, ETHER_TYPE);
                self.branch(IF_EQUAL, kind.into(), yes, no);
            }
            Test::Protocol { number, versions } => {
                self.version(versions, no);
                self.plain(LOAD_MEMORY, IP_PROTOCOL);
                self.branch(IF_EQUAL, number.into(), yes, no);
            }
            Test::Address { side, net, within } => self.address(side, net, within, yes, no),
            Test::Port { side, first, last, protocol } => self.port(side, (first, last), protocol, yes, no),
            Test::Mac { side, address } => {
                self.ethernet("addresses")?;
                self.plain(INDEX_CONSTANT, 0);
                self.need_bytes(14, no);
                let [a, b, c, d, e, f] = address;
                let compare = |code: &mut Self, at: u32, yes: Label, no: Label| {
                    code.plain(LOAD_WORD, at);
                    code.need(IF_EQUAL, u32::from_be_bytes([a, b, c, d]), no);
                    code.plain(LOAD_HALF, at + 4);
                    code.branch(IF_EQUAL, u16::from_be_bytes([e, f]).into(), yes, no);
                };
                self.sides(side, (6, 0), yes, no, compare);
            }
            Test::MacMulticast => {
                self.ethernet("multicast")?;
                self.plain(LOAD_LENGTH, 0);
                self.need(IF_AT_LEAST, 1, no);
                self.plain(LOAD_BYTE, 0);
                self.branch(IF_ANY_BIT, 1, yes, no);
            }
            Test::Multicast(versions) => {
                let (kind, size, at, first) =
                    if versions == Versions::Four { (IPV4, 20, 16, 0xe0) } else { (IPV6, 40, 24, 0xff) };
                self.network(kind, size, no);
                self.plain(LOAD_BYTE + INDIRECT, at);
                self.branch(IF_AT_LEAST, first, yes, no);
            }
            Test::Vlan(id) => self.vlan(id, yes, no),
            Test::Longer(length) => {
                self.plain(LOAD_LENGTH, 0);
                self.branch(IF_AT_LEAST, length, yes, no);
            }
            Test::Bytes { layer, offset, size, mask, relation, value } => {
                self.layer(layer, no)?;
                self.need_bytes(offset + u32::from(size), no);
                let load = match size {
                    1 => LOAD_BYTE,
                    2 => LOAD_HALF,
                    _ => LOAD_WORD,
                };
                self.plain(load + INDIRECT, offset);
                if let Some(mask) = mask {
                    self.plain(AND, mask);
                }
                match relation {
                    Relation::Equal => self.branch(IF_EQUAL, value, yes, no),
                    Relation::NotEqual => self.branch(IF_EQUAL, value, no, yes),
                    Relation::Greater => self.branch(IF_GREATER, value, yes, no),
                    Relation::LessOrEqual => self.branch(IF_GREATER, value, no, yes),
                    Relation::GreaterOrEqual => self.branch(IF_AT_LEAST, value, yes, no),
                    Relation::Less => self.branch(IF_AT_LEAST, value, no, yes),
                }
            }
        }
        Ok(())
    }

    fn ethernet(&self, what: &str) -> Result<(), String> {
        match self.start {
            Start::Ethernet => Ok(()),
            Start::Network => {
                Err(format!("it asks for Ethernet's {what}, which packets of this interface do not have"))
            }
        }
    }

    /// Goes on in packets of this EtherType that are so long from their network header on, which the index points to then.
    fn network(&mut self, kind: u32, bytes: u32, no: Label) {
        self.plain(LOAD_MEMORY, ETHER_TYPE);
        self.need(IF_EQUAL, kind, no);
        self.plain(INDEX_MEMORY, NETWORK);
        self.need_bytes(bytes, no);
    }

    fn version(&mut self, versions: Versions, no: Label) {
        let kind = match versions {
            Versions::Four => IPV4,
            Versions::Six => IPV6,
            Versions::Both => return,
        };
        self.plain(LOAD_MEMORY, ETHER_TYPE);
        self.need(IF_EQUAL, kind, no);
    }

    /// Lets `compare` look at the source's offset, the destination's, or both.
    fn sides(
        &mut self,
        side: Side,
        (source, destination): (u32, u32),
        yes: Label,
        no: Label,
        compare: impl Fn(&mut Self, u32, Label, Label),
    ) {
        match side {
            Side::Source => compare(self, source, yes, no),
            Side::Destination => compare(self, destination, yes, no),
            Side::Either => {
                let second = self.label();
                compare(self, source, yes, second);
                self.place(second);
                compare(self, destination, yes, no);
            }
            Side::Both => {
                let second = self.label();
                compare(self, source, second, no);
                self.place(second);
                compare(self, destination, yes, no);
            }
        }
    }

    fn address(&mut self, side: Side, net: IpNet, within: Within, yes: Label, no: Label) {
        let net = match net {
            IpNet::V4(net) => net,
            IpNet::V6(net) => return self.address_of_six(side, net, yes, no),
        };
        self.plain(LOAD_MEMORY, HAS_ADDRESSES);
        match within {
            Within::Any => self.need(IF_AT_LEAST, 1, no),
            Within::Ip => self.need(IF_EQUAL, IPV4, no),
            Within::Arp(kind) => self.need(IF_EQUAL, kind.into(), no),
        }
        let (address, mask) = (net.addr().to_bits(), net.netmask().to_bits());
        self.sides(side, (SOURCE, DESTINATION), yes, no, |code, cell, yes, no| {
            code.plain(LOAD_MEMORY, cell);
            if mask != u32::MAX {
                code.plain(AND, mask);
            }
            code.branch(IF_EQUAL, address, yes, no);
        });
    }

    fn address_of_six(&mut self, side: Side, net: Ipv6Net, yes: Label, no: Label) {
        let [address, mask] = [net.addr().to_bits(), net.netmask().to_bits()].map(words);
        self.network(IPV6, 40, no);
        self.sides(side, (8, 24), yes, no, |code, at, yes, no| {
            for ((word, mask), offset) in
                address.iter().zip(mask).zip([0, 4, 8, 12]).filter(|((_, mask), _)| *mask != 0)
            {
                code.plain(LOAD_WORD + INDIRECT, at + offset);
                if mask != u32::MAX {
                    code.plain(AND, mask);
                }
                code.need(IF_EQUAL, *word, no);
            }
            code.jump(yes);
        });
    }

    fn port(&mut self, side: Side, (first, last): (u16, u16), protocol: Option<u8>, yes: Label, no: Label) {
        let is_one = self.label();
        self.plain(LOAD_MEMORY, IP_PROTOCOL);
        match protocol {
            Some(number) => self.need(IF_EQUAL, number.into(), no),
            None => {
                self.unless(IF_EQUAL, 6, is_one);
                self.unless(IF_EQUAL, 17, is_one);
                self.need(IF_EQUAL, 132, no);
            }
        }
        self.place(is_one);
        self.transport(no);
        self.need_bytes(4, no);
        self.sides(side, (0, 2), yes, no, |code, at, yes, no| {
            code.plain(LOAD_HALF + INDIRECT, at);
            if first == last {
                return code.branch(IF_EQUAL, first.into(), yes, no);
            }
            code.need(IF_AT_LEAST, first.into(), no);
            code.branch(IF_GREATER, last.into(), no, yes);
        });
    }

    /// Goes on in packets with a transport header, which the index points to then.
    fn transport(&mut self, no: Label) {
        self.plain(LOAD_MEMORY, TRANSPORT);
        self.need(IF_AT_LEAST, 1, no);
        self.plain(TO_INDEX, 0);
    }

    fn layer(&mut self, layer: Layer, no: Label) -> Result<(), String> {
        match layer {
            Layer::Ether => {
                self.ethernet("header")?;
                self.plain(INDEX_CONSTANT, 0);
            }
            Layer::Ip => self.network(IPV4, 20, no),
            Layer::Ip6 => self.network(IPV6, 40, no),
            Layer::Transport(number) => {
                self.version(Versions::Four, no);
                self.plain(LOAD_MEMORY, IP_PROTOCOL);
                self.need(IF_EQUAL, number.into(), no);
                self.transport(no);
            }
        }
        Ok(())
    }

    /// The outermost tag, which the kernel has taken out of the frame, or which is still in it.
    fn vlan(&mut self, id: Option<u16>, yes: Label, no: Label) {
        let (inside, tag) = (self.label(), self.label());
        self.plain(LOAD_WORD, VLAN_TAG_PRESENT);
        self.need(IF_AT_LEAST, 1, inside);
        match id {
            None => self.jump(yes),
            Some(id) => {
                self.plain(LOAD_WORD, VLAN_TAG);
                self.plain(AND, 0xfff);
                self.branch(IF_EQUAL, id.into(), yes, no);
            }
        }
        self.place(inside);
        let at = if self.start == Start::Ethernet { 14 } else { 0 };
        self.plain(LOAD_LENGTH, 0);
        self.need(IF_AT_LEAST, at + 2, no);
        match self.start {
            Start::Ethernet => self.plain(LOAD_HALF, 12),
            Start::Network => self.plain(LOAD_WORD, PROTOCOL),
        }
        for kind in VLAN_TAGS {
            self.unless(IF_EQUAL, kind, tag);
        }
        self.jump(no);
        self.place(tag);
        match id {
            None => self.jump(yes),
            Some(id) => {
                self.plain(LOAD_HALF, at);
                self.plain(AND, 0xfff);
                self.branch(IF_EQUAL, id.into(), yes, no);
            }
        }
    }
}

fn words(bits: u128) -> [u32; 4] {
    [96, 64, 32, 0].map(|shift| (bits >> shift) as u32)
}

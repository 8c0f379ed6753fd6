//! Reads filter expressions. Pure.
//!
//! As in `pcap-filter(7)`: `not` binds closest, `and` and `or` bind equally and to the left, and a value without words in
//! front of it takes those of the value before (`port 80 or 443`). Names of hosts and ports are not looked up, since what
//! a sensor captures must not depend on a resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::words::{constant, host, mac, named, number, words};

/// A filter as a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Test(Test),
}

/// One thing to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    EtherType(u16),
    Protocol {
        number: u8,
        versions: Versions,
    },
    Address {
        side: Side,
        net: IpNet,
        within: Within,
    },
    /// Of the transport protocol, or of any that has ports.
    Port {
        side: Side,
        first: u16,
        last: u16,
        protocol: Option<u8>,
    },
    Mac {
        side: Side,
        address: [u8; 6],
    },
    MacMulticast,
    Multicast(Versions),
    Vlan(Option<u16>),
    /// At least so long.
    Longer(u32),
    Bytes {
        layer: Layer,
        offset: u32,
        size: u8,
        mask: Option<u32>,
        relation: Relation,
        value: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    Four,
    Six,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
    Either,
    Both,
}

/// In which packets an address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// IP, and for IPv4 also ARP and RARP.
    Any,
    Ip,
    Arp(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Ether,
    Ip,
    Ip6,
    /// IPv4 only, as in tcpdump.
    Transport(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

pub(super) const ARP: u16 = 0x0806;
pub(super) const RARP: u16 = 0x8035;
/// The words that tell what a value is.
const KINDS: [&str; 5] = ["host", "net", "port", "portrange", "proto"];
/// Parentheses and `not` within each other: each takes some of our stack.
const MAX_DEPTH: usize = 100;

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words = words(text)?;
        let mut parser = Parser { words: &words, at: 0, depth: 0, last: None };
        let expression = parser.chain()?;
        match parser.peek() {
            None => Ok(expression),
            Some(word) => Err(format!("`{word}` was not expected; join tests by `and` or `or`")),
        }
    }
}

/// The words in front of a value.
#[derive(Clone, Copy, Debug)]
struct Qualifiers<'a> {
    protocol: Option<&'a str>,
    side: Side,
    kind: &'a str,
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    depth: usize,
    /// What a bare value is, once there was one with words.
    last: Option<Qualifiers<'a>>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, String> {
        let word = self.peek().ok_or_else(|| format!("at the end {wanted} is missing"))?;
        self.at += 1;
        Ok(word)
    }

    fn takes(&mut self, words: &[&str]) -> bool {
        let takes = self.peek().is_some_and(|word| words.contains(&word));
        self.at += usize::from(takes);
        takes
    }

    fn chain(&mut self) -> Result<Expression, String> {
        let mut expression = self.term()?;
        loop {
            expression = if self.takes(&["and", "&&"]) {
                match (expression, self.term()?) {
                    (Expression::All(mut list), next) => {
                        list.push(next);
                        Expression::All(list)
                    }
                    (first, next) => Expression::All(vec![first, next]),
                }
            } else if self.takes(&["or", "||"]) {
                match (expression, self.term()?) {
                    (Expression::Any(mut list), next) => {
                        list.push(next);
                        Expression::Any(list)
                    }
                    (first, next) => Expression::Any(vec![first, next]),
                }
            } else {
                return Ok(expression);
            }
        }
    }

    fn term(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        let expression = if self.takes(&["not", "!"]) {
            Expression::Not(Box::new(self.term()?))
        } else if self.takes(&["("]) {
            let inner = self.chain()?;
            if !self.takes(&[")"]) {
                return Err("a `)` is missing".into());
            }
            inner
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn test(&mut self) -> Result<Expression, String> {
        match self.peek() {
            Some("vlan") => {
                self.at += 1;
                let id = self.peek().and_then(number).map(|id| u16::try_from(id).ok().filter(|id| *id < 4096));
                self.at += usize::from(id.is_some());
                let id = id.map(|id| id.ok_or("a VLAN's number is below 4096")).transpose()?;
                return Ok(Expression::Test(Test::Vlan(id)));
            }
            Some(word @ ("less" | "greater")) => {
                self.at += 1;
                let length = self.number("a length")?;
                let longer = |length| Expression::Test(Test::Longer(length));
                return Ok(match (word, length.checked_add(1)) {
                    ("greater", _) => longer(length),
                    (_, Some(above)) => Expression::Not(Box::new(longer(above))),
                    (_, None) => longer(0),
                });
            }
            _ => {}
        }
        let protocol = self.peek().filter(|word| named(word).is_some() || *word == "ether");
        self.at += usize::from(protocol.is_some());
        if let Some(protocol) = protocol
            && self.takes(&["["])
        {
            return self.bytes(protocol);
        }
        if self.takes(&["broadcast"]) {
            return match protocol {
                None | Some("ether") => Ok(Expression::Test(Test::Mac { side: Side::Destination, address: [0xff; 6] })),
                Some(protocol) => Err(format!("`{protocol} broadcast` is not known here; `broadcast` is")),
            };
        }
        if self.takes(&["multicast"]) {
            return Ok(Expression::Test(match protocol {
                None | Some("ether") => Test::MacMulticast,
                Some("ip") => Test::Multicast(Versions::Four),
                Some("ip6") => Test::Multicast(Versions::Six),
                Some(protocol) => return Err(format!("`{protocol} multicast` is not known")),
            }));
        }
        let side = self.side()?;
        let kind = self.peek().filter(|word| KINDS.contains(word));
        self.at += usize::from(kind.is_some());
        let qualifiers = match (protocol, side, kind) {
            (Some(protocol), None, None) => {
                let test = named(protocol).ok_or("behind `ether` a word like `host` or `proto` is missing")?;
                return Ok(test);
            }
            (None, None, None) => match (self.last, self.peek()) {
                (Some(last), _) => last,
                (None, word) => return Err(unknown(word)),
            },
            _ => Qualifiers { protocol, side: side.unwrap_or(Side::Either), kind: kind.unwrap_or("host") },
        };
        self.last = Some(qualifiers);
        self.value(qualifiers)
    }

    fn side(&mut self) -> Result<Option<Side>, String> {
        let one = |word: Option<&str>| match word {
            Some("src") => Some(Side::Source),
            Some("dst") => Some(Side::Destination),
            _ => None,
        };
        let Some(first) = one(self.peek()) else { return Ok(None) };
        self.at += 1;
        let (joint, second) = (self.peek(), one(self.words.get(self.at + 1).copied()));
        let Some(second) = second.filter(|_| matches!(joint, Some("or" | "and"))) else { return Ok(Some(first)) };
        // `src host a` may be followed by `or dst host b`; only `src or dst` belongs together, as in tcpdump.
        self.at += 2;
        if first == second {
            return Err("`src` and `dst` belong together, not one with itself".into());
        }
        Ok(Some(if joint == Some("or") { Side::Either } else { Side::Both }))
    }

    fn value(&mut self, Qualifiers { protocol, side, kind }: Qualifiers<'_>) -> Result<Expression, String> {
        let wanted = format!("the value of `{kind}`");
        let word = self.next(&wanted)?;
        let misplaced = |protocol: &str| format!("`{protocol}` does not go with `{kind}`");
        let test = match (kind, protocol) {
            ("host", Some("ether")) => {
                Test::Mac { side, address: mac(word).ok_or_else(|| format!("`{word}` is no Ethernet address"))? }
            }
            ("proto", _) if side != Side::Either => return Err("`proto` has no `src` or `dst`".into()),
            ("proto", Some("ether")) => match (named(word), number(word).and_then(|n| u16::try_from(n).ok())) {
                (Some(Expression::Test(Test::EtherType(kind))), _) | (_, Some(kind)) => Test::EtherType(kind),
                _ => return Err(format!("`{word}` is no EtherType")),
            },
            ("proto", None | Some("ip" | "ip6")) => {
                let versions = match protocol {
                    Some("ip") => Versions::Four,
                    Some("ip6") => Versions::Six,
                    _ => Versions::Both,
                };
                match (named(word), number(word).and_then(|n| u8::try_from(n).ok())) {
                    (Some(Expression::Test(Test::Protocol { number, .. })), _) | (_, Some(number)) => {
                        Test::Protocol { number, versions }
                    }
                    _ => return Err(format!("`{word}` is no IP protocol")),
                }
            }
            ("port" | "portrange", _) => {
                let protocol = match protocol.map(|protocol| (protocol, named(protocol))) {
                    None => None,
                    Some(("tcp" | "udp" | "sctp", Some(Expression::Test(Test::Protocol { number, .. })))) => {
                        Some(number)
                    }
                    Some((protocol, _)) => return Err(misplaced(protocol)),
                };
                let port =
                    |word: &str| word.parse::<u16>().map_err(|_| format!("`{word}` is no port: give its number"));
                let (first, last) = match word.split_once('-') {
                    Some((first, last)) if kind == "portrange" => (port(first)?, port(last)?),
                    _ => (port(word)?, port(word)?),
                };
                Test::Port { side, first: first.min(last), last: last.max(first), protocol }
            }
            ("host" | "net", _) => {
                let net = if kind == "host" { host(word)? } else { self.net(word)? };
                let within = match (protocol, net) {
                    (None, _) => Within::Any,
                    (Some("ip"), IpNet::V4(_)) | (Some("ip6"), IpNet::V6(_)) => Within::Ip,
                    (Some("arp"), IpNet::V4(_)) => Within::Arp(ARP),
                    (Some("rarp"), IpNet::V4(_)) => Within::Arp(RARP),
                    (Some(protocol), _) => return Err(misplaced(protocol)),
                };
                Test::Address { side, net, within }
            }
            (_, protocol) => return Err(misplaced(protocol.unwrap_or_default())),
        };
        Ok(Expression::Test(test))
    }

    /// A network: with a length, with a mask, or as the first bytes of its addresses.
    fn net(&mut self, word: &str) -> Result<IpNet, String> {
        let wrong = |word: &str| format!("`{word}` is no network like `10.0.0.0/8` or `2001:db8::/32`");
        let strict = |net: IpNet| {
            let is_exact = net.addr() == net.network();
            if is_exact {
                Ok(net)
            } else {
                Err(format!("`{net}` has bits beyond its length; `{}` has none", net.trunc()))
            }
        };
        if self.takes(&["mask"]) {
            let mask = self.next("a mask")?;
            let (address, mask) = (word.parse::<Ipv4Addr>(), mask.parse::<Ipv4Addr>());
            let (Ok(address), Ok(mask)) = (address, mask) else { return Err(wrong(word)) };
            return strict(IpNet::with_netmask(address.into(), mask.into()).map_err(|error| error.to_string())?);
        }
        if let Ok(net) = word.parse::<IpNet>() {
            return strict(net);
        }
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            return Ok(IpAddr::from(address).into());
        }
        let (word, length) = word.split_once('/').map_or((word, None), |(word, length)| (word, Some(length)));
        let parts: Vec<u8> = word.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong(word))?;
        if parts.len() > 4 {
            return Err(wrong(word));
        }
        let mut octets = [0; 4];
        octets[..parts.len()].copy_from_slice(&parts);
        let length = length.map_or(Ok(8 * parts.len() as u8), str::parse).map_err(|_| wrong(word))?;
        strict(IpNet::new(IpAddr::from(octets), length).map_err(|_| wrong(word))?)
    }

    /// `tcp[tcpflags] & tcp-syn != 0`, behind the `[`.
    fn bytes(&mut self, protocol: &str) -> Result<Expression, String> {
        let layer = match (protocol, named(protocol)) {
            ("ether", _) => Layer::Ether,
            ("ip", _) => Layer::Ip,
            ("ip6", _) => Layer::Ip6,
            (_, Some(Expression::Test(Test::Protocol { number, versions: Versions::Four | Versions::Both }))) => {
                Layer::Transport(number)
            }
            _ => return Err(format!("bytes of `{protocol}` cannot be asked for; give the output of `tcpdump -dd`")),
        };
        let place = self.next("an offset")?;
        let (offset, size) = place.split_once(':').unwrap_or((place, "1"));
        let offset =
            constant(offset).filter(|offset| *offset < 65_536).ok_or_else(|| format!("`{offset}` is no offset"))?;
        let size = match size {
            "1" => 1,
            "2" => 2,
            "4" => 4,
            size => return Err(format!("`{size}` is none of the sizes 1, 2 and 4")),
        };
        if !self.takes(&["]"]) {
            return Err("a `]` is missing; sums of offsets need the output of `tcpdump -dd`".into());
        }
        let mask = if self.takes(&["&"]) { Some(self.constants()?) } else { None };
        let relation = match self.next("a comparison")? {
            "=" | "==" => Relation::Equal,
            "!=" => Relation::NotEqual,
            ">" => Relation::Greater,
            ">=" => Relation::GreaterOrEqual,
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            other => return Err(format!("`{other}` is no comparison; more needs the output of `tcpdump -dd`")),
        };
        let value = self.constants()?;
        Ok(Expression::Test(Test::Bytes { layer, offset, size, mask, relation, value }))
    }

    /// A number, or some joined by `|`, in parentheses or not.
    fn constants(&mut self) -> Result<u32, String> {
        let is_inside = self.takes(&["("]);
        let mut sum = 0;
        loop {
            let word = self.next("a number")?;
            sum |= constant(word).ok_or_else(|| format!("`{word}` is no number"))?;
            if !self.takes(&["|"]) {
                break;
            }
        }
        if is_inside && !self.takes(&[")"]) {
            return Err("a `)` is missing".into());
        }
        Ok(sum)
    }

    fn number(&mut self, wanted: &str) -> Result<u32, String> {
        let word = self.next(wanted)?;
        number(word).ok_or_else(|| format!("`{word}` is not {wanted}"))
    }
}

fn unknown(word: Option<&str>) -> String {
    match word {
        Some(word) => format!(
            "`{word}` is no test that is known here; the output of `tcpdump -dd '...'` is taken for every other filter"
        ),
        None => "at the end a test is missing".into(),
    }
}

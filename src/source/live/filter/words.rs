//! The words of filter expressions: cut apart, and what each means alone. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::{ARP, Expression, RARP, Test, Versions};

/// Cuts a text into words and signs.
pub(super) fn words(text: &str) -> Result<Vec<&str>, String> {
    const SIGNS: [&str; 16] = ["&&", "||", "==", "!=", ">=", "<=", "(", ")", "[", "]", "!", "&", "|", "=", ">", "<"];
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '-' | '_' | '\\');
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let length = match length {
            0 => SIGNS.iter().find(|sign| rest.starts_with(**sign)).map(|sign| sign.len()),
            length => Some(length),
        };
        let length = length.ok_or_else(|| format!("`{}` has no meaning here", rest.chars().next().unwrap_or(' ')))?;
        let (word, after) = rest.split_at(length);
        words.push(word.strip_prefix('\\').unwrap_or(word));
        rest = after.trim_start();
    }
    Ok(words)
}

/// What a protocol's name alone asks for.
pub(super) fn named(word: &str) -> Option<Expression> {
    let ip = |number, versions| Test::Protocol { number, versions };
    Some(Expression::Test(match word {
        "ip" => Test::EtherType(0x0800),
        "ip6" => Test::EtherType(0x86dd),
        "arp" => Test::EtherType(ARP),
        "rarp" => Test::EtherType(RARP),
        "tcp" => ip(6, Versions::Both),
        "udp" => ip(17, Versions::Both),
        "sctp" => ip(132, Versions::Both),
        "ah" => ip(51, Versions::Both),
        "esp" => ip(50, Versions::Both),
        "pim" => ip(103, Versions::Both),
        "icmp" => ip(1, Versions::Four),
        "igmp" => ip(2, Versions::Four),
        "vrrp" => ip(112, Versions::Four),
        "icmp6" => ip(58, Versions::Six),
        _ => return None,
    }))
}

pub(super) fn number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

pub(super) fn constant(word: &str) -> Option<u32> {
    Some(match word {
        "tcpflags" => 13,
        "tcp-fin" => 1,
        "tcp-syn" => 2,
        "tcp-rst" => 4,
        "tcp-push" => 8,
        "tcp-ack" => 16,
        "tcp-urg" => 32,
        "icmptype" | "icmp-echoreply" => 0,
        "icmpcode" => 1,
        "icmp-unreach" => 3,
        "icmp-redirect" => 5,
        "icmp-echo" => 8,
        "icmp-timxceed" => 11,
        word => return number(word),
    })
}

pub(super) fn host(word: &str) -> Result<IpNet, String> {
    let address = word.parse::<IpAddr>();
    address.map(IpNet::from).map_err(|_| format!("`{word}` is no address; names are not looked up"))
}

pub(super) fn mac(word: &str) -> Option<[u8; 6]> {
    let parts: Vec<u8> = word.split([':', '-']).map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

//! What a live capture is told. Plain data.

use serde::{Deserialize, Serialize};

use super::filter::{Filter, Start};
use crate::config::Bytes;
use crate::error::{Error, ErrorKind};

/// The longest name of an interface (`IFNAMSIZ` without its end).
const MAX_NAME: usize = 15;

/// What to capture, and how.
///
/// # Filters
///
/// Of the expressions of tcpdump (`pcap-filter(7)`) these, joined by `and`, `or`, `not` (`&&`, `||`, `!`) and parentheses;
/// as there, `and` and `or` bind equally, from the left:
///
/// | test | what |
/// |---|---|
/// | `host A`, `net N` | address, or network as `10.0.0.0/8`, `10.0.0.0 mask 255.0.0.0`, `10`, `2001:db8::/32`; IPv4 in ARP too; `ip`, `ip6`, `arp` or `rarp` in front narrows that |
/// | `port P`, `portrange P-Q` | of TCP, UDP and SCTP; `tcp`, `udp` or `sctp` in front narrows that |
/// | `ether host M` | Ethernet address |
/// | `src`, `dst`, `src or dst`, `src and dst` | in front of those four |
/// | `ip`, `ip6`, `arp`, `rarp`, `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `igmp`, `ah`, `esp`, `pim`, `vrrp` | protocol; also `ip proto N`, `ip6 proto N`, `proto N`, `ether proto N` |
/// | `vlan`, `vlan N` | a VLAN tag, with this number |
/// | `broadcast`, `multicast`, `ip multicast`, `ip6 multicast` | destination |
/// | `less N`, `greater N` | length, N included |
/// | `tcp[13] & 2 != 0`, `tcp[tcpflags] & (tcp-syn\|tcp-ack) == tcp-syn`, `ip[8] < 5`, `udp[4:2] > 100` | bytes |
///
/// Names of hosts and ports are not looked up. Other than in tcpdump, tests look behind a VLAN tag by themselves, `vlan`
/// changes nothing for what follows it, the first fragment of an IPv6 packet has its ports, and a packet that is too short
/// for a test fails that test alone.
///
/// Every other filter of tcpdump is taken compiled: the output of `tcpdump -i INTERFACE -dd FILTER`, lines of
/// `{ 0x28, 0, 0, 0x0000000c },`; with `-i any` that of a version whose link type there is `LINUX_SLL2` (4.99 or later).
///
/// ```
/// use forebay::source::live::LiveSettings;
/// let mut settings = LiveSettings::new("eth0");
/// settings.filter = "tcp port 22 or 23 and not net 192.0.2.0/24".into();
/// assert!(settings.validate().is_ok());
/// settings.filter = "port ssh".into();
/// assert!(settings.validate().unwrap_err().to_string().contains("`ssh` is no port"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LiveSettings {
    /// Name of the interface, or `any` for all of them.
    pub interface: String,
    /// Which packets are wanted, see above. Default: all.
    #[serde(default)]
    pub filter: String,
    /// Most bytes kept of a packet; its whole length stays in `length`. Default 262144, the largest; at least 16. No row
    /// can be larger than `batch.max_bytes`, so that packets are cut to that too.
    #[serde(default = "snap_length")]
    pub snap_length: u32,
    /// Whether the interface is told to take packets that are not for this host. Default true; `any` never is.
    #[serde(default = "promiscuous")]
    pub promiscuous: bool,
    /// How many threads read, each from a ring of its own; the packets of a flow, both ways, go to the same one. Default 1;
    /// at most 64.
    #[serde(default = "threads")]
    pub threads: usize,
    /// Memory of one ring, where packets wait in the kernel while the pipeline is full; above it the kernel drops them, and
    /// counts. Default 16 MiB; 128 KiB to 1 GiB, in at least two blocks of twice the snap length.
    #[serde(default = "ring")]
    pub ring: Bytes,
    /// Sensor of every row. Default: the host's name.
    #[serde(default)]
    pub sensor: Option<String>,
}

fn snap_length() -> u32 {
    262_144
}

fn promiscuous() -> bool {
    true
}

fn threads() -> usize {
    1
}

fn ring() -> Bytes {
    Bytes::mib(16)
}

impl LiveSettings {
    /// Returns the defaults for an interface.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            filter: String::new(),
            snap_length: snap_length(),
            promiscuous: promiscuous(),
            threads: threads(),
            ring: ring(),
            sensor: None,
        }
    }

    /// Checks every bound, and that the filter makes a program that the kernel takes.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], naming the key, the value and what it may be.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Configuration, text));
        let name = &self.interface;
        let is_name = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_name) {
            return wrong(format!(
                "interface is {name:?}; it is a name like `eth0`, of 1 to {MAX_NAME} bytes, or `any`"
            ));
        }
        if !(16..=snap_length()).contains(&self.snap_length) {
            let bounds = format!("it must be between 16 and {}", snap_length());
            return wrong(format!("snap_length is {}; {bounds}", self.snap_length));
        }
        if !(1..=64).contains(&self.threads) {
            return wrong(format!("threads is {}; it must be between 1 and 64", self.threads));
        }
        if !(128 << 10..=1 << 30).contains(&self.ring.0) {
            return wrong(format!("ring is {}; it must be between 128 KiB and 1 GiB", self.ring));
        }
        if self.sensor.as_ref().is_some_and(String::is_empty) {
            return wrong("sensor is empty; leave it out for the host's name".into());
        }
        // What an interface carries is known when it is opened; what neither kind of packets can be asked is wrong already.
        let made = Filter::parse(&self.filter).and_then(|filter| {
            let program = |kind| filter.program(kind, self.snap_length, None);
            if name == "any" {
                return program(Start::Network);
            }
            program(Start::Ethernet).or_else(|fault| program(Start::Network).map_err(|_| fault))
        });
        made.map(drop).or_else(|fault| wrong(format!("filter: {fault}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_with_the_key() {
        let told = |change: fn(&mut LiveSettings)| {
            let mut settings = LiveSettings::new("eth0");
            change(&mut settings);
            settings.validate().map_err(|error| error.to_string())
        };
        assert_eq!(told(|_| ()), Ok(()));
        for (change, key) in [
            ((|s| s.interface = "a name of too many bytes".into()) as fn(&mut LiveSettings), "interface is"),
            (|s| s.interface = "../x".into(), "interface is"),
            (|s| s.interface = String::new(), "interface is"),
            (|s| s.snap_length = 262_145, "snap_length is 262145; it must be between 16 and 262144"),
            (|s| s.threads = 0, "threads is 0"),
            (|s| s.ring = Bytes(1), "ring is 1 B; it must be between 128 KiB and 1 GiB"),
            (|s| s.sensor = Some(String::new()), "sensor is empty"),
            (|s| s.filter = "tcp and".into(), "filter: at the end a test is missing"),
        ] {
            let error = told(change).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn an_interface_is_enough_and_an_unknown_key_is_a_fault() {
        let settings: LiveSettings = serde_json::from_str(r#"{"interface":"eth0"}"#).unwrap();
        assert_eq!(settings, LiveSettings::new("eth0"));
        assert!(serde_json::from_str::<LiveSettings>(r#"{"interface":"eth0","snaplen":9}"#).is_err());
    }
}

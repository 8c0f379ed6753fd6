//! Rows that look like a sensor's: a few sensors and services, few addresses that cause most of the events (Zipf),
//! ascending time with jitter, JSON fields, an original line. Seeded: the same seed gives the same rows.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use forebay::{Capture, Event, Timestamp};

const SENSORS: usize = 16;
const ADDRESSES: f64 = 20_000.0;
const SERVICES: [(&str, u16, [&str; 3]); 6] = [
    ("ssh", 22, ["login.failed", "login.success", "session.closed"]),
    ("http", 80, ["request", "request", "alert"]),
    ("telnet", 23, ["login.failed", "command.input", "session.closed"]),
    ("smb", 445, ["connect", "alert", "session.closed"]),
    ("mysql", 3306, ["login.failed", "connect", "session.closed"]),
    ("rdp", 3389, ["connect", "login.failed", "alert"]),
];
const USERS: [&str; 6] = ["root", "admin", "ubuntu", "oracle", "test", "pi"];
/// 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600_000_000_000;
/// Between two rows of a producer, about.
const STEP: i64 = 20_000;

/// The rows of one send: of one kind, as producers send them.
#[derive(Clone, Debug)]
pub enum Rows {
    Events(Vec<Event>),
    Captures(Vec<Capture>),
}

impl Rows {
    pub fn len(&self) -> usize {
        match self {
            Self::Events(rows) => rows.len(),
            Self::Captures(rows) => rows.len(),
        }
    }

    /// Returns the bytes that they count for in every limit.
    pub fn weight(&self) -> usize {
        match self {
            Self::Events(rows) => rows.iter().map(Event::weight).sum(),
            Self::Captures(rows) => rows.iter().map(Capture::weight).sum(),
        }
    }
}

/// Makes the rows of one producer.
pub struct RowMaker {
    random: fastrand::Rng,
    time: i64,
    row_bytes: usize,
    sensors: Vec<String>,
    fields: String,
    raw: String,
}

impl RowMaker {
    /// `row_bytes` is about what an event weighs, at least some 250.
    pub fn new(seed: u64, producer: u64, row_bytes: usize) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(producer)),
            time: BEGIN,
            row_bytes,
            sensors: (0..SENSORS).map(|n| format!("decoy-{n:02}")).collect(),
            fields: String::new(),
            raw: String::new(),
        }
    }

    pub fn event(&mut self) -> Event {
        let (service, port, types) = SERVICES[self.random.usize(..SERVICES.len())];
        let event_type = types[self.random.usize(..types.len())];
        let user = USERS[self.random.usize(..USERS.len())];
        let (ts, src, src_port) = (self.ts(), self.address(), self.random.u16(1024..));
        let session = format!("{:012x}", self.random.u64(..1 << 20));
        self.fields.clear();
        self.raw.clear();
        // Writing to a String cannot fail.
        let _ = write!(
            self.fields,
            r#"{{"username":"{user}","password":"{:06}","duration":{},"client":"SSH-2.0-Go"}}"#,
            self.random.u32(..1_000_000),
            self.random.u32(..9_000)
        );
        let _ = write!(self.raw, "{ts} {service} {event_type} {src}:{src_port} user={user} session={session} ");
        let rest = self.row_bytes.saturating_sub(150 + self.fields.len() + self.raw.len());
        self.raw.extend(std::iter::repeat_n('.', rest));
        let sensor = &self.sensors[self.random.usize(..SENSORS)];
        Event::builder(sensor, service, event_type)
            .ts(ts)
            .src(Some(src), Some(src_port))
            .dst(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5))), Some(port))
            .proto("tcp")
            .session(&session)
            .fields(&self.fields)
            .raw(&self.raw)
            .build()
            .expect("the generator writes sound JSON")
    }

    pub fn capture(&mut self) -> Capture {
        let (_, port, _) = SERVICES[self.random.usize(..SERVICES.len())];
        let (ts, src, src_port) = (self.ts(), self.address(), self.random.u16(1024..));
        let mut data = vec![0; self.row_bytes.saturating_sub(120)];
        self.random.fill(&mut data);
        Capture::builder(&self.sensors[self.random.usize(..SENSORS)], "packet")
            .ts(ts)
            .src(Some(src), Some(src_port))
            .dst(Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5))), Some(port))
            .proto("tcp")
            .link_type(1)
            .data(data)
            .build()
            .expect("a packet without fields is sound")
    }

    fn ts(&mut self) -> Timestamp {
        self.time += self.random.i64(0..2 * STEP);
        Timestamp::from_nanos(self.time - self.random.i64(0..1_000_000))
    }

    /// Zipf with exponent 1, by inversion: the rank of a uniform number on a logarithmic scale.
    fn address(&mut self) -> IpAddr {
        let rank = (self.random.f64() * ADDRESSES.ln()).exp() as u32;
        let scattered = rank.wrapping_mul(2_654_435_761);
        IpAddr::V4(Ipv4Addr::from(0x0b00_0000 | (scattered >> 8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_same_seed_gives_the_same_rows_and_few_addresses_cause_most() {
        let (mut a, mut b) = (RowMaker::new(1, 0, 400), RowMaker::new(1, 0, 400));
        let mut counts = HashMap::<String, u32>::new();
        for _ in 0..5000 {
            let (left, right) = (a.event(), b.event());
            assert_eq!(left, right);
            assert!((300..520).contains(&left.weight()), "{}", left.weight());
            *counts.entry(left.src_ip().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by(|x, y| y.cmp(x));
        assert!(
            counts.len() > 1000 && counts.iter().take(100).sum::<u32>() > 2000,
            "{} {:?}",
            counts.len(),
            &counts[..5]
        );
        assert_ne!(RowMaker::new(2, 0, 400).event(), RowMaker::new(1, 0, 400).event());
        assert_eq!(a.capture().data().len(), 280);
    }
}

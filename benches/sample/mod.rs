//! The rows that the benchmarks write, and what they share to report on them.
//!
//! Rows look like those of a group of honeypots: few sensors and services, source addresses whose counts follow Zipf's
//! law (exponent 1.1 over 20,000 addresses), times that ascend with jitter, fields and the original line; 0.3 to
//! 0.5 KB each. The same seed gives the same rows. `peers/sqlmodel_add_all.py` repeats this in Python.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use forebay::{Event, Timestamp};

const ADDRESSES: usize = 20_000;
const SERVICES: [(&str, &str, u16); 6] = [
    ("ssh", "login.failed", 22),
    ("ssh", "command", 22),
    ("http", "request", 80),
    ("telnet", "login.failed", 23),
    ("smb", "connect", 445),
    ("redis", "command", 6379),
];
const USERS: [&str; 8] = ["root", "admin", "ubuntu", "test", "oracle", "postgres", "pi", "git"];

/// One row before it is built: what a sensor knows.
pub struct Line {
    pub ts: i64,
    pub sensor: String,
    pub service: &'static str,
    pub event_type: &'static str,
    pub src: IpAddr,
    pub src_ip: String,
    pub src_port: u16,
    pub dst: IpAddr,
    pub dst_ip: String,
    pub dst_port: u16,
    pub session: String,
    pub msg: String,
    pub fields: String,
    pub raw: String,
}

impl Line {
    /// Builds the row, as a host would: with the check that `fields` is JSON.
    pub fn event(&self) -> Event {
        Event::builder(&self.sensor, self.service, self.event_type)
            .ts(Timestamp::from_nanos(self.ts))
            .src(Some(self.src), Some(self.src_port))
            .dst(Some(self.dst), Some(self.dst_port))
            .proto("tcp")
            .session(&self.session)
            .msg(&self.msg)
            .fields(&self.fields)
            .raw(&self.raw)
            .build()
            .expect("the sample's fields are JSON")
    }

    pub fn bytes(&self) -> usize {
        let texts = [&self.sensor, &self.src_ip, &self.dst_ip, &self.session, &self.msg, &self.fields, &self.raw];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.service.len() + self.event_type.len() + 3 + 12
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): short enough to be the same in Python.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Makes `count` lines.
pub fn lines(count: usize) -> Vec<Line> {
    stream().take(count).collect()
}

/// Makes the same lines one by one, without end.
pub fn stream() -> impl Iterator<Item = Line> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=ADDRESSES)
        .map(|rank| {
            sum += (rank as f64).powf(-1.1);
            sum
        })
        .collect();
    let mut random = Random(7);
    (0u64..)
        .map(move |number| {
            let pick = random.unit() * sum;
            let rank = cumulated.partition_point(|up_to| *up_to < pick) as u32;
            // Scattered over the address space, as attackers are.
            let src = IpAddr::V4(Ipv4Addr::from(rank.wrapping_mul(2_654_435_761) | 0x0100_0000));
            let sensor_number = random.below(12);
            let (service, event_type, dst_port) = SERVICES[random.below(6) as usize];
            let user = USERS[random.below(8) as usize];
            let src_port = 1024 + random.below(60_000) as u16;
            let session = format!("{:012x}", random.next() >> 16);
            let secret = format!("{:x}", random.next() >> (16 + random.below(32)));
            let sensor = format!("sensor-{sensor_number:02}");
            let dst = IpAddr::V4(Ipv4Addr::new(10, 20, 0, sensor_number as u8 + 1));
            let (src_ip, dst_ip) = (src.to_string(), dst.to_string());
            let ts = 1_760_000_000_000_000_000 + number as i64 * 1_000_000 + random.below(20_000_000) as i64;
            let fields = format!(
                r#"{{"username":"{user}","password":"{secret}","client":"SSH-2.0-libssh_0.9.6","attempt":{}}}"#,
                random.below(30)
            );
            let raw = format!(
                "<134>1 {ts} {sensor} {service} {session} {event_type} - user={user} secret={secret} src={src_ip}:{src_port} \
                 dst={dst_ip}:{dst_port} client=SSH-2.0-libssh_0.9.6 outcome=refused",
            );
            Line {
                ts,
                msg: format!("{event_type} for {user} from {src_ip} on {service}"),
                sensor,
                service,
                event_type,
                src,
                src_ip,
                src_port,
                dst,
                dst_ip,
                dst_port,
                session,
                fields,
                raw,
            }
        })
}

/// Returns the middle of the values, which must not be empty.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Says what was measured, where.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let commit = git.map_or_else(|_| "unknown".into(), |out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    format!("{} x {cores}, {}, commit {commit}", cpu.trim_start_matches([' ', '\t', ':']), std::env::consts::OS)
}

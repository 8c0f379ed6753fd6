//! One socket of datagrams: takes what is there, up to a chunk, and sends it as one.
//!
//! While the pipeline has no room nothing is read: the kernel drops what UDP brings, and counts it; who writes to a Unix
//! socket waits. UDP's drops are read from `/proc/net/udp`, since SO_RXQ_OVFL would tell them only with the next datagram
//! that is not dropped.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::interval;

use super::frames::{Cutting, Frame, kept};
use super::record::{Gathered, RecordReader};
use super::serve::{Closed, Shared};

/// Most datagrams taken in one turn.
const TURN: usize = 512;
/// How often the kernel's drops are read.
const LOOK: Duration = Duration::from_secs(1);
/// Tables of UDP sockets, for both versions of IP.
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

pub(super) enum Datagrams {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

impl Datagrams {
    pub(super) fn unix(socket: std::os::unix::net::UnixDatagram) -> io::Result<Self> {
        UnixDatagram::from_std(socket).map(Self::Unix)
    }

    pub(super) fn udp(socket: std::net::UdpSocket) -> io::Result<Self> {
        UdpSocket::from_std(socket).map(Self::Udp)
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.readable().await,
            Self::Udp(socket) => socket.readable().await,
        }
    }

    /// Takes a datagram that is there; also tells the address of a sender that is another host.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        match self {
            Self::Unix(socket) => socket.try_recv(buffer).map(|bytes| (bytes, None)),
            Self::Udp(socket) => {
                socket.try_recv_from(buffer).map(|(bytes, from): (_, SocketAddr)| (bytes, other_host(from.ip())))
            }
        }
    }

    /// The number by which `/proc/net/udp` names a UDP socket.
    fn inode(&self) -> Option<u64> {
        match self {
            Self::Unix(_) => None,
            Self::Udp(socket) => rustix::fs::fstat(socket.as_fd()).ok().map(|stat| stat.st_ino),
        }
    }
}

/// Names another host; an IPv4 address that came over IPv6 is an IPv4 address.
pub(super) fn other_host(address: IpAddr) -> Option<IpAddr> {
    Some(address.to_canonical()).filter(|address| !address.is_loopback())
}

/// Reads datagrams until `stop` is said, and then those that are there.
pub(super) async fn read(shared: Rc<Shared>, socket: Datagrams) {
    let inode = socket.inode();
    tokio::select! {
        () = count_drops(&shared, inode) => {}
        // A pipeline that is closed ends the whole source.
        _ = receive(&shared, &socket) => {}
    }
    look_for_drops(&shared, inode);
}

async fn receive(shared: &Shared, socket: &Datagrams) -> Result<(), Closed> {
    // One byte more than the limit tells a datagram that was cut.
    let mut buffer = vec![0; shared.max_record() + 1];
    let mut reader = shared.reader().without_hello();
    let mut gathered = Gathered::new();
    let mut last_from = None;
    loop {
        let is_last = tokio::select! {
            biased;
            () = shared.stop.stopped() => true,
            _ = socket.readable() => false,
        };
        let mut datagrams = 0;
        // Any other error is one of an earlier answer of ours, and we give none.
        while let Ok((bytes, from)) = socket.try_receive(&mut buffer) {
            if from != last_from {
                reader = shared.reader().without_hello();
                from.inspect(|from| reader.call_host(from.to_string()));
                last_from = from;
            }
            take(shared, &buffer[..bytes], &mut reader, &mut gathered);
            datagrams += 1;
            if gathered.is_full() || datagrams == TURN {
                break;
            }
        }
        if datagrams > 0 {
            shared.send(gathered.take()).await?;
            tokio::task::yield_now().await;
        }
        if is_last && (datagrams == 0 || shared.last_call_is_over()) {
            return Ok(());
        }
    }
}

fn take(shared: &Shared, datagram: &[u8], reader: &mut RecordReader, gathered: &mut Gathered) {
    if datagram.len() > shared.max_record() {
        let start = kept(&datagram[..shared.max_record()]);
        gathered.add(reader.read(Frame::TooLong { start, bytes: datagram.len() as u64 }));
        return;
    }
    if shared.cutting == Cutting::Syslog {
        // One message each (RFC 5426, 3.1).
        gathered.add(reader.read(Frame::Whole(datagram)));
        return;
    }
    for line in datagram.split(|byte| *byte == b'\n') {
        gathered.add(reader.read(Frame::Whole(line.strip_suffix(b"\r").unwrap_or(line))));
    }
}

async fn count_drops(shared: &Shared, inode: Option<u64>) {
    if inode.is_none() {
        return std::future::pending().await;
    }
    let mut ticks = interval(LOOK);
    loop {
        ticks.tick().await;
        look_for_drops(shared, inode);
    }
}

fn look_for_drops(shared: &Shared, inode: Option<u64>) {
    let Some(inode) = inode else { return };
    let drops = TABLES.iter().find_map(|table| drops_of(&fs::read_to_string(table).ok()?, inode));
    if let Some(drops) = drops {
        shared.meter.kernel_drops(drops);
    }
}

/// Finds a socket's drops in a table of UDP sockets: the 10th column is its inode, the last its drops (proc(5)).
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(9)?.parse() == Ok(inode)).then(|| columns.last()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_found_by_the_sockets_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  358: 0100007F:1432 00000000:0000 07 00000000:00034E00 00:00000000 00000000     0        0 4711 2 00000000aabbccdd 12345
  900: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12 2 00000000aabbccdd 0
";
        assert_eq!((drops_of(table, 4711), drops_of(table, 12), drops_of(table, 1)), (Some(12345), Some(0), None));
        assert_eq!(drops_of("", 1), None);
    }

    #[test]
    fn a_host_is_another_one_unless_it_is_this_one() {
        let other = |text: &str| other_host(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(other("::ffff:192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!((other("127.0.0.9"), other("::1"), other("::ffff:127.0.0.1")), (None, None, None));
    }
}

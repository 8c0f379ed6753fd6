//! `forebay run` under load, for Prometheus to look at.

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::place::{Place, Running};
use crate::server::free_port;

/// A process with a followed file, a socket and an interface as its sources.
pub struct Station {
    pub place: Arc<Place>,
    pub port: u16,
    /// Where packets go that it captures.
    pub packets: u16,
    process: Option<Running>,
}

impl Station {
    /// Starts it, with these settings besides.
    pub fn start(settings: &str) -> Self {
        let (place, port) = (Arc::new(Place::new()), free_port());
        // Nobody listens there: packets are seen all the same.
        let packets = free_port();
        place.write("log.json", "");
        let sources = format!(
            "[metrics]\nlisten = \"127.0.0.1:{port}\"\n\
             [sources.log]\ntype = \"tail\"\npaths = [\"log.json\"]\nformat = \"ndjson\"\npoll = \"20ms\"\n\
             [sources.in]\ntype = \"socket\"\nlisten = \"unix:{}\"\n\
             [sources.tap]\ntype = \"live\"\ninterface = \"lo\"\nfilter = \"udp dst port {packets}\"\n",
            place.path("in.sock").display()
        );
        place.write("forebay.toml", format!("[database]\nurl = \"sqlite:forebay.db\"\n{settings}{sources}"));
        let mut process = place.start(&["run", "--config", "forebay.toml"]);
        process.wait_for_err(" into sqlite:");
        Self { place, port, packets, process: Some(process) }
    }

    /// Lets lines, messages and packets come in until the load is dropped.
    pub fn load(&self) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (place, port, packets, is_over) = (Arc::clone(&self.place), self.port, self.packets, Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let mut peer = UnixStream::connect(place.path("in.sock")).expect("the program's socket");
            peer.set_nonblocking(true).expect("a mode");
            peer.write_all(b"{\"forebay\":\"hello\",\"peer\":\"p\",\"first\":1}\n").expect("a greeting");
            let mut number = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                let line = |number: u64| {
                    let address = number % 200;
                    format!(
                        "{{\"sensor\":\"s{}\",\"service\":\"ssh\",\"event_type\":\"login\",\"src_ip\":\"192.0.2.{address}\",\"msg\":\"{number}\"}}\n",
                        number % 3
                    )
                };
                place.append("log.json", (number..number + 20).map(line).collect::<String>());
                number += 20;
                // A socket whose rows wait is full some time, and a packet may be dropped: neither is the claim here.
                let _ = peer.write(line(number).as_bytes());
                let _ = sender.send_to(b"a packet", ("127.0.0.1", packets));
                if number.is_multiple_of(1000) {
                    // Somebody looks at the page.
                    crate::prometheus::get(port, "/api/status");
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        Load { stop, thread: Some(thread) }
    }

    /// Writes lines into its file that are no JSON.
    pub fn malformed(&self, lines: usize) {
        self.place.append("log.json", "no json\n".repeat(lines));
    }

    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }
}

/// Load on a station, while it lives.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("it runs").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the load failed");
    }
}

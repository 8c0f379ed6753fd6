//! A TCP proxy that cuts a connection after it has passed COMMIT on and before the answer comes back: the moment at which
//! nobody can know whether the batch is there.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// COMMIT as a packet: its length, number 0, the command "query", the text.
const COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

pub struct Proxy {
    pub port: u16,
    cuts: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one in front of `port`.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (cuts, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { port: listener.local_addr().unwrap().port(), cuts: cuts.clone(), cut: cut.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                serve(client, server, &cuts, &cut);
            }
        });
        proxy
    }

    /// Cuts at the next `times` COMMITs.
    pub fn cut(&self, times: usize) {
        self.cuts.store(times, Ordering::SeqCst);
    }

    /// Returns how many connections were cut.
    pub fn count(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: TcpStream, cuts: &Arc<AtomicUsize>, cut: &Arc<AtomicUsize>) {
    let swallow = Arc::new(AtomicBool::new(false));
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    let (cuts, cut, armed) = (Arc::clone(cuts), Arc::clone(cut), Arc::clone(&swallow));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut buffer) {
            if buffer[..count].ends_with(COMMIT) {
                let one_less = |left: usize| left.checked_sub(1);
                armed.store(cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok(), Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side may have closed it.
        let _ = to_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            if swallow.load(Ordering::SeqCst) {
                cut.fetch_add(1, Ordering::SeqCst);
                break;
            }
            if to_client.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The other side may have closed it.
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
}

//! A TCP proxy that cuts a connection after it has passed COMMIT on and before the answer comes back: the moment at which
//! nobody can know whether the batch is there. Or it keeps the connection and the answer for ever.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// COMMIT as a packet: its length, number 0, the command "query", the text.
const COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

pub struct Proxy {
    pub port: u16,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    /// At how many COMMITs to do it.
    cuts: AtomicUsize,
    /// Whether to keep the connection instead of cutting it.
    keeps: AtomicBool,
    /// How many answers were kept from their client.
    swallowed: AtomicUsize,
    /// How many clients have hung up.
    left: AtomicUsize,
}

impl Proxy {
    /// Starts one in front of `port`.
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plan = Arc::new(Plan::default());
        let proxy = Self { port: listener.local_addr().unwrap().port(), plan: Arc::clone(&plan) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                serve(client, server, &plan);
            }
        });
        proxy
    }

    /// Cuts at the next `times` COMMITs.
    pub fn cut(&self, times: usize) {
        self.plan.keeps.store(false, Ordering::SeqCst);
        self.plan.cuts.store(times, Ordering::SeqCst);
    }

    /// Keeps the answer to the next COMMIT for ever, and everything that comes after it.
    pub fn wedge_one(&self) {
        self.plan.keeps.store(true, Ordering::SeqCst);
        self.plan.cuts.store(1, Ordering::SeqCst);
    }

    /// Returns how many connections were cut or wedged.
    pub fn count(&self) -> usize {
        self.plan.swallowed.load(Ordering::SeqCst)
    }

    /// Returns how many clients have hung up.
    pub fn left(&self) -> usize {
        self.plan.left.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: TcpStream, plan: &Arc<Plan>) {
    let swallow = Arc::new(AtomicBool::new(false));
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    let (plan, plans, armed) = (Arc::clone(plan), Arc::clone(plan), Arc::clone(&swallow));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_client.read(&mut buffer) {
            if buffer[..count].ends_with(COMMIT) && !armed.load(Ordering::SeqCst) {
                let one_less = |left: usize| left.checked_sub(1);
                let is_due = plans.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                armed.store(is_due, Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        plans.left.fetch_add(1, Ordering::SeqCst);
        // The other side may have closed it.
        let _ = to_server.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count @ 1..) = from_server.read(&mut buffer) {
            if swallow.load(Ordering::SeqCst) {
                plan.swallowed.fetch_add(1, Ordering::SeqCst);
                if plan.keeps.load(Ordering::SeqCst) {
                    // Until the client hangs up: then the other thread closes this side.
                    while let Ok(1..) = from_server.read(&mut buffer) {}
                }
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

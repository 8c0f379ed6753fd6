//! One thread of a live capture: takes blocks of a ring, sends their packets.
//!
//! A block's packets are copied into rows and the block goes back to the kernel before they are sent, so that the ring
//! fills only by what comes in while the pipeline is full. The thread sleeps in `poll` while there is nothing, and in
//! `send` while there is no room; it never turns in circles.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::block::{self, Packet};
use super::frame::Framing;
use super::socket::{Ring, take_error};
use crate::capture::Capture;
use crate::pipeline::{Producer, SendError};
use crate::source::{Meter, link};

/// How long it sleeps before it looks whether it is over; longer than the kernel keeps a block that is not full, so that
/// the last look finds all that came in before.
const TURN: Duration = Duration::from_millis(100);
/// Most blocks that are read before it looks again whether it is over.
const MANY: usize = 16;

/// What makes rows of packets.
pub(super) struct Reader<'a> {
    pub(super) sensor: &'a str,
    pub(super) framing: Framing,
    /// Most bytes of a packet.
    pub(super) most: usize,
    pub(super) meter: &'a Meter,
}

impl Reader<'_> {
    /// Reads until `is_over`, and then what is in the ring.
    ///
    /// # Errors
    /// When the pipeline takes no more rows.
    pub(super) fn read(
        &self,
        fd: &OwnedFd,
        ring: &mut Ring,
        producer: &Producer<Capture>,
        is_over: &AtomicBool,
    ) -> Result<(), SendError<()>> {
        loop {
            let is_last = is_over.load(Ordering::Acquire);
            wait(fd);
            for _ in 0..MANY {
                let mut rows = Vec::new();
                if !ring.read(|block| rows.extend(block::packets(block).filter_map(|packet| self.row(&packet)))) {
                    break;
                }
                let (count, latest) = (rows.len() as u64, rows.iter().map(Capture::ts).max());
                // Nobody waits for single answers: the kernel has no second copy of a packet that could not be stored.
                producer.send_many_blocking(rows).map(drop).map_err(|error| match error {
                    SendError::TooLarge(_) => SendError::TooLarge(()),
                    SendError::Closed(_) => SendError::Closed(()),
                })?;
                self.meter.rows(count);
                if let Some(latest) = latest {
                    self.meter.seen(latest);
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn row(&self, packet: &Packet<'_>) -> Option<Capture> {
        let (frame, length) = self.framing.frame(packet, self.most);
        let link_type = self.framing.link_type();
        let ends = link::decode(link_type, &frame);
        let mut row = Capture::builder(self.sensor, "packet")
            .ts(packet.ts)
            .src(ends.src_ip, ends.src_port)
            .dst(ends.dst_ip, ends.dst_port)
            .link_type(link_type)
            .length(length)
            .data(frame);
        if let Some(proto) = &ends.proto {
            row = row.proto(proto);
        }
        // It fails for a sensor's name of 4 GiB and for nothing that a packet can bring about.
        row.build().ok()
    }
}

/// Sleeps until the kernel hands over a block, or for a turn.
fn wait(fd: &OwnedFd) {
    let turn = Timespec { tv_sec: 0, tv_nsec: i64::from(TURN.subsec_nanos()) };
    let mut ready = [PollFd::new(fd, PollFlags::IN)];
    // A signal, or whatever else ends it early, costs one look at the ring.
    let _ = poll(&mut ready, Some(&turn));
    if ready[0].revents().contains(PollFlags::ERR) {
        // That the interface went down: taken, or `poll` would never sleep again. `Live` sees it by itself.
        let _ = take_error(fd);
    }
}

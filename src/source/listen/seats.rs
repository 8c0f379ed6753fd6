//! One seat for each peer's name: who comes later takes it over, and the former one leaves.
//!
//! A peer whose connection broke comes back long before we notice; it must not wait for us to. The former connection is
//! told by its seat, which it watches before it does anything else, and since all connections run on one thread it can
//! send nothing more from the moment at which the next one has the seat.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::oneshot;

/// The seats that are taken.
#[derive(Default)]
pub(super) struct Seats(RefCell<Taken>);

#[derive(Default)]
struct Taken {
    by_peer: HashMap<String, (u64, oneshot::Sender<()>)>,
    last: u64,
}

pub(super) struct Seat {
    seats: Rc<Seats>,
    peer: String,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Seats {
    /// Takes the seat, from whoever has it.
    pub(super) fn take(self: &Rc<Self>, peer: &str) -> Seat {
        let mut taken = self.0.borrow_mut();
        taken.last += 1;
        let number = taken.last;
        let (keep, lost) = oneshot::channel();
        // What was there is dropped, and its receiver sees that.
        taken.by_peer.insert(peer.to_owned(), (number, keep));
        Seat { seats: Rc::clone(self), peer: peer.to_owned(), number, lost }
    }
}

impl Seat {
    /// Resolves when somebody else has taken it.
    pub(super) async fn lost(&mut self) {
        // Nothing is ever sent.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.borrow_mut();
        if taken.by_peer.get(&self.peer).is_some_and(|(number, _)| *number == self.number) {
            taken.by_peer.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_has_the_seat_and_the_last_one_leaves_nothing_behind() {
        let seats = Rc::new(Seats::default());
        let mut first = seats.take("a");
        let other = seats.take("b");
        let mut second = seats.take("a");
        pollster::block_on(first.lost());
        drop(first);
        assert!(second.lost.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(second);
        drop(other);
        assert!(seats.0.borrow().by_peer.is_empty());
    }
}

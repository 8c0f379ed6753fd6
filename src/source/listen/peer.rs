//! A peer that is answered: its records have numbers, and it hears up to which one they are committed.
//!
//! Two loops in one task: one reads and sends, the other waits for receipts in their order and answers. A record's number
//! is its position in the ledger, so that one that is sent again lands once. Rows of a peer go out in runs of one kind
//! whose numbers follow each other, so that each position in the ledger stands for a row that is there: a run without
//! gaps could otherwise claim, for events, the number of a capture that was lost.
//!
//! The connection's end loses only answers. What is not a whole record by then is not taken: the peer sends it again.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::{future::Future, pin::Pin};

use tokio::sync::{mpsc, oneshot};

use super::connection::{Activity, Incoming, Outgoing};
use super::ledger::{Handles, Question};
use super::message::Hello;
use super::record::{Gathered, Record};
use super::serve::{Closed, Shared};
use crate::error::Error;
use crate::pipeline::ReplayRows;
use crate::ranges::Ranges;
use crate::receipt::{Receipt, ReceiptError, Verdict};

/// Runs that may be on their way at once; their rows are under the pipeline's bound.
const ON_THE_WAY: usize = 256;

/// What is settled when this receipt and all before it are.
struct Settling {
    through: u64,
    receipt: Option<Receipt>,
}

/// What the peer is told next.
#[derive(Default)]
struct Answer {
    through: u64,
    rejected: usize,
}

/// Attends to a peer that has said hello.
pub(super) async fn attend(incoming: &mut Incoming<'_>, outgoing: &mut Outgoing, hello: Hello) {
    let shared = Rc::clone(incoming.shared);
    if !incoming.may_be(&hello.peer) {
        shared.warn("a peer is refused", &format_args!("its certificate is not that of {}", hello.peer));
        // It may have gone.
        let _ = outgoing.answer(r#"{"error":"the certificate is not that of a peer with this name"}"#).await;
        return;
    }
    incoming.has_spoken();
    let mut seat = shared.seats.take(&hello.peer);
    tokio::select! {
        // First of all: who has lost the seat must not send one row more.
        biased;
        () = seat.lost() => {}
        told = talk(incoming, outgoing, hello, &shared) => return told,
    }
    // It may have gone; that is the usual reason why there is another.
    let _ = outgoing.answer(r#"{"error":"another connection of this peer has taken over"}"#).await;
}

async fn talk(incoming: &mut Incoming<'_>, outgoing: &mut Outgoing, hello: Hello, shared: &Shared) {
    let handles = match ask(shared, &hello.peer).await {
        Ok(handles) => handles,
        Err(error) => {
            shared.warn("a peer cannot be told what is committed", &error);
            // It may have gone.
            let _ = outgoing.answer(r#"{"error":"the database cannot tell what is committed"}"#).await;
            return;
        }
    };
    let both = handles.events.committed().iter().chain(handles.captures.committed().iter());
    let committed: Ranges = both.map(|range| (*range.start(), *range.end())).collect();
    let next = hello.first.unwrap_or_else(|| committed.last().map_or(1, |last| last + 1));
    let welcome = format!(r#"{{"ack":{},"next":{next}}}"#, committed.first_missing(next) - 1);
    if outgoing.answer(&welcome).await.is_err() {
        return;
    }
    incoming.reader.call_host(hello.peer);
    let activity = Activity::new();
    let (tell, told) = mpsc::channel(ON_THE_WAY);
    let run = Run { handles, committed, next, first: next, gathered: Gathered::new(), told: next - 1, tell, shared };
    let answering = answer(told, outgoing, &activity);
    tokio::pin!(answering);
    tokio::select! {
        () = &mut answering => return,
        // A closed pipeline ends the whole source; its receipts are answered all the same.
        _ = read(incoming, run, &activity) => {}
    }
    answering.await;
}

async fn ask(shared: &Shared, peer: &str) -> Result<Handles, Error> {
    let (answer, answered) = oneshot::channel();
    let ended = || Error::new(crate::error::ErrorKind::Unavailable, "the source ends");
    let question = Question { name: format!("peer/{}/{peer}", shared.name), answer };
    let asking = async {
        shared.ask.send(question).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    };
    tokio::select! {
        handles = asking => handles,
        () = shared.stop.stopped() => Err(ended()),
    }
}

/// Sends what comes, with its numbers.
async fn read(incoming: &mut Incoming<'_>, mut run: Run<'_>, activity: &Activity) -> Result<(), Closed> {
    loop {
        while let Some(frame) = incoming.frames.next() {
            let record = incoming.reader.read(frame);
            activity.touch();
            if matches!(record, Record::Empty) {
                continue;
            }
            activity.is_due.set(true);
            run.push(record).await?;
        }
        run.send().await?;
        run.tell_rest().await?;
        tokio::task::yield_now().await;
        if incoming.turn(activity).await.is_none() {
            return Ok(());
        }
    }
}

/// Records of one kind with numbers that follow each other.
struct Run<'a> {
    handles: Handles,
    /// Numbers that need not be sent.
    committed: Ranges,
    /// Number of the next record.
    next: u64,
    /// Number of the first record of the run.
    first: u64,
    gathered: Gathered,
    /// Up to which number the answering loop has heard.
    told: u64,
    tell: mpsc::Sender<Settling>,
    shared: &'a Shared,
}

impl Run<'_> {
    async fn push(&mut self, record: Record) -> Result<(), Closed> {
        let number = self.next;
        self.next += 1;
        let is_new = !self.committed.contains(number);
        let continues = match &record {
            Record::Event(_) => self.gathered.captures.is_empty(),
            Record::Capture(_) => self.gathered.events.is_empty(),
            _ => true,
        };
        let continues = continues && number == self.first + self.gathered.len() as u64;
        if !continues || self.gathered.is_full() {
            self.send().await?;
        }
        if self.gathered.len() == 0 {
            self.first = number;
        }
        match record {
            Record::Event(_) | Record::Capture(_) if !is_new => self.shared.meter.skipped(1),
            record => self.gathered.add(record),
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Closed> {
        let rows = self.gathered.take();
        let count = rows.len() as u64;
        if count == 0 {
            return Ok(());
        }
        // A run has rows of one kind.
        let receipt = if rows.captures.is_empty() {
            self.handles.events.send(ReplayRows::numbered(self.first, rows.events)).await.ok()
        } else {
            self.handles.captures.send(ReplayRows::numbered(self.first, rows.captures)).await.ok()
        };
        let Some(receipt) = receipt else { return Err(self.shared.pipeline_closed()) };
        self.shared.meter.rows(count);
        self.tell(self.first + count - 1, Some(receipt)).await
    }

    /// Has numbers answered for which nothing was sent: known already, or headers.
    async fn tell_rest(&mut self) -> Result<(), Closed> {
        let through = self.next - 1;
        if through > self.told { self.tell(through, None).await } else { Ok(()) }
    }

    async fn tell(&mut self, through: u64, receipt: Option<Receipt>) -> Result<(), Closed> {
        self.told = through;
        // The answering loop has ended: this one is dropped in the same moment.
        self.tell.send(Settling { through, receipt }).await.map_err(|_| Closed)
    }
}

/// Answers until nothing more comes, or the peer cannot be told.
async fn answer(mut told: mpsc::Receiver<Settling>, outgoing: &mut Outgoing, activity: &Activity) {
    let mut next = None;
    loop {
        let Some(mut settling) = (match next.take() {
            Some(settling) => Some(settling),
            None => told.recv().await,
        }) else {
            return;
        };
        let mut answer = Answer::default();
        let verdict = match settling.receipt.as_mut() {
            Some(receipt) => receipt.await,
            None => Ok(()),
        };
        let mut standing = answer.add(settling.through, verdict);
        // Those that have settled by now too need no answers of their own.
        while standing.is_ok() && next.is_none() {
            let Ok(mut settling) = told.try_recv() else { break };
            match settled(&mut settling) {
                Some(verdict) => standing = answer.add(settling.through, verdict),
                None => next = Some(settling),
            }
        }
        activity.is_due.set(next.is_some() || !told.is_empty());
        activity.touch();
        if answer.through > 0 && outgoing.answer(&answer.json()).await.is_err() {
            return;
        }
        if standing.is_err() {
            // It may have gone.
            let _ = outgoing.answer(r#"{"error":"rows after this are not known to be stored"}"#).await;
            return;
        }
    }
}

impl Answer {
    fn add(&mut self, through: u64, verdict: Verdict) -> Result<(), ()> {
        match verdict {
            Ok(()) => {}
            Err(ReceiptError::Rejected { rows, .. }) => self.rejected += rows,
            Err(_) => return Err(()),
        }
        self.through = through;
        Ok(())
    }

    fn json(&self) -> String {
        match self.rejected {
            0 => format!(r#"{{"ack":{}}}"#, self.through),
            rejected => format!(r#"{{"ack":{},"rejected":{rejected}}}"#, self.through),
        }
    }
}

/// Returns the verdict if it is there.
fn settled(settling: &mut Settling) -> Option<Verdict> {
    let Some(receipt) = settling.receipt.as_mut() else { return Some(Ok(())) };
    match Pin::new(receipt).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(verdict) => Some(verdict),
        Poll::Pending => None,
    }
}

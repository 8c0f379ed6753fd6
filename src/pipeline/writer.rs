//! One per lane: takes parts from the lane's channels, lets the batcher form batches, and has them written.
//!
//! Two kinds of threads. The *writer* receives and batches; `max_in_flight` *slots* (`slot`) call the backend. So
//! while one batch is being written the next one grows (group commit), and SQLite's "serialized" and MySQL's "fanned
//! out" are the same code with one slot or several. One complete batch may wait ready for the next free slot.
//!
//! The writer sleeps on its channels only while it has nothing: after the first row it looks again every millisecond,
//! until the batch is due, instead of being woken for each row. All decisions are in `batcher` and `retry`.
//!
//! Ends: by shutdown (everything is written, or the deadline passes and the rest fails), by a fatal error or a panic
//! of the backend (everything fails; producers get `Closed`). In each case every receipt resolves.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, after, bounded, never, select, unbounded};
use tokio::sync::oneshot;

use super::batcher::Batcher;
use super::lane::Lane;
use super::queue::{Intake, LaneQueues};
use super::slot::{Done, Job, LATE, Shared};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::chunk::{Part, RowKind};
use crate::config::{BatchConfig, RetryConfig};
use crate::receipt::{ReceiptError, Verdict};

/// How often the writer looks at its channels while a batch grows, and at the budget while it ends.
const GLANCE: Duration = Duration::from_millis(1);
/// How often the writer shows itself and its figures while it waits for something else.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// How long, after shutdown's deadline, a write that is still in the backend's hands may take to return.
const GRACE: Duration = Duration::from_millis(200);

/// What the pipeline tells a writer.
pub(crate) enum Control {
    /// Answer when everything that was accepted before is settled.
    Flush(oneshot::Sender<Verdict>),
    /// Write everything, but give up at the deadline; then end.
    Shutdown { deadline: Instant },
}

/// The pipeline's end of a writer.
pub(crate) struct WriterHandle {
    pub(crate) control: Sender<Control>,
    /// Resolves (as an error: nothing is sent) when the writer has ended and let go of its backend.
    pub(crate) ended: oneshot::Receiver<()>,
}

/// Starts the threads of a lane.
///
/// # Errors
/// When the operating system gives no thread.
pub(crate) fn spawn(
    lane: Arc<Lane>,
    intake: Arc<Intake>,
    backend: Arc<dyn Backend>,
    queues: LaneQueues,
    (limits, retry): (BatchConfig, RetryConfig),
    ephemeral: String,
) -> std::io::Result<WriterHandle> {
    let (going, halted) = bounded(0);
    let clock = Arc::clone(&intake.clock);
    let shared = Arc::new(Shared { lane, intake, clock, retry, going: Mutex::new(Some(going)), halted });
    let slots = backend.max_in_flight().get();
    let (jobs, job_queue) = bounded::<Job>(1);
    let (done_sender, done) = unbounded::<Done>();
    let mut threads = Vec::with_capacity(slots);
    for slot in 0..slots {
        let (shared, backend) = (Arc::clone(&shared), Arc::clone(&backend));
        let (job_queue, done_sender, done) = (job_queue.clone(), done_sender.clone(), done.clone());
        let name = format!("forebay-{}-{slot}", shared.lane.name);
        let work = move || shared.serve(slot, &*backend, &job_queue, &done_sender, &done);
        threads.push(thread::Builder::new().name(name).spawn(work)?);
    }
    let (control, control_queue) = unbounded();
    let (ended_sender, ended) = oneshot::channel();
    let name = format!("forebay-{}", shared.lane.name);
    thread::Builder::new().name(name).spawn(move || {
        let writer = Writer {
            batcher: Batcher::new(limits),
            queues: queues.clone(),
            control: control_queue,
            jobs,
            ready: job_queue,
            done,
            slots,
            sent: 0,
            outstanding: BTreeMap::new(),
            committed: Vec::new(),
            flushes: Vec::new(),
            deadline: None,
            idle_since: None,
            shared: Arc::clone(&shared),
        };
        let ending = catch_unwind(AssertUnwindSafe(|| writer.run())).unwrap_or_else(|_| {
            shared.fail(&"the writer panicked".into(), "batch");
            Ending::Panicked
        });
        end(&shared, backend, &queues, threads, ending, &ephemeral);
        drop(ended_sender);
    })?;
    Ok(WriterHandle { control, ended })
}

/// How a writer's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// No slot has a batch any more.
    Settled,
    /// A slot is still in the backend's hands; its rows stay in flight.
    LeftBehind,
    Panicked,
}

/// Lets go of everything, so that nobody waits for this lane and the database can be opened again.
fn end(
    shared: &Shared,
    backend: Arc<dyn Backend>,
    queues: &LaneQueues,
    threads: Vec<thread::JoinHandle<()>>,
    ending: Ending,
    ephemeral: &str,
) {
    // What lies in the channels now (of a writer that panicked, or of a send that was very late) has no other taker.
    let reason: Arc<str> = shared.lane.failure().unwrap_or_else(|| "the writer has ended".into());
    for part in queues.iter().flat_map(Receiver::try_iter) {
        let rows = part.len();
        shared.lane.lost(part.kind(), rows);
        part.chunk.settlement.settle(rows, Some(ReceiptError::Failed { rows, reason: Arc::clone(&reason) }));
    }
    match ending {
        Ending::LeftBehind => {}
        Ending::Panicked => shared.lane.rest_failed(),
        Ending::Settled => {
            for slot in threads {
                // A panic of a slot has been caught and has failed the lane already.
                let _ = slot.join();
            }
            let closing = catch_unwind(AssertUnwindSafe(|| backend.close(ephemeral)));
            if let Ok(Err(error)) = closing {
                shared.lane.metrics.error("transient", "close");
                tracing::warn!(lane = shared.lane.name, %error, "could not tidy up the ledger; nothing is lost");
            }
        }
    }
    shared.lane.closed();
}

struct Flush {
    /// Messages in each channel that came before the flush and are not received yet.
    ahead: [usize; 2],
    /// The batch with which everything before the flush is written, once it is known.
    with: Option<u64>,
    reply: oneshot::Sender<Verdict>,
}

struct Writer {
    shared: Arc<Shared>,
    batcher: Batcher,
    queues: LaneQueues,
    control: Receiver<Control>,
    jobs: Sender<Job>,
    /// The other end of `jobs`, from which slots take.
    ready: Receiver<Job>,
    done: Receiver<Done>,
    slots: usize,
    /// Batches handed to slots so far; also the number of the last one.
    sent: u64,
    /// Numbers of the batches that slots have not given back, and when the oldest row of each was accepted.
    outstanding: BTreeMap<u64, Instant>,
    /// Batches given back, to be settled once the free slots have something to do.
    committed: Vec<Batch>,
    flushes: Vec<Flush>,
    deadline: Option<Instant>,
    /// Since when, while ending, there has been nothing left to do.
    idle_since: Option<Instant>,
}

impl Writer {
    /// Runs until shutdown or failure.
    fn run(mut self) -> Ending {
        loop {
            self.receive_ready();
            self.hand_over();
            self.committed.drain(..).for_each(|batch| batch.settle(None));
            self.answer_flushes();
            self.show();
            if let Some(ending) = self.is_over() {
                return ending;
            }
            self.wait();
        }
    }

    /// Tells how it is: after everything that it does, and once a second while there is nothing to do.
    fn show(&self) {
        self.shared.intake.show_buffer();
        let oldest = self.outstanding.values().copied().chain(self.batcher.oldest()).min();
        self.shared.lane.writer_seen(oldest, self.shared.clock.now());
    }

    /// Moves what is in the channels into the batcher, both kinds in turn, so that neither starves the other.
    fn receive_ready(&mut self) {
        loop {
            let mut received = false;
            for kind in RowKind::ALL {
                if self.batcher.is_full() {
                    return;
                }
                if let Ok(part) = self.queues[kind.index()].try_recv() {
                    self.receive(part);
                    received = true;
                }
            }
            if !received {
                return;
            }
        }
    }

    fn receive(&mut self, part: Part) {
        for flush in &mut self.flushes {
            let ahead = &mut flush.ahead[part.kind().index()];
            *ahead = ahead.saturating_sub(1);
        }
        self.batcher.push(part);
    }

    /// Gives batches that are due to free slots, and one full batch in advance.
    fn hand_over(&mut self) {
        let failure = self.shared.lane.failure().or_else(|| self.gave_up());
        if let Some(reason) = &failure {
            self.take_back(reason);
        }
        loop {
            self.place_flushes();
            let free = self.outstanding.len() < self.slots;
            let ready =
                failure.is_some() || (free && self.is_due()) || (self.batcher.is_full() && self.has_room_in_advance());
            let Some(batch) = ready.then(|| self.batcher.take()).flatten() else { return };
            self.sent += 1;
            self.shared.lane.dispatched(&batch);
            match &failure {
                Some(reason) => self.shared.fail_batch(batch, reason),
                None => {
                    self.outstanding.insert(self.sent, batch.oldest());
                    // The slots hold the receiving end until this writer drops `jobs`.
                    if let Err(refused) = self.jobs.send((self.sent, batch)) {
                        self.shared.fail_batch(refused.into_inner().1, &"no slot is left".into());
                    }
                }
            }
            self.receive_ready();
        }
    }

    /// Fails the batch that stands ready, so that no slot writes it after all.
    fn take_back(&mut self, reason: &Arc<str>) {
        for (id, batch) in self.ready.try_iter() {
            self.outstanding.remove(&id);
            self.shared.fail_batch(batch, reason);
        }
    }

    fn has_room_in_advance(&self) -> bool {
        self.outstanding.len() <= self.slots && self.jobs.is_empty()
    }

    fn is_due(&self) -> bool {
        self.batcher.is_full()
            || self.deadline.is_some()
            || self.flushes.iter().any(|flush| flush.with.is_some_and(|with| with > self.sent))
            || self.batcher.due_at().is_some_and(|due| due <= self.shared.clock.now())
    }

    /// Finds, for flushes before which nothing is left in the channels, the batch that they wait for.
    fn place_flushes(&mut self) {
        let last = self.sent + self.batcher.batches();
        for flush in &mut self.flushes {
            if flush.with.is_none() && flush.ahead == [0, 0] {
                flush.with = Some(last);
            }
        }
    }

    fn answer_flushes(&mut self) {
        let settled_up_to = self.outstanding.first_key_value().map_or(self.sent, |(oldest, _)| oldest - 1);
        let failure = self.shared.lane.failure();
        for flush in self.flushes.extract_if(.., |flush| flush.with.is_some_and(|with| with <= settled_up_to)) {
            let verdict = match &failure {
                None => Ok(()),
                Some(reason) => Err(ReceiptError::Failed { rows: 0, reason: Arc::clone(reason) }),
            };
            // Whoever asked may have stopped waiting.
            let _ = flush.reply.send(verdict);
        }
    }

    /// After the deadline: the reason with which everything that is not in a slot fails.
    fn gave_up(&self) -> Option<Arc<str>> {
        let deadline = self.deadline?;
        (self.shared.clock.now() >= deadline).then(|| {
            self.shared.halt();
            LATE.into()
        })
    }

    fn is_ending(&self) -> bool {
        self.deadline.is_some() || self.shared.lane.failure().is_some()
    }

    /// Returns whether to end, and how.
    fn is_over(&mut self) -> Option<Ending> {
        if !self.is_ending() {
            return None;
        }
        let now = self.shared.clock.now();
        let budget = &self.shared.intake.budget;
        let idle =
            self.batcher.batches() == 0 && self.queues.iter().all(Receiver::is_empty) && self.outstanding.is_empty();
        if !idle || !budget.is_closed() {
            self.idle_since = None;
        } else if budget.is_whole() {
            // Every permit is back: no send is on its way either.
            return Some(Ending::Settled);
        } else if now >= *self.idle_since.get_or_insert(now) + GRACE {
            // Another lane has rows yet, or a waiting send that its host polls no more keeps what room it was given. A
            // send that had its permit before the budget closed has long reached the channel.
            return Some(Ending::Settled);
        }
        let late = self.deadline.is_some_and(|deadline| now >= deadline + GRACE);
        late.then_some(if self.outstanding.is_empty() { Ending::Settled } else { Ending::LeftBehind })
    }

    fn wait(&mut self) {
        let ending = self.is_ending();
        let idle = self.batcher.batches() == 0;
        let off = never();
        let [events, captures] = [0, 1].map(|kind| if idle && !ending { &self.queues[kind] } else { &off });
        let glance = if ending || (!idle && self.batcher.is_open()) { after(GLANCE) } else { never() };
        let due = match self.batcher.due_at() {
            Some(due) if self.outstanding.len() < self.slots => self.shared.clock.at(due),
            _ => never(),
        };
        let mut received = None;
        select! {
            recv(events) -> part => received = part.ok(),
            recv(captures) -> part => received = part.ok(),
            recv(self.done) -> done => done.into_iter().for_each(|done| self.give_back(done)),
            recv(self.control) -> control => self.obey(control.ok()),
            recv(due) -> _ => {}
            recv(glance) -> _ => {}
            default(SIGN_OF_LIFE) => {}
        }
        if let Some(part) = received {
            self.receive(part);
        }
        while let Ok(done) = self.done.try_recv() {
            self.give_back(done);
        }
    }

    fn give_back(&mut self, (id, committed): Done) {
        self.outstanding.remove(&id);
        self.committed.extend(committed);
    }

    fn obey(&mut self, control: Option<Control>) {
        match control {
            Some(Control::Flush(reply)) => {
                let ahead = [0, 1].map(|kind| self.queues[kind].len());
                self.flushes.push(Flush { ahead, with: None, reply });
            }
            Some(Control::Shutdown { deadline }) => self.deadline = Some(deadline),
            // The pipeline has let go of this writer, after `Shutdown`: there is nothing more to hear.
            None => self.control = never(),
        }
    }
}

//! Random programs against a pipeline, under paused time, with backends that fail in every way.
//!
//! The model knows only what a host knows: which rows were sent, what their receipts said, and what is stored in the
//! end. After every step promise 1 must hold, memory must be within its bound, and nothing may be stored twice; at the
//! end every row has found its fate and its receipt has told it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay::config::{Bytes, Policy};
use forebay::pipeline::{Counts, Summary};
use forebay::{
    Capture, Config, Event, Pipeline, Producer, Receipt, ReceiptError, RowKind, SendError, TrySendError, Verdict,
};
use proptest::prelude::*;

use crate::harness::{BAD, Fault, Flaky, Naming, PausedClock, Recorder, adds_up, capture, event, eventually, pause};

#[derive(Clone, Debug)]
enum Step {
    /// Sends rows (bad ones where true) as one chunk through one of the producers, in one of four ways.
    Send {
        producer: usize,
        rows: Vec<bool>,
        way: Way,
        keep_receipt: bool,
    },
    Flush,
    Advance(u64),
    /// Polls the sends that wait for room.
    Poll,
    /// Drops the sends that wait for room.
    Cancel,
    DropReceipts,
    Fault {
        lane: usize,
        fault: Fault,
    },
    Outage {
        lane: usize,
        on: bool,
    },
    Stall {
        lane: usize,
        on: bool,
    },
    /// Gives the pipeline's threads time.
    Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Everything goes on, and shutdown waits for it.
    Drained,
    /// Shutdown's deadline passes in whatever state things are.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Wait,
    Try,
}

#[derive(Clone, Debug)]
struct Setup {
    max_rows: usize,
    max_bytes: u64,
    buffer_bytes: u64,
    policy: Policy,
    lanes: usize,
    slots: usize,
    naming: Naming,
    with_fatal: bool,
}

fn setups() -> impl Strategy<Value = Setup> {
    let naming = prop_oneof![Just(Naming::Exact), Just(Naming::Statement(3)), Just(Naming::Unnamed)];
    let policy = prop_oneof![3 => Just(Policy::Block), 1 => Just(Policy::DropNewest)];
    (1usize..9, 1024u64..2000, 0u64..4000, policy, 1usize..3, 1usize..4, naming, prop::bool::weighted(0.3)).prop_map(
        |(max_rows, max_bytes, more, policy, lanes, slots, naming, with_fatal)| Setup {
            max_rows,
            max_bytes,
            buffer_bytes: max_bytes + more,
            policy,
            lanes,
            slots,
            naming,
            with_fatal,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let way = prop_oneof![Just(Way::Wait), Just(Way::Try)];
    let fault = prop_oneof![
        6 => Just(Fault::Transient),
        6 => Just(Fault::CommitThenTransient),
        6 => Just(Fault::Nothing),
        1 => Just(Fault::Fatal),
        1 => Just(Fault::Panic)
    ];
    let send = (0usize..4, prop::collection::vec(prop::bool::weighted(0.1), 1..14), way, any::<bool>());
    let step = prop_oneof![
        10 => send.prop_map(|(producer, rows, way, keep_receipt)| Step::Send { producer, rows, way, keep_receipt }),
        1 => Just(Step::Flush),
        3 => (1u64..200).prop_map(Step::Advance),
        2 => Just(Step::Poll),
        1 => Just(Step::Cancel),
        1 => Just(Step::DropReceipts),
        3 => (0usize..2, fault).prop_map(|(lane, fault)| Step::Fault { lane, fault }),
        1 => (0usize..2, any::<bool>()).prop_map(|(lane, on)| Step::Outage { lane, on }),
        2 => (0usize..2, any::<bool>()).prop_map(|(lane, on)| Step::Stall { lane, on }),
        2 => Just(Step::Pause),
    ];
    prop::collection::vec(step, 1..60)
}

/// A producer of either kind; the model has two of each.
enum AnyProducer {
    Events(Arc<Producer<Event>>),
    Captures(Arc<Producer<Capture>>),
}

impl AnyProducer {
    fn kind(&self) -> RowKind {
        match self {
            Self::Events(_) => RowKind::Event,
            Self::Captures(_) => RowKind::Capture,
        }
    }

    /// How many of the rows came back, or the receipt.
    fn try_send(&self, texts: &[String]) -> Result<Receipt, (usize, bool)> {
        fn back<T>(error: TrySendError<Vec<T>>) -> (usize, bool) {
            let too_large = matches!(error, TrySendError::TooLarge(_));
            (error.into_rows().len(), too_large)
        }
        match self {
            Self::Events(p) => p.try_send_many(texts.iter().map(|text| event(text)).collect()).map_err(back),
            Self::Captures(p) => p.try_send_many(texts.iter().map(|text| capture(text)).collect()).map_err(back),
        }
    }

    fn send(&self, texts: &[String]) -> Sending {
        fn back<T>(error: SendError<Vec<T>>) -> usize {
            error.into_rows().len()
        }
        match self {
            Self::Events(p) => {
                let (p, rows) = (Arc::clone(p), texts.iter().map(|text| event(text)).collect());
                Box::pin(async move { p.send_many(rows).await.map_err(back) })
            }
            Self::Captures(p) => {
                let (p, rows) = (Arc::clone(p), texts.iter().map(|text| capture(text)).collect());
                Box::pin(async move { p.send_many(rows).await.map_err(back) })
            }
        }
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<Receipt, usize>>>>;

struct Waiting {
    texts: Vec<String>,
    sending: Sending,
    keep_receipt: bool,
}

struct Model {
    setup: Setup,
    clock: PausedClock,
    backends: Vec<Arc<Flaky<Recorder>>>,
    pipeline: Pipeline,
    producers: Vec<AnyProducer>,
    /// Sends that wait for room, per producer; later sends of the same producer wait behind them.
    waiting: Vec<Vec<Waiting>>,
    /// Rows of each kind that were taken for certain, and at most.
    taken: [u64; 2],
    perhaps: [u64; 2],
    /// What was sent: text to kind.
    sent: BTreeMap<String, RowKind>,
    receipts: Vec<(Vec<String>, Receipt)>,
    answered: Vec<(Vec<String>, Verdict)>,
    flushes: Vec<Receipt>,
    next: usize,
}

impl Model {
    fn new(setup: Setup) -> Self {
        let mut config = Config::default();
        config.batch.max_rows = setup.max_rows;
        config.batch.max_bytes = Bytes(setup.max_bytes);
        config.batch.max_wait = Duration::from_millis(50);
        config.buffer.max_bytes = Bytes(setup.buffer_bytes);
        config.buffer.events.max_rows = setup.max_rows * 2;
        config.buffer.captures.max_rows = setup.max_rows + 1;
        config.buffer.captures.policy = setup.policy;
        let clock = PausedClock::new();
        let backends: Vec<_> = (0..setup.lanes).map(|_| Flaky::new(Recorder::new(setup.slots))).collect();
        let mut builder = Pipeline::builder().config(config).clock(clock.clone());
        for backend in &backends {
            backend.name_refused_rows(setup.naming);
            builder = builder.shared_backend(backend.clone());
        }
        let pipeline = builder.open().unwrap();
        let (events, captures) = (pipeline.events(), pipeline.captures());
        let producers = vec![
            AnyProducer::Events(Arc::new(events.clone())),
            AnyProducer::Captures(Arc::new(captures.clone())),
            AnyProducer::Events(Arc::new(events)),
            AnyProducer::Captures(Arc::new(captures)),
        ];
        Self {
            setup,
            clock,
            backends,
            pipeline,
            producers,
            waiting: (0..4).map(|_| Vec::new()).collect(),
            taken: [0; 2],
            perhaps: [0; 2],
            sent: BTreeMap::new(),
            receipts: Vec::new(),
            answered: Vec::new(),
            flushes: Vec::new(),
            next: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send { producer, rows, way, keep_receipt } => self.send(producer, &rows, way, keep_receipt),
            Step::Flush => self.flushes.push(self.pipeline.flush()),
            Step::Advance(ms) => self.clock.advance(Duration::from_millis(ms)),
            Step::Poll => self.poll(),
            Step::Cancel => {
                for waiting in self.waiting.iter_mut().flat_map(std::mem::take) {
                    // Chunks that were taken before the send began to wait stay taken.
                    let kind = self.sent[&waiting.texts[0]];
                    self.perhaps[kind.index()] += waiting.texts.len() as u64;
                }
            }
            Step::DropReceipts => self.receipts.clear(),
            Step::Fault { fault: Fault::Fatal | Fault::Panic, .. } if !self.setup.with_fatal => {}
            Step::Fault { lane, fault } => self.backend(lane).script([fault]),
            Step::Outage { lane, on: true } => self.backend(lane).fail(),
            Step::Outage { lane, on: false } => self.backend(lane).recover(),
            Step::Stall { lane, on: true } => self.backend(lane).stall(),
            Step::Stall { lane, on: false } => self.backend(lane).release(),
            Step::Pause => (0..3).for_each(|_| pause()),
        }
    }

    fn backend(&self, lane: usize) -> &Flaky<Recorder> {
        &self.backends[lane % self.backends.len()]
    }

    fn send(&mut self, producer: usize, rows: &[bool], way: Way, keep_receipt: bool) {
        let texts: Vec<String> = rows
            .iter()
            .map(|bad| {
                self.next += 1;
                format!("{}{producer}:{:04}", if *bad { BAD } else { "" }, self.next)
            })
            .collect();
        let kind = self.producers[producer].kind();
        self.sent.extend(texts.iter().map(|text| (text.clone(), kind)));
        if way == Way::Wait {
            let sending = self.producers[producer].send(&texts);
            self.waiting[producer].push(Waiting { texts, sending, keep_receipt });
            return self.poll();
        }
        if !self.waiting[producer].is_empty() {
            return; // It would overtake those that wait.
        }
        match self.producers[producer].try_send(&texts) {
            Ok(receipt) => {
                self.taken[kind.index()] += texts.len() as u64;
                self.keep(keep_receipt, texts, receipt);
            }
            Err((_, true)) => {}
            Err((back, false)) => self.taken[kind.index()] += (texts.len() - back) as u64,
        }
    }

    fn poll(&mut self) {
        let context = &mut Context::from_waker(Waker::noop());
        for producer in 0..self.waiting.len() {
            let kind = self.producers[producer].kind().index();
            while let Some(first) = self.waiting[producer].first_mut() {
                let Poll::Ready(outcome) = first.sending.as_mut().poll(context) else { break };
                let Waiting { texts, keep_receipt, .. } = self.waiting[producer].remove(0);
                match outcome {
                    // A queue that drops may have taken some chunks and discarded others.
                    Ok(receipt) if kind == RowKind::Capture.index() && self.setup.policy == Policy::DropNewest => {
                        self.perhaps[kind] += texts.len() as u64;
                        self.keep(keep_receipt, texts, receipt);
                    }
                    Ok(receipt) => {
                        self.taken[kind] += texts.len() as u64;
                        self.keep(keep_receipt, texts, receipt);
                    }
                    Err(back) => self.taken[kind] += (texts.len() - back) as u64,
                }
            }
        }
    }

    fn keep(&mut self, keep_receipt: bool, texts: Vec<String>, receipt: Receipt) {
        if keep_receipt {
            self.receipts.push((texts, receipt));
        }
    }

    fn collect_answers(&mut self) {
        let context = &mut Context::from_waker(Waker::noop());
        for (texts, mut receipt) in std::mem::take(&mut self.receipts) {
            match Pin::new(&mut receipt).poll(context) {
                Poll::Ready(verdict) => self.answered.push((texts, verdict)),
                Poll::Pending => self.receipts.push((texts, receipt)),
            }
        }
        self.flushes.retain_mut(|flush| Pin::new(flush).poll(context).is_pending());
    }

    /// What must hold at every moment.
    fn check(&mut self) -> Result<(), TestCaseError> {
        self.collect_answers();
        let status = self.pipeline.status();
        prop_assert!(status.buffered_bytes <= status.max_bytes);
        let waiting: [u64; 2] = RowKind::ALL.map(|kind| {
            let of_kind = self.producers.iter().zip(&self.waiting).filter(|(producer, _)| producer.kind() == kind);
            of_kind.flat_map(|(_, waiting)| waiting).map(|waiting| waiting.texts.len() as u64).sum()
        });
        for lane in &status.lanes {
            for (kind, counts) in [lane.events, lane.captures].into_iter().enumerate() {
                prop_assert!(adds_up(&counts), "{counts:?}");
                let most = self.taken[kind] + self.perhaps[kind] + waiting[kind];
                prop_assert!(counts.accepted >= self.taken[kind] && counts.accepted <= most, "{counts:?} {}", most);
            }
        }
        for backend in &self.backends {
            prop_assert!(backend.most_inside() <= self.setup.slots);
        }
        Ok(())
    }

    /// Ends the pipeline and looks at what came of every row.
    fn finish(mut self, ending: Ending) -> Result<(), TestCaseError> {
        if ending == Ending::Drained {
            self.let_go();
            let clock = self.clock.clone();
            eventually("no send waits", || {
                clock.advance(Duration::from_millis(500));
                self.poll();
                self.waiting.iter().all(Vec::is_empty)
            });
            self.check()?;
        }
        let deadline = match ending {
            Ending::Drained => Duration::from_secs(3600),
            Ending::Late => Duration::from_millis(100),
        };
        let pipeline = std::mem::replace(&mut self.pipeline, Pipeline::open("memory:").unwrap());
        let mut ending_now = Box::pin(pipeline.shutdown(deadline));
        let mut summary: Option<Summary> = None;
        let clock = self.clock.clone();
        eventually("shutdown ends", || {
            clock.advance(Duration::from_millis(50));
            if let Poll::Ready(done) = ending_now.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                summary = Some(done);
            }
            summary.is_some()
        });
        let summary = summary.expect("it has ended");
        if ending == Ending::Late {
            self.let_go();
            self.poll();
            prop_assert!(self.waiting.iter().all(Vec::is_empty), "a send that waited is told");
        }
        for (texts, receipt) in std::mem::take(&mut self.receipts) {
            // A receipt that never resolved would hang the test here.
            self.answered.push((texts, receipt.wait()));
        }
        let something_failed = !summary.is_complete();
        for flush in std::mem::take(&mut self.flushes) {
            prop_assert!(flush.wait().is_ok() || something_failed);
        }
        let may_fail = self.setup.with_fatal || ending == Ending::Late;
        prop_assert!(!something_failed || may_fail, "nothing fails by itself: {summary:?}");
        let backends = std::mem::take(&mut self.backends);
        eventually("the slots have let go", || backends.iter().all(|backend| Arc::strong_count(backend) == 1));
        for (lane, backend) in summary.lanes.iter().zip(&backends) {
            self.check_lane(ending, [lane.events, lane.captures], backend)?;
        }
        self.answered.iter().try_for_each(|(texts, verdict)| check_verdict(texts, verdict, &backends))
    }

    fn let_go(&self) {
        for backend in &self.backends {
            backend.recover();
            backend.release();
        }
    }

    fn check_lane(&self, ending: Ending, counts: [Counts; 2], backend: &Flaky<Recorder>) -> Result<(), TestCaseError> {
        let kept = backend.inner.kept();
        for (kind, counts) in RowKind::ALL.into_iter().zip(counts) {
            prop_assert!(adds_up(&counts), "{counts:?}");
            prop_assert_eq!(counts.queued, 0);
            prop_assert!(counts.in_flight == 0 || ending == Ending::Late, "{counts:?}");
            let least = self.taken[kind.index()];
            let most = least + self.perhaps[kind.index()];
            prop_assert!(counts.accepted >= least && counts.accepted <= most, "{counts:?} {least} {most}");
            let stored = kept.rows.iter().filter(|text| self.sent[*text] == kind).count() as u64;
            let unsure = counts.failed + counts.in_flight;
            prop_assert!(stored >= counts.committed && stored <= counts.committed + unsure, "{stored} {counts:?}");
        }
        let [events, captures] = counts;
        let both = events.plus(captures);
        let rejects = kept.rejects.len() as u64;
        prop_assert!(rejects >= both.rejected && rejects <= both.rejected + both.failed + both.in_flight);
        let distinct: BTreeSet<_> = kept.rows.iter().collect();
        prop_assert_eq!(distinct.len(), kept.rows.len(), "no row is stored twice");
        let places: BTreeSet<_> = kept.rejects.iter().map(|(source, position, ..)| (source, position)).collect();
        prop_assert_eq!(places.len(), kept.rejects.len(), "no row is set aside twice");
        prop_assert!(kept.rows.iter().all(|text| !text.starts_with(BAD)));
        prop_assert!(kept.rejects.iter().all(|(_, _, reason, _)| reason == "refused_by_database"));
        for batch in &kept.offered {
            let within = batch.len() <= self.setup.max_rows && batch.bytes() as u64 <= self.setup.max_bytes;
            prop_assert!(within && !batch.is_empty());
        }
        if self.setup.slots == 1 {
            for producer in 0..4 {
                let prefix = format!("{producer}:");
                let own: Vec<_> = kept.rows.iter().filter(|text| text.starts_with(&prefix)).collect();
                prop_assert!(own.is_sorted(), "each producer's rows keep their order: {own:?}");
            }
        }
        Ok(())
    }
}

/// Whether what a receipt said is what happened.
fn check_verdict(texts: &[String], verdict: &Verdict, backends: &[Arc<Flaky<Recorder>>]) -> Result<(), TestCaseError> {
    for backend in backends {
        let kept = backend.inner.kept();
        let stored = texts.iter().filter(|text| kept.rows.contains(text)).count();
        let bad = texts.iter().filter(|text| text.starts_with(BAD)).count();
        match verdict {
            Ok(()) => prop_assert_eq!((stored, bad), (texts.len(), 0), "Ok, so every row is stored"),
            Err(ReceiptError::Rejected { rows, .. }) => {
                prop_assert_eq!((stored, *rows), (texts.len() - bad, bad * backends.len()));
            }
            Err(ReceiptError::Discarded) => prop_assert!(stored < texts.len()),
            Err(ReceiptError::Failed { .. }) => {}
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_every_row_finds_one_fate_and_its_receipt_tells_it(
        setup in setups(),
        steps in steps(),
        ending in prop_oneof![Just(Ending::Drained), Just(Ending::Late)],
    ) {
        let mut model = Model::new(setup);
        for step in steps {
            model.step(step);
            model.check()?;
        }
        model.finish(ending)?;
    }
}

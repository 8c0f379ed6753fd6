//! Asks for peers what is committed of them, on a thread of its own, since the answer may take as long as an outage.
//!
//! Before each answer everything that was accepted is settled: so no row of the peer's former connection, nor of an
//! earlier run of this source, is still on its way when the peer's next handle is made, and what the handle knows as
//! committed is all there is. That is what makes a record that is sent again land once.
//!
//! Questions that come while one is settled wait for the next time; at most so many wait here, and the others with their
//! connections.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::capture::Capture;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::pipeline::{Pipeline, Replay};
use crate::source::Stop;

/// Questions that may wait.
pub(super) const QUESTIONS: usize = 64;
/// How long an answer that the ledger cannot give now is waited for, before it is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// A peer's two ways into the pipeline: each kind of row has positions of its own.
pub(super) struct Handles {
    pub(super) events: Replay<Event>,
    pub(super) captures: Replay<Capture>,
}

/// What a connection asks, and where it waits for the answer.
pub(super) struct Question {
    /// Beginning of the peer's names in the ledger.
    pub(super) name: String,
    pub(super) answer: oneshot::Sender<Result<Handles, Error>>,
}

/// Answers until nobody can ask any more, or `stop` is said.
pub(super) fn answer(pipeline: &Pipeline, mut questions: mpsc::Receiver<Question>, stop: &Stop) {
    let mut waiting = Vec::with_capacity(QUESTIONS);
    while questions.blocking_recv_many(&mut waiting, QUESTIONS) > 0 {
        let settled = pollster::block_on(async {
            tokio::select! {
                biased;
                () = stop.stopped() => None,
                verdict = pipeline.flush() => Some(verdict),
            }
        });
        let Some(settled) = settled else { return };
        for Question { name, answer } in waiting.drain(..) {
            let handles = match &settled {
                Ok(()) => ask(pipeline, &name, stop, &answer),
                Err(error) => Err(Error::new(ErrorKind::Database, "settle earlier rows").because(error.clone())),
            };
            // The connection may have gone.
            let _ = answer.send(handles);
        }
    }
}

fn ask(
    pipeline: &Pipeline,
    name: &str,
    stop: &Stop,
    answer: &oneshot::Sender<Result<Handles, Error>>,
) -> Result<Handles, Error> {
    loop {
        let events = pipeline.replay(&format!("{name}/events"));
        let handles =
            events.and_then(|events| Ok(Handles { events, captures: pipeline.replay(&format!("{name}/captures"))? }));
        match handles {
            Err(error) if error.kind() == ErrorKind::Unavailable && !answer.is_closed() => {
                if stop.wait(AGAIN) {
                    return Err(error);
                }
            }
            answer => return answer,
        }
    }
}

//! What one run of the source works under: where rows go, what the operator wants, when to end.

use std::time::Duration;

use super::super::gathering::{Original, Sent};
use super::super::{Malformed, Meter, SourceState, Stop};
use super::TailSettings;
use super::identities::Identity;
use crate::chunk::Row;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::pipeline::Pipeline;

/// How long until a ledger that does not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) settings: &'a TailSettings,
    pub(super) host: &'a str,
    pub(super) max_row_bytes: usize,
    pub(super) pipeline: &'a Pipeline,
    pub(super) stop: &'a Stop,
    pub(super) meter: &'a Meter,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoesOn,
    /// The source was told to stop.
    Stops,
}

impl Terms<'_> {
    /// Asks until the ledger answers; `None` when the source was told to stop meanwhile.
    ///
    /// # Errors
    /// What waiting will not mend.
    pub(super) fn ask<T>(&self, question: impl Fn() -> Result<T, Error>) -> Result<Option<T>, Error> {
        loop {
            match question() {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                    self.meter.state(SourceState::Waiting { why: format!("{error}{cause}") });
                    if self.stop.wait(ASK_AGAIN) {
                        return Ok(None);
                    }
                }
                answer => return answer.map(Some),
            }
        }
    }

    /// Most bytes of a line that are kept at all.
    pub(super) fn max_line(&self) -> usize {
        self.settings.max_line.as_usize()
    }

    /// Adds what became of a line, which reaches from `first` up to `end`, to the chunk.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub(super) fn gather(
        &self,
        identity: &mut Identity,
        first: u64,
        end: u64,
        row: Result<Event, (Malformed, Original<'_>)>,
    ) -> Result<Flow, Error> {
        let row = match row {
            Ok(event) => {
                self.meter.seen(event.ts());
                Row::Keep(event)
            }
            Err((malformed, original)) => {
                self.meter.malformed(1);
                Row::Reject(Box::new(original.reject::<Event>(malformed, self.max_row_bytes)))
            }
        };
        identity.chunk.push(first, end, row);
        if identity.chunk.is_full() { self.flush(identity) } else { Ok(Flow::GoesOn) }
    }

    /// Sends what is gathered.
    ///
    /// # Errors
    /// When the pipeline takes no more rows.
    pub(super) fn flush(&self, identity: &mut Identity) -> Result<Flow, Error> {
        if identity.chunk.is_empty() {
            return Ok(Flow::GoesOn);
        }
        let (rows, first, end) = identity.chunk.span();
        match identity.chunk.send_unless(self.stop) {
            Sent::Taken => {
                identity.done.insert(first, end - 1);
                self.meter.rows(rows as u64);
                Ok(Flow::GoesOn)
            }
            Sent::Stopped => Ok(Flow::Stops),
            Sent::Closed if self.stop.is_stopped() => Ok(Flow::Stops),
            Sent::Closed => {
                Err(Error::new(ErrorKind::Database, "send rows: the pipeline takes no more; its status tells why"))
            }
        }
    }
}

//! Follows growing files, through every way of rotation, exactly once.
//!
//! ```text
//!  settings.rs    what an operator says
//!  round.rs       one run: look, read what has news, wait
//!    finding.rs   which files are there?           rotation.rs  what does a name tell? (pure)
//!    watch.rs     has something happened? (inotify)
//!    followed.rs  one file: plain.rs and packed.rs find its lines, lines.rs makes rows of them
//!    identities.rs  under which name in the ledger, and what is done under it? Which file is a copy of which?
//!    content.rs   bytes of a file, decompressed
//!    terms.rs     the way out: rows into the pipeline
//! ```
//!
//! Positions are bytes of the decompressed lines under the name that `identity` gives a file, the same as those of
//! `forebay ingest`: what one has brought in is known to the other. After a restart reading goes on at the first byte that
//! is not committed; of ranges with holes, only the holes are sent. What happens to a file:
//!
//! * **renamed**: it is the same file. Its writer may go on writing to it; it is held open, also if no pattern matches it
//!   any more, until nothing has come for a minute.
//! * **deleted**: the same, as long as it is open.
//! * **emptied** (`copytruncate`), or cut to a part of itself: from now on it is another file. What was written between
//!   the copy and the emptying is gone; what was copied is read from the copy, if a pattern matches it.
//! * **copied or compressed by rotation**: see `identities`.
//! * a last line without its end is waited for; in a compressed file, and in one that is let go, it is a row if it is
//!   a complete record.
//! * it may not be read, or its format cannot be told: the [`Meter`] says so, and it is tried again.
//!
//! Limits. A file that was emptied while nobody ran, begins with the same bytes as before and has outgrown its former self
//! is taken for the former. A file that is cut to a part of itself lands again. While nobody runs, a file that is renamed
//! to what no pattern matches is not found again: let patterns match the rotated names.

use super::{Meter, Source, SourceState, Stop};
use crate::error::{Error, ErrorKind};
use crate::pipeline::Pipeline;

mod content;
mod finding;
mod followed;
mod identities;
mod lines;
mod packed;
mod plain;
mod rotation;
mod round;
mod settings;
mod terms;
mod watch;

pub use settings::{Start, TailSettings};

use round::{Ends, Round};
use terms::Terms;

/// Follows files, and sends their lines as events.
pub struct Tail {
    settings: TailSettings,
    host: String,
    max_row_bytes: usize,
    meter: Meter,
    /// Where files ended when it began, if it begins there.
    ends: Option<Ends>,
}

impl Tail {
    /// Makes a source named `name`, which reads nothing yet. `host` is the sensor of records that name none;
    /// `max_row_bytes` is `batch.max_bytes` of the pipeline.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], as [`TailSettings::validate`].
    pub fn new(name: &str, settings: &TailSettings, host: &str, max_row_bytes: usize) -> Result<Self, Error> {
        settings.validate()?;
        let (settings, host) = (settings.clone(), host.to_owned());
        Ok(Self { settings, host, max_row_bytes, meter: Meter::new(name, "tail"), ends: None })
    }

    fn follow(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        let terms = Terms {
            settings: &self.settings,
            host: &self.host,
            max_row_bytes: self.max_row_bytes,
            pipeline,
            stop,
            meter: &self.meter,
        };
        if !is_settled(&terms)? {
            return Ok(());
        }
        Round::new(terms, &mut self.ends).run()
    }
}

impl Source for Tail {
    fn meter(&self) -> &Meter {
        &self.meter
    }

    fn run(&mut self, pipeline: &Pipeline, stop: &Stop) -> Result<(), Error> {
        let outcome = self.follow(pipeline, stop);
        self.meter.state(match &outcome {
            Ok(()) => SourceState::Ended,
            Err(error) => SourceState::Failed { why: error.to_string() },
        });
        outcome
    }
}

/// Waits until everything is committed that an earlier run, or another source of the same files, has sent: the ledger, which
/// is asked next, does not know of it before. Returns false when the source was told to stop.
fn is_settled(terms: &Terms<'_>) -> Result<bool, Error> {
    let why = "for rows that were sent before it began to be committed".to_owned();
    terms.meter.state(SourceState::Waiting { why });
    let settled = pollster::block_on(async {
        tokio::select! {
            biased;
            settled = terms.pipeline.flush() => Some(settled),
            () = terms.stop.stopped() => None,
        }
    });
    match settled {
        None => Ok(false),
        // Rows that were set aside are settled too.
        Some(Ok(()) | Err(crate::receipt::ReceiptError::Rejected { .. } | crate::receipt::ReceiptError::Discarded)) => {
            terms.meter.state(SourceState::Running);
            Ok(true)
        }
        Some(Err(failed)) => {
            Err(Error::new(ErrorKind::Database, "wait for rows that were sent before").because(failed))
        }
    }
}

//! Counts of a server's rows that are kept: for each quarter of an hour, until it gets rows again.
//!
//! A server's table is never closed, but ids ascend: when everything up to an id is committed (`settled`), all that
//! comes later is beyond it. So counts are kept beside such an id. Each question first looks, in its own snapshot, into
//! which quarters rows beyond it have come, and counts those anew; now and then the id moves up, and they are forgotten.
//! Both look at new rows only, in the order of their ids. If there are too many of them, all is forgotten, and begins anew.
//!
//! The first such id is found by waiting: the greatest when the repository was first asked, once every transaction that
//! ran then is over (`mysql.longest_transaction`). Answers until then are counted in full.
//!
//! Nobody deletes rows through forebay. Where somebody deletes the oldest ones, the least id tells, and all counts are
//! forgotten; of rows deleted or changed in between, the old counts may be told, for an hour at most: then they are
//! forgotten in any case. So it is with rows of a cluster's other nodes, whose ids may come late.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Reader, Visit};
use crate::backend::sql::query::quarters::{Quarters, quarter_of};
use crate::backend::sql::query::statement::Sql;
use crate::backend::sql::query::{Database, Snapshot};
use crate::chunk::RowKind;
use crate::error::Error;

/// How old counts may become.
const OLDEST: Duration = Duration::from_secs(3600);
/// The id moves up no more often.
const PAUSE: Duration = Duration::from_secs(1);
/// Most ids beyond it that a question looks at: a fraction of what a day's rows cost at a rate where counts matter.
const MOST_BEYOND: i64 = 1 << 17;

/// Counts of a kind's rows.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    /// The least id there was.
    first: Option<i64>,
    /// Everything up to this id is committed. Counts are of quarters without rows beyond it.
    last: i64,
    pub(super) quarters: Arc<Quarters>,
    began: Instant,
    moved: Instant,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Unknown,
    /// Rows up to this id may be committed yet.
    Waiting(i64, Instant),
    Known(Counted),
}

/// What a repository keeps of one kind's rows.
#[derive(Debug, Default)]
pub(super) struct Ledge {
    state: Mutex<State>,
    /// Held by whoever moves the id up.
    turn: Mutex<()>,
}

impl Counted {
    /// Returns whether rows beyond the id are few enough to look at; `greatest` is the greatest id there is.
    fn is_near(&self, greatest: Option<i64>) -> bool {
        (0..=MOST_BEYOND).contains(&(greatest.unwrap_or(0) - self.last))
    }
}

impl Ledge {
    pub(super) fn counted(&self) -> Option<Counted> {
        match self.get() {
            State::Known(counted) => Some(counted),
            State::Unknown | State::Waiting(..) => None,
        }
    }

    fn get(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Reader {
    /// Moves the id up, if nobody else does.
    pub(super) fn move_up(&self, kind: RowKind) -> Result<(), Error> {
        let ledge = &self.ledges[kind.index()];
        let Ok(_turn) = ledge.turn.try_lock() else { return Ok(()) };
        let new = |first, last| {
            let (quarters, now) = (Arc::new(Quarters::new(&self.shelf)), Instant::now());
            State::Known(Counted { first, last, quarters, began: now, moved: now })
        };
        let ends = || self.ask(|visit| visit.ends(kind));
        let next = match ledge.get() {
            State::Unknown => {
                let now = Instant::now();
                State::Waiting(ends()?.1.unwrap_or(0), now)
            }
            State::Waiting(last, since) if since.elapsed() >= self.longest_transaction => new(ends()?.0, last),
            State::Known(old) if old.moved.elapsed() >= PAUSE => {
                let (first, greatest) = ends()?;
                if !old.is_near(greatest) {
                    State::Unknown
                } else {
                    let last = self.settled_from(kind, old.last)?;
                    if first != old.first || old.began.elapsed() >= OLDEST {
                        new(first, last)
                    } else {
                        let with_rows = self.ask(|visit| visit.quarters_of(kind, old.last, last))?;
                        let quarters = Arc::new(old.quarters.pass_on(&with_rows));
                        State::Known(Counted { last, quarters, moved: Instant::now(), ..old })
                    }
                }
            }
            State::Waiting(..) | State::Known(_) => return Ok(()),
        };
        ledge.set(next);
        Ok(())
    }

    /// Returns up to which id everything is there, as far as a question would look.
    fn settled_from(&self, kind: RowKind, last: i64) -> Result<i64, Error> {
        let mut settled = last;
        while settled - last < MOST_BEYOND {
            let next = self.settled(kind, settled)?;
            if next == settled {
                break;
            }
            settled = next;
        }
        Ok(settled)
    }
}

impl Visit {
    /// Returns the least and the greatest id.
    fn ends(&mut self, kind: RowKind) -> Result<(Option<i64>, Option<i64>), Error> {
        let ends = self.extents(Sql::default().own(format!("SELECT 0, min(id), max(id) FROM {}", kind.table())))?;
        Ok(ends.first().map_or((None, None), |(_, first, last)| (*first, *last)))
    }

    /// Returns the quarters of the rows behind `after`, up to `last`.
    fn quarters_of(&mut self, kind: RowKind, after: i64, last: i64) -> Result<BTreeSet<i64>, Error> {
        let quarter = quarter_of("DIV");
        // The server would sooner take the index of times, of which there is much to see.
        let sql = format!("SELECT {quarter}, count(*) FROM {} FORCE INDEX (PRIMARY) WHERE id > ", kind.table());
        let sql = Sql::default().own(sql).number(after).own(" AND id <= ").number(last).own(" GROUP BY 1");
        Ok(self.pairs(sql)?.into_iter().map(|(quarter, _)| quarter).collect())
    }

    /// Returns the quarters that have got rows since they may have been counted; `None` if the counts are not to be
    /// used.
    pub(super) fn changing(&mut self, kind: RowKind, counted: &Counted) -> Result<Option<BTreeSet<i64>>, Error> {
        let (first, greatest) = self.ends(kind)?;
        if first != counted.first || !counted.is_near(greatest) {
            return Ok(None);
        }
        self.quarters_of(kind, counted.last, i64::MAX).map(Some)
    }
}

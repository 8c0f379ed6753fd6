//! Reads the ledger, and keeps it small.
//!
//! Several batches are in flight at once, so only what is *settled* may be touched: positions of batches whose write has
//! returned success, which the pipeline never offers again. Of in-memory producers settled rows are deleted; of sources
//! that can be read again, settled rows that touch are merged into one. What another process has in the ledger is left
//! alone, since its pipeline may be trying a batch again at this moment; but for rows of in-memory producers that are a
//! day old: whoever wrote them was killed.

use std::collections::BTreeMap;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Text};

use super::error::Fault;
use super::link::Link;
use super::pool::Pool;
use crate::backend::sql::ledger::{Merged, as_column, by_source, merge};
use crate::batch::{Batch, EPHEMERAL};
use crate::ranges::Ranges;
use crate::timestamp::Timestamp;

/// Ledger entries after which the ledger is tidied up.
const TIDY_AFTER: usize = 1024;
/// Orphans that one statement deletes.
const AT_ONCE: usize = 500;

/// Positions, by source, that are committed and will not be offered again.
#[derive(Debug, Default)]
pub(super) struct Settled {
    entries: usize,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Default)]
struct Source {
    is_ephemeral: bool,
    positions: Ranges,
    /// Whether something was added since the last time.
    is_new: bool,
}

/// What to tidy up.
#[derive(Debug)]
pub(super) struct Work {
    sources: Vec<(String, bool, Ranges)>,
}

impl Settled {
    /// Adds a batch that was committed just now; returns whether it is time to tidy up.
    pub(super) fn add(&mut self, batch: &Batch) -> bool {
        for entry in batch.entries() {
            let source = match self.sources.get_mut(entry.source()) {
                Some(source) => source,
                None => self.sources.entry(entry.source().to_owned()).or_default(),
            };
            source.is_ephemeral = entry.is_ephemeral();
            source.positions.insert(entry.first(), entry.last());
            source.is_new = true;
        }
        self.entries += batch.entries().len();
        self.entries >= TIDY_AFTER
    }

    /// Takes what there is to do; `None` when there is nothing. Sources that can be read again are kept while rows come
    /// from them, so that what comes next is merged with what was merged before.
    pub(super) fn take(&mut self) -> Option<Work> {
        self.entries = 0;
        self.sources.retain(|_, source| source.is_new);
        let mut work = Work { sources: Vec::new() };
        for (name, source) in &mut self.sources {
            source.is_new = false;
            let positions =
                if source.is_ephemeral { std::mem::take(&mut source.positions) } else { source.positions.clone() };
            work.sources.push((name.clone(), source.is_ephemeral, positions));
        }
        (!work.sources.is_empty()).then_some(work)
    }

    /// As [`take`](Self::take), without in-memory producers: a closing pipeline's are forgotten by their name.
    pub(super) fn take_lasting(&mut self) -> Option<Work> {
        self.sources.retain(|_, source| !source.is_ephemeral);
        self.take()
    }

    pub(super) fn put_back(&mut self, work: Work) {
        for (name, is_ephemeral, positions) in work.sources {
            let source = self.sources.entry(name).or_default();
            source.is_ephemeral = is_ephemeral;
            positions.iter().for_each(|range| source.positions.insert(*range.start(), *range.end()));
            source.is_new = true;
        }
    }
}

#[derive(QueryableByName)]
struct Span {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = BigInt)]
    first: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    first: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    counted: i64,
}

/// Returns what the ledger has of every source whose name begins with `prefix`.
///
/// A process that was killed may have a COMMIT in the server's hands still. Its ledger rows are locked until that is
/// decided, and a read that takes locks waits there: a read that did not would miss them, rows would be sent again, and
/// what was behind them in an entry with the same first position would be taken for committed.
pub(super) async fn read(link: &mut Link, prefix: &str) -> Result<BTreeMap<String, Ranges>, Fault> {
    link.catch_up().await?;
    let query = "SELECT source, first, last FROM ingest_ledger WHERE source >= ? AND source < ? ORDER BY source, first \
                 LOCK IN SHARE MODE";
    let query = diesel::sql_query(query).bind::<Binary, _>(prefix.as_bytes()).bind::<Binary, _>(after(prefix));
    let spans: Vec<Span> = link.load(query).await?;
    Ok(by_source(spans.into_iter().map(|span| (span.source, span.first, span.last))))
}

/// Deletes what a pipeline's in-memory producers have in the ledger; they are gone.
pub(super) async fn forget(link: &mut Link, ephemeral: &str) -> Result<(), Fault> {
    link.catch_up().await?;
    let query = diesel::sql_query("DELETE FROM ingest_ledger WHERE source >= ? AND source < ?");
    link.execute(query.bind::<Binary, _>(ephemeral.as_bytes()).bind::<Binary, _>(after(ephemeral))).await.map(drop)
}

#[derive(QueryableByName)]
struct Orphan {
    #[diesel(sql_type = Binary)]
    source: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    newest: i64,
}

/// What a search for rows of producers that are gone came to.
pub(super) struct Orphans {
    pub(super) deleted: usize,
    /// Whether none are left.
    pub(super) are_all: bool,
}

/// Deletes rows of in-memory producers whose newest row was committed before `cutoff`.
///
/// They are found by a read that takes no lock, and deleted by the beginning of their key, some at a time: a delete that
/// looked for them itself would wait at the rows of batches that are being written. It gives its link back in between,
/// and ends as soon as all links are in use: the next time goes on.
pub(super) async fn forget_orphans(pool: &Pool, cutoff: i64) -> Result<Orphans, Fault> {
    let mut deleted = 0;
    let find = "SELECT source, MAX(at) AS newest FROM ingest_ledger WHERE source >= ? AND source < ? \
                GROUP BY source HAVING newest < ? LIMIT 1000";
    while pool.is_idle() {
        let mut link = pool.take().await?;
        link.begin_work();
        let query = diesel::sql_query(find).bind::<Binary, _>(EPHEMERAL.as_bytes().to_vec());
        let query = query.bind::<Binary, _>(after(EPHEMERAL)).bind::<BigInt, _>(cutoff);
        let orphans: Vec<Orphan> = link.load(query).await?;
        link.end_work();
        drop(link);
        if orphans.is_empty() {
            return Ok(Orphans { deleted, are_all: true });
        }
        for Orphan { source, newest } in &orphans {
            let mut is_gone = false;
            while !is_gone && pool.is_idle() {
                let mut link = pool.take().await?;
                link.begin_work();
                link.batch("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                let query = format!("DELETE FROM ingest_ledger WHERE source = ? AND at <= ? LIMIT {AT_ONCE}");
                let query = diesel::sql_query(query).bind::<Binary, _>(source.clone()).bind::<BigInt, _>(*newest);
                let rows = link.execute(query).await?;
                link.end_work();
                deleted += rows;
                is_gone = rows < AT_ONCE;
            }
        }
    }
    Ok(Orphans { deleted, are_all: false })
}

/// Returns the bytes that come right after all texts that begin with `prefix`. UTF-8 has no byte 0xff.
fn after(prefix: &str) -> Vec<u8> {
    let mut bytes = prefix.as_bytes().to_vec();
    match bytes.last_mut() {
        Some(last) => *last += 1,
        None => bytes.push(0xff),
    }
    bytes
}

/// Does the work, each source in a transaction of its own. Without gap locks (READ COMMITTED), so that no batch waits.
pub(super) async fn tidy(link: &mut Link, work: &Work) -> Result<(), Fault> {
    for (source, is_ephemeral, positions) in &work.sources {
        link.batch("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        link.batch("BEGIN").await?;
        for range in positions.iter() {
            let (low, high) = (as_column(*range.start()), as_column(*range.end()));
            if *is_ephemeral {
                delete(link, source, low, high).await?;
            } else {
                merge_within(link, source, low, high).await?;
            }
        }
        link.batch("COMMIT").await?;
    }
    Ok(())
}

async fn delete(link: &mut Link, source: &str, low: i64, high: i64) -> Result<(), Fault> {
    let query = diesel::sql_query("DELETE FROM ingest_ledger WHERE source = ? AND first BETWEEN ? AND ?");
    let query = query.bind::<Binary, _>(source.as_bytes()).bind::<BigInt, _>(low).bind::<BigInt, _>(high);
    link.execute(query).await.map(drop)
}

async fn merge_within(link: &mut Link, source: &str, low: i64, high: i64) -> Result<(), Fault> {
    let query = "SELECT first, last, `rows` AS counted FROM ingest_ledger \
                 WHERE source = ? AND first BETWEEN ? AND ? ORDER BY first FOR UPDATE";
    let query = diesel::sql_query(query).bind::<Binary, _>(source.as_bytes());
    let spans: Vec<Counted> = link.load(query.bind::<BigInt, _>(low).bind::<BigInt, _>(high)).await?;
    let spans: Vec<Merged> = spans.into_iter().map(|span| (span.first, span.last, span.counted)).collect();
    let Some(merged) = merge(&spans) else { return Ok(()) };
    delete(link, source, low, high).await?;
    let now = Timestamp::now().as_nanos();
    for (first, last, rows) in merged {
        let query = "INSERT INTO ingest_ledger (source, first, last, `rows`, at) VALUES (?, ?, ?, ?, ?)";
        let query = diesel::sql_query(query).bind::<Binary, _>(source.as_bytes()).bind::<BigInt, _>(first);
        let query = query.bind::<BigInt, _>(last).bind::<BigInt, _>(rows).bind::<BigInt, _>(now);
        link.execute(query).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Row;
    use crate::event::Event;

    fn batch(source: &str, first: u64) -> Batch {
        let row = Row::Keep(Event::builder("s", "v", "t").build().unwrap());
        Batch::detached(source, first, vec![row])
    }

    #[test]
    fn only_what_was_settled_is_touched_and_what_failed_is_done_the_next_time() {
        let mut settled = Settled::default();
        for first in [0, 1, 3] {
            assert!(!settled.add(&batch("memory/1/0", first)));
            settled.add(&batch("file", first));
        }
        let work = settled.take().unwrap();
        let ranges = |work: &Work, at: usize| work.sources[at].2.iter().collect::<Vec<_>>();
        assert_eq!(
            (work.sources[0].0.as_str(), work.sources[0].1, ranges(&work, 0)),
            ("file", false, vec![0..=1, 3..=3])
        );
        assert_eq!((work.sources[1].1, ranges(&work, 1)), (true, vec![0..=1, 3..=3]));
        settled.put_back(work);
        settled.add(&batch("memory/1/0", 2));
        assert_eq!(ranges(&settled.take().unwrap(), 1), [0..=3]);
        assert!(settled.take().is_none());
        settled.add(&batch("memory/1/0", 9));
        assert_eq!(ranges(&settled.take().unwrap(), 0), [9..=9]);
    }

    #[test]
    fn what_begins_with_a_prefix_ends_before_the_next_text() {
        assert_eq!(after("memory/7/"), b"memory/70");
        assert!("a\u{10ffff}".as_bytes() < after("a").as_slice() && "\u{10ffff}".as_bytes() < after("").as_slice());
    }
}

//! Counts: one aggregate for each arm, added up here.
//!
//! Where rows are counted by time and an index has the times, a count of a range of it per bucket beats grouping by far:
//! a database steps through the index without looking at values, instead of sorting them. Elsewhere rows are grouped by a
//! unit of time that divides the buckets. What has been counted of a closed segment once is kept: see `quarters`.

use std::collections::{BTreeMap, HashMap};

use super::arms::Arm;
use super::condition::{Walk, conditions};
use super::quarters::{self, Pieces, Runs, moments, pieces};
use super::record::Fetch;
use super::statement::Sql;
use super::tallies::{Counts, Pairs};
use super::{Database, Dialect, Snapshot};
use crate::error::Error;
use crate::repository::{Bucket, Buckets, Column, ColumnKind, Condition, Filter, Sort, Source, Summary, Tally, Test};
use crate::timestamp::Timestamp;

/// Most buckets of one arm that are counted one by one.
const MOST_RANGES: usize = 1000;
/// Quarters of an arm that are counted one by one at most where one walk can count them all.
const FEW: usize = 4;

pub(super) fn count<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<R::Column>,
) -> Result<u64, Error> {
    let mut rows = 0;
    for arm in D::arms::<R>(snapshot, filter)? {
        rows += count_arm::<R, D>(snapshot, &arm, filter)?;
    }
    Ok(rows)
}

fn count_arm<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    filter: &Filter<R::Column>,
) -> Result<u64, Error> {
    let sql = from::<R, D>("count(*), NULL, NULL".into(), arm, filter);
    Ok(snapshot.extents(sql)?.first().map_or(0, |(rows, ..)| *rows as u64))
}

/// Begins a statement for the rows of an arm that `filter` leaves.
pub(crate) fn from<R: Fetch, D: Database>(what: String, arm: &Arm, filter: &Filter<R::Column>) -> Sql {
    let sql = Sql::default().own("SELECT ").own(what).own(" FROM ").own(arm.table.clone());
    conditions::<_, D::Dialect>(sql, arm, filter, Walk::Any)
}

pub(super) fn count_by<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    column: R::Column,
    filter: &Filter<R::Column>,
    limit: usize,
) -> Result<Vec<Tally>, Error> {
    let mut counts = Counts::default();
    for arm in D::counted_arms::<R>(snapshot, filter)? {
        add_values::<R, D>(snapshot, &arm, (column.name(), column.kind()), filter, &mut counts)?;
    }
    Ok(counts.top(limit))
}

/// Adds how often each value of a column stands in the rows of an arm that `filter` leaves.
fn add_values<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    column: (&'static str, ColumnKind),
    filter: &Filter<R::Column>,
    counts: &mut Counts,
) -> Result<(), Error> {
    let kept = arm.quarters.as_ref().filter(|_| arm.is_indexed);
    let Some((kept, Pieces { quarters, ends })) = kept.and_then(|kept| Some((kept, pieces(arm, filter)?))) else {
        counts.add_all(&values::<R, D>(snapshot, arm, column, filter)?);
        return Ok(());
    };
    for end in ends {
        counts.add_all(&values::<R, D>(snapshot, arm, column, &at(end))?);
    }
    let unknown = kept.sum(column.0, quarters, counts);
    let mut counted = match D::Dialect::RUNS {
        Some(runs) if unknown.len() > FEW && R::TIMED.contains(&column.0) => {
            values_by_quarter::<R, D>(snapshot, arm, column.0, runs, &unknown)?
        }
        _ => HashMap::new(),
    };
    for quarter in unknown {
        let values = match counted.remove(&quarter) {
            Some(values) => values,
            None => values::<R, D>(snapshot, arm, column, &at(moments(quarter)))?,
        };
        kept.keep_tally(column.0, quarter, &values);
        counts.add_all(&values);
    }
    Ok(())
}

/// Counts values of those quarters in one walk through the index that has the column and the time: one quarter after the
/// other means to look at each row by itself.
fn values_by_quarter<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    column: &'static str,
    runs: &'static str,
    quarters: &[i64],
) -> Result<HashMap<i64, Pairs>, Error> {
    let mut counted: HashMap<i64, Pairs> = quarters.iter().map(|quarter| (*quarter, Vec::new())).collect();
    let [first, last] =
        [quarters.iter().min(), quarters.iter().max()].map(|end| end.map_or((0, 0), |end| moments(*end)));
    let sql = Sql::default().own(format!("SELECT {column}, {runs}, 0, 0, 0 FROM {}", arm.table));
    // Sorted by id, so as not to take the index that has the time alone.
    let filter = at::<R::Column>((first.0, last.1));
    let sql = conditions::<_, D::Dialect>(sql, arm, &filter, Walk::By(Sort::Id)).own(format!(" GROUP BY {column}"));
    for (value, runs, ..) in snapshot.grouped(sql)? {
        for (quarter, rows) in runs.as_deref().map(Runs::read).into_iter().flatten() {
            let Some(counts) = counted.get_mut(&quarter) else { continue };
            match counts.last_mut() {
                Some((last, sum)) if *last == value => *sum += rows,
                _ => counts.push((value.clone(), rows)),
            }
        }
    }
    Ok(counted)
}

/// Asks for a range of time, both ends within.
fn at<C: Column>((first, last): (i64, i64)) -> Filter<C> {
    Filter::new().and(Test::Times(first, last))
}

fn values<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    (name, kind): (&'static str, ColumnKind),
    filter: &Filter<R::Column>,
) -> Result<Pairs, Error> {
    let (what, group) = match kind {
        ColumnKind::Text => (format!("{name}, count(*)"), D::Dialect::group(name)),
        ColumnKind::Address => (format!("{name}, count(*)"), name.to_owned()),
        ColumnKind::Number => (format!("CAST({name} AS {}), count(*)", D::Dialect::TEXT), name.to_owned()),
    };
    let sql = from::<R, D>(what, arm, filter).own(format!(" GROUP BY {group}"));
    Ok(snapshot.keyed(sql)?.into_iter().map(|(value, rows)| (value, rows as u64)).collect())
}

pub(super) fn sources<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<R::Column>,
    limit: usize,
) -> Result<Vec<Source>, Error> {
    let mut found: HashMap<String, Source> = HashMap::new();
    for arm in D::arms::<R>(snapshot, filter)? {
        let what = "src_ip, NULL, count(*), min(ts), max(ts)".into();
        let sql = from::<R, D>(what, &arm, filter).and().own("src_ip IS NOT NULL GROUP BY src_ip");
        for (key, _, rows, first, last) in snapshot.grouped(sql)? {
            let Some(address) = key else { continue };
            let (first, last) = (Timestamp::from_nanos(first), Timestamp::from_nanos(last));
            match found.get_mut(&address) {
                Some(source) => {
                    source.rows += rows as u64;
                    (source.first, source.last) = (source.first.min(first), source.last.max(last));
                }
                None => {
                    let source = Source { address: address.clone(), rows: rows as u64, first, last };
                    found.insert(address, source);
                }
            }
        }
    }
    let mut sources: Vec<_> = found.into_values().collect();
    sources.sort_unstable_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.address.cmp(&b.address)));
    sources.truncate(limit);
    Ok(sources)
}

pub(super) fn summary<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<R::Column>,
) -> Result<Summary, Error> {
    let (mut summary, mut times) = (Summary::default(), None);
    let (mut sensors, mut sources) = (Counts::default(), Counts::default());
    for arm in D::counted_arms::<R>(snapshot, filter)? {
        let extent = snapshot.extents(from::<R, D>("count(*), min(ts), max(ts)".into(), &arm, filter))?;
        let Some((rows, Some(first), Some(last))) = extent.first() else { continue };
        summary.rows += *rows as u64;
        times = Some(times.map_or((*first, *last), |(a, b): (i64, i64)| (a.min(*first), b.max(*last))));
        add_values::<R, D>(snapshot, &arm, ("sensor", ColumnKind::Text), filter, &mut sensors)?;
        add_values::<R, D>(snapshot, &arm, ("src_ip", ColumnKind::Address), filter, &mut sources)?;
    }
    summary.times = times.map(|(first, last)| (Timestamp::from_nanos(first), Timestamp::from_nanos(last)));
    (summary.sensors, summary.sources) = (sensors.len() as u64, sources.len() as u64);
    Ok(summary)
}

pub(super) fn histogram<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<R::Column>,
    buckets: &Buckets,
) -> Result<Vec<Bucket>, Error> {
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for arm in D::counted_arms::<R>(snapshot, filter)? {
        if add_quarters::<R, D>(snapshot, &arm, filter, buckets, &mut counts)? {
            continue;
        }
        match ranges::<R>(&arm, filter, buckets) {
            Some(ranges) => {
                for (start, first, last) in ranges {
                    let piece = filter.clone().and(Test::Times(first, last));
                    *counts.entry(start).or_default() += count_arm::<R, D>(snapshot, &arm, &piece)?;
                }
            }
            None => group::<R, D>(snapshot, &arm, filter, buckets, &mut counts)?,
        }
    }
    counts.retain(|_, rows| *rows > 0);
    let bucket = |(from, rows)| Bucket { from: Timestamp::from_nanos(from), rows };
    Ok(counts.into_iter().map(bucket).collect())
}

/// Adds up what has been counted of an arm before, and counts what is missing; returns whether that can be done.
fn add_quarters<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    filter: &Filter<R::Column>,
    buckets: &Buckets,
    counts: &mut BTreeMap<i64, u64>,
) -> Result<bool, Error> {
    let first = arm.times.0.max(filter.times().0);
    let Some(known) = arm.quarters.as_ref().filter(|_| arm.is_indexed && quarters::divide(buckets, first)) else {
        return Ok(false);
    };
    let Some(Pieces { quarters, ends }) = pieces(arm, filter) else { return Ok(false) };
    let count = |snapshot: &mut D::Snapshot, ends| count_arm::<R, D>(snapshot, arm, &at(ends));
    let mut add = |ts: i64, rows: u64| *counts.entry(buckets.start_nanos(ts)).or_default() += rows;
    for end in ends {
        add(end.0, count(snapshot, end)?);
    }
    let mut counted = Vec::new();
    for (quarter, known) in quarters.clone().zip(known.known(quarters)) {
        let moments = moments(quarter);
        let rows = match known {
            Some(rows) => rows,
            None => {
                let rows = count(snapshot, moments)?;
                counted.push((quarter, rows));
                rows
            }
        };
        add(moments.0.max(first), rows);
    }
    known.keep(counted);
    Ok(true)
}

/// Returns the pieces of an arm that is best counted piece by piece: where each bucket begins, and from when to when it is
/// asked for, both within.
fn ranges<R: Fetch>(arm: &Arm, filter: &Filter<R::Column>, buckets: &Buckets) -> Option<Vec<(i64, i64, i64)>> {
    let (first, last) = (arm.times.0.max(filter.times().0), arm.times.1.min(filter.times().1));
    // Only then is each row looked at once: an equal column needs an index that goes on with the time.
    let has_index = filter.conditions().iter().all(is_timed::<R>);
    if !arm.is_indexed || !has_index || first == i64::MIN || last == i64::MAX {
        return None;
    }
    let (mut ranges, mut from) = (Vec::new(), first);
    while from <= last {
        if ranges.len() == MOST_RANGES {
            return None;
        }
        let next = buckets.next_nanos(from);
        let end = next.map_or(last, |next| last.min(next - 1));
        ranges.push((buckets.start_nanos(from), from, end));
        let Some(next) = next else { break };
        from = next;
    }
    Some(ranges)
}

/// Returns whether the condition has an index that goes on with the time.
pub(super) fn is_timed<R: Fetch>(condition: &Condition<R::Column>) -> bool {
    match &condition.test {
        Test::Is(column, _) => !condition.is_negated && R::TIMED.contains(&column.name()),
        _ => false,
    }
}

fn group<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arm: &Arm,
    filter: &Filter<R::Column>,
    buckets: &Buckets,
    counts: &mut BTreeMap<i64, u64>,
) -> Result<(), Error> {
    let unit = buckets.unit_nanos(arm.times.0.max(filter.times().0));
    let what = quarters::unit_of(D::Dialect::DIVIDED_BY, unit) + ", count(*)";
    let sql = from::<R, D>(what, arm, filter).own(" GROUP BY 1");
    for (number, rows) in snapshot.pairs(sql)? {
        let ts = number.checked_mul(unit).unwrap_or(i64::MIN);
        *counts.entry(buckets.start_nanos(ts)).or_default() += rows as u64;
    }
    Ok(())
}

//! Counts: one aggregate for each segment, added up here.
//!
//! Where rows are counted by time and an index has the times, a count of a range of it per bucket beats grouping by far:
//! SQLite steps through the index without looking at values, instead of sorting them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Connection;
use super::arms::{Arm, Walk, conditions};
use super::record::Fetch;
use super::sql::Sql;
use crate::backend::sqlite::segments;
use crate::repository::{Bucket, Column, Filter, Tally};
use crate::timestamp::Timestamp;

/// Most buckets of one segment that are counted one by one.
const MOST_RANGES: i64 = 1000;

pub(super) fn count<C: Column>(connection: &mut Connection, arms: &[Arm], filter: &Filter<C>) -> QueryResult<u64> {
    let mut rows = 0;
    for arm in arms {
        rows += count_arm(connection, arm, filter)?;
    }
    Ok(rows)
}

fn count_arm<C: Column>(connection: &mut Connection, arm: &Arm, filter: &Filter<C>) -> QueryResult<u64> {
    let sql = Sql::default().own("SELECT count(*) FROM ").own(arm.table.clone());
    let sql = conditions(sql, arm, filter, Walk::Any);
    let sqlite = connection.keep(&sql);
    sql.returning::<BigInt>().get_result::<i64>(sqlite).map(|rows| rows as u64)
}

pub(super) fn count_by<C: Column>(
    connection: &mut Connection,
    arms: &[Arm],
    column: C,
    filter: &Filter<C>,
    limit: usize,
) -> QueryResult<Vec<Tally>> {
    let mut counts: HashMap<Option<String>, u64> = HashMap::new();
    for arm in arms {
        let sql = Sql::default().own("SELECT ").own(column.name()).own(", count(*) FROM ").own(arm.table.clone());
        let sql = conditions(sql, arm, filter, Walk::Any).own(" GROUP BY 1");
        let sqlite = connection.keep(&sql);
        for row in sql.returning::<(Nullable<Text>, BigInt)>().load_iter::<(Option<String>, i64), _>(sqlite)? {
            let (key, rows) = row?;
            *counts.entry(key).or_default() += rows as u64;
        }
    }
    let mut tallies: Vec<_> = counts.into_iter().map(|(key, rows)| Tally { key, rows }).collect();
    tallies.sort_unstable_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.key.cmp(&b.key)));
    tallies.truncate(limit);
    Ok(tallies)
}

pub(super) fn histogram<R: Fetch>(
    connection: &mut Connection,
    arms: &[Arm],
    filter: &Filter<R::Column>,
    bucket: Duration,
) -> QueryResult<Vec<Bucket>> {
    let width = i64::try_from(bucket.as_nanos()).unwrap_or(i64::MAX).max(1);
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for arm in arms {
        match ranges::<R>(arm, filter, width) {
            Some((first, last)) => {
                for number in first..=last {
                    let rows = count_arm(connection, arm, &within(filter.clone(), number, width))?;
                    *counts.entry(number).or_default() += rows;
                }
            }
            None => group(connection, arm, filter, width, &mut counts)?,
        }
    }
    counts.retain(|_, rows| *rows > 0);
    Ok(counts.into_iter().map(|(number, rows)| Bucket { from: start(number, width), rows }).collect())
}

/// Returns the first and last bucket of a segment that is best counted bucket by bucket.
fn ranges<R: Fetch>(arm: &Arm, filter: &Filter<R::Column>, width: i64) -> Option<(i64, i64)> {
    let (first, last) = (arm.times.0.max(filter.times().0), arm.times.1.min(filter.times().1));
    // Only then is each row looked at once: an equal column needs an index that goes on with the time.
    let has_index = filter.equal().iter().all(|(column, _)| segments::has_timed_index(R::KIND, column.name()));
    let (first, last) = (first.div_euclid(width), last.div_euclid(width));
    let is_few = last.checked_sub(first).is_some_and(|buckets| buckets < MOST_RANGES);
    (arm.is_indexed && arm.has_times() && has_index && is_few).then_some((first, last))
}

fn within<C: Column>(filter: Filter<C>, number: i64, width: i64) -> Filter<C> {
    let filter = filter.since(start(number, width));
    match number.checked_add(1).and_then(|next| next.checked_mul(width)) {
        Some(end) => filter.until(Timestamp::from_nanos(end)),
        None => filter,
    }
}

fn start(number: i64, width: i64) -> Timestamp {
    Timestamp::from_nanos(number.checked_mul(width).unwrap_or(i64::MIN))
}

fn group<C: Column>(
    connection: &mut Connection,
    arm: &Arm,
    filter: &Filter<C>,
    width: i64,
    counts: &mut BTreeMap<i64, u64>,
) -> QueryResult<()> {
    // SQLite divides towards zero; buckets go on below it.
    let sql = Sql::default().own("SELECT ts / ").number(width).own(" - (ts % ").number(width);
    let sql = sql.own(" < 0), count(*) FROM ").own(arm.table.clone());
    let sql = conditions(sql, arm, filter, Walk::Any).own(" GROUP BY 1");
    let sqlite = connection.keep(&sql);
    for row in sql.returning::<(BigInt, BigInt)>().load_iter::<(i64, i64), _>(sqlite)? {
        let (number, rows) = row?;
        *counts.entry(number).or_default() += rows as u64;
    }
    Ok(())
}

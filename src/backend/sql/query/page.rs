//! One page: arms from the near end on, until none that is left can hold a row of it.

use super::arms::{Arm, is_behind, order, prune};
use super::condition::{Walk, conditions};
use super::record::Fetch;
use super::statement::Sql;
use super::{Database, Snapshot};
use crate::error::{Error, ErrorKind};
use crate::repository::{Column, Cursor, Direction, Filter, MAX_LIMIT, MAX_OFFSET, Page, Paging, Sort, Stored};
use crate::timestamp::Timestamp;

pub(super) fn page<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    filter: &Filter<R::Column>,
    paging: &Paging,
) -> Result<Page<R>, Error> {
    let limit = paging.limit.min(MAX_LIMIT);
    if limit == 0 {
        return Ok(Page { rows: Vec::new(), next: None });
    }
    let arms = D::arms::<R>(snapshot, filter)?;
    let mut paging = *paging;
    if paging.offset > 0 {
        match passed_over::<R, D>(snapshot, &arms, filter, &paging)? {
            Some(cursor) => paging = paging.after(cursor),
            None => return Ok(Page { rows: Vec::new(), next: None }),
        }
    }
    let fetch = |snapshot: &mut D::Snapshot, sql| R::fetch(snapshot, sql);
    let key = |row: &Stored<R>| key(row, paging.sort);
    let columns = ["id,", R::COLUMNS].concat();
    let rows = walk::<R, D, _>(snapshot, arms, filter, &paging, limit, columns, fetch, key)?;
    let last = rows.last().filter(|_| rows.len() == limit);
    let next = last.map(|last| Cursor { ts: last.row.nanos(), id: last.id });
    Ok(Page { rows, next })
}

/// Returns where a page begins that passes over rows: behind the last of them. `None` if there are not so many.
fn passed_over<R: Fetch, D: Database>(
    snapshot: &mut D::Snapshot,
    arms: &[Arm],
    filter: &Filter<R::Column>,
    paging: &Paging,
) -> Result<Option<Cursor>, Error> {
    if paging.offset > MAX_OFFSET {
        let why =
            format!("an offset is at most {MAX_OFFSET}; narrow the filter, or go on behind the last row of a page");
        return Err(Error::new(ErrorKind::Configuration, why));
    }
    let fetch = |snapshot: &mut D::Snapshot, sql| snapshot.pairs(sql);
    let key = |(ts, id): &(i64, i64)| if paging.sort == Sort::Time { (*ts, *id) } else { (*id, *id) };
    let (arms, columns) = (arms.to_vec(), "ts,id".to_owned());
    let keys = walk::<R, D, _>(snapshot, arms, filter, paging, paging.offset, columns, fetch, key)?;
    let last = keys.last().filter(|_| keys.len() == paging.offset);
    Ok(last.map(|(ts, id)| Cursor { ts: *ts, id: *id }))
}

/// Goes from arm to arm and returns the first `limit` rows behind the cursor, in their order.
#[allow(clippy::too_many_arguments)]
fn walk<R: Fetch, D: Database, T>(
    snapshot: &mut D::Snapshot,
    arms: Vec<Arm>,
    filter: &Filter<R::Column>,
    paging: &Paging,
    limit: usize,
    columns: String,
    fetch: impl Fn(&mut D::Snapshot, Sql) -> Result<Vec<T>, Error>,
    key: impl Fn(&T) -> (i64, i64),
) -> Result<Vec<T>, Error> {
    let Paging { sort, direction, after, .. } = *paging;
    let mut rows: Vec<T> = Vec::new();
    let filter = after.map_or_else(|| filter.clone(), |after| behind(filter.clone(), after, sort, direction));
    let mut arms = prune(arms, &filter);
    order(&mut arms, sort, direction);
    for arm in &arms {
        let worst = rows.last().filter(|_| rows.len() == limit).map(&key);
        if worst.is_some_and(|worst| is_behind(arm, worst.0, sort, direction)) {
            break;
        }
        // Rows behind the worst so far need not be fetched.
        let filter = match worst {
            Some(worst) => until(filter.clone(), worst.0, sort, direction),
            None => filter.clone(),
        };
        let found = fetch(snapshot, statement::<R, D>(arm, &filter, paging, limit, &columns))?;
        let is_first = rows.is_empty();
        rows.extend(found);
        if !is_first {
            rows.sort_by_key(&key);
            if direction == Direction::NewestFirst {
                rows.reverse();
            }
            rows.truncate(limit);
        }
    }
    Ok(rows)
}

fn key<R: Fetch>(stored: &Stored<R>, sort: Sort) -> (i64, i64) {
    match sort {
        Sort::Time => (stored.row.nanos(), stored.id),
        Sort::Id => (stored.id, stored.id),
    }
}

/// Narrows `filter` to what comes at `near` or behind it.
fn from<C: Column>(filter: Filter<C>, near: i64, sort: Sort, direction: Direction) -> Filter<C> {
    match (sort, direction) {
        (Sort::Time, Direction::OldestFirst) => filter.since(Timestamp::from_nanos(near)),
        (Sort::Time, Direction::NewestFirst) => match near.checked_add(1) {
            Some(end) => filter.until(Timestamp::from_nanos(end)),
            None => filter,
        },
        (Sort::Id, Direction::OldestFirst) => filter.after(near.saturating_sub(1)),
        (Sort::Id, Direction::NewestFirst) => filter.before(near.saturating_add(1)),
    }
}

/// Narrows `filter` to what comes at `far` or before it.
fn until<C: Column>(filter: Filter<C>, far: i64, sort: Sort, direction: Direction) -> Filter<C> {
    let opposite = match direction {
        Direction::NewestFirst => Direction::OldestFirst,
        Direction::OldestFirst => Direction::NewestFirst,
    };
    from(filter, far, sort, opposite)
}

/// Narrows `filter` to what is not before `cursor`. Rows of the same time need another condition: see [`statement`].
fn behind<C: Column>(filter: Filter<C>, cursor: Cursor, sort: Sort, direction: Direction) -> Filter<C> {
    match (sort, direction) {
        (Sort::Time, _) => from(filter, cursor.ts, sort, direction),
        (Sort::Id, Direction::NewestFirst) => filter.before(cursor.id),
        (Sort::Id, Direction::OldestFirst) => filter.after(cursor.id),
    }
}

fn statement<R: Fetch, D: Database>(
    arm: &Arm,
    filter: &Filter<R::Column>,
    paging: &Paging,
    limit: usize,
    columns: &str,
) -> Sql {
    let Paging { sort, direction, after, .. } = *paging;
    let (table, columns) = (arm.table.clone(), columns.to_owned());
    let order = match (sort, direction) {
        (Sort::Time, Direction::NewestFirst) => " ORDER BY ts DESC, id DESC",
        (Sort::Time, Direction::OldestFirst) => " ORDER BY ts, id",
        (Sort::Id, Direction::NewestFirst) => " ORDER BY id DESC",
        (Sort::Id, Direction::OldestFirst) => " ORDER BY id",
    };
    // As text: a bound limit makes SQLite prepare the statement anew whenever it is bound.
    let limit = format!(" LIMIT {limit}");
    let chosen = |sql: Sql| {
        let sql = conditions::<_, D::Dialect>(sql.own(" FROM ").own(table.clone()), arm, filter, Walk::By(sort));
        let (Sort::Time, Some(Cursor { ts, id })) = (sort, after) else { return sql };
        let [earlier, tied] = match direction {
            Direction::NewestFirst => ["(+ts < ", " OR id < "],
            Direction::OldestFirst => ["(+ts > ", " OR id > "],
        };
        sql.and().own(earlier).number(ts).own(tied).number(id).own(")")
    };
    if arm.is_indexed || sort == Sort::Id {
        return chosen(Sql::default().own("SELECT ").own(columns)).own(order).own(limit);
    }
    // Without an index on time SQLite would sort whole rows: 66 ms for 32,768 of them. So only times are sorted, and rows
    // are looked at from the near end on: those that follow are hardly ever better than what is there, and cost nothing.
    // The limit of -1 keeps SQLite from taking the two steps as one (https://www.sqlite.org/optoverview.html#flattening).
    let near_end =
        if direction == Direction::NewestFirst { " ORDER BY id DESC LIMIT -1" } else { " ORDER BY id LIMIT -1" };
    let sql = Sql::default().own("SELECT ").own(columns).own(" FROM ").own(table.clone());
    let sql = chosen(sql.own(" WHERE id IN (SELECT id FROM (SELECT id, ts")).own(near_end);
    sql.own(")").own(order).own(limit).own(")").own(order)
}

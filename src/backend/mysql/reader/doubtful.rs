//! Rows whose `fields` the server cannot read, and we can.
//!
//! A server refuses a whole object for half a surrogate pair (`"\udcff"`) and MariaDB for more than 32 levels; its JSON
//! functions return NULL then, and a filter on any field would pass over the row: whoever sends one such byte would be
//! invisible. So a filter on a field first asks for those rows, by `JSON_VALID`, and looks at them here; which of them
//! satisfy the condition goes into the statement by their ids. There are few of them, or an error says that there are not.

use diesel::sql_types::{BigInt, Text};

use super::Visit;
use super::words::may_have;
use crate::backend::sql::query::arms::Arm;
use crate::backend::sql::query::record::Fetch;
use crate::backend::sql::query::select;
use crate::error::{Error, ErrorKind};
use crate::repository::{Filter, Test};

/// Most rows that are looked at.
const MOST: usize = 10_000;

/// Returns, for each condition on a field, which rows satisfy it although the server cannot tell.
pub(super) fn known<R: Fetch>(
    visit: &mut Visit,
    arm: &Arm,
    filter: &Filter<R::Column>,
) -> Result<Vec<(usize, Vec<i64>)>, Error> {
    let mut known = Vec::new();
    for (number, condition) in filter.conditions().iter().enumerate() {
        let Test::Field(path, text) = &condition.test else { continue };
        let others = filter.clone().without_fields();
        let sql = select::<R, super::Reader>("id, fields".into(), arm, &others);
        let sql = may_have(sql.and(), text).and().own(format!("JSON_VALID(fields) = 0 LIMIT {}", MOST + 1));
        let rows: Vec<(i64, String)> = visit.rows::<(BigInt, Text), _>(sql)?;
        if rows.len() > MOST {
            let why = format!("more than {MOST} rows have JSON that the server cannot read; narrow the range of time");
            return Err(Error::new(ErrorKind::Configuration, why));
        }
        let ids: Vec<i64> = rows.iter().filter(|(_, fields)| path.finds(fields, text)).map(|(id, _)| *id).collect();
        known.push((number, ids));
    }
    Ok(known)
}

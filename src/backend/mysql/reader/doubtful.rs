//! Rows about whose `fields` the server may be wrong, and we are not.
//!
//! A server refuses a whole object for half a surrogate pair (`"\udcff"`) and MariaDB for more than 32 levels: its JSON
//! functions return NULL then. And MariaDB compares keys as they are written: `"\u0061"` is not `"a"` for it. A filter on a
//! field would pass over such rows: whoever sends one such byte would be invisible. So a filter on a field first asks for
//! objects that cannot be read, and those with an escape that a key might have, and looks at them here; which of them
//! satisfy the condition goes into the statement by their ids. Turned down: a regular expression that finds escapes in keys
//! only, which takes quadratic time for a value of a million quotation marks.

use diesel::sql_types::{BigInt, Text};

use super::Visit;
use super::words::{may_be_wrong, may_have};
use crate::backend::sql::query::arms::Arm;
use crate::backend::sql::query::record::Fetch;
use crate::backend::sql::query::select;
use crate::error::{Error, ErrorKind};
use crate::repository::{Filter, Test};

/// Rows that are fetched at once.
const AT_ONCE: usize = 2000;
/// Most rows that are named by their ids.
const MOST: usize = 10_000;

/// Returns, for each condition on a field, which rows satisfy it of those about which the server may be wrong.
pub(super) fn known<R: Fetch>(
    visit: &mut Visit,
    arm: &Arm,
    filter: &Filter<R::Column>,
) -> Result<Vec<(usize, Vec<i64>)>, Error> {
    let mut known = Vec::new();
    for (number, condition) in filter.conditions().iter().enumerate() {
        let Test::Field(path, text) = &condition.test else { continue };
        let (mut ids, mut others) = (Vec::new(), filter.clone().without_fields());
        loop {
            let sql = select::<R, super::Reader>("id, fields".into(), arm, &others);
            let sql = may_be_wrong(may_have(sql.and(), text).and(), path);
            let rows: Vec<(i64, String)> =
                visit.rows::<(BigInt, Text), _>(sql.own(format!(" ORDER BY id LIMIT {AT_ONCE}")))?;
            ids.extend(rows.iter().filter(|(_, fields)| path.finds(fields, text)).map(|(id, _)| *id));
            if ids.len() > MOST {
                let why = format!("more than {MOST} rows have this in JSON that the server cannot be trusted with");
                return Err(Error::new(ErrorKind::Configuration, format!("{why}; narrow the range of time")));
            }
            match rows.last() {
                Some((last, _)) if rows.len() == AT_ONCE => others = others.after(*last),
                _ => break,
            }
        }
        known.push((number, ids));
    }
    Ok(known)
}

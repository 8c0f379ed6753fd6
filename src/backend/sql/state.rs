//! The statements of [`State`].

use super::rows::Cell;
use super::rules::{check_key, check_value};
use super::store::{Desk, Session, Statement, Store, Trouble, text};
use crate::error::Error;
use crate::repository::{Entry, Key, MAX_LIMIT, State, Swap};
use crate::timestamp::Timestamp;

impl<S: Store> State for Desk<S> {
    fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        check_key(key)?;
        self.read("state.get", "read a value", |session| {
            let query = "SELECT value, version, updated FROM state WHERE `key` = ?";
            let Some(mut row) = session.rows(Statement::new(query, [text(key)]))?.pop() else { return Ok(None) };
            let (value, version, updated) = (row.text()?, row.number()?, row.number()?);
            Ok(Some(Entry { key: key.to_owned(), value, version, updated: Timestamp::from_nanos(updated) }))
        })
    }

    fn set(&self, key: &str, value: &str) -> Result<i64, Error> {
        check_key(key)?;
        check_value(value)?;
        self.write("state.set", "store a value", |session| {
            let now = Timestamp::now();
            loop {
                let before = version(session, key)?;
                match replace(session, key, before, value, now)? {
                    Some(version) => return Ok(version),
                    // Made or deleted by another since it was looked at.
                    None => continue,
                }
            }
        })
    }

    fn compare_and_set(&self, key: &str, expected: Option<i64>, value: &str) -> Result<Swap, Error> {
        check_key(key)?;
        check_value(value)?;
        self.write("state.compare_and_set", "store a value", |session| {
            match replace(session, key, expected, value, Timestamp::now())? {
                Some(version) => Ok(Swap::Done(version)),
                None => Ok(Swap::Changed(version(session, key)?)),
            }
        })
    }

    fn delete(&self, key: &str) -> Result<bool, Error> {
        check_key(key)?;
        self.write("state.delete", "delete a value", |session| {
            Ok(session.execute(Statement::new("DELETE FROM state WHERE `key` = ?", [text(key)]))? > 0)
        })
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Key>, Error> {
        let limit = limit.min(MAX_LIMIT);
        self.read("state.list", "list keys", |session| {
            // The keys that begin with a prefix stand together: they are read from the first until one does not.
            let (from, low) = match after {
                Some(after) if after >= prefix => ("> ?", after),
                _ => (">= ?", prefix),
            };
            let query = format!(
                "SELECT `key`, version, updated, OCTET_LENGTH(value) FROM state WHERE `key` {from} ORDER BY `key` LIMIT ?"
            );
            let mut keys = Vec::new();
            for mut row in session.rows(Statement::new(query, [text(low), Cell::Number(limit as i64)]))? {
                let key = row.text()?;
                if !key.starts_with(prefix) {
                    break;
                }
                let (version, updated) = (row.number()?, Timestamp::from_nanos(row.number()?));
                keys.push(Key { key, version, updated, bytes: row.number()?.unsigned_abs() });
            }
            Ok(keys)
        })
    }
}

/// Returns the version of a key; it stays so until the end of the transaction.
fn version(session: &mut dyn Session, key: &str) -> Result<Option<i64>, Trouble> {
    let query = format!("SELECT version FROM state WHERE `key` = ?{}", session.locking());
    session.rows(Statement::new(query, [text(key)]))?.pop().map(|mut row| row.number()).transpose()
}

/// Stores a value if the key has the version `before`, or is not there; returns its new version, or `None`.
fn replace(
    session: &mut dyn Session,
    key: &str,
    before: Option<i64>,
    value: &str,
    now: Timestamp,
) -> Result<Option<i64>, Trouble> {
    // Microseconds, so that a key which is made again goes on above its old versions.
    let next = (now.as_nanos() / 1000).max(before.unwrap_or(0).saturating_add(1));
    let stored = [text(value), Cell::Number(next), Cell::Number(now.as_nanos()), text(key)];
    let Some(before) = before else {
        let insert = "INSERT INTO state (value, version, updated, `key`) VALUES (?, ?, ?, ?)";
        return match session.execute(Statement::new(insert, stored)) {
            Ok(_) => Ok(Some(next)),
            Err(Trouble::Duplicate) => Ok(None),
            Err(trouble) => Err(trouble),
        };
    };
    let update = "UPDATE state SET value = ?, version = ?, updated = ? WHERE `key` = ? AND version = ?";
    let values = [&stored[..], &[Cell::Number(before)]].concat();
    let found = session.execute(Statement::new(update, values))?;
    Ok((found > 0).then_some(next))
}

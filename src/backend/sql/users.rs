//! The statements of [`Users`] and [`Tokens`].

use super::rows::Cell;
use super::rules::check_name;
use super::store::{Desk, Fields, Session, Statement, Store, Trouble, number, text, unreadable};
use crate::error::{Error, ErrorKind};
use crate::repository::{MAX_LIMIT, NewUser, Password, Role, Tokens, User, UserChange, Users, user_name};
use crate::timestamp::Timestamp;

/// The key of `state` that says that the first admin was made: its primary key decides between processes, and between the
/// nodes of a cluster, where no lock does.
const SEEDED: &str = "forebay/first-admin";

/// What a [`User`] is made of, in the order in which it is read, and the password's hash behind it.
macro_rules! select {
    () => {
        "SELECT id, name, role, must_change, disabled, tokens_valid_from, created, updated, password_hash FROM users"
    };
}

impl<S: Store> Users for Desk<S> {
    fn create(&self, user: &NewUser<'_>) -> Result<User, Error> {
        let name = user_name(user.name)?;
        let hash = self.hasher.hash(user.password)?;
        self.write("users.create", "create a user", |session| {
            match insert(session, &name, user.role, &hash, user.must_change) {
                Err(Trouble::Duplicate) => {
                    let why = format!("there is a user {name} already; change that one, or choose another name");
                    Err(Error::new(ErrorKind::Conflict, why).into())
                }
                Err(trouble) => Err(trouble),
                Ok(()) => by_name(session, &name)?.ok_or_else(unreadable),
            }
        })
    }

    fn seed_admin(&self, name: &str, password: &Password) -> Result<bool, Error> {
        let name = user_name(name)?;
        password.check()?;
        // Every start of a program asks: only the first pays for a hash.
        if self.read("users.seed", "look for users", is_seeded)? {
            return Ok(false);
        }
        let hash = self.hasher.hash(password)?;
        self.write("users.seed", "create the first admin", |session| {
            if is_seeded(session)? {
                return Ok(false);
            }
            let now = Timestamp::now().as_nanos();
            let mark = "INSERT INTO state (`key`, value, version, updated) VALUES (?, ?, ?, ?)";
            // A user's name needs no escape in JSON.
            let value = format!("\"{name}\"");
            let values = [text(SEEDED), text(&value), Cell::Number(now / 1000), Cell::Number(now)];
            match session.execute(Statement::new(mark, values)) {
                Err(Trouble::Duplicate) => Ok(false),
                Err(trouble) => Err(trouble),
                Ok(_) => insert(session, &name, Role::Admin, &hash, true).map(|()| true),
            }
        })
    }

    fn find(&self, name: &str) -> Result<Option<User>, Error> {
        let name = user_name(name)?;
        self.read("users.find", "find a user", |session| by_name(session, &name))
    }

    fn list(&self, after: i64, limit: usize) -> Result<Vec<User>, Error> {
        self.read("users.list", "list users", |session| {
            let values = [Cell::Number(after), Cell::Number(limit.min(MAX_LIMIT) as i64)];
            let mut rows =
                session.rows(Statement::new(concat!(select!(), " WHERE id > ? ORDER BY id LIMIT ?"), values))?;
            rows.iter_mut().map(user).collect()
        })
    }

    fn change(&self, name: &str, change: &UserChange<'_>) -> Result<Option<User>, Error> {
        let name = user_name(name)?;
        let hash = change.password.map(|password| self.hasher.hash(password)).transpose()?;
        self.write("users.change", "change a user", |session| {
            // Whoever may be the last admin waits here for others who change admins.
            let lock = format!("SELECT id FROM users WHERE role = ? AND disabled = 0{}", session.locking());
            let admins = session.rows(Statement::new(lock, [text(Role::Admin.name())]))?.len();
            let Some(before) = by_name(session, &name)? else { return Ok(None) };
            let after = changed(&before, change, Timestamp::now());
            let is_admin = |user: &User| user.role == Role::Admin && !user.is_disabled;
            if is_admin(&before) && !is_admin(&after) && admins <= 1 {
                let why = format!("{name} is the last admin who may sign in; make another one first");
                return Err(Error::new(ErrorKind::Conflict, why).into());
            }
            let update = "UPDATE users SET role = ?, must_change = ?, disabled = ?, tokens_valid_from = ?, updated = ?, \
                          password_hash = COALESCE(?, password_hash) WHERE id = ?";
            let values = [
                text(after.role.name()),
                Cell::Number(after.must_change.into()),
                Cell::Number(after.is_disabled.into()),
                Cell::Number(after.tokens_valid_from.as_nanos()),
                Cell::Number(after.updated.as_nanos()),
                Cell::Text(hash.as_deref()),
                Cell::Number(before.id),
            ];
            session.execute(Statement::new(update, values))?;
            Ok(Some(after))
        })
    }

    fn verify(&self, name: &str, password: &Password) -> Result<Option<User>, Error> {
        // A name that cannot be is looked for like any other, so that it takes as long.
        let name = user_name(name).unwrap_or_default();
        let found = self.read("users.verify", "find a user", |session| {
            let query = concat!(select!(), " WHERE name = ?");
            let Some(mut row) = session.rows(Statement::new(query, [text(&name)]))?.pop() else { return Ok(None) };
            Ok(Some((user(&mut row)?, row.text()?)))
        })?;
        let fits = self.hasher.fits(password, found.as_ref().map(|(_, hash)| hash.as_str()))?;
        Ok(found.map(|(user, _)| user).filter(|user| fits && !user.is_disabled))
    }
}

impl<S: Store> Tokens for Desk<S> {
    fn revoke(&self, user: i64, token: &str, expires: Timestamp) -> Result<(), Error> {
        check_name("a token's identifier", token)?;
        self.write("tokens.revoke", "revoke a token", |session| {
            let now = Timestamp::now().as_nanos();
            session.execute(Statement::new("DELETE FROM revoked_tokens WHERE expires <= ?", [Cell::Number(now)]))?;
            let insert = "INSERT INTO revoked_tokens (token, user_id, at, expires) VALUES (?, ?, ?, ?)";
            let values = [text(token), Cell::Number(user), Cell::Number(now), Cell::Number(expires.as_nanos())];
            match session.execute(Statement::new(insert, values)) {
                Ok(_) | Err(Trouble::Duplicate) => Ok(()),
                Err(trouble) => Err(trouble),
            }
        })
    }

    fn holder(&self, user_id: i64, token: &str, issued: Timestamp) -> Result<Option<User>, Error> {
        check_name("a token's identifier", token)?;
        self.read("tokens.holder", "find a token's user", |session| {
            let query = concat!(
                select!(),
                " WHERE id = ? AND disabled = 0 AND tokens_valid_from <= ? \
                 AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE token = ?)"
            );
            let values = [Cell::Number(user_id), Cell::Number(issued.as_nanos()), text(token)];
            session.rows(Statement::new(query, values))?.pop().as_mut().map(user).transpose()
        })
    }

    fn prune(&self, now: Timestamp) -> Result<u64, Error> {
        self.write("tokens.prune", "forget tokens that have expired", |session| {
            let delete = "DELETE FROM revoked_tokens WHERE expires <= ?";
            Ok(session.execute(Statement::new(delete, [Cell::Number(now.as_nanos())]))? as u64)
        })
    }
}

fn insert(session: &mut dyn Session, name: &str, role: Role, hash: &str, must_change: bool) -> Result<(), Trouble> {
    let now = number(Some(Timestamp::now().as_nanos()));
    let insert = "INSERT INTO users (name, role, password_hash, must_change, disabled, tokens_valid_from, created, updated) \
                  VALUES (?, ?, ?, ?, 0, ?, ?, ?)";
    let values = [text(name), text(role.name()), text(hash), Cell::Number(must_change.into()), now, now, now];
    session.execute(Statement::new(insert, values)).map(drop)
}

/// Whether there is a user, or was a first admin.
fn is_seeded(session: &mut dyn Session) -> Result<bool, Trouble> {
    let query = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM state WHERE `key` = ?)";
    let counted = session.rows(Statement::new(query, [text(SEEDED)]))?.pop().map(|mut row| row.number()).transpose()?;
    Ok(counted != Some(0))
}

fn by_name(session: &mut dyn Session, name: &str) -> Result<Option<User>, Trouble> {
    session
        .rows(Statement::new(concat!(select!(), " WHERE name = ?"), [text(name)]))?
        .pop()
        .as_mut()
        .map(user)
        .transpose()
}

fn user(row: &mut Fields) -> Result<User, Trouble> {
    Ok(User {
        id: row.number()?,
        name: row.text()?,
        role: row.text()?.parse().map_err(|_| unreadable())?,
        must_change: row.number()? != 0,
        is_disabled: row.number()? != 0,
        tokens_valid_from: Timestamp::from_nanos(row.number()?),
        created: Timestamp::from_nanos(row.number()?),
        updated: Timestamp::from_nanos(row.number()?),
    })
}

/// Returns what a user is after a change. Pure.
fn changed(before: &User, change: &UserChange<'_>, now: Timestamp) -> User {
    let role = change.role.unwrap_or(before.role);
    let is_disabled = change.is_disabled.unwrap_or(before.is_disabled);
    let takes_away = change.password.is_some() || role != before.role || (is_disabled && !before.is_disabled);
    let valid_from = change.tokens_valid_from.or(takes_away.then_some(now));
    User {
        id: before.id,
        name: before.name.clone(),
        role,
        is_disabled,
        must_change: change.must_change.unwrap_or(before.must_change && change.password.is_none()),
        tokens_valid_from: valid_from.map_or(before.tokens_valid_from, |from| from.max(before.tokens_valid_from)),
        created: before.created,
        updated: now,
    }
}

//! Who may sign in, and which of their tokens are refused. Pure: the traits, their values and the rules.
//!
//! There is no deleting: a user who is gone is disabled, so that the name is not given again and what tokens say stays
//! true. The last admin who is not disabled stays one. A change that takes rights away (password, role, disabled) makes
//! every token invalid that was issued before.

use super::deployments::named;
use super::password::Password;
use crate::error::{Error, ErrorKind};
use crate::timestamp::Timestamp;

/// Most characters of a user's name.
pub const MAX_NAME: usize = 128;

/// What a user may do. A host decides what that means for it; for forebay's own pages:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Read and change everything: users, state, deployments.
    Admin,
    /// Read.
    Viewer,
}

named!(Role, "role", Admin = "admin", Viewer = "viewer");

/// A user as stored; without what belongs to the password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// Never given twice.
    pub id: i64,
    /// In lower case.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the password must be changed before anything else.
    pub must_change: bool,
    /// Whether the user may not sign in.
    pub is_disabled: bool,
    /// Tokens that were issued before this are refused.
    pub tokens_valid_from: Timestamp,
    /// When the user was created.
    pub created: Timestamp,
    /// When something about the user last changed.
    pub updated: Timestamp,
}

/// A user to be created.
#[derive(Clone, Debug)]
#[must_use]
pub struct NewUser<'a> {
    /// 1 to [`MAX_NAME`] of `A-Z a-z 0-9 . _ @ + -`; case does not matter.
    pub name: &'a str,
    /// What the user may do.
    pub role: Role,
    /// The first password.
    pub password: &'a Password,
    /// Whether it must be changed before anything else.
    pub must_change: bool,
}

impl NewUser<'_> {
    /// Finds out whether such a user can be, apart from whether there is one of that name: asks no database.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration) for a name or password that cannot be; names no password.
    pub fn check(&self) -> Result<(), Error> {
        user_name(self.name)?;
        self.password.check()
    }
}

/// Returns a user's name as it is stored.
pub(crate) fn user_name(name: &str) -> Result<String, Error> {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_fine) {
        let why = format!("a user's name has 1 to {MAX_NAME} of the characters A-Z a-z 0-9 . _ @ + -");
        return Err(Error::new(ErrorKind::Configuration, why));
    }
    Ok(name.to_ascii_lowercase())
}

/// What is to be changed about a user; what is `None` stays.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct UserChange<'a> {
    /// A new password.
    pub password: Option<&'a Password>,
    /// Whether the password must be changed. A new password without this sets it to `false`.
    pub must_change: Option<bool>,
    /// A new role.
    pub role: Option<Role>,
    /// Whether the user may not sign in.
    pub is_disabled: Option<bool>,
    /// Refuses tokens that were issued before; set to now by a new password, another role and disabling, if this does
    /// not say otherwise. Never moves back.
    pub tokens_valid_from: Option<Timestamp>,
}

/// Users.
///
/// # Errors
/// Every method returns [`Configuration`](ErrorKind::Configuration) for a name or password that cannot be,
/// [`Unavailable`](ErrorKind::Unavailable) if trying again later may help, and [`Database`](ErrorKind::Database) when the
/// database refuses. No error names a password or a hash.
pub trait Users: Send + Sync {
    /// Creates a user.
    ///
    /// # Errors
    /// Also [`Conflict`](ErrorKind::Conflict) when there is one of that name.
    fn create(&self, user: &NewUser<'_>) -> Result<User, Error>;

    /// Creates the first admin, who must change the password, if there is no user and never was; returns whether it did.
    /// Any number of processes may try at once: one of them does.
    fn seed_admin(&self, name: &str, password: &Password) -> Result<bool, Error>;

    /// Returns the user of a name; `None` when there is none.
    fn find(&self, name: &str) -> Result<Option<User>, Error>;

    /// Returns users by id, behind the id `after` (0 for the first): at most `limit` of them, and at most
    /// [`MAX_LIMIT`](super::MAX_LIMIT).
    fn list(&self, after: i64, limit: usize) -> Result<Vec<User>, Error>;

    /// Changes a user; returns what is stored then, or `None` when there is none of that name.
    ///
    /// # Errors
    /// Also [`Conflict`](ErrorKind::Conflict) when no admin would be left who may sign in.
    fn change(&self, name: &str, change: &UserChange<'_>) -> Result<Option<User>, Error>;

    /// Returns the user whose name and password these are. `None` says nothing of what was wrong: the name, the password,
    /// or that the user is disabled; and it takes as long in each case.
    ///
    /// Takes 15 ms of a processor (measured: README, Speed) and 19 MiB of memory, on purpose (see [`Password`]); a few run
    /// at once, others wait.
    /// Never on a thread of an async runtime: [`Repository::sign_in`](super::Repository::sign_in) is for those.
    fn verify(&self, name: &str, password: &Password) -> Result<Option<User>, Error>;
}

/// Tokens of users who have signed in. What a token is, and its signature, is the host's business; here is which ones are
/// refused although they look right.
///
/// # Errors
/// As of [`Users`].
pub trait Tokens: Send + Sync {
    /// Refuses a token from now on. `token` is its identifier (`jti`), not the token itself; `expires` is when nobody would
    /// take it any more: until then it is kept here. Forgets what has expired. A second time changes nothing.
    fn revoke(&self, user: i64, token: &str, expires: Timestamp) -> Result<(), Error>;

    /// Returns the user of a token that is not expired, was `issued` then and is not refused; `None` when it is refused,
    /// or its user is disabled or unknown.
    ///
    /// A token that tells whole seconds counts as issued at the second's beginning: one that was issued within the second
    /// of a change of the password is refused.
    fn holder(&self, user: i64, token: &str, issued: Timestamp) -> Result<Option<User>, Error>;

    /// Forgets refused tokens that have expired by `now`; returns how many.
    fn prune(&self, now: Timestamp) -> Result<u64, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_plain_and_their_case_does_not_matter() {
        assert_eq!(user_name("Ann.B@x-1.org").unwrap(), "ann.b@x-1.org");
        for name in ["", " ", "a b", "ä", "a\0", "a'b", "a\u{1b}", &"x".repeat(129)] {
            assert!(user_name(name).is_err(), "{name:?}");
        }
    }
}

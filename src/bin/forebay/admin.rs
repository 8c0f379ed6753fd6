//! The first admin, as the environment names it: for `forebay user seed-admin`, and for `forebay run`, which creates it by
//! itself.
//!
//! `FOREBAY_ADMIN_USER` is the name, `FOREBAY_ADMIN_PASSWORD` the password, else the first line of the file that
//! `FOREBAY_ADMIN_PASSWORD_FILE` names. Not the settings file: that one is shown around. Everything is checked before a
//! database is opened; whether there was a user before, the database says, once for all processes.
//!
//! `forebay run` does it in a thread: a server may be away for hours, and sensors do not wait for an account. A reload
//! looks at none of this, so the file may be gone by then.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use forebay::repository::{NewUser, Password, Repository, Role};
use forebay::{DatabaseUrl, Error, ErrorKind};

use crate::kept;

const USER: &str = "FOREBAY_ADMIN_USER";
const PASSWORD: &str = "FOREBAY_ADMIN_PASSWORD";
const PASSWORD_FILE: &str = "FOREBAY_ADMIN_PASSWORD_FILE";
const DEFAULT_NAME: &str = "admin";
/// How long until a database that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Who is to be the first admin.
pub struct FirstAdmin {
    name: String,
    password: Password,
}

impl FirstAdmin {
    /// Gathers it; `None` when no variable names one. `name` goes before that of the environment.
    ///
    /// # Errors
    /// In words, with the variable and never with its secret.
    pub fn gather(name: Option<&str>, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let (password, variable) = match (environment(PASSWORD), environment(PASSWORD_FILE)) {
            (Some(password), _) => (password, PASSWORD),
            (None, Some(file)) => {
                let line = kept::secret(Some(Path::new(&file)), "password");
                (line.map_err(|failure| format!("{PASSWORD_FILE}: {}", failure.message))?, PASSWORD_FILE)
            }
            (None, None) if environment(USER).is_none() => return Ok(None),
            (None, None) => return Err(format!("{USER} names an admin without a password; {}", advice())),
        };
        let named = name.map(str::to_owned).or_else(|| environment(USER));
        let admin = Self { name: named.unwrap_or_else(|| DEFAULT_NAME.into()), password: Password::new(password) };
        admin.password.check().map_err(|error| format!("{variable}: {error}"))?;
        // So it is the name that can be wrong yet.
        let of_name = if name.is_some() { "--name" } else { USER };
        let new = NewUser { name: &admin.name, role: Role::Admin, password: &admin.password, must_change: true };
        new.check().map_err(|error| format!("{of_name}: {error}"))?;
        Ok(Some(admin))
    }

    /// As [`gather`](Self::gather), for a service that writes to the database at `url` first.
    ///
    /// # Errors
    /// As there, and when that database keeps nobody.
    pub fn of_service(url: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let admin = Self::gather(None, environment)?;
        if admin.is_some() && DatabaseUrl::parse(url).is_ok_and(|url| url == DatabaseUrl::Memory) {
            return Err(format!("{PASSWORD}: `memory:` keeps no users; name another database first, or unset it"));
        }
        Ok(admin)
    }

    /// Creates it, if there is no user and never was; returns whether it did.
    pub fn seed(&self, repository: &Repository) -> Result<bool, Error> {
        repository.users().seed_admin(&self.name, &self.password)
    }
}

/// What to do without a password.
pub fn advice() -> String {
    format!("set {PASSWORD} or {PASSWORD_FILE}")
}

/// A thread that creates the first admin; told to end by drop.
pub struct Seeding {
    _stop: Sender<()>,
}

impl Seeding {
    /// Starts it. What people should know is told by `tell`.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(
        admin: FirstAdmin,
        repository: Repository,
        tell: impl Fn(&str) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        std::thread::Builder::new().name("first-admin".into()).spawn(move || {
            let mut is_told = false;
            loop {
                match admin.seed(&repository) {
                    Ok(true) => {
                        tell(&format!("the first admin, {}, is created; the password must be changed", admin.name));
                        return;
                    }
                    Ok(false) => return,
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        if !std::mem::replace(&mut is_told, true) {
                            tell(&format!("the first admin is created when the database answers: {error}"));
                        }
                    }
                    Err(error) => {
                        tell(&format!("the first admin is not created: {error}"));
                        return;
                    }
                }
                if stopped.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(variables: &[(&str, &str)]) -> Result<Option<FirstAdmin>, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        FirstAdmin::of_service("sqlite:a.db", find)
    }

    #[test]
    fn what_is_wrong_is_told_with_the_variable_and_without_the_secret() {
        assert!(gathered(&[]).unwrap().is_none());
        assert_eq!(gathered(&[(PASSWORD, "correct horse")]).unwrap().unwrap().name, "admin");
        let error = |variables: &[(&str, &str)]| gathered(variables).err().unwrap();
        assert!(error(&[(USER, "ann")]).starts_with("FOREBAY_ADMIN_USER names an admin without a password; set "));
        assert!(error(&[(USER, "a b"), (PASSWORD, "correct horse")]).starts_with("FOREBAY_ADMIN_USER: a user's name"));
        let short = error(&[(PASSWORD, "s3cret")]);
        assert!(short.starts_with("FOREBAY_ADMIN_PASSWORD: a password has at least") && !short.contains("s3cret"));
        let missing = error(&[(PASSWORD_FILE, "/nowhere/at/all")]);
        assert!(missing.starts_with("FOREBAY_ADMIN_PASSWORD_FILE: read /nowhere/at/all: "), "{missing}");
        let kept = |_: &str| Some("correct-horse".to_owned());
        assert!(FirstAdmin::of_service("memory:", kept).err().unwrap().contains("`memory:` keeps no users"));
    }
}

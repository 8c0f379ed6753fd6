//! The way to state, deployments and users, and to sign in from async code.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::{Deployments, Password, Repository, State, Tokens, User, Users};
use crate::error::{Error, ErrorKind};

/// Most sign-ins on their way at once. Each has a thread; a few of them hash, the others wait.
const MOST_SIGN_INS: usize = 64;

/// What a database keeps beside rows.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) state: Arc<dyn State>,
    pub(super) deployments: Arc<dyn Deployments>,
    pub(super) users: Arc<dyn Users>,
    pub(super) tokens: Arc<dyn Tokens>,
    /// On their way.
    pub(super) sign_ins: Arc<AtomicUsize>,
}

impl Repository {
    /// JSON values by key.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # std::env::set_current_dir(&dir)?;
    /// use forebay::{Pipeline, repository::Swap};
    ///
    /// let pipeline = Pipeline::open("sqlite:sensor.db")?;
    /// let repository = pipeline.repository()?; // in another process: Repository::open("sqlite:sensor.db")
    /// let state = repository.state();
    /// let version = state.set("scan/last", r#"{"page":1}"#)?;
    /// assert!(matches!(state.compare_and_set("scan/last", Some(version), r#"{"page":2}"#)?, Swap::Done(_)));
    /// assert!(matches!(state.compare_and_set("scan/last", Some(version), "3")?, Swap::Changed(_)));
    /// assert_eq!(state.get("scan/last")?.unwrap().value, r#"{"page":2}"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> &dyn State {
        &*self.kept.state
    }

    /// Sensors and hosts.
    pub fn deployments(&self) -> &(dyn Deployments + 'static) {
        &*self.kept.deployments
    }

    /// Who may sign in.
    pub fn users(&self) -> &dyn Users {
        &*self.kept.users
    }

    /// Which tokens are refused.
    pub fn tokens(&self) -> &dyn Tokens {
        &*self.kept.tokens
    }

    /// As [`Users::verify`], from async code: the work is done on a thread of its own, whatever runtime there is.
    ///
    /// # Errors
    /// As of [`Users`]; also [`Unavailable`](ErrorKind::Unavailable) when 64 are on their way already, so that a flood of
    /// sign-ins costs no more than that.
    ///
    /// # Cancel safety
    /// When the future is dropped the thread finishes its work, and nobody is told.
    pub async fn sign_in(&self, name: impl Into<String>, password: Password) -> Result<Option<User>, Error> {
        let place = Place::take(&self.kept.sign_ins)?;
        let (users, name) = (Arc::clone(&self.kept.users), name.into());
        let (reply, answer) = oneshot::channel();
        let work = move || {
            let _place = place;
            // Nobody may be waiting any more.
            let _ = reply.send(users.verify(&name, &password));
        };
        let thread = std::thread::Builder::new().name("forebay-sign-in".into()).spawn(work);
        thread.map_err(|error| Error::new(ErrorKind::System, "start a thread to sign in").because(error))?;
        answer.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::System, "sign in: the thread has ended")))
    }
}

/// A place among those who sign in; given back on drop.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(places: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let taken = places.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::clone(places));
        if taken < MOST_SIGN_INS {
            return Ok(place);
        }
        Err(Error::new(ErrorKind::Unavailable, "too many sign in at once; try again"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

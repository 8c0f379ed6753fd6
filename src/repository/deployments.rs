//! What a deployment consists of: sensors and the hosts that they run on, and how each of them is. Pure: the trait, its
//! values and the rules.
//!
//! A state changes in three ways only: whoever set up a sensor says so ([`Deployments::transition`], which names the state
//! that it believes in, so that two do not undo each other's work), time passes without a sign of life
//! ([`Deployments::sweep`]), and a new one begins as pending. Each change is a row of the history. A heartbeat moves no
//! state: whether a sensor that was silent is well again is its host's to say.

use std::net::IpAddr;
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::timestamp::Timestamp;

/// Changes that are kept of each deployment, the newest.
pub const MAX_HISTORY: usize = 1000;
/// Bytes that are kept of an error or a reason; what is longer is cut.
pub const MAX_REASON: usize = 4096;
/// Most services of a deployment.
pub const MAX_SERVICES: usize = 1000;

/// What is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeploymentKind {
    /// A sensor.
    Sensor,
    /// A host that sensors run on.
    Host,
}

/// How a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeploymentState {
    /// To be set up, or being so.
    Pending,
    /// At work.
    Running,
    /// At work, with something wrong, or silent for a while.
    Degraded,
    /// Not at work.
    Failed,
    /// Taken down on purpose. From here it can only become pending again.
    TornDown,
}

/// Makes names for the values of an enum, as they stand in the database.
macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns its name, as it stands in the database.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let known = Self::ALL.iter().find(|value| value.name() == text).copied();
                let why = || concat!("no ", $what, "; one of: ", named!(@list $($name),+));
                known.ok_or_else(|| Error::new(ErrorKind::Configuration, why()))
            }
        }
    };
    (@list $first:literal $(, $more:literal)*) => { concat!($first $(, ", ", $more)*) };
}

pub(super) use named;

named!(DeploymentKind, "kind of deployment", Sensor = "sensor", Host = "host");
named!(
    DeploymentState,
    "state of a deployment",
    Pending = "pending",
    Running = "running",
    Degraded = "degraded",
    Failed = "failed",
    TornDown = "torn_down"
);

impl DeploymentState {
    /// Returns whether a deployment may go from this state to `next`: from every state to every other one, but from
    /// torn down to pending only.
    pub fn may_become(self, next: Self) -> bool {
        self != next && (self != Self::TornDown || next == Self::Pending)
    }
}

/// What is to be deployed: everything about it that somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct DeploymentPlan {
    /// Its name, which nothing else has: 1 to 255 bytes, no control characters.
    pub name: String,
    /// What it is.
    pub kind: DeploymentKind,
    /// Of a sensor: the name of the host that it runs on, which need not be known.
    pub host: Option<String>,
    /// Names of its services; at most [`MAX_SERVICES`].
    pub services: Vec<String>,
    /// Its configuration: JSON, kept as it is.
    pub config: String,
    /// Where it is reached.
    pub address: Option<IpAddr>,
    /// What tells one configuration from another: the host's choice, at most 255 bytes.
    pub hash: Option<String>,
}

impl DeploymentPlan {
    /// Begins with no service, `{}` as its configuration, and nothing else.
    pub fn new(kind: DeploymentKind, name: impl Into<String>) -> Self {
        let (name, config) = (name.into(), "{}".into());
        Self { name, kind, host: None, services: Vec::new(), config, address: None, hash: None }
    }
}

/// A deployment as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployment {
    /// What was decided about it.
    pub plan: DeploymentPlan,
    /// How it is.
    pub state: DeploymentState,
    /// Why it is degraded or has failed; what was said last.
    pub last_error: Option<String>,
    /// Its last sign of life.
    pub last_seen: Option<Timestamp>,
    /// When it was first planned.
    pub created: Timestamp,
    /// When its plan or state last changed.
    pub updated: Timestamp,
}

/// One change of a deployment's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// From which state; `None` when it was new.
    pub from: Option<DeploymentState>,
    /// To which.
    pub to: DeploymentState,
    /// Why, if somebody said so.
    pub reason: Option<String>,
}

/// What became of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Transition {
    /// It is in the new state.
    Done,
    /// Nothing was changed: it is in this state, not the expected one.
    Conflict(DeploymentState),
    /// There is no such deployment.
    Missing,
}

/// A deployment that a sweep has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Its name.
    pub name: String,
    /// From which state.
    pub from: DeploymentState,
    /// To which.
    pub to: DeploymentState,
}

/// Which deployments are asked for; every condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct DeploymentFilter {
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only of this kind.
    pub kind: Option<DeploymentKind>,
    /// Only in this state.
    pub state: Option<DeploymentState>,
    /// Only on this host.
    pub host: Option<String>,
}

/// Sensors and hosts.
///
/// # Errors
/// Every method returns [`Configuration`](ErrorKind::Configuration) for a value that cannot be,
/// [`Unavailable`](ErrorKind::Unavailable) if trying again later may help, and [`Database`](ErrorKind::Database) when the
/// database refuses.
pub trait Deployments: Send + Sync {
    /// Stores a plan: a new one begins as pending, an existing one keeps its state and signs of life.
    fn upsert(&self, plan: &DeploymentPlan) -> Result<(), Error>;

    /// Moves a deployment from the state `expected` to `next`. `error` replaces its last error; `None` leaves it when
    /// `next` is degraded, failed or torn down, and clears it otherwise.
    ///
    /// # Errors
    /// Also [`Configuration`](ErrorKind::Configuration) for a move that is none: see [`DeploymentState::may_become`].
    fn transition(
        &self,
        name: &str,
        expected: DeploymentState,
        next: DeploymentState,
        error: Option<&str>,
    ) -> Result<Transition, Error>;

    /// Notes a sign of life; returns the state that it is in, `None` when there is no such deployment.
    fn heartbeat(&self, name: &str) -> Result<Option<DeploymentState>, Error>;

    /// Returns deployments, by name in the order of its bytes, behind the name `after`: at most `limit` of them, and at
    /// most [`MAX_LIMIT`](super::MAX_LIMIT).
    fn list(&self, filter: &DeploymentFilter, after: Option<&str>, limit: usize) -> Result<Vec<Deployment>, Error>;

    /// Moves what gives no sign of life: running ones to degraded after `degraded`, and pending, running and degraded ones
    /// to failed after `failed`. One that was never seen counts from its last change. Returns what was moved.
    ///
    /// # Errors
    /// Also when it was stopped half-way: what was moved until then stays so, and is in the history.
    fn sweep(&self, degraded: Duration, failed: Duration) -> Result<Vec<Swept>, Error>;

    /// Returns the newest changes of a deployment's state, newest first: at most `limit`, and at most [`MAX_HISTORY`].
    fn history(&self, name: &str, limit: usize) -> Result<Vec<Change>, Error>;
}

impl dyn Deployments + '_ {
    /// Returns one deployment; `None` when there is none of that name.
    ///
    /// # Errors
    /// As [`Deployments::list`].
    pub fn get(&self, name: &str) -> Result<Option<Deployment>, Error> {
        let filter = DeploymentFilter { name: Some(name.to_owned()), ..DeploymentFilter::default() };
        Ok(self.list(&filter, None, 1)?.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_told_what_there_is() {
        for state in DeploymentState::ALL {
            assert_eq!(state.name().parse::<DeploymentState>().unwrap(), *state);
        }
        let error = "gone".parse::<DeploymentState>().unwrap_err().to_string();
        assert_eq!(error, "no state of a deployment; one of: pending, running, degraded, failed, torn_down");
    }

    #[test]
    fn what_was_torn_down_only_begins_anew() {
        use DeploymentState::{Failed, Pending, Running, TornDown};
        assert!(TornDown.may_become(Pending) && Failed.may_become(TornDown) && Pending.may_become(Running));
        assert!(!TornDown.may_become(Running) && !Running.may_become(Running));
    }
}

//! Is the process well, and do rows land? Pure: decides from a status and the answers of databases.
//!
//! *Healthy* is what a restart would mend: no lane has failed, no writer hangs. *Ready* is what rows need: every
//! database answers, and what is being written ends. A database that is down makes a process unready, not unwell: rows wait
//! in memory, and a restart would lose them.

use std::time::Duration;

use crate::pipeline::{LaneState, Status};

/// How long one write may take, and an answer may be waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A writer shows itself once a second.
const HANGS_AFTER: Duration = Duration::from_secs(30);

/// What a lane's database answered last.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// What went wrong, if it did.
    pub(super) error: Option<String>,
    /// For how long the next answer has been waited for.
    pub(super) waiting: Option<Duration>,
}

/// Returns what is wrong with the process.
pub(super) fn ills(status: &Status) -> Vec<String> {
    let ill = |(lane, name): (&crate::pipeline::LaneStatus, String)| match &lane.state {
        LaneState::Failed { reason } => Some(format!("{name} has failed: {reason}")),
        LaneState::Closed => None,
        _ if lane.writer_seen > HANGS_AFTER => {
            Some(format!("the writer of {name} was last seen {} s ago", lane.writer_seen.as_secs()))
        }
        _ => None,
    };
    named(status).filter_map(ill).collect()
}

/// Returns why rows do not land.
pub(super) fn obstacles(status: &Status, answers: &[Answer]) -> Vec<String> {
    let mut obstacles = ills(status);
    for (index, (lane, name)) in named(status).enumerate() {
        let answer = answers.get(index).cloned().unwrap_or_default();
        obstacles.extend(match (&lane.state, lane.writing_for, answer) {
            (LaneState::Failed { .. }, ..) => None,
            (LaneState::Closed, ..) => Some(format!("{name} is closed")),
            (LaneState::Retrying { since, error, .. }, ..) => {
                Some(format!("{name} has tried again for {} s: {error}", since.as_secs()))
            }
            (_, Some(writing), _) if writing > PATIENCE => Some(format!(
                "{name} has been writing one batch for {} s; another program may hold its lock",
                writing.as_secs()
            )),
            (_, Some(_), _) => None,
            (.., Answer { waiting: Some(waiting), .. }) if waiting > PATIENCE => {
                Some(format!("{name} has not answered for {} s", waiting.as_secs()))
            }
            (.., Answer { error: Some(error), .. }) => Some(format!("{name} does not answer: {error}")),
            _ => None,
        });
    }
    obstacles
}

fn named(status: &Status) -> impl Iterator<Item = (&crate::pipeline::LaneStatus, String)> {
    status.lanes.iter().map(|lane| (lane, format!("lane {}", lane.backend)))
}

//! The statements of [`Deployments`].

use std::time::Duration;

use super::rows::Cell;
use super::rules::{check_plan, cut};
use super::store::{Desk, Fields, Session, Statement, Store, Trouble, number, text, unreadable};
use crate::error::{Error, ErrorKind};
use crate::repository::{
    Change, Deployment, DeploymentFilter, DeploymentPlan, DeploymentState, Deployments, MAX_HISTORY, MAX_LIMIT, Swept,
    Transition,
};
use crate::timestamp::Timestamp;

/// Deployments that a sweep moves in one transaction, so that no batch of rows waits for long.
const SWEPT_AT_ONCE: usize = 100;

impl<S: Store> Deployments for Desk<S> {
    fn upsert(&self, plan: &DeploymentPlan) -> Result<(), Error> {
        check_plan(plan)?;
        let services = serde_json::to_string(&plan.services)
            .map_err(|error| Error::new(ErrorKind::Configuration, "write services as JSON").because(error))?;
        let address = plan.address.map(|address| address.to_string());
        self.write("deployments.upsert", "store a deployment", |session| {
            let now = Timestamp::now().as_nanos();
            let decided = [
                text(plan.kind.name()),
                Cell::Text(plan.host.as_deref()),
                text(&services),
                text(&plan.config),
                Cell::Text(address.as_deref()),
                Cell::Text(plan.hash.as_deref()),
                Cell::Number(now),
                text(&plan.name),
            ];
            let update = "UPDATE deployments SET kind = ?, host = ?, services = ?, config = ?, address = ?, hash = ?, \
                          updated = ? WHERE name = ?";
            if session.execute(Statement::new(update, decided))? > 0 {
                return Ok(());
            }
            let pending = DeploymentState::Pending;
            let insert = "INSERT INTO deployments (kind, host, services, config, address, hash, updated, name, state, created) \
                          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
            let new = [&decided[..], &[text(pending.name()), Cell::Number(now)]].concat();
            match session.execute(Statement::new(insert, new)) {
                Ok(_) => note(session, &plan.name, now, None, pending, None),
                // Made by another since it was looked for.
                Err(Trouble::Duplicate) => session.execute(Statement::new(update, decided)).map(drop),
                Err(trouble) => Err(trouble),
            }
        })
    }

    fn transition(
        &self,
        name: &str,
        expected: DeploymentState,
        next: DeploymentState,
        error: Option<&str>,
    ) -> Result<Transition, Error> {
        if !expected.may_become(next) {
            let why = format!("a deployment that is {expected} cannot become {next}");
            return Err(Error::new(ErrorKind::Configuration, why));
        }
        self.write("deployments.transition", "move a deployment", |session| {
            let now = Timestamp::now().as_nanos();
            if move_on(session, name, expected, next, error.map(cut), now)? {
                return Ok(Transition::Done);
            }
            Ok(state(session, name)?.map_or(Transition::Missing, Transition::Conflict))
        })
    }

    fn heartbeat(&self, name: &str) -> Result<Option<DeploymentState>, Error> {
        self.write("deployments.heartbeat", "note a sign of life", |session| {
            // Not below what is there: the clocks of hosts differ.
            let now = Timestamp::now().as_nanos();
            let update =
                "UPDATE deployments SET last_seen = CASE WHEN last_seen > ? THEN last_seen ELSE ? END WHERE name = ?";
            session.execute(Statement::new(update, [Cell::Number(now), Cell::Number(now), text(name)]))?;
            state(session, name)
        })
    }

    fn list(&self, filter: &DeploymentFilter, after: Option<&str>, limit: usize) -> Result<Vec<Deployment>, Error> {
        let mut query = String::from(
            "SELECT name, kind, host, services, config, address, hash, state, last_error, last_seen, created, updated \
             FROM deployments WHERE name > ?",
        );
        // No name is empty.
        let mut values = vec![text(after.unwrap_or(""))];
        let conditions = [
            (" AND name = ?", filter.name.as_deref()),
            (" AND kind = ?", filter.kind.map(|kind| kind.name())),
            (" AND state = ?", filter.state.map(DeploymentState::name)),
            (" AND host = ?", filter.host.as_deref()),
        ];
        for (condition, value) in conditions {
            if let Some(value) = value {
                query.push_str(condition);
                values.push(text(value));
            }
        }
        query.push_str(" ORDER BY name LIMIT ?");
        values.push(Cell::Number(limit.min(MAX_LIMIT) as i64));
        self.read("deployments.list", "list deployments", |session| {
            let rows = session.rows(Statement::new(query.clone(), values.clone()))?;
            rows.into_iter().map(deployment).collect()
        })
    }

    fn sweep(&self, degraded: Duration, failed: Duration) -> Result<Vec<Swept>, Error> {
        use DeploymentState::{Degraded, Failed, Pending, Running};
        let mut swept = Vec::new();
        // What is to fail first, so that nothing takes two steps at once.
        for (silent, from, to) in
            [(failed, &[Pending, Running, Degraded][..], Failed), (degraded, &[Running], Degraded)]
        {
            let reason = format!("no sign of life for {silent:?}");
            let nanos = i64::try_from(silent.as_nanos()).unwrap_or(i64::MAX);
            for from in from {
                loop {
                    let moved = self.write("deployments.sweep", "sweep deployments", |session| {
                        let now = Timestamp::now().as_nanos();
                        let find = format!(
                            "SELECT name FROM deployments WHERE state = ? AND COALESCE(last_seen, updated) <= ? \
                             ORDER BY name LIMIT ?{}",
                            session.locking()
                        );
                        let limit = Cell::Number(SWEPT_AT_ONCE as i64);
                        let values = [text(from.name()), Cell::Number(now.saturating_sub(nanos)), limit];
                        let mut moved = Vec::new();
                        for mut row in session.rows(Statement::new(find, values))? {
                            let name = row.text()?;
                            if move_on(session, &name, *from, to, Some(&reason), now)? {
                                moved.push(Swept { name, from: *from, to });
                            }
                        }
                        Ok(moved)
                    })?;
                    let is_end = moved.len() < SWEPT_AT_ONCE;
                    swept.extend(moved);
                    if is_end {
                        break;
                    }
                }
            }
        }
        Ok(swept)
    }

    fn history(&self, name: &str, limit: usize) -> Result<Vec<Change>, Error> {
        self.read("deployments.history", "read a deployment's history", |session| {
            let query = "SELECT at, from_state, to_state, reason FROM deployment_history WHERE deployment = ? \
                         ORDER BY id DESC LIMIT ?";
            let limit = Cell::Number(limit.min(MAX_HISTORY) as i64);
            let rows = session.rows(Statement::new(query, [text(name), limit]))?;
            rows.into_iter().map(change).collect()
        })
    }
}

/// Moves a deployment if it is in the state `from`; returns whether it was.
fn move_on(
    session: &mut dyn Session,
    name: &str,
    from: DeploymentState,
    to: DeploymentState,
    error: Option<&str>,
    now: i64,
) -> Result<bool, Trouble> {
    use DeploymentState::{Degraded, Failed, TornDown};
    let is_unwell = matches!(to, Degraded | Failed | TornDown);
    let (assignment, assigned) =
        if is_unwell && error.is_none() { ("", None) } else { (", last_error = ?", Some(Cell::Text(error))) };
    let update = format!("UPDATE deployments SET state = ?, updated = ?{assignment} WHERE name = ? AND state = ?");
    let mut values = vec![text(to.name()), Cell::Number(now)];
    values.extend(assigned);
    values.extend([text(name), text(from.name())]);
    if session.execute(Statement::new(update, values))? == 0 {
        return Ok(false);
    }
    note(session, name, now, Some(from), to, error)?;
    Ok(true)
}

/// Adds to the history, and takes away what is too old in it.
fn note(
    session: &mut dyn Session,
    name: &str,
    now: i64,
    from: Option<DeploymentState>,
    to: DeploymentState,
    reason: Option<&str>,
) -> Result<(), Trouble> {
    let insert = "INSERT INTO deployment_history (deployment, at, from_state, to_state, reason) VALUES (?, ?, ?, ?, ?)";
    let from = Cell::Text(from.map(DeploymentState::name));
    session
        .execute(Statement::new(insert, [text(name), Cell::Number(now), from, text(to.name()), Cell::Text(reason)]))?;
    let oldest = "SELECT id FROM deployment_history WHERE deployment = ? ORDER BY id DESC LIMIT 1 OFFSET ?";
    let Some(mut row) = session.rows(Statement::new(oldest, [text(name), Cell::Number(MAX_HISTORY as i64)]))?.pop()
    else {
        return Ok(());
    };
    let delete = "DELETE FROM deployment_history WHERE deployment = ? AND id <= ?";
    session.execute(Statement::new(delete, [text(name), number(row.maybe_number()?)])).map(drop)
}

fn state(session: &mut dyn Session, name: &str) -> Result<Option<DeploymentState>, Trouble> {
    let query = "SELECT state FROM deployments WHERE name = ?";
    let Some(mut row) = session.rows(Statement::new(query, [text(name)]))?.pop() else { return Ok(None) };
    known(&row.text()?).map(Some)
}

fn known<T: std::str::FromStr>(name: &str) -> Result<T, Trouble> {
    name.parse().map_err(|_| unreadable())
}

fn deployment(mut row: Fields) -> Result<Deployment, Trouble> {
    let (name, kind) = (row.text()?, known(&row.text()?)?);
    let mut plan = DeploymentPlan::new(kind, name);
    plan.host = row.maybe_text()?;
    plan.services = serde_json::from_str(&row.text()?).map_err(|_| unreadable())?;
    plan.config = row.text()?;
    plan.address = row.maybe_text()?.map(|address| known(&address)).transpose()?;
    plan.hash = row.maybe_text()?;
    Ok(Deployment {
        plan,
        state: known(&row.text()?)?,
        last_error: row.maybe_text()?,
        last_seen: row.maybe_number()?.map(Timestamp::from_nanos),
        created: Timestamp::from_nanos(row.number()?),
        updated: Timestamp::from_nanos(row.number()?),
    })
}

fn change(mut row: Fields) -> Result<Change, Trouble> {
    Ok(Change {
        at: Timestamp::from_nanos(row.number()?),
        from: row.maybe_text()?.map(|state| known(&state)).transpose()?,
        to: known(&row.text()?)?,
        reason: row.maybe_text()?,
    })
}

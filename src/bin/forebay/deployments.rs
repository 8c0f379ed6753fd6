//! `forebay deployments`: sensors and hosts, and how each of them is.

use std::fmt::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use forebay::Timestamp;
use forebay::config::parse_duration;
use forebay::repository::{
    Change, Deployment, DeploymentFilter, DeploymentKind, DeploymentState, MAX_LIMIT, Transition,
};
use serde_json::{Value, json};

use crate::Exit;
use crate::db::Place;
use crate::ingest::Failure;
use crate::kept::{Kept, failed, missing, word};
use crate::table::{Side, Table};
use crate::terminal::{self, Harmless};

pub const HELP: &str = "\
Examples:
  forebay deployments list --state failed
  forebay deployments show web-1 --history 20
  forebay deployments set-state web-1 failed pending       only if it is failed now
  forebay deployments sweep --degraded-after 2m --failed-after 10m

States: pending, running, degraded, failed, torn_down. May run beside a forebay that writes to the same database.

Exit codes:
  0    done
  1    there is no such deployment, or it is in another state; nothing was changed
  2    wrong usage or configuration; nothing was changed
  3    the database could not be opened or written";

#[derive(Debug, Subcommand)]
pub enum Deployments {
    /// List deployments.
    List(List),
    /// Show one deployment, with its latest changes.
    Show {
        name: String,
        /// How many changes.
        #[arg(long, value_name = "CHANGES", default_value_t = 10)]
        history: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Move a deployment from one state to another.
    SetState(SetState),
    /// Move what gives no sign of life: running ones to degraded, then to failed.
    Sweep {
        /// How long a running one may be silent.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        degraded_after: Duration,
        /// How long any one may be silent before it counts as failed.
        #[arg(long, value_name = "TIME", value_parser = parse_duration)]
        failed_after: Duration,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
pub struct List {
    /// Only those in this state.
    #[arg(long)]
    state: Option<DeploymentState>,
    /// Only those on this host.
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Only sensors, or only hosts.
    #[arg(long)]
    kind: Option<DeploymentKind>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub struct SetState {
    name: String,
    /// The state that it must be in.
    from: DeploymentState,
    /// The state that it is to be in.
    to: DeploymentState,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    #[command(flatten)]
    place: Place,
}

impl Deployments {
    /// Returns where, and for whom the answer is.
    pub fn place(&self) -> &Place {
        match self {
            Self::List(List { place, .. }) | Self::SetState(SetState { place, .. }) => place,
            Self::Show { place, .. } | Self::Sweep { place, .. } => place,
        }
    }

    pub fn run(&self, kept: &Kept) -> Result<Exit, Failure> {
        match self {
            Self::List(flags) => list(flags, kept),
            Self::Show { name, history, .. } => show(name, *history, kept),
            Self::SetState(flags) => set_state(flags, kept),
            Self::Sweep { degraded_after, failed_after, .. } => {
                let repository = kept.open_to_write()?;
                let swept = repository.deployments().sweep(*degraded_after, *failed_after).map_err(failed)?;
                let mut words = format!("{} moved", swept.len());
                for one in &swept {
                    // Writing to a text cannot fail.
                    let _ = write!(words, "\n  {}: {} to {}", word(&one.name), one.from, one.to);
                }
                let one = |one: &forebay::repository::Swept| json!({ "name": one.name, "from": one.from.name(), "to": one.to.name() });
                Ok(kept.tell(Value::Array(swept.iter().map(one).collect()), &words))
            }
        }
    }
}

fn list(flags: &List, kept: &Kept) -> Result<Exit, Failure> {
    let repository = kept.open()?;
    let filter = DeploymentFilter { name: None, kind: flags.kind, state: flags.state, host: flags.host.clone() };
    let mut found: Vec<Deployment> = Vec::new();
    loop {
        let after = found.last().map(|one| one.plan.name.as_str());
        let page = repository.deployments().list(&filter, after, MAX_LIMIT).map_err(failed)?;
        let is_end = page.len() < MAX_LIMIT;
        found.extend(page);
        if is_end {
            break;
        }
    }
    if kept.json {
        terminal::print(&format!("{}\n", Value::Array(found.iter().map(shown).collect())));
        return Ok(Exit::Done);
    }
    let titles =
        ["name", "kind", "state", "host", "services", "last seen", "last error"].map(|title| (title, Side::Left));
    let mut table = Table::new(titles);
    for one in &found {
        let error = one.last_error.as_deref().map_or_else(String::new, |error| Harmless(error, 60).to_string());
        table.push([
            word(&one.plan.name),
            one.plan.kind.to_string(),
            one.state.to_string(),
            word(one.plan.host.as_deref().unwrap_or("-")),
            word(&one.plan.services.join(",")),
            moment(one.last_seen),
            error,
        ]);
    }
    terminal::print(&table.to_string());
    Ok(Exit::Done)
}

fn show(name: &str, history: usize, kept: &Kept) -> Result<Exit, Failure> {
    let repository = kept.open()?;
    let one = repository.deployments().get(name).map_err(failed)?.ok_or_else(|| none(name))?;
    let changes = repository.deployments().history(name, history).map_err(failed)?;
    if kept.json {
        let mut shown = shown(&one);
        let change = |change: &Change| {
            let from = change.from.map(DeploymentState::name);
            json!({ "at": change.at.to_string(), "from": from, "to": change.to.name(), "reason": change.reason })
        };
        shown["history"] = Value::Array(changes.iter().map(change).collect());
        terminal::print(&format!("{shown}\n"));
        return Ok(Exit::Done);
    }
    let optional = |text: Option<&str>| text.map_or_else(|| "-".into(), |text| Harmless(text, 4000).to_string());
    let mut told = String::new();
    for (title, value) in [
        ("name", word(&one.plan.name)),
        ("kind", one.plan.kind.to_string()),
        ("state", one.state.to_string()),
        ("host", optional(one.plan.host.as_deref())),
        ("services", Harmless(&one.plan.services.join(", "), 4000).to_string()),
        ("address", one.plan.address.map_or_else(|| "-".into(), |address| address.to_string())),
        ("hash", optional(one.plan.hash.as_deref())),
        ("config", Harmless(&one.plan.config, 4000).to_string()),
        ("last seen", moment(one.last_seen)),
        ("last error", optional(one.last_error.as_deref())),
        ("created", one.created.to_string()),
        ("updated", one.updated.to_string()),
    ] {
        // Writing to a text cannot fail.
        let _ = writeln!(told, "{title:<10}  {value}");
    }
    let mut table = Table::new([("at", Side::Left), ("from", Side::Left), ("to", Side::Left), ("reason", Side::Left)]);
    for change in &changes {
        let from = change.from.map_or("-", DeploymentState::name);
        let reason = word(change.reason.as_deref().unwrap_or(""));
        table.push([change.at.to_string(), from.into(), change.to.to_string(), reason]);
    }
    terminal::print(&format!("{told}\n{table}"));
    Ok(Exit::Done)
}

fn set_state(flags: &SetState, kept: &Kept) -> Result<Exit, Failure> {
    let repository = kept.open_to_write()?;
    let SetState { name, from, to, error, .. } = flags;
    match repository.deployments().transition(name, *from, *to, error.as_deref()).map_err(failed)? {
        Transition::Done => {
            let told = json!({ "name": name, "from": from.name(), "to": to.name() });
            Ok(kept.tell(told, &format!("{} is {to}", word(name))))
        }
        Transition::Conflict(state) => {
            Err(missing(format!("{} is {state}, not {from}; nothing was changed", word(name))))
        }
        Transition::Missing => Err(none(name)),
    }
}

fn none(name: &str) -> Failure {
    missing(format!("there is no deployment {}", word(name)))
}

fn moment(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "-".into(), |moment| moment.to_string())
}

fn shown(one: &Deployment) -> Value {
    let config = serde_json::from_str(&one.plan.config).unwrap_or_else(|_| Value::String(one.plan.config.clone()));
    json!({
        "name": one.plan.name, "kind": one.plan.kind.name(), "state": one.state.name(), "host": one.plan.host,
        "services": one.plan.services, "config": config,
        "address": one.plan.address.map(|address| address.to_string()), "hash": one.plan.hash,
        "last_seen": one.last_seen.map(|seen| seen.to_string()), "last_error": one.last_error,
        "created": one.created.to_string(), "updated": one.updated.to_string(),
    })
}

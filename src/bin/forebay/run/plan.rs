//! What `forebay run` is to do, checked before anything is opened: databases, sources, where to listen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use forebay::config::parse_duration;
use forebay::pipeline::Summary;
use forebay::server;
use forebay::source::{SourceStatus, live};
use forebay::{Config, DatabaseUrl, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::source::SourcePlan;
use crate::args::Common;
use crate::terminal::thousands;
use crate::{environment, gather, variable};

pub const HELP: &str = "\
Examples:
  forebay config example > forebay.toml                     every setting, with words
  forebay config check --config forebay.toml                is it right? Opens nothing
  forebay run --config forebay.toml                         until Ctrl-C or SIGTERM
  forebay run --config forebay.toml --db sqlite:here.db --db central --json

Follows log files, listens on sockets and captures packets, as the settings' `[sources.NAME]` say, and writes every row into \
every database. What a source that can be read again has not committed is read again at the next start, and nothing \
lands twice. The first admin that FOREBAY_ADMIN_PASSWORD or FOREBAY_ADMIN_PASSWORD_FILE names is created, once. SIGHUP reads the settings again and changes the sources, without losing a row.

Exit codes:
  0    stopped by Ctrl-C or SIGTERM; every row that was taken is written
  2    wrong usage or configuration; nothing was opened
  3    a database could not be opened or written, a source could not be started, or rows could not be written in time
  130  stopped by a second Ctrl-C (143 by SIGTERM): at once";

/// What `forebay run` can be told.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Database to write to; several times: every row goes into each. Default: those of the settings
    #[arg(long, value_name = "URL")]
    pub db: Vec<String>,
    /// Serve the status page, health and Prometheus metrics at this address, like `127.0.0.1:9464`.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Print what was written, at the end, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Everything, checked.
#[derive(Clone)]
pub struct Plan {
    pub config: Config,
    /// May hold passwords: see `ingest::shown`.
    pub urls: Vec<String>,
    pub sources: BTreeMap<String, SourcePlan>,
    pub server: Option<server::Settings>,
    pub run: RunSettings,
}

/// Settings of `forebay run` itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSettings {
    /// More databases, beside `database.url`, that every row goes into: URLs, or names as in `[databases.NAME]`.
    pub also: Vec<String>,
    /// User to become once everything that needs rights is open; for a start as root.
    pub user: Option<String>,
    /// Longest time for writing what was taken, at the end.
    #[serde(serialize_with = "seconds", deserialize_with = "duration")]
    pub shutdown_timeout: Duration,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self { also: Vec::new(), user: None, shutdown_timeout: Duration::from_secs(30) }
    }
}

fn seconds<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}s", value.as_secs()))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

impl Plan {
    /// Reads the settings, and checks every one.
    ///
    /// # Errors
    /// In words, with the key's path.
    pub fn gather(common: &Common, flags: &Run) -> Result<Self, String> {
        let mut settings = gather(common)?;
        let config = settings.pipeline();
        config.validate().map_err(|error| error.to_string())?;
        let mut named = flags.db.clone();
        if named.is_empty() {
            named.push(settings.database_url(None));
            named.extend(settings.run.also.iter().cloned());
        }
        let mut urls: Vec<(String, String)> = Vec::new();
        for url in named {
            let url = environment::named_database(settings.database_url(Some(&url)), variable)?;
            let shown = DatabaseUrl::parse(&url).map_err(|error| error.to_string())?.to_string();
            if urls.iter().any(|(_, other)| *other == shown) {
                return Err(format!("{shown} is named twice; name each database once"));
            }
            urls.push((url, shown));
        }
        let max_row_bytes = usize::try_from(config.batch.max_bytes.0).unwrap_or(usize::MAX);
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let mut sources = BTreeMap::new();
        for (name, table) in &settings.sources {
            let source = SourcePlan::parse(name, table, settings.sensor.as_deref(), &host, max_row_bytes)?;
            sources.insert(name.clone(), source);
        }
        if sources.is_empty() {
            let file = common.config.clone().or_else(|| variable("FOREBAY_CONFIG").map(PathBuf::from));
            let place = file.map_or_else(|| "a settings file (--config)".into(), |file| file.display().to_string());
            return Err(format!(
                "there are no sources; name some in {place} as [sources.NAME]: `forebay config example` shows how"
            ));
        }
        settings.metrics.listen = flags.metrics.or(settings.metrics.listen);
        let server = settings.metrics.server(variable("FOREBAY_METRICS_TOKEN"));
        if let Some(server) = &server {
            server.validate().map_err(|error| format!("`metrics`: {error}"))?;
        }
        let urls = urls.into_iter().map(|(url, _)| url).collect();
        Ok(Self { config, urls, sources, server, run: settings.run })
    }

    /// Names what differs, apart from sources; `None` when nothing does.
    pub fn differs_beyond_sources(&self, other: &Self) -> Option<&'static str> {
        let differing = [
            ("the databases", self.urls != other.urls),
            ("settings of the pipeline", self.config != other.config),
            ("settings below `metrics`", self.server != other.server),
            ("settings below `run`", self.run != other.run),
        ];
        differing.into_iter().find_map(|(what, differs)| differs.then_some(what))
    }

    /// Gives up what opening the sources needed: when a user is named, or packets are captured. Before any thread runs.
    ///
    /// # Errors
    /// As [`live::drop_privileges`].
    pub fn drop_privileges(&self) -> Result<(), Error> {
        let user = self.run.user.as_deref();
        if user.is_none() && !self.sources.values().any(SourcePlan::needs_rights) {
            return Ok(());
        }
        live::drop_privileges(user)
    }
}

/// Returns what was written, for people.
pub fn as_text(summary: &Summary) -> String {
    let mut text = String::new();
    for lane in &summary.lanes {
        let all = lane.events.plus(lane.captures);
        let mut line = format!("{}: {} rows committed", lane.backend, thousands(all.committed));
        for (rows, what) in [
            (all.rejected, "set aside"),
            (all.failed, "not written"),
            (all.queued + all.in_flight, "not known to be written"),
        ] {
            if rows > 0 {
                line.push_str(&format!(", {} {what}", thousands(rows)));
            }
        }
        text.push_str(&(line + "\n"));
    }
    let discarded: u64 = summary.discarded.iter().sum();
    if discarded > 0 {
        text.push_str(&format!("{} rows discarded: a queue was full\n", thousands(discarded)));
    }
    text
}

/// Returns the same for machines.
pub fn as_json(summary: &Summary, sources: &[SourceStatus]) -> String {
    let counts = |counts: forebay::pipeline::Counts| {
        serde_json::json!({
            "accepted": counts.accepted, "committed": counts.committed, "rejected": counts.rejected,
            "failed": counts.failed, "queued": counts.queued, "in_flight": counts.in_flight,
        })
    };
    let lanes: Vec<_> = summary.lanes.iter().map(|lane| {
        serde_json::json!({ "backend": lane.backend, "events": counts(lane.events), "captures": counts(lane.captures),
            "derived": lane.derived })
    }).collect();
    let sources: Vec<_> = sources
        .iter()
        .map(|source| {
            serde_json::json!({ "name": source.name, "kind": source.kind, "rows": source.rows,
            "malformed": source.malformed, "skipped": source.skipped })
        })
        .collect();
    let [events, captures] = summary.discarded;
    let whole = serde_json::json!({
        "complete": summary.is_complete(), "lanes": lanes, "sources": sources,
        "discarded": { "events": events, "captures": captures },
    });
    format!("{whole}\n")
}

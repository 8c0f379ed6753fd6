//! One source as the settings file describes it: `[sources.NAME]` with a `type`, checked as one of the library's kinds.

use forebay::source::live::{Live, LiveSettings};
use forebay::source::socket::{Socket, SocketSettings};
use forebay::source::syslog::{Syslog, SyslogSettings};

use forebay::Error;
use forebay::source::Source;
use forebay::source::tail::{Tail, TailSettings};
use serde::de::DeserializeOwned;

/// The kinds, as `type` names them.
const TYPES: [&str; 4] = ["tail", "socket", "syslog", "live"];
/// Longest name of a source: it is a label of metrics and part of ledger names.
const MAX_NAME: usize = 64;

/// One source, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePlan {
    settings: SourceSettings,
    host: String,
    max_row_bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum SourceSettings {
    Tail(TailSettings),
    Socket(SocketSettings),
    Syslog(SyslogSettings),
    Live(LiveSettings),
}

impl SourcePlan {
    /// Reads and checks the table below `sources.NAME`. `sensor` is the one of the whole program, for a source that names
    /// none.
    ///
    /// # Errors
    /// In words, with the key's path and, for an unknown key, the nearest one.
    pub fn parse(
        name: &str,
        table: &toml::Table,
        sensor: Option<&str>,
        host: &str,
        max_row_bytes: usize,
    ) -> Result<Self, String> {
        let here = format!("sources.{}", name.escape_default());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_plain) {
            return Err(format!("`{here}`: a source's name has 1 to {MAX_NAME} letters, digits, `-`, `_`, `.`"));
        }
        let mut table = table.clone();
        let kind = table.remove("type");
        let kind = kind.as_ref().and_then(toml::Value::as_str).unwrap_or_default();
        if let Some(sensor) = sensor {
            table.entry("sensor").or_insert_with(|| sensor.into());
        }
        let settings = match kind {
            "tail" => read::<TailSettings>(&here, table).map(SourceSettings::Tail),
            "socket" => read::<SocketSettings>(&here, table).map(SourceSettings::Socket),
            "syslog" => read::<SyslogSettings>(&here, table).map(SourceSettings::Syslog),
            "live" => read::<LiveSettings>(&here, table).map(SourceSettings::Live),
            _ => Err(format!("`{here}.type`: must be one of: {}", TYPES.join(", "))),
        }?;
        let checked = match &settings {
            SourceSettings::Tail(settings) => settings.validate(),
            SourceSettings::Socket(settings) => settings.validate(),
            SourceSettings::Syslog(settings) => settings.validate(),
            SourceSettings::Live(settings) => settings.validate(),
        };
        checked.map_err(|error| format!("`{here}`: {error}"))?;
        Ok(Self { settings, host: host.to_owned(), max_row_bytes })
    }

    /// Opens it: what needs a right that the program gives up later is done here.
    ///
    /// # Errors
    /// As each source says.
    pub fn open(&self, name: &str) -> Result<Box<dyn Source>, Error> {
        let (host, max) = (self.host.as_str(), self.max_row_bytes);
        Ok(match &self.settings {
            SourceSettings::Tail(settings) => Box::new(Tail::new(name, settings, host, max)?),
            SourceSettings::Socket(settings) => {
                let mut socket = Socket::new(name, settings, host, max)?;
                socket.bind()?;
                Box::new(socket)
            }
            SourceSettings::Syslog(settings) => {
                let mut syslog = Syslog::new(name, settings, host, max)?;
                syslog.bind()?;
                Box::new(syslog)
            }
            SourceSettings::Live(settings) => Box::new(Live::open(name, settings.clone(), host, max)?),
        })
    }

    /// Returns its type.
    pub fn kind(&self) -> &'static str {
        match self.settings {
            SourceSettings::Tail(_) => "tail",
            SourceSettings::Socket(_) => "socket",
            SourceSettings::Syslog(_) => "syslog",
            SourceSettings::Live(_) => "live",
        }
    }

    /// Returns whether opening it takes rights that reading from it does not.
    pub fn needs_rights(&self) -> bool {
        matches!(self.settings, SourceSettings::Live(_))
    }
}

fn read<T: DeserializeOwned>(here: &str, table: toml::Table) -> Result<T, String> {
    serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { here.to_owned() } else { format!("{here}.{path}") };
        let text = error.into_inner().to_string();
        let text = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        format!("`{path}`: {}", with_nearest(text))
    })
}

/// Names the nearest key where serde lists those that there are: "unknown field `pats`, expected one of `paths`, ...".
fn with_nearest(text: String) -> String {
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((wrong, known)) if text.starts_with("unknown field") && !known.is_empty() => {
            let nearest = known.iter().max_by(|a, b| strsim::jaro(a, wrong).total_cmp(&strsim::jaro(b, wrong)));
            format!("unknown key `{}`; the nearest is `{}`", wrong, nearest.copied().unwrap_or_default())
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SourcePlan, String> {
        SourcePlan::parse("web", &text.parse().unwrap(), None, "here", 1 << 20)
    }

    #[test]
    fn a_wrong_key_is_named_with_its_path_and_the_nearest_one() {
        assert_eq!(
            parse("type='tail'\npats=['/a']").unwrap_err(),
            "`sources.web.pats`: unknown key `pats`; the nearest is `paths`"
        );
        assert_eq!(parse("type='tial'").unwrap_err(), "`sources.web.type`: must be one of: tail, socket, syslog, live");
        assert!(parse("type='tail'\npaths='/a'").unwrap_err().starts_with("`sources.web.paths`: invalid type"));
        assert!(parse("type='tail'").unwrap_err().starts_with("`sources.web`: paths is empty"));
        assert!(parse("type='tail'\npaths=['/a']").is_ok());
        assert!(SourcePlan::parse("a b", &toml::Table::new(), None, "h", 1).unwrap_err().contains("name has 1 to 64"));
    }

    #[test]
    fn the_programs_sensor_is_for_sources_that_name_none() {
        let parse =
            |text: &str| SourcePlan::parse("web", &text.parse().unwrap(), Some("tap"), "here", 1 << 20).unwrap();
        let same = parse("type='tail'\npaths=['/a']\nsensor='tap'");
        assert_eq!(parse("type='tail'\npaths=['/a']"), same);
        assert_ne!(parse("type='tail'\npaths=['/a']\nsensor='own'"), same);
    }
}

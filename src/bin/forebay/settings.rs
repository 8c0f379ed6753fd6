//! Gathers the settings: defaults, then the TOML file, then the environment (`environment`), then flags; the last one wins.
//!
//! The keys of the file are those of the library's `Config` and a few of the program's own. An unknown key is an error
//! that names its path and the nearest key there is; which keys there are is read off the defaults themselves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay::Config;
use forebay::config::{BatchConfig, BufferConfig, Bytes, MysqlConfig, RetentionConfig, RetryConfig, SqliteConfig};
use forebay::server::Tls;
use serde::{Deserialize, Serialize};

use crate::args::Ingest;
use crate::environment;
use crate::run::RunSettings;

/// In place of a name that the file chooses; none can be this.
const ANY: &str = "*";
const DEFAULT_URL: &str = "sqlite:forebay.db";
/// The library's page cache may take 256 MiB, for indexes that grow for months. An import reads and writes a file once:
/// less costs it little, and the whole process stays below 200 MB.
const INGEST_CACHE: Bytes = Bytes::mib(64);

/// Everything that the TOML file may say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub sensor: Option<String>,
    pub database: Database,
    /// By the name that `--db` may give instead of a URL.
    pub databases: BTreeMap<String, Database>,
    pub metrics: Metrics,
    pub batch: BatchConfig,
    pub buffer: BufferConfig,
    pub retry: RetryConfig,
    pub sqlite: SqliteConfig,
    pub retention: RetentionConfig,
    pub mysql: MysqlConfig,
    pub run: RunSettings,
    /// By name; read when they are wanted: see `run::SourcePlan`.
    pub sources: BTreeMap<String, toml::Table>,
    #[serde(skip)]
    cache_is_set: bool,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Database {
    pub url: Option<String>,
}

// By hand: a URL may hold a password.
impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("url", &self.url.as_ref().map(|_| "...")).finish()
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    pub listen: Option<SocketAddr>,
    pub token_file: Option<PathBuf>,
    pub tls: Option<Tls>,
    pub hosts: Vec<String>,
}

impl Settings {
    /// Reads the file, if one is named, and the environment, where an empty variable is none; flags come later.
    pub fn gather(file: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = match file {
            None => Self::default(),
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))?;
                Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
        };
        environment::apply(&mut settings, environment)?;
        Ok(settings)
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| one_line(&error.to_string()))?;
        check_keys("", &table, &Self::known_keys())?;
        if let Some(name) = names_of(&table).find(|name| !environment::is_name(name)) {
            return Err(format!("`databases.{}`: a name has letters, digits, `-` and `_` only", name.escape_default()));
        }
        let cache_is_set = table.get("sqlite").is_some_and(|sqlite| sqlite.get("cache").is_some());
        let mut settings: Self = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
            let path = error.path().to_string();
            format!("`{path}`: {}", one_line(&error.into_inner().to_string()))
        })?;
        settings.cache_is_set = cache_is_set;
        Ok(settings)
    }

    /// Every key with some value.
    pub fn known_keys() -> toml::Table {
        let mut retention = RetentionConfig::default();
        (retention.max_age, retention.max_bytes) = (Some(Duration::from_secs(1)), Some(Bytes(1)));
        retention.max_rows = Some(1);
        let full = Self {
            retention,
            sensor: Some(String::new()),
            run: RunSettings { user: Some(String::new()), ..RunSettings::default() },
            database: Database { url: Some(String::new()) },
            databases: BTreeMap::from([(ANY.to_owned(), Database { url: Some(String::new()) })]),
            metrics: Metrics {
                listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
                token_file: Some(PathBuf::new()),
                tls: Some(Tls::default()),
                hosts: Vec::new(),
            },
            ..Self::default()
        };
        toml::Table::try_from(full).unwrap_or_default()
    }

    /// Returns the pipeline's settings, not checked yet.
    pub fn pipeline(&self) -> Config {
        let mut config = Config::default();
        config.batch = self.batch.clone();
        config.buffer = self.buffer.clone();
        config.retry = self.retry.clone();
        config.sqlite = self.sqlite.clone();
        config.mysql = self.mysql.clone();
        config.retention = self.retention;
        config
    }

    /// Returns the database: the flag's, else the one that is set, else the default. A name that the file or the environment
    /// has a URL for is that.
    pub fn database_url(&self, flag: Option<&str>) -> String {
        let url = flag.or(self.database.url.as_deref()).unwrap_or(DEFAULT_URL);
        let named = self.databases.get(url).and_then(|database| database.url.as_deref());
        named.unwrap_or(url).into()
    }

    /// Adds the flags of `forebay ingest`; returns the pipeline's settings and the database's URL.
    pub fn for_ingest(mut self, flags: &Ingest) -> Result<(Config, String), String> {
        if !self.cache_is_set {
            self.sqlite.cache = INGEST_CACHE;
        }
        let mut config = self.pipeline();
        if let Some(rows) = flags.batch_size {
            config.batch.max_rows = rows;
            // Whoever names a large batch means it to find room.
            for queue in [&mut config.buffer.events, &mut config.buffer.captures] {
                queue.max_rows = queue.max_rows.max(rows);
            }
        }
        config.batch.max_bytes = flags.batch_bytes.unwrap_or(config.batch.max_bytes);
        config.buffer.max_bytes = flags.buffer.unwrap_or(config.buffer.max_bytes);
        config.sqlite.synchronous = flags.synchronous.unwrap_or(config.sqlite.synchronous);
        config.validate().map_err(|error| error.to_string())?;
        if self.sensor.as_deref() == Some("") {
            return Err("`sensor` is empty; name one, or leave it out".into());
        }
        let url = self.database_url(flags.db.as_deref());
        Ok((config, url))
    }
}

fn names_of(table: &toml::Table) -> impl Iterator<Item = &str> {
    table.get("databases").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys).map(String::as_str)
}

fn check_keys(path: &str, given: &toml::Table, known: &toml::Table) -> Result<(), String> {
    for (key, value) in given {
        let here = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        // Names and what stands below them are looked at by those who know each type.
        if here == "sources" && value.is_table() {
            continue;
        }
        let Some(known_value) = known.get(key).or_else(|| known.get(ANY)) else {
            let nearest = known.keys().max_by(|a, b| strsim::jaro(a, key).total_cmp(&strsim::jaro(b, key)));
            let nearest = nearest.map(|nearest| here[..here.len() - key.len()].to_owned() + nearest);
            let hint = nearest.map_or_else(String::new, |nearest| format!("; the nearest is `{nearest}`"));
            return Err(format!("unknown key `{}`{hint}", here.escape_default()));
        };
        if let (Some(given), Some(known)) = (value.as_table(), known_value.as_table()) {
            check_keys(&here, given, known)?;
        }
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn flags(line: &[&str]) -> Ingest {
        let cli = crate::args::Cli::parse_from([&["forebay", "ingest"], line].concat());
        let crate::args::Command::Ingest(flags) = cli.command else { unreachable!() };
        flags
    }

    #[test]
    fn an_unknown_key_is_named_with_its_path_and_the_nearest_one() {
        let error = |text| Settings::parse(text).unwrap_err();
        assert_eq!(error("[batch]\nmax_row = 1"), "unknown key `batch.max_row`; the nearest is `batch.max_rows`");
        assert_eq!(error("[bufer]\n"), "unknown key `bufer`; the nearest is `buffer`");
        assert_eq!(
            error("[buffer.events]\npolcy = \"block\""),
            "unknown key `buffer.events.polcy`; the nearest is `buffer.events.policy`"
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_its_path() {
        let error = |text| Settings::parse(text).unwrap_err();
        assert!(error("[batch]\nmax_wait = \"soon\"").starts_with("`batch.max_wait`: `soon` is no duration"));
        assert!(error("[buffer.captures]\npolicy = \"drop\"").starts_with("`buffer.captures.policy`: unknown variant"));
        assert!(error("[metrics]\nlisten = 1").starts_with("`metrics.listen`:"));
        assert!(error("[batch").contains("line 1"));
    }

    #[test]
    fn flags_go_before_environment_before_file_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        std::fs::write(&file, "[database]\nurl = 'sqlite:file.db'\n[batch]\nmax_rows = 5\nmax_wait = '7ms'").unwrap();
        let none = |_: &str| None;
        let some = |name: &str| match name {
            "FOREBAY_DB_TYPE" => Some("sqlite".to_owned()),
            "FOREBAY_DB_NAME" => Some("env.db".to_owned()),
            "FOREBAY_SENSOR" => Some("env".to_owned()),
            "FOREBAY_BATCH_MAX_WAIT_MS" => Some("9".to_owned()),
            _ => None,
        };
        let bare = flags(&["x"]);
        assert_eq!(Settings::gather(None, none).unwrap().for_ingest(&bare).unwrap().1, "sqlite:forebay.db");
        let (config, url) = Settings::gather(Some(&file), none).unwrap().for_ingest(&bare).unwrap();
        assert_eq!((url.as_str(), config.batch.max_rows, config.batch.max_wait.as_millis()), ("sqlite:file.db", 5, 7));
        let (config, url) = Settings::gather(Some(&file), some).unwrap().for_ingest(&bare).unwrap();
        assert_eq!((url.as_str(), config.batch.max_rows, config.batch.max_wait.as_millis()), ("sqlite:env.db", 5, 9));
        let over = flags(&["x", "--db", "memory:", "--batch-size", "6"]);
        let (config, url) = Settings::gather(Some(&file), some).unwrap().for_ingest(&over).unwrap();
        assert_eq!((url.as_str(), config.batch.max_rows), ("memory:", 6));
    }

    #[test]
    fn a_database_is_named_in_the_file_and_the_environment_goes_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        let text = "[database]\nurl = 'north'\n[databases.north]\nurl = 'sqlite:north.db'\n[databases.field-7]\nurl = 'sqlite:7.db'";
        std::fs::write(&file, text).unwrap();
        let settings = Settings::gather(Some(&file), |_| None).unwrap();
        let named = [None, Some("field-7"), Some("south"), Some("sqlite:x.db")].map(|flag| settings.database_url(flag));
        assert_eq!(named, ["sqlite:north.db", "sqlite:7.db", "south", "sqlite:x.db"]);
        let variable = |name: &str| (name == "FOREBAY_DB_URL_FIELD_7").then(|| "sqlite:seven.db".to_owned());
        assert_eq!(Settings::gather(Some(&file), variable).unwrap().database_url(Some("field-7")), "sqlite:seven.db");
        let error = |text| Settings::parse(text).unwrap_err();
        assert_eq!(
            error("[databases.a]\nulr = 'x'"),
            "unknown key `databases.a.ulr`; the nearest is `databases.a.url`"
        );
        assert_eq!(
            error("[databases.'a b']\nurl = 'x'"),
            "`databases.a b`: a name has letters, digits, `-` and `_` only"
        );
        assert!(!format!("{settings:?}").contains("north.db"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn whatever_a_file_says_is_taken_or_refused_in_one_line(
            lines in proptest::collection::vec((
                proptest::sample::select(&["[batch]", "[databases.a]", "[sources.'b\n']", "[[run]]", "max_rows =", "url =", "listen =", "'x\\u{1b}' =", "a.b ="][..]),
                "( [0-9]{1,20}| \"[a-z:/%\\\\]{0,6}\"| \\{[a-z=]{0,3}\\}| \\[| '\u{1b}'|.{0,5})",
            ), 0..6),
        ) {
            let text: String = lines.iter().map(|(key, value)| format!("{key}{value}\n")).collect();
            if let Err(error) = Settings::parse(&text) {
                proptest::prop_assert!(!error.is_empty() && !error.contains('\n'), "{:?}", error);
            }
        }
    }

    #[test]
    fn no_url_shows_in_debug() {
        let settings =
            Settings { database: Database { url: Some("mysql://u:secret@h/d".into()) }, ..Settings::default() };
        assert!(!format!("{settings:?}").contains("secret"));
    }
}

//! What an operator says about followed files: plain data, defaults, bounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::format::{Format, Mapping, Parser};
use crate::config::{Bytes, bounded, duration, duration_text};
use crate::error::{Error, ErrorKind};

/// Which files to follow, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TailSettings {
    /// Paths and globs: `/var/log/suricata/eve.json*`, `/data/*/cowrie.json`. No default; at least one.
    ///
    /// `*` and `?` do not match `/`, nor a dot at the beginning of a name; `**` matches any number of directories. What a
    /// glob matches later is followed from then on. A pattern that matches the names that rotation gives, too (`eve.json*`
    /// instead of `eve.json`), brings in what was rotated away while nobody read.
    pub paths: Vec<String>,
    /// Format of every line. Default: told from each file's first bytes.
    #[serde(with = "format_name")]
    pub format: Option<Format>,
    /// Which columns come from where in records of format `ndjson`, which must be named. Default: by common names of keys.
    pub mapping: Option<Mapping>,
    /// Sensor of every row, whatever the record says. Default: the record's own, else this host.
    pub sensor: Option<String>,
    /// Where to begin in files of which nothing is committed. Default [`Start::Beginning`].
    pub start: Start,
    /// How often files and directories are looked at, if the kernel tells nothing of them. Default 1 s; 10 ms to 1 h.
    #[serde(with = "duration")]
    pub poll: Duration,
    /// Longest line, in bytes without its end. Default 1 MiB; 1 KiB to 64 MiB. A longer one is set aside with its first
    /// 64 KiB, and counted as malformed. Bounds the memory, once for all files.
    pub max_line: Bytes,
    /// Most files that are open at a time. Default 256; 1 to 100,000. Those that had news last stay open; the others are
    /// opened again when they have some.
    pub max_open: usize,
}

/// Where to begin in a file of which nothing is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At its beginning.
    #[default]
    Beginning,
    /// At the end that it has when the source starts; compressed files are left out. Files that come later are read from
    /// their beginning. Holds for a restart too, until the first row of the file is committed.
    End,
}

impl Default for TailSettings {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            format: None,
            mapping: None,
            sensor: None,
            start: Start::default(),
            poll: Duration::from_secs(1),
            max_line: Bytes::mib(1),
            max_open: 256,
        }
    }
}

impl TailSettings {
    /// Checks every bound, and that every path is a pattern.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], naming the key and what it must be.
    pub fn validate(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Configuration, text));
        if self.paths.is_empty() {
            return wrong("paths is empty; name at least one file or glob".into());
        }
        for path in &self.paths {
            if path.is_empty() || path.contains('\0') {
                return wrong(format!("paths has `{}`, which is no path", path.escape_debug()));
            }
            if let Err(fault) = glob::Pattern::new(path) {
                return wrong(format!("paths has `{}`: {} at character {}", path.escape_debug(), fault.msg, fault.pos));
            }
        }
        if self.sensor.as_ref().is_some_and(String::is_empty) {
            return wrong("sensor is empty; leave it out".into());
        }
        if self.mapping.is_some() && self.format != Some(Format::Ndjson) {
            return wrong("`mapping` needs `format = \"ndjson\"`".into());
        }
        self.parser(Format::Ndjson)?;
        let (ms, hour) = (Duration::from_millis(10), Duration::from_secs(3600));
        bounded("poll", self.poll, ms, hour, |value| duration_text(*value))?;
        bounded("max_line", self.max_line, Bytes(1 << 10), Bytes::mib(64), Bytes::to_string)?;
        bounded("max_open", self.max_open, 1, 100_000, usize::to_string)
    }
}

impl TailSettings {
    /// Makes the parser of a file of this format.
    ///
    /// # Errors
    /// When the mapping is none, which [`validate`](Self::validate) has found out.
    pub(super) fn parser(&self, format: Format) -> Result<Parser, Error> {
        self.mapping.as_ref().map_or_else(|| Ok(Parser::new(format)), Parser::with_mapping)
    }
}

/// A format by its name.
mod format_name {
    use super::Format;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(format: &Option<Format>, serializer: S) -> Result<S::Ok, S::Error> {
        format.map(Format::name).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Format>, D::Error> {
        let name = Option::<String>::deserialize(deserializer)?;
        name.map(|name| name.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TailSettings, String> {
        serde_json::from_str(json).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_misspelt_is_named() {
        let settings = read(r#"{"paths":["/a/*.json"],"format":"eve","start":"end","poll":"50ms"}"#).unwrap();
        settings.validate().unwrap();
        assert_eq!((settings.format, settings.start), (Some(Format::Eve), Start::End));
        assert_eq!((settings.poll, settings.max_line), (Duration::from_millis(50), Bytes::mib(1)));
        assert_eq!(read(&serde_json::to_string(&settings).unwrap()), Ok(settings));
        assert!(read(r#"{"path":["/a"]}"#).unwrap_err().contains("unknown field `path`"));
        assert!(read(r#"{"format":"Eve"}"#).unwrap_err().contains("unknown log format"));
    }

    #[test]
    fn a_value_out_of_bounds_is_named() {
        let fault = |json: &str| read(json).unwrap().validate().unwrap_err().to_string();
        assert_eq!(fault("{}"), "paths is empty; name at least one file or glob");
        assert!(fault(r#"{"paths":["/a/***"]}"#).starts_with("paths has `/a/***`: "));
        assert_eq!(fault(r#"{"paths":["a"],"mapping":{}}"#), r#"`mapping` needs `format = "ndjson"`"#);
        assert!(fault(r#"{"paths":["a"],"format":"ndjson","mapping":{"msg":"no pointer"}}"#).contains("msg"));
        assert_eq!(fault(r#"{"paths":["a"],"poll":"1ms"}"#), "poll is 1ms; it must be between 10ms and 3600s");
        assert_eq!(fault(r#"{"paths":["a"],"max_line":1}"#), "max_line is 1 B; it must be between 1 KiB and 64 MiB");
    }
}

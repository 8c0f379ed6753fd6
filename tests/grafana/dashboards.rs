//! Reads the files of `grafana/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub const DASHBOARDS: [&str; 2] = ["forebay-overview.json", "forebay-events.json"];

pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana").join(name)
}

pub fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("grafana/{name}: {error}"))
}

/// One query of a panel.
pub struct Query {
    /// Row, panel and letter.
    pub place: String,
    pub target: Json,
}

impl Query {
    pub fn text(&self, key: &str) -> String {
        self.target[key].as_str().unwrap_or_else(|| panic!("{}: no {key}", self.place)).to_owned()
    }
}

/// Returns every query of a dashboard, those of collapsed rows too.
pub fn queries(name: &str) -> Vec<Query> {
    let dashboard: Json = serde_json::from_str(&text(name)).expect("JSON");
    let mut queries = Vec::new();
    let mut row = String::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let children: Vec<&Json> = if panel["type"] == "row" {
            row = panel["title"].as_str().expect("a title").to_owned();
            panel["panels"].as_array().expect("panels of a row").iter().collect()
        } else {
            vec![panel]
        };
        for child in children {
            for target in child["targets"].as_array().expect("targets") {
                let place = format!("{row} / {} / {}", child["title"], target["refId"]);
                queries.push(Query { place, target: target.clone() });
            }
        }
    }
    assert!(queries.len() > 20, "{name} has queries");
    queries
}

/// Returns the words of a text that begin in one of these ways.
pub fn names(text: &str, beginnings: &[&str]) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| beginnings.iter().any(|beginning| word.starts_with(beginning))).map(str::to_owned).collect()
}

/// Returns the names of our metrics in a text; of a histogram its own.
pub fn metrics(text: &str) -> BTreeSet<String> {
    let base = |name: &String| {
        let ends = ["_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names(text, &["forebay_"]).iter().map(base).collect()
}

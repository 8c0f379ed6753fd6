//! `forebay config check` and `forebay config example`.

use clap::Subcommand;

use crate::admin::FirstAdmin;
use crate::args::Common;
use crate::ingest::{Failure, shown};
use crate::run::{Plan, Run};
use crate::{Exit, terminal, variable};

/// Every setting, with words; a test holds it to the settings that there are.
const EXAMPLE: &str = include_str!("example.toml");

const CHECK_HELP: &str = "\
Example:
  forebay config check --config /etc/forebay/forebay.toml && systemctl reload forebay

Reads the settings as `forebay run` does, and checks every one, and the first admin that the environment names. Opens no \
database, no file of a source, no socket.

Exit codes:
  0    right
  2    wrong; what and where is told";

const EXAMPLE_HELP: &str = "\
Example:
  forebay config example > forebay.toml";

#[derive(Debug, Subcommand)]
pub enum Task {
    /// Say whether the settings are right; opens nothing.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// Print what they come to as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a settings file with every key, its default and words about it.
    #[command(after_help = EXAMPLE_HELP)]
    Example,
}

pub fn run(common: &Common, task: &Task) -> Result<Exit, Failure> {
    let Task::Check { json } = task else {
        terminal::print(EXAMPLE);
        return Ok(Exit::Done);
    };
    let usage = |message| Failure { exit: Exit::Usage, message };
    let plan = Plan::gather(common, &Run::default()).map_err(usage)?;
    FirstAdmin::of_service(&plan.urls[0], variable).map_err(usage)?;
    let databases: Vec<_> = plan.urls.iter().map(|url| shown(url)).collect();
    let sources: Vec<_> = plan.sources.iter().map(|(name, source)| (name, source.kind())).collect();
    terminal::print(&if *json {
        let sources: Vec<_> =
            sources.iter().map(|(name, kind)| serde_json::json!({ "name": name, "type": kind })).collect();
        format!("{}\n", serde_json::json!({ "databases": databases, "sources": sources }))
    } else {
        let named: Vec<_> = sources.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        format!("right: {} into {}\n", named.join(", "), databases.join(" and "))
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::SourcePlan;
    use crate::settings::Settings;

    /// The example with every line that is only commented out: `#` and a key, or a table, at its beginning.
    fn whole() -> String {
        let is_key = |line: &str| line.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
        let line = |line: &str| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line).to_owned() + "\n";
        EXAMPLE.lines().map(line).collect()
    }

    fn paths(prefix: &str, table: &toml::Table, out: &mut Vec<String>) {
        for (key, value) in table {
            let path = format!("{prefix}{key}");
            match value.as_table() {
                Some(inner) if key != "tls" => paths(&format!("{path}."), inner, out),
                _ => out.push(path),
            }
        }
    }

    #[test]
    fn the_example_is_right_as_it_is_and_changes_nothing() {
        let settings = Settings::parse(EXAMPLE).unwrap();
        assert_eq!(settings.pipeline(), forebay::Config::default());
        assert_eq!(settings.sources.len(), 1);
    }

    #[test]
    fn the_example_has_every_key_there_is_with_its_default() {
        let settings = Settings::parse(&whole()).unwrap();
        let mut config = settings.pipeline();
        config.retention = Default::default();
        assert_eq!(config, forebay::Config::default());
        let (mut there, mut known) = (Vec::new(), Vec::new());
        let mut table: toml::Table = whole().parse().unwrap();
        table.remove("sources");
        table.remove("databases");
        paths("", &table, &mut there);
        let mut all = Settings::known_keys();
        all.remove("sources");
        all.remove("databases");
        paths("", &all, &mut known);
        there.sort();
        known.sort();
        assert_eq!(there, known);
        for (name, table) in &settings.sources {
            SourcePlan::parse(name, table, None, "here", 1 << 23).unwrap();
        }
    }
}

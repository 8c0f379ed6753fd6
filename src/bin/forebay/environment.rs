//! What the environment says about settings. Its names are those of the deployments that forebay replaces, with our prefix.
//!
//! A database is named by `FOREBAY_DB_URL`, else in parts by `FOREBAY_DB_TYPE`, `_HOST`, `_PORT`, `_NAME`, `_USER` and
//! `_PASSWORD`. Where a URL is expected, a name without a colon stands for the variable `FOREBAY_DB_URL_<NAME>`,
//! else for `[databases.<name>]` in the settings file.

use std::time::Duration;

use forebay::database_url::named_by;

use crate::settings::Settings;

/// Overrides what the environment names. An empty variable is none: whoever reads the environment leaves it out.
pub fn apply(settings: &mut Settings, environment: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let set = |name, unit, to: &mut usize| {
        environment(name).map_or(Ok(()), |text| number(name, &text, unit).map(|value| *to = value))
    };
    let flag = |name, before| match environment(name).as_deref() {
        None => Ok(before),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(_) => Err(format!("{name} is neither true nor false")),
    };
    set("FOREBAY_BATCH_SIZE", "rows", &mut settings.batch.max_rows)?;
    set("FOREBAY_DB_POOL_SIZE", "connections", &mut settings.mysql.pool_size)?;
    set("FOREBAY_DB_MAX_OVERFLOW", "connections", &mut settings.mysql.max_overflow)?;
    let mysql = &mut settings.mysql;
    mysql.pre_ping = flag("FOREBAY_DB_POOL_PRE_PING", mysql.pre_ping)?;
    mysql.allow_empty_password = flag("FOREBAY_DB_ALLOW_EMPTY_PASSWORD", mysql.allow_empty_password)?;
    if let Some(age) = environment("FOREBAY_DB_POOL_RECYCLE") {
        settings.mysql.recycle = Duration::from_secs(number("FOREBAY_DB_POOL_RECYCLE", &age, "seconds")?);
    }
    if let Some(wait) = environment("FOREBAY_BATCH_MAX_WAIT_MS") {
        settings.batch.max_wait = Duration::from_millis(number("FOREBAY_BATCH_MAX_WAIT_MS", &wait, "milliseconds")?);
    }
    settings.sensor = environment("FOREBAY_SENSOR").or(settings.sensor.take());
    let url = named_by(&environment).map_err(|error| error.to_string())?;
    settings.database.url = url.or(settings.database.url.take());
    for (name, database) in &mut settings.databases {
        database.url = environment(&variable_of(name)).or(database.url.take());
    }
    Ok(())
}

/// Returns the URL that a name without a colon stands for; anything else as it is.
pub fn named_database(url: String, environment: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if !is_name(&url) {
        return Ok(url);
    }
    let variable = variable_of(&url);
    let advice = || format!("no database is named `{url}`; set {variable} or `[databases.{url}]`, or name a URL");
    environment(&variable).ok_or_else(advice)
}

/// Whether a text may stand for a database: no URL, nor the name of a file that was meant to be one.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn variable_of(name: &str) -> String {
    format!("FOREBAY_DB_URL_{}", name.to_ascii_uppercase().replace('-', "_"))
}

fn number<T: std::str::FromStr>(variable: &str, text: &str, unit: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{variable} is no number of {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut settings = Settings::default();
        apply(&mut settings, find).map(|()| settings)
    }

    #[test]
    fn a_server_may_be_named_in_parts_and_a_url_goes_before_them() {
        let parts = [
            ("FOREBAY_DB_TYPE", "mysql"),
            ("FOREBAY_DB_HOST", "db1,db2"),
            ("FOREBAY_DB_PORT", "3307"),
            ("FOREBAY_DB_NAME", "sensors"),
            ("FOREBAY_DB_USER", "writer"),
            ("FOREBAY_DB_PASSWORD", "p@:/%#ü"),
        ];
        let url = applied(&parts).unwrap().database.url.unwrap();
        assert_eq!(url, "mysql://writer:p%40%3A%2F%25%23%C3%BC@db1:3307,db2:3307/sensors");
        let both = [&parts[..], &[("FOREBAY_DB_URL", "sqlite:a.db")]].concat();
        assert_eq!(applied(&both).unwrap().database.url.unwrap(), "sqlite:a.db");
    }

    #[test]
    fn the_pool_is_set_by_the_words_that_deployments_know() {
        let mysql = applied(&[
            ("FOREBAY_DB_POOL_SIZE", "9"),
            ("FOREBAY_DB_MAX_OVERFLOW", "3"),
            ("FOREBAY_DB_POOL_RECYCLE", "60"),
            ("FOREBAY_DB_POOL_PRE_PING", "false"),
            ("FOREBAY_DB_ALLOW_EMPTY_PASSWORD", "true"),
        ]);
        let mysql = mysql.unwrap().mysql;
        assert_eq!((mysql.pool_size, mysql.max_overflow, mysql.recycle.as_secs()), (9, 3, 60));
        assert!(!mysql.pre_ping && mysql.allow_empty_password);
    }
}

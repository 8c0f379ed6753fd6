//! What people write: filters, names of databases, settings, times.

use forebay::config::{Bytes, parse_duration};
use forebay::database_url::{DatabaseParts, MysqlUrl};
use forebay::repository::{CaptureColumn, Column, EventColumn, FieldPath, Filter};
use forebay::source::file::FileKind;
use forebay::source::format::Format;
use forebay::source::listen::{Listen, SocketMode};
use forebay::source::socket::SocketSettings;
use forebay::source::syslog::SyslogSettings;
use forebay::source::tail::TailSettings;
use forebay::{Config, DatabaseUrl, Timestamp};
use serde::{Deserialize, Serialize};

/// A filter that is read is written so that it is read again; one that is not says where.
pub fn expression(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    expression_of::<EventColumn>(text);
    expression_of::<CaptureColumn>(text);
}

fn expression_of<C: Column>(text: &str) {
    match text.parse::<Filter<C>>() {
        Ok(filter) => {
            let written = filter.to_string();
            assert!(!written.contains(|c: char| c.is_control()), "{written:?}");
            assert_eq!(written.parse(), Ok(filter), "{written}");
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.offset), "{error}");
            let told = error.to_string();
            assert!(!told.contains('\n'), "{told:?}");
        }
    }
}

/// A first line with a path, then JSON: the scanner finds what serde_json finds, and ends whatever it reads.
/// (Of what is no JSON it may find anything: rows are checked when they are built.)
pub fn field_path(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (path, json) = text.split_once('\n').unwrap_or((text, "{}"));
    let Ok(path) = path.parse::<FieldPath>() else { return };
    assert_eq!(path.to_string().parse(), Ok(path.clone()));
    let found = path.value(json);
    let unquoted = found.map(FieldPath::unquoted);
    if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
        return;
    }
    if let Some(unquoted) = &unquoted {
        let is_text = found.is_some_and(|value| !value.starts_with(['{', '[']));
        assert_eq!(path.finds(json, unquoted), is_text, "{found:?} {unquoted:?}");
    }
    // A key that stands twice and half a surrogate pair mean something else there.
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else { return };
    if serde_json::to_string(&value).is_ok_and(|text| text.matches(':').count() != json.matches(':').count()) {
        return;
    }
    let naive = path.keys().iter().try_fold(&value, |value, key| value.as_object()?.get(key));
    assert_eq!(found.map(|found| serde_json::from_str(found).expect("a value")).as_ref(), naive);
}

/// What a URL shows names the same database and never the password; its parts make the same URL.
pub fn database_url(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match DatabaseUrl::parse(text) {
        Ok(DatabaseUrl::Mysql(url)) => check_mysql(&url),
        Ok(DatabaseUrl::Sqlite(path)) => {
            assert!(!path.as_os_str().is_empty());
            let name = path.to_str().map(str::to_owned);
            let parts = DatabaseParts { kind: "sqlite".into(), name, ..DatabaseParts::default() };
            let url = parts.url().expect("a file");
            // Two slashes in front of a path would be a host.
            let again = DatabaseUrl::parse(&url).ok();
            assert!(url.starts_with("sqlite://") || again == Some(DatabaseUrl::Sqlite(path)));
        }
        Ok(_) => {}
        Err(error) => {
            let told = error.to_string();
            assert!(!told.contains(|c: char| c.is_control()) && told.len() < 400, "{told:?}");
        }
    }
}

fn check_mysql(url: &MysqlUrl) {
    let shown = url.to_string();
    assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
    let Ok(DatabaseUrl::Mysql(again)) = DatabaseUrl::parse(&shown) else { panic!("{shown} is none") };
    assert_eq!((&again.user, &again.hosts, &again.database), (&url.user, &url.hosts, &url.database));
    assert_eq!(again.socket, url.socket);
    assert_eq!(again.to_string(), shown, "what is shown does not depend on the password");
    if url.socket.is_none() {
        let hosts: Vec<String> = url.hosts.iter().map(ToString::to_string).collect();
        let parts = DatabaseParts {
            kind: "mysql".into(),
            host: Some(hosts.join(",")),
            port: None,
            name: Some(url.database.clone()),
            user: Some(url.user.clone()),
            password: Some(url.password.clone()),
        };
        let Ok(DatabaseUrl::Mysql(again)) = DatabaseUrl::parse(&parts.url().expect("a server")) else {
            panic!("{shown} in parts is none");
        };
        assert_eq!((&again.user, &again.hosts, &again.database), (&url.user, &url.hosts, &url.database));
        assert_eq!(again.password, url.password);
    }
}

/// Everything that a settings file may say to the library.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    config: Config,
    socket: Option<SocketSettings>,
    syslog: Option<SyslogSettings>,
    tail: Option<TailSettings>,
    #[cfg(target_os = "linux")]
    live: Option<forebay::source::live::LiveSettings>,
}

/// Settings that are read and are within their bounds are written so that they are read again.
pub fn settings(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(settings) = toml::from_str::<Settings>(text) else { return };
    let mut outcomes = vec![settings.config.validate()];
    outcomes.extend(settings.socket.as_ref().map(SocketSettings::validate));
    outcomes.extend(settings.syslog.as_ref().map(SyslogSettings::validate));
    outcomes.extend(settings.tail.as_ref().map(TailSettings::validate));
    #[cfg(target_os = "linux")]
    outcomes.extend(settings.live.as_ref().map(forebay::source::live::LiveSettings::validate));
    if outcomes.iter().any(Result::is_err) {
        return;
    }
    let written = toml::to_string(&settings).expect("plain data");
    assert_eq!(toml::from_str::<Settings>(&written).as_ref(), Ok(&settings), "{written}");
}

/// Single values of settings and flags.
pub fn words(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(bytes) = text.parse::<Bytes>() {
        assert_eq!(bytes.to_string().parse(), Ok(bytes));
    }
    if let Ok(duration) = parse_duration(text)
        && duration.as_secs() < 1 << 40
    {
        let nanos = format!("{}s {}ns", duration.as_secs(), duration.subsec_nanos());
        assert_eq!(parse_duration(&nanos), Ok(duration), "{text}");
    }
    if let Ok(listen) = text.parse::<Listen>() {
        assert_eq!(listen.to_string().parse(), Ok(listen));
    }
    if let Ok(mode) = text.parse::<SocketMode>() {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    if let Ok(kind) = text.parse::<FileKind>() {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    if let Ok(format) = text.parse::<Format>() {
        assert_eq!(format.name(), text);
    }
    if let Ok(buckets) = text.parse::<forebay::repository::Buckets>() {
        let _ = format!("{buckets:?}");
    }
}

/// A time that is read is written so that it is read again, to the nanosecond; seconds are what long division says.
pub fn timestamp(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(ts) = Timestamp::parse(text) {
        let written = ts.to_string();
        assert_eq!(Timestamp::parse(&written), Some(ts), "{written}");
    }
    if let Some(nanos) = input.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes)) {
        let ts = Timestamp::from_nanos(nanos);
        assert_eq!(Timestamp::parse(&ts.to_string()), Some(ts), "{ts}");
    }
    let read = Timestamp::parse_seconds(text).map(Timestamp::as_nanos);
    if let Some(naive) = naive_seconds(text) {
        assert_eq!(read, i64::try_from(naive).ok(), "{text}");
    }
}

/// `-1.5` in nanoseconds; digits behind the ninth are cut.
fn naive_seconds(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 25 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(sign * (whole.parse::<i128>().ok()? * 1_000_000_000 + nanos.parse::<i128>().ok()?))
}

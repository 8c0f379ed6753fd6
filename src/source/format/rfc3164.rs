//! Takes a syslog line of the old kind apart (RFC 3164), with or without its priority, as files have it.
//!
//! `Mmm dd hh:mm:ss HOST TAG[PID]: MSG`, or a year behind the day, or an RFC 3339 time in place of all that (rsyslog's file
//! format). The old time has neither year nor zone: it is taken as UTC, in the last year in which it is not more than a day
//! in the future. A time that is wrong by its zone can be mended by a query; one that depends on the machine that happens
//! to read a file cannot.

use super::rfc5424::{Header, word};
use crate::timestamp::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// How far a clock may go before ours.
const AHEAD: i64 = 24 * 3600 * 1_000_000_000;
/// How far back a year is looked for: far enough for a 29 February.
const YEARS: i32 = 8;

/// Reads what follows the priority. Returns `None` if it does not begin with a time.
pub(super) fn read(text: &str, now: Timestamp) -> Option<(Header<'_>, &str)> {
    let (ts, rest) = moment(text, now)?;
    let (mut header, rest) = (Header { ts: Some(ts), ..Header::default() }, rest.trim_start_matches(' '));
    let Some((host, after)) = word(rest) else { return Some((header, rest)) };
    // A first word that is a tag already leaves the host out.
    if let Some((app, process, message)) = tag(rest) {
        (header.app, header.process) = (Some(app), process);
        return Some((header, message));
    }
    header.host = Some(host);
    let Some((app, process, message)) = tag(after) else { return Some((header, after)) };
    (header.app, header.process) = (Some(app), process);
    Some((header, message))
}

/// Splits `sshd[42]: message` or `sshd: message`.
fn tag(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (name, rest) = text.split_at(text.find([' ', ':', '['])?);
    let (process, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(process, rest)| (Some(process), rest))?,
        None => (None, rest),
    };
    let rest = rest.strip_prefix(':')?;
    let ends_here = rest.is_empty() || rest.starts_with(' ');
    let is_plain = !name.is_empty() && process.is_none_or(|process| !process.is_empty() && !process.contains(' '));
    (ends_here && is_plain).then(|| (name, process, rest.strip_prefix(' ').unwrap_or(rest)))
}

fn moment(text: &str, now: Timestamp) -> Option<(Timestamp, &str)> {
    let (first, rest) = word(text)?;
    if first.contains('T') && first.starts_with(|c: char| c.is_ascii_digit()) {
        return Some((Timestamp::parse(first)?, rest));
    }
    let month = MONTHS.iter().position(|month| month.eq_ignore_ascii_case(first))? + 1;
    let (day, rest) = word(rest)?;
    let day: u8 = number(day, 1, 2)?;
    let (next, after) = word(rest)?;
    if let Some(year) = number::<i32>(next, 4, 4) {
        let (time, after) = word(after)?;
        return Some((at(year, month, day, time)?, after));
    }
    let this_year: i32 = now.to_string().get(..4)?.parse().ok()?;
    let latest = now.as_nanos().saturating_add(AHEAD);
    let mut years = (0..=YEARS).map(|back| this_year + 1 - back).filter_map(|year| at(year, month, day, next));
    Some((years.find(|moment| moment.as_nanos() <= latest)?, after))
}

/// A moment of a year, its time written as `hh:mm:ss` with or without decimals; some write a colon behind it.
fn at(year: i32, month: usize, day: u8, time: &str) -> Option<Timestamp> {
    let time = time.strip_suffix(':').unwrap_or(time);
    let is_whole = time.len() >= 8 && time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':';
    is_whole.then(|| Timestamp::parse(&format!("{year:04}-{month:02}-{day:02}T{time}Z")))?
}

fn number<T: std::str::FromStr>(digits: &str, least: usize, most: usize) -> Option<T> {
    let is_number = (least..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-01T00:00:30Z").unwrap()
    }

    fn time(text: &str) -> Option<String> {
        read(text, now()).map(|(header, _)| header.ts.unwrap().to_string()[..19].to_owned())
    }

    #[test]
    fn the_year_is_the_last_that_is_not_in_the_future() {
        assert_eq!(time("Jan  1 00:00:29 h a: m").unwrap(), "2026-01-01T00:00:29");
        assert_eq!(time("Jan 01 20:00:00 h a: m").unwrap(), "2026-01-01T20:00:00", "a clock that is ahead");
        assert_eq!(time("Jan  3 00:00:00 h a: m").unwrap(), "2025-01-03T00:00:00");
        assert_eq!(time("dec 31 23:59:59 h a: m").unwrap(), "2025-12-31T23:59:59");
        assert_eq!(time("Feb 29 12:00:00 h a: m").unwrap(), "2024-02-29T12:00:00");
        assert_eq!(time("Feb 29 2020 12:00:00.5 h a: m").unwrap(), "2020-02-29T12:00:00");
        assert_eq!(time("2026-01-01T00:00:00.123+01:00 h a: m").unwrap(), "2025-12-31T23:00:00");
        for bad in [
            "",
            "Jan",
            "Jan 1",
            "Jan 1 h a: m",
            "Jan 32 00:00:00 h",
            "Jan 1 24:00:61 h",
            "Jan 1 2020 h",
            "Feb 30 00:00:00 h",
            "Jan 1 +0:00:00 h",
            "Jan 1 00:é:00 h",
            "2026 h",
            "Thor: m",
        ] {
            assert_eq!(time(bad), None, "{bad}");
        }
        let (header, _) = read("Dec 31 23:59:59 h a: m", Timestamp::parse("2025-12-31T12:00:00Z").unwrap()).unwrap();
        assert_eq!(header.ts, Timestamp::parse("2025-12-31T23:59:59Z"), "almost a day ahead");
    }

    #[test]
    fn host_tag_and_process_are_told_apart() {
        let of = |rest: &'static str| {
            let line = format!("Jan 1 00:00:00{rest}");
            let (header, message) = read(&line, now()).unwrap();
            let owned = |text: Option<&str>| text.unwrap_or("-").to_owned();
            [owned(header.host), owned(header.app), owned(header.process), message.to_owned()]
        };
        assert_eq!(of(" db-1 sshd[42]: Failed: x"), ["db-1", "sshd", "42", "Failed: x"]);
        assert_eq!(of(" db-1 su: 'su root'"), ["db-1", "su", "-", "'su root'"]);
        assert_eq!(of(" db-1 kernel:  two spaces"), ["db-1", "kernel", "-", " two spaces"]);
        assert_eq!(of(" sshd[42]: m"), ["-", "sshd", "42", "m"]);
        assert_eq!(of(" 2001:db8::1 last message repeated"), ["2001:db8::1", "-", "-", "last message repeated"]);
        assert_eq!(of(" db-1 a b[c d]: m"), ["db-1", "-", "-", "a b[c d]: m"]);
        assert_eq!(
            (of(" db-1"), of("")),
            (["db-1", "-", "-", ""].map(Into::into), ["-", "-", "-", ""].map(Into::into))
        );
    }
}

//! A histogram in letters: one line a piece of time, a bar as long as its count. Pure.

use forebay::Timestamp;
use forebay::repository::{Bucket, Buckets};

use crate::terminal::thousands;

/// Most lines of a chart whose pieces nobody has chosen, and of any.
const LINES: i128 = 24;
pub const MOST_LINES: usize = 500;
/// Columns of the longest bar.
const BAR: u64 = 40;
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Pieces that may be chosen, and about how many seconds they have.
const PIECES: [(&str, i128); 19] = [
    ("1s", 1),
    ("5s", 5),
    ("10s", 10),
    ("30s", 30),
    ("1m", 60),
    ("5m", 300),
    ("10m", 600),
    ("30m", 1800),
    ("1h", 3600),
    ("2h", 7200),
    ("6h", 21_600),
    ("12h", 43_200),
    ("day", 86_400),
    ("week", 604_800),
    ("month", 2_592_000),
    ("quarter", 7_776_000),
    ("year", 31_536_000),
    ("3652d", 315_532_800),
    ("36525d", 3_155_760_000),
];

/// Returns a length of pieces of which some dozen reach from the first moment to the last.
pub fn fitting(first: Timestamp, last: Timestamp) -> &'static str {
    let span = i128::from(last.as_nanos()) - i128::from(first.as_nanos());
    let fits = |(_, seconds): &&(&str, i128)| span <= (LINES - 1) * seconds * 1_000_000_000;
    PIECES.iter().find(fits).map_or("36525d", |(name, _)| *name)
}

/// Returns every piece from the first to the last, the empty ones too; `None` for more than [`MOST_LINES`].
pub fn whole(counted: &[Bucket], buckets: &Buckets) -> Option<Vec<Bucket>> {
    let mut whole: Vec<Bucket> = Vec::with_capacity(counted.len());
    for bucket in counted {
        while let Some(from) = whole.last().and_then(|last| buckets.next(last.from)).filter(|from| *from < bucket.from)
        {
            whole.push(Bucket { from, rows: 0 });
            if whole.len() > MOST_LINES {
                return None;
            }
        }
        whole.push(*bucket);
    }
    (whole.len() <= MOST_LINES).then_some(whole)
}

/// Draws one bar, with the block elements of Unicode or without.
pub fn bar(rows: u64, most: u64, is_unicode: bool) -> String {
    let eighths = u128::from(rows) * u128::from(BAR * 8) / u128::from(most.max(1));
    // What is there is seen.
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(rows > 0));
    if is_unicode {
        return "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    }
    "#".repeat(eighths.div_ceil(8))
}

/// Draws the pieces, each under the label that `label` gives its first moment.
pub fn draw(pieces: &[Bucket], is_unicode: bool, label: impl Fn(Timestamp) -> String) -> String {
    let most = pieces.iter().map(|piece| piece.rows).max().unwrap_or(0);
    let counts: Vec<String> = pieces.iter().map(|piece| thousands(piece.rows)).collect();
    let widest = counts.iter().map(String::len).max().unwrap_or(0);
    let line = |(piece, count): (&Bucket, &String)| {
        format!("{}  {count:>widest$}  {}", label(piece.from), bar(piece.rows, most, is_unicode)).trim_end().to_owned()
            + "\n"
    };
    pieces.iter().zip(&counts).map(line).collect()
}

/// Whether a terminal of these settings shows more than ASCII: the first of `LC_ALL`, `LC_CTYPE` and `LANG` decides.
pub fn is_unicode(environment: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(environment).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn pieces_fit_whatever_time_lies_between() {
        for (last, length) in [(0, "1s"), (23, "1s"), (24, "5s"), (86_400, "2h"), (2_592_000, "week")] {
            assert_eq!(fitting(at(0), at(last)), length, "{last}");
        }
        let all = fitting(Timestamp::from_nanos(i64::MIN), Timestamp::from_nanos(i64::MAX));
        assert!(all.parse::<Buckets>().is_ok(), "{all}");
        assert!(PIECES.iter().all(|(name, _)| name.parse::<Buckets>().is_ok()));
    }

    #[test]
    fn empty_pieces_are_drawn_too_and_not_without_end() {
        let bucket = |seconds, rows| Bucket { from: at(seconds), rows };
        let second = "1s".parse().unwrap();
        let whole = |counted: &[Bucket]| super::whole(counted, &second);
        let pieces = whole(&[bucket(0, 8), bucket(2, 1)]).unwrap();
        assert_eq!(pieces.iter().map(|piece| piece.rows).collect::<Vec<_>>(), [8, 0, 1]);
        let drawn = draw(&pieces, true, |from| (from.as_nanos() / 1_000_000_000).to_string());
        assert_eq!(drawn, format!("0  8  {}\n1  0\n2  1  █████\n", "█".repeat(40)));
        assert_eq!(whole(&[bucket(0, 1), bucket(1_000_000_000, 1)]), None);
        assert_eq!(whole(&[]), Some(Vec::new()));
    }

    #[test]
    fn a_bar_is_as_long_as_its_count_in_every_alphabet() {
        assert_eq!((bar(1, 1_000_000, true).as_str(), bar(1, 1_000_000, false).as_str()), ("▏", "#"));
        assert_eq!(
            (bar(0, 0, true), bar(3, 16, true), bar(u64::MAX, u64::MAX, false)),
            (String::new(), "███████▌".into(), "#".repeat(40))
        );
        let locale =
            |set: &'static str, value: &'static str| is_unicode(move |name| (name == set).then(|| value.into()));
        assert!(locale("LANG", "de_DE.UTF-8") && locale("LC_ALL", "C.utf8"));
        assert!(!locale("LANG", "C") && !locale("TERM", "utf-8"));
    }
}

//! What people see: the progress bar, logs that do not tear it, and text of attackers made harmless.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces;

/// Shows text of unknown origin on one line: control and formatting characters as escapes, at most `.1` characters.
pub struct Harmless<'a>(pub &'a str, pub usize);

impl fmt::Display for Harmless<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.1;
        for character in self.0.chars() {
            if left == 0 {
                return f.write_char('…');
            }
            left -= 1;
            if is_printable(character) {
                f.write_char(character)?
            } else {
                write!(f, "{}", character.escape_unicode())?
            }
        }
        Ok(())
    }
}

/// Returns whether a terminal shows the character as itself: no control, no change of direction, nothing invisible.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes the bar: on a terminal only, and not when told to be quiet. `total_bytes` is `None` for a stream.
pub fn progress_bar(total_bytes: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match total_bytes {
        Some(_) => "{spinner} {prefix} {wide_bar} {bytes}/{total_bytes} {eta} left  {msg}",
        None => "{spinner} {prefix} {bytes} in {elapsed}  {wide_msg}",
    };
    let bar = ProgressBar::with_draw_target(total_bytes, ProgressDrawTarget::stderr_with_hz(8));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Returns a line that shows what is going on, on a terminal only.
pub fn spinner(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() { ProgressBar::hidden() } else { ProgressBar::new_spinner() }
}

/// Speaks to people on standard error, above the bar. Whatever is said is made harmless, and a closed terminal is no
/// reason to end: nobody is left to be told.
#[derive(Clone)]
pub struct Teller(pub ProgressBar);

impl Teller {
    /// Writes one line.
    pub fn tell(&self, line: &str) {
        let line = format!("forebay: {}\n", Harmless(line, 4000));
        self.0.suspend(|| {
            // See above.
            let _ = io::stderr().write_all(line.as_bytes());
        });
    }
}

/// Writes to standard output; that nobody reads it to its end is no fault.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    // See above.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes log lines above the bar.
#[derive(Clone)]
pub struct LogWriter(pub ProgressBar);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| {
            // As for the teller: nobody is left to be told.
            let _ = io::stderr().write_all(bytes);
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts logging to standard error: warnings, with `-v` more, and what `FOREBAY_LOG` says. Spans go to a collector, if one
/// is named.
pub fn start_logging(verbose: u8, bar: &ProgressBar) -> Result<(), String> {
    install_logging(verbose, bar)?;
    traces::begin()
}

/// As [`start_logging`], without a second thread: spans need [`traces::begin`].
pub fn install_logging(verbose: u8, bar: &ProgressBar) -> Result<(), String> {
    let default = ["warn", "info", "debug"][usize::from(verbose.min(2))];
    let filter = match std::env::var("FOREBAY_LOG") {
        Ok(filter) => filter.parse().map_err(|error| format!("FOREBAY_LOG: {error}"))?,
        Err(_) => tracing_subscriber::EnvFilter::new(default),
    };
    let writer = LogWriter(bar.clone());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 1)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(lines);
    subscriber.with(traces::layer()?).try_init().map_err(|error| error.to_string())
}

/// Returns how many columns a terminal takes to show the text.
pub fn width(text: &str) -> usize {
    unicode_width::UnicodeWidthStr::width(text)
}

/// Cuts a text to `most` columns at its front, where paths say least.
pub fn tail(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept = text;
    while width(kept) >= most {
        let mut characters = kept.chars();
        characters.next();
        kept = characters.as_str();
    }
    format!("…{kept}")
}

/// Cuts a text to `most` columns at its end, and marks the cut.
pub fn head(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept = text;
    while width(kept) >= most && !kept.is_empty() {
        let mut characters = kept.chars();
        characters.next_back();
        kept = characters.as_str();
    }
    format!("{kept}…")
}

/// Returns how many columns the terminal has that standard output goes to; `None` if it goes elsewhere.
pub fn columns() -> Option<usize> {
    let out = io::stdout();
    let size = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out).ok())?;
    // A terminal that does not tell has 0.
    Some(size.map_or(0, |size| usize::from(size.ws_col))).map(|columns| if columns == 0 { 80 } else { columns })
}

/// Writes a number with its thousands apart: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_and_no_change_of_direction_reaches_the_terminal() {
        let shown = Harmless("a\u{1b}[31m\u{202e}ü\r\n\u{7f}\u{9b}z", 100).to_string();
        assert_eq!(shown, "a\\u{1b}[31m\\u{202e}ü\\u{d}\\u{a}\\u{7f}\\u{9b}z");
        assert_eq!(Harmless("abcdef", 3).to_string(), "abc…");
    }

    #[test]
    fn wide_characters_count_for_what_they_take() {
        assert_eq!([width("a\u{301}"), width("日本")], [1, 4]);
        assert_eq!(tail("logs/日本.json", 9), "…本.json");
        assert_eq!(tail("eve.json", 8), "eve.json");
        assert_eq!([head("日本.json", 4), head("eve", 3), head("eve", 1)], ["日…", "eve", "…"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}

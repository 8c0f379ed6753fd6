//! What each error of a MySQL or MariaDB server means for the writer.
//!
//! The table goes by the server's code, which is the same in every version and language. diesel-async keeps the message
//! and drops the code, so `link` asks the server for it (`GET DIAGNOSTICS`) after a statement has failed; an error that
//! is not the server's is the connection's. Codes: <https://mariadb.com/kb/en/mariadb-error-code-reference/> and
//! <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use mysql_async::Error as DriverError;

use super::tls;
use crate::backend::{REFUSED, WriteError};
use crate::error::ErrorKind;

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A state that passes, or an outcome that is not known: try again. The word is the metric's label.
    Passing(&'static str),
    /// The row cannot be stored.
    Row,
    /// The server answers and does not let us work: whoever runs it must do what the words say. Tried again all the
    /// same while a pipeline runs, since that costs nothing and loses no row.
    Refused(ErrorKind, &'static str),
    /// The tables are not those that we made.
    Broken,
    /// Nothing known.
    Unknown,
}

const DENIED: Meaning = Meaning::Refused(ErrorKind::AccessDenied, "correct the user or the password");
const MISSING: Meaning = Meaning::Refused(ErrorKind::Configuration, "create the database, or correct its name");
const GRANT: Meaning = Meaning::Refused(
    ErrorKind::AccessDenied,
    "grant the user SELECT, INSERT, UPDATE, DELETE, CREATE, CREATE VIEW and SHOW VIEW on the database",
);

pub(super) fn meaning(code: u16) -> Meaning {
    use Meaning::{Broken, Passing, Refused, Row, Unknown};
    match code {
        // A deadlock; a certification conflict of a cluster says the same.
        1213 | 3101 => Passing("deadlock"),
        1099 | 1100 | 1205 | 1206 | 1223 | 3058 | 3572 => Passing("locked"),
        1290 | 1792 | 1836 | 3889 => Passing("read_only"),
        1021 | 1114 | 3019 => Passing("disk_full"),
        1003..=1006 | 1015 | 1024 | 1026 | 1030 | 1180 | 1181 | 1296 => Passing("io"),
        1037 | 1038 | 1041 | 1135 => Passing("memory"),
        1907 | 1969 | 3024 => Passing("timeout"),
        1317 => Passing("interrupted"),
        // A node of a cluster that is not, or no more, part of it.
        1047 | 3098 | 3100 => Passing("cluster"),
        // A table that is being changed.
        1243 | 1412 | 1615 => Passing("schema_changed"),
        // Lost, killed, shutting down, too many of them.
        1040
        | 1042
        | 1043
        | 1053
        | 1077..=1080
        | 1129
        | 1152
        | 1154..=1161
        | 1184
        | 1189
        | 1190
        | 1203
        | 1226
        | 1927
        | 3032
        | 3168
        | 3169
        | 4031 => Passing("connection"),
        1045 | 1251 | 1275 | 1698 | 1820 | 1862 | 3118 | 3159 | 4151 => DENIED,
        1046 | 1049 => MISSING,
        1044 | 1142 | 1143 | 1227 | 1370 | 1419 => GRANT,
        1130 => Refused(ErrorKind::AccessDenied, "let this host connect: the server knows no user from here"),
        // Too long, out of range, no such character, NULL, a constraint, a trigger's own words, too large.
        1048
        | 1062
        | 1118
        | 1153
        | 1162
        | 1172
        | 1216
        | 1217
        | 1263..=1265
        | 1292
        | 1300
        | 1301
        | 1364
        | 1366
        | 1367
        | 1406
        | 1411
        | 1416
        | 1451
        | 1452
        | 1526
        | 1557
        | 1586
        | 1644
        | 1690
        | 1859
        | 3140
        | 3141
        | 3819
        | 4025 => Row,
        1051 | 1054 | 1064 | 1109 | 1136 | 1146 | 1149 | 1347 | 1356 | 1471 => Broken,
        _ => Unknown,
    }
}

/// What went wrong, with its meaning. `Display` is one line, with what to do, and never holds a password.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) meaning: Meaning,
    /// The server's; 0 when it is not the server's fault.
    pub(super) code: u16,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(meaning: Meaning, text: impl Into<String>) -> Self {
        Self { meaning, code: 0, text: text.into() }
    }

    /// The server's error `code`; 0 is none.
    pub(super) fn of_server(code: u16, message: &str) -> Self {
        let meaning = meaning(code);
        let text = match meaning {
            Meaning::Refused(_, advice) => format!("{message} ({code}); {advice}"),
            Meaning::Passing("read_only") => format!("{message} ({code}); name the server that may be written"),
            _ => format!("{message} ({code})"),
        };
        Self { meaning, code, text }
    }

    /// The connection is gone, or was never there.
    pub(super) fn of_connection(text: impl Into<String>) -> Self {
        Self::new(Meaning::Passing("connection"), text)
    }

    pub(super) fn timed_out(doing: &str, limit: Duration) -> Self {
        Self::new(Meaning::Passing("timeout"), format!("{doing}: no answer within {limit:?}"))
    }

    pub(super) fn of_driver(error: DriverError) -> Self {
        match error {
            DriverError::Server(error) => Self::of_server(error.code, &error.message),
            DriverError::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => Self::new(
                Meaning::Refused(ErrorKind::Configuration, ""),
                "the server offers no TLS; switch it on there, or write ssl-mode=preferred",
            ),
            other => match tls::error_in(&other) {
                Some(error) => Self::new(
                    Meaning::Refused(ErrorKind::Configuration, ""),
                    format!("TLS with the server fails: {error}; see ssl-mode and ssl-ca"),
                ),
                None => Self::of_connection(other.to_string()),
            },
        }
    }

    /// Says where.
    pub(super) fn at(mut self, place: impl fmt::Display) -> Self {
        self.text = format!("{place}: {}", self.text);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Fault {}

/// Classifies an error of a statement that is not about single rows: BEGIN, the ledger, COMMIT, a query.
impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        match fault.meaning {
            Meaning::Passing(reason) => Self::Transient { reason, source: fault.into() },
            Meaning::Refused(..) => Self::Transient { reason: REFUSED, source: fault.into() },
            Meaning::Broken => Self::Fatal { source: fault.into() },
            Meaning::Row | Meaning::Unknown => Self::Transient { reason: "unknown", source: fault.into() },
        }
    }
}

/// Reads which row of its statement an error is about, counted from 0: "... at row 3".
pub(super) fn row_in(message: &str) -> Option<usize> {
    let number = message.rsplit_once(" at row ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_meaning() {
        use Meaning::{Broken, Passing, Row, Unknown};
        for (code, expected) in [
            (1213, Passing("deadlock")),
            (1205, Passing("locked")),
            (1040, Passing("connection")),
            (1053, Passing("connection")),
            (1152, Passing("connection")),
            (1158, Passing("connection")),
            (1161, Passing("connection")),
            (1317, Passing("interrupted")),
            (1927, Passing("connection")),
            (4031, Passing("connection")),
            (1969, Passing("timeout")),
            (1047, Passing("cluster")),
            (1290, Passing("read_only")),
            (1792, Passing("read_only")),
            (1836, Passing("read_only")),
            (1021, Passing("disk_full")),
            (1114, Passing("disk_full")),
            (1030, Passing("io")),
            (1037, Passing("memory")),
            (1412, Passing("schema_changed")),
            (1045, DENIED),
            (1698, DENIED),
            (1049, MISSING),
            (1044, GRANT),
            (1142, GRANT),
            (1153, Row),
            (1406, Row),
            (1366, Row),
            (1264, Row),
            (1048, Row),
            (1062, Row),
            (1452, Row),
            (1644, Row),
            (3819, Row),
            (4025, Row),
            (1146, Broken),
            (1054, Broken),
            (1471, Broken),
            (9999, Unknown),
            (0, Unknown),
        ] {
            assert_eq!(meaning(code), expected, "{code}");
        }
    }

    #[test]
    fn nothing_that_is_not_understood_loses_a_row_or_a_lane() {
        let unknown = WriteError::from(Fault::of_server(9999, "?"));
        assert!(matches!(unknown, WriteError::Transient { reason: "unknown", .. }), "{unknown}");
        let refused = WriteError::from(Fault::of_server(1045, "Access denied for user 'u'@'h' (using password: YES)"));
        assert!(matches!(refused, WriteError::Transient { reason: "refused", .. }));
        assert!(refused.to_string().ends_with("(1045); correct the user or the password"), "{refused}");
    }

    #[test]
    fn the_row_that_a_message_names_is_read() {
        assert_eq!(row_in("Data too long for column 'sensor' at row 37"), Some(36));
        assert_eq!(row_in("Incorrect string value: '\\xF0' for column `d`.`t`.`msg` at row 1"), Some(0));
        assert_eq!(row_in("Data too long for column 'sensor' at row 37 (1406)"), Some(36));
        assert_eq!(["", " at row ", " at row x", " at row 0"].map(row_in), [None; 4]);
    }
}

//! The yardstick of `--baseline sqlite-c`: what one writes by hand, a loop over SQLite's C API.
//!
//! Ordinary tables with the schema's columns and indexes, and one prepared single-row INSERT each, whose values are
//! bound without a copy. The settings are those of our writer (`backend/sqlite/open.rs`, `checkpoint.rs`), for the
//! yardstick is to differ by its way of inserting and by nothing else. `target` gathers the rows into transactions.
//!
//! The only unsafe code of the program, and the only place in it that knows `libsqlite3_sys`: no row of a sensor takes
//! this way. Turned down: diesel, whose cost is part of what is compared, and a second process, whose timing would be.

use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr;

use forebay::config::{SqliteConfig, Synchronous};
use forebay::{Capture, Event};
use libsqlite3_sys as ffi;

use super::rows::Rows;

/// As in the first migration, in one table each; a test holds the columns against those of a real database.
pub const SCHEMA: &str = "
CREATE TABLE events (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sensor TEXT NOT NULL, service TEXT NOT NULL,
    event_type TEXT NOT NULL, src_ip TEXT, src_port INTEGER, dst_ip TEXT, dst_port INTEGER, proto TEXT, session TEXT,
    msg TEXT, fields TEXT, raw TEXT, trace_id TEXT, span_id TEXT);
CREATE INDEX events_ts ON events (ts);
CREATE INDEX events_src_ip_ts ON events (src_ip, ts);
CREATE INDEX events_sensor_ts ON events (sensor, ts);
CREATE TABLE captures (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, sensor TEXT NOT NULL, kind TEXT NOT NULL,
    session TEXT, src_ip TEXT, src_port INTEGER, dst_ip TEXT, dst_port INTEGER, proto TEXT, link_type INTEGER,
    length INTEGER NOT NULL, fields TEXT, data BLOB NOT NULL);
CREATE INDEX captures_ts ON captures (ts);
CREATE INDEX captures_session ON captures (session) WHERE session IS NOT NULL;";

const INSERT_EVENT: &str = "INSERT INTO events (ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,\
                            session,msg,fields,raw,trace_id,span_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
const INSERT_CAPTURE: &str = "INSERT INTO captures (ts,sensor,kind,session,src_ip,src_port,dst_ip,dst_port,proto,\
                              link_type,length,fields,data) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)";

/// A connection that is closed on drop.
pub struct Connection(*mut ffi::sqlite3);

// SAFETY: SQLite is built threadsafe (serialized), and each connection here is used by one thread at a time.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens the file at `path`, creating it as needed.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("open {}: {why}", path.display());
        let text = path.to_str().and_then(|path| CString::new(path).ok()).ok_or_else(|| failed("no UTF-8".into()))?;
        let mut raw = ptr::null_mut();
        // SAFETY: `text` is NUL-terminated and lives through the call; `raw` is a valid place for the handle.
        let code = unsafe { ffi::sqlite3_open(text.as_ptr(), &mut raw) };
        // A connection that could not be opened must be closed too.
        let connection = Self(raw);
        connection.check(code).map_err(failed)?;
        connection.execute("PRAGMA busy_timeout=30000")?;
        Ok(connection)
    }

    /// Sets what our writer sets.
    pub fn configure(&self, config: &SqliteConfig) -> Result<(), String> {
        let synchronous = match config.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        self.execute(&format!(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA cache_size=-{}; \
             PRAGMA wal_autocheckpoint=16384; PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY;",
            config.cache.0 >> 10
        ))
    }

    pub fn execute(&self, sql: &str) -> Result<(), String> {
        let text = CString::new(sql).map_err(|_| "SQL with a NUL".to_owned())?;
        // SAFETY: the connection is open, the text NUL-terminated; no callback is given.
        let code = unsafe { ffi::sqlite3_exec(self.0, text.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
        self.check(code).map_err(|error| format!("{sql}: {error}"))
    }

    /// Runs a query for one number.
    pub fn number(&self, sql: &str) -> Result<u64, String> {
        let statement = self.prepare(sql)?;
        // SAFETY: the statement is prepared.
        let code = unsafe { ffi::sqlite3_step(statement.raw) };
        if code != ffi::SQLITE_ROW {
            return Err(format!("{sql}: {}", self.message()));
        }
        // SAFETY: the step has given a row, and every query has a first column.
        Ok(unsafe { ffi::sqlite3_column_int64(statement.raw, 0) } as u64)
    }

    fn prepare(&self, sql: &str) -> Result<Statement<'_>, String> {
        let text = CString::new(sql).map_err(|_| "SQL with a NUL".to_owned())?;
        let mut raw = ptr::null_mut();
        let flags = ffi::SQLITE_PREPARE_PERSISTENT;
        // SAFETY: the connection is open, the text NUL-terminated, `raw` a valid place for the handle.
        let code = unsafe { ffi::sqlite3_prepare_v3(self.0, text.as_ptr(), -1, flags, &mut raw, ptr::null_mut()) };
        self.check(code).map_err(|error| format!("{sql}: {error}"))?;
        Ok(Statement { raw, connection: self })
    }

    fn check(&self, code: c_int) -> Result<(), String> {
        if code == ffi::SQLITE_OK { Ok(()) } else { Err(self.message()) }
    }

    fn message(&self) -> String {
        // SAFETY: for every handle, NULL included, SQLite returns a NUL-terminated text that lives until the next call.
        unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: no statement outlives its connection (it borrows it), and the handle is not used afterwards.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

/// The two INSERTs, prepared once.
pub struct Inserts<'a> {
    event: Statement<'a>,
    capture: Statement<'a>,
}

impl<'a> Inserts<'a> {
    pub fn prepare(connection: &'a Connection) -> Result<Self, String> {
        Ok(Self { event: connection.prepare(INSERT_EVENT)?, capture: connection.prepare(INSERT_CAPTURE)? })
    }

    /// Inserts row by row.
    pub fn insert(&mut self, rows: &Rows) -> Result<(), String> {
        match rows {
            Rows::Events(events) => events.iter().try_for_each(|row| self.event.insert_event(row)),
            Rows::Captures(captures) => captures.iter().try_for_each(|row| self.capture.insert_capture(row)),
        }
    }
}

/// A prepared statement; goes before its connection, which the borrow sees to.
///
/// Values are bound as `SQLITE_STATIC`, so SQLite reads them where they are, during the step. Private, and sound only
/// because both `insert_` functions borrow the row, bind every parameter anew and step before they return.
struct Statement<'a> {
    raw: *mut ffi::sqlite3_stmt,
    connection: &'a Connection,
}

impl Statement<'_> {
    fn insert_event(&mut self, row: &Event) -> Result<(), String> {
        self.bind_number(1, Some(row.ts().as_nanos()))?;
        self.bind_text(2, Some(row.sensor()))?;
        self.bind_text(3, Some(row.service()))?;
        self.bind_text(4, Some(row.event_type()))?;
        self.bind_text(5, row.src_ip())?;
        self.bind_number(6, row.src_port().map(i64::from))?;
        self.bind_text(7, row.dst_ip())?;
        self.bind_number(8, row.dst_port().map(i64::from))?;
        self.bind_text(9, row.proto())?;
        self.bind_text(10, row.session())?;
        self.bind_text(11, row.msg())?;
        self.bind_text(12, row.fields())?;
        self.bind_text(13, row.raw())?;
        self.bind_text(14, row.trace_id())?;
        self.bind_text(15, row.span_id())?;
        self.step()
    }

    fn insert_capture(&mut self, row: &Capture) -> Result<(), String> {
        self.bind_number(1, Some(row.ts().as_nanos()))?;
        self.bind_text(2, Some(row.sensor()))?;
        self.bind_text(3, Some(row.kind()))?;
        self.bind_text(4, row.session())?;
        self.bind_text(5, row.src_ip())?;
        self.bind_number(6, row.src_port().map(i64::from))?;
        self.bind_text(7, row.dst_ip())?;
        self.bind_number(8, row.dst_port().map(i64::from))?;
        self.bind_text(9, row.proto())?;
        self.bind_number(10, row.link_type().map(i64::from))?;
        self.bind_number(11, i64::try_from(row.length()).ok())?;
        self.bind_text(12, row.fields())?;
        self.bind_bytes(13, row.data())?;
        self.step()
    }

    fn step(&mut self) -> Result<(), String> {
        // SAFETY: the statement is prepared, and the row whose values are bound is borrowed by the caller.
        let (step, reset) = unsafe { (ffi::sqlite3_step(self.raw), ffi::sqlite3_reset(self.raw)) };
        if step == ffi::SQLITE_DONE { self.connection.check(reset) } else { Err(self.connection.message()) }
    }

    fn bind_number(&mut self, index: c_int, value: Option<i64>) -> Result<(), String> {
        // SAFETY: the statement is prepared and not being stepped; a wrong index would be an error code.
        let code = match value {
            Some(value) => unsafe { ffi::sqlite3_bind_int64(self.raw, index, value) },
            None => unsafe { ffi::sqlite3_bind_null(self.raw, index) },
        };
        self.connection.check(code)
    }

    fn bind_text(&mut self, index: c_int, text: Option<&str>) -> Result<(), String> {
        let Some(text) = text else { return self.bind_number(index, None) };
        let (start, len, encoding) = (text.as_ptr().cast(), text.len() as u64, ffi::SQLITE_UTF8 as u8);
        // SAFETY: as above; SQLITE_STATIC: see `Statement`. The pointer and the length are those of a living `str`.
        let code = unsafe { ffi::sqlite3_bind_text64(self.raw, index, start, len, ffi::SQLITE_STATIC(), encoding) };
        self.connection.check(code)
    }

    fn bind_bytes(&mut self, index: c_int, bytes: &[u8]) -> Result<(), String> {
        let (start, len) = (bytes.as_ptr().cast(), bytes.len() as u64);
        // SAFETY: as for a text. The pointer of an empty slice is not NULL, so it is an empty blob.
        let code = unsafe { ffi::sqlite3_bind_blob64(self.raw, index, start, len, ffi::SQLITE_STATIC()) };
        self.connection.check(code)
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: finalized once, which reads no bound value; the handle is not used afterwards.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

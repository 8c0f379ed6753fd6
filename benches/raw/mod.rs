//! The yardstick: SQLite's C API in the best form known to us.
//!
//! One multi-row `INSERT OR FAIL`, prepared once, values bound without a copy, in explicit transactions, with the same
//! pragmas as our writer and the same checkpoints from a second connection. No ledger: that part is ours to pay.

use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr;
use std::sync::mpsc;
use std::time::Duration;

use forebay::config::Bytes;
use libsqlite3_sys as ffi;

use crate::sample::Line;
use crate::{Run, measured};

const WIDTH: usize = 15;
const INSERT: &str = "INSERT OR FAIL INTO events (ts,sensor,service,event_type,src_ip,src_port,dst_ip,dst_port,proto,\
                      session,msg,fields,raw,trace_id,span_id) VALUES ";

/// A connection that is closed on drop.
pub struct Connection(*mut ffi::sqlite3);

// SAFETY: SQLite is built threadsafe, and each connection here is used by one thread at a time.
unsafe impl Send for Connection {}

/// A prepared statement; must go before its connection, which the borrow sees to.
struct Statement<'a> {
    raw: *mut ffi::sqlite3_stmt,
    connection: &'a Connection,
}

impl Connection {
    pub fn open(path: &Path) -> Self {
        let path = CString::new(path.to_str().expect("a UTF-8 path")).expect("no NUL in a path");
        let mut raw = ptr::null_mut();
        // SAFETY: `path` is NUL-terminated and lives through the call; `raw` is a valid place for the handle.
        let code = unsafe { ffi::sqlite3_open(path.as_ptr(), &mut raw) };
        assert_eq!(code, ffi::SQLITE_OK, "open");
        Self(raw)
    }

    pub fn execute(&self, sql: &str) {
        let text = CString::new(sql).expect("no NUL in SQL");
        // SAFETY: the connection is open, the text NUL-terminated; no callback is given.
        let code = unsafe { ffi::sqlite3_exec(self.0, text.as_ptr(), None, ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(code, ffi::SQLITE_OK, "{sql}: {}", self.message());
    }

    /// Runs a query for one number.
    pub fn count(&self, sql: &str) -> usize {
        let statement = self.prepare(sql);
        // SAFETY: the statement is prepared; the column exists, as the step has given a row.
        let (code, number) = unsafe { (ffi::sqlite3_step(statement.raw), ffi::sqlite3_column_int64(statement.raw, 0)) };
        assert_eq!(code, ffi::SQLITE_ROW, "{}", self.message());
        number as usize
    }

    fn prepare(&self, sql: &str) -> Statement<'_> {
        let text = CString::new(sql).expect("no NUL in SQL");
        let mut raw = ptr::null_mut();
        let flags = ffi::SQLITE_PREPARE_PERSISTENT;
        // SAFETY: the connection is open, the text NUL-terminated, `raw` a valid place for the handle.
        let code = unsafe { ffi::sqlite3_prepare_v3(self.0, text.as_ptr(), -1, flags, &mut raw, ptr::null_mut()) };
        assert_eq!(code, ffi::SQLITE_OK, "{}", self.message());
        Statement { raw, connection: self }
    }

    fn message(&self) -> String {
        // SAFETY: the connection is open; SQLite returns a NUL-terminated text that lives until the next call.
        unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0)) }.to_string_lossy().into_owned()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: no statement outlives its connection (it borrows it), and the handle is not used afterwards.
        unsafe { ffi::sqlite3_close(self.0) };
    }
}

impl Statement<'_> {
    fn insert(&mut self, rows: &[Line]) {
        for (index, row) in rows.iter().enumerate() {
            self.bind_row((index * WIDTH) as c_int, row);
        }
        // SAFETY: the statement is prepared, and everything that was bound lives in `rows`.
        let codes = unsafe { (ffi::sqlite3_step(self.raw), ffi::sqlite3_reset(self.raw)) };
        assert_eq!(codes, (ffi::SQLITE_DONE, ffi::SQLITE_OK), "{}", self.connection.message());
    }

    fn bind_row(&mut self, before: c_int, row: &Line) {
        self.bind_number(before + 1, row.ts);
        self.bind_text(before + 2, &row.sensor);
        self.bind_text(before + 3, row.service);
        self.bind_text(before + 4, row.event_type);
        self.bind_text(before + 5, &row.src_ip);
        self.bind_number(before + 6, i64::from(row.src_port));
        self.bind_text(before + 7, &row.dst_ip);
        self.bind_number(before + 8, i64::from(row.dst_port));
        self.bind_text(before + 9, "tcp");
        self.bind_text(before + 10, &row.session);
        self.bind_text(before + 11, &row.msg);
        self.bind_text(before + 12, &row.fields);
        self.bind_text(before + 13, &row.raw);
        // Trace and span stay NULL, as they are in a new statement.
    }

    fn bind_number(&mut self, index: c_int, value: i64) {
        // SAFETY: the statement is not being stepped; a wrong index would be an error code, not undefined.
        unsafe { ffi::sqlite3_bind_int64(self.raw, index, value) };
    }

    fn bind_text(&mut self, index: c_int, text: &str) {
        let len = text.len() as c_int;
        // SAFETY: SQLITE_STATIC: the text outlives the step, since `insert` borrows the rows through it, and is not
        // read after the reset until it is bound anew.
        unsafe { ffi::sqlite3_bind_text(self.raw, index, text.as_ptr().cast(), len, ffi::SQLITE_STATIC()) };
    }
}

impl Drop for Statement<'_> {
    fn drop(&mut self) {
        // SAFETY: finalized once; the handle is not used afterwards.
        unsafe { ffi::sqlite3_finalize(self.raw) };
    }
}

/// Inserts all lines in transactions of `batch` rows and statements of `per_statement`; returns what it took.
pub fn insert(path: &Path, lines: &[Line], batch: usize, per_statement: usize, cache: Bytes) -> Run {
    let connection = Connection::open(path);
    // As `backend/sqlite/open.rs` sets them.
    connection.execute(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-{}; PRAGMA wal_autocheckpoint=16384; \
         PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY;",
        cache.0 >> 10
    ));
    let per_statement = per_statement.min(batch);
    let sql = |rows: usize| {
        let row = format!("({})", ["?"; WIDTH].join(","));
        format!("{INSERT}{}", vec![row; rows].join(","))
    };
    let checkpoints = Checkpoints::start(path);
    let mut full = connection.prepare(&sql(per_statement));
    let rest = batch % per_statement;
    let mut remainder = (rest > 0).then(|| connection.prepare(&sql(rest)));
    let run = measured(None, || {
        for rows in lines.chunks(batch) {
            connection.execute("BEGIN IMMEDIATE");
            for rows in rows.chunks(per_statement) {
                match &mut remainder {
                    _ if rows.len() == per_statement => full.insert(rows),
                    Some(remainder) if rows.len() == rest => remainder.insert(rows),
                    _ => connection.prepare(&sql(rows.len())).insert(rows),
                }
            }
            connection.execute("COMMIT");
        }
    });
    checkpoints.stop();
    run
}

/// A second connection that checkpoints every 100 ms, as our writer has one.
struct Checkpoints {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Checkpoints {
    fn start(path: &Path) -> Self {
        let connection = Connection::open(path);
        let (stop, stopped) = mpsc::channel();
        let every = Duration::from_millis(100);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)");
            }
        });
        Self { stop, thread }
    }

    fn stop(self) {
        drop(self.stop);
        self.thread.join().expect("the checkpoints went on to the end");
    }
}

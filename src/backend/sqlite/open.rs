//! Opens a SQLite file for writing, or says in words what stands in the way.
//!
//! The order matters: first what can be seen without touching the file (directory, permissions, file system, links),
//! then the writer lock, then SQLite itself, then whose database it is and which version, then the migrations. The file
//! is never opened by ourselves when it exists: closing a descriptor would drop the locks that other connections of this
//! process hold on it.

use std::error::Error as _;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::lock::{LockError, WriterLock};
use super::segments;
use crate::config::{Config, SqliteConfig, Synchronous};
use crate::error::{Error, ErrorKind};
use crate::maintenance::{self, Migration, Run};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("src/backend/sqlite/migrations");
/// Their names; each leads to the version that is its place.
const NAMES: [&str; 4] = ["rows", "segments", "numbered", "state"];
/// What `PRAGMA user_version` is after all migrations.
pub(super) const SCHEMA_VERSION: i64 = NAMES.len() as i64;
/// The version from which on the program makes the views.
const NUMBERED: i64 = 3;
/// How long another holder of the writer lock may take to let go: one that was killed this moment still has its files
/// open until the kernel has taken it apart.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two attempts to open what somebody else is making at this moment.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of a page in new files. Measured with batches of 100, 1000 and 8192 rows, thousand rows/s: 4 KiB 175, 242, 242;
/// 8 KiB 214, 260, 263; 16 KiB 199, 263, 282. Rows are appended and indexes built in order, so that larger pages only
/// spare headers and system calls; for small commits 16 KiB are too much.
const PAGE: u32 = 8192;
/// Length that the log's file keeps when the log begins anew. If it were less than what is usually in it, the file would
/// be cut and allocated again each time.
const KEPT_LOG: u64 = 128 << 20;
/// "FRBY", in `PRAGMA application_id`.
const APPLICATION_ID: i64 = 0x4652_4259;

/// Device and inode: which file a path names.
pub(super) type Identity = (u64, u64);

/// Returns which file `path` names, if it can be seen.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Checkpoint,
    Read,
    /// Of a file that nobody has open: leaves nothing beside it.
    Still,
}

/// Checks everything, creates the file (0600) and its tables as needed.
///
/// Returns the absolute path, the lock and the writer's connection.
pub(super) fn open(path: &Path, config: &SqliteConfig) -> Result<(PathBuf, WriterLock, SqliteConnection), Error> {
    let (path, lock) = reserve(path)?;
    let connection = patiently(&path, || {
        let mut connection = open_as_it_is(&path, config)?;
        migrate(&mut connection, &path, None)?;
        Ok(connection)
    })?;
    Ok((path, lock, connection))
}

/// Checks the place, takes the lock and creates the file; returns its absolute path.
fn reserve(path: &Path) -> Result<(PathBuf, WriterLock), Error> {
    let path = resolve(path)?;
    check_place(&path)?;
    let lock = WriterLock::acquire(&path, PATIENCE).map_err(|error| match error {
        LockError::Held(pid) => {
            let holder = pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
            let advice = "stop it, or send rows through it: a SQLite file has one writer";
            Error::new(ErrorKind::InUse, format!("{} is being written by {holder}; {advice}", path.display()))
        }
        LockError::Io(lock, error) => not_writable(format!("create the lock file {}", lock.display())).because(error),
    })?;
    create(&path)?;
    Ok((path, lock))
}

/// As [`open`], with whatever tables the file has.
fn open_as_it_is(path: &Path, config: &SqliteConfig) -> Result<SqliteConnection, Error> {
    let mut connection = connect(path, Access::Write).map_err(|error| unusable(path, error))?;
    check_owner(&mut connection, path)?;
    prepare(&mut connection).map_err(|error| unusable(path, error))?;
    configure(&mut connection, config).map_err(|error| unusable(path, error))?;
    check_wal(&mut connection, path)?;
    Ok(connection)
}

/// Tries again for a while what fails because SQLite's log beside the file may not be opened. Root who looks into the file
/// at this moment makes the log, and gives it to the file's owner only in a second step.
fn patiently<T>(path: &Path, mut open: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        match open() {
            Err(error) if is_about_the_log(&error) => {
                if began.elapsed() >= PATIENCE {
                    return Err(error.advising("see that its -wal and -shm files are this user's"));
                }
                if !std::mem::replace(&mut is_told, true) {
                    tracing::info!(path = %path.display(), %error, "it is tried again");
                }
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn is_about_the_log(error: &Error) -> bool {
    let messages = ["unable to open database file", "attempt to write a readonly database"];
    let causes = std::iter::successors(error.source(), |&error| error.source());
    causes.map(ToString::to_string).any(|cause| messages.iter().any(|message| cause.contains(message)))
}

/// Opens a connection to an existing file.
pub(super) fn connect(path: &Path, access: Access) -> Result<SqliteConnection, DieselError> {
    let mode = match access {
        Access::Write | Access::Checkpoint => "rw",
        Access::Read => "ro",
        Access::Still => "ro&immutable=1",
    };
    let escaped = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let failed = |error: diesel::ConnectionError| {
        let message = Box::new(error.to_string());
        DieselError::DatabaseError(diesel::result::DatabaseErrorKind::Unknown, message)
    };
    let mut connection = SqliteConnection::establish(&format!("file:{escaped}?mode={mode}")).map_err(failed)?;
    connection.batch_execute("PRAGMA busy_timeout=30000")?;
    Ok(connection)
}

/// Opens a file that is there to be read, and leaves nothing beside it; refuses what is not ours.
pub(super) fn to_read(path: &Path) -> Result<SqliteConnection, Error> {
    check_there(path)?;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Reading a file without its log in the usual way would make one.
    let access = if Path::new(&log).exists() { Access::Read } else { Access::Still };
    let mut connection = connect(path, access).map_err(|error| unusable(path, error))?;
    check_owner(&mut connection, path)?;
    Ok(connection)
}

/// A file that is not there is not made, only to find nothing in it.
pub(super) fn check_there(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::NotADatabase, format!("{} is not there; name an existing file", path.display())))
}

/// Sets what a file without tables must know from the start: the size of its pages, and that space can be given back
/// later. Not in a file that has them: there it would do nothing, and wait for whoever holds the write lock.
fn prepare(connection: &mut SqliteConnection) -> Result<(), DieselError> {
    if pragma_number(connection, "user_version")? == 0 {
        connection.batch_execute(&format!("PRAGMA page_size={PAGE}; PRAGMA auto_vacuum=INCREMENTAL"))?;
    }
    Ok(())
}

/// Sets what a writing connection needs; to be repeated on every new one.
pub(super) fn configure(connection: &mut SqliteConnection, config: &SqliteConfig) -> Result<(), DieselError> {
    let synchronous = match config.synchronous {
        Synchronous::Normal => "NORMAL",
        Synchronous::Full => "FULL",
    };
    let (busy, cache) = (config.busy_timeout.as_millis(), config.cache.0 >> 10);
    let kept = KEPT_LOG.min(config.max_wal.0);
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout={busy}; PRAGMA journal_mode=WAL; \
         PRAGMA synchronous={synchronous}; PRAGMA cache_size=-{cache}; PRAGMA wal_autocheckpoint=0; \
         PRAGMA journal_size_limit={kept}; PRAGMA temp_store=MEMORY; \
         PRAGMA legacy_alter_table=ON;"
    ))
}

/// Sets how long a statement waits for another program's lock.
pub(super) fn set_busy_timeout(connection: &mut SqliteConnection, patience: Duration) -> Result<(), DieselError> {
    connection.batch_execute(&format!("PRAGMA busy_timeout={}", patience.as_millis()))
}

fn resolve(path: &Path) -> Result<PathBuf, Error> {
    if let Ok(existing) = path.canonicalize() {
        return Ok(existing);
    }
    let name = path.file_name().ok_or_else(|| not_writable(format!("{} names no file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let advice = || format!("the directory {} is not there; create it first", parent.display());
    Ok(parent.canonicalize().map_err(|error| not_writable(advice()).because(error))?.join(name))
}

fn check_place(path: &Path) -> Result<(), Error> {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let writable = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS);
    let directory = path.parent().unwrap_or(Path::new("/"));
    if path.to_str().is_none() {
        return Err(not_writable(format!("{} is no UTF-8 text", path.display())));
    }
    let file_system = rustix::fs::statfs(directory).map_err(|error| {
        not_writable(format!("look at the file system of {}", directory.display())).because(io::Error::from(error))
    })?;
    if let Some(name) = unsafe_file_system(file_system.f_type as u32) {
        let why = format!("{} is on {name}, where SQLite cannot lock safely; use a local disk", path.display());
        return Err(Error::new(ErrorKind::UnsafeFileSystem, why));
    }
    if let Err(error) = writable(directory, Access::WRITE_OK | Access::EXEC_OK) {
        let advice = "SQLite keeps its log beside the file; make the directory writable";
        let why = format!("the directory {} cannot be written; {advice}", directory.display());
        return Err(not_writable(why).because(io::Error::from(error)));
    }
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    if !metadata.is_file() {
        return Err(Error::new(ErrorKind::NotADatabase, format!("{} is no regular file", path.display())));
    }
    if metadata.nlink() > 1 {
        let why =
            format!("{} has several hard links, and SQLite finds its log by name; remove the others", path.display());
        return Err(Error::new(ErrorKind::UnsafeFileSystem, why));
    }
    writable(path, Access::READ_OK | Access::WRITE_OK).map_err(|error| {
        let why = format!("{} cannot be written; check its owner and permissions", path.display());
        not_writable(why).because(io::Error::from(error))
    })
}

/// Names a file system on which SQLite's locks do not hold, by its magic number (`statfs(2)`).
fn unsafe_file_system(magic: u32) -> Option<&'static str> {
    match magic {
        0x0000_6969 => Some("NFS"),
        0xff53_4d42 | 0x0000_517b | 0xfe53_4d42 => Some("SMB/CIFS"),
        0x0102_1997 => Some("9p"),
        0x5346_414f | 0x6b41_4653 => Some("AFS"),
        _ => None,
    }
}

fn create(path: &Path) -> Result<(), Error> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(not_writable(format!("create {}", path.display())).because(error)),
    }
}

/// Refuses another program's database and one of a later schema, before anything is changed.
pub(super) fn check_owner(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let mut pragma = |name| pragma_number(connection, name).map_err(|error| unusable(path, error));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if application != 0 && application != APPLICATION_ID {
        let why = format!(
            "{} belongs to another program (application id {application:#x}); use another file",
            path.display()
        );
        return Err(Error::new(ErrorKind::NotADatabase, why));
    }
    if application == 0 && has_tables(connection).map_err(|error| unusable(path, error))? {
        let why = format!(
            "{} belongs to another program (it has tables that are not ours); use another file",
            path.display()
        );
        return Err(Error::new(ErrorKind::NotADatabase, why));
    }
    if version > SCHEMA_VERSION {
        let why = format!("{} has schema version {version}, this forebay knows {SCHEMA_VERSION}", path.display());
        return Err(Error::new(ErrorKind::NewerSchema, format!("{why}; use the forebay that made it, or a newer one")));
    }
    Ok(())
}

/// Returns whether the file has tables, but for the one that the migrations begin with.
fn has_tables(connection: &mut SqliteConnection) -> Result<bool, DieselError> {
    let tables = "SELECT count(*) AS number FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' \
                  AND name <> '__diesel_schema_migrations'";
    diesel::sql_query(tables).get_result::<Number>(connection).map(|count| count.number > 0)
}

fn check_wal(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Mode {
        #[diesel(sql_type = Text)]
        journal_mode: String,
    }
    let mode: Mode = diesel::sql_query("PRAGMA journal_mode").get_result(connection).map_err(|e| unusable(path, e))?;
    if mode.journal_mode == "wal" {
        return Ok(());
    }
    let why = format!("{} cannot use a write-ahead log (its journal mode stays {})", path.display(), mode.journal_mode);
    Err(Error::new(ErrorKind::UnsafeFileSystem, format!("{why}; move it to a local disk")))
}

/// Takes the steps up to the version `to` (`None`: the latest); returns the version before, and them.
pub(super) fn migrate(
    connection: &mut SqliteConnection,
    path: &Path,
    to: Option<i64>,
) -> Result<(i64, Vec<Migration>), Error> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
        let why = format!("bring the tables of {} up to date", path.display());
        Error::new(ErrorKind::Database, why).because(error)
    };
    let version = pragma_number(connection, "user_version").map_err(|error| unusable(path, error))?;
    let steps = maintenance::steps(&NAMES, version, to)?;
    if steps.is_empty() {
        return Ok((version, steps));
    }
    // All or nothing: between two versions the views name tables that are not there.
    let migrated = connection.immediate_transaction(|connection| {
        for _ in &steps {
            connection.run_next_migration(MIGRATIONS)?;
        }
        if steps.last().is_some_and(|step| step.version >= NUMBERED) {
            segments::make_views(connection)?;
        }
        Ok(())
    });
    migrated.map(|()| (version, steps)).map_err(failed)
}

/// As [`migrate`], of a file that is there and that nobody writes to; or only tells.
pub(crate) fn migrate_by_hand(
    path: &Path,
    config: &Config,
    to: Option<i64>,
    run: Run,
) -> Result<(i64, Vec<Migration>), Error> {
    let mut read = to_read(path)?;
    let version = pragma_number(&mut read, "user_version").map_err(|error| unusable(path, error))?;
    let steps = maintenance::steps(&NAMES, version, to)?;
    drop(read);
    if run == Run::Dry || steps.is_empty() {
        return Ok((version, steps));
    }
    let (path, _lock) = reserve(path)?;
    let mut connection = patiently(&path, || open_as_it_is(&path, &config.sqlite))?;
    let migrated = migrate(&mut connection, &path, to)?;
    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)").map_err(|error| unusable(&path, error))?;
    Ok(migrated)
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

pub(super) fn pragma_number(connection: &mut SqliteConnection, name: &str) -> Result<i64, DieselError> {
    // `name` is one of our own words, never input.
    let query = diesel::sql_query(format!("SELECT {name} AS number FROM pragma_{name}"));
    query.get_result::<Number>(connection).map(|value| value.number)
}

fn not_writable(why: String) -> Error {
    Error::new(ErrorKind::NotWritable, why)
}

pub(super) fn unusable(path: &Path, error: DieselError) -> Error {
    use super::error::{Meaning, meaning};
    let (kind, why) = match (meaning(&error), error.to_string().starts_with("file is not a database")) {
        (_, true) => (ErrorKind::NotADatabase, "is no SQLite database; name another file"),
        (Meaning::Broken, _) => {
            (ErrorKind::NotADatabase, "is a damaged database; restore it, or recover it with `sqlite3 .recover`")
        }
        (Meaning::Passing("locked"), _) => (ErrorKind::InUse, "is locked by another program; end its transaction"),
        (Meaning::Passing("read_only"), _) => (ErrorKind::NotWritable, "is read-only"),
        _ => (ErrorKind::Database, "cannot be opened"),
    };
    Error::new(kind, format!("{} {why}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real network mount cannot be had in a test; the magic numbers are those of `statfs(2)` and linux/magic.h.
    #[test]
    fn network_file_systems_are_known_by_their_magic_numbers() {
        assert_eq!(
            [0x6969, 0xff53_4d42, 0xfe53_4d42].map(unsafe_file_system),
            [Some("NFS"), Some("SMB/CIFS"), Some("SMB/CIFS")]
        );
        assert_eq!([0xef53, 0x0102_1994, 0x5846_5342, 0x9123_683e, 0x794c_7630].map(unsafe_file_system), [None; 5]);
    }
}

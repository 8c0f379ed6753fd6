//! The error that a host sees: one opaque type with a kind to branch on, a sentence to read and the cause.
//!
//! Producers have errors of their own that hand rows back (`pipeline::SendError`), and so has the writer
//! (`backend::WriteError`); neither reaches a host.

use std::error::Error as StdError;
use std::fmt;

/// What a host can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, a database URL or an argument is wrong: change it.
    Configuration,
    /// This build has no such backend: enable the feature that the message names.
    Unsupported,
    /// Another pipeline writes to the database, or another process listens at the address: stop it, or send rows through it.
    InUse,
    /// Something of that name is there already, or what is there forbids the change: look at it first.
    Conflict,
    /// The database was made by a newer forebay: use that one.
    NewerSchema,
    /// The database was made by an older forebay and can be read after this one has written to it.
    OlderSchema,
    /// The file is no database, is damaged, or belongs to another program.
    NotADatabase,
    /// The database cannot be written: permissions, a read-only file system, a missing directory.
    NotWritable,
    /// The file system is one on which SQLite cannot lock safely.
    UnsafeFileSystem,
    /// The server lets this user not in, or not do what is needed: correct user, password or grants.
    AccessDenied,
    /// The database answered with an error.
    Database,
    /// The database does not answer, or not yet: try again later.
    Unavailable,
    /// The operating system refused something.
    System,
}

/// Why an operation on a pipeline failed.
///
/// `Display` is one line: what was being done, to what, and what to do next. The cause is in `source`. No password is
/// ever part of either.
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn advising(mut self, advice: &str) -> Self {
        self.context = format!("{}; {advice}", self.context);
        self
    }

    /// Returns what can be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        debug.field("kind", &self.kind).field("context", &self.context);
        if let Some(source) = &self.source {
            debug.field("source", &source.to_string());
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

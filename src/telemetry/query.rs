//! What is asked of a repository.

use std::time::Duration;

use metrics::{counter, histogram};

/// Notes a question, or a change: what was asked, of which backend, and whether it was answered.
pub(crate) fn query(op: &'static str, backend: &'static str, elapsed: Duration, ok: bool) {
    histogram!("forebay_query_seconds", "op" => op, "backend" => backend).record(elapsed);
    // Also without an error: a counter that begins to be when it first moves hides that move from `increase()`.
    counter!("forebay_query_errors_total", "op" => op, "backend" => backend).increment(u64::from(!ok));
}

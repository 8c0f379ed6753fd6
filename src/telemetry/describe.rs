//! The help texts, each of which says what question its metric answers.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};

/// Registers the help texts with the installed recorder, and says which build this is. `Pipeline::open` does so; a
/// second call does no harm.
pub fn describe() {
    let backends = if cfg!(all(feature = "sqlite", feature = "mysql")) {
        "sqlite,mysql"
    } else if cfg!(feature = "sqlite") {
        "sqlite"
    } else if cfg!(feature = "mysql") {
        "mysql"
    } else {
        "none"
    };
    let commit = option_env!("FOREBAY_COMMIT").unwrap_or("unknown");
    gauge!("forebay_build_info", "version" => env!("CARGO_PKG_VERSION"), "commit" => commit, "backends" => backends)
        .set(1.0);
    counters();
    gauges();
    histograms();
}

fn counters() {
    for (name, help) in [
        ("forebay_received_rows_total", "Rows that the writer took from its queues"),
        ("forebay_committed_rows_total", "Rows committed to their table"),
        ("forebay_derived_rows_total", "Captures derived from committed events and committed with them"),
        ("forebay_rejected_rows_total", "Rows set aside in ingest_rejects, by reason"),
        ("forebay_failed_rows_total", "Rows whose receipt resolved as failed"),
        ("forebay_discarded_rows_total", "Rows not taken because a queue was full, by reason"),
        ("forebay_retries_total", "Attempts to write a batch that were tried again, by reason"),
        (
            "forebay_errors_total",
            "Errors of a lane, by what they mean (transient, rejected, fatal) and where they happened",
        ),
        ("forebay_query_errors_total", "Calls of a repository that failed, by op and backend"),
        ("forebay_retention_rows_total", "Rows dropped by retention, by the limit that was passed"),
        ("forebay_retention_segments_total", "Segments dropped by retention, by the limit that was passed"),
        (
            "forebay_mysql_pool_gets_total",
            "Connections asked of the pool, by how that ended: direct, waited, timed_out",
        ),
        ("forebay_mysql_connections_opened_total", "Connections opened to the server"),
        ("forebay_mysql_connections_closed_total", "Connections closed, and opened anew when needed, by reason"),
        ("forebay_source_rows_total", "Rows that a source handed to the pipeline"),
        ("forebay_source_malformed_records_total", "Records of a source that could not be read, and were set aside"),
        ("forebay_source_skipped_records_total", "Records of a source that were committed before it began"),
        ("forebay_source_kernel_drops_total", "Packets that the kernel dropped because a source did not keep up"),
    ] {
        describe_counter!(name, help);
    }
}

fn gauges() {
    for (name, unit, help) in [
        ("forebay_build_info", Unit::Count, "Always 1; its labels say which build this is"),
        ("forebay_buffer_size_rows", Unit::Count, "Rows accepted and not yet settled"),
        ("forebay_buffer_max_size_rows", Unit::Count, "Bound of forebay_buffer_size_rows"),
        ("forebay_buffer_size_bytes", Unit::Bytes, "Bytes of rows held in memory by the pipeline"),
        ("forebay_buffer_max_size_bytes", Unit::Bytes, "Bound of forebay_buffer_size_bytes"),
        (
            "forebay_oldest_row_seconds",
            Unit::Seconds,
            "Age of the oldest row that is accepted and not yet settled; 0 for none",
        ),
        ("forebay_in_flight_batches", Unit::Count, "Batches being written"),
        ("forebay_slots", Unit::Count, "Bound of forebay_in_flight_batches"),
        ("forebay_lane_state", Unit::Count, "0 running, 1 retrying, 2 failed, 3 closed"),
        ("forebay_last_commit_timestamp_seconds", Unit::Seconds, "When the lane last committed (Unix time)"),
        ("forebay_sqlite_wal_bytes", Unit::Bytes, "Write-ahead log since it last began anew"),
        ("forebay_sqlite_wal_held_bytes", Unit::Bytes, "Part of it that a reader's open transaction holds"),
        ("forebay_sqlite_segments", Unit::Count, "Segments of the SQLite file that queries see"),
        ("forebay_sqlite_file_bytes", Unit::Bytes, "Size of the SQLite file"),
        ("forebay_sqlite_free_bytes", Unit::Bytes, "Pages of the SQLite file that hold nothing"),
        ("forebay_sqlite_disk_free_bytes", Unit::Bytes, "Free space of the file system under the SQLite file, for us"),
        ("forebay_sqlite_disk_size_bytes", Unit::Bytes, "Size of that file system"),
        ("forebay_mysql_pool_max_connections", Unit::Count, "Most connections that the pool opens"),
        ("forebay_mysql_pool_connections", Unit::Count, "Connections that are open"),
        ("forebay_mysql_pool_idle_connections", Unit::Count, "Connections that are open and not in use"),
        ("forebay_source_state", Unit::Count, "0 starting, 1 running, 2 waiting, 3 failed, 4 ended"),
        ("forebay_source_lag_bytes", Unit::Bytes, "Bytes that a source has before it and has not read yet"),
        (
            "forebay_source_lag_seconds",
            Unit::Seconds,
            "Now less the time of the source's latest row while there is something that it has not read yet; else 0",
        ),
        (
            "forebay_source_latest_row_timestamp_seconds",
            Unit::Seconds,
            "Time of the source's latest row, by the row's own clock (Unix time)",
        ),
        ("forebay_source_peers", Unit::Count, "Peers that are connected to a source"),
    ] {
        // Not every number has a unit that an exporter should know of.
        match unit {
            Unit::Count => describe_gauge!(name, help),
            unit => describe_gauge!(name, unit, help),
        }
    }
}

fn histograms() {
    for (name, help) in [
        ("forebay_send_wait_seconds", "Time that a send waited for room; sends that did not wait are not in it"),
        ("forebay_queue_wait_seconds", "Acceptance of a batch's oldest row to the beginning of its first write"),
        ("forebay_write_seconds", "Time of one successful attempt to write a batch"),
        ("forebay_latency_seconds", "Acceptance of a batch's oldest row to its commit"),
        ("forebay_sqlite_checkpoint_seconds", "Time of moving the log into the file once"),
        ("forebay_sqlite_busy_wait_seconds", "Time that a batch waited for another program's lock, if it waited"),
        ("forebay_mysql_pool_wait_seconds", "Time that work waited for a connection of the pool"),
        ("forebay_query_seconds", "Time of a repository's call, by op and backend; with the wait for a connection"),
        ("forebay_sqlite_step_seconds", "Time of one step of work on segments, by step"),
    ] {
        describe_histogram!(name, Unit::Seconds, help);
    }
    describe_histogram!("forebay_batch_rows", "Rows of a committed batch");
    describe_histogram!("forebay_batch_bytes", Unit::Bytes, "Bytes of a committed batch");
}

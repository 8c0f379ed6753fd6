//! The tables that statements built by diesel use, with the same names and types in every SQL backend.
//!
//! `events` and `captures` are written by the statements in `rows.rs`; the full schema is in each backend's migrations.

diesel::table! {
    ingest_ledger (source, first) {
        source -> Text,
        first -> BigInt,
        last -> BigInt,
        rows -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    ingest_rejects (id) {
        id -> BigInt,
        at -> BigInt,
        table_name -> Text,
        source -> Text,
        position -> BigInt,
        reason -> Text,
        detail -> Text,
        row -> Text,
    }
}

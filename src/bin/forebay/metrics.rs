//! Serves the metrics of the library to Prometheus.

use std::net::SocketAddr;

use forebay::telemetry::{BYTES_BUCKETS, ROWS_BUCKETS, SECONDS_BUCKETS};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// Installs the recorder and serves it at `http://ADDRESS/metrics` from a thread of its own.
///
/// # Errors
/// In words, for an address beyond loopback and for one that cannot be had.
pub fn serve(address: SocketAddr) -> Result<(), String> {
    if !address.ip().is_loopback() {
        return Err(format!(
            "metrics at {address}: only loopback addresses, like 127.0.0.1:9464; put a proxy before it"
        ));
    }
    let failed = |error: &dyn std::fmt::Display| format!("metrics at {address}: {error}");
    let buckets: [(&str, &[f64]); 3] =
        [("_seconds", &SECONDS_BUCKETS), ("_batch_rows", &ROWS_BUCKETS), ("_batch_bytes", &BYTES_BUCKETS)];
    let mut builder = PrometheusBuilder::new().with_http_listener(address);
    for (suffix, bounds) in buckets {
        builder =
            builder.set_buckets_for_metric(Matcher::Suffix(suffix.into()), bounds).map_err(|error| failed(&error))?;
    }
    builder.install().map_err(|error| failed(&error))
}

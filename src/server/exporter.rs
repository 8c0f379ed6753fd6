//! The recorder of all metrics of the process, and their text form for Prometheus.
//!
//! A histogram's samples wait in memory until somebody sums them up (the exporter calls that upkeep). The server does so
//! once a second, whether anybody asks for the metrics or not, so that memory does not grow.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::error::{Error, ErrorKind};
use crate::telemetry::BUCKETS;

/// What the process's metrics are read from. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Exporter {
    handle: PrometheusHandle,
    process: Option<Collector>,
}

impl Exporter {
    /// Makes a recorder with our buckets the recorder of this process, and adds the metrics of the process that
    /// Prometheus' own libraries have (`process_cpu_seconds_total`, `process_resident_memory_bytes` ...). Before
    /// `Pipeline::open`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the process has a recorder already.
    pub fn install() -> Result<Self, Error> {
        let failed = |error| Error::new(ErrorKind::Configuration, "install a recorder of metrics").because(error);
        let mut builder = PrometheusBuilder::new();
        for (names_end, buckets) in BUCKETS {
            let all = Matcher::Suffix(names_end.to_owned());
            builder = builder.set_buckets_for_metric(all, buckets).map_err(|error| failed(Box::new(error)))?;
        }
        let handle = builder.install_recorder().map_err(|error| failed(Box::new(error)))?;
        let process = Collector::default();
        process.describe();
        Ok(Self { handle, process: Some(process) })
    }

    /// Returns all metrics as Prometheus reads them.
    pub fn render(&self) -> String {
        if let Some(process) = &self.process {
            process.collect();
        }
        self.handle.render()
    }

    /// Sums up what histograms have gathered since the last time.
    pub(super) fn keep_up(&self) {
        self.handle.run_upkeep();
    }
}

impl From<PrometheusHandle> for Exporter {
    /// Reads the metrics of a recorder that the host has installed.
    fn from(handle: PrometheusHandle) -> Self {
        Self { handle, process: None }
    }
}

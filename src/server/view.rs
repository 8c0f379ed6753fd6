//! What the server may see of its host: handles that the host gives it, and nothing that it could change.

use crate::pipeline::Observer;
use crate::repository::Repository;
use crate::telemetry::SourceFigures;

use super::exporter::Exporter;

/// What a [`Server`](super::Server) shows. Everything but the pipeline is optional.
#[must_use]
pub struct View {
    pub(super) observer: Observer,
    pub(super) exporter: Option<Exporter>,
    pub(super) sources: Box<dyn Fn() -> Vec<SourceFigures> + Send + Sync>,
    pub(super) repository: Option<Repository>,
}

impl View {
    /// Shows a pipeline: `Pipeline::observer`.
    pub fn new(observer: Observer) -> Self {
        Self { observer, exporter: None, sources: Box::new(Vec::new), repository: None }
    }

    /// Serves metrics too. Without, `/metrics` answers 404, and percentiles and backends' figures are not known.
    pub fn exporter(mut self, exporter: impl Into<Exporter>) -> Self {
        self.exporter = Some(exporter.into());
        self
    }

    /// Shows sources too. `sources` is called once a second, also to set their metrics; it must not block.
    pub fn sources(mut self, sources: impl Fn() -> Vec<SourceFigures> + Send + Sync + 'static) -> Self {
        self.sources = Box::new(sources);
        self
    }

    /// Shows the newest events too, as long as somebody looks at the page.
    pub fn repository(mut self, repository: Repository) -> Self {
        self.repository = Some(repository);
        self
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("observer", &self.observer).finish_non_exhaustive()
    }
}

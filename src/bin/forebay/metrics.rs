//! Metrics, health and the status page of a running program: the library's server, with the program's settings.
//!
//! First [`listen`], so that an address that cannot be had is told before a database is opened, and so that the recorder
//! is there before the pipeline takes its handles; then [`Door::open`].

use forebay::Error;
use forebay::database_url::Secret;
use forebay::pipeline::Pipeline;
use forebay::server::{Bound, Exporter, Server, Settings, View};
use forebay::telemetry::SourceFigures;

use crate::settings::Metrics;

/// An address at which nobody is answered yet.
pub struct Door {
    bound: Bound,
    exporter: Exporter,
}

impl Metrics {
    /// Returns where to serve, if anywhere; `token` is the environment's and goes before the file's.
    pub fn server(&self, token: Option<String>) -> Option<Settings> {
        let mut settings = Settings::at(self.listen?);
        settings.token_file = self.token_file.clone();
        settings.token = token.map(Secret::from);
        settings.tls = self.tls.clone();
        settings.hosts = self.hosts.clone();
        Some(settings)
    }
}

/// Takes the address and installs the recorder.
///
/// # Errors
/// In words, for an address beyond loopback without a token, and for one that cannot be had.
pub fn listen(settings: &Settings) -> Result<Door, String> {
    let failed = |error: Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        format!("metrics at {}: {error}{cause}", settings.listen)
    };
    let bound = Server::bind(settings).map_err(failed)?;
    let exporter = Exporter::install().map_err(failed)?;
    Ok(Door { bound, exporter })
}

impl Door {
    /// Answers from now on, about `pipeline`, its `sources`, and the newest events of the database at `url` if it can be
    /// read.
    ///
    /// # Errors
    /// In words, when the operating system gives no thread.
    pub fn open(
        self,
        pipeline: &Pipeline,
        sources: impl Fn() -> Vec<SourceFigures> + Send + Sync + 'static,
    ) -> Result<Server, String> {
        let mut view = View::new(pipeline.observer()).exporter(self.exporter).sources(sources);
        match pipeline.repository() {
            Ok(repository) => view = view.repository(repository),
            Err(error) => tracing::debug!(%error, "the status page shows no events"),
        }
        self.bound.start(view).map_err(|error| error.to_string())
    }
}

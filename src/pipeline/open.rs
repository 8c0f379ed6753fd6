//! Opens pipelines: the only place that knows which backends exist.

use std::sync::Arc;

use super::clock::{Clock, SystemClock};
use super::lane::Lane;
use super::queue::Intake;
use super::{Pipeline, writer};
use crate::backend::Backend;
use crate::backend::memory::Memory;
use crate::batch::EPHEMERAL;
use crate::commits::Commits;
use crate::config::Config;
use crate::database_url::DatabaseUrl;
use crate::error::{Error, ErrorKind};
use crate::repository::Repository;
use crate::telemetry;

/// Gathers the settings and backends of a [`Pipeline`].
#[derive(Default)]
#[must_use]
pub struct PipelineBuilder {
    config: Config,
    urls: Vec<String>,
    backends: Vec<Arc<dyn Backend>>,
    clock: Option<Arc<dyn Clock>>,
}

impl PipelineBuilder {
    /// Sets every setting. Default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a lane into the database that `url` names. Every row goes into every lane.
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Adds a lane into a backend that the host has made.
    pub fn backend(mut self, backend: impl Backend) -> Self {
        self.backends.push(Arc::new(backend));
        self
    }

    /// Adds a lane into a backend that the host keeps a hold of.
    pub fn shared_backend(mut self, backend: Arc<dyn Backend>) -> Self {
        self.backends.push(backend);
        self
    }

    /// Sets the clock; for tests that hold time still.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// Checks the settings, opens every database (creating and migrating it as needed) and starts the writers.
    ///
    /// Blocks for as long as that takes; no async runtime is needed.
    ///
    /// # Errors
    /// What is wrong with a setting, a URL or a database; then nothing has been started. See [`ErrorKind`].
    pub fn open(self) -> Result<Pipeline, Error> {
        self.config.validate()?;
        let mut backends = Vec::new();
        let mut repository: Option<OpenRepository> = None;
        for url in &self.urls {
            let (backend, beside) = open_backend(&DatabaseUrl::parse(url)?, &self.config)?;
            backends.push(backend);
            repository = repository.or(Some(beside));
        }
        backends.extend(self.backends);
        if backends.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "a pipeline needs a database; name one, like `sqlite:forebay.db`",
            ));
        }
        telemetry::describe();
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let ephemeral = format!("{EPHEMERAL}{}/", pipeline_id()?);
        let Config { batch, buffer, retry, .. } = self.config;
        let (max_rows, now) = ([buffer.events.max_rows, buffer.captures.max_rows], clock.now());
        let commits = Commits::default();
        let lane = |backend: &Arc<dyn Backend>| {
            Arc::new(Lane::new(backend.name(), backend.max_in_flight().get(), max_rows, now, commits.clone()))
        };
        let lanes: Vec<_> = backends.iter().map(lane).collect();
        let (intake, queues) = Intake::new(lanes.clone(), clock, batch.clone(), &buffer, ephemeral.clone());
        let intake = Arc::new(intake);
        let mut writers = Vec::new();
        let weak = backends.iter().map(Arc::downgrade).collect();
        for ((lane, backend), queues) in lanes.iter().zip(backends).zip(queues) {
            let (lane, intake) = (Arc::clone(lane), Arc::clone(&intake));
            let settings = (batch.clone(), retry.clone());
            let writer = writer::spawn(lane, intake, backend, queues, settings, ephemeral.clone());
            writers.push(
                writer.map_err(|error| Error::new(ErrorKind::System, "start the writer's threads").because(error))?,
            );
        }
        Ok(Pipeline { intake, lanes: lanes.into(), writers, backends: weak, repository, commits })
    }
}

/// Opens a repository of the database that a lane writes to.
pub(super) type OpenRepository = Box<dyn Fn() -> Result<Repository, Error> + Send + Sync>;

/// Opens a backend, and says how a repository of the same database is opened beside it.
fn open_backend(url: &DatabaseUrl, config: &Config) -> Result<(Arc<dyn Backend>, OpenRepository), Error> {
    match url {
        DatabaseUrl::Memory => Ok((Arc::new(Memory::default()), beside(url, config))),
        #[cfg(feature = "sqlite")]
        DatabaseUrl::Sqlite(path) => {
            let backend = Arc::new(crate::backend::sqlite::Sqlite::open(path, config)?);
            let (pipeline, path, config) = (Arc::downgrade(&backend), path.clone(), config.clone());
            Ok((backend, Box::new(move || Repository::beside(&path, &config, pipeline.clone()))))
        }
        #[cfg(feature = "mysql")]
        DatabaseUrl::Mysql(server) => {
            let backend = crate::backend::mysql::Mysql::open(server, &config.mysql)?;
            Ok((Arc::new(backend), beside(url, config)))
        }
        #[cfg(not(all(feature = "mysql", feature = "sqlite")))]
        _ => {
            let why = "this build has no such database; build it with the feature `sqlite` or `mysql`";
            Err(Error::new(ErrorKind::Unsupported, why))
        }
    }
}

/// Opens a repository as any other process would.
fn beside(url: &DatabaseUrl, config: &Config) -> OpenRepository {
    let (url, config) = (url.clone(), config.clone());
    Box::new(move || Repository::at(&url, &config))
}

/// Returns a name for the pipeline that no other has, of this or another process: 64 random bits.
fn pipeline_id() -> Result<String, Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::new(ErrorKind::System, "draw a random name").because(error))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

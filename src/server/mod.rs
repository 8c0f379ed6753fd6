//! Metrics, health and a status page over HTTP, for those who run a pipeline.
//!
//! | path | what |
//! |---|---|
//! | `/` | the status page: live, without any outside resource |
//! | `/metrics` | for Prometheus |
//! | `/healthz` | 200 while no lane has failed and every writer is at work, else 503 |
//! | `/readyz` | 200 while every database answers and commits, else 503 |
//! | `/api/status` | what the page shows, as JSON; `/api/status/stream` once a second as server-sent events |
//!
//! `settings` says where and for whom, `view` what the host gives to be shown; `listen` is the way in with its limits,
//! `access` decides who is answered, `routes` what; `lookout` looks once a second and `report` is what it says, `health`
//! decides what is well, `exporter` and `exposition` write and read metrics. The page is three files under `page/`,
//! which show text as text only (`textContent`), under a policy that lets the browser load nothing else.
//!
//! The server has a thread and a small runtime of its own: it works in any host, a starved host runtime does not keep a
//! probe waiting, and nothing that is asked here can stall a sensor. Turned down: the exporter's own listener, which has no
//! limits, no TLS and no answer for a probe.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # std::env::set_current_dir(&dir)?;
//! use forebay::server::{Exporter, Server, Settings, View};
//!
//! let exporter = Exporter::install()?; // before Pipeline::open, which takes its handles then
//! let pipeline = forebay::Pipeline::open("memory:")?;
//! let view = View::new(pipeline.observer()).exporter(exporter);
//! let server = Server::start(&Settings::at(([127, 0, 0, 1], 0).into()), view)?;
//! println!("http://{}/", server.address());
//! server.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, ErrorKind};

mod access;
mod exporter;
mod exposition;
mod health;
mod listen;
mod lookout;
mod report;
mod routes;
mod settings;
mod tls;
mod view;

pub use exporter::Exporter;
pub use settings::{Settings, Tls};
pub use view::View;

use access::Access;
use lookout::Lookout;
use routes::Shared;

/// Threads for what may block: an answer of each database, and a query. One that hangs keeps its thread.
const BLOCKING_THREADS: usize = 8;

/// An address that is ours, with what is needed to answer there. Until [`start`](Self::start) connections wait.
///
/// For a program that wants to know that it can listen before it opens a database.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    access: Access,
}

/// A server that runs; ends on [`shutdown`](Self::shutdown) or drop.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens and answers.
    ///
    /// # Errors
    /// As [`bind`](Self::bind) and [`Bound::start`].
    pub fn start(settings: &Settings, view: View) -> Result<Self, Error> {
        Self::bind(settings)?.start(view)
    }

    /// Checks the settings, reads token, certificate and key, and takes the address.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for settings and files that cannot be, [`ErrorKind::System`] for an address that
    /// cannot be had.
    pub fn bind(settings: &Settings) -> Result<Bound, Error> {
        settings.validate()?;
        let token = settings.read_token()?;
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        if !settings.listen.ip().is_loopback() && tls.is_none() {
            tracing::warn!(address = %settings.listen, "the token crosses the network in the clear: set `tls`, or put a proxy before it");
        }
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::System, format!("listen at {}", settings.listen)).because(error)
        };
        let listener = TcpListener::bind(settings.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, address, tls, access: Access::new(address, &settings.hosts, token) })
    }

    /// Returns the address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: closes every connection, and returns when that is done.
    pub fn shutdown(mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has cost nothing but the server.
            let _ = thread.join();
        }
    }
}

impl Bound {
    /// Returns the address that it will answer at.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on, from a thread of its own.
    ///
    /// # Errors
    /// [`ErrorKind::System`] when the operating system gives no thread.
    pub fn start(self, view: View) -> Result<Server, Error> {
        let Self { listener, address, tls, access } = self;
        let failed = |error: std::io::Error| Error::new(ErrorKind::System, "start the server's thread").because(error);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("forebay-server-ask")
            .build()
            .map_err(failed)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let shared = Arc::new(Shared::new(Lookout::new(view), access));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("forebay-server".into()).spawn(move || {
            runtime.block_on(async {
                let router = routes::routes(Arc::clone(&shared));
                tokio::select! {
                    () = listen::serve(listener, tls, router) => {}
                    () = shared.lookout.run() => {}
                    // Nothing is ever sent: the server was dropped or told to end.
                    _ = stopped => {}
                }
            });
            // A question to a database that hangs is not waited for.
            runtime.shutdown_background();
        });
        Ok(Server { address, stop: Some(stop), thread: Some(thread.map_err(failed)?) })
    }
}

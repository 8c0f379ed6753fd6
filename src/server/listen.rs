//! The way in: sockets, TLS, and the limits that a connection cannot pass.
//!
//! Whoever reaches the port may be hostile. A connection costs one task and some 16 KiB: there are at most
//! [`CONNECTIONS`], of which one address has at most a half, so that a peer that opens many keeps nobody else out.
//! Each must finish its TLS handshake and each of its request's headers within [`HEADERS_WITHIN`], take what is sent to it
//! without a pause of [`TAKE_WITHIN`], and end after [`LIFETIME`].

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

const CONNECTIONS: usize = 128;
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
const TAKE_WITHIN: Duration = Duration::from_secs(10);
const LIFETIME: Duration = Duration::from_secs(900);
/// Bytes of a request's line and headers, and how many headers.
const HEADER_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// How long to rest when the operating system gives no connection (no file descriptors).
const REST: Duration = Duration::from_millis(100);

/// Serves connections for ever.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) {
    let room = Arc::new(Room::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept a connection");
                sleep(REST).await;
                continue;
            }
        };
        // Without room the connection is closed at once.
        let Some(place) = Room::take(&room, peer) else { continue };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            if timeout(LIFETIME, connection(stream, tls, router)).await.is_err() {
                tracing::debug!("a connection was ended after its time");
            }
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router) {
    let served = match tls {
        None => http(stream, router).await,
        Some(tls) => match timeout(HEADERS_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, router).await,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no TLS handshake in time".into()),
        },
    };
    if let Err(error) = served {
        tracing::debug!(error, "serve a connection");
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) -> Result<(), String> {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN).max_buf_size(HEADER_BYTES).max_headers(HEADERS);
    let io = TokioIo::new(Taken { stream, stalled: None });
    server.serve_connection(io, TowerToHyperService::new(router)).await.map_err(|error| error.to_string())
}

/// Connections that are open, by the address at their other end.
#[derive(Default)]
struct Room(Mutex<HashMap<IpAddr, usize>>);

/// One of them; given back on drop.
struct Place {
    room: Arc<Room>,
    address: IpAddr,
}

impl Room {
    fn take(room: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let mut open = room.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let of_peer = open.entry(peer.ip()).or_default();
        if total >= CONNECTIONS || *of_peer >= CONNECTIONS / 2 {
            if *of_peer == 0 {
                open.remove(&peer.ip());
            }
            return None;
        }
        *of_peer += 1;
        Some(Place { room: Arc::clone(room), address: peer.ip() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.room.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_peer) = open.get_mut(&self.address) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// A stream whose other end must take what is written: hyper has a limit for reading, and none for this.
struct Taken<S> {
    stream: S,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Taken<S> {
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(TAKE_WITHIN)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_half_of_the_connections_at_most_and_gives_them_back() {
        let room = Arc::new(Room::default());
        let peer = |last: u8| SocketAddr::from(([192, 0, 2, last], 1));
        let places: Vec<_> = std::iter::from_fn(|| Room::take(&room, peer(1))).collect();
        assert_eq!(places.len(), 64);
        let others: Vec<_> = (2..200).filter_map(|last| Room::take(&room, peer(last))).collect();
        assert_eq!(others.len(), 64);
        assert_eq!(room.0.lock().unwrap().len(), 65, "refused addresses are not kept");
        drop(places);
        assert!(Room::take(&room, peer(250)).is_some());
        drop(others);
        assert!(room.0.lock().unwrap().is_empty());
    }
}

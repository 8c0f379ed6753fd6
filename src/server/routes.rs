//! What is answered to which request, and the guard before all of it.
//!
//! Everything is read only: GET and HEAD, without a body. The guard decides before a route is looked at, so that a route
//! cannot be forgotten. Health and readiness answer without a token, for probes that cannot send one, but then in one word.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::lookout::Lookout;

/// How long an answer may take to begin.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pages that may be open at once, and for how long one keeps its stream; the browser then asks anew.
const STREAMS: usize = 16;
const STREAM_ENDS_AFTER: Duration = Duration::from_secs(600);
/// Nothing is loaded but our own files, nothing frames the page, nothing is sent anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) struct Shared {
    pub(super) lookout: Lookout,
    pub(super) access: Access,
    streams: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(lookout: Lookout, access: Access) -> Self {
        Self { lookout, access, streams: Arc::new(Semaphore::new(STREAMS)) }
    }
}

/// Whether the request has shown the token.
#[derive(Clone, Copy)]
struct Admitted(bool);

pub(super) fn routes(shared: Arc<Shared>) -> Router {
    let file = |kind: &'static str, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/status", get(status))
        .route("/api/status/stream", get(status_stream))
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let mut response = match refusal(&shared, &mut request) {
        Some(refusal) => refusal,
        None => match timeout(ANSWER_WITHIN, next.run(request)).await {
            Ok(response) => response,
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "no answer in time\n").into_response(),
        },
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(shared: &Shared, request: &mut Request) -> Option<Response> {
    let refuse = |code: StatusCode, why: &str| {
        // What else the connection carries may be the body that was not wanted.
        Some((code, [(header::CONNECTION, "close")], format!("{why}\n")).into_response())
    };
    if let Some((code, why)) = shared.access.refusal(request.uri(), request.headers()) {
        return refuse(code, why);
    }
    if !request.body().is_end_stream() {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "no body is taken");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD")?;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    let admitted = shared.access.admits(request.headers());
    if !admitted && !matches!(request.uri().path(), "/healthz" | "/readyz") {
        let mut response = refuse(StatusCode::UNAUTHORIZED, "a token is needed")?;
        let ways = [
            HeaderValue::from_static("Basic realm=\"forebay\", charset=\"UTF-8\""),
            HeaderValue::from_static("Bearer"),
        ];
        for way in ways {
            response.headers_mut().append(header::WWW_AUTHENTICATE, way);
        }
        return Some(response);
    }
    request.extensions_mut().insert(Admitted(admitted));
    None
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match &shared.lookout.view.exporter {
        Some(exporter) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], exporter.render()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "this process serves no metrics here\n").into_response(),
    }
}

async fn healthz(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    verdict("ok", "unhealthy", shared.lookout.ills(), &request)
}

async fn readyz(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    verdict("ready", "not ready", shared.lookout.obstacles(), &request)
}

fn verdict(good: &str, bad: &str, wrong: Vec<String>, request: &Request) -> Response {
    if wrong.is_empty() {
        return format!("{good}\n").into_response();
    }
    let admitted = request.extensions().get::<Admitted>().is_some_and(|admitted| admitted.0);
    // Errors of databases may quote what came from outside: one line each, for a terminal.
    let clean = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let why = wrong.into_iter().filter(|_| admitted).map(|text| format!("{}\n", clean(text))).collect::<String>();
    (StatusCode::SERVICE_UNAVAILABLE, format!("{bad}\n{why}")).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let latest = shared.lookout.subscribe().borrow().clone();
    ([(header::CONTENT_TYPE, "application/json")], Body::from(latest.to_string())).into_response()
}

/// The same text again at each look, as server-sent events
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
async fn status_stream(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], "too many pages are open\n")
            .into_response();
    };
    let mut receiver: watch::Receiver<_> = shared.lookout.subscribe();
    receiver.mark_changed();
    let end = Instant::now() + STREAM_ENDS_AFTER;
    let events = stream::unfold((receiver, permit), move |(mut receiver, permit)| async move {
        if Instant::now() >= end || receiver.changed().await.is_err() {
            return None;
        }
        let event = Event::default().data(receiver.borrow_and_update().as_ref());
        Some((Ok::<_, Infallible>(event), (receiver, permit)))
    });
    Sse::new(events).into_response()
}

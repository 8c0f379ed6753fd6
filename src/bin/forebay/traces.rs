//! Spans to a collector, by OTLP over HTTP: the feature `otlp`, and only when OpenTelemetry's standard variables name one.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` (or `_TRACES_ENDPOINT`) turns it on; the SDK reads the others itself: headers, timeout,
//! compression, sampler, sizes of batches, attributes of the resource. Only our own spans are sent (`forebay::telemetry`
//! lists them), no log lines: a span holds nothing of a row, a log line may. What cannot be delivered is dropped by the
//! SDK, which says so in the log; no row waits for it.
//!
//! The subscriber is installed first of all, but the exporter has threads of its own, and `run` gives its rights up before
//! there is a second thread. So spans go nowhere until [`begin`].

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::{OTLP_ENDPOINTS, variable};

const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// How long the last spans may take at the end.
const LAST_SPANS: Duration = Duration::from_secs(5);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();
static EXPORTER: OnceLock<BatchSpanProcessor> = OnceLock::new();

/// Returns the layer that makes spans, if a collector is named.
///
/// # Errors
/// For people, when the variables cannot be followed.
pub fn layer<S>() -> Result<Option<impl Layer<S>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if !is_wanted()? {
        return Ok(None);
    }
    let provider = SdkTracerProvider::builder().with_span_processor(Later).with_resource(resource()).build();
    let provider = PROVIDER.get_or_init(|| provider);
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("forebay"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("forebay")));
    Ok(Some(layer))
}

/// Starts the threads that send spans, if a collector is named.
///
/// # Errors
/// For people, when the exporter cannot be made as the variables have it.
pub fn begin() -> Result<(), String> {
    if PROVIDER.get().is_none() {
        return Ok(());
    }
    // For `https`; the library's own connections name theirs, and are not changed by this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = opentelemetry_otlp::Protocol::HttpBinary;
    let exporter = SpanExporter::builder().with_http().with_protocol(protocol).build();
    let exporter = exporter.map_err(|error| format!("export spans by OTLP: {error}"))?;
    let mut exporter = BatchSpanProcessor::builder(exporter).build();
    exporter.set_resource(&resource());
    EXPORTER.get_or_init(|| exporter);
    Ok(())
}

/// Sends what is left.
pub fn end() {
    if let Some(exporter) = EXPORTER.get()
        && let Err(error) = exporter.shutdown_with_timeout(LAST_SPANS)
    {
        tracing::warn!(%error, "the last spans could not be delivered");
    }
}

fn is_wanted() -> Result<bool, String> {
    let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let Some((name, endpoint)) =
        OTLP_ENDPOINTS.iter().find_map(|name| Some((name, variable(name)?))).filter(|_| !is_off)
    else {
        return Ok(false);
    };
    // The address is not repeated: somebody may have put a password there.
    let url = reqwest::Url::parse(&endpoint).map_err(|error| format!("{name}: is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("{name}: must begin with http:// or https://, as in http://localhost:4318"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{name}: takes no password; put it into OTEL_EXPORTER_OTLP_HEADERS"));
    }
    match PROTOCOLS.iter().find_map(|name| Some((name, variable(name)?))) {
        Some((name, protocol)) if protocol != "http/protobuf" => {
            Err(format!("{name}: this program speaks http/protobuf only (port 4318 of most collectors)"))
        }
        _ => Ok(true),
    }
}

/// Who sends: `forebay`, unless the variables say otherwise.
fn resource() -> Resource {
    const SERVICE: &str = "service.name";
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version.clone()).build();
    let is_named = resource.get(&Key::new(SERVICE)).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if is_named {
        return resource;
    }
    Resource::builder().with_attribute(version).with_service_name("forebay").build()
}

/// Hands spans to the exporter, once there is one.
#[derive(Debug)]
struct Later;

impl SpanProcessor for Later {
    fn on_start(&self, span: &mut Span, context: &Context) {
        if let Some(exporter) = EXPORTER.get() {
            exporter.on_start(span, context);
        }
    }

    fn on_end(&self, span: SpanData) {
        if let Some(exporter) = EXPORTER.get() {
            exporter.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        EXPORTER.get().map_or(Ok(()), SpanProcessor::force_flush)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        EXPORTER.get().map_or(Ok(()), |exporter| exporter.shutdown_with_timeout(timeout))
    }
}

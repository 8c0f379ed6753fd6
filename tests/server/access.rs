//! Who is answered.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use forebay::Pipeline;
use forebay::server::{Server, Settings, Tls, View};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::{Answer, ask, connect, get, raw};
use crate::stage::{anywhere, exporter};

const TOKEN: &str = "a-token-of-some-length";

/// A server before a pipeline that keeps nothing.
fn serve(settings: &Settings) -> (Server, Pipeline) {
    let exporter = exporter();
    let pipeline = Pipeline::open("memory:").unwrap();
    (Server::start(settings, View::new(pipeline.observer()).exporter(exporter)).unwrap(), pipeline)
}

#[test]
fn beyond_loopback_it_does_not_even_listen_without_a_token() {
    let pipeline = Pipeline::open("memory:").unwrap();
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let refused = Server::start(&Settings::at(address.parse().unwrap()), View::new(pipeline.observer()));
        assert!(refused.unwrap_err().to_string().contains("without a token only loopback addresses"));
    }
}

#[test]
fn with_a_token_nothing_is_told_without_it_and_probes_get_one_word() {
    let mut settings = anywhere();
    settings.token = Some(TOKEN.to_owned().into());
    let (server, pipeline) = serve(&settings);
    let address = server.address();
    for path in ["/", "/page.js", "/metrics", "/api/status", "/api/status/stream", "/nothing"] {
        let answer = get(address, path);
        assert_eq!((answer.code, answer.body.as_str()), (401, "a token is needed\n"), "{path}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"));
        assert!(answer.header("content-security-policy").is_some());
    }
    for wrong in ["Bearer a-token-of-some-lengtH", "Bearer ", "Basic Og==", "Digest x", "a-token-of-some-length"] {
        assert_eq!(ask(address, "GET", "/metrics", &["Host: x", &format!("Authorization: {wrong}")], "").code, 421);
        let headers = ["Host: localhost", &format!("Authorization: {wrong}")];
        assert_eq!(ask(address, "GET", "/metrics", &headers, "").code, 401, "{wrong}");
    }
    // printf 'anyone:a-token-of-some-length' | base64
    for right in ["Bearer a-token-of-some-length", "Basic YW55b25lOmEtdG9rZW4tb2Ytc29tZS1sZW5ndGg="] {
        let headers = ["Host: localhost", &format!("Authorization: {right}")];
        for path in ["/", "/metrics", "/api/status"] {
            assert_eq!(ask(address, "GET", path, &headers, "").code, 200, "{right}");
        }
    }
    assert_eq!((get(address, "/healthz").body.as_str(), get(address, "/healthz").code), ("ok\n", 200));
    pipeline.shutdown_blocking(std::time::Duration::from_secs(60));
    assert_eq!((get(address, "/readyz").body.as_str(), get(address, "/readyz").code), ("not ready\n", 503));
}

#[test]
fn a_page_that_turned_its_name_to_loopback_is_refused_and_so_is_what_other_sites_embed() {
    let mut settings = anywhere();
    settings.hosts = vec!["metrics.example".into()];
    let (server, _pipeline) = serve(&settings);
    let address = server.address();
    let code = |headers: &[&str]| ask(address, "GET", "/api/status", headers, "").code;
    assert_eq!(code(&["Host: rebound.example"]), 421);
    assert_eq!(code(&[&format!("Host: rebound.example:{}", address.port())]), 421);
    assert_eq!(code(&[]), 400);
    assert_eq!(code(&["Host: localhost", "Host: rebound.example"]), 400);
    let absolute = "GET http://rebound.example/api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(raw(connect(address), absolute).code, 421);
    assert_eq!(code(&["Host: localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"]), 403);
    for host in
        [format!("127.0.0.1:{}", address.port()), "[::1]:80".into(), "LocalHost".into(), "metrics.example".into()]
    {
        assert_eq!(code(&[&format!("Host: {host}")]), 200, "{host}");
    }
}

/// Makes a certificate for `localhost`.
fn certificate(dir: &Path) -> Tls {
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]).arg("-keyout").arg(&key).arg("-out").arg(&cert);
    let made = openssl.output().expect("please install openssl");
    assert!(made.status.success(), "{made:?}");
    Tls::new(cert, key)
}

fn get_over_tls(address: SocketAddr, tls: &Tls, path: &str) -> Answer {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&tls.cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = StreamOwned::new(session, connect(address));
    raw(stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"))
}

#[test]
fn with_a_certificate_it_speaks_https_only() {
    let dir = tempfile::tempdir().unwrap();
    let tls = certificate(dir.path());
    let mut settings = anywhere();
    settings.tls = Some(tls.clone());
    std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
    settings.token_file = Some(dir.path().join("token"));
    let (server, _pipeline) = serve(&settings);
    let answer = get_over_tls(server.address(), &tls, "/metrics");
    assert!(answer.code == 200 && answer.body.contains("forebay_build_info"), "{answer:?}");
    let mut plain = connect(server.address());
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_before_it_listens() {
    let dir = tempfile::tempdir().unwrap();
    let good = certificate(dir.path());
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "no certificate").unwrap();
    let other = tempfile::tempdir().unwrap();
    let foreign = certificate(other.path());
    for (cert, key, named) in [
        (&broken, &good.key, "broken.pem"),
        (&good.cert, &broken, "broken.pem"),
        (&good.cert, &dir.path().join("none.pem"), "none.pem"),
        (&good.cert, &foreign.key, "cert.pem"),
    ] {
        let mut settings = anywhere();
        settings.tls = Some(Tls::new(cert, key));
        let error = Server::bind(&settings).err().expect("refused").to_string();
        assert!(error.contains(named), "{error}");
    }
}

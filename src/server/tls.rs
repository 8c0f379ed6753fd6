//! Reads certificate and key.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::settings::Tls;
use crate::error::{Error, ErrorKind};

/// Returns what makes TLS sessions with the certificate of `tls`: 1.2 and 1.3, HTTP/1.1 only.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, Error> {
    let unusable = |what: &str, path: &Path, error: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Configuration, format!("read the {what} in {}", path.display())).because(error)
    };
    let chain = CertificateDer::pem_file_iter(&tls.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable("certificate", &tls.cert, error.into()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unusable("key", &tls.key, error.into()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_no_client_auth())
        .and_then(|builder| builder.with_single_cert(chain, key));
    let mut config = config.map_err(|error| unusable("certificate", &tls.cert, error.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

//! TLS for what listens beyond this host: rustls with ring, certificates in PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, ErrorKind};

/// What a listener shows its peers, and asks of them. TLS 1.2 and 1.3.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM file of the certificate that peers see, and those between it and its authority.
    pub cert: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
    /// PEM file of the authorities that sign peers' certificates: who has no such certificate is refused. Default none,
    /// which beyond loopback needs `any_client`.
    pub client_ca: Option<PathBuf>,
    /// Whether peers need no certificate: anyone who reaches the port may then send rows. Default false.
    pub any_client: bool,
    /// Whether who says hello must have a name that its certificate has: a DNS name (`*.example.org` stands for one more
    /// label) or an address of its subjectAltName. Default false: then whoever is let in can take every peer's name. Needs
    /// `client_ca`.
    pub own_names: bool,
}

impl TlsSettings {
    pub(super) fn validate(&self, is_local: bool) -> Result<(), &'static str> {
        let is_missing = |path: &Path| path.as_os_str().is_empty();
        match self.client_ca {
            _ if is_missing(&self.cert) || is_missing(&self.key) => Err("tls needs `cert` and `key`"),
            Some(_) if self.any_client => Err("tls has `client_ca` and `any_client`: only one can be"),
            None if self.own_names => Err("tls with `own_names` needs `client_ca`"),
            None if !is_local && !self.any_client => {
                Err("tls needs `client_ca`, or `any_client = true` to let everyone send rows")
            }
            _ => Ok(()),
        }
    }

    /// Reads the files.
    pub(super) fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let wrong = |what: &str| Error::new(ErrorKind::Configuration, format!("set up TLS: {what}"));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("protocol versions").because(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| wrong("client_ca has no usable certificate").because(error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong("client_ca").because(error))?)
            }
        };
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, error))?;
        let config = builder.with_single_cert(certificates(&self.cert)?, key);
        Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| wrong("cert and key do not fit").because(error))?)))
    }
}

/// Returns whether a certificate is that of a peer of this name.
///
/// As names of servers are compared (RFC 6125), which is what certificates are made for; the common name is not looked at.
pub(super) fn is_of(certificate: &CertificateDer<'_>, peer: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (ParsedCertificate::try_from(certificate), ServerName::try_from(peer)) else {
        return false;
    };
    verify_server_name(&certificate, &name).is_ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all.map_err(|error| unreadable(path, error))? {
        none if none.is_empty() => Err(unreadable(path, pem::Error::NoItemsFound)),
        some => Ok(some),
    }
}

fn unreadable(path: &Path, error: pem::Error) -> Error {
    Error::new(ErrorKind::Configuration, format!("read {} for TLS", path.display())).because(error)
}

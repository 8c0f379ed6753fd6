//! How the way to the server is protected: every mode of the URL against servers with certificates made here, by the
//! `openssl` command. A trigger writes the cipher of the session that inserts into each row: what our own connection has.

use std::path::Path;

use forebay::{ErrorKind, Pipeline};

use super::server::{SHARED, Server, new_directory, own};
use super::{LONG, impatient, pipeline};
use crate::authority::Authority;
use crate::harness::event;

fn authority() -> Authority {
    let authority = Authority::new(new_directory());
    own(authority.directory());
    authority
}

/// Starts a server that shows a certificate with these names.
fn serve(authority: &Authority, names: &str) -> Server {
    authority.sign("server", names);
    own(authority.directory());
    let option = |option: &str, file: &str| format!("--ssl-{option}={}", authority.file(file));
    Server::start_with([option("ca", "ca.pem"), option("cert", "server.pem"), option("key", "server.key")])
}

fn identity(authority: &Authority) -> String {
    authority.sign("client", "DNS:sensor.example");
    format!("ssl-cert={}&ssl-key={}", authority.file("client.pem"), authority.file("client.key"))
}

/// Makes a database whose rows say how they came.
fn telling_database(server: &Server) -> (String, String) {
    let (name, url) = server.new_database();
    assert!(open(&url, "ssl-mode=preferred").unwrap().shutdown_blocking(LONG).is_complete());
    server.admin().run(&format!(
        "CREATE TRIGGER `{name}`.telling BEFORE INSERT ON `{name}`.events FOR EACH ROW SET NEW.msg = \
         (SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher')"
    ));
    (name, url)
}

fn open(url: &str, options: &str) -> Result<Pipeline, forebay::Error> {
    let separator = if url.contains('?') { '&' } else { '?' };
    pipeline(&format!("{url}{separator}{options}"), impatient())
}

/// Writes a row, and returns the cipher that its connection had; empty is none.
fn cipher(server: &Server, (name, url): &(String, String), options: &str) -> String {
    let pipeline = open(url, options).unwrap_or_else(|error| panic!("{options}: {error:?}"));
    let receipt = pipeline.events().send_blocking(event("a")).unwrap();
    let summary = pipeline.shutdown_blocking(LONG);
    assert!(summary.is_complete() && summary.lanes[0].events.committed == 1, "{options}: {summary:?}");
    assert_eq!(receipt.wait(), Ok(()));
    server.admin().texts(&format!("SELECT msg FROM `{name}`.events ORDER BY id DESC LIMIT 1")).remove(0)
}

/// Asserts that the options are refused, in words that have the hint and no password.
fn refused((_, url): &(String, String), options: &str, expected: ErrorKind, hint: &str) {
    let error = open(url, options).err().unwrap_or_else(|| panic!("{options} is taken"));
    let text = format!("{error} {error:?}");
    assert!(error.kind() == expected && text.contains(hint), "{options}: {text}");
    assert!(!text.contains("p@ss"), "{text}");
}

#[test]
fn a_certificate_for_another_host_is_taken_by_all_modes_but_verify_identity() {
    let (ours, other) = (authority(), authority());
    let server = serve(&ours, "DNS:db.example,IP:10.0.0.1");
    let database = telling_database(&server);
    let (ca, wrong_ca) = (ours.file("ca.pem"), other.file("ca.pem"));
    assert_eq!(cipher(&server, &database, "ssl-mode=disabled"), "");
    for options in [
        "ssl-mode=preferred".to_owned(),
        "ssl-mode=required".to_owned(),
        format!("ssl-mode=verify-ca&ssl-ca={ca}"),
        format!("ssl-ca={ca}"),
    ] {
        assert_ne!(cipher(&server, &database, &options), "", "{options}");
    }
    let certificate = "invalid peer certificate";
    for options in [
        format!("ssl-mode=verify-ca&ssl-ca={wrong_ca}"),
        format!("ssl-ca={wrong_ca}"),
        "ssl-mode=verify-ca".to_owned(),
        format!("ssl-mode=verify-identity&ssl-ca={ca}"),
        format!("ssl-mode=verify-identity&ssl-ca={wrong_ca}"),
    ] {
        refused(&database, &options, ErrorKind::Configuration, certificate);
    }
}

#[test]
fn a_certificate_for_the_host_is_taken_by_verify_identity_if_the_authority_is_ours() {
    let (ours, other) = (authority(), authority());
    let server = serve(&ours, "IP:127.0.0.1");
    let database = telling_database(&server);
    for mode in ["verify-ca", "verify-identity"] {
        let options = |authority: &Authority| format!("ssl-mode={mode}&ssl-ca={}", authority.file("ca.pem"));
        assert_ne!(cipher(&server, &database, &options(&ours)), "");
        refused(&database, &options(&other), ErrorKind::Configuration, "invalid peer certificate");
    }
}

/// A certificate that only looks as if it were right: the name fits, and nobody we trust has signed it.
#[test]
fn verify_ca_takes_no_certificate_that_another_authority_made_for_any_name() {
    let (ours, other) = (authority(), authority());
    let server = serve(&other, "DNS:*.db.example");
    let database = telling_database(&server);
    let options = |authority: &Authority| format!("ssl-mode=verify-ca&ssl-ca={}", authority.file("ca.pem"));
    assert_ne!(cipher(&server, &database, &options(&other)), "");
    refused(&database, &options(&ours), ErrorKind::Configuration, "invalid peer certificate");
}

#[test]
fn preferred_goes_without_tls_only_where_the_server_offers_none() {
    let database = telling_database(&SHARED);
    assert_eq!(cipher(&SHARED, &database, "ssl-mode=preferred"), "");
    refused(&database, "ssl-mode=required", ErrorKind::Configuration, "the server offers no TLS");
    // Our certificate is none that this server knows: the handshake fails, and that is the end of it.
    let (ours, other) = (authority(), authority());
    let server = serve(&ours, "IP:127.0.0.1");
    let database = telling_database(&server);
    assert_eq!(cipher(&server, &database, "ssl-mode=disabled"), "");
    let options = format!("ssl-mode=preferred&{}", identity(&other));
    refused(&database, &options, ErrorKind::Configuration, "TLS");
}

#[test]
fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let ours = authority();
    let server = serve(&ours, "IP:127.0.0.1");
    let database = telling_database(&server);
    server.admin().run("ALTER USER writer@'127.0.0.1' REQUIRE X509");
    let ca = format!("ssl-mode=verify-identity&ssl-ca={}", ours.file("ca.pem"));
    refused(&database, &ca, ErrorKind::AccessDenied, "Access denied");
    refused(&database, "ssl-mode=disabled", ErrorKind::AccessDenied, "Access denied");
    let identity = identity(&ours);
    assert_ne!(cipher(&server, &database, &format!("{ca}&{identity}")), "");
    let no_rsa = identity.replace("client.key", "server.key");
    refused(&database, &format!("{ca}&{no_rsa}"), ErrorKind::Configuration, "RSA");
}

#[test]
fn rows_go_over_a_unix_socket() {
    let (name, url) = SHARED.new_database();
    let mut admin = SHARED.admin();
    admin.run("CREATE USER local@localhost IDENTIFIED BY 'p@ss:w/rd'");
    admin.run(&format!("GRANT ALL ON `{name}`.* TO local@localhost"));
    let (login, _) = url.split_once('@').unwrap();
    let login = login.replace("writer", "local");
    let over = |path: &Path| format!("{login}@localhost/{name}?socket={}", path.display());
    // Nobody of that name may come over TCP.
    let over_tcp = url.replace("writer", "local");
    let error = pipeline(&over_tcp, impatient()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    for options in ["", "&ssl-mode=required"] {
        let pipeline = pipeline(&(over(&SHARED.socket()) + options), impatient()).unwrap();
        assert_eq!(pipeline.events().send_blocking(event("a")).unwrap().wait(), Ok(()));
        let query = "SELECT CAST(host AS CHAR) FROM information_schema.processlist WHERE user = 'local'";
        assert!(admin.texts(query).iter().all(|host| host == "localhost"));
        assert!(pipeline.shutdown_blocking(LONG).is_complete());
    }
    assert_eq!(admin.number(&format!("SELECT count(*) FROM `{name}`.events")), 2);
}

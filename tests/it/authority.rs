//! Certificates made here, by the `openssl` command.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A certificate authority, in a directory of its own; its certificate is `ca.pem` there.
pub struct Authority(PathBuf);

impl Authority {
    /// Makes one in an empty directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let authority = Self(directory.into());
        authority.make("ca", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign", &[]);
        authority
    }

    pub fn directory(&self) -> &PathBuf {
        &self.0
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Signs a certificate with these names: `NAME.pem`, with its key `NAME.key`.
    pub fn sign(&self, name: &str, names: &str) {
        let extensions = format!("basicConstraints=critical,CA:FALSE\nsubjectAltName={names}");
        self.make(name, &extensions, &["-CA", &self.file("ca.pem"), "-CAkey", &self.file("ca.key")]);
    }

    fn make(&self, name: &str, extensions: &str, signer: &[&str]) {
        let settings = self.file(&format!("{name}.conf"));
        fs::write(&settings, format!("[req]\ndistinguished_name=dn\n[dn]\n[ext]\n{extensions}\n")).unwrap();
        let (key, certificate) = (self.file(&format!("{name}.key")), self.file(&format!("{name}.pem")));
        let mut openssl = Command::new("openssl");
        let kind: &[&str] = match name {
            "client" => &["rsa:2048"],
            _ => &["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        };
        openssl.args(["req", "-x509", "-nodes", "-newkey"]).args(kind);
        openssl.args(["-days", "30", "-subj", &format!("/CN={name}"), "-config", &settings, "-extensions", "ext"]);
        let output = openssl.args(["-keyout", &key, "-out", &certificate]).args(signer).output();
        let output = output.unwrap_or_else(|error| panic!("openssl: {error}; install the package `openssl`"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

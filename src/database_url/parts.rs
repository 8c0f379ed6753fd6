//! A database that a deployment names in parts: type, host, port, name, user, password.
//!
//! The parts are plain values (the program takes them from its environment; the library reads none) and become a URL, so
//! that from there on there is one way. User and password are percent-encoded here, nobody has to do it by hand.

use super::percent::encoded;
use super::{Secret, wrong};
use crate::error::Error;

/// The parts of a database's name; what is `None` was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseParts {
    /// `sqlite`, `mysql`, `mariadb` or `memory`.
    pub kind: String,
    /// A host, or several with commas between them, each with or without a port. Default `127.0.0.1`.
    pub host: Option<String>,
    /// The port of every host that names none.
    pub port: Option<u16>,
    /// The database, or the path of a SQLite file (default `forebay.db`).
    pub name: Option<String>,
    /// Who connects.
    pub user: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
}

impl DatabaseParts {
    /// Returns the URL that says the same. It holds the password: keep it out of logs.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) for an unknown kind, and when a server's database or
    /// user is missing.
    pub fn url(&self) -> Result<String, Error> {
        match self.kind.to_ascii_lowercase().as_str() {
            "memory" => Ok("memory:".into()),
            "sqlite" => {
                let path = self.name.as_deref().unwrap_or("forebay.db");
                Ok(format!("sqlite:{}", path.replace('%', "%25").replace('?', "%3F")))
            }
            "mysql" | "mariadb" => self.server_url(),
            _ => Err(wrong("the database's type is none that forebay can write to; name `sqlite` or `mysql`")),
        }
    }

    fn server_url(&self) -> Result<String, Error> {
        let name = self.name.as_deref().ok_or_else(|| wrong("a mysql database needs a name; set FOREBAY_DB_NAME"))?;
        let user = self.user.as_deref().ok_or_else(|| wrong("a mysql database needs a user; set FOREBAY_DB_USER"))?;
        let password =
            self.password.as_ref().map(|secret| format!(":{}", encoded(secret.reveal()))).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let with_port = |host: &str| {
            let is_bare_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
            let host = if is_bare_v6 { format!("[{host}]") } else { host.to_owned() };
            let has_port = host.rsplit_once(':').is_some_and(|(_, end)| !end.contains(']'));
            if has_port { host } else { host + &port }
        };
        let hosts: Vec<_> = self.host.as_deref().unwrap_or("127.0.0.1").split(',').map(with_port).collect();
        Ok(format!("mysql://{}{password}@{}/{}", encoded(user), hosts.join(","), encoded(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DatabaseUrl, Host};
    use super::*;
    use proptest::prelude::*;

    fn parts(host: &str, user: &str, password: &str) -> DatabaseParts {
        DatabaseParts {
            kind: "mysql".into(),
            host: Some(host.into()),
            port: Some(3307),
            name: Some("sensors".into()),
            user: Some(user.into()),
            password: Some(password.to_owned().into()),
        }
    }

    fn parsed(parts: &DatabaseParts) -> super::super::MysqlUrl {
        match DatabaseUrl::parse(&parts.url().unwrap()) {
            Ok(DatabaseUrl::Mysql(url)) => *url,
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn any_user_and_password_arrive_as_they_are(user in "[^\\x00]{1,20}", password in "[^\\x00]{0,40}") {
            let url = parsed(&parts("db", &user, &password));
            prop_assert_eq!((url.user.as_str(), url.password.reveal()), (user.as_str(), password.as_str()));
        }

        /// Wherever it is wrong, and whatever is in it.
        #[test]
        fn no_error_and_no_text_ever_shows_a_password(
            before in "[a-z@:/?#%\\[\\],&=]{0,8}",
            after in "[a-z@:/?#%\\[\\],&=0-9]{0,12}",
        ) {
            let secret = "Zq7Xw";
            let url = format!("mysql://u:{before}{secret}{after}");
            let text = match DatabaseUrl::parse(&url) {
                Err(error) => format!("{error} {error:?}"),
                Ok(DatabaseUrl::Mysql(url)) if url.password.reveal().contains(secret) => format!("{url} {url:?}"),
                // A slash or a question mark ended the password before the secret: it is not part of it then.
                Ok(_) => String::new(),
            };
            prop_assert!(!text.contains(secret), "{}", text);
        }
    }

    #[test]
    fn hosts_get_the_port_unless_they_have_one() {
        let host = |name: &str, port| Host { name: name.into(), port };
        assert_eq!(parsed(&parts("a,b:1,::1,[::2]:2", "u", "p")).hosts, {
            [host("a", 3307), host("b", 1), host("::1", 3307), host("::2", 2)]
        });
        let bare = DatabaseParts { host: None, port: None, ..parts("", "u", "p") };
        assert_eq!(parsed(&bare).hosts, [host("127.0.0.1", 3306)]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |parts: DatabaseParts| parts.url().unwrap_err().to_string();
        assert!(error(DatabaseParts { name: None, ..parts("h", "u", "p") }).contains("FOREBAY_DB_NAME"));
        assert!(error(DatabaseParts { user: None, ..parts("h", "u", "p") }).contains("FOREBAY_DB_USER"));
        assert!(error(DatabaseParts { kind: "oracle".into(), ..parts("h", "u", "p") }).contains("`mysql`"));
        let file = DatabaseParts { kind: "sqlite".into(), name: Some("a?%.db".into()), ..DatabaseParts::default() };
        assert_eq!(file.url().unwrap(), "sqlite:a%3F%25.db");
    }
}

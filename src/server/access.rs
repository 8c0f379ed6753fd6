//! Decides whether a request may be answered: its host, its origin, its token. Pure.
//!
//! A server on loopback is reached by every web page that its user visits: under the page's own name, once that name
//! resolves to 127.0.0.1 (DNS rebinding). So the `Host` must be one of ours. What other sites embed is refused by the
//! browser's own `Sec-Fetch-Site`, so that they cannot use up connections either.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use crate::database_url::Secret;

/// Who may ask.
pub(super) struct Access {
    /// `None`: whoever reaches the address.
    token: Option<Secret>,
    /// Names that the host may have; `None`: any, since a token is asked for.
    hosts: Option<Vec<String>>,
}

impl Access {
    pub(super) fn new(listen: SocketAddr, hosts: &[String], token: Option<Secret>) -> Self {
        let hosts = listen.ip().is_loopback().then(|| hosts.iter().map(|host| host.to_ascii_lowercase()).collect());
        Self { token, hosts }
    }

    /// Returns why a request is refused whoever asks, if it is.
    pub(super) fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let mut named = headers.get_all(HOST).iter();
        let (Some(host), None) = (named.next(), named.next()) else {
            return Some((StatusCode::BAD_REQUEST, "name one host"));
        };
        // A request with a whole URL is about that one's host (RFC 9112, 3.2.2).
        let host = uri.authority().map(|authority| authority.as_str()).or(host.to_str().ok()).unwrap_or_default();
        if !self.hosts.as_ref().is_none_or(|hosts| is_ours(host, hosts)) {
            return Some((StatusCode::MISDIRECTED_REQUEST, "this host is not served here; see the setting `hosts`"));
        }
        let says =
            |name: &str, value: &str| headers.get(name).is_some_and(|header| header.as_bytes() == value.as_bytes());
        let is_embedded = says("sec-fetch-site", "cross-site") && !says("sec-fetch-mode", "navigate");
        is_embedded.then_some((StatusCode::FORBIDDEN, "not for other sites"))
    }

    /// Returns whether the request has the token, as a bearer's (RFC 6750) or as the password of any user (RFC 7617),
    /// which is what a browser can send; or whether none is needed.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(given_token);
        given.is_some_and(|given| given.as_bytes().ct_eq(token.reveal().as_bytes()).into())
    }
}

fn given_token(authorization: &str) -> Option<String> {
    let (scheme, rest) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.is_loopback()) || name == "localhost" || hosts.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn on_loopback_a_host_is_a_loopback_address_or_a_name_that_was_given() {
        let hosts = ["proxy.example".to_owned()];
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:9464", "127.0.0.2", "[::1]", "[::1]:1", "proxy.example:443"]
        {
            assert!(is_ours(host, &hosts), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9464",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "192.0.2.1",
            "[2001:db8::1]:80",
            "localhost:evil",
            "evil:127.0.0.1",
            "127.0.0.1:80:80",
        ] {
            assert!(!is_ours(host, &hosts), "{host}");
        }
        let access = Access::new(([127, 0, 0, 1], 1).into(), &[], None);
        let code = |uri: &str, pairs: &[(&'static str, &str)]| {
            access.refusal(&uri.parse().unwrap(), &headers(pairs)).map(|(code, _)| code.as_u16())
        };
        assert_eq!(code("/", &[("host", "localhost")]), None);
        assert_eq!(code("/", &[("host", "evil.example")]), Some(421));
        assert_eq!(code("http://evil.example/", &[("host", "localhost")]), Some(421));
        assert_eq!(code("/", &[]), Some(400));
        let embedded = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(code("/", &embedded), Some(403));
        assert_eq!(code("/", &[embedded[0], embedded[1], ("sec-fetch-mode", "navigate")]), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn nothing_but_the_token_is_admitted(
            scheme in "([Bb]earer|[Bb]asic|.{0,4})",
            rest in "[ A-Za-z0-9+/=:]{0,40}|.{0,10}",
        ) {
            let token = "0123456789abcdef";
            let access = Access::new(([192, 0, 2, 1], 1).into(), &[], Some(token.to_owned().into()));
            if let Ok(value) = format!("{scheme} {rest}").parse() {
                let given = HeaderMap::from_iter([(AUTHORIZATION, value)]);
                proptest::prop_assert!(!access.admits(&given) || rest.trim() == token || scheme.eq_ignore_ascii_case("basic"));
            }
        }

        #[test]
        fn no_name_of_a_host_but_a_loopback_address_is_ours_by_itself(host in "[0-9a-f.:\\[\\]%]{0,20}|.{0,12}|(localhost|127\\.0\\.0\\.1).{1,8}") {
            let bare = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
            let is_loopback = |text: &str| {
                let text = text.trim_matches(['[', ']']);
                text.eq_ignore_ascii_case("localhost") || text.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            };
            proptest::prop_assert!(!is_ours(&host, &[]) || is_loopback(bare) || is_loopback(&host), "{}", host);
        }
    }

    #[test]
    fn the_token_is_a_bearers_or_the_password_of_any_user() {
        let token = "0123456789abcdef".to_owned();
        let access = Access::new(([192, 0, 2, 1], 1).into(), &[], Some(token.into()));
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (value, admitted) in [
            ("Bearer 0123456789abcdef".to_owned(), true),
            ("bearer 0123456789abcdef".to_owned(), true),
            (basic("anyone:0123456789abcdef"), true),
            (basic("0123456789abcdef:"), false),
            (basic("0123456789abcdef"), false),
            ("Bearer 0123456789abcdeF".to_owned(), false),
            ("Bearer 0123456789abcdef0".to_owned(), false),
            ("Bearer".to_owned(), false),
            ("Basic !!".to_owned(), false),
            ("Digest 0123456789abcdef".to_owned(), false),
        ] {
            assert_eq!(access.admits(&headers(&[("authorization", &value)])), admitted, "{value}");
        }
        assert!(!access.admits(&HeaderMap::new()));
        assert!(Access::new(([127, 0, 0, 1], 1).into(), &[], None).admits(&HeaderMap::new()));
    }
}

//! Where an HTTP receiver is, and how fwdrift proves to it who it is.

use super::secret::Secret;
use std::net::IpAddr;
use std::path::PathBuf;

/// An `http` or `https` URL without user, password or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    is_tls: bool,
    host: String,
}

impl HttpUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// The rule that it breaks, with what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(format!("{text:?} does not begin with https:// or http://")),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("{text:?} has a character that must be written %XX"));
        }
        if text.contains('#') {
            return Err(format!("{text:?} has a fragment (#…), which is never sent"));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(
                "a user or password in a URL ends up in logs: give them in keys of their own".to_owned()
            );
        }
        let (host, port) = split_port(authority).ok_or_else(|| format!("{text:?} has no usable host"))?;
        if host.is_empty() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(format!("{text:?} has no usable host"));
        }
        Ok(Self { text: text.to_owned(), is_tls, host: host.to_owned() })
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host: a name or an address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether others on the way can read and change what is sent.
    pub fn is_exposed(&self) -> bool {
        !self.is_tls && !is_loopback(&self.host)
    }
}

/// `host:port`, `[::1]:port`, either without the port.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

/// Whether a name or an address is this machine's own.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// How fwdrift proves to a receiver who it is, and how it knows the receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// `Authorization: Basic …`.
    pub basic: Option<(String, Secret)>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Proof {
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.bearer.iter().chain(self.basic.iter().map(|(_, password)| password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_and_a_host() {
        let check = |text: &str, host: &str, exposed: bool| {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.is_exposed()), (host, exposed), "{text}");
        };
        check("https://hooks.example.org/a?b=c", "hooks.example.org", false);
        check("http://hooks.example.org:8080", "hooks.example.org", true);
        check("http://127.0.0.1:9093/x", "127.0.0.1", false);
        check("http://[::1]:9093", "::1", false);
        check("http://[2001:db8::1]/", "2001:db8::1", true);
        check("http://localhost", "localhost", false);
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "hooks.example.org",
            "ftp://x/",
            "https://",
            "https:///x",
            "https://x:port/",
            "https://u:p@x/",
            "https://x/#a",
            "https://x/ä",
            "https://x/a b",
            "https://x/\r\nHost: y",
            "https://[::1",
            "https://[::1]x/",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text:?}");
        }
    }
}

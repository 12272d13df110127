//! Where mail goes, and through whom.

use super::secret::Secret;
use super::table::Table;
use crate::config::error::ConfigError;
use std::path::PathBuf;

/// Whether the connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailTls {
    /// STARTTLS (RFC 3207); without it nothing is sent.
    #[default]
    StartTls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// None. A password is then never sent.
    None,
}

/// `[notify.mail]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// The server's name; also the one that its certificate must bear.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Encryption.
    pub tls: MailTls,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses, at least one.
    pub to: Vec<String>,
    /// User and password, where the server asks for them.
    pub login: Option<(String, Secret)>,
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl MailSettings {
    pub(super) const KEYS: &'static [&'static str] = &[
        "server",
        "port",
        "tls",
        "from",
        "to",
        "username",
        "password",
        "password_file",
        "ca_file",
        "timeout_seconds",
        "kinds",
    ];

    pub(super) fn read(table: &Table<'_>) -> Result<Self, ConfigError> {
        let server = table.required("server", "\"mail.example.org\"")?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_".contains(&byte);
        if !server.bytes().all(is_name)
            || (server.contains(':') && server.parse::<std::net::IpAddr>().is_err())
        {
            return Err(table.error("server", "it is no name or address; the port has a key of its own"));
        }
        let tls = match table.text("tls")?.as_deref() {
            None | Some("starttls") => MailTls::StartTls,
            Some("implicit") => MailTls::Implicit,
            Some("none") => MailTls::None,
            Some(other) => {
                let reason = format!("{other:?} is none of \"starttls\", \"implicit\" and \"none\"");
                return Err(table.error("tls", reason));
            }
        };
        let usual = match tls {
            MailTls::StartTls => 587,
            MailTls::Implicit => 465,
            MailTls::None => 25,
        };
        let port = table.number("port", 1..=65535)?.and_then(|port| port.try_into().ok()).unwrap_or(usual);
        let from = table.required("from", "\"fwdrift@example.org\"")?;
        check_address(&from).map_err(|why| table.error("from", why))?;
        let to = table.texts("to")?;
        let to = to.ok_or_else(|| table.error_of_all("to is missing: write to = [\"ops@example.org\"]"))?;
        to.iter().try_for_each(|to| check_address(to).map_err(|why| table.error("to", why)))?;
        let password = table.secret("password")?;
        let login = match (table.text("username")?, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => return Err(table.error("username", "password or password_file is missing")),
            (None, Some(_)) => return Err(table.error_of_all("a password is given without username")),
        };
        if login.is_some() && tls == MailTls::None && !super::http::is_loopback(&server) {
            return Err(table.error("tls", "a password is never sent without encryption"));
        }
        Ok(Self { server, port, tls, from, to, login, ca_file: table.path("ca_file")? })
    }

    /// Whether others on the way can read and change what is sent.
    pub fn is_exposed(&self) -> bool {
        self.tls == MailTls::None && !super::http::is_loopback(&self.server)
    }
}

/// `local@domain`, without a name beside it. What else is wrong with it, the server says.
fn check_address(text: &str) -> Result<(), String> {
    let wrong = || format!("{text:?} is not a mail address: write \"name@example.org\"");
    let (local, domain) = text.rsplit_once('@').ok_or_else(wrong)?;
    let is_plain = |c: char| c.is_ascii_graphic() && !"<>()[]:;,\\\"@".contains(c);
    match !local.is_empty()
        && !domain.is_empty()
        && local.chars().all(is_plain)
        && domain.chars().all(is_plain)
    {
        true => Ok(()),
        false => Err(wrong()),
    }
}

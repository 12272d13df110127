//! Each place that alerts are sent to.

use super::http::{HttpUrl, Proof, is_loopback, split_port};
use super::mail::MailSettings;
use super::secret::Secret;
use crate::model::EventKind;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One place that alerts are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its name in messages and in the queue: `mail`, `webhook`, `webhook-chat`.
    pub name: String,
    /// The events that it is told of, in the order of [`EventKind::ALL`].
    pub kinds: Vec<EventKind>,
    /// How long one attempt may take in all.
    pub timeout: Duration,
    /// What it is.
    pub kind: SinkKind,
}

/// What a sink is, with its own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// The journal's native protocol.
    Journald {
        /// Its socket.
        socket: PathBuf,
    },
    /// Syslog, RFC 5424.
    Syslog {
        /// Where it listens.
        to: SyslogTarget,
        /// The facility's number (RFC 5424, table 1).
        facility: u8,
    },
    /// A POST of JSON.
    Webhook(WebhookSettings),
    /// Alertmanager's API, version 2.
    Alertmanager(AlertmanagerSettings),
    /// Mail over SMTP.
    Mail(MailSettings),
    /// A program that reads JSON on its standard input.
    Command(CommandSettings),
}

/// Where a syslog daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogTarget {
    /// A Unix socket, as a rule /dev/log.
    Unix(PathBuf),
    /// UDP (RFC 5426): nobody confirms anything.
    Udp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// TCP with octet counting (RFC 6587).
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl SyslogTarget {
    /// Reads `/dev/log`, `udp://HOST[:514]` or `tcp://HOST[:601]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is neither a path, nor udp://HOST:PORT, nor tcp://HOST:PORT");
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let (host, port) = split_port(authority).ok_or_else(wrong)?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:_%".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong());
        }
        let port = |usual: u16| port.map_or(Some(usual), |port| port.parse().ok().filter(|port| *port > 0));
        let host = host.to_owned();
        match scheme {
            "udp" => Ok(Self::Udp { host, port: port(514).ok_or_else(wrong)? }),
            "tcp" => Ok(Self::Tcp { host, port: port(601).ok_or_else(wrong)? }),
            _ => Err(wrong()),
        }
    }

    /// Whether others on the way can read and change what is sent.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Udp { host, .. } | Self::Tcp { host, .. } => !is_loopback(host),
        }
    }
}

/// `[notify.webhook]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where to.
    pub url: HttpUrl,
    /// The key of the signature; without it nothing is signed.
    pub secret: Option<Secret>,
    /// Who fwdrift is, and who the receiver is.
    pub proof: Proof,
}

/// `[notify.alertmanager]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// The address of Alertmanager's own root; `/api/v2/alerts` is added.
    pub url: HttpUrl,
    /// Who fwdrift is, and who the receiver is.
    pub proof: Proof,
    /// Labels to add to each alert; they win over fwdrift's own.
    pub labels: BTreeMap<String, String>,
    /// A link to show with each alert.
    pub generator_url: Option<HttpUrl>,
    /// How often `watch` sends open alerts again.
    pub refresh: Duration,
    /// When Alertmanager takes an alert for resolved that nobody sent again.
    pub resolve_after: Duration,
}

/// `[notify.command]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSettings {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl SinkSettings {
    /// `webhook` of `[notify.webhook]`, whatever the sink's own name.
    pub fn table(&self) -> &'static str {
        match &self.kind {
            SinkKind::Journald { .. } => "journald",
            SinkKind::Syslog { .. } => "syslog",
            SinkKind::Webhook(_) => "webhook",
            SinkKind::Alertmanager(_) => "alertmanager",
            SinkKind::Mail(_) => "mail",
            SinkKind::Command(_) => "command",
        }
    }

    /// Whether others on the way can read and change what is sent.
    pub fn is_exposed(&self) -> bool {
        match &self.kind {
            SinkKind::Journald { .. } | SinkKind::Command(_) => false,
            SinkKind::Syslog { to, .. } => to.is_exposed(),
            SinkKind::Webhook(webhook) => webhook.url.is_exposed(),
            SinkKind::Alertmanager(alertmanager) => alertmanager.url.is_exposed(),
            SinkKind::Mail(mail) => mail.is_exposed(),
        }
    }

    /// Every secret that it needs.
    pub fn secrets(&self) -> Vec<&Secret> {
        match &self.kind {
            SinkKind::Journald { .. } | SinkKind::Syslog { .. } | SinkKind::Command(_) => Vec::new(),
            SinkKind::Webhook(webhook) => webhook.secret.iter().chain(webhook.proof.secrets()).collect(),
            SinkKind::Alertmanager(alertmanager) => alertmanager.proof.secrets().collect(),
            SinkKind::Mail(mail) => mail.login.iter().map(|(_, password)| password).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syslog_target_is_a_path_or_an_address_with_a_port() {
        let udp = |host: &str, port| Ok(SyslogTarget::Udp { host: host.to_owned(), port });
        let tcp = |host: &str, port| Ok(SyslogTarget::Tcp { host: host.to_owned(), port });
        assert_eq!(SyslogTarget::parse("/dev/log"), Ok(SyslogTarget::Unix("/dev/log".into())));
        assert_eq!(SyslogTarget::parse("udp://192.0.2.7"), udp("192.0.2.7", 514));
        assert_eq!(SyslogTarget::parse("tcp://log.example.org:6514"), tcp("log.example.org", 6514));
        assert_eq!(SyslogTarget::parse("tcp://[::1]"), tcp("::1", 601));
        for text in
            ["", "log", "udp://", "tls://x", "udp://x:0", "udp://x:99999", "tcp://a b", "udp:///dev/log"]
        {
            assert!(SyslogTarget::parse(text).is_err(), "{text}");
        }
    }
}

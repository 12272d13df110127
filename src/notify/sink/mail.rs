//! Mail over SMTP (RFC 5321): one message for what was queued together, in plain text (RFC 5322).
//!
//! A 5xx answer to the message refuses it for good; one to the greeting, the login or STARTTLS is a matter of
//! configuration, and comes again later, as do 4xx and all network trouble.

use super::Sink;
use crate::config::notify::{MailSettings, MailTls};
use crate::notify::alert::{Alert, Status};
use crate::notify::error::Failure;
use lettre::address::Address;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, MaybeString};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, SmtpTransport, Transport};
use std::time::Duration;

/// Characters of a subject.
const SUBJECT: usize = 180;
/// SMTP answers that are about the sender, not about the message (RFC 5321, RFC 4954, RFC 3207).
const ABOUT_US: [u16; 7] = [500, 502, 503, 504, 530, 534, 535];

pub(super) struct Mail {
    settings: MailSettings,
    timeout: Duration,
}

impl Mail {
    pub(super) fn new(settings: &MailSettings, timeout: Duration) -> Self {
        Self { settings: settings.clone(), timeout }
    }
}

impl Sink for Mail {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        let Some(message) = self.message(alerts)? else { return Ok(()) };
        let transport = self.transport(alerts)?;
        let server = format!("{}:{}", self.settings.server, self.settings.port);
        transport.send(&message).map(drop).map_err(|error| {
            let reason = format!("{server}: {error}");
            let code = error.status().map(u16::from);
            match error.is_permanent() && !code.is_some_and(|code| ABOUT_US.contains(&code)) {
                true => Failure::refused(reason),
                false => Failure::later(reason),
            }
        })
    }

    fn takes_batches(&self) -> bool {
        true
    }
}

impl Mail {
    /// Each phase has the time limit; the whole attempt has one above this.
    fn transport(&self, alerts: &[Alert]) -> Result<SmtpTransport, Failure> {
        let settings = &self.settings;
        let hello = alerts.first().map_or("localhost", |alert| alert.machine()).to_owned();
        let mut builder = SmtpTransport::builder_dangerous(settings.server.as_str())
            .port(settings.port)
            .hello_name(ClientId::Domain(hello))
            .timeout(Some(self.timeout))
            .tls(match settings.tls {
                MailTls::None => Tls::None,
                MailTls::StartTls => Tls::Required(self.tls()?),
                MailTls::Implicit => Tls::Wrapper(self.tls()?),
            });
        if let Some((user, password)) = &settings.login {
            let password = password.read().map_err(|error| Failure::later(error.to_string()))?;
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(builder.build())
    }

    fn tls(&self) -> Result<TlsParameters, Failure> {
        let mut builder = TlsParameters::builder(self.settings.server.clone());
        if let Some(path) = &self.settings.ca_file {
            let unusable =
                |why: String| Failure::later(format!("the certificates in {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let trusted = Certificate::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(trusted);
        }
        builder.build().map_err(|error| Failure::later(error.to_string()))
    }

    fn message(&self, alerts: &[Alert]) -> Result<Option<Message>, Failure> {
        let (Some(first), Some(last)) = (alerts.first(), alerts.last()) else { return Ok(None) };
        let wrong =
            |error: &dyn std::fmt::Display| Failure::refused(format!("it cannot become a mail: {error}"));
        let mailbox = |text: &String| -> Result<Mailbox, Failure> {
            let address: Address = text.parse().map_err(|error| wrong(&error))?;
            Ok(Mailbox::new(None, address))
        };
        let more = match alerts.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let worst = alerts.iter().find(|alert| alert.status == Status::Open).unwrap_or(first);
        let subject = format!("{}{more}", crate::notify::bounded::text(&worst.subject, SUBJECT));
        let mut builder = Message::builder()
            .from(mailbox(&self.settings.from)?)
            .subject(subject)
            .date(last.recorded_at.into())
            // The same at every attempt: who got it twice sees it once.
            .message_id(Some(message_id(first, last)))
            .header(ContentType::TEXT_PLAIN)
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Fwdrift-Kind", worst.kind.as_str()))
            .raw_header(header("X-Fwdrift-Host", &first.host));
        if let Some(severity) = alerts.iter().filter_map(|alert| alert.severity).max() {
            builder = builder.raw_header(header("X-Fwdrift-Severity", severity.as_str()));
        }
        for to in &self.settings.to {
            builder = builder.to(mailbox(to)?);
        }
        let body = Body::new_with_encoding(
            MaybeString::String(text(alerts)),
            ContentTransferEncoding::QuotedPrintable,
        )
        .map_err(|_| wrong(&"its text has no encoding"))?;
        builder.body(body).map(Some).map_err(|error| wrong(&error))
    }
}

/// Of what is in the mail. A namespace's name is behind an `@`, which a msg-id has once (RFC 5322, section 3.6.4).
fn message_id(first: &Alert, last: &Alert) -> String {
    let left = first.id.replace('@', "+");
    format!("<{left}.{}.fwdrift@{}>", last.number, first.machine())
}

/// A header of words that cannot hold a line break: kinds and names of hosts.
fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Each alert's first line, then its details.
fn text(alerts: &[Alert]) -> String {
    let of = |alert: &Alert| format!("{}\n\n{}", alert.message, alert.details);
    let texts: Vec<String> = alerts.iter().map(of).collect();
    texts.join(&format!("\n{}\n\n", "-".repeat(72)))
}

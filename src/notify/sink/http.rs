//! A POST of JSON, and what its answer means.
//!
//! 2xx is delivered; 408, 429, 5xx and all that is no answer come again later; every other 4xx refuses the alert for good.
//! Redirections are not followed, and no proxy of the environment is used: what is configured is where it goes.

use crate::config::notify::{HttpUrl, Proof};
use crate::notify::error::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body, http};

/// Of an answer, as much as says what is wrong.
const ANSWER: u64 = 2_048;
const ANSWER_SHOWN: usize = 200;
/// A receiver that wants to be left alone for longer is asked after this.
const LONGEST_WAIT: u64 = 3600;

pub(super) struct Client {
    proof: Proof,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(proof: &Proof, timeout: Duration) -> Self {
        Self { proof: proof.clone(), timeout }
    }

    /// Sends `body` to `url`. Secrets and certificates are read anew, so that new ones count at once.
    pub(super) fn post(&self, url: &str, body: &str, headers: &[(&str, String)]) -> Result<(), Failure> {
        let mut request = self.agent()?.post(url).header("Content-Type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = self.authorization()? {
            request = request.header("Authorization", authorization);
        }
        let answer =
            request.send(body).map_err(|error| Failure::later(format!("{}: {error}", place(url))))?;
        judge(url, answer)
    }

    fn authorization(&self) -> Result<Option<String>, Failure> {
        let unreadable = |error| Failure::later(format!("{error}"));
        if let Some(token) = &self.proof.bearer {
            return Ok(Some(format!("Bearer {}", token.read().map_err(unreadable)?)));
        }
        let Some((user, password)) = &self.proof.basic else { return Ok(None) };
        let password = password.read().map_err(unreadable)?;
        Ok(Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))))
    }

    fn agent(&self) -> Result<Agent, Failure> {
        let roots = match &self.proof.ca_file {
            Some(path) => of_file(path)?,
            None => of_system(),
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = Agent::config_builder()
            .timeout_global(Some(self.timeout))
            .timeout_connect(Some(self.timeout.min(Duration::from_secs(5))))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_response_header_size(16 << 10)
            .user_agent(concat!("fwdrift/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls.build());
        Ok(config.build().new_agent())
    }
}

fn judge(url: &str, mut answer: http::Response<Body>) -> Result<(), Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let asked =
        answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let said = answer.body_mut().with_config().limit(ANSWER).lossy_utf8(true).read_to_string();
    let said: String = said.unwrap_or_default().trim().chars().take(ANSWER_SHOWN).collect();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let reason = format!("{} answered {status}{said}", place(url));
    let is_for_good = status.is_client_error() && !matches!(status.as_u16(), 408 | 429);
    if is_for_good {
        return Err(Failure::refused(reason));
    }
    let after = asked.map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT)));
    Err(Failure::Later { reason, after })
}

/// Scheme and host: the rest of a URL is often a secret.
fn place(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default();
    match HttpUrl::parse(url) {
        Ok(parsed) => format!("{scheme}://{}", parsed.host()),
        Err(_) => scheme.to_owned(),
    }
}

fn of_file(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let unusable = |why: String| Failure::later(format!("the certificates in {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let items: Result<Vec<PemItem<'static>>, _> = ureq::tls::parse_pem(&pem).collect();
    let certificates =
        items.map_err(|error| unusable(error.to_string()))?.into_iter().filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        });
    match certificates.collect::<Vec<_>>() {
        none if none.is_empty() => Err(unusable("none is there".to_owned())),
        some => Ok(some),
    }
}

/// The system's trusted certificates; as many as can be read.
fn of_system() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!("the system's certificates: {error}");
    }
    found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect()
}

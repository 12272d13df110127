//! A webhook: the alert as JSON, signed where there is a key.
//!
//! `X-Fwdrift-Signature: sha256=HEX` is HMAC-SHA256 (RFC 2104) over the value of `X-Fwdrift-Timestamp` (seconds since
//! 1970), a dot, and the body. A receiver that refuses old timestamps and ids it has seen cannot be fooled by a replay.

use super::Sink;
use super::http::Client;
use crate::config::notify::WebhookSettings;
use crate::notify::alert::Alert;
use crate::notify::error::Failure;
use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::time::Duration;

pub(super) struct Webhook {
    settings: WebhookSettings,
    client: Client,
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings, timeout: Duration) -> Self {
        Self { settings: settings.clone(), client: Client::new(&settings.proof, timeout) }
    }
}

impl Sink for Webhook {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        alerts.iter().try_for_each(|alert| self.post(alert))
    }
}

impl Webhook {
    fn post(&self, alert: &Alert) -> Result<(), Failure> {
        let body = alert.json();
        let timestamp = Utc::now().timestamp().to_string();
        // An id has the characters of a host's name only.
        let mut headers =
            vec![("Idempotency-Key", alert.id.clone()), ("X-Fwdrift-Timestamp", timestamp.clone())];
        if let Some(secret) = &self.settings.secret {
            let key = secret.read().map_err(|error| Failure::later(error.to_string()))?;
            let signature = signature(key.as_bytes(), &timestamp, &body);
            headers.push(("X-Fwdrift-Signature", signature.ok_or_else(|| Failure::later("unusable key"))?));
        }
        self.client.post(self.settings.url.as_str(), &body, &headers)
    }
}

/// None for a key that HMAC cannot use, of which there is none.
fn signature(key: &[u8], timestamp: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1800000000.{"a":1}' | openssl dgst -sha256 -hmac key`
    #[test]
    fn the_signature_is_what_openssl_makes() {
        let expect = "sha256=7330c9cf7d886970cbebbbb5494c04d2aeff06a990adb7d7a75abfeb0159d291";
        assert_eq!(signature(b"key", "1800000000", "{\"a\":1}").as_deref(), Some(expect));
    }
}

//! Alertmanager's API, version 2: what is open is sent again and again, what ended is sent with its end.
//!
//! <https://prometheus.io/docs/alerting/latest/clients/>. An alert is what has the same labels, so these are taken from
//! the event alone: the same at every attempt, after a restart, and when it ends.

use super::Sink;
use super::http::Client;
use crate::config::notify::AlertmanagerSettings;
use crate::model::Severity;
use crate::notify::alert::{Alert, AlertKind, Brief, Status};
use crate::notify::error::Failure;
use crate::notify::tracking::Open;
use crate::{notify::bounded, report};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Alerts in one request.
const TOGETHER: usize = 50;
/// Bytes of a description.
const DESCRIPTION: usize = 8_000;

pub(super) struct Alertmanager {
    settings: AlertmanagerSettings,
    client: Client,
    url: String,
}

impl Alertmanager {
    pub(super) fn new(settings: &AlertmanagerSettings, timeout: Duration) -> Self {
        let url = format!("{}/api/v2/alerts", settings.url.as_str().trim_end_matches('/'));
        Self { settings: settings.clone(), client: Client::new(&settings.proof, timeout), url }
    }
}

impl Sink for Alertmanager {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        let now = Utc::now();
        let mut all = Vec::new();
        for alert in alerts {
            let ends = |ended: &Brief| {
                let after = alert.time.max(ended.time);
                self.alert(ended, &alert.details, after)
            };
            all.extend(alert.resolves.iter().map(ends));
            if alert.status != Status::Ended {
                all.push(self.alert(&alert.brief(), &alert.details, self.expiry(now)));
            }
        }
        self.post(&all)
    }

    fn refreshes(&self) -> Option<Duration> {
        Some(self.settings.refresh)
    }

    fn refresh(&self, open: &[Open]) -> Result<(), Failure> {
        let expiry = self.expiry(Utc::now());
        let all: Vec<Value> =
            open.iter().map(|open| self.alert(&open.alert, &open.details, expiry)).collect();
        self.post(&all)
    }

    fn needs_ends(&self) -> bool {
        true
    }
}

impl Alertmanager {
    fn post(&self, alerts: &[Value]) -> Result<(), Failure> {
        alerts.chunks(TOGETHER).try_for_each(|alerts| {
            let body = report::escape::json(&Value::from(alerts).to_string());
            self.client.post(&self.url, &body, &[])
        })
    }

    /// When Alertmanager shall take it for resolved if it hears nothing more.
    fn expiry(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::from_std(self.settings.resolve_after).unwrap_or(TimeDelta::hours(1))
    }

    fn alert(&self, brief: &Brief, details: &str, ends: DateTime<Utc>) -> Value {
        let mut alert = json!({
            "labels": self.labels(brief),
            "annotations": {
                "summary": brief.message,
                "description": bounded::both_ends(details, DESCRIPTION),
            },
            "startsAt": time(brief.time),
            "endsAt": time(ends),
        });
        if let Some(url) = &self.settings.generator_url {
            alert["generatorURL"] = url.as_str().into();
        }
        alert
    }

    fn labels(&self, brief: &Brief) -> Map<String, Value> {
        let name = match brief.kind {
            AlertKind::Gap => "FirewallUnseen",
            AlertKind::Transient => "FirewallTransient",
            AlertKind::Dropped => "FirewallAlertsDropped",
            AlertKind::Checkpoint => "FirewallCheckpoint",
            AlertKind::Drift | AlertKind::Reverted | AlertKind::Applied | AlertKind::Approved => {
                "FirewallDrift"
            }
        };
        let mut labels = Map::new();
        let mut label = |name: &str, value: &str| labels.insert(name.to_owned(), value.into());
        label("alertname", name);
        label("host", &brief.host);
        label("severity", brief.severity.map_or("unknown", Severity::as_str));
        if let Some(netns) = &brief.netns {
            label("netns", &report::escape::terminal(netns));
        }
        match brief.seq {
            Some(seq) => label("event", &seq.to_string()),
            None => label("event", &brief.id),
        };
        for (name, value) in &self.settings.labels {
            label(name, value);
        }
        labels
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

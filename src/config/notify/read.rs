//! From the file's text to [`NotifySettings`].

use super::http::{HttpUrl, Proof};
use super::mail::MailSettings;
use super::sinks::{
    AlertmanagerSettings, CommandSettings, SinkKind, SinkSettings, SyslogTarget, WebhookSettings,
};
use super::table::{Source, Table};
use super::{NotifySettings, QueueBounds};
use crate::config::error::ConfigError;
use crate::config::nearest::nearest;
use crate::model::EventKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const KEYS: &[&str] = &[
    "journald",
    "syslog",
    "webhook",
    "alertmanager",
    "mail",
    "command",
    "textfile",
    "time_limit_seconds",
    "queue_alerts",
    "queue_megabytes",
];

/// The numbers of RFC 5424's facilities under syslog.conf(5)'s names.
const FACILITIES: [(&str, u8); 13] = [
    ("user", 1),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// An attempt that takes longer than this is no attempt.
const LONGEST_ATTEMPT: u64 = 600;
/// Whoever waits longer than this for an answer waits for nothing; mail servers make a virtue of being slow.
const ATTEMPT: Duration = Duration::from_secs(8);
const MAIL_ATTEMPT: Duration = Duration::from_secs(30);

/// Reads `[notify]` out of a file's text, which is known to be TOML.
pub(in crate::config) fn read(
    path: &Path,
    text: &str,
    credentials: Option<&Path>,
) -> Result<NotifySettings, ConfigError> {
    let source = Source { path, bytes: text.as_bytes(), credentials };
    let mut settings = NotifySettings::default();
    let Ok(document) = DeTable::parse(text) else { return Ok(settings) };
    let Some(value) = document.get_ref().get("notify") else { return Ok(settings) };
    let notify = Table::of(source, "notify", value, KEYS)?;
    for (name, keys) in TABLES {
        let found = notify.value(name).map(one_or_several).unwrap_or_default();
        if found.len() > 1 && name != "webhook" {
            return Err(notify.error(name, format!("there can be one only: write [notify.{name}]")));
        }
        let several = found.len() > 1;
        for value in found {
            let table = Table::of(source, &format!("notify.{name}"), value, keys)?;
            let sink = sink(name, &table, several)?;
            if settings.sinks.iter().any(|other| other.name == sink.name) {
                return Err(table.error("name", "another webhook has this name"));
            }
            settings.sinks.push(sink);
        }
    }
    settings.textfile = textfile(source, &notify)?;
    limits(&notify, &mut settings)?;
    Ok(settings)
}

/// The tables that are sinks, with their keys, in the order of the documentation.
const TABLES: [(&str, &[&str]); 6] = [
    ("journald", &["socket", "kinds", "timeout_seconds"]),
    ("syslog", &["to", "facility", "kinds", "timeout_seconds"]),
    (
        "webhook",
        &[
            "name",
            "url",
            "secret",
            "secret_file",
            "bearer_token",
            "bearer_token_file",
            "username",
            "password",
            "password_file",
            "ca_file",
            "kinds",
            "timeout_seconds",
        ],
    ),
    (
        "alertmanager",
        &[
            "url",
            "labels",
            "generator_url",
            "refresh_seconds",
            "resolve_after_minutes",
            "bearer_token",
            "bearer_token_file",
            "username",
            "password",
            "password_file",
            "ca_file",
            "kinds",
            "timeout_seconds",
        ],
    ),
    ("mail", MailSettings::KEYS),
    ("command", &["run", "kinds", "timeout_seconds"]),
];

/// `[notify.webhook]` is one table, `[[notify.webhook]]` a list of them.
fn one_or_several<'a>(value: &'a Spanned<DeValue<'a>>) -> Vec<&'a Spanned<DeValue<'a>>> {
    match value.get_ref().as_array() {
        Some(list) if list.iter().all(|item| item.get_ref().is_table()) => list.iter().collect(),
        // Not a table: whoever reads it as one says so.
        Some(_) | None => vec![value],
    }
}

fn sink(table_name: &str, table: &Table<'_>, several: bool) -> Result<SinkSettings, ConfigError> {
    let built_in = match table_name {
        "webhook" | "alertmanager" => cfg!(feature = "http").then_some(()).ok_or("http"),
        "mail" => cfg!(feature = "mail").then_some(()).ok_or("mail"),
        _ => Ok(()),
    };
    if let Err(feature) = built_in {
        return Err(table.error_of_all(format!(
            "this fwdrift was built without it: build it with the cargo feature `{feature}`, or remove the table"
        )));
    }
    let kind = match table_name {
        "journald" => {
            let socket = table.path("socket")?;
            SinkKind::Journald { socket: socket.unwrap_or_else(|| "/run/systemd/journal/socket".into()) }
        }
        "syslog" => {
            let to = table.text("to")?;
            let to = SyslogTarget::parse(to.as_deref().unwrap_or("/dev/log"));
            SinkKind::Syslog { to: to.map_err(|why| table.error("to", why))?, facility: facility(table)? }
        }
        "webhook" => SinkKind::Webhook(WebhookSettings {
            url: url(table, "url")?.ok_or_else(|| missing_url(table, "https://example.org/hook"))?,
            secret: table.secret("secret")?,
            proof: proof(table)?,
        }),
        "alertmanager" => SinkKind::Alertmanager(alertmanager(table)?),
        "mail" => SinkKind::Mail(MailSettings::read(table)?),
        _ => SinkKind::Command(command(table)?),
    };
    let own_name = if table_name == "webhook" { table.text("name")? } else { None };
    let name = match own_name {
        Some(name) if is_plain(&name) => format!("webhook-{name}"),
        Some(_) => return Err(table.error("name", "a name has letters, digits, '-' and '_', at most 32")),
        None if several => {
            return Err(table.error_of_all("each of several webhooks needs a name: write name = \"chat\""));
        }
        None => table_name.to_owned(),
    };
    let timeout = table.number("timeout_seconds", 1..=LONGEST_ATTEMPT)?.map(Duration::from_secs);
    let usual = if table_name == "mail" { MAIL_ATTEMPT } else { ATTEMPT };
    Ok(SinkSettings { name, kinds: kinds(table)?, timeout: timeout.unwrap_or(usual), kind })
}

fn is_plain(name: &str) -> bool {
    name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Everything but checkpoints, which say that nothing happened.
fn kinds(table: &Table<'_>) -> Result<Vec<EventKind>, ConfigError> {
    let Some(words) = table.texts("kinds")? else {
        return Ok(EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::Checkpoint).collect());
    };
    let valid = EventKind::ALL.map(EventKind::as_str);
    if let Some(word) = words.iter().find(|word| !valid.contains(&word.as_str())) {
        let near = nearest(word, &valid).map(|near| format!("; did you mean {near:?}?"));
        let reason = format!("{word:?} is none of {}{}", valid.join(", "), near.unwrap_or_default());
        return Err(table.error("kinds", reason));
    }
    Ok(EventKind::ALL.into_iter().filter(|kind| words.iter().any(|word| word == kind.as_str())).collect())
}

fn facility(table: &Table<'_>) -> Result<u8, ConfigError> {
    let word = table.text("facility")?.unwrap_or_else(|| "authpriv".to_owned());
    let found = FACILITIES.iter().find(|(name, _)| *name == word);
    found.map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<&str> = FACILITIES.iter().map(|(name, _)| *name).collect();
        table.error("facility", format!("{word:?} is none of {}", names.join(", ")))
    })
}

fn url(table: &Table<'_>, key: &str) -> Result<Option<HttpUrl>, ConfigError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    HttpUrl::parse(&text).map(Some).map_err(|why| table.error(key, why))
}

fn missing_url(table: &Table<'_>, example: &str) -> ConfigError {
    table.error_of_all(format!("url is missing: write url = {example:?}"))
}

fn proof(table: &Table<'_>) -> Result<Proof, ConfigError> {
    let bearer = table.secret("bearer_token")?;
    let basic = match (table.text("username")?, table.secret("password")?) {
        (Some(user), Some(password)) => Some((user, password)),
        (None, None) => None,
        (Some(_), None) => return Err(table.error("username", "password or password_file is missing")),
        (None, Some(_)) => return Err(table.error_of_all("a password is given without username")),
    };
    if bearer.is_some() && basic.is_some() {
        return Err(table.error_of_all("bearer_token and username exclude each other"));
    }
    Ok(Proof { bearer, basic, ca_file: table.path("ca_file")? })
}

fn alertmanager(table: &Table<'_>) -> Result<AlertmanagerSettings, ConfigError> {
    let labels = table.pairs("labels")?;
    // https://prometheus.io/docs/concepts/data_model/: label names.
    let is_label = |name: &str| {
        let mut bytes = name.bytes();
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        bytes.next().is_some_and(is_first) && bytes.all(|byte| is_first(byte) || byte.is_ascii_digit())
    };
    if let Some(name) = labels.keys().find(|name| !is_label(name)) {
        return Err(table.error("labels", format!("{name:?} is not a label's name: [a-zA-Z_][a-zA-Z0-9_]*")));
    }
    let refresh = table.number("refresh_seconds", 10..=3600)?.unwrap_or(60);
    let resolve_after = table.number("resolve_after_minutes", 1..=7 * 24 * 60)?.unwrap_or(60);
    Ok(AlertmanagerSettings {
        url: url(table, "url")?.ok_or_else(|| missing_url(table, "http://127.0.0.1:9093"))?,
        proof: proof(table)?,
        labels,
        generator_url: url(table, "generator_url")?,
        refresh: Duration::from_secs(refresh),
        resolve_after: Duration::from_secs(resolve_after * 60),
    })
}

fn command(table: &Table<'_>) -> Result<CommandSettings, ConfigError> {
    let example = "run is missing: write run = [\"/usr/local/bin/on-drift\"]";
    let words = table.texts("run")?.ok_or_else(|| table.error_of_all(example))?;
    let program = PathBuf::from(&words[0]);
    if !program.is_absolute() {
        return Err(table.error("run", format!("{program:?} is not an absolute path; no PATH is searched")));
    }
    Ok(CommandSettings { program, arguments: words[1..].to_vec() })
}

fn textfile(source: Source<'_>, notify: &Table<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let Some(value) = notify.value("textfile") else { return Ok(None) };
    let table = Table::of(source, "notify.textfile", value, &["directory"])?;
    let example = "directory is missing: write directory = \"/var/lib/prometheus/node-exporter\"";
    table.path("directory")?.map(Some).ok_or_else(|| table.error_of_all(example))
}

fn limits(notify: &Table<'_>, settings: &mut NotifySettings) -> Result<(), ConfigError> {
    let usual = settings.bounds;
    if let Some(seconds) = notify.number("time_limit_seconds", 1..=3600)? {
        settings.time_limit = Duration::from_secs(seconds);
    }
    settings.bounds = QueueBounds {
        alerts: notify.number("queue_alerts", 1..=1_000_000)?.unwrap_or(usual.alerts),
        bytes: notify.number("queue_megabytes", 1..=10_000)?.map_or(usual.bytes, |megabytes| megabytes << 20),
    };
    Ok(())
}

#[cfg(test)]
mod tests;

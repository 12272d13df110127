//! Who is told of what is recorded, and whether it reaches them.

use super::span;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Status};
use crate::notify::{Position, SinkStatus};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    if facts.alerts.is_empty() {
        let detail = "nobody is told of drift: there is no [notify] table in the configuration";
        return vec![Finding::info("alerts.sinks", detail)];
    }
    facts.alerts.iter().map(|sink| of_sink(sink, facts)).collect()
}

/// One line a sink, whatever there is to say.
fn of_sink(sink: &SinkStatus, facts: &Facts) -> Finding {
    let name = area(&sink.name);
    let label = if name.ends_with(&sink.name) { String::new() } else { format!("{}: ", sink.name) };
    let (mut status, delivery) = delivery(sink, facts);
    let mut parts = sink.problems.clone();
    parts.push(delivery);
    if sink.exposed {
        parts.push("what is sent crosses a network unencrypted".to_owned());
    }
    if sink.exposed || !sink.problems.is_empty() {
        status = Status::Warn;
    }
    let finding = Finding { name, status, detail: format!("{label}{}", parts.join("; ")), remedy: None };
    match sink.exposed {
        true => finding
            .remedy("use https, STARTTLS, or a relay on this host: rules and names can be read on the way"),
        false => finding,
    }
}

fn delivery(sink: &SinkStatus, facts: &Facts) -> (Status, String) {
    if sink.name == "textfile" {
        return (Status::Ok, "written at each look".to_owned());
    }
    let Some(position) = &sink.position else {
        return (Status::Info, "nothing was queued yet: it begins with the next `fwdrift record`".to_owned());
    };
    let ago = |time| format!("{} ago", span(facts.now - time));
    let success = match position.last_success {
        Some(time) => format!("last delivered {}", ago(time)),
        None => "nothing delivered yet".to_owned(),
    };
    let so_far = format!("{} waiting; {success}{}", sink.waiting, lost(position));
    let error = position.last_error.as_deref().unwrap_or("no reason is known");
    match position.failing_since {
        Some(since) => (Status::Warn, format!("failing since {}: {error}; {so_far}", ago(since))),
        None if position.last_error.is_some() => {
            (Status::Warn, format!("{so_far}; the last was refused: {error}"))
        }
        None => (Status::Ok, so_far),
    }
}

/// What will never be delivered.
fn lost(position: &Position) -> String {
    let mut out = String::new();
    if position.refused > 0 {
        out.push_str(&format!("; {} refused", position.refused));
    }
    if position.dropped > 0 {
        out.push_str(&format!("; {} dropped", position.dropped));
    }
    out
}

/// A finding's name is one of a fixed set; a webhook's own name stands in the detail.
fn area(sink: &str) -> &'static str {
    match sink {
        "journald" => "alerts.journald",
        "syslog" => "alerts.syslog",
        "alertmanager" => "alerts.alertmanager",
        "mail" => "alerts.mail",
        "command" => "alerts.command",
        "textfile" => "alerts.textfile",
        _ => "alerts.webhook",
    }
}

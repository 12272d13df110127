//! Alerts, each against the receiver that people have: systemd's journal, rsyslog, exim, Alertmanager, node_exporter,
//! and an HTTP server. `scripts/receivers` puts them into target/receivers. Each test has a network namespace of its own
//! for the way between fwdrift and the receiver, beside the one of the firewall that is watched. Needs root.
#![cfg(all(feature = "http", feature = "mail"))]

mod alertmanager;
mod background;
mod command;
mod journald;
mod mail;
mod queue;
mod receiver;
#[allow(dead_code, reason = "another test has the rest")]
#[path = "../whole_loop/support.rs"]
mod support;
mod syslog;
mod textfile;
mod webhook;

//! Gathers the facts. Reads only, and asks nothing that would make the kernel load or create anything.
//!
//! Runs in the network namespace of the calling thread: enter the one to look at before calling.

mod audit;
mod journald;
mod process;
mod schedule;
mod sources;
mod tools;

use super::distribution::Distribution;
use super::facts::{Facts, Given};
use crate::config::Settings;
use chrono::{DateTime, Utc};
use std::fs;
use std::path::Path;

/// Runs a program and returns its stdout.
///
/// What is called must be given an absolute path, a cleared environment (`LC_ALL=C`, `TZ=UTC`), no
/// stdin and a timeout; a non-zero status, a signal or a timeout is an error in words, with stderr.
pub type RunTool<'a> = dyn Fn(&Path, &[&str]) -> Result<Vec<u8>, String> + 'a;

/// Gathers what doctor knows about this host, with what is `given`, as it is `now`.
///
/// Never fails: what cannot be read is a fact of its own.
pub fn look(settings: &Settings, given: Given, now: DateTime<Utc>, run: &RunTool<'_>) -> Facts {
    let tools = tools::look(run);
    let service_manager = schedule::service_manager();
    Facts {
        now,
        host: settings.host.to_string(),
        repo: settings.repo.clone(),
        distribution: distribution(),
        service_manager,
        process: process::look(),
        kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
        scratch_namespace: given.scratch_namespace,
        sources: sources::look(&tools, run),
        audit: given.audit,
        audit_files: audit::look(&settings.audit_log, service_manager, &tools, run),
        repository: given.repository,
        alerts: given.alerts,
        schedule: schedule::look(service_manager, run),
        tools,
    }
}

fn distribution() -> Distribution {
    // os-release(5): the second is the vendor's, where the first is missing.
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    Distribution::from_os_release(&text.unwrap_or_default())
}

//! `fwdrift doctor`: what this host can and cannot see, and what to run to mend it.

use crate::config::{Format, Settings};
use crate::doctor::{AuditFacts, AuditState, Given, LastLook, RepositoryFacts};
use crate::doctor::{exit_code, judge, look, render_json, render_text};
use crate::evidence::{self, EvidenceError};
use crate::ledger::{LedgerError, Repository};
use crate::model::BaselineRef;
use crate::notify;
use crate::record::Memory;
use crate::sys::netns::Netns;
use crate::tool::Tool;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rustix::io::Errno;
use serde::Deserialize;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Examines the host and writes the findings. The exit code is 0, or 2 where something needed is missing.
///
/// # Errors
/// A network namespace that cannot be entered, a form of output that there is not, those of `out` (but
/// who closes a pipe early has read enough).
pub fn run(settings: &Settings, out: &mut dyn Write) -> anyhow::Result<u8> {
    let format = settings.require_format("doctor", &[Format::Text, Format::Json])?;
    let netns = match &settings.netns {
        Some(netns) => netns.open()?,
        None => Netns::current()?,
    };
    let given = given(settings);
    let facts = netns.run(|| look(settings, given, Utc::now(), &run_tool))?;
    let findings = judge(&facts);
    let mut text = Vec::new();
    match format {
        Format::Json => render_json(&findings, &mut text),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => render_text(&findings, &mut text),
    }
    .and_then(|()| out.write_all(&text))
    .and_then(|()| out.flush())
    .or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
    .context("cannot write the findings")?;
    Ok(exit_code(&findings))
}

fn run_tool(program: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Tool::at(program).args(arguments.iter().copied()).run();
    output.map(|output| output.stdout).map_err(|error| error.to_string())
}

/// What other parts of fwdrift know of the host. Audit answers in the first namespaces only, so this is
/// asked before another one is entered.
fn given(settings: &Settings) -> Given {
    Given {
        scratch_namespace: Netns::create().map(drop).map_err(|error| error.to_string()),
        audit: audit(),
        repository: repository(settings).unwrap_or_else(|error| match error {
            LedgerError::Missing { .. } => RepositoryFacts::Missing,
            // `init` was stopped before its first approval.
            LedgerError::NoMain { .. } => {
                RepositoryFacts::Present { baseline: None, last_look: LastLook::Never }
            }
            other => RepositoryFacts::Unusable { reason: other.to_string(), hint: other.hint() },
        }),
        alerts: notify::status(settings),
    }
}

fn audit() -> AuditFacts {
    match evidence::status() {
        Ok(status) => AuditFacts::Known(AuditState {
            enabled: status.enabled,
            daemon_pid: status.auditd_pid,
            lost: status.lost,
            backlog_limit: status.backlog_limit,
            never_task: evidence::never_task_rule().ok(),
        }),
        Err(EvidenceError::Netlink { source: Errno::PROTONOSUPPORT, .. }) => AuditFacts::NotCompiledIn,
        Err(error) => AuditFacts::Unknown { reason: error.to_string() },
    }
}

fn repository(settings: &Settings) -> Result<RepositoryFacts, LedgerError> {
    let repository = Repository::open(&settings.repo)?;
    let baseline = repository.baseline(&settings.host)?;
    let last_look = match noted_look(&repository, settings) {
        Some(noted) => noted,
        None => match repository.head(&settings.host)? {
            Some(newest) => LastLook::Event(newest.event.recorded_at),
            None => LastLook::Never,
        },
    };
    Ok(RepositoryFacts::Present {
        baseline: baseline.map(|found| BaselineRef { commit: found.commit, path: found.path }),
        last_look,
    })
}

/// What `record` noted of its last look; none if it noted nothing.
fn noted_look(repository: &Repository, settings: &Settings) -> Option<LastLook> {
    #[derive(Deserialize)]
    struct Noted {
        time: DateTime<Utc>,
    }
    let path = Memory::path(repository, &settings.host);
    let noted = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice::<Noted>(&bytes).map_err(|error| error.to_string()),
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
    };
    Some(match noted {
        Ok(noted) => LastLook::At(noted.time),
        Err(reason) => LastLook::Unreadable { path, reason },
    })
}

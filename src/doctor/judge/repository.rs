//! The repository, and what runs `record`.

use super::span;
use crate::doctor::facts::{Facts, LastLook, RepositoryFacts, Schedule, ServiceManager};
use crate::doctor::finding::Finding;
use chrono::{DateTime, TimeDelta, Utc};

/// An older last look means that the schedule of five minutes is not kept.
const STALE: TimeDelta = TimeDelta::hours(1);
/// More than any adjustment of a running clock.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = repository(facts);
    findings.push(schedule(facts));
    findings
}

fn repository(facts: &Facts) -> Vec<Finding> {
    let repo = facts.repo.display();
    let (baseline, last_look) = match &facts.repository {
        RepositoryFacts::Missing => {
            let detail = format!("{repo} does not exist yet: nothing is approved, nothing recorded");
            return vec![Finding::warn("repository.state", detail).remedy("fwdrift init")];
        }
        RepositoryFacts::Unusable { reason, hint } => {
            let finding = Finding::fail("repository.state", format!("{repo} cannot be used: {reason}"));
            return vec![match hint {
                Some(hint) => finding.remedy(hint.clone()),
                None => finding,
            }];
        }
        RepositoryFacts::Present { baseline, last_look } => (baseline, last_look),
    };
    let host = &facts.host;
    let mut findings = vec![Finding::ok("repository.state", repo.to_string())];
    findings.push(match baseline {
        Some(baseline) => {
            let commit: String = baseline.commit.chars().take(12).collect();
            Finding::ok("repository.baseline", format!("{} at {commit}", baseline.path))
        }
        None => Finding::warn("repository.baseline", format!("no approved baseline for {host}"))
            .remedy("fwdrift init"),
    });
    findings.push(looked(last_look, facts.now));
    findings
}

fn looked(last: &LastLook, now: DateTime<Utc>) -> Finding {
    let name = "repository.last_look";
    let (time, detail) = match last {
        LastLook::Never => {
            return Finding::warn(name, "nothing was ever recorded").remedy("fwdrift record");
        }
        LastLook::Unreadable { path, reason } => {
            let detail = format!("{} cannot be read: {reason}", path.display());
            return Finding::warn(name, detail).remedy("fwdrift record # writes it anew");
        }
        LastLook::At(time) => (time, format!("the last look was {} ago", span(now - *time))),
        LastLook::Event(time) => {
            (time, format!("no look is noted; the last event was recorded {} ago", span(now - *time)))
        }
    };
    if *time > now + AHEAD {
        let detail = format!("the last look is {} in the future: was the clock set back?", span(*time - now));
        return Finding::warn(name, detail).remedy("timedatectl # is the clock right?");
    }
    if now - *time > STALE {
        Finding::warn(name, detail).remedy("fwdrift record")
    } else {
        Finding::ok(name, detail)
    }
}

fn schedule(facts: &Facts) -> Finding {
    let name = "schedule.record";
    let enable = "systemctl enable --now fwdrift-record.timer";
    match &facts.schedule {
        Schedule::Timer { enabled: true, active: true } => {
            Finding::ok(name, "fwdrift-record.timer is enabled and active")
        }
        Schedule::Timer { enabled: true, active: false } => {
            Finding::warn(name, "fwdrift-record.timer is enabled, but not active").remedy(enable)
        }
        Schedule::Timer { enabled: false, active: true } => {
            Finding::warn(name, "fwdrift-record.timer is active, but will not start at the next boot")
                .remedy(enable)
        }
        Schedule::Timer { enabled: false, active: false } => {
            Finding::warn(name, "fwdrift-record.timer is installed, but not enabled").remedy(enable)
        }
        Schedule::TimerUnknown(reason) => Finding::warn(name, format!("systemd cannot be asked: {reason}")),
        Schedule::Cron(path) => Finding::ok(name, format!("{} is there", path.display())),
        Schedule::Nothing => Finding::warn(name, "nothing runs `fwdrift record` regularly").remedy(
            match facts.service_manager {
                ServiceManager::Systemd => {
                    "install -m 0644 systemd/fwdrift-record.* /etc/systemd/system/ # from fwdrift's sources\n\
                     systemctl daemon-reload && systemctl enable --now fwdrift-record.timer"
                }
                ServiceManager::OpenRc | ServiceManager::Other => {
                    "install -m 0644 systemd/fwdrift.cron /etc/cron.d/fwdrift # from fwdrift's sources"
                }
            },
        ),
    }
}

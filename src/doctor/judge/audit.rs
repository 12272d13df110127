//! Whether audit will name the author of the next change.
//!
//! Nothing here fails: without audit fwdrift still finds every change, its author stays unknown.

use super::{plural, span};
use crate::doctor::distribution::Package;
use crate::doctor::facts::{
    AuditFacts, AuditLog, AuditState, Facts, JournalRecords, JournaldAudit, Login, ServiceManager,
};
use crate::doctor::finding::Finding;
use crate::report::escape::shell_word;
use std::path::Path;

/// What auditd's own documentation advises for a busy host (auditctl(8), `-b`).
const USUAL_BACKLOG: u32 = 8192;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &facts.audit {
        AuditFacts::NotCompiledIn => {
            findings.push(
                Finding::warn("audit.kernel", "this kernel has no audit: who made a change stays unknown")
                    .remedy("boot a kernel with CONFIG_AUDIT=y and CONFIG_AUDITSYSCALL=y"),
            );
            return findings;
        }
        AuditFacts::Unknown { reason } => {
            let finding =
                Finding::warn("audit.kernel", format!("cannot ask the kernel about audit: {reason}"));
            findings.push(finding.remedy("sudo fwdrift doctor"));
            findings.push(task_rule(None, 0, facts));
        }
        AuditFacts::Known(state) => {
            findings.push(Finding::ok("audit.kernel", "the kernel has audit"));
            findings.push(enabled(state, facts));
            findings.push(daemon(state, facts));
            findings.extend(facts.audit_files.journald.as_ref().map(journald));
            findings.push(task_rule(state.never_task, state.enabled, facts));
            findings.push(lost(state, facts));
        }
    }
    findings.push(log(facts));
    findings.extend(netfilter_records(facts));
    findings.push(login(facts));
    findings
}

fn enabled(state: &AuditState, facts: &Facts) -> Finding {
    let name = "audit.enabled";
    match state.enabled {
        0 => {
            let finding = Finding::warn(
                name,
                "auditing is off: who makes a change stays unknown. Once it is on, sessions and services \
                 started before must be started again to be named",
            );
            // auditd turns auditing on when it starts (auditd(8), -s).
            finding.remedy(if state.daemon_pid == 0 {
                start_auditd(facts)
            } else {
                with_auditctl(
                    facts,
                    "auditctl -e 1\n\
                     grep -rn -e '-e 0' /etc/audit/rules.d # delete that line, else the next boot turns it off",
                )
            })
        }
        2 => Finding::ok(name, "auditing is on, its rules are locked until the next boot"),
        _ => Finding::ok(name, "auditing is on"),
    }
}

fn daemon(state: &AuditState, facts: &Facts) -> Finding {
    let name = "audit.daemon";
    match (state.daemon_pid, &facts.audit_files.journal) {
        (0, JournalRecords::Last(_)) => Finding::ok(name, "no audit daemon; the journal keeps the records"),
        (0, JournalRecords::NotAsked | JournalRecords::Failed(_) | JournalRecords::None) => {
            Finding::warn(name, "no audit daemon: nothing keeps the records").remedy(start_auditd(facts))
        }
        (pid, _) => Finding::ok(name, format!("an audit daemon is running (pid {pid})")),
    }
}

fn journald(journald: &JournaldAudit) -> Finding {
    let name = "audit.journald";
    match journald {
        JournaldAudit::TurnsOn => Finding::ok(name, "journald turns auditing on when it starts"),
        JournaldAudit::Leaves => Finding::ok(name, "journald leaves auditing as it is"),
        JournaldAudit::TurnsOff { said_in } => Finding::warn(
            name,
            format!(
                "journald turns auditing off whenever it starts, also under auditd (Audit=no, {})",
                said_in.display()
            ),
        )
        .remedy(
            "mkdir -p /etc/systemd/journald.conf.d\n\
             printf '[Journal]\\nAudit=yes\\n' > /etc/systemd/journald.conf.d/zz-fwdrift.conf\n\
             systemctl restart systemd-journald",
        ),
    }
}

fn start_auditd(facts: &Facts) -> String {
    let start = match facts.service_manager {
        ServiceManager::Systemd => "systemctl enable --now auditd",
        ServiceManager::OpenRc => "rc-update add auditd default && rc-service auditd start",
        ServiceManager::Other => "auditd # and have it started at boot",
    };
    with_auditctl(facts, start)
}

fn with_auditctl(facts: &Facts, commands: &str) -> String {
    if facts.audit_files.auditctl {
        commands.to_owned()
    } else {
        format!("{}\n{commands}", facts.distribution.install(Package::Audit))
    }
}

fn task_rule(loaded: Option<bool>, enabled: u32, facts: &Facts) -> Finding {
    let name = "audit.task_rule";
    let files = &facts.audit_files.never_task_in;
    let listed: Vec<String> = files.iter().map(|path| shell_path(path)).collect();
    match (loaded, files.is_empty()) {
        (Some(false), true) => Finding::ok(name, "no rule `-a never,task`"),
        (None, true) => Finding::warn(name, "the audit rules cannot be listed")
            .remedy(with_auditctl(facts, "sudo auditctl -l")),
        (Some(true), true) => Finding::warn(
            name,
            "the rule `-a never,task` is loaded: records name no login. No file under /etc/audit has it",
        )
        .remedy(with_auditctl(facts, &now_and_later(enabled, String::new()))),
        (Some(true), false) => Finding::warn(
            name,
            format!("the rule `-a never,task` is loaded, from {}: records name no login", listed.join(", ")),
        )
        .remedy(with_auditctl(facts, &now_and_later(enabled, mend_files(&listed, facts)))),
        (Some(false) | None, false) => Finding::warn(
            name,
            format!("the rule `-a never,task` is in {}: the next boot loads it", listed.join(", ")),
        )
        .remedy(mend_files(&listed, facts)),
    }
}

fn now_and_later(enabled: u32, files: String) -> String {
    // `enabled 2` refuses every change of rules until the next boot (auditctl(8), -e).
    let lines = if enabled == 2 {
        [files.as_str(), "reboot # the rules are locked"]
    } else {
        ["auditctl -d never,task", files.as_str()]
    };
    let given: Vec<&str> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    format!("{}\n# then log in again: sessions begun under the rule stay unnamed", given.join("\n"))
}

fn mend_files(files: &[String], facts: &Facts) -> String {
    let load =
        if facts.audit_files.augenrules { "augenrules --load" } else { "auditctl -R /etc/audit/audit.rules" };
    format!(
        r"sed -i -E 's/^[[:space:]]*-[aA][[:space:]]+(never,task|task,never)/#&/' {}
{load}",
        files.join(" ")
    )
}

/// The advice is pasted into a shell. A name that cannot be shown as it is, is within the pattern.
fn shell_path(path: &Path) -> String {
    path.to_str().and_then(shell_word).unwrap_or_else(|| "/etc/audit/rules.d/*.rules".to_owned())
}

fn lost(state: &AuditState, facts: &Facts) -> Finding {
    let name = "audit.lost";
    if state.lost == 0 {
        return Finding::ok(name, "no record was lost since boot");
    }
    let wanted = state.backlog_limit.saturating_mul(2).max(USUAL_BACKLOG);
    let (count, s) = (state.lost, plural(state.lost == 1));
    Finding::warn(name, format!("{count} record{s} lost since boot: some authors may stay unknown"))
        .remedy(with_auditctl(facts, &format!("auditctl -b {wanted}\nauditctl --reset-lost")))
}

fn log(facts: &Facts) -> Finding {
    let name = "audit.log";
    match &facts.audit_files.log {
        AuditLog::Readable { path, .. } => Finding::ok(name, format!("{} can be read", path.display())),
        AuditLog::Unreadable { path, reason } => {
            Finding::warn(name, format!("{} cannot be read: {reason}", path.display()))
                .remedy("sudo fwdrift doctor")
        }
        AuditLog::Missing { path } => match &facts.audit_files.journal {
            JournalRecords::Last(_) => {
                Finding::ok(name, format!("no {}; the journal has audit records and is read", path.display()))
            }
            JournalRecords::Failed(reason) => Finding::warn(
                name,
                format!("no {}, and the journal cannot be read: {reason}", path.display()),
            ),
            JournalRecords::NotAsked | JournalRecords::None => Finding::warn(
                name,
                format!("no {}: earlier changes cannot be joined with a person", path.display()),
            )
            .remedy(start_auditd(facts)),
        },
    }
}

fn netfilter_records(facts: &Facts) -> Option<Finding> {
    let name = "audit.netfilter_records";
    let last = match (&facts.audit_files.log, &facts.audit_files.journal) {
        (AuditLog::Readable { last_netfilter_cfg, .. }, _) => *last_netfilter_cfg,
        (AuditLog::Missing { .. }, JournalRecords::Last(time)) => Some(*time),
        (AuditLog::Missing { .. }, JournalRecords::None) => None,
        (AuditLog::Missing { .. } | AuditLog::Unreadable { .. }, _) => return None,
    };
    Some(match last {
        Some(time) => {
            Finding::ok(name, format!("the last firewall change was recorded {} ago", span(facts.now - time)))
        }
        None => Finding::info(name, "no firewall change is in the newest records"),
    })
}

fn login(facts: &Facts) -> Finding {
    let name = "audit.login";
    match facts.process.login {
        Login::Uid(uid) => Finding::ok(name, format!("this session's login is uid {uid}, and survives sudo")),
        Login::Unset if facts.process.interactive => Finding::warn(
            name,
            "this session has no login uid: what is changed from it will name nobody",
        )
        .remedy(
            "grep -rn pam_loginuid /etc/pam.d # sshd, login and cron need: session required pam_loginuid.so",
        ),
        Login::Unset => Finding::info(name, "no login is behind this process, as usual for services"),
        Login::Absent => Finding::warn(name, "the kernel keeps no login uid"),
    }
}

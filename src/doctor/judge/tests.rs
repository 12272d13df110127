use super::{judge, span};
use crate::doctor::facts::*;
use crate::doctor::finding::{Finding, Status, exit_code};
use crate::doctor::{Distribution, Manager};
use crate::model::BaselineRef;
use crate::notify::{Position, SinkStatus};
use chrono::{DateTime, TimeDelta, Utc};
use std::path::PathBuf;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// A host on which everything is as it should be.
fn healthy() -> Facts {
    Facts {
        now: now(),
        host: "web-01".to_owned(),
        repo: PathBuf::from("/var/lib/fwdrift/repo"),
        distribution: Distribution { manager: Manager::Apt, name: "Debian".to_owned() },
        service_manager: ServiceManager::Systemd,
        process: ProcessFacts {
            euid: 0,
            effective: u64::MAX,
            user_namespace: false,
            login: Login::Uid(1000),
            interactive: true,
        },
        kernel_release: "6.1.0-18-amd64".to_owned(),
        scratch_namespace: Ok(()),
        sources: SourceFacts {
            nft: Ok(vec![NftTable { family: "inet".to_owned(), name: "filter".to_owned() }]),
            ip_legacy: Ok(vec![]),
            ip6_legacy: Ok(vec![]),
            arp_legacy: Ok(vec![]),
            ebtables_modules: vec![],
            ipset: IpsetFacts::NotLoaded,
        },
        tools: Tool::ALL
            .map(|tool| ToolFacts {
                tool,
                state: ToolState::Found {
                    path: PathBuf::from("/usr/sbin").join(tool.program()),
                    version: Some("v1".to_owned()),
                },
            })
            .into(),
        audit: AuditFacts::Known(audit()),
        audit_files: AuditFiles {
            auditctl: true,
            augenrules: true,
            never_task_in: vec![],
            log: AuditLog::Readable {
                path: PathBuf::from("/var/log/audit/audit.log"),
                last_netfilter_cfg: Some(now() - TimeDelta::hours(30)),
            },
            journal: JournalRecords::NotAsked,
            journald: Some(JournaldAudit::Leaves),
        },
        repository: RepositoryFacts::Present {
            baseline: Some(BaselineRef {
                commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
                path: "baselines/web-01".to_owned(),
            }),
            last_look: LastLook::At(now() - TimeDelta::minutes(4)),
        },
        schedule: Schedule::Timer { enabled: true, active: true },
        alerts: vec![SinkStatus {
            name: "textfile".to_owned(),
            waiting: 0,
            position: None,
            exposed: false,
            problems: vec![],
        }],
    }
}

fn audit() -> AuditState {
    AuditState { enabled: 1, daemon_pid: 700, lost: 0, backlog_limit: 8192, never_task: Some(false) }
}

fn with(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts)
}

/// The one finding of that name, as `status: detail | remedy`.
fn said(findings: &[Finding], name: &str) -> String {
    let named: Vec<_> = findings.iter().filter(|finding| finding.name == name).collect();
    let [finding] = named[..] else { panic!("{} findings {name}", named.len()) };
    match &finding.remedy {
        Some(remedy) => format!("{}: {} | {remedy}", finding.status.as_str(), finding.detail),
        None => format!("{}: {}", finding.status.as_str(), finding.detail),
    }
}

fn remove(facts: &mut Facts, tool: Tool) {
    for found in &mut facts.tools {
        if found.tool == tool {
            found.state = ToolState::Missing;
        }
    }
}

#[test]
fn a_healthy_host_has_nothing_to_mend() {
    let findings = judge(&healthy());
    let other: Vec<_> = findings.iter().filter(|finding| finding.status != Status::Ok).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn names_are_unique_and_areas_stay_together() {
    let findings = judge(&healthy());
    let mut names: Vec<_> = findings.iter().map(|finding| finding.name).collect();
    let mut areas: Vec<_> = names.iter().map(|name| name.split_once('.').unwrap().0).collect();
    areas.dedup();
    assert_eq!(
        areas,
        ["privileges", "kernel", "tools", "sources", "audit", "repository", "schedule", "alerts"]
    );
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn a_missing_capability_fails_only_where_nothing_works_without_it() {
    let findings = with(|facts| {
        facts.process.euid = 1000;
        facts.process.effective = 1 << 21;
    });
    assert_eq!(
        said(&findings, "privileges.cap_net_admin"),
        "fail: CAP_NET_ADMIN is missing: cannot read the firewall | sudo fwdrift doctor"
    );
    assert!(said(&findings, "privileges.cap_sys_admin").starts_with("ok: "));
    assert!(said(&findings, "privileges.cap_audit_control").starts_with("warn: "));
    assert_eq!(exit_code(&findings), 2);
}

#[test]
fn kernels_from_5_10_on_will_do() {
    let release = |text: &str| {
        said(&with(|facts| facts.kernel_release = text.to_owned()), "kernel.release")
            .split(':')
            .next()
            .unwrap()
            .to_owned()
    };
    for (text, expect) in [
        ("5.10.0-28-amd64", "ok"),
        ("6.18.44", "ok"),
        ("10.0.1", "ok"),
        ("5.9.16", "fail"),
        ("4.18.0-553.el8_10.x86_64", "fail"),
        ("strange", "warn"),
    ] {
        assert_eq!(release(text), expect, "{text}");
    }
}

#[test]
fn nft_is_needed_everywhere() {
    let findings = with(|facts| {
        remove(facts, Tool::Nft);
        facts.sources.nft = Err("nft is not installed".to_owned());
    });
    assert_eq!(said(&findings, "tools.nft"), "fail: not found; fwdrift needs it | apt-get install nftables");
    assert_eq!(exit_code(&findings), 2);
}

#[test]
fn the_legacy_tools_are_needed_only_where_the_kernel_holds_legacy_tables() {
    let without = with(|facts| remove(facts, Tool::IptablesLegacySave));
    assert!(said(&without, "tools.iptables-legacy-save").starts_with("info: "));
    assert_eq!(exit_code(&without), 0);

    let with_tables = with(|facts| {
        remove(facts, Tool::IptablesLegacySave);
        facts.sources.ip_legacy = Ok(vec!["filter".to_owned()]);
        facts.distribution.manager = Manager::Dnf;
    });
    assert!(said(&with_tables, "tools.iptables-legacy-save").ends_with("| dnf install iptables-legacy"));
    assert_eq!(exit_code(&with_tables), 2);
}

#[test]
fn legacy_tables_that_could_not_be_listed_are_not_taken_for_none() {
    let findings = with(|facts| {
        remove(facts, Tool::Ip6tablesLegacySave);
        facts.sources.ip6_legacy = Err("permission denied".to_owned());
    });
    assert!(said(&findings, "tools.ip6tables-legacy-save").starts_with("fail: "));
    assert!(said(&findings, "sources.ip6tables_legacy").starts_with("warn: "));
}

#[test]
fn what_is_not_compared_yet_is_said_plainly() {
    let findings = with(|facts| {
        facts.sources.ipset = IpsetFacts::Loaded(Ok((1..=7).map(|n| format!("s{n}")).collect()));
        facts.sources.ebtables_modules = vec!["ebtable_filter".to_owned()];
        facts.sources.arp_legacy = Ok(vec!["filter".to_owned()]);
    });
    let text = said(&findings, "sources.ebtables_legacy");
    assert!(text.starts_with("warn: ebtables-legacy may hold rules (ebtable_filter loaded)"), "{text}");
    let text = said(&findings, "sources.arptables_legacy");
    assert_eq!(text, "ok: filter; compared through arptables-legacy");
    assert_eq!(said(&findings, "sources.ipset"), "ok: 7 sets (s1, s2, s3, s4, s5, …); compared");
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn tables_are_counted_by_family() {
    let table = |family: &str| NftTable { family: family.to_owned(), name: "t".to_owned() };
    let findings = with(|facts| facts.sources.nft = Ok(vec![table("ip"), table("inet"), table("ip")]));
    assert_eq!(said(&findings, "sources.nf_tables"), "ok: 3 tables (1 inet, 2 ip); compared");
}

#[test]
fn auditing_that_is_off_is_mended_by_what_is_missing_for_it() {
    let off = |facts: &mut Facts, daemon_pid| {
        facts.audit = AuditFacts::Known(AuditState { enabled: 0, daemon_pid, ..audit() });
    };
    let bare = with(|facts| {
        off(facts, 0);
        facts.audit_files.auditctl = false;
    });
    let remedy = "| apt-get install auditd\nsystemctl enable --now auditd";
    assert!(said(&bare, "audit.enabled").ends_with(remedy));
    assert!(said(&bare, "audit.daemon").ends_with(remedy));
    assert_eq!(exit_code(&bare), 0, "without audit fwdrift still finds every change");

    let running = with(|facts| off(facts, 700));
    assert!(said(&running, "audit.enabled").contains("| auditctl -e 1\n"));

    let alpine = with(|facts| {
        off(facts, 0);
        facts.service_manager = ServiceManager::OpenRc;
        facts.distribution.manager = Manager::Apk;
        facts.audit_files.auditctl = false;
    });
    assert!(said(&alpine, "audit.daemon").contains("| apk add audit\nrc-update add auditd default"));
}

#[test]
fn the_never_task_rule_is_taken_out_of_the_kernel_and_out_of_its_file() {
    let findings = with(|facts| {
        facts.audit = AuditFacts::Known(AuditState { never_task: Some(true), ..audit() });
        facts.audit_files.never_task_in = vec![PathBuf::from("/etc/audit/rules.d/audit.rules")];
    });
    assert_eq!(
        said(&findings, "audit.task_rule"),
        "warn: the rule `-a never,task` is loaded, from /etc/audit/rules.d/audit.rules: records name no login \
         | auditctl -d never,task\n\
         sed -i -E 's/^[[:space:]]*-[aA][[:space:]]+(never,task|task,never)/#&/' /etc/audit/rules.d/audit.rules\n\
         augenrules --load\n\
         # then log in again: sessions begun under the rule stay unnamed"
    );
}

#[test]
fn locked_rules_need_a_reboot_after_the_file_is_mended() {
    let findings = with(|facts| {
        facts.audit = AuditFacts::Known(AuditState { enabled: 2, never_task: Some(true), ..audit() });
        facts.audit_files.never_task_in = vec![PathBuf::from("/etc/audit/rules.d/a b.rules")];
    });
    let text = said(&findings, "audit.task_rule");
    assert!(!text.contains("auditctl -d"), "{text}");
    assert!(text.find("'/etc/audit/rules.d/a b.rules'").unwrap() < text.find("reboot").unwrap(), "{text}");
}

#[test]
fn a_rule_that_waits_in_a_file_is_told_before_it_bites() {
    let findings =
        with(|facts| facts.audit_files.never_task_in = vec![PathBuf::from("/etc/audit/rules.d/audit.rules")]);
    assert!(said(&findings, "audit.task_rule").contains("the next boot loads it"));
}

#[test]
fn lost_records_ask_for_a_longer_queue() {
    let findings = with(|facts| {
        facts.audit = AuditFacts::Known(AuditState { lost: 3, backlog_limit: 64, ..audit() });
    });
    assert_eq!(
        said(&findings, "audit.lost"),
        "warn: 3 records lost since boot: some authors may stay unknown | auditctl -b 8192\nauditctl --reset-lost"
    );
}

#[test]
fn a_kernel_without_audit_is_told_once() {
    let findings = with(|facts| facts.audit = AuditFacts::NotCompiledIn);
    assert_eq!(findings.iter().filter(|finding| finding.name.starts_with("audit.")).count(), 1);
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn the_journal_stands_in_for_a_missing_log() {
    let missing = |journal| {
        with(|facts| {
            facts.audit_files.log = AuditLog::Missing { path: PathBuf::from("/var/log/audit/audit.log") };
            facts.audit_files.journal = journal;
        })
    };
    let last = missing(JournalRecords::Last(now() - TimeDelta::days(2)));
    assert!(said(&last, "audit.log").starts_with("ok: "));
    assert!(said(&last, "audit.netfilter_records").contains("2 days ago"));
    let none = missing(JournalRecords::None);
    assert!(said(&none, "audit.log").starts_with("warn: "));
    assert!(said(&none, "audit.netfilter_records").starts_with("info: "));
}

#[test]
fn a_missing_login_matters_at_a_terminal_only() {
    let login = |interactive| {
        said(
            &with(|facts| {
                facts.process.login = Login::Unset;
                facts.process.interactive = interactive;
            }),
            "audit.login",
        )
    };
    assert!(login(true).starts_with("warn: "));
    assert!(login(false).starts_with("info: "));
}

#[test]
fn a_host_before_init_is_ready_and_a_broken_repository_is_not() {
    let fresh = with(|facts| facts.repository = RepositoryFacts::Missing);
    assert!(said(&fresh, "repository.state").ends_with("| fwdrift init"));
    assert_eq!(exit_code(&fresh), 0);
    let broken = with(|facts| {
        facts.repository = RepositoryFacts::Unusable {
            reason: "it is owned by uid 1000".to_owned(),
            hint: Some("chown".to_owned()),
        };
    });
    assert_eq!(
        said(&broken, "repository.state"),
        "fail: /var/lib/fwdrift/repo cannot be used: it is owned by uid 1000 | chown"
    );
    assert_eq!(exit_code(&broken), 2);
}

#[test]
fn an_old_last_look_and_a_sleeping_timer_are_told() {
    let findings = with(|facts| {
        facts.repository = RepositoryFacts::Present {
            baseline: None,
            last_look: LastLook::At(now() - TimeDelta::hours(26)),
        };
        facts.schedule = Schedule::Timer { enabled: false, active: false };
    });
    assert_eq!(
        said(&findings, "repository.baseline"),
        "warn: no approved baseline for web-01 | fwdrift init"
    );
    assert_eq!(said(&findings, "repository.last_look"), "warn: the last look was 1 day ago | fwdrift record");
    assert!(said(&findings, "schedule.record").ends_with("| systemctl enable --now fwdrift-record.timer"));
}

#[test]
fn a_look_that_is_not_noted_or_not_readable_or_in_the_future_is_told() {
    let look = |last_look| {
        let findings = with(|facts| {
            facts.repository = RepositoryFacts::Present { baseline: None, last_look };
        });
        said(&findings, "repository.last_look")
    };
    assert_eq!(
        look(LastLook::Event(now() - TimeDelta::minutes(2))),
        "ok: no look is noted; the last event was recorded 2 minutes ago"
    );
    let path = PathBuf::from("/r/.git/fwdrift/look-web-01.json");
    assert_eq!(
        look(LastLook::Unreadable { path, reason: "torn".to_owned() }),
        "warn: /r/.git/fwdrift/look-web-01.json cannot be read: torn | fwdrift record # writes it anew"
    );
    assert!(look(LastLook::At(now() + TimeDelta::hours(3))).contains("3 hours in the future"));
    assert!(look(LastLook::At(now() + TimeDelta::seconds(2))).starts_with("ok: "));
    assert!(look(LastLook::Never).starts_with("warn: "));
}

#[test]
fn a_journald_that_turns_auditing_off_is_told_with_what_mends_it() {
    let said_in = PathBuf::from("/etc/systemd/journald.conf");
    let findings = with(|facts| {
        facts.audit_files.journald = Some(JournaldAudit::TurnsOff { said_in });
    });
    assert_eq!(
        said(&findings, "audit.journald"),
        "warn: journald turns auditing off whenever it starts, also under auditd (Audit=no, \
         /etc/systemd/journald.conf) | mkdir -p /etc/systemd/journald.conf.d\n\
         printf '[Journal]\\nAudit=yes\\n' > /etc/systemd/journald.conf.d/zz-fwdrift.conf\n\
         systemctl restart systemd-journald"
    );
    let without = with(|facts| facts.audit_files.journald = None);
    assert!(without.iter().all(|finding| finding.name != "audit.journald"));
}

#[test]
fn spans_are_told_in_the_largest_unit_that_fits() {
    for (seconds, expect) in
        [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (86_400, "1 day")]
    {
        assert_eq!(span(TimeDelta::seconds(seconds)), expect);
    }
}

#[test]
fn root_without_a_capability_is_not_told_to_use_sudo() {
    let findings = with(|facts| facts.process.effective = 0);
    assert!(
        said(&findings, "privileges.cap_sys_admin")
            .ends_with("| give CAP_SYS_ADMIN to the container, or to the unit's CapabilityBoundingSet=")
    );
}

#[test]
fn rules_on_disk_are_told_even_where_the_kernel_cannot_be_asked() {
    let findings = with(|facts| {
        facts.audit = AuditFacts::Unknown { reason: "Operation not permitted".to_owned() };
        facts.audit_files.never_task_in = vec![PathBuf::from("/etc/audit/rules.d/audit.rules")];
    });
    assert!(said(&findings, "audit.task_rule").contains("the next boot loads it"));
}

#[test]
fn a_journal_that_keeps_the_records_needs_no_audit_daemon() {
    let findings = with(|facts| {
        facts.audit = AuditFacts::Known(AuditState { daemon_pid: 0, ..audit() });
        facts.audit_files.log = AuditLog::Missing { path: PathBuf::from("/var/log/audit/audit.log") };
        facts.audit_files.journal = JournalRecords::Last(now());
    });
    assert_eq!(said(&findings, "audit.daemon"), "ok: no audit daemon; the journal keeps the records");
}

#[test]
fn a_sink_that_gets_nothing_is_a_warning_with_its_reason() {
    let position = |failing: bool| Position {
        schema: String::new(),
        number: 3,
        delivered: 3,
        refused: 1,
        dropped: 0,
        last_success: Some(now() - TimeDelta::hours(2)),
        failing_since: failing.then(|| now() - TimeDelta::minutes(20)),
        last_error: failing.then(|| "connection refused".to_owned()),
    };
    let sink = |name: &str, position, problems: &[&str]| SinkStatus {
        name: name.to_owned(),
        waiting: 2,
        position,
        exposed: name == "mail",
        problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
    };
    let findings = with(|facts| {
        facts.alerts = vec![
            sink("webhook-chat", Some(position(true)), &[]),
            sink("mail", Some(position(false)), &["everybody can read it"]),
            sink("journald", None, &[]),
        ];
    });
    let found: Vec<(&str, Status, &str)> = findings
        .iter()
        .filter(|finding| finding.name.starts_with("alerts."))
        .map(|finding| (finding.name, finding.status, finding.detail.as_str()))
        .collect();
    let expect = [
        (
            "alerts.webhook",
            Status::Warn,
            "webhook-chat: failing since 20 minutes ago: connection refused; 2 waiting; last delivered 2 hours ago; 1 refused",
        ),
        (
            "alerts.mail",
            Status::Warn,
            "everybody can read it; 2 waiting; last delivered 2 hours ago; 1 refused; what is sent crosses a network unencrypted",
        ),
        ("alerts.journald", Status::Info, "nothing was queued yet: it begins with the next `fwdrift record`"),
    ];
    assert_eq!(found, expect);
}

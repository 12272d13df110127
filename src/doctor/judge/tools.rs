//! The programs that fwdrift runs: which are needed here depends on what the host uses.

use crate::doctor::distribution::Package;
use crate::doctor::facts::{AuditLog, Facts, IpsetFacts, NftTable, SourceFacts, Tool, ToolFacts, ToolState};
use crate::doctor::finding::Finding;

/// What a program's absence means on this host.
enum Need {
    /// Nothing works without.
    Always,
    /// What the host holds cannot be read or compared without.
    Here(&'static str),
    /// Something is told less well without.
    Better(&'static str),
    /// Nothing is lost without.
    Spare(&'static str),
}

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    facts.tools.iter().map(|found| judge_one(found, facts)).collect()
}

fn judge_one(found: &ToolFacts, facts: &Facts) -> Finding {
    let name = finding_name(found.tool);
    let need = need(found.tool, facts);
    match &found.state {
        ToolState::Found { path, version: Some(version) } => {
            Finding::ok(name, format!("{}, {version}", path.display()))
        }
        ToolState::Found { path, version: None } => Finding::ok(name, path.display().to_string()),
        ToolState::Broken { path, reason } => {
            let detail = format!("{} does not run: {reason}", path.display());
            match (need, package(found.tool)) {
                (Need::Always | Need::Here(_), Some(package)) => Finding::fail(name, detail)
                    .remedy(format!("{} # again", facts.distribution.install(package))),
                (Need::Always | Need::Here(_), None) => Finding::fail(name, detail),
                (Need::Better(_) | Need::Spare(_), _) => Finding::warn(name, detail),
            }
        }
        ToolState::Missing => missing(name, need, package(found.tool), facts),
    }
}

fn missing(name: &'static str, need: Need, package: Option<Package>, facts: &Facts) -> Finding {
    let finding = match need {
        Need::Always => Finding::fail(name, "not found; fwdrift needs it"),
        Need::Here(why) => Finding::fail(name, format!("not found; needed here: {why}")),
        Need::Better(why) => Finding::warn(name, format!("not found: {why}")),
        Need::Spare(why) => return Finding::info(name, format!("not found, not needed here: {why}")),
    };
    match package {
        Some(package) => finding.remedy(facts.distribution.install(package)),
        None => finding,
    }
}

fn need(tool: Tool, facts: &Facts) -> Need {
    let sources = &facts.sources;
    match tool {
        Tool::Nft => Need::Always,
        Tool::IptablesNftSave | Tool::IptablesNftRestore => iptables_nft(sources, "ip"),
        Tool::Ip6tablesNftSave | Tool::Ip6tablesNftRestore => iptables_nft(sources, "ip6"),
        Tool::IptablesLegacySave => legacy(!matches!(&sources.ip_legacy, Ok(names) if names.is_empty())),
        Tool::Ip6tablesLegacySave => legacy(!matches!(&sources.ip6_legacy, Ok(names) if names.is_empty())),
        Tool::Ipset => match &sources.ipset {
            IpsetFacts::Loaded(_) => {
                Need::Better("sets of ipset are compared, and cannot be shown or approved")
            }
            IpsetFacts::NotLoaded => Need::Spare("the kernel has no sets"),
        },
        Tool::Git => Need::Spare("fwdrift brings its own; people will want it to read the repository"),
        Tool::Journalctl => match facts.audit_files.log {
            AuditLog::Readable { .. } => Need::Spare("the audit log is read"),
            AuditLog::Missing { .. } | AuditLog::Unreadable { .. } => {
                Need::Better("audit records in the journal cannot be read")
            }
        },
        Tool::Getent => Need::Better("logins of LDAP and other directories are shown as numbers"),
    }
}

// Which program made a table is not written in it, so a table of this name may well be native.
fn iptables_nft(sources: &SourceFacts, family: &str) -> Need {
    const NAMES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
    let looks_like = |table: &NftTable| table.family == family && NAMES.contains(&table.name.as_str());
    match &sources.nft {
        Ok(tables) if tables.iter().any(looks_like) => {
            Need::Better("rules that iptables-nft made may have no exact text")
        }
        Ok(_) => Need::Spare("no table in the shape that iptables-nft makes"),
        Err(_) => Need::Better("it is needed if the host uses iptables-nft"),
    }
}

fn legacy(listed: bool) -> Need {
    if listed {
        Need::Here("the kernel holds iptables-legacy tables, or may")
    } else {
        Need::Spare("the kernel holds no iptables-legacy table")
    }
}

fn package(tool: Tool) -> Option<Package> {
    match tool {
        Tool::Nft => Some(Package::Nftables),
        Tool::IptablesNftSave
        | Tool::IptablesNftRestore
        | Tool::Ip6tablesNftSave
        | Tool::Ip6tablesNftRestore => Some(Package::IptablesNft),
        Tool::IptablesLegacySave | Tool::Ip6tablesLegacySave => Some(Package::IptablesLegacy),
        Tool::Ipset => Some(Package::Ipset),
        Tool::Git => Some(Package::Git),
        // Part of systemd: a host without it has no journal either.
        Tool::Journalctl => None,
        Tool::Getent => Some(Package::Getent),
    }
}

fn finding_name(tool: Tool) -> &'static str {
    match tool {
        Tool::Nft => "tools.nft",
        Tool::IptablesNftSave => "tools.iptables-nft-save",
        Tool::IptablesNftRestore => "tools.iptables-nft-restore",
        Tool::Ip6tablesNftSave => "tools.ip6tables-nft-save",
        Tool::Ip6tablesNftRestore => "tools.ip6tables-nft-restore",
        Tool::IptablesLegacySave => "tools.iptables-legacy-save",
        Tool::Ip6tablesLegacySave => "tools.ip6tables-legacy-save",
        Tool::Ipset => "tools.ipset",
        Tool::Git => "tools.git",
        Tool::Journalctl => "tools.journalctl",
        Tool::Getent => "tools.getent",
    }
}

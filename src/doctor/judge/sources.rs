//! What holds packet filter state here, and what of it fwdrift may not be able to compare.

use super::plural;
use crate::doctor::facts::{IpsetFacts, Listing, NftTable, SourceFacts};
use crate::doctor::finding::Finding;
use std::collections::BTreeMap;

pub(super) fn judge(sources: &SourceFacts) -> Vec<Finding> {
    vec![
        nf_tables(&sources.nft),
        legacy("sources.iptables_legacy", "iptables-legacy", &sources.ip_legacy),
        legacy("sources.ip6tables_legacy", "ip6tables-legacy", &sources.ip6_legacy),
        arptables(&sources.arp_legacy),
        ebtables(&sources.ebtables_modules),
        ipset(&sources.ipset),
    ]
}

fn nf_tables(tables: &Result<Vec<NftTable>, String>) -> Finding {
    let name = "sources.nf_tables";
    let tables = match tables {
        Err(reason) => return Finding::fail(name, format!("cannot be listed: {reason}")),
        Ok(tables) if tables.is_empty() => return Finding::ok(name, "no table; compared"),
        Ok(tables) => tables,
    };
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for table in tables {
        *families.entry(&table.family).or_default() += 1;
    }
    let counts: Vec<String> = families.iter().map(|(family, count)| format!("{count} {family}")).collect();
    let count = tables.len();
    Finding::ok(name, format!("{count} table{} ({}); compared", plural(count == 1), counts.join(", ")))
}

fn legacy(name: &'static str, program: &str, tables: &Listing) -> Finding {
    match tables {
        Err(reason) => Finding::warn(name, format!("{program}: {reason}")),
        Ok(tables) if tables.is_empty() => Finding::ok(name, "no table"),
        Ok(tables) => Finding::ok(name, format!("{}; compared through {program}-save", tables.join(", "))),
    }
}

fn arptables(tables: &Listing) -> Finding {
    let name = "sources.arptables_legacy";
    match tables {
        Err(reason) => Finding::warn(name, format!("arptables-legacy: {reason}")),
        Ok(tables) if tables.is_empty() => Finding::ok(name, "no table"),
        Ok(tables) => Finding::ok(name, format!("{}; compared through arptables-legacy", tables.join(", "))),
    }
}

fn ebtables(modules: &[String]) -> Finding {
    let name = "sources.ebtables_legacy";
    if modules.is_empty() {
        return Finding::ok(name, "no table module is loaded");
    }
    let loaded = modules.join(", ");
    let what = "its tables are compared before Linux 5.14, since when asking for one makes it: then `check` has a gap";
    Finding::warn(name, format!("ebtables-legacy may hold rules ({loaded} loaded): {what}"))
        .remedy("move the rules to nftables (table bridge)")
}

fn ipset(ipset: &IpsetFacts) -> Finding {
    let name = "sources.ipset";
    match ipset {
        IpsetFacts::NotLoaded => Finding::ok(name, "no set: the kernel module is not loaded"),
        // fwdrift itself asks the kernel.
        IpsetFacts::Loaded(Err(reason)) => Finding::ok(name, format!("not listed here: {reason}; compared")),
        IpsetFacts::Loaded(Ok(sets)) if sets.is_empty() => Finding::ok(name, "no set"),
        IpsetFacts::Loaded(Ok(sets)) => {
            const SHOWN: usize = 5;
            let mut names = sets.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            if sets.len() > SHOWN {
                names.push_str(", …");
            }
            let count = sets.len();
            Finding::ok(name, format!("{count} set{} ({names}); compared", plural(count == 1)))
        }
    }
}

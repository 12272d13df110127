//! ebtables-legacy: which of its tables may be read, and its listing as a save.
//!
//! The kernel names these tables nowhere. A table's module (`ebtable_filter` …) that is not loaded holds nothing.
//! Before Linux 5.15 a loaded module has its table in each namespace; since then (commit "netfilter: ebtables: do
//! not hook tables by default") a table is made in a namespace when it is first asked for, so that asking would
//! create it. What can be known then without asking: a module's use count is how many namespaces have rules in
//! its table (net/bridge/netfilter/ebtables.c `do_replace_finish`).

use crate::model::{Gap, Source};

/// What reading a table would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It exists.
    Harmless,
    /// It may not exist here, and would be made.
    Creates {
        /// Some namespace has rules in it; else at most a policy was set.
        may_hold_rules: bool,
    },
}

const TABLES: [&str; 3] = ["broute", "filter", "nat"];
/// A release that has the change only from vendors must not pass for an older one, hence not 5.15.
const MADE_ON_DEMAND: (u32, u32) = (5, 14);

/// The tables that this kernel has, and what reading them would do.
pub(super) fn tables() -> Vec<(String, Reading)> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    judge(&release, &text("/proc/modules"), &text(&format!("/lib/modules/{release}/modules.builtin")))
}

/// `modules` is /proc/modules (proc(5): name, size, use count, users, …); `builtin` lists files of what is part of
/// the kernel.
fn judge(release: &str, modules: &str, builtin: &str) -> Vec<(String, Reading)> {
    let in_each = version(release).is_some_and(|version| version < MADE_ON_DEMAND);
    let found = TABLES.into_iter().filter_map(|table| {
        let module = format!("ebtable_{table}");
        let mut loaded = modules.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let uses = match loaded.find(|words| words[0] == module) {
            // `-` where the kernel cannot unload modules, and so does not count.
            Some(words) => words.get(2).and_then(|count| count.parse::<u32>().ok()),
            None if builtin.contains(&format!("/{module}.ko")) => Some(0),
            None => return None,
        };
        let reading = match in_each {
            true => Reading::Harmless,
            false => Reading::Creates { may_hold_rules: uses != Some(0) },
        };
        Some((table.to_owned(), reading))
    });
    found.collect()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The gap of a table that is not read. A host whose legacy module is merely loaded is no cause for alarm.
pub(super) fn gap(table: &str, may_hold_rules: bool) -> Gap {
    let reason = match may_hold_rules {
        true => {
            format!("table bridge {table} of ebtables-legacy may hold rules here; reading it could create it")
        }
        false => {
            format!(
                "table bridge {table} of ebtables-legacy was not read, as that could create it: it has no rules, but maybe a policy"
            )
        }
    };
    let hint = match may_hold_rules {
        true => format!("move the rules to ebtables-nft, or remove them and run `rmmod ebtable_{table}`"),
        false => format!("where nothing uses it, run `rmmod ebtable_{table}`"),
    };
    Gap { source: Source::Ebtables.as_str().into(), reason, hint: Some(hint), blinds_verdict: may_hold_rules }
}

/// The listing of ebtables-legacy (`Bridge chain: INPUT, entries: 1, policy: ACCEPT`, then a rule a line) in the
/// format of ebtables-save.
pub(super) fn saved(table: &str, listing: &[u8]) -> Vec<u8> {
    let (mut heads, mut rules, mut chain) = (vec![format!("*{table}").into_bytes()], Vec::new(), Vec::new());
    for line in listing.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
        if let Some(rest) = line.strip_prefix(b"Bridge chain: ") {
            let text = String::from_utf8_lossy(rest);
            let (name, policy) = text.rsplit_once(", policy: ").unwrap_or((&text, "-"));
            chain = name.rsplit_once(", entries: ").map_or(name, |(name, _)| name).as_bytes().to_vec();
            heads.push([b":", &chain[..], b" ", policy.as_bytes()].concat());
        } else if !line.is_empty() && !line.starts_with(b"Bridge table: ") {
            rules.push([b"-A ", &chain[..], b" ", line].concat());
        }
    }
    heads.append(&mut rules);
    heads.push(Vec::new());
    heads.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOADED: &str = "ebtable_nat 16384 0 - Live 0xffffffffc0a4f000
ebtable_filter 16384 1 - Live 0xffffffffc0a4a000
ebtables 45056 2 ebtable_nat,ebtable_filter, Live 0xffffffffc0a39000
bridge 311296 1 br_netfilter, Live 0xffffffffc09d1000
";

    #[track_caller]
    fn check(release: &str, modules: &str, builtin: &str, expected: &[(&str, Reading)]) {
        let expected: Vec<_> =
            expected.iter().map(|(table, reading)| ((*table).to_owned(), *reading)).collect();
        assert_eq!(judge(release, modules, builtin), expected);
    }

    #[test]
    fn a_host_whose_ebtables_is_the_one_of_nf_tables_has_no_table_and_no_gap() {
        let modules = "nft_compat 20480 4 - Live 0x0\nx_tables 61440 1 nft_compat, Live 0x0\nnf_tables 303104 5 nft_compat, Live 0x0\n";
        check("6.1.0-18-amd64", modules, "kernel/net/bridge/bridge.ko\n", &[]);
        check("6.18.44", "", "", &[]);
    }

    #[test]
    fn an_older_kernel_has_the_tables_in_each_namespace_and_they_are_read() {
        let both = [("filter", Reading::Harmless), ("nat", Reading::Harmless)];
        check("5.10.0-28-amd64", LOADED, "", &both);
        check("4.18.0-513.el8.x86_64", LOADED, "", &both);
        check(
            "5.10.1",
            "",
            "kernel/net/bridge/netfilter/ebtable_broute.ko\n",
            &[("broute", Reading::Harmless)],
        );
    }

    #[test]
    fn a_newer_kernel_is_not_asked_and_a_table_in_use_is_a_gap_that_blinds() {
        let found = [
            ("filter", Reading::Creates { may_hold_rules: true }),
            ("nat", Reading::Creates { may_hold_rules: false }),
        ];
        check("6.1.0-18-amd64", LOADED, "", &found);
        check("5.14.0-427.el9.x86_64", LOADED, "", &found);
        check("unheard of", LOADED, "", &found);
        assert!(gap("filter", true).blinds_verdict && !gap("nat", false).blinds_verdict);
    }

    #[test]
    fn a_kernel_that_does_not_count_uses_may_hold_rules() {
        let modules = "ebtable_filter 16384 - - Live 0x0\n";
        check("6.1.0", modules, "", &[("filter", Reading::Creates { may_hold_rules: true })]);
    }

    #[test]
    fn a_listing_becomes_a_save() {
        let listing = b"Bridge table: filter\n\nBridge chain: INPUT, entries: 1, policy: ACCEPT\n-p IPv4 --ip-src 10.0.0.1 -j DROP \n\nBridge chain: own, entries: 0, policy: RETURN\n";
        let text = "*filter\n:INPUT ACCEPT\n:own RETURN\n-A INPUT -p IPv4 --ip-src 10.0.0.1 -j DROP\n";
        assert_eq!(String::from_utf8(saved("filter", listing)).unwrap(), text);
    }
}

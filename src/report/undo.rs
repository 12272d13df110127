//! The native way to put the approved state back, one piece at a time.
//!
//! Input: the changes and the baseline; output: commands for people. Three rules: no command may flush
//! a firewall by surprise, no text of a rule ever becomes part of a command (it may hold anything), and a
//! command that is pasted before its `N`, `RULE` or `FILE` was filled in fails and does nothing. A member of a set
//! of ipset is no rule: it becomes words for the shell, each quoted ([`ipset`]).

mod context;

use super::Options;
use super::escape::shell_word;
use super::wording::{count, short};
use crate::model::{BaselineRef, Change, ChangeKind, ObjectKind, Source};

mod ipset;

/// Different places (chains, sets, tables) for which commands are spelled out.
const PLACES: usize = 3;

const UNTYPABLE: &str = "a name here is not safe in a command: find its handle with nft -a list ruleset";

/// A command and a remark; either may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) command: String,
    pub(super) remark: String,
}

impl Step {
    /// Whether it takes text that is not shown beside it: rules and elements are, whole objects are not.
    pub(super) fn needs_file(&self) -> bool {
        self.command.ends_with(" FILE")
    }
}

fn step(command: String, remark: &str) -> Step {
    Step { command, remark: remark.to_owned() }
}

/// The commands for these changes, without repetition.
pub(super) fn steps(changes: &[Change], netns: Option<&str>) -> Vec<Step> {
    let prefix = match netns.map(|name| (name.contains('/'), shell_word(name))) {
        None => String::new(),
        Some((false, Some(name))) if is_of_process(&name) => {
            format!("nsenter -t {} -n ", name.strip_prefix("pid:").unwrap_or("PID"))
        }
        Some((false, Some(name))) => format!("ip netns exec {name} "),
        Some((true, Some(path))) => format!("nsenter --net={path} "),
        Some((_, None)) => return vec![step(String::new(), "the namespace's name cannot be typed as shown")],
    };
    let mut steps: Vec<Step> = vec![];
    let mut places: Vec<(&str, &str, Option<&str>, Option<&str>)> = vec![];
    let mut left_out = 0;
    for change in changes {
        let name = change.name.as_deref().filter(|_| change.chain.is_none());
        let place = (change.family.as_str(), change.table.as_str(), change.chain.as_deref(), name);
        if !places.contains(&place) {
            if places.len() == PLACES {
                left_out += 1;
                continue;
            }
            places.push(place);
        }
        for mut new in way(change) {
            if !new.command.is_empty() {
                new.command.insert_str(0, &prefix);
            }
            if !steps.contains(&new) {
                steps.push(new);
            }
        }
    }
    if left_out > 0 {
        steps.push(step(
            String::new(),
            &format!("likewise for {}", count(left_out, "other change", "other changes")),
        ));
    }
    steps
}

/// Whether `ip netns` does not know the namespace: it is asked for by a process, or has a container's or a unit's name.
/// `PID` is then that of a process in it.
fn is_of_process(name: &str) -> bool {
    let prefixes = ["pid:", "docker-", "podman-", "cri-", "lxc-", "machine-"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with(".service")
}

/// Where the approved texts are, in plain git.
pub(super) fn approved_files(baseline: &BaselineRef, options: &Options<'_>) -> Vec<Step> {
    let words = (shell_word(&options.repo.to_string_lossy()), shell_word(&baseline.path));
    let (Some(repo), Some(path)) = words else { return vec![] };
    let Some(commit) = shell_word(&short(&baseline.commit)) else { return vec![] };
    let git = format!("git -C {repo}");
    vec![
        step(format!("{git} ls-tree -r {commit} {path}/"), "the approved files"),
        step(format!("{git} show {commit}:FILE"), "one of them"),
    ]
}

fn way(change: &Change) -> Vec<Step> {
    match change.source {
        Source::Sysctl => return vec![context::setting(change)],
        Source::Bpf => return context::program(change),
        Source::Ipset => return ipset::way(change),
        _ => {}
    }
    let words = (name(&change.family), name(&change.table), change.chain.as_deref().map(name));
    let (Some(family), Some(table), chain @ (None | Some(Some(_)))) = words else {
        return vec![step(String::new(), UNTYPABLE)];
    };
    let chain = chain.flatten();
    let added_table = change.object == ObjectKind::Table && change.kind == ChangeKind::Added;
    match iptables_tool(change) {
        Some("arptables-legacy" | "ebtables-legacy") if added_table => {
            vec![step(String::new(), "a legacy table stays until a reboot; its rules can go one by one")]
        }
        Some(tool) if added_table && change.source == Source::IptablesLegacy => {
            vec![step(
                format!("{tool}-save -t {table}"),
                "a legacy table stays until a reboot; its rules can go one by one",
            )]
        }
        Some(tool) if !added_table => iptables_way(change, tool, table, chain),
        Some(_) | None => nft_way(change, &format!("{family} {table}"), chain),
    }
}

/// A name as nft's scanner takes it (`string` in its src/scanner.l), the only kind that is put into a
/// command. A table can be called `x; flush ruleset`, and a chain `--file=/tmp/x`: nft joins its arguments
/// and parses the whole as a script, so that no shell quoting would help.
fn name(name: &str) -> Option<&str> {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '.';
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    (name.starts_with(start) && name.chars().all(plain)).then_some(name)
}

/// The program that speaks for a table of iptables, arptables or ebtables; none for native tables.
fn iptables_tool(change: &Change) -> Option<&'static str> {
    match (change.source, change.family.as_str()) {
        (Source::IptablesNft, "ip") => Some("iptables-nft"),
        (Source::IptablesNft, "ip6") => Some("ip6tables-nft"),
        (Source::IptablesLegacy, "ip") => Some("iptables-legacy"),
        (Source::IptablesLegacy, "ip6") => Some("ip6tables-legacy"),
        (Source::Arptables, _) => Some(if change.legacy { "arptables-legacy" } else { "arptables-nft" }),
        (Source::Ebtables, _) => Some(if change.legacy { "ebtables-legacy" } else { "ebtables-nft" }),
        _ => None,
    }
}

fn nft_way(change: &Change, table: &str, chain: Option<&str>) -> Vec<Step> {
    let name = match change.name.as_deref().map(name) {
        Some(None) => return vec![step(String::new(), UNTYPABLE)],
        Some(Some(name)) => Some(name),
        None => None,
    };
    match (change.object, change.kind, chain, name) {
        (ObjectKind::Rule, kind, Some(chain), _) => nft_rule(kind, &format!("{table} {chain}")),
        (ObjectKind::Element, kind, _, Some(set)) => nft_element(kind, &format!("{table} {set}")),
        (ObjectKind::Table, ChangeKind::Added, ..) => {
            vec![step(format!("nft delete table {table}"), "the whole table, which is not approved")]
        }
        (ObjectKind::Chain, ChangeKind::Added, Some(chain), _) => {
            vec![step(
                format!("nft delete chain {table} {chain}"),
                "the chain with its rules; refused while it is jumped to",
            )]
        }
        (ObjectKind::Object, ChangeKind::Added, ..) | (_, ChangeKind::Added, _, None) => {
            vec![step(format!("nft -a list table {table}"), "find it there; nft has no name for it here")]
        }
        (object, ChangeKind::Added, _, Some(name)) => {
            vec![step(format!("nft delete {object} {table} {name}"), "refused while a rule uses it")]
        }
        (ObjectKind::Chain, ChangeKind::Modified, Some(chain), _) => match policy_alone(change) {
            Some(policy) => {
                vec![step(
                    format!("nft 'chain {table} {chain} {{ policy {policy}; }}'"),
                    "the approved policy",
                )]
            }
            None => vec![load_file()],
        },
        (_, ChangeKind::Removed | ChangeKind::Modified | ChangeKind::Moved, ..) => vec![load_file()],
    }
}

/// The approved policy, where nothing else of the chain's definition changed.
fn policy_alone(change: &Change) -> Option<&'static str> {
    let (before, after) = (change.before.as_deref()?, change.after.as_deref()?);
    let swap = |from: &str, to: &str| {
        let (from, to) = (format!("policy {from};"), format!("policy {to};"));
        before.matches(&from).count() == 1 && before.replace(&from, &to) == after
    };
    if swap("accept", "drop") {
        Some("accept")
    } else if swap("drop", "accept") {
        Some("drop")
    } else {
        None
    }
}

fn nft_rule(kind: ChangeKind, chain: &str) -> Vec<Step> {
    let list = step(format!("nft -a list chain {chain}"), "N: the rule's handle");
    let delete = format!("nft delete rule {chain} handle N");
    let insert = format!("nft insert rule {chain} handle N 'RULE'");
    let rest = match kind {
        ChangeKind::Added => vec![step(delete, "a + rule")],
        ChangeKind::Removed => vec![step(insert, "a - rule, before rule N")],
        ChangeKind::Modified => {
            vec![step(format!("nft replace rule {chain} handle N 'RULE'"), "RULE: the approved - line")]
        }
        ChangeKind::Moved => {
            vec![step(insert, "a copy of the → rule at its old place"), step(delete, "then the moved one")]
        }
    };
    [vec![list], rest].concat()
}

fn nft_element(kind: ChangeKind, set: &str) -> Vec<Step> {
    let delete = step(format!("nft delete element {set} '{{ … }}'"), "a + element, without its comment");
    let add = step(format!("nft add element {set} '{{ … }}'"), "a - element");
    match kind {
        ChangeKind::Added => vec![delete],
        ChangeKind::Removed => vec![add],
        ChangeKind::Modified | ChangeKind::Moved => vec![delete, add],
    }
}

fn load_file() -> Step {
    step(
        "nft --check -f FILE".to_owned(),
        "FILE: only the approved lines; without --check they are loaded beside what is there",
    )
}

fn iptables_way(change: &Change, tool: &str, table: &str, chain: Option<&str>) -> Vec<Step> {
    let restore = match change.source {
        // arptables-legacy has no restore that could be trusted, and neither arptables nor ebtables tests a file.
        Source::Arptables => {
            step(format!("{tool} -t {table} LINE"), "LINE: each approved line that begins with -A")
        }
        Source::Ebtables => step(
            format!("{tool}-restore --noflush"),
            "reads the approved lines; a chain declared with `:` is emptied first",
        ),
        _ => step(
            format!("{tool}-restore --noflush --test FILE"),
            "FILE: only the approved lines; loaded without --test, a chain declared with `:` is emptied first",
        ),
    };
    let Some(chain) = chain else { return vec![restore] };
    let is_ebtables = change.source == Source::Ebtables;
    let list = match is_ebtables {
        true => format!("{tool} -t {table} -L {chain} --Ln"),
        false => format!("{tool} -t {table} -n -L {chain} --line-numbers"),
    };
    let list = step(list, "N: the rule's number");
    let policy = step(format!("{tool} -t {table} -P {chain} POLICY"), "POLICY: as in the approved - line");
    let delete = format!("{tool} -t {table} -D {chain} N");
    let insert = format!("{tool} -t {table} -I {chain} N RULE");
    let is_policy = |text: &Option<String>| text.as_ref().is_some_and(|text| text.starts_with(':'));
    let rest = match (change.object, change.kind) {
        // The policy of a chain of one's own is a rule to the kernel.
        (ObjectKind::Rule, _) if is_ebtables && (is_policy(&change.before) || is_policy(&change.after)) => {
            return vec![step(
                policy.command,
                "POLICY: as in the approved - line, RETURN where there is none",
            )];
        }
        (ObjectKind::Rule, ChangeKind::Modified) if is_ebtables => {
            vec![step(delete, "the + rule"), step(insert, "the approved - rule, as number N")]
        }
        (ObjectKind::Rule, ChangeKind::Added) => vec![step(delete, "a + rule")],
        (ObjectKind::Rule, ChangeKind::Removed) => vec![step(insert, "a - rule, as number N")],
        (ObjectKind::Rule, ChangeKind::Modified) => {
            vec![step(format!("{tool} -t {table} -R {chain} N RULE"), "RULE: the approved - line")]
        }
        (ObjectKind::Rule, ChangeKind::Moved) => {
            vec![step(delete, "the moved → rule"), step(insert, "and back as number N")]
        }
        (ObjectKind::Chain, ChangeKind::Modified) => {
            return vec![policy];
        }
        (ObjectKind::Chain, ChangeKind::Added) => {
            return vec![step(
                format!("{tool} -t {table} -X {chain}"),
                "refused while it holds rules or is jumped to",
            )];
        }
        _ => return vec![restore],
    };
    [vec![list], rest].concat()
}

#[cfg(test)]
mod tests;

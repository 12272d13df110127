//! Two texts that say the same: what iptables' lines are in nft's words, and what has no order.

use crate::expect::Texts;
use crate::listing::{Listing, Object};
use fwdrift::model::{Change, Source};
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// The text of something in iptables' syntax, as nft lists what it loads to. The same text if it is in nft's
/// syntax already.
pub fn as_nft(change: &Change, text: &str, what: &Texts) -> String {
    let (family, table) = (change.family.as_str(), change.table.as_str());
    // By its syntax: a table whose shape is no longer iptables' is native, and what it was is not.
    let never = matches!(what, Texts::TableHead | Texts::SetHead(_) | Texts::Element(_));
    if never || change.source == Source::IptablesLegacy || !text.starts_with(['*', ':', '-']) {
        return text.to_owned();
    }
    let (program, family) = match family {
        "ip6" => ("ip6tables-nft-restore", "ip6"),
        "bridge" => ("ebtables-nft-restore", "bridge"),
        "arp" => ("arptables-nft-restore", "arp"),
        _ => ("iptables-nft-restore", "ip"),
    };
    let script = restorable(table, text);
    // These two know neither counters of chains nor an end.
    let script = match family {
        "bridge" | "arp" => script.replace(" [0:0]", "").replace("COMMIT\n", ""),
        _ => script,
    };
    let chain = text.strip_prefix(':').or(text.strip_prefix("-A ")).and_then(|rest| rest.split(' ').next());
    let listed = match listed_as(program, &script, &["-s", "-a", "list", "table", family, table]) {
        Ok(listed) => Listing::parse(&listed),
        Err(error) => return format!("{error}\n{script}"),
    };
    let Some(table) = listed.tables.first() else { return format!("nothing was loaded by\n{script}") };
    let is_it = |object: &&Object| object.kind == "chain" && Some(object.name.as_str()) == chain;
    let found = table.objects.iter().find(is_it);
    let rules =
        |chain: &Object| chain.rules.iter().map(|rule| rule.text.clone()).collect::<Vec<_>>().join("\n");
    match (what, found) {
        (Texts::Table | Texts::TableHead, _) | (_, None) => table.text.clone(),
        (Texts::Object(_) | Texts::SetHead(_) | Texts::Element(_), Some(chain)) => chain.text.clone(),
        (Texts::Head(_), Some(chain)) => chain.head.clone(),
        (Texts::Rule(_), Some(chain)) => rules(chain),
    }
}

thread_local! {
    /// Where this worker loads texts, one after the other.
    static SCRATCH: Netns = Netns::create().unwrap();
    static KNOWN: RefCell<HashMap<(String, String), Result<String, String>>> = RefCell::default();
}

/// What nft lists of a save that a program loads.
fn listed_as(program: &str, script: &str, args: &[&str]) -> Result<String, String> {
    let key = (format!("{program} {}", args.join(" ")), script.to_owned());
    if let Some(known) = KNOWN.with_borrow(|known| known.get(&key).cloned()) {
        return known;
    }
    let run = |tool: Tool| tool.run().map_err(|error| error.to_string());
    let list = || -> Result<String, String> {
        run(Tool::find("nft").unwrap().args(["flush", "ruleset"]))?;
        let mut script = script.to_owned();
        while let Err(error) = run(Tool::find(program).unwrap().input(script.clone().into_bytes())) {
            script = completed(program, &script, &error).ok_or(error)?;
        }
        let output = run(Tool::find("nft").unwrap().args(args.iter().copied()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let listed = SCRATCH.with(|netns| netns.run(list).unwrap());
    KNOWN.with_borrow_mut(|known| known.insert(key, listed.clone()));
    listed
}

/// The script with what an error says is missing: a chain that a rule jumps to, a set that it looks up.
fn completed(program: &str, script: &str, error: &str) -> Option<String> {
    let between = |start: &str, end: &str| error.split_once(start)?.1.split_once(end).map(|(name, _)| name);
    if let Some(chain) = between("Chain '", "' does not exist") {
        let (table, rest) = script.split_once('\n')?;
        let declared = format!(":{chain} - [0:0]\n");
        return (!script.contains(&declared)).then(|| format!("{table}\n{declared}{rest}"));
    }
    let family = if program.starts_with("ip6") { "inet6" } else { "inet" };
    let set = between("Set ", " doesn't exist")?;
    let args = ["create", set, "hash:ip", "family", family];
    Tool::find("ipset").ok()?.args(args).run().ok()?;
    Some(script.to_owned())
}

/// Lines of a save as a whole one, in which all that the rules are in and jump to is declared.
fn restorable(table: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with([':', '-'])).collect();
    let mut chains: BTreeSet<String> = BTreeSet::new();
    let mut declared: BTreeSet<&str> = BTreeSet::new();
    for line in lines.iter().filter_map(|line| line.strip_prefix(':')) {
        chains.insert(format!(":{line} [0:0]\n"));
        declared.extend(line.split(' ').next());
    }
    for line in lines.iter().filter(|line| line.starts_with('-')) {
        let names = ["-A ", " -j ", " -g "].map(|before| line.split_once(before)?.1.split(' ').next());
        for (number, name) in names.into_iter().enumerate().filter_map(|(n, name)| Some((n, name?))) {
            // Targets that are no chains are in capitals, as some chains are.
            let builtin = ["INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"].contains(&name);
            let capitals = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if (number == 0 || builtin || !capitals) && declared.insert(name) {
                chains.insert(format!(":{name} {} [0:0]\n", if builtin { "ACCEPT" } else { "-" }));
            }
        }
    }
    let rules: String = lines.iter().filter(|l| l.starts_with('-')).map(|line| format!("{line}\n")).collect();
    format!("*{table}\n{}{rules}COMMIT\n", chains.into_iter().collect::<String>())
}

/// A text without what means nothing in it: line breaks inside an object, and the order of the elements
/// between two braces (nft sorts them, but not always in the same way).
pub fn canonical(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    let mut rest = words.as_str();
    while let Some((before, inside)) = rest.split_once("{ ") {
        out += before;
        out += "{ ";
        rest = inside;
        let end = inside.find(['{', '}']).filter(|end| inside[*end..].starts_with('}'));
        if let Some(end) = end {
            let mut elements: Vec<&str> = inside[..end].trim_end().split(", ").collect();
            elements.sort_unstable();
            out += &elements.join(", ");
            out += " ";
            rest = &inside[end..];
        }
    }
    out + rest
}

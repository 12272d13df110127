//! iptables' own test suite (../shared/data/open/iptables-tests), rule by rule: how many of its extensions have a
//! model, and which are free.

use crate::support::{Host, Lowered};
use fwdrift::model::{Backend, Chain, Family, Name, Rule, Ruleset, Table, TableKey};
use fwdrift::netlink::nft::expr;
use fwdrift::normalise::expressions;
use fwdrift::traffic::space::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How often an extension was seen in a rule that is known, that depends on a free variable, or on an unknown one.
#[derive(Default)]
struct Count {
    modelled: usize,
    free: usize,
    unknown: usize,
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/open/iptables-tests");
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for release in ["1.8.11", "1.8.9"] {
        let folder = root.join(release).join("extensions");
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "t"));
        found.sort();
        files.extend(found.into_iter().filter(|path| seen.insert(path.file_name().unwrap().to_owned())));
    }
    files
}

fn programs(file: &Path) -> &'static [&'static str] {
    match file.file_name().unwrap().to_str().unwrap() {
        name if name.starts_with("libipt") => &["iptables-nft"],
        name if name.starts_with("libip6t") => &["ip6tables-nft"],
        name if name.starts_with("libxt") => &["iptables-nft", "ip6tables-nft"],
        name if name.starts_with("libebt") => &["ebtables-nft"],
        name if name.starts_with("libarpt") => &["arptables-nft"],
        _ => &["iptables-nft"],
    }
}

/// Words of a line, of which those in quotation marks have spaces.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            letter => word.push(letter),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Loads all rules of a file that its program takes. Returns how many did.
fn load(host: &Host, file: &Path, program: &str) -> usize {
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    let (mut table, mut chains, mut loaded) = ("filter".to_owned(), Vec::new(), 0);
    for line in text.lines() {
        if let Some(names) = line.strip_prefix(':') {
            chains = names.split(',').map(str::to_owned).collect();
        } else if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some((rule, rest)) = line.split_once(';')
            && rest.ends_with("OK")
            && !line.starts_with(['#', '@', '%', '^'])
        {
            for chain in chains.iter().take(1) {
                let mut args = vec!["-t".to_owned(), table.clone(), "-A".to_owned(), chain.clone()];
                args.extend(words(rule));
                loaded += usize::from(host.run(program, &args, None).is_ok());
            }
        }
    }
    loaded
}

/// The extensions of a rule.
fn extensions(rule: &Rule) -> Vec<String> {
    let found = expressions(&rule.attrs).filter_map(|expression| {
        let kind = expression.find(expr::NAME)?.string();
        let name = expression.find(expr::DATA)?.nested().find(expr::XT_NAME)?.string();
        let is_extension = [&b"match"[..], b"target"].contains(&kind);
        is_extension.then(|| String::from_utf8_lossy(&[kind, b" ", name].concat()).into_owned())
    });
    found.collect()
}

fn kind(family: Family, names: &[String]) -> Kind {
    match family {
        Family::Ip6 => Kind::Ip6,
        Family::Arp => Kind::Arp,
        Family::Bridge if names.iter().any(|name| name.ends_with(" arp") || name.ends_with(" arpreply")) => {
            Kind::Arp
        }
        Family::Bridge if names.iter().any(|name| name.ends_with(" ip6")) => Kind::Ip6,
        _ => Kind::Ip4,
    }
}

/// Lowers each rule by itself.
fn count(ruleset: &Ruleset, counts: &mut BTreeMap<String, Count>) {
    for (key, table) in &ruleset.tables {
        for (chain_name, chain) in &table.chains {
            for rule in &chain.rules {
                let names = extensions(rule);
                if names.is_empty() {
                    continue;
                }
                let mut alone = Ruleset::default();
                let chain = Chain { attrs: chain.attrs.clone(), rules: vec![rule.clone()] };
                let mut only = Table {
                    attrs: table.attrs.clone(),
                    anonymous: table.anonymous.clone(),
                    ..Table::default()
                };
                only.chains.insert(Name(chain_name.0.clone()), chain);
                alone.tables.insert(key.clone(), only);
                let beside = TableKey::of_all(Backend::Ipset);
                alone.tables.extend(ruleset.tables.get(&beside).map(|sets| (beside, sets.clone())));
                let lowered = Lowered::new(&alone, kind(key.family, &names));
                let free = lowered.free_words();
                for name in names {
                    let count = counts.entry(name.clone()).or_default();
                    if free.iter().any(|word| word.starts_with(&format!("xt {name} rev"))) {
                        count.unknown += 1;
                    } else if free.is_empty() {
                        count.modelled += 1;
                    } else {
                        count.free += 1;
                    }
                }
            }
        }
    }
}

#[test]
fn no_extension_of_iptables_own_tests_is_unknown_and_most_rules_have_a_model() {
    let mut counts = BTreeMap::new();
    let mut loaded = 0;
    for file in files() {
        for program in programs(&file) {
            let host = Host::new();
            let here = load(&host, &file, program);
            loaded += here;
            if here > 0 {
                count(&host.ruleset(), &mut counts);
            }
        }
    }
    let (modelled, free) = told(&counts, loaded);
    assert!(loaded > 700 && modelled > 2 * free, "{loaded} {modelled} {free}");
}

/// Prints the table. Nothing may be unknown in it. Returns how many have a model, and how many are free.
#[track_caller]
fn told(counts: &BTreeMap<String, Count>, loaded: usize) -> (usize, usize) {
    let sum = |of: fn(&Count) -> usize| counts.values().map(of).sum::<usize>();
    let (modelled, free, unknown) = (sum(|c| c.modelled), sum(|c| c.free), sum(|c| c.unknown));
    println!("{loaded} loaded; {modelled} extensions with a model, {free} free, {unknown} unknown");
    for (name, count) in counts {
        println!("{name}\t{}\t{}\t{}", count.modelled, count.free, count.unknown);
    }
    let unknown: Vec<&String> =
        counts.iter().filter(|(_, count)| count.unknown > 0).map(|(name, _)| name).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    (modelled, free)
}

#[test]
fn no_extension_of_rulesets_that_people_wrote_is_unknown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/open");
    let (mut counts, mut loaded) = (BTreeMap::new(), 0);
    for folder in ["real-world", "generated"] {
        let manifest = std::fs::read_to_string(root.join(folder).join("MANIFEST.ipt.tsv")).unwrap();
        for path in manifest.lines().skip(1).filter_map(|line| line.split('\t').next()) {
            let Ok(text) = std::fs::read(root.join(folder).join(path)) else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            for (program, family) in [("iptables-nft-restore", "inet"), ("ip6tables-nft-restore", "inet6")] {
                let host = Host::new();
                let words: Vec<&str> = text.split_whitespace().collect();
                let sets: BTreeSet<&str> = words
                    .windows(2)
                    .filter(|pair| pair[0].ends_with("-set") && pair[0].starts_with("--"))
                    .map(|pair| pair[1])
                    .collect();
                for set in sets {
                    let args = ["create", set, "hash:ip", "family", family].map(str::to_owned);
                    // Other words than those of ipset end like this, too.
                    let _ = host.run("ipset", &args, None);
                }
                if host.run(program, &[], Some(&text)).is_ok() {
                    loaded += 1;
                    count(&host.ruleset(), &mut counts);
                    break;
                }
            }
        }
    }
    let (modelled, free) = told(&counts, loaded);
    assert!(loaded > 100 && modelled > free, "{loaded} {modelled} {free}");
}

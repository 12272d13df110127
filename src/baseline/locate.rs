//! Where in a baseline's files a rule stands: for people, for `git blame`, for SARIF. Pure.
//!
//! Input: files and a rule by its table, chain and place; output: a path, and the line if that is certain. Files are not
//! parsed: a chain's block is followed by its braces, and a line is told only if the block holds as many rules as the
//! chain.

use super::layout::{Role, iptables_path, role, table_path};
use crate::model::{Backend, Files, Name, TableKey, text_from_kernel};

/// A place in a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file, relative to the baseline's directory.
    pub path: String,
    /// From 1; none if the file is known, and the line is not.
    pub line: Option<usize>,
}

/// A chain in a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatedChain {
    /// The file, relative to the baseline's directory.
    pub path: String,
    /// The line of its head, from 1.
    pub head: Option<usize>,
    /// The lines of its rules in order; empty if they are not certain.
    pub rules: Vec<usize>,
}

/// Where a chain that has `count` rules stands, with all its rules.
pub fn locate_chain(files: &Files, key: &TableKey, chain: &Name, count: usize) -> Option<LocatedChain> {
    let saved = [iptables_path(key.backend, key.family), iptables_path(Backend::NfTables, key.family)];
    let found = |path: &str, (head, rules): Block| {
        let rules = if rules.len() == count { rules } else { Vec::new() };
        LocatedChain { path: path.to_owned(), head, rules }
    };
    for path in
        saved.iter().filter(|_| key.backend == Backend::Legacy || !files.contains_key(&table_path(key)))
    {
        let Some(content) = files.get(path) else { continue };
        if let Some(block) = in_saved(&text_from_kernel(content), key, chain) {
            return Some(found(path, block));
        }
    }
    let (path, block) = in_any_nft(files, key, &["chain", &chain.to_string()])?;
    Some(found(path, block))
}

/// Where a set, map, object or flowtable of a table stands; `word` is how nft calls it.
pub fn locate_named(files: &Files, key: &TableKey, word: &str, name: &Name) -> Option<Located> {
    let name = name.to_string();
    let words: Vec<&str> = word.split(' ').chain([name.as_str()]).collect();
    let (path, (line, _)) = in_any_nft(files, key, &words)?;
    Some(Located { path: path.to_owned(), line })
}

/// The line of a block's head, and those of the rules in it.
type Block = (Option<usize>, Vec<usize>);

fn in_any_nft<'f>(files: &'f Files, key: &TableKey, words: &[&str]) -> Option<(&'f str, Block)> {
    if key.backend != Backend::NfTables {
        return None;
    }
    let is_nft = |path: &str| matches!(role(path), Role::Nft | Role::NftInclude);
    let own = table_path(key);
    let first = files.get_key_value(&own).into_iter();
    let mut all = first.chain(files.iter().filter(|(path, _)| is_nft(path) && **path != own));
    all.find_map(|(path, content)| Some((path.as_str(), in_nft(&text_from_kernel(content), key, words)?)))
}

/// In the format of iptables-save: none if the chain is not there.
fn in_saved(text: &str, key: &TableKey, chain: &Name) -> Option<Block> {
    let (table, chain) = (key.name.to_string(), chain.to_string());
    let mut inside = false;
    let mut head = None;
    let mut rules = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(name) = line.strip_prefix('*') {
            inside = name.trim() == table;
        } else if inside {
            let rest = line.strip_prefix(':').or_else(|| line.strip_prefix("-A "));
            if rest.and_then(|rest| rest.split(' ').next()) == Some(&chain) {
                if line.starts_with(':') { head = Some(number) } else { rules.push(number) }
            }
        }
    }
    (head.is_some() || !rules.is_empty()).then_some((head, rules))
}

/// In nft syntax: none if there is no block that begins with these words.
fn in_nft(text: &str, key: &TableKey, words: &[&str]) -> Option<Block> {
    let (family, table) = (key.family.as_str(), key.name.to_string());
    let opens = |line: &str, words: &[&str]| {
        let mut left = line.split_whitespace().map(|word| word.trim_matches('"')).peekable();
        words.iter().all(|word| left.next() == Some(word)) && left.next() == Some("{")
    };
    let mut depth = 0_usize;
    let mut at_table = None;
    let mut at_chain = None;
    let mut rules = Vec::new();
    let mut head = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let before = depth;
        let (opened, closed) = braces(line);
        depth = (depth + opened).saturating_sub(closed);
        let is_table =
            opens(line, &["table", family, &table]) || (family == "ip" && opens(line, &["table", &table]));
        if at_table.is_none() && is_table {
            at_table = Some(before);
        } else if at_table.is_some() && at_chain.is_none() && opens(line, words) {
            (at_chain, head) = (Some(before), Some(number));
        } else if let Some(outer) = at_chain {
            if depth <= outer {
                at_chain = None;
            } else if before == outer + 1 && is_rule(line) {
                rules.push(number);
            }
        }
        if at_table.is_some_and(|outer| depth <= outer) {
            at_table = None;
        }
    }
    Some((Some(head?), rules))
}

/// Whether a line of a chain's block is a rule.
fn is_rule(line: &str) -> bool {
    const HEADS: [&str; 7] = ["type ", "policy ", "comment ", "devices ", "device ", "flags ", "hook "];
    !line.is_empty()
        && !line.starts_with(['#', '}'])
        && !HEADS
            .iter()
            .any(|head| line.starts_with(head) && !line.contains(" accept") || is_head(line, head))
}

/// `type filter hook input priority filter; policy accept;` holds a verdict, and is no rule; `comment "x"` alone, too.
fn is_head(line: &str, head: &str) -> bool {
    line.starts_with(head) && (line.contains(" hook ") || matches!(head, "policy " | "comment "))
}

/// How many braces a line opens and closes, outside of quotes and comments.
fn braces(line: &str) -> (usize, usize) {
    let (mut opened, mut closed, mut quoted) = (0, 0, false);
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted => break,
            '{' if !quoted => opened += 1,
            '}' if !quoted => closed += 1,
            _ => {}
        }
    }
    (opened, closed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    fn key(backend: Backend, family: Family, name: &str) -> TableKey {
        TableKey { backend, family, name: Name(name.as_bytes().to_vec()) }
    }

    fn check(
        path: &str,
        text: &str,
        key: &TableKey,
        chain: &str,
        place: Option<usize>,
        count: usize,
    ) -> Option<Located> {
        let files = Files::from([(path.to_owned(), text.as_bytes().to_vec())]);
        let LocatedChain { path, head, rules } =
            locate_chain(&files, key, &Name(chain.as_bytes().to_vec()), count)?;
        let line = place.map_or(head, |place| rules.get(place).copied());
        Some(Located { path, line })
    }

    const NFT: &str = "# captured\ntable inet filter {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1,\n\t\t\t     10.0.0.2 }\n\t}\n\n\tchain input {\n\t\tcomment \"host { firewall\"\n\t\ttype filter hook input priority filter; policy drop;\n\t\tct state established accept\n\t\ttcp dport { 22, 80 } jump {\n\t\t\taccept\n\t\t}\n\t\tip saddr @s drop\n\t}\n\n\tchain other {\n\t}\n}\n";

    #[test]
    fn a_rule_is_found_by_its_place_in_the_block_of_its_chain() {
        let key = key(Backend::NfTables, Family::Inet, "filter");
        let line =
            |place, count| check("nft/inet-filter.nft", NFT, &key, "input", place, count).unwrap().line;
        assert_eq!(line(Some(0), 3), Some(12));
        assert_eq!(line(Some(1), 3), Some(13));
        assert_eq!(line(Some(2), 3), Some(16));
        assert_eq!(line(None, 3), Some(9));
        let files = Files::from([("nft/inet-filter.nft".to_owned(), NFT.as_bytes().to_vec())]);
        assert_eq!(locate_named(&files, &key, "set", &Name(b"s".to_vec())).unwrap().line, Some(3));
        assert_eq!(locate_named(&files, &key, "map", &Name(b"s".to_vec())), None);
        // Not one line a rule: the file is known, the line is not.
        assert_eq!(line(Some(0), 4), None);
        assert_eq!(check("nft/inet-filter.nft", NFT, &key, "none", Some(0), 1), None);
    }

    #[test]
    fn a_rule_of_iptables_is_found_in_its_table_and_chain() {
        let text = "*nat\n:INPUT ACCEPT [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:web - [0:0]\n-A web -j ACCEPT\n-A INPUT -j web\n-A INPUT -p tcp -j DROP\nCOMMIT\n";
        let key = key(Backend::Legacy, Family::Ip, "filter");
        let line = |chain, place, count| check("iptables/legacy-v4.rules", text, &key, chain, place, count);
        assert_eq!(line("INPUT", Some(1), 2).unwrap().line, Some(10));
        assert_eq!(line("web", Some(0), 1).unwrap().line, Some(8));
        assert_eq!(line("INPUT", None, 2).unwrap().line, Some(6));
    }
}

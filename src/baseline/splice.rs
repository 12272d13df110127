//! A captured table's file after some of its rules changed, made from the file before. Pure.
//!
//! Writing a file anew means loading and listing the whole table in a scratch namespace. Where only rules
//! changed, each line but the changed ones is known already: nft writes one line a rule. Whatever does not look
//! exactly like that gives nothing, and the file is written anew.

use super::layout::{captured, captured_text};
use super::portable::portable;
use crate::model::{Chain, Digest, Name, Table};
use std::collections::HashMap;

/// The content of the file of table `after`, if `content` is the file of `before` and the two differ in nothing but
/// the rules of chains. `text` gives the text of the rule at a place of a chain of `after`, where it says all.
pub fn splice(
    content: &[u8],
    before: &Table,
    after: &Table,
    text: &dyn Fn(&Name, usize) -> Option<String>,
) -> Option<Vec<u8>> {
    let same_heads = before.chains.len() == after.chains.len()
        && before
            .chains
            .iter()
            .zip(&after.chains)
            .all(|(old, new)| old.0 == new.0 && old.1.attrs == new.1.attrs);
    let same_rest = before.attrs == after.attrs
        && before.sets == after.sets
        && before.objects == after.objects
        && before.flowtables == after.flowtables;
    if !same_heads || !same_rest {
        return None;
    }
    let mut lines: Vec<String> = captured_text(content)?.lines().map(str::to_owned).collect();
    for (name, new) in &after.chains {
        let old = before.chains.get(name)?;
        let digests = |chain: &Chain| chain.rules.iter().map(|rule| rule.digest).collect::<Vec<Digest>>();
        if digests(old) == digests(new) {
            continue;
        }
        let (start, end) = rules_of(&lines, name, old.rules.len())?;
        let known: HashMap<Digest, &String> =
            old.rules.iter().zip(lines.get(start..end)?).map(|(rule, line)| (rule.digest, line)).collect();
        let line = |(place, digest): (usize, Digest)| match known.get(&digest) {
            Some(line) => Some((*line).clone()),
            None => text(name, place)
                .filter(|text| is_one_line(text))
                .map(|text| format!("\t\t{}", portable(&text))),
        };
        let new: Vec<String> = digests(new).into_iter().enumerate().map(line).collect::<Option<_>>()?;
        lines.splice(start..end, new);
    }
    Some(captured(&lines.join("\n")))
}

/// The lines of a chain's rules: just as many as it has, each a rule.
fn rules_of(lines: &[String], name: &Name, count: usize) -> Option<(usize, usize)> {
    let head = format!("\tchain {name} {{");
    let start = lines.iter().position(|line| *line == head)? + 1;
    let end = start + lines.get(start..)?.iter().position(|line| line == "\t}")?;
    let is_head =
        |line: &String| ["\t\ttype ", "\t\tcomment ", "\t\tflags "].iter().any(|word| line.starts_with(word));
    let heads = lines.get(start..end)?.iter().take_while(|line| is_head(line)).count();
    let rules = lines.get(start + heads..end)?;
    let is_rule = |line: &String| line.strip_prefix("\t\t").is_some_and(is_one_line);
    (rules.len() == count && rules.iter().all(is_rule)).then_some((start + heads, end))
}

/// Whether a rule's text is a line by itself, and no part of a longer one.
fn is_one_line(text: &str) -> bool {
    let starts = text.chars().next().is_some_and(|first| !first.is_whitespace() && !"{}#".contains(first));
    starts && !text.contains('\n') && !text.ends_with(['{', ',', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Rule;

    const FILE: &str = "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\n\tchain a {\n\t\ttype filter hook input \
                        priority filter; policy accept;\n\t\tcomment \"x\"\n\t\tone\n\t\ttwo\n\t}\n\n\tchain b {\n\t\tthree\n\t}\n}";

    fn table(a: &[&str], b: &[&str]) -> Table {
        let rule =
            |text: &&str| Rule { digest: Digest::of([text.as_bytes()]), attrs: text.as_bytes().into() };
        let chain = |rules: &[&str]| Chain { rules: rules.iter().map(rule).collect(), ..Chain::default() };
        let chains = [("a", chain(a)), ("b", chain(b))];
        let chains = chains.into_iter().map(|(name, chain)| (Name(name.into()), chain)).collect();
        Table { chains, ..Table::default() }
    }

    fn spliced(file: &str, before: &Table, after: &Table) -> Option<String> {
        let text = |name: &Name, place: usize| {
            after
                .chains
                .get(name)?
                .rules
                .get(place)
                .map(|rule| String::from_utf8_lossy(&rule.attrs).into_owned())
        };
        let content = splice(&captured(file), before, after, &text)?;
        captured_text(&content).map(str::to_owned)
    }

    #[test]
    fn rules_come_go_and_move() {
        let before = table(&["one", "two"], &["three"]);
        let after = table(&["new", "two", "one", "last"], &[]);
        let expected = FILE
            .replace("\t\tone\n\t\ttwo\n", "\t\tnew\n\t\ttwo\n\t\tone\n\t\tlast\n")
            .replace("\t\tthree\n", "");
        assert_eq!(spliced(FILE, &before, &after).as_deref(), Some(expected.as_str()));
        assert_eq!(spliced(&expected, &after, &before).as_deref(), Some(FILE));
    }

    #[test]
    fn what_is_no_line_a_rule_is_left_to_the_tool() {
        let (before, after) = (table(&["one", "two"], &["three"]), table(&["one"], &["three"]));
        assert_eq!(spliced(&FILE.replace("\t\ttwo\n", ""), &before, &after), None);
        assert_eq!(spliced(&FILE.replace("\t\ttwo\n", "\t\ttwo {\n\t\t\tx\n\t\t}\n"), &before, &after), None);
        assert_eq!(spliced(&FILE.replace("\tchain a {", "\tchain other {"), &before, &after), None);
        assert_eq!(spliced(FILE, &before, &table(&["one", "jump {"], &["three"])), None);
        assert_eq!(spliced(FILE, &before, &table(&["one", "a\n\t\tb"], &["three"])), None);
        let mut other = after.clone();
        other.chains.get_mut(&Name(b"a".to_vec())).unwrap().attrs = vec![1];
        assert_eq!(spliced(FILE, &before, &other), None);
    }
}

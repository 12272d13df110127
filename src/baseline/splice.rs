//! A captured table's file after some of its rules and chains changed, made from the file before. Pure.
//!
//! Writing a file anew means loading and listing the whole table in a scratch namespace, which takes seconds for 10,000
//! chains. Where only rules changed, or whole chains came and went, each line but theirs is known already: nft writes one
//! line a rule, and chains in the order of their names. Whatever does not look exactly like that gives nothing, and the
//! file is written anew.

use super::layout::{captured, captured_text};
use super::portable::portable;
use crate::model::{Chain, Digest, Name, Table};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The texts of what is new in a table, where they say all.
pub trait NewTexts {
    /// Of the rule at a place of a chain.
    fn rule(&self, chain: &Name, place: usize) -> Option<String>;
    /// Of a chain with its rules.
    fn chain(&self, name: &Name) -> Option<String>;
}

/// The content of the file of table `after`, if `content` is the file of `before` and the two differ in nothing but
/// chains and rules.
pub fn splice(content: &[u8], before: &Table, after: &Table, texts: &dyn NewTexts) -> Option<Vec<u8>> {
    let same_rest = before.attrs == after.attrs
        && before.sets == after.sets
        && before.objects == after.objects
        && before.flowtables == after.flowtables;
    if !same_rest {
        return None;
    }
    let mut lines: Lines<'_> = captured_text(content)?.lines().map(Cow::Borrowed).collect();
    for name in before.chains.keys().filter(|name| !after.chains.contains_key(*name)) {
        remove_chain(&mut lines, name)?;
    }
    for (name, new) in &after.chains {
        match before.chains.get(name) {
            None => add_chain(&mut lines, name, &texts.chain(name)?)?,
            Some(old) if old.attrs != new.attrs => return None,
            Some(old) => {
                let text = |place: usize| texts.rule(name, place);
                replace_rules(&mut lines, name, (old, new), &text)?;
            }
        }
    }
    Some(captured(&lines.join("\n")))
}

type Lines<'c> = Vec<Cow<'c, str>>;

fn replace_rules(
    lines: &mut Lines<'_>,
    name: &Name,
    (old, new): (&Chain, &Chain),
    text: &dyn Fn(usize) -> Option<String>,
) -> Option<()> {
    let digests = |chain: &Chain| chain.rules.iter().map(|rule| rule.digest).collect::<Vec<Digest>>();
    if digests(old) == digests(new) {
        return Some(());
    }
    let (start, end) = rules_of(lines, name, old.rules.len())?;
    let known: HashMap<Digest, &Cow<'_, str>> =
        old.rules.iter().zip(lines.get(start..end)?).map(|(rule, line)| (rule.digest, line)).collect();
    let line = |(place, digest): (usize, Digest)| match known.get(&digest) {
        Some(line) => Some((*line).clone()),
        None => text(place)
            .filter(|text| is_one_line(text))
            .map(|text| Cow::Owned(format!("\t\t{}", portable(&text)))),
    };
    let new: Lines<'_> = digests(new).into_iter().enumerate().map(line).collect::<Option<_>>()?;
    lines.splice(start..end, new);
    Some(())
}

/// An empty line sets a chain apart from what stands before it, or, if nothing does, from what comes after it.
fn remove_chain(lines: &mut Lines<'_>, name: &Name) -> Option<()> {
    let (start, end) = block_of(lines, name)?;
    let is_gap = |line: usize| lines.get(line).is_some_and(|line| line.is_empty());
    let gone = match start.checked_sub(1).filter(|line| is_gap(*line)) {
        Some(gap) => gap..end,
        None if is_gap(end) => start..end + 1,
        None => return None,
    };
    lines.drain(gone);
    Some(())
}

/// Puts a chain behind the one whose name comes before its own, or else in front of the first.
fn add_chain(lines: &mut Lines<'_>, name: &Name, text: &str) -> Option<()> {
    let is_whole = text.starts_with(&format!("chain {name} {{\n")) && text.ends_with("\n}");
    if !is_whole || block_of(lines, name).is_some() {
        return None;
    }
    let text = portable(text).into_owned();
    let block = || text.lines().map(|line| Cow::Owned(format!("\t{line}")));
    let gap = || std::iter::once(Cow::Borrowed(""));
    let wanted = name.to_string();
    let others: BTreeMap<&str, usize> =
        lines.iter().enumerate().filter_map(|(at, line)| Some((chain_of(line)?, at))).collect();
    match others.range(..wanted.as_str()).next_back() {
        Some((before, _)) => {
            let (_, end) = block_of(lines, &Name(before.as_bytes().to_vec()))?;
            lines.splice(end..end, gap().chain(block()));
        }
        None => {
            let first = *others.values().min()?;
            lines.splice(first..first, block().chain(gap()));
        }
    }
    Some(())
}

/// The name in the first line of a chain.
fn chain_of(line: &str) -> Option<&str> {
    line.strip_prefix("\tchain ")?.strip_suffix(" {")
}

/// The lines of a chain, from the one with its name to just after the one that closes it.
fn block_of(lines: &Lines<'_>, name: &Name) -> Option<(usize, usize)> {
    let head = format!("\tchain {name} {{");
    let start = lines.iter().position(|line| *line == head)?;
    let length = lines.get(start..)?.iter().position(|line| line == "\t}")?;
    Some((start, start + length + 1))
}

/// The lines of a chain's rules: just as many as it has, each a rule.
fn rules_of(lines: &Lines<'_>, name: &Name, count: usize) -> Option<(usize, usize)> {
    let (head, end) = block_of(lines, name)?;
    let (start, end) = (head + 1, end - 1);
    let is_head = |line: &Cow<'_, str>| {
        ["\t\ttype ", "\t\tcomment ", "\t\tflags "].iter().any(|word| line.starts_with(word))
    };
    let heads = lines.get(start..end)?.iter().take_while(|line| is_head(line)).count();
    let rules = lines.get(start + heads..end)?;
    let is_rule = |line: &Cow<'_, str>| line.strip_prefix("\t\t").is_some_and(is_one_line);
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

    struct Texts<'t>(&'t Table);

    impl NewTexts for Texts<'_> {
        fn rule(&self, chain: &Name, place: usize) -> Option<String> {
            let rule = self.0.chains.get(chain)?.rules.get(place)?;
            Some(String::from_utf8_lossy(&rule.attrs).into_owned())
        }

        fn chain(&self, name: &Name) -> Option<String> {
            let rules = self.0.chains.get(name)?.rules.iter();
            let lines: String =
                rules.map(|rule| format!("\t{}\n", String::from_utf8_lossy(&rule.attrs))).collect();
            Some(format!("chain {name} {{\n{lines}}}"))
        }
    }

    fn spliced(file: &str, before: &Table, after: &Table) -> Option<String> {
        let content = splice(&captured(file), before, after, &Texts(after))?;
        captured_text(&content).map(str::to_owned)
    }

    /// With one more chain.
    fn with(table: &Table, name: &str, rules: &[&str]) -> Table {
        let more = self::table(rules, &[]).chains.remove(&Name(b"a".to_vec())).unwrap();
        let mut table = table.clone();
        table.chains.insert(Name(name.into()), more);
        table
    }

    #[test]
    fn whole_chains_come_and_go_in_the_order_of_names() {
        let before = table(&["one", "two"], &["three"]);
        let block = |name: &str| format!("\tchain {name} {{\n\t\tnew\n\t}}");
        for (name, old, new) in [
            ("aa", "\tchain b {", format!("{}\n\n\tchain b {{", block("aa"))),
            ("A", "\tchain a {", format!("{}\n\n\tchain a {{", block("A"))),
            ("c", "\t}\n}", format!("\t}}\n\n{}\n}}", block("c"))),
        ] {
            let after = with(&before, name, &["new"]);
            let expected = FILE.replace(old, &new);
            assert_eq!(spliced(FILE, &before, &after).as_deref(), Some(expected.as_str()), "{name}");
            assert_eq!(spliced(&expected, &after, &before).as_deref(), Some(FILE), "{name}");
        }
    }

    #[test]
    fn a_chain_that_stands_where_none_should_is_left_to_the_tool() {
        let before = table(&["one", "two"], &["three"]);
        let after = with(&before, "c", &["new"]);
        let there = FILE.replace("\t}\n}", "\t}\n\n\tchain c {\n\t}\n}");
        assert_eq!(spliced(&there, &before, &after), None);
        // Nothing sets it apart.
        let close = there.replace("\t}\n\n\tchain c", "\t}\n\tchain c");
        assert_eq!(spliced(&close, &with(&before, "c", &[]), &before), None);
        assert_eq!(spliced("table inet t {\n}", &Table::default(), &with(&Table::default(), "c", &[])), None);
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

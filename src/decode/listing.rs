//! Takes `nft -s -a list ruleset` apart into the texts of single objects. Pure.
//!
//! The listing is line-based: tables at no indent, their objects at one tab, rules at two. A rule ends
//! with the line that carries its `# handle N`. Line breaks inside comments would forge lines, so the
//! caller sends texts without them (`decode::guard`).

use std::collections::{BTreeMap, BTreeSet};

/// One object of a table: its first line (`chain input {`), and what is between its braces.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The first line without indent and handle.
    pub head: String,
    /// The lines inside, with indent and handles.
    body: Vec<String>,
}

/// One table of the listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TableListing {
    /// `table inet filter {`, without handle.
    pub head: String,
    /// Lines of its own: flags, comment.
    pub own: Vec<String>,
    /// Its objects, keyed by their first line.
    pub blocks: BTreeMap<String, Block>,
    /// First lines that occur twice: no honest listing has them, so neither block is believed.
    ambiguous: BTreeSet<String>,
    /// The table's text as nft would print it without handles.
    pub text: String,
}

/// Splits a listing into tables, keyed by their first line.
pub fn parse(listing: &str) -> BTreeMap<String, TableListing> {
    let mut tables: BTreeMap<String, TableListing> = BTreeMap::new();
    // As for blocks: a table that is listed twice is not believed.
    let mut ambiguous = BTreeSet::new();
    let mut table: Option<TableListing> = None;
    let mut block: Option<Block> = None;
    for line in listing.lines() {
        let plain = without_handle(line);
        if line.starts_with("table ") && table.is_none() {
            table = Some(TableListing { head: plain.to_owned(), ..TableListing::default() });
        }
        let Some(current) = &mut table else { continue };
        current.text.push_str(plain);
        current.text.push('\n');
        if line == "}" {
            if let Some(mut done) = table.take() {
                done.blocks.retain(|head, _| !done.ambiguous.contains(head));
                let head = done.head.clone();
                if tables.insert(head.clone(), done).is_some() {
                    ambiguous.insert(head);
                }
            }
        } else if let Some(mut open) = block.take() {
            if line == "\t}" {
                let head = open.head.clone();
                if current.blocks.insert(head.clone(), open).is_some() {
                    current.ambiguous.insert(head);
                }
            } else {
                open.body.push(line.to_owned());
                block = Some(open);
            }
        } else if let Some(inner) = plain.strip_prefix('\t') {
            if inner.ends_with('{') {
                block = Some(Block { head: inner.to_owned(), ..Block::default() });
            } else if !inner.is_empty() {
                current.own.push(inner.to_owned());
            }
        }
    }
    tables.retain(|head, _| !ambiguous.contains(head));
    tables
}

/// The listing without the `size` of these sets, each given by its table's first line and its name.
pub fn without_sizes(listing: &str, sets: &BTreeSet<(String, String)>) -> String {
    if sets.is_empty() {
        return listing.to_owned();
    }
    let (mut table, mut inside) = (String::new(), false);
    let mut kept = String::with_capacity(listing.len());
    for line in listing.split_inclusive('\n') {
        let plain = without_handle(line.trim_end_matches('\n'));
        if plain.starts_with("table ") {
            table = plain.to_owned();
        } else if let Some(head) = plain.strip_prefix('\t').filter(|head| !head.starts_with('\t')) {
            let name = head.strip_prefix("set ").or(head.strip_prefix("map ")).unwrap_or_default();
            let name = name.strip_suffix(" {").unwrap_or_default();
            inside = sets.contains(&(table.clone(), name.to_owned()));
        }
        if !(inside && plain.starts_with("\t\tsize ")) {
            kept.push_str(line);
        }
    }
    kept
}

impl Block {
    /// The object's text: first line, content, closing brace; at no indent, without handles.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for line in &self.body {
            let line = without_handle(line);
            text.push_str(line.strip_prefix('\t').unwrap_or(line));
            text.push('\n');
        }
        text.push('}');
        text
    }

    /// A chain's own lines: comment, type, policy, flags.
    pub fn chain_head(&self) -> String {
        let lines: Vec<&str> = self.chain_head_lines().map(str::trim_start).collect();
        lines.join("\n")
    }

    fn chain_head_lines(&self) -> impl Iterator<Item = &str> {
        self.body.iter().map(String::as_str).take_while(|line| {
            let inner = line.trim_start_matches('\t');
            ["type ", "comment \"", "flags "].iter().any(|start| inner.starts_with(start))
                && without_handle(line) == *line
        })
    }

    /// A chain's rules in order. `nested` says of each whether it holds a chain of its own
    /// (`jump { … }`), whose rules carry handles too. None if the count does not fit.
    pub fn rules(&self, nested: &[bool]) -> Option<Vec<String>> {
        let mut rules: Vec<String> = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        for line in self.body.iter().skip(self.chain_head_lines().count()) {
            let plain = without_handle(line);
            open.push(plain.strip_prefix("\t\t").unwrap_or(plain));
            let ends =
                if *nested.get(rules.len())? { line.starts_with("\t\t}") } else { plain.len() < line.len() };
            if ends {
                rules.push(std::mem::take(&mut open).join("\n"));
            }
        }
        (open.is_empty() && rules.len() == nested.len()).then_some(rules)
    }

    /// A set's definition: its text without the elements.
    pub fn set_head(&self) -> String {
        let mut text = format!("{}\n", self.head);
        for line in self.body.iter().take_while(|line| !line.starts_with("\t\telements = {")) {
            text.push_str(line.strip_prefix('\t').unwrap_or(line));
            text.push('\n');
        }
        text.push('}');
        text
    }

    /// What stands between the braces of `elements = { … }`.
    pub fn elements(&self) -> Option<String> {
        let start = self.body.iter().position(|line| line.starts_with("\t\telements = {"))?;
        let lines: Vec<&str> = self.body[start..].iter().map(|line| line.trim_start()).collect();
        let all = lines.join(" ");
        let inner = all.strip_prefix("elements = {")?.trim_end().strip_suffix('}')?;
        Some(inner.trim().to_owned())
    }
}

/// A line without its trailing ` # handle N`.
fn without_handle(line: &str) -> &str {
    match line.rsplit_once(" # handle ") {
        Some((text, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => text,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table inet t { # handle 1
\tcomment \"a table\"
\tset s { # handle 2
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1,
\t\t\t     10.0.0.2 }
\t}

\tchain c { # handle 3
\t\tcomment \"# handle 9\"
\t\ttype filter hook input priority filter; policy accept;
\t\ttcp dport vmap { 22 : accept,
\t\t\t\t 80 : drop } # handle 4
\t\tip saddr 10.0.0.1 jump { # handle 5
\t\t\taccept # handle 6
\t\t}
\t\tcounter comment \"x # handle 8\" # handle 7
\t}
}
";

    #[test]
    fn a_table_falls_apart_into_its_objects() {
        let tables = parse(LISTING);
        let table = &tables["table inet t {"];
        assert_eq!(table.own, ["comment \"a table\""]);
        let set = &table.blocks["set s {"];
        assert_eq!(set.set_head(), "set s {\n\ttype ipv4_addr\n}");
        assert_eq!(set.elements().unwrap(), "10.0.0.1, 10.0.0.2");
        let chain = &table.blocks["chain c {"];
        assert_eq!(
            chain.chain_head(),
            "comment \"# handle 9\"\ntype filter hook input priority filter; policy accept;"
        );
        assert_eq!(
            chain.rules(&[false, true, false]).unwrap(),
            [
                "tcp dport vmap { 22 : accept,\n\t\t 80 : drop }",
                "ip saddr 10.0.0.1 jump {\n\taccept\n}",
                "counter comment \"x # handle 8\"",
            ]
        );
    }

    #[test]
    fn a_table_that_a_hostile_name_lists_a_second_time_is_not_believed() {
        let forged = "table inet t {\n\tchain c {\n\t\taccept # handle 4\n\t}\n}\n";
        assert!(parse(&format!("{LISTING}{forged}")).is_empty());
    }

    #[test]
    fn a_wrong_count_of_rules_is_not_guessed_at() {
        let tables = parse(LISTING);
        assert_eq!(tables["table inet t {"].blocks["chain c {"].rules(&[false, true]), None);
    }
}

//! One table of `iptables-legacy-save` as a [`Table`]: chains with their policies, rules as lines.
//!
//! The format (iptables-save(8)): `*TABLE`, `:CHAIN POLICY [PACKETS:BYTES]`, `-A CHAIN …`, `COMMIT`,
//! comments with `#`. Counters are dropped; the rest of a line is the rule, byte for byte.

use crate::model::{Chain, Digest, Name, Rule, Table};

/// Parses one table's text. Lines that are neither chain, rule nor framing are kept as a chain named
/// by the line itself, so that nothing is silently ignored.
pub fn parse(text: &[u8]) -> Table {
    let mut table = Table::default();
    for line in text.split(|byte| *byte == b'\n') {
        match line.first() {
            None | Some(b'#' | b'*') => {}
            Some(b':') => {
                let mut words = line[1..].split(|byte| *byte == b' ');
                let name = Name(words.next().unwrap_or_default().to_vec());
                let policy = words.next().unwrap_or(b"-").to_vec();
                table.chains.insert(name, Chain { attrs: policy, rules: Vec::new() });
            }
            Some(_) if line == b"COMMIT" => {}
            Some(_) => {
                let chain = line
                    .strip_prefix(b"-A ")
                    .and_then(|rest| rest.split(|byte| *byte == b' ').next())
                    .unwrap_or(line);
                let rule = Rule { digest: Digest::of([line]), attrs: line.into() };
                table.chains.entry(Name(chain.to_vec())).or_default().rules.push(rule);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_dropped_and_order_is_kept() {
        let text = b"# Generated\n*filter\n:INPUT DROP [12:3400]\n:web - [0:0]\n-A INPUT -j web\n-A web -s 10.0.0.1/32 -j ACCEPT\nCOMMIT\n";
        let table = parse(text);
        let input = &table.chains[&Name(b"INPUT".to_vec())];
        assert_eq!(input.attrs, b"DROP");
        assert_eq!(&input.rules[0].attrs[..], b"-A INPUT -j web");
        assert_eq!(table.chains[&Name(b"web".to_vec())].attrs, b"-");
        assert_eq!(table.rule_count(), 2);
    }
}

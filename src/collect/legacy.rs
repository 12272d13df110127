//! Reads the tables of the older interface (iptables-legacy, arptables-legacy, ebtables-legacy) without creating any.
//!
//! Listing a table that is not there loads modules and registers it. So the kernel is asked first which tables
//! exist: /proc names those of ip, ip6 and arp (net/netfilter/x_tables.c); for ebtables see `bridge`.

mod bridge;

use crate::model::{Family, Gap, LegacyTable, Source};
use crate::tool::{Tool, ToolError};
use bridge::Reading;
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

/// The family, where /proc names its tables, what reads one, and the name in gaps.
type Listed = (Family, &'static str, Read, Source);
type Read = fn(&str) -> Result<Vec<u8>, ToolError>;

const LISTED: [Listed; 3] = [
    (
        Family::Ip,
        "/proc/thread-self/net/ip_tables_names",
        |table| save("iptables-legacy-save", table),
        Source::IptablesLegacy,
    ),
    (
        Family::Ip6,
        "/proc/thread-self/net/ip6_tables_names",
        |table| save("ip6tables-legacy-save", table),
        Source::IptablesLegacy,
    ),
    (Family::Arp, "/proc/thread-self/net/arp_tables_names", arptables, Source::Arptables),
];

/// All legacy tables of the calling thread's namespace. What could not be read becomes a gap.
pub fn capture() -> (Vec<LegacyTable>, Vec<Gap>) {
    let mut tables = Vec::new();
    let mut gaps = Vec::new();
    let mut read = |family, source: Source, table: String, read: Read| match read(&table) {
        Ok(text) => {
            tables.push(LegacyTable { family, table: table.into_bytes(), text });
            Ok(())
        }
        Err(error) => Err(Gap {
            source: source.as_str().into(),
            reason: format!("table {family} {table}: {error}"),
            hint: no_raw_socket().or_else(|| error.hint()),
            blinds_verdict: true,
        }),
    };
    for (family, names, reader, source) in LISTED {
        match table_names(names) {
            Ok(names) => {
                gaps.extend(names.into_iter().filter_map(|name| read(family, source, name, reader).err()))
            }
            Err(error) => gaps.push(Gap {
                source: source.as_str().into(),
                reason: format!("cannot read {names}: {error}"),
                hint: None,
                blinds_verdict: true,
            }),
        }
    }
    for (table, reading) in bridge::tables() {
        match reading {
            Reading::Harmless => gaps.extend(read(Family::Bridge, Source::Ebtables, table, ebtables).err()),
            Reading::Creates { may_hold_rules } => gaps.push(bridge::gap(&table, may_hold_rules)),
        }
    }
    (tables, gaps)
}

/// The names in /proc; none where the kernel has no x_tables.
fn table_names(path: &str) -> std::io::Result<Vec<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
            names.sort();
            Ok(names)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The tools read through a raw IP socket. Where none may be opened, their own words ("Address family not supported by
/// protocol", "you must be root") do not say why.
fn no_raw_socket() -> Option<String> {
    let opened = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
    let hint = "their tools need CAP_NET_RAW and AF_INET; in a service of systemd, the drop-in fwdrift-legacy.conf gives them";
    opened.is_err().then(|| hint.to_owned())
}

fn save(program: &str, table: &str) -> Result<Vec<u8>, ToolError> {
    Ok(Tool::find(program)?.args(["-t", table]).run()?.stdout)
}

/// `arptables-legacy-save` is a script around `/usr/sbin/arptables`, which mostly is arptables-nft, and it drops
/// rules without a condition. So the listing is turned into the save format here.
fn arptables(table: &str) -> Result<Vec<u8>, ToolError> {
    let tool = Tool::find("arptables-legacy")?.args(["-t", table, "-L", "-n", "--line-numbers"]);
    Ok(saved_arptables(table, &tool.run()?.stdout))
}

/// arptables' listing with line numbers, as `arptables-save` would print it: `Chain INPUT (policy ACCEPT)`,
/// `Chain own (1 references)`, `1 -j DROP -s 10.0.0.1`.
fn saved_arptables(table: &str, listing: &[u8]) -> Vec<u8> {
    let (mut heads, mut rules, mut chain) = (vec![format!("*{table}").into_bytes()], Vec::new(), Vec::new());
    for line in listing.split(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line.splitn(2, |byte| *byte == b' ').collect();
        match words[..] {
            [b"Chain", rest] => {
                let end = rest.iter().rposition(|byte| *byte == b'(').unwrap_or(rest.len());
                chain = rest[..end].trim_ascii_end().to_vec();
                let policy = rest[end..].strip_prefix(b"(policy ").and_then(|rest| rest.strip_suffix(b")"));
                heads.push([b":", &chain[..], b" ", policy.unwrap_or(b"-")].concat());
            }
            [number, rule] if !number.is_empty() && number.iter().all(u8::is_ascii_digit) => {
                rules.push([b"-A ", &chain[..], b" ", rule].concat().trim_ascii_end().to_vec());
            }
            _ if line.trim_ascii().is_empty() => {}
            // Never ignored: normalise keeps what it does not know.
            _ => rules.push(line.to_vec()),
        }
    }
    heads.append(&mut rules);
    heads.push(Vec::new());
    heads.join(&b'\n')
}

/// `ebtables-legacy-save` is a script of the same kind.
fn ebtables(table: &str) -> Result<Vec<u8>, ToolError> {
    let output = Tool::find("ebtables-legacy")?.args(["-t", table, "-L"]).run()?;
    Ok(bridge::saved(table, &output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arptables_listing_becomes_its_save_format_and_a_rule_without_conditions_stays() {
        let listing = b"Chain INPUT (policy ACCEPT)\n1 -j DROP -i eth0 -s 10.0.0.1 \n2 \n\nChain OUTPUT (policy DROP)\n\nChain own (1 references)\n1 -j ACCEPT \n";
        let saved = "*filter\n:INPUT ACCEPT\n:OUTPUT DROP\n:own -\n-A INPUT -j DROP -i eth0 -s 10.0.0.1\n-A INPUT\n-A own -j ACCEPT\n";
        assert_eq!(String::from_utf8(saved_arptables("filter", listing)).unwrap(), saved);
    }
}

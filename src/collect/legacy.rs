//! Reads iptables-legacy tables, v4 and v6, without creating any.
//!
//! `iptables-legacy -L` loads modules and registers the table that it lists. So /proc is asked first
//! which tables exist (net/ipv4/netfilter/ip_tables.c registers the names there), and
//! `iptables-legacy-save -t TABLE` is run for those only.

use crate::model::{Family, Gap, LegacyTable};
use crate::tool::{Tool, ToolError};

const SOURCES: [(Family, &str, &str); 2] = [
    (Family::Ip, "/proc/thread-self/net/ip_tables_names", "iptables-legacy-save"),
    (Family::Ip6, "/proc/thread-self/net/ip6_tables_names", "ip6tables-legacy-save"),
];

/// All legacy tables of the calling thread's namespace. What could not be read becomes a gap.
pub fn capture() -> (Vec<LegacyTable>, Vec<Gap>) {
    let mut tables = Vec::new();
    let mut gaps = Vec::new();
    for (family, names, program) in SOURCES {
        match table_names(names) {
            Ok(names) => {
                for name in names {
                    match save(program, &name) {
                        Ok(text) => tables.push(LegacyTable { family, table: name.into_bytes(), text }),
                        Err(error) => gaps.push(gap(format!("table {family} {name}: {error}"), error.hint())),
                    }
                }
            }
            Err(error) => gaps.push(gap(format!("cannot read {names}: {error}"), None)),
        }
    }
    (tables, gaps)
}

fn gap(reason: String, hint: Option<String>) -> Gap {
    Gap { source: "iptables-legacy".into(), reason, hint, blinds_verdict: true }
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

fn save(program: &str, table: &str) -> Result<Vec<u8>, ToolError> {
    Ok(Tool::find(program)?.args(["-t", table]).run()?.stdout)
}

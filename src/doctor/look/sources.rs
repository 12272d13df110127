//! What holds packet filter state, without making any of it.
//!
//! `iptables-legacy -L` and `ipset list` load modules and register tables, so /proc is read first.

use super::RunTool;
use super::tools::path_of;
use crate::doctor::facts::{IpsetFacts, Listing, NftTable, SourceFacts, Tool, ToolFacts};
use std::fs;
use std::io;
use std::path::Path;

pub(super) fn look(tools: &[ToolFacts], run: &RunTool<'_>) -> SourceFacts {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    SourceFacts {
        nft: match path_of(Tool::Nft, tools) {
            Some(nft) => run(nft, &["-j", "list", "tables"]).and_then(|json| nft_tables(&json)),
            None => Err("nft is not installed".to_owned()),
        },
        // Not /proc/net: that is the namespace of the process's first thread.
        ip_legacy: names(Path::new("/proc/thread-self/net/ip_tables_names")),
        ip6_legacy: names(Path::new("/proc/thread-self/net/ip6_tables_names")),
        arp_legacy: names(Path::new("/proc/thread-self/net/arp_tables_names")),
        ebtables_modules: ebtables_modules(&modules),
        ipset: ipset(path_of(Tool::Ipset, tools), run),
    }
}

fn nft_tables(json: &[u8]) -> Result<Vec<NftTable>, String> {
    // A name may hold bytes that are not UTF-8 (nft passes them through); here it is only counted and shown.
    let text = String::from_utf8_lossy(json);
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("nft's JSON cannot be read: {error}"))?;
    let objects = document["nftables"].as_array().ok_or("nft's JSON has no `nftables`")?;
    objects
        .iter()
        .filter_map(|object| object.get("table"))
        .map(|table| match (table["family"].as_str(), table["name"].as_str()) {
            (Some(family), Some(name)) => Ok(NftTable { family: family.to_owned(), name: name.to_owned() }),
            (_, _) => Err("nft's JSON has a table without family or name".to_owned()),
        })
        .collect()
}

/// A kernel without the interface has no such file, and so no table.
fn names(path: &Path) -> Listing {
    match fs::read(path) {
        Ok(bytes) => Ok(lines(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn ebtables_modules(modules: &str) -> Vec<String> {
    const TABLES: [&str; 3] = ["ebtable_broute", "ebtable_filter", "ebtable_nat"];
    let mut loaded: Vec<String> = modules
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| TABLES.contains(name))
        .map(str::to_owned)
        .collect();
    loaded.sort();
    loaded
}

fn ipset(program: Option<&Path>, run: &RunTool<'_>) -> IpsetFacts {
    // Also there when it is built in, as it has a parameter (max_sets).
    if !Path::new("/sys/module/ip_set").exists() {
        return IpsetFacts::NotLoaded;
    }
    IpsetFacts::Loaded(match program {
        Some(program) => run(program, &["list", "-name"]).map(|stdout| lines(&stdout)),
        None => Err("ipset is not installed".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_from_what_nft_lists() {
        let json = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "filter", "handle": 1}},
            {"table": {"family": "ip", "name": "nat", "handle": 2}}]}"#;
        let tables = nft_tables(json).unwrap();
        let shown: Vec<_> = tables.iter().map(|t| format!("{} {}", t.family, t.name)).collect();
        assert_eq!(shown, ["inet filter", "ip nat"]);
        assert_eq!(nft_tables(b"").unwrap(), []);
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_not_empty() {
        assert!(nft_tables(b"Segmentation").is_err());
        assert!(nft_tables(b"{}").is_err());
        assert!(nft_tables(br#"{"nftables": [{"table": {"name": "x"}}]}"#).is_err());
    }

    #[test]
    fn only_table_modules_of_ebtables_count() {
        let modules =
            "ebtables 40960 1 ebtable_filter, Live 0x0\nebtable_filter 16384 0 - Live 0x0\nnf_tables 1 0\n";
        assert_eq!(ebtables_modules(modules), ["ebtable_filter"]);
        assert!(ebtables_modules("ebtables 40960 0 - Live 0x0\n").is_empty());
    }

    #[test]
    fn a_missing_proc_file_means_no_table_and_an_unreadable_one_is_an_error() {
        assert_eq!(names(Path::new("/nonexistent/names")), Ok(Vec::new()));
        assert!(names(Path::new("/proc")).is_err());
    }
}

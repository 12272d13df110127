//! The second oracle, for tables in iptables' shape: what `iptables-nft-save` says of them.

use crate::live::Live;
use fwdrift::model::text_from_kernel;
use fwdrift::tool::Tool;
use std::collections::BTreeMap;

/// One table as iptables-save prints it, without counters and comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Save {
    /// The lines from `*filter` to `COMMIT`.
    pub text: String,
    /// `:INPUT ACCEPT` and the chain's rules.
    pub chains: BTreeMap<String, (String, Vec<String>)>,
}

/// The save of one table; none if the tool would not print it.
pub fn read(live: &Live, family: &str, table: &str) -> Option<Save> {
    let program = match family {
        "ip" => "iptables-nft-save",
        "ip6" => "ip6tables-nft-save",
        _ => return None,
    };
    if !["filter", "nat", "mangle", "raw", "security"].contains(&table) {
        return None;
    }
    let run = || Tool::find(program).unwrap().args(["-t", table]).run();
    let text = text_from_kernel(&live.netns.run(run).unwrap().ok()?.stdout);
    if text.contains("use 'nft' tool") {
        return None;
    }
    let mut save = Save::default();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let line = match line.rsplit_once(" [") {
            Some((plain, _)) if line.starts_with(':') => plain,
            _ => line,
        };
        lines.push(line);
        if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            save.chains.insert(name.to_owned(), (line.to_owned(), Vec::new()));
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().unwrap_or_default();
            save.chains.get_mut(name)?.1.push(line.to_owned());
        }
    }
    save.text = lines.join("\n");
    Some(save)
}

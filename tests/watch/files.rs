//! The ledger's files are the live state, also where they were not written anew.

use crate::support::{Host, NAME, RULES, lines};
use crate::watching::Watching;
use serde_json::Value;

#[test]
fn after_each_turn_the_ledgers_files_load_to_the_live_state() {
    let host = Host::new(RULES);
    let watching = Watching::start(&host);
    for change in [
        "add rule inet filter input tcp dport 5432 accept",
        "add chain inet filter kube { comment \"a service\"; }\nadd rule inet filter kube tcp dport { 80, 443 } accept",
        "add chain inet filter first\nadd rule inet filter first jump kube\nadd rule inet filter input jump first",
        "add rule inet filter kube drop",
        "flush chain inet filter first",
        "add chain inet filter zz { type filter hook output priority 0; policy accept; }",
        "add chain inet filter a0\nadd chain inet filter a1",
        "delete chain inet filter a0\ndelete chain inet filter zz",
        "add set inet filter hosts { type ipv4_addr; }\nadd rule inet filter a1 ip saddr @hosts drop",
        "flush chain inet filter a1\ndelete chain inet filter a1\ndelete set inet filter hosts",
        "add table ip other\nadd chain ip other only\nadd rule ip other only accept",
        "add chain ip other before",
        "flush chain ip other only\ndelete chain ip other only",
        "delete chain ip other before",
    ] {
        host.nft(change);
        watching.events_up_to_now();
        let run = host.run(&["diff", &format!("live/{NAME}"), "live", "--format", "json"]);
        let diff: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        assert_eq!(lines(diff["changes"].as_array().unwrap()), Vec::<String>::new(), "{change}");
    }
    watching.stop();
}

//! What the kernel does that a reader of nf_tables must know, each shown on the real one.

use fwdrift::collect;
use fwdrift::compare;
use fwdrift::decode;
use fwdrift::model::{Item, Ruleset, Source, Text};
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use std::collections::BTreeSet;
use std::sync::Arc;

fn load(netns: &Netns, script: &str) {
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
    netns.run(run).unwrap().unwrap();
}

fn capture(netns: &Netns) -> Ruleset {
    normalise(&collect::capture(netns, None).unwrap().0).unwrap()
}

#[test]
fn what_a_rule_adds_to_a_set_without_the_dynamic_flag_is_no_difference() {
    let netns = Netns::create().unwrap();
    load(
        &netns,
        "table ip t {
            map seen { typeof ip daddr : meta mark; timeout 5m; }
            set people { type ipv4_addr; flags timeout; }
            chain out { type filter hook output priority 0
                add @seen { ip daddr : 0x00000001 }
                ip daddr @people drop
            }
        }",
    );
    let before = capture(&netns);
    let send = || {
        Tool::find("ip").unwrap().args(["link", "set", "lo", "up"]).run().unwrap();
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
    };
    netns.run(send).unwrap();
    let list = || Tool::find("nft").unwrap().args(["list", "map", "ip", "t", "seen"]).run().unwrap();
    let listed = netns.run(list).unwrap().stdout;
    assert!(String::from_utf8_lossy(&listed).contains("127.0.0.1"), "the rule added nothing");
    let after = capture(&netns);
    assert_eq!(compare::unmatched(&before, &after).live, BTreeSet::new());
    assert_eq!(before.digest(), after.digest());

    // A set that no rule writes to is a person's, whatever its flags.
    load(&netns, "add element ip t people { 192.0.2.1 timeout 1h }");
    assert_eq!(compare::unmatched(&before, &capture(&netns)).live.len(), 1);
}

#[test]
fn a_jump_to_a_chain_that_shares_its_name_with_a_map_can_be_shown() {
    let netns = Netns::create().unwrap();
    load(
        &netns,
        "table ip t {
            map twin { type ipv4_addr : mark; }
            chain twin { accept\n}
            chain c { jump twin\n}
        }",
    );
    let ruleset = capture(&netns);
    let (key, table) = ruleset.tables.iter().next().unwrap();
    let chain = table.chains.keys().find(|name| name.0 == b"c").unwrap();
    let item = Item::Rule(key.clone(), chain.clone(), 0);
    let texts = decode::decode(&ruleset, &BTreeSet::from([item.clone()])).unwrap();
    assert_eq!(texts.get(&item), Some(&Text::new("jump twin".to_owned(), true)));
}

#[test]
fn iptables_words_are_not_used_for_a_chain_of_which_they_do_not_say_all() {
    let table = |comment: &str| {
        format!(
            "table ip filter {{\nchain INPUT {{ {comment} type filter hook input priority 0; policy drop;\n}}\n}}"
        )
    };
    let loaded = |script: &str| {
        let netns = Netns::create().unwrap();
        load(&netns, script);
        capture(&netns)
    };
    let (plain, commented) = (loaded(&table("")), loaded(&table("comment \"office hours\";")));
    let unmatched = compare::unmatched(&plain, &commented);
    let before = decode::decode(&plain, &unmatched.baseline).unwrap();
    let after = decode::decode(&commented, &unmatched.live).unwrap();
    let differences = compare::compare(&plain, &commented, &before, &after).differences;
    assert_eq!(differences.len(), 1);
    assert!(differences[0].change.after.as_ref().unwrap().contains("office hours"), "{differences:?}");

    // iptables-save would tell of FORWARD and OUTPUT, too.
    let whole = Item::Table(plain.tables.keys().next().unwrap().clone());
    let text = decode::decode(&plain, &BTreeSet::from([whole.clone()])).unwrap().remove(&whole).unwrap();
    assert!(text.text.starts_with("table ip filter {") && !text.text.contains("FORWARD"), "{text:?}");
}

#[test]
fn what_is_gone_from_an_iptables_table_is_iptables_even_if_the_rest_is_not() {
    let netns = Netns::create().unwrap();
    load(&netns, "table ip filter {\nchain INPUT { type filter hook input priority 0; policy drop;\n}\n}");
    let before = capture(&netns);
    load(&netns, "delete chain ip filter INPUT");
    let after = capture(&netns);
    let texts = decode::decode(&before, &compare::unmatched(&before, &after).baseline).unwrap();
    let differences = compare::compare(&before, &after, &texts, &Default::default()).differences;
    let found: Vec<_> = differences.iter().map(|d| (d.change.source, d.change.before.as_deref())).collect();
    assert_eq!(found, [(Source::IptablesNft, Some(":INPUT DROP"))]);
}

#[test]
fn bytes_behind_the_end_of_an_interface_name_are_compared_though_nft_does_not_print_them() {
    let netns = Netns::create().unwrap();
    load(&netns, "table inet t { chain c { type filter hook input priority 0; iifname \"eth0\" drop; }; }");
    let before = capture(&netns);
    // The kernel compares sixteen bytes, so such a rule matches no packet any more.
    let change_with = |byte: u8| {
        let mut forged = before.clone();
        let rules = forged.tables.values_mut().flat_map(|table| table.chains.values_mut());
        for rule in rules.flat_map(|chain| &mut chain.rules) {
            let place = rule.attrs.windows(6).position(|bytes| bytes == b"eth0\0\0").unwrap();
            Arc::make_mut(&mut rule.attrs)[place + 5] = byte;
        }
        let other = Netns::create().unwrap();
        other.run(|| drop(decode::transplant(&forged).unwrap())).unwrap();
        let after = capture(&other);
        let unmatched = compare::unmatched(&before, &after);
        let old = decode::decode(&before, &unmatched.baseline).unwrap();
        let new = decode::decode(&after, &unmatched.live).unwrap();
        let mut found = compare::compare(&before, &after, &old, &new);
        assert_eq!((found.differences.len(), found.re_encoded), (1, 0));
        found.differences.remove(0).change
    };
    let (one, other) = (change_with(b'x'), change_with(b'y'));
    assert_eq!((&one.before, one.note.is_some()), (&one.after, true), "{one:?}");
    assert_ne!(one.id, other.id, "two changes that print alike are two changes");
    assert_eq!(one.id, change_with(b'x').id);
}

#[test]
fn the_text_of_a_large_set_has_all_its_elements_and_no_size_that_nobody_gave() {
    const COUNT: usize = 20_000;
    let addresses: Vec<String> = (0..COUNT).map(|n| format!("10.0.{}.{}", n >> 8, n & 255)).collect();
    let netns = Netns::create().unwrap();
    load(
        &netns,
        &format!("table ip t {{ set s {{ type ipv4_addr; elements = {{ {} }}; }}; }}", addresses.join(",")),
    );
    let ruleset = capture(&netns);
    let whole = Item::Table(ruleset.tables.keys().next().unwrap().clone());
    let text =
        decode::decode(&ruleset, &BTreeSet::from([whole.clone()])).unwrap().remove(&whole).unwrap().text;
    assert_eq!(text.matches("10.0.").count(), COUNT);
    assert!(!text.contains("size"));
}

fn sh(netns: &Netns, script: &str) -> String {
    let run = || Tool::find("sh").unwrap().args(["-ec", script]).run();
    let output = netns.run(run).unwrap().unwrap_or_else(|error| panic!("{script}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Sends a packet of each family through `lo`; IPv4 answers with an ICMP message.
fn send_both(netns: &Netns) {
    let send = || {
        Tool::find("ip").unwrap().args(["link", "set", "lo", "up"]).run().unwrap();
        for (from, to) in [("127.0.0.1:0", "127.0.0.1:9"), ("[::1]:0", "[::1]:9")] {
            std::net::UdpSocket::bind(from).unwrap().send_to(b"x", to).unwrap();
        }
    };
    netns.run(send).unwrap();
}

#[test]
fn a_list_that_both_families_use_masks_ipv6_addresses_as_the_rule_that_made_it_says() {
    for (mask, expect) in [
        ("", "src=0000:0000:0000:0000:0000:0000:0000:0001"),
        ("--mask 255.255.255.255", "src=0000:0000:0000:0000:0000:0000:0000:0000"),
    ] {
        let netns = Netns::create().unwrap();
        sh(&netns, &format!("iptables-nft -A INPUT -m recent --set --name l {mask}"));
        sh(&netns, "ip6tables-nft -A INPUT -m recent --set --name l");
        send_both(&netns);
        let seen =
            netns.run(|| std::fs::read_to_string("/proc/thread-self/net/xt_recent/l").unwrap()).unwrap();
        assert!(seen.contains("src=127.0.0.1 ") && seen.contains(expect), "{mask:?}: {seen}");
    }
}

#[test]
fn no_code_of_icmp_counts_where_the_type_is_any() {
    let netns = Netns::create().unwrap();
    sh(&netns, "iptables-nft -A INPUT -p icmp -m icmp --icmp-type 255/255 -j ACCEPT");
    sh(&netns, "iptables-nft -A INPUT -p icmp -m icmp --icmp-type 3/2 -j ACCEPT");
    send_both(&netns);
    // A port that nobody listens on: type 3, code 3.
    let counted = sh(&netns, "iptables-nft-save -c");
    assert!(counted.contains("[1:57] -A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT"), "{counted}");
    assert!(counted.contains("[0:0] -A INPUT -p icmp -m icmp --icmp-type 3/2 -j ACCEPT"), "{counted}");
}

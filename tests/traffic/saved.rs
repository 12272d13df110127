//! Generated rulesets in iptables' words.

use crate::sampling::Dice;
use std::fmt::Write as _;

/// A ruleset in iptables' words, for iptables-restore or ip6tables-restore.
pub fn saved(dice: &mut Dice, family: u8) -> String {
    let mut out = String::new();
    if dice.once_in(3) {
        out.push_str("*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n");
        for chain in ["PREROUTING", "OUTPUT"] {
            writeln!(
                out,
                "-A {chain} {} -j {}",
                xt_match(dice, family, chain),
                dice.one(&["CT --notrack", "DROP", "ACCEPT"])
            )
            .unwrap();
        }
        out.push_str("COMMIT\n");
    }
    if dice.once_in(2) {
        out.push_str("*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n");
        for chain in ["PREROUTING", "FORWARD", "OUTPUT", "INPUT"] {
            let target = *dice.one(&[
                "MARK --set-mark 1",
                "MARK --set-xmark 0x2/0x3",
                "MARK --or-mark 2",
                "CONNMARK --save-mark",
                "CONNMARK --restore-mark",
                "CONNMARK --set-mark 3",
                "DSCP --set-dscp 10",
                "TOS --set-tos 0x10",
                "DROP",
            ]);
            writeln!(out, "-A {chain} {} -j {target}", xt_match(dice, family, chain)).unwrap();
        }
        out.push_str("COMMIT\n");
    }
    if dice.once_in(3) {
        out.push_str("*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n");
        let to = if family == 4 {
            "DNAT --to-destination 10.9.9.9"
        } else {
            "DNAT --to-destination 2001:db8:9::9"
        };
        let from = if family == 4 { "SNAT --to-source 10.8.8.8" } else { "SNAT --to-source 2001:db8:8::8" };
        let network = if family == 4 { "NETMAP --to 10.9.0.0/16" } else { "NETMAP --to 2001:db8:9::/64" };
        for (chain, targets) in [
            ("PREROUTING", [to, network]),
            ("PREROUTING", ["REDIRECT -p tcp --to-ports 8080", network]),
            ("POSTROUTING", [from, network]),
        ] {
            let target = targets[usize::from(dice.once_in(4))];
            let (target, proto) = target
                .split_once(" -p tcp")
                .map_or((target.to_owned(), ""), |(a, b)| (format!("{a}{b}"), "-p tcp"));
            let matching = if proto.is_empty() {
                xt_match(dice, family, chain)
            } else {
                format!("-p tcp --dport {}", 1 + dice.below(60_000))
            };
            writeln!(out, "-A {chain} {matching} -j {target}").unwrap();
        }
        out.push_str("COMMIT\n");
    }
    out.push_str("*filter\n");
    for chain in ["INPUT", "FORWARD", "OUTPUT"] {
        writeln!(out, ":{chain} {} [0:0]", dice.one(&["ACCEPT", "DROP"])).unwrap();
    }
    out.push_str(":one - [0:0]\n:two - [0:0]\n");
    for chain in ["INPUT", "FORWARD", "OUTPUT", "one", "two"] {
        for _ in 0..1 + dice.below(5) {
            let target = match (dice.below(10), chain) {
                (0, "INPUT" | "FORWARD" | "OUTPUT") => "-j one",
                (1, "INPUT" | "FORWARD" | "OUTPUT") => "-g two",
                (0..=2, "one") => "-j two",
                (3, _) => "-j RETURN",
                (4 | 5, _) => "-j DROP",
                (6, _) => "-j REJECT",
                _ => "-j ACCEPT",
            };
            writeln!(out, "-A {chain} {} {target}", xt_match(dice, family, chain)).unwrap();
        }
    }
    out.push_str("COMMIT\n");
    out
}

fn xt_match(dice: &mut Dice, family: u8, chain: &str) -> String {
    let port = dice.below(65_000);
    let (low, high) = (port / 2, port);
    let (net, other) = if family == 4 {
        (format!("10.{}.0.0/{}", dice.below(9), 16 + dice.below(9)), "10.1.1.1-10.1.2.77")
    } else {
        (format!("2001:db8:{}::/{}", dice.below(9), 48 + dice.below(9)), "2001:db8:1::1-2001:db8:1::77")
    };
    let not = *dice.one(&["", "", "! "]);
    let state = *dice.one(&["NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED"]);
    let hop = if family == 4 { "ttl --ttl" } else { "hl --hl" };
    let icmp = if family == 4 { "-p icmp -m icmp --icmp-type" } else { "-p icmpv6 -m icmp6 --icmpv6-type" };
    let has_in = !matches!(chain, "OUTPUT" | "POSTROUTING");
    let has_out = matches!(chain, "OUTPUT" | "POSTROUTING" | "FORWARD" | "one" | "two");
    match dice.below(26) {
        0 => format!("-p tcp -m tcp {not}--dport {port}"),
        1 => format!("-p udp -m udp {not}--sport {low}:{high}"),
        2 => format!("{not}-s {net}"),
        3 => format!("{not}-d {net}"),
        4 => format!("-m conntrack {not}--ctstate {state}"),
        5 => format!("-m state --state {state}"),
        6 => format!(
            "-p tcp -m multiport {not}--dports {low},{}:{}",
            high.saturating_add(1).min(65_000),
            high.min(65_000) + 50
        ),
        7 => format!("-p udp -m multiport --ports {low}:{high}"),
        8 => format!("-p tcp -m tcp {not}--tcp-flags FIN,SYN,RST,ACK SYN"),
        9 => format!("-p tcp {not}--syn"),
        10 => format!("-m mark {not}--mark 0x{:x}/0x3", dice.below(4)),
        11 => format!("-m connmark {not}--mark {}", dice.below(4)),
        12 => format!("-m iprange {not}--src-range {other}"),
        13 => format!("-m iprange {not}--dst-range {other}"),
        14 if !matches!(chain, "PREROUTING" | "FORWARD") || dice.once_in(2) => format!(
            "{icmp} {}",
            if family == 4 {
                dice.one(&["8", "3/1", "any", "11"])
            } else {
                dice.one(&["128", "1/4", "3", "135"])
            }
        ),
        15 if has_in => format!("{not}-i {}", dice.one(&["eth0", "w+", "lo", "eth+"])),
        16 if has_out => format!("{not}-o {}", dice.one(&["eth0", "w+", "lo", "eth1"])),
        17 => format!("-m dscp {not}--dscp {}", dice.below(3) * 10),
        18 => format!("-m tos {not}--tos 0x10/0x3f"),
        19 if !matches!(chain, "PREROUTING" | "FORWARD") => {
            format!("-m {hop}-{} {}", dice.one(&["eq", "lt", "gt"]), 60 + dice.below(8))
        }
        20 => format!("-m length {not}--length {}", dice.one(&["28", "40:60", "48"])),
        21 if chain == "INPUT" => format!("-m addrtype {not}--dst-type LOCAL"),
        22 => format!("-m conntrack --ctdir {}", dice.one(&["ORIGINAL", "REPLY"])),
        23 => format!("-m conntrack {not}--ctorigdst {net}"),
        24 => format!("-m conntrack --ctproto 17 {not}--ctorigdstport {low}:{high}"),
        25 if chain == "OUTPUT" => format!("-m owner {not}--uid-owner {}", dice.one(&["0", "1000", "0-99"])),
        _ => format!("{not}-p {}", dice.one(&["tcp", "udp", "47", "sctp"])),
    }
}

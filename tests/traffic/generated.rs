//! Generated rulesets of all that the engine has a model for, in nft's and in iptables' words.

use crate::agreement::{self, Tally, compare};
use crate::kernel::{Backend, Lab};
use crate::sampling::{Dice, Wanted};
use crate::saved::saved;
use std::fmt::Write as _;

pub const INTERFACES: [&str; 4] = ["eth0", "eth1", "wan0", "wlan0"];

#[test]
fn generated_rulesets_do_to_packets_what_the_kernel_does() {
    let budget = agreement::budget() * 4 / 5;
    let (native, saved) = std::thread::scope(|scope| {
        let native = scope.spawn(|| of_nft(budget * 3 / 4));
        let saved = scope.spawn(|| of_iptables(budget / 4));
        (native.join().unwrap(), saved.join().unwrap())
    });
    agreement::conclude(&[("generated for nft", native), ("generated for iptables", saved)]);
}

fn of_nft(budget: usize) -> Tally {
    let mut tally = Tally::default();
    let mut number = 0;
    let mut lab = Lab::new(&INTERFACES);
    while tally.asked < budget && tally.wrong.len() < 5 {
        number += 1;
        let mut dice = Dice(agreement::seed() << 32 | number);
        let rules = ruleset(&mut dice);
        lab.flush();
        let rules = loaded(rules, |text| lab.load_nft(text));
        let read = lab.ruleset();
        let wanted = Wanted { inside: 5, beside: 3, most: 50 };
        let name = format!("ruleset {number}\n{rules}");
        tally.add(compare(&mut lab, &name, &read, wanted, &mut dice));
    }
    tally
}

fn of_iptables(budget: usize) -> Tally {
    let mut tally = Tally::default();
    let mut number = 0;
    let mut lab = Lab::new(&INTERFACES);
    let mut scratch = Lab::new(&INTERFACES);
    while tally.asked < budget && tally.wrong.len() < 5 {
        number += 1;
        let mut dice = Dice(agreement::seed() << 33 | number);
        let family = if dice.once_in(3) { 6 } else { 4 };
        let rules = saved(&mut dice, family);
        let backend = if dice.once_in(2) { Backend::Nft } else { Backend::Legacy };
        lab.flush();
        scratch.flush();
        let rules = loaded(rules, |text| lab.load_iptables(family, text, backend));
        // What iptables-legacy holds is read as iptables-nft loads it.
        let read = match backend {
            Backend::Nft => lab.ruleset(),
            Backend::Legacy => {
                scratch.load_iptables(family, &rules, Backend::Nft).unwrap();
                scratch.ruleset()
            }
        };
        let wanted = Wanted { inside: 5, beside: 3, most: 50 };
        let name = format!("ruleset {number} for {backend:?}\n{rules}");
        tally.add(compare(&mut lab, &name, &read, wanted, &mut dice));
    }
    tally
}

/// Loads a ruleset without the rules that its program refuses: not all that is generated makes sense together.
pub fn loaded(mut rules: String, mut load: impl FnMut(&str) -> Result<(), String>) -> String {
    for _ in 0..40 {
        let Err(error) = load(&rules) else { return rules };
        let refused = lines(&error);
        assert!(!refused.is_empty(), "{error}\n{rules}");
        let kept = rules.lines().zip(1..).filter(|(line, number)| {
            let is_rule = !["chain ", "table ", "set ", "map ", "}", ":", "*"]
                .iter()
                .any(|word| line.starts_with(word));
            assert!(is_rule || !refused.contains(number), "{error}\n{rules}");
            !refused.contains(number)
        });
        rules = kept.map(|(line, _)| format!("{line}\n")).collect();
    }
    panic!("cannot be loaded\n{rules}");
}

/// The lines that nft (`/dev/stdin:7:1-5: Error`) or iptables-restore (`line: 7`, `line 7 failed`) finds fault with.
fn lines(error: &str) -> Vec<usize> {
    let after = |text: &str, word: &str| {
        let rest = text.split(word).nth(1)?.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let one = |text: &str| {
        let nft = text.contains("Error").then(|| after(text, "stdin:")).flatten();
        nft.or_else(|| after(text, "line:")).or_else(|| after(text, "line "))
    };
    error.lines().filter_map(one).collect()
}

/// Families that a rule can be in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Inet,
    Ip,
    Ip6,
}

impl Family {
    fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        }
    }
}

/// A ruleset of one to three tables.
pub fn ruleset(dice: &mut Dice) -> String {
    let mut out = String::new();
    let mut priority = 0;
    for number in 0..1 + dice.below(3) {
        let family = *dice.one(&[Family::Inet, Family::Inet, Family::Ip, Family::Ip6]);
        table(&mut out, family, number, &mut priority, dice);
    }
    if dice.once_in(6) {
        let rules = [
            "udp dport 1-100 drop",
            "tcp flags & (fin|syn) == fin|syn drop",
            "ip saddr 10.0.0.0/8 meta mark set 7",
        ];
        writeln!(out, "table netdev n {{ chain c {{ type filter hook ingress device eth0 priority 0;")
            .unwrap();
        writeln!(out, "{}\n}}\n}}", dice.one(&rules)).unwrap();
    }
    out
}

fn table(out: &mut String, family: Family, number: usize, priority: &mut i32, dice: &mut Dice) {
    writeln!(out, "table {} t{number} {{", family.name()).unwrap();
    sets(out, family, dice);
    // Later chains are only jumped to by earlier ones.
    let inner = 2 + dice.below(3);
    for chain in (0..inner).rev() {
        writeln!(out, "chain i{chain} {{").unwrap();
        rules(out, family, Some(chain), inner, "any", dice);
        out.push_str("}\n");
    }
    let hooks = [
        ("input", 0),
        ("forward", 0),
        ("output", 0),
        ("prerouting", -150),
        ("prerouting", -300),
        ("postrouting", 50),
        ("output", -300),
    ];
    for at in 0..1 + dice.below(4) {
        let (hook, base) = *dice.one(&hooks);
        *priority += 1;
        let policy = *dice.one(&["accept", "drop"]);
        let policy = if base == -300 { "accept" } else { policy };
        let kind = if hook == "output" && dice.once_in(4) { "route" } else { "filter" };
        writeln!(
            out,
            "chain b{at} {{ type {kind} hook {hook} priority {}; policy {policy};",
            base + *priority
        )
        .unwrap();
        if base == -300 && dice.once_in(2) {
            writeln!(out, "{} notrack", matching(family, dice)).unwrap();
        }
        rules(out, family, None, inner, hook, dice);
        out.push_str("}\n");
    }
    if dice.once_in(2) {
        nat(out, family, priority, dice);
    }
    out.push_str("}\n");
}

fn sets(out: &mut String, family: Family, dice: &mut Dice) {
    let address = if family == Family::Ip6 { "ipv6_addr" } else { "ipv4_addr" };
    let nets: Vec<String> = (0..2 + dice.below(4)).map(|n| net(family, n as u8, dice)).collect();
    let list = nets.join(", ");
    writeln!(out, "set nets {{ type {address}; flags interval; auto-merge; elements = {{ {list} }} }}")
        .unwrap();
    let ports: Vec<String> = (0..3).map(|n| (n * 1000 + dice.below(900)).to_string()).collect();
    writeln!(out, "set ports {{ type inet_service; elements = {{ {} }} }}", ports.join(", ")).unwrap();
    let pairs: Vec<String> = (0..3u8)
        .map(|n| format!("{} . {}-{}", net(family, n, dice), 100 * u16::from(n) + 1, 100 * u16::from(n) + 60))
        .collect();
    writeln!(
        out,
        "set pairs {{ type {address} . inet_service; flags interval; elements = {{ {} }} }}",
        pairs.join(", ")
    )
    .unwrap();
    let names = ["\"eth0\" . tcp . 22", "\"wan0\" . udp . 53", "\"wlan0\" . tcp . 443"];
    writeln!(
        out,
        "set names {{ type ifname . inet_proto . inet_service; elements = {{ {} }} }}",
        names.join(", ")
    )
    .unwrap();
    let verdicts = [
        ("22", "accept"),
        ("1000-2000", "drop"),
        ("53", "continue"),
        ("60000-65535", "return"),
        ("80", "accept"),
    ];
    let elements: Vec<String> =
        verdicts[..2 + dice.below(4)].iter().map(|(port, verdict)| format!("{port} : {verdict}")).collect();
    writeln!(
        out,
        "map verdicts {{ type inet_service : verdict; flags interval; elements = {{ {} }} }}",
        elements.join(", ")
    )
    .unwrap();
    let marks: Vec<String> = (0..3u8).map(|n| format!("{} : {}", net(family, n, dice), n + 1)).collect();
    writeln!(
        out,
        "map marks {{ type {address} : mark; flags interval; elements = {{ {} }} }}",
        marks.join(", ")
    )
    .unwrap();
}

/// One of disjoint networks.
fn net(family: Family, number: u8, dice: &mut Dice) -> String {
    let length = 1 + dice.below(8);
    match family {
        Family::Ip6 if dice.once_in(4) => format!("2001:db8:{number:x}::1-2001:db8:{number:x}::ff"),
        Family::Ip6 => format!("2001:db8:{number:x}::/{}", 56 - length),
        Family::Ip | Family::Inet if dice.once_in(4) => {
            format!("10.{number}.0.{}-10.{number}.3.{}", 1 + dice.below(200), dice.below(250))
        }
        Family::Ip | Family::Inet if dice.once_in(4) => format!("10.{number}.1.{}", 1 + dice.below(250)),
        Family::Ip | Family::Inet => {
            format!("10.{number}.{}.0/{}", (dice.below(250) >> length) << length & 0xff, 24 - length.min(7))
        }
    }
}

fn rules(
    out: &mut String,
    family: Family,
    of_chain: Option<usize>,
    inner: usize,
    hook: &str,
    dice: &mut Dice,
) {
    for _ in 0..2 + dice.below(6) {
        let mut parts = Vec::new();
        for _ in 0..1 + dice.below(2) {
            parts.push(matching(family, dice));
        }
        if dice.once_in(6) {
            parts.push(of_hook(hook, dice));
        }
        let end = statement(family, of_chain, inner, hook, dice);
        writeln!(out, "{} {end}", parts.join(" ")).unwrap();
    }
}

fn of_hook(hook: &str, dice: &mut Dice) -> String {
    let of_in = [
        "iifname \"eth0\"",
        "iifname != \"lo\"",
        "iifname \"w*\"",
        "iif \"eth1\"",
        "iifgroup 0",
        "iifname { \"eth0\", \"wan0\" }",
        "iiftype ether",
        "iifname \"eth*\"",
    ];
    let of_out = [
        "oifname \"eth0\"",
        "oifname != { \"eth1\", \"wan0\" }",
        "oif \"eth1\"",
        "oifname \"wan*\"",
        "oifgroup != 3",
    ];
    let list: &[&str] = match hook {
        "output" => {
            &["meta skuid 0", "meta skuid != 0", "meta skuid 1000-2000", "oifname \"lo\"", "oif eth0"]
        }
        "input" | "prerouting" if dice.once_in(3) => &[
            "fib daddr type local",
            "fib daddr type != local",
            "pkttype host",
            "pkttype multicast",
            "fib daddr type { local, broadcast }",
        ],
        "postrouting" => &of_out,
        "input" | "prerouting" => &of_in,
        _ if dice.once_in(2) => &of_in,
        _ => &of_out,
    };
    (*dice.one(list)).to_owned()
}

fn matching(family: Family, dice: &mut Dice) -> String {
    let port = dice.below(65_000);
    let (low, high) = (port / 2, port);
    let address = match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
        Family::Inet if dice.once_in(2) => "ip6",
        Family::Inet => "ip",
    };
    let of_address = if address == "ip6" { Family::Ip6 } else { Family::Ip };
    let end = *dice.one(&["saddr", "daddr"]);
    let number = dice.below(8) as u8;
    let network = net(of_address, number, dice);
    // Sets of a table of inet are of IPv4.
    let named = if family == Family::Ip6 { "ip6" } else { "ip" };
    let icmp = if address == "ip6" { "icmpv6" } else { "icmp" };
    let not = *dice.one(&["", "", "!= "]);
    match dice.below(58) {
        0 | 1 => format!("tcp dport {not}{port}"),
        2 => format!("udp sport {not}{low}-{high}"),
        3 | 4 => format!("tcp dport {not}{{ {low}, {}-{} }}", high + 1, high + 40),
        5 | 6 => format!("{address} {end} {not}{network}"),
        7 => format!("{address} {end} {not}{{ {}, {} }}", net(of_address, 1, dice), net(of_address, 2, dice)),
        8 => format!("{named} {end} {not}@nets"),
        9 => format!("udp dport {not}@ports"),
        10 => format!("{named} {end} . tcp dport {not}@pairs"),
        11 => "iifname . meta l4proto . th dport @names".to_owned(),
        12 => format!(
            "ct state {}",
            dice.one(&["new", "established", "established,related", "invalid", "untracked", "new,untracked"])
        ),
        13 => format!("ct state != {}", dice.one(&["new", "established", "invalid"])),
        14 => format!("ct direction {}", dice.one(&["original", "reply"])),
        15 => format!("meta mark {not}{}", dice.below(4)),
        16 => format!("meta mark and 0x{:x} == 0x{:x}", 1 << (number % 4), (number % 2) << (number % 4)),
        17 => format!("ct mark {not}{}", dice.below(4)),
        18 => format!(
            "tcp flags & (fin|syn|rst|ack) {} {}",
            dice.one(&["==", "!="]),
            dice.one(&["syn", "ack", "fin|ack"])
        ),
        19 => format!("tcp flags {}", dice.one(&["syn", "syn,ack", "!= 0", "& (syn|ack) == 0"])),
        20 => format!(
            "{icmp} type {}",
            dice.one(&[
                "echo-request",
                "{ echo-request, echo-reply }",
                "!= echo-request",
                "destination-unreachable"
            ])
        ),
        21 => format!("{icmp} code {}", dice.one(&["0", "1-4", "!= 3"])),
        22 => format!("meta l4proto {not}{}", dice.one(&["tcp", "udp", "{ tcp, udp }", "icmp", "47", "132"])),
        23 => format!("{address} dscp {not}{}", dice.one(&["cs1", "ef", "{ af11, af12 }", "0-9"])),
        24 => format!("th dport {not}{port}"),
        25 => format!("meta l4proto {{ tcp, udp }} th sport {not}{low}-{high}"),
        26 => format!("meta l4proto udp @th,16,16 {not}{port}"),
        27 if of_address == Family::Ip => "ip saddr & 0.0.255.0 == 0.0.1.0".to_owned(),
        27 => "ip6 saddr & ::ffff == ::1".to_owned(),
        28 => format!("tcp dport & {} == {}", 0x0f0f, port & 0x0f0f),
        29 => format!("sctp dport {not}{low}-{high}"),
        30 => format!("meta nfproto {}", dice.one(&["ipv4", "ipv6"])),
        31 if family != Family::Ip6 => {
            format!("ip protocol {not}{}", dice.one(&["tcp", "{ udp, icmp }", "47"]))
        }
        31 => format!("ip6 nexthdr {not}{}", dice.one(&["tcp", "{ udp, ipv6-icmp }", "47"])),
        32 => format!("ct original {address} {end} {network}"),
        33 => format!(
            "meta l4proto tcp ct {} {} {low}-{high}",
            dice.one(&["original", "reply"]),
            dice.one(&["proto-src", "proto-dst"])
        ),
        34 => format!("{address} {end} . th dport {{ {network} . {low}-{high} }}"),
        35 if of_address == Family::Ip => format!("ip ecn {not}{}", dice.one(&["ce", "not-ect"])),
        35 => format!("ip6 ecn {not}{}", dice.one(&["ce", "not-ect"])),
        36 if of_address == Family::Ip => "@nh,128,8 10".to_owned(),
        36 => "@nh,64,16 0x2001".to_owned(),
        37 => format!("tcp dport {} {low}", dice.one(&["<", ">", "<=", ">="])),
        38 => format!("meta protocol {}", dice.one(&["ip", "ip6", "{ ip, ip6 }"])),
        39 => format!("ct protocol {}", dice.one(&["tcp", "udp"])),
        40 => format!("meta length {not}{}", dice.one(&["28", "40-60", "48"])),
        41 => format!("udp length {not}8"),
        42 => format!("meta mark {not}{{ 1-2, 5-10 }}"),
        43 => format!("ct mark {not}1-2"),
        44 => format!("meta mark {} 2", dice.one(&[">=", "<", ">"])),
        45 => format!(
            "{address} {end} . meta l4proto . th dport {not}{{ {network} . tcp . {low}-{high}, {network} . udp . 53 }}"
        ),
        46 => "limit rate 5/second".to_owned(),
        47 => "numgen random mod 2 0".to_owned(),
        48 => format!("ct status {}", dice.one(&["dnat", "assured", "!= confirmed"])),
        49 => format!("tcp option maxseg {}", dice.one(&["exists", "missing", "size 1-1000"])),
        50 => "iifname . oifname { \"eth0\" . \"eth1\", \"wan0\" . \"eth0\" }".to_owned(),
        51 => format!("{icmp} type . {icmp} code {{ echo-request . 0, destination-unreachable . 4 }}"),
        52 => "fib saddr type local".to_owned(),
        53 => "socket transparent 1".to_owned(),
        54 => format!("ct mark & 0x3 {} 1", dice.one(&["==", "!="])),
        55 => format!("{address} saddr . {address} daddr {{ {network} . {network} }}"),
        56 => "ct state . ct direction { new . original, established . reply }".to_owned(),
        _ => format!("ct state & (new|established) {} 0", dice.one(&["!=", "=="])),
    }
}

fn statement(family: Family, of_chain: Option<usize>, inner: usize, hook: &str, dice: &mut Dice) -> String {
    // Of the chains behind this one.
    let from = of_chain.map_or(0, |chain| chain + 1);
    let behind = (from < inner).then(|| from + dice.below(inner - from));
    let named = if family == Family::Ip6 { "ip6" } else { "ip" };
    let reject = !matches!(hook, "prerouting" | "postrouting" | "any");
    match (dice.below(28), behind) {
        (0..=4, _) => "accept".to_owned(),
        (5..=7, _) => "drop".to_owned(),
        (8, _) => format!("counter {}", dice.one(&["return", "continue", "accept"])),
        (9 | 10, Some(chain)) => format!("jump i{chain}"),
        (11, Some(chain)) => format!("goto i{chain}"),
        (12, _) => format!("meta mark set {}", dice.below(4)),
        (13, _) => format!("meta mark set meta mark {} accept", dice.one(&["or 2", "and 1", "xor 3"])),
        (14, _) => format!(
            "{} {}",
            dice.one(&["ct mark set 1", "ct mark set 2", "ct mark set meta mark", "meta mark set ct mark"]),
            dice.one(&["", "accept"])
        ),
        (15, _) => format!("{} dport vmap @verdicts", dice.one(&["tcp", "udp", "th"])),
        (16, Some(chain)) => format!(
            "ct state vmap {{ new : jump i{chain}, established : accept, related : accept, invalid : drop }}"
        ),
        (17, _) => format!("meta mark set {named} saddr map @marks"),
        (18, _) if reject => "reject".to_owned(),
        (18, Some(chain)) => format!("meta l4proto vmap {{ tcp : goto i{chain}, udp : return, 47 : drop }}"),
        (19, _) => "meta mark set tcp dport map { 22 : 1, 80-90 : 2, 1000-2000 : 3 }".to_owned(),
        (20, _) => format!(
            "iifname vmap {{ \"eth0\" : {}, \"w*\" : {} }}",
            dice.one(&["accept", "return"]),
            dice.one(&["drop", "continue"])
        ),
        (21, Some(chain)) => {
            format!(
                "th dport vmap {{ 1-100 : jump i{chain}, 200 : drop, 1000-30000 : goto i{chain}, * : return }}"
            )
        }
        (22, _) => {
            "jump { meta mark 1 accept; tcp dport 22 drop; udp dport 1-1000 return; meta mark set 1; }"
                .to_owned()
        }
        (23, _) => format!(
            "meta mark set {named} saddr . th dport map {{ {} . 1-30000 : 2, {} . 53 : 3 }}",
            net(family, 1, dice),
            net(family, 2, dice)
        ),
        (24, _) => format!(
            "ct mark set {}",
            dice.one(&["meta mark and 0xff or 0x100", "ct mark or 2", "meta mark xor 1"])
        ),
        (25, _) => format!(
            "meta mark set {}",
            dice.one(&["meta mark lshift 1", "ct mark rshift 1", "tcp dport", "numgen inc mod 2"])
        ),
        (26, _) => format!(
            "meta l4proto . th dport vmap {{ tcp . 22 : accept, udp . 1-1000 : drop, tcp . 80-90 : {} }}",
            dice.one(&["return", "continue"])
        ),
        _ => "log continue".to_owned(),
    }
}

fn nat(out: &mut String, family: Family, priority: &mut i32, dice: &mut Dice) {
    let (v4, v6) = ("10.9.9.9", "2001:db8:9::9");
    let to = match family {
        Family::Ip => format!("dnat to {v4}"),
        Family::Ip6 => format!("dnat to {v6}"),
        Family::Inet => format!("dnat ip to {v4}"),
    };
    let with_port = match family {
        Family::Ip6 => format!("dnat to [{v6}]:8080"),
        Family::Ip => format!("dnat to {v4}:8080"),
        Family::Inet => format!("dnat ip to {v4}:8080"),
    };
    let key = if family == Family::Ip6 { "ip6" } else { "ip" };
    let map = if family == Family::Ip6 {
        "dnat to ip6 daddr map { 2001:db8:1::1 : 2001:db8:9::1, 2001:db8:2::2 : 2001:db8:9::2 }".to_owned()
    } else if family == Family::Ip {
        "dnat to tcp dport map { 80 : 10.9.9.1, 443 : 10.9.9.2 }".to_owned()
    } else {
        "dnat ip to tcp dport map { 80 : 10.9.9.1, 443 : 10.9.9.2 }".to_owned()
    };
    *priority += 1;
    writeln!(out, "chain n0 {{ type nat hook prerouting priority {}; policy accept;", -100 + *priority)
        .unwrap();
    for _ in 0..1 + dice.below(2) {
        let target = match dice.below(7) {
            4 if family == Family::Ip => {
                "dnat to ip daddr . tcp dport map { 10.1.1.1 . 80 : 10.9.9.1 . 8080, 10.2.2.2 . 443 : 10.9.9.2 . 8443 }"
                    .to_owned()
            }
            0 => to.clone(),
            1 => format!("meta l4proto tcp {with_port}"),
            2 => format!("meta l4proto tcp redirect to :{}", 1 + dice.below(9000)),
            3 => map.clone(),
            5 if family == Family::Ip6 => {
                "dnat ip6 prefix to ip6 daddr map { 2001:db8:1::/48 : 2001:db8:9::/48 }".to_owned()
            }
            5 => "dnat ip prefix to ip daddr map { 10.1.0.0/16 : 10.9.0.0/16, 10.2.2.0/24 : 10.8.8.0/24 }".to_owned(),
            _ => (*dice.one(&["accept", "drop", "return"])).to_owned(),
        };
        writeln!(out, "{} {target}", matching(family, dice)).unwrap();
    }
    out.push_str("}\n");
    if dice.once_in(2) {
        *priority += 1;
        writeln!(out, "chain n1 {{ type nat hook postrouting priority {}; policy accept;", 100 + *priority)
            .unwrap();
        let snat = match family {
            Family::Ip => "snat to 10.8.8.8",
            Family::Ip6 => "snat to 2001:db8:8::8",
            Family::Inet => "snat ip to 10.8.8.8",
        };
        let mapped = if family == Family::Ip {
            "snat to ip saddr map { 10.1.0.0/16 : 10.8.0.1, 10.2.0.0/16 : 10.8.1.1 }"
        } else {
            snat
        };
        let target = *dice.one(&[snat, mapped, "masquerade", "accept", "drop"]);
        writeln!(out, "{} {target}\n}}", matching(family, dice)).unwrap();
        writeln!(
            out,
            "chain f1 {{ type filter hook postrouting priority {}; policy accept;",
            200 + *priority
        )
        .unwrap();
        writeln!(out, "{key} saddr {} drop\n}}", net(family_of(key), 8, dice)).unwrap();
    }
}

fn family_of(key: &str) -> Family {
    if key == "ip6" { Family::Ip6 } else { Family::Ip }
}

//! Real packets through real rules: what the kernel counts against what the lowered rules say of the same packet.

use crate::support::Host;
use fwdrift::traffic::space::Kind;
use std::net::UdpSocket;

/// A packet that is sent over `lo`.
struct Sent {
    from: &'static str,
    to: &'static str,
    ttl: u32,
    service: u8,
    length: usize,
}

const fn sent(from: &'static str, to: &'static str, ttl: u32, service: u8, length: usize) -> Sent {
    Sent { from, to, ttl, service, length }
}

const PACKETS: &[Sent] = &[
    sent("127.0.0.1:4001", "127.0.0.2:53", 64, 0, 10),
    sent("127.0.0.1:4002", "127.0.0.2:80", 64, 0x10, 100),
    sent("127.0.0.3:53", "127.0.0.2:85", 5, 0xb8, 72),
    sent("127.0.0.5:4003", "127.0.1.7:90", 1, 0x12, 71),
    sent("127.0.0.9:80", "127.1.2.3:91", 255, 0xb9, 500),
    sent("127.0.0.10:81", "127.1.0.3:22", 63, 0x04, 172),
    sent("127.9.0.1:22", "127.1.1.1:4242", 7, 0xfc, 173),
    sent("127.0.0.1:999", "127.0.0.1:1000", 6, 0x01, 0),
];

const RULES: &[&str] = &[
    "-p udp -m multiport --dports 53,80:90",
    "-p udp -m multiport ! --dports 53,80:90",
    "-p udp -m multiport --ports 22,80",
    "-p udp -m multiport ! --ports 22,80",
    "-p udp -m multiport --sports 4000:4999,22",
    "-p tcp -m multiport ! --sports 4000:4999,22",
    "-p udp -m udp --sport 80:81 ! --dport 22",
    "-m iprange --src-range 127.0.0.3-127.0.0.9",
    "-m iprange ! --src-range 127.0.0.3-127.0.0.9 --dst-range 127.0.0.0-127.0.0.255",
    "-m ttl --ttl-lt 7",
    "-m ttl --ttl-gt 63",
    "-m ttl ! --ttl-eq 64",
    "-m length --length 100:200",
    "-m length ! --length 99:200",
    "-m dscp --dscp 0x2e",
    "-m dscp ! --dscp 4",
    "-m tos --tos 0x10/0x10",
    "-m tos ! --tos 0/0xfc",
    "-m ecn --ecn-ip-ect 1",
    "-m ecn ! --ecn-ip-ect 0",
    "-m owner --uid-owner 0",
    "-m owner ! --uid-owner 0-10",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype ! --dst-type LOCAL",
    "-m addrtype --src-type UNICAST,MULTICAST",
    "-m conntrack --ctstate NEW",
    "-m conntrack ! --ctstate NEW,ESTABLISHED",
    "-m conntrack --ctdir REPLY",
    "-m conntrack --ctorigsrc 127.0.0.0/24 --ctorigdstport 80:90",
    "-m conntrack ! --ctorigdst 127.0.0.2 --ctproto 17",
    "-m u32 --u32 6&0xFF=17&&16&0xffffff00=0x7f010100:0x7f0102ff",
    "-m u32 ! --u32 8>>24=1:7",
    "-m set --match-set nets src",
    "-m set ! --match-set nets dst",
    "-m set --match-set nets dst --return-nomatch",
    "-m set --match-set services src,dst",
    "-m set --match-set services dst,src",
    "-m set --match-set ports dst",
    "-m set --match-set all dst",
    "-m set --match-set interfaces dst,dst",
];

const SETS: &str = "create nets hash:net\nadd nets 127.0.0.0/24\nadd nets 127.0.0.8/29 nomatch\n\
     add nets 127.0.0.10\nadd nets 127.1.0.0/16\n\
     create services hash:ip,port\nadd services 127.0.0.1,udp:80\nadd services 127.0.0.2,udp:53\n\
     create ports bitmap:port range 0-65535\nadd ports 80-89\nadd ports 22\n\
     create interfaces hash:net,iface\nadd interfaces 127.0.0.0/16,lo\nadd interfaces 127.1.0.0/16,eth0\n\
     create all list:set\nadd all ports\nadd all nets\n";

const PACKETS_6: &[Sent] = &[
    sent("[::1]:4001", "[2001:db8::2]:53", 64, 0, 10),
    sent("[2001:db8::1]:4002", "[2001:db8::2]:80", 255, 0xb8, 72),
    sent("[2001:db8::2]:53", "[::1]:85", 5, 0x12, 71),
    sent("[2001:db8::2]:22", "[2001:db8::1]:4242", 1, 0xff, 172),
];

const RULES_6: &[&str] = &[
    "-p udp -m multiport --ports 53,80:90",
    "-p udp -m multiport ! --sports 53,80:90",
    "-m iprange --src-range ::2-2001:db8::1",
    "-m iprange ! --dst-range ::1-2001:db8::1",
    "-m hl --hl-lt 6",
    "-m hl ! --hl-eq 64",
    "-m length --length 100:119",
    "-m length ! --length 0:120",
    "-m dscp --dscp 0x2e",
    "-m tos ! --tos 0x10/0x3c",
    "-m owner ! --uid-owner 1",
    "-m addrtype --dst-type LOCAL",
    "-m addrtype ! --src-type LOCAL",
    "-m addrtype --dst-type UNICAST",
    "-m addrtype --dst-type MULTICAST",
    "-m addrtype ! --src-type MULTICAST",
    "-m conntrack --ctstate NEW,INVALID --ctorigsrc 2001:db8::/64",
    "-m conntrack ! --ctorigdst ::1",
    "-m u32 --u32 4&0xff00>>8=17",
    "-m set --match-set nets src",
    "-m set ! --match-set services src,dst",
    "-m set --match-set ports src",
];

const SETS_6: &str = "create nets hash:net family inet6\nadd nets 2001:db8::/32\n\
     add nets 2001:db8::2 nomatch\n\
     create services hash:ip,port family inet6\nadd services ::1,udp:53\nadd services 2001:db8::1,udp:80\n\
     create ports bitmap:port range 0-65535\nadd ports 53\n";

/// One family's programs and cases.
struct Cases {
    kind: Kind,
    program: &'static str,
    sets: &'static str,
    rules: &'static [&'static str],
    packets: &'static [Sent],
}

/// Packets that each of the rules has counted so far, by the number of its chain.
fn counted(host: &Host, cases: &Cases) -> Vec<u64> {
    let text = host.output(&format!("{}-save", cases.program), &["-c", "-t", "mangle"]);
    let mut counts = vec![0; cases.rules.len()];
    for line in text.lines().filter(|line| line.contains("-A c")) {
        let (count, rest) = line.trim_start_matches('[').split_once(':').unwrap();
        let chain = rest.split_once("-A c").unwrap().1.split(' ').next().unwrap();
        counts[chain.parse::<usize>().unwrap()] = count.parse().unwrap();
    }
    counts
}

/// Sends one packet; nothing else goes out.
fn send(host: &Host, packet: &Sent) {
    host.inside(|| {
        // Somebody listens, so that no ICMP error goes out, too.
        let _listener = UdpSocket::bind(packet.to).unwrap();
        let socket = UdpSocket::bind(packet.from).unwrap();
        if packet.from.starts_with('[') {
            rustix::net::sockopt::set_ipv6_unicast_hops(&socket, Some(packet.ttl as u8)).unwrap();
            rustix::net::sockopt::set_ipv6_tclass(&socket, packet.service.into()).unwrap();
        } else {
            socket.set_ttl(packet.ttl).unwrap();
            rustix::net::sockopt::set_ip_tos(&socket, packet.service).unwrap();
        }
        socket.send_to(&vec![0; packet.length], packet.to).unwrap();
    });
}

/// What is known of a packet.
fn words(packet: &Sent, kind: Kind) -> String {
    let (from, source) = packet.from.rsplit_once(':').unwrap();
    let (to, target) = packet.to.rsplit_once(':').unwrap();
    let (from, to) = (from.trim_matches(['[', ']']), to.trim_matches(['[', ']']));
    // An IPv6 header does not count itself.
    let header = if kind == Kind::Ip6 { 8 } else { 28 };
    format!(
        "saddr {from}, daddr {to}, protocol 17, sport {source}, dport {target}, ttl {}, service {}, length {}, \
         uid 0, oif lo, daddrtype 2, saddrtype 2, ctproto 17, ctorigsrc {from}, ctorigdst {to}, ctorigdstport {target}",
        packet.ttl,
        packet.service,
        packet.length + header,
    )
}

/// Returns how many times a rule matched, and how many times one was asked.
fn check(host: &Host, cases: &Cases) -> (u64, usize) {
    host.ipset(cases.sets);
    let rules: Vec<String> = cases.rules.iter().map(|rule| format!("{rule} -j RETURN")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    host.load(&format!("{}-restore", cases.program), "mangle", &rules);
    for at in 0..cases.rules.len() {
        let args = ["-t", "mangle", "-A", "OUTPUT", "-j", &format!("c{at}")].map(str::to_owned);
        host.run(cases.program, &args, None).unwrap();
    }
    let mut lowered = host.lowered(cases.kind);
    let mut matched = 0;
    for packet in cases.packets {
        let before = counted(host, cases);
        send(host, packet);
        let after = counted(host, cases);
        let words = words(packet, cases.kind);
        let one = lowered.packet(&words);
        for (at, rule) in cases.rules.iter().enumerate() {
            let kernel = after[at] - before[at];
            assert!(kernel <= 1, "{rule}: {kernel}");
            assert_eq!(lowered.matches(at, &one), kernel == 1, "{rule}: {words}");
            matched += kernel;
        }
    }
    (matched, cases.packets.len() * cases.rules.len())
}

#[test]
fn the_kernel_counts_the_packets_that_the_lowered_rule_matches() {
    let host = Host::new();
    host.run("ip", &["link", "set", "lo", "up"].map(str::to_owned), None).unwrap();
    let program = "iptables-nft";
    let cases = Cases { kind: Kind::Ip4, program, sets: SETS, rules: RULES, packets: PACKETS };
    let (matched, asked) = check(&host, &cases);
    // Neither all nor nothing.
    assert!(asked == 320 && (80..240).contains(&matched), "{matched} of {asked}");
}

#[test]
fn the_kernel_counts_the_same_packets_of_ipv6() {
    let host = Host::new();
    host.run("ip", &["link", "set", "lo", "up"].map(str::to_owned), None).unwrap();
    for address in ["2001:db8::1/128", "2001:db8::2/128"] {
        host.run("ip", &["-6", "addr", "add", address, "dev", "lo", "nodad"].map(str::to_owned), None)
            .unwrap();
    }
    let program = "ip6tables-nft";
    let cases = Cases { kind: Kind::Ip6, program, sets: SETS_6, rules: RULES_6, packets: PACKETS_6 };
    let (matched, asked) = check(&host, &cases);
    assert!(asked == 88 && (22..66).contains(&matched), "{matched} of {asked}");
}

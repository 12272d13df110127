//! The laboratory itself: rulesets whose verdict on a packet is beyond doubt.

use crate::kernel::{Backend, Direction, Hook, L4, Lab, Packet, Path, Seen, State};
use Path::{Forward, Input, Output};
use Seen::{Accepted, Dropped};
use std::net::IpAddr;

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

pub fn packet(src: &str, dst: &str, l4: L4) -> Packet {
    Packet::new(src.parse().unwrap(), dst.parse().unwrap(), l4)
}

pub fn tcp(dport: u16) -> L4 {
    L4::Tcp { sport: 40_000, dport, flags: SYN }
}

pub fn udp(dport: u16) -> L4 {
    L4::Udp { sport: 40_000, dport }
}

pub fn icmp(kind: u8) -> L4 {
    L4::Icmp { kind, code: 0, id: 7 }
}

pub fn icmp6(kind: u8) -> L4 {
    L4::Icmp6 { kind, code: 0, id: 7 }
}

/// From and to two addresses of IPv4, or of IPv6.
pub fn v4(l4: L4) -> Packet {
    packet("203.0.113.5", "192.0.2.1", l4)
}

pub fn v6(l4: L4) -> Packet {
    packet("2001:db8:5::5", "2001:db8::1", l4)
}

pub fn both(l4: L4) -> [Packet; 2] {
    [v4(l4), v6(l4)]
}

pub fn from(name: &str, packet: Packet) -> Packet {
    Packet { iif: Some(name.into()), ..packet }
}

pub fn to(name: &str, packet: Packet) -> Packet {
    Packet { oif: Some(name.into()), ..packet }
}

pub fn in_state(state: State, packet: Packet) -> Packet {
    Packet { state, ..packet }
}

pub const ESTABLISHED: State = State::Established(Direction::Original);
pub const ANSWER: State = State::Established(Direction::Reply);

/// A host with `eth0` and `eth1` and this ruleset.
#[track_caller]
pub fn lab(rules: &str) -> Lab {
    let mut lab = Lab::new(&["eth0", "eth1"]);
    lab.load_nft(rules).unwrap();
    lab
}

/// Asks about all packets at once.
#[track_caller]
pub fn check(lab: &mut Lab, path: Path, cases: &[(Packet, Seen)]) {
    let packets: Vec<Packet> = cases.iter().map(|case| case.0.clone()).collect();
    let seen = lab.verdicts(path, &packets);
    let wrong: Vec<_> = cases.iter().zip(&seen).filter(|(case, seen)| case.1 != **seen).collect();
    assert!(wrong.is_empty(), "{path:?}: (what was asked and expected, what was seen) {wrong:#?}");
}

/// One filter chain at the hook that drops all but what these rules accept.
pub fn only(hook: &str, rules: &str) -> String {
    format!("table inet t {{ chain c {{ type filter hook {hook} priority 0; policy drop; {rules}\n}}\n}}")
}

pub const HOOKS: [(Path, &str, Hook); 3] =
    [(Input, "input", Hook::Input), (Forward, "forward", Hook::Forward), (Output, "output", Hook::Output)];

#[test]
fn without_rules_all_kinds_of_packets_are_accepted_on_each_path() {
    let mut lab = Lab::new(&[]);
    let sctp = L4::Sctp { sport: 40_000, dport: 36_412 };
    let mut cases: Vec<(Packet, Seen)> = Vec::new();
    for l4 in [tcp(80), udp(53), sctp, L4::Other(47), L4::Other(88)] {
        cases.extend(both(l4).map(|packet| (packet, Accepted)));
    }
    cases.push((v4(icmp(8)), Accepted));
    cases.push((v4(L4::Other(50)), Accepted));
    cases.push((v6(icmp6(128)), Accepted));
    for (path, ..) in HOOKS {
        check(&mut lab, path, &cases);
    }
}

#[test]
fn a_port_opens_its_protocol_at_its_hook() {
    for (path, name, hook) in HOOKS {
        let mut lab =
            lab(&only(name, "tcp dport 22 accept\nudp sport 40000 udp dport 53 accept\nsctp dport 9 accept"));
        let sctp = |dport| L4::Sctp { sport: 1, dport };
        let open = [tcp(22), udp(53), sctp(9)].into_iter().flat_map(both).map(|packet| (packet, Accepted));
        let closed = [tcp(23), udp(22), tcp(53), sctp(10), L4::Other(47)];
        let closed = closed.into_iter().flat_map(both).map(|packet| (packet, Dropped(hook)));
        check(&mut lab, path, &open.chain(closed).collect::<Vec<_>>());
    }
}

#[test]
fn addresses_are_those_asked_for_on_each_path() {
    let rules = "ip saddr 203.0.113.0/24 ip daddr 192.0.2.1 accept\nip6 saddr 2001:db8:5::/64 accept";
    for (path, name, hook) in HOOKS {
        check(
            &mut lab(&only(name, rules)),
            path,
            &[
                (v4(udp(1)), Accepted),
                (v6(udp(1)), Accepted),
                (packet("203.0.114.5", "192.0.2.1", udp(1)), Dropped(hook)),
                (packet("203.0.113.5", "192.0.2.2", udp(1)), Dropped(hook)),
                (packet("2001:db8:6::5", "2001:db8::1", udp(1)), Dropped(hook)),
            ],
        );
    }
}

#[test]
fn interfaces_are_those_asked_for() {
    let mut input = lab(&only("input", "iifname \"eth1\" accept\niif lo accept"));
    let mut output = lab(&only("output", "oifname \"eth1\" accept\noif lo accept"));
    let mut forward = lab(&only("forward", "iif \"eth0\" oif \"eth1\" accept"));
    for p in both(tcp(80)) {
        let p = || p.clone();
        let dropped = || Dropped(Hook::Input);
        check(
            &mut input,
            Input,
            &[(from("eth0", p()), dropped()), (from("eth1", p()), Accepted), (from("lo", p()), Accepted)],
        );
        let dropped = || Dropped(Hook::Output);
        check(
            &mut output,
            Output,
            &[(to("eth0", p()), dropped()), (to("eth1", p()), Accepted), (to("lo", p()), Accepted)],
        );
        let dropped = || Dropped(Hook::Forward);
        let between = |a, b| from(a, to(b, p()));
        check(
            &mut forward,
            Forward,
            &[
                (between("eth0", "eth1"), Accepted),
                (between("eth1", "eth0"), dropped()),
                (between("eth0", "eth0"), dropped()),
                (between("eth1", "eth1"), dropped()),
            ],
        );
    }
}

#[test]
fn icmp_types_and_codes_are_those_asked_for() {
    let rules = "icmp type echo-request accept\nicmpv6 type { echo-request, nd-neighbor-solicit } accept
        icmp type destination-unreachable icmp code 4 accept";
    let unreachable = |code| in_state(State::Related, v4(L4::Icmp { kind: 3, code, id: 0 }));
    let no = || Dropped(Hook::Input);
    let cases = [
        (v4(icmp(8)), Accepted),
        (v4(icmp(13)), no()),
        (v6(icmp6(128)), Accepted),
        (in_state(ANSWER, v6(icmp6(129))), no()),
        (in_state(State::Untracked, v6(icmp6(135))), Accepted),
        (in_state(State::Untracked, v6(icmp6(136))), no()),
        (unreachable(4), Accepted),
        (unreachable(1), no()),
    ];
    check(&mut lab(&only("input", rules)), Input, &cases);
}

#[test]
fn flags_dscp_and_ttl_are_those_asked_for() {
    let rules = "tcp flags == fin|psh|urg accept\nip dscp 46 accept\nip6 dscp 46 accept\nip ttl 9 accept\nip6 hoplimit 9 accept";
    let xmas = L4::Tcp { sport: 1, dport: 2, flags: 0x29 };
    for (path, name, hook) in HOOKS {
        let mut lab = lab(&only(name, rules));
        for (xmas, plain) in both(xmas).into_iter().zip(both(udp(1))) {
            let dscp = Packet { tos: 46 << 2 | 1, ..plain.clone() };
            // The forward hook comes after the router has taken one off (net/ipv4/ip_forward.c).
            let ttl = Packet { ttl: if path == Forward { 10 } else { 9 }, ..plain.clone() };
            let xmas = in_state(State::Invalid, xmas);
            check(
                &mut lab,
                path,
                &[(xmas, Accepted), (dscp, Accepted), (ttl, Accepted), (plain, Dropped(hook))],
            );
        }
    }
}

#[test]
fn a_packet_with_no_hop_left_never_comes_to_the_forward_hook() {
    let mut lab = Lab::new(&["eth0", "eth1"]);
    for p in both(udp(1)) {
        let seen = lab.verdicts(Forward, &[to("eth1", Packet { ttl: 1, ..p })]);
        assert_eq!(seen, [Seen::NotAsked("does not come to Forward after Prerouting".into())]);
    }
}

#[test]
fn the_hook_that_dropped_is_named() {
    let chain = |hook: &str| {
        format!("table inet t {{ chain c {{ type filter hook {hook} priority 0; udp dport 53 drop; }}\n}}")
    };
    let ingress =
        "table netdev t { chain c { type filter hook ingress device eth0 priority 0; udp dport 53 drop; }\n}";
    let cases = [
        (Input, ingress.to_owned(), Hook::Ingress),
        (Input, chain("prerouting"), Hook::Prerouting),
        (Forward, chain("prerouting"), Hook::Prerouting),
        (Forward, chain("postrouting"), Hook::Postrouting),
        (Output, chain("postrouting"), Hook::Postrouting),
    ];
    for (path, rules, hook) in cases {
        let mut lab = lab(&rules);
        for (dropped, other) in both(udp(53)).into_iter().zip(both(udp(54))) {
            check(&mut lab, path, &[(dropped, Dropped(hook)), (other, Accepted)]);
        }
    }
}

#[test]
fn a_translated_packet_is_known_by_its_tag() {
    let rules = "table inet n {
            chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat ip to 10.0.0.9:80; }
            chain post { type nat hook postrouting priority srcnat; masquerade; }
        }
        table inet t { chain c { type filter hook forward priority 0; policy drop;
            ip daddr 10.0.0.9 tcp dport 80 accept; ct state established accept; }
}";
    let mut lab = lab(rules);
    let through = |p: Packet| to("eth1", p);
    let answer = L4::Tcp { sport: 80, dport: 40_000, flags: ACK };
    check(
        &mut lab,
        Forward,
        &[
            (through(v4(tcp(8080))), Accepted),
            (through(v4(tcp(8081))), Dropped(Hook::Forward)),
            (through(packet("192.0.2.1", "10.0.0.9", tcp(80))), Accepted),
            (through(in_state(ANSWER, packet("10.0.0.9", "203.0.113.5", answer))), Accepted),
        ],
    );
    let here = "table ip n { chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 redirect to :80; }\n}";
    lab.flush();
    lab.load_nft(&format!("{here}\n{}", only("input", "tcp dport 80 accept"))).unwrap();
    check(&mut lab, Input, &[(v4(tcp(8080)), Accepted), (v4(tcp(81)), Dropped(Hook::Input))]);
}

#[test]
fn a_reject_is_a_drop_and_its_answers_disturb_nothing() {
    let mut lab =
        lab(&only("input", "udp dport < 2000 reject\ntcp dport < 2000 reject with tcp reset\naccept"));
    let mut out =
        self::lab(&only("output", "udp dport < 2000 reject\ntcp dport < 2000 reject with tcp reset\naccept"));
    for (lab, path, hook) in [(&mut lab, Input, Hook::Input), (&mut out, Output, Hook::Output)] {
        let mut cases = Vec::new();
        for port in 1000..3000 {
            let seen = if port < 2000 { Dropped(hook) } else { Accepted };
            cases.extend([udp(port), tcp(port)].into_iter().flat_map(both).map(|p| (p, seen.clone())));
        }
        check(lab, path, &cases);
    }
}

#[test]
fn the_destinations_of_input_are_the_hosts_own_and_sources_are_not() {
    let rules = only("input", "fib daddr type local fib saddr type != local accept");
    check(&mut lab(&rules), Input, &both(udp(1)).map(|p| (p, Accepted)));
    let mut iptables = Lab::new(&[]);
    let rules = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m addrtype --dst-type LOCAL ! --src-type LOCAL -j ACCEPT\nCOMMIT\n";
    iptables.load_iptables(4, rules, Backend::Nft).unwrap();
    check(&mut iptables, Input, &[(v4(udp(1)), Accepted)]);
}

#[test]
fn a_source_is_behind_each_interface_to_a_reverse_path_filter() {
    let rules = "table inet t { chain c { type filter hook prerouting priority -10; fib saddr . iif oif missing drop; }\n}";
    let mut lab = lab(rules);
    for p in both(udp(1)) {
        check(&mut lab, Input, &[(from("eth0", p.clone()), Accepted), (from("eth1", p), Accepted)]);
    }
}

#[test]
fn groups_and_broadcast_arrive_at_input() {
    let mut lab = lab(&only("input", "meta pkttype multicast accept\nip daddr 255.255.255.255 accept"));
    let cases = [
        packet("192.0.2.7", "224.0.0.251", udp(5353)),
        packet("192.0.2.7", "239.255.255.250", udp(1900)),
        packet("fe80::7", "ff02::fb", udp(5353)),
        packet("0.0.0.0", "255.255.255.255", udp(67)),
    ];
    check(&mut lab, Input, &cases.map(|p| (p, Accepted)));
}

#[test]
fn both_backends_of_iptables_are_asked() {
    let rules = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]
-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -i eth0 -o eth1 -j ACCEPT\n-A OUTPUT -p udp -j ACCEPT\nCOMMIT\n";
    for backend in [Backend::Nft, Backend::Legacy] {
        let mut lab = Lab::new(&["eth0", "eth1"]);
        for family in [4, 6] {
            lab.load_iptables(family, rules, backend).unwrap();
        }
        let ack = L4::Tcp { sport: 9, dport: 9, flags: ACK };
        for (version, (yes, no)) in both(tcp(22)).into_iter().zip(both(tcp(23))).enumerate() {
            let known = in_state(ANSWER, both(ack)[version].clone());
            check(&mut lab, Input, &[(yes, Accepted), (no, Dropped(Hook::Input)), (known, Accepted)]);
        }
        for p in both(udp(1)) {
            let there = from("eth0", to("eth1", p.clone()));
            let back = from("eth1", to("eth0", p.clone()));
            check(&mut lab, Forward, &[(there, Accepted), (back, Dropped(Hook::Forward))]);
            check(&mut lab, Output, &[(p, Accepted)]);
        }
        check(&mut lab, Output, &both(tcp(1)).map(|p| (p, Dropped(Hook::Output))));
        lab.flush();
        check(&mut lab, Output, &both(tcp(1)).map(|p| (p, Accepted)));
    }
}

#[test]
fn sets_of_ipset_are_matched() {
    let mut lab = Lab::new(&[]);
    lab.load_ipset("create good hash:net family inet\nadd good 203.0.113.0/24\n").unwrap();
    let rules = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m set --match-set good src -j ACCEPT\nCOMMIT\n";
    lab.load_iptables(4, rules, Backend::Nft).unwrap();
    let other = packet("203.0.114.5", "192.0.2.1", udp(1));
    check(&mut lab, Input, &[(v4(udp(1)), Accepted), (other, Dropped(Hook::Input))]);
}

#[test]
fn what_the_host_answers_by_lo_is_not_taken_for_what_was_asked() {
    // Answers go to the host's own addresses here, and their identifications are random.
    let mut lab = lab(&only("input", "udp dport & 1 == 1 reject\naccept"));
    let address = |n: u16| IpAddr::from([192, 0, 2, (n % 64) as u8]);
    let case = |n: u16| {
        let p = Packet::new(address(n), address(n / 64), L4::Udp { sport: n, dport: n });
        (from("lo", p), if n % 2 == 1 { Dropped(Hook::Input) } else { Accepted })
    };
    check(&mut lab, Input, &(1..=4000).map(case).collect::<Vec<_>>());
}

#[test]
fn thousands_of_packets_are_each_given_their_own_verdict() {
    let mut lab = lab(&only("input", "tcp dport & 1 == 1 accept"));
    let packets: Vec<Packet> = (0..20_000u32)
        .map(|n| {
            let src: IpAddr = if n % 3 == 0 {
                std::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(n)).into()
            } else {
                std::net::Ipv4Addr::from(0x0a00_0001 + n).into()
            };
            let dst = if n % 3 == 0 { "2001:db8:1::1" } else { "192.0.2.1" };
            Packet::new(src, dst.parse().unwrap(), tcp((n / 7) as u16))
        })
        .collect();
    let begin = std::time::Instant::now();
    for (path, _, _) in HOOKS {
        let seen = lab.verdicts(path, &packets);
        eprintln!("{path:?}: {} packets, {:?} since the beginning", packets.len(), begin.elapsed());
        for (packet, seen) in packets.iter().zip(seen) {
            let L4::Tcp { dport, .. } = packet.l4 else { unreachable!() };
            let passes = path != Input || dport % 2 == 1;
            assert_eq!(seen, if passes { Accepted } else { Dropped(Hook::Input) }, "{packet:?}");
        }
    }
}

#[test]
fn a_ruleset_that_cannot_be_loaded_is_an_error_and_the_lab_goes_on() {
    let mut lab = Lab::new(&[]);
    let error = lab.load_nft("flush ruleset\ntable inet t { nonsense }").unwrap_err();
    assert!(error.contains("syntax error"), "{error}");
    check(&mut lab, Input, &both(udp(1)).map(|p| (p, Accepted)));
}

#[test]
fn loopback_addresses_come_in_by_another_interface_only_in_ipv4() {
    let mut lab = lab(&only("input", "iif != lo ip daddr 127.0.0.0/8 drop\naccept"));
    let here = |name| from(name, packet("203.0.113.5", "127.0.0.1", udp(1)));
    check(&mut lab, Input, &[(here("eth0"), Dropped(Hook::Input)), (here("lo"), Accepted)]);
    // net/ipv6/ip6_input.c drops it before netfilter sees it.
    let seen = lab.verdicts(Input, &[packet("2001:db8:5::5", "::1", udp(1))]);
    assert_eq!(seen, [Seen::NotAsked("does not come to Prerouting after Ingress".into())]);
}

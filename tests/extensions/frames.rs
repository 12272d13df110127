//! Extensions of ebtables and arptables.

use crate::support::{Fate, Host};
use fwdrift::traffic::program::Verdict;
use fwdrift::traffic::space::Kind;

#[track_caller]
fn check(kind: Kind, rule: &str, hits: &[&str], misses: &[&str]) {
    let host = Host::new();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    host.run("ebtables-nft", &words("-N c0 -P RETURN"), None).unwrap();
    host.run("ebtables-nft", &words(&format!("-A c0 {rule} -j ACCEPT")), None).unwrap();
    let mut lowered = host.lowered(kind);
    for (words, expected) in hits.iter().map(|hit| (hit, true)).chain(misses.iter().map(|miss| (miss, false)))
    {
        let packet = lowered.packet(words);
        let accepted = lowered.send("c0", packet).0 == Fate::Decided(Verdict::Accept);
        assert_eq!(accepted, expected, "{rule}: {words}");
    }
}

#[test]
fn a_bridge_looks_into_the_packets_of_frames() {
    let all = "-p IPv4 --ip-src 10.0.0.0/8 --ip-proto 6 --ip-dport 80:90";
    check(
        Kind::Ip4,
        all,
        &["saddr 10.1.1.1, protocol 6, dport 85"],
        &[
            "saddr 11.1.1.1, protocol 6, dport 85",
            "saddr 10.1.1.1, protocol 6, dport 91",
            "saddr 10.1.1.1, protocol 17, dport 85",
        ],
    );
    check(Kind::Ip6, all, &[], &["protocol 6, dport 85"]);
    check(Kind::Arp, all, &[], &[""]);
    check(Kind::Ip4, "-p IPv4 ! --ip-dst 10.0.0.0/8", &["daddr 11.1.1.1"], &["daddr 10.1.1.1"]);
    check(Kind::Ip4, "-p IPv4 --ip-tos 0x10", &["service 0x10"], &["service 0x11"]);
    check(
        Kind::Ip6,
        "-p IPv6 --ip6-src 2001:db8::/32 --ip6-proto 17 --ip6-sport 53",
        &["saddr 2001:db8::1, protocol 17, sport 53"],
        &["saddr 2001:db9::1, protocol 17, sport 53", "saddr 2001:db8::1, protocol 17, sport 54"],
    );
    check(Kind::Ip4, "--mark 5/15", &["mark 0x15"], &["mark 6"]);
    check(Kind::Ip4, "--mark /6", &["mark 2", "mark 4"], &["mark 9"]);
    check(Kind::Ip4, "--pkttype-type multicast", &["pkttype 2"], &["pkttype 1"]);
}

#[test]
fn arp_is_asked_for_its_own_words() {
    check(
        Kind::Arp,
        "-p ARP --arp-opcode 1 --arp-ip-src 10.0.0.0/8",
        &["operation 1, arpsource 0x0a010101, arplen 4, arptype 0x800"],
        &[
            "operation 2, arpsource 0x0a010101, arplen 4, arptype 0x800",
            "operation 1, arpsource 0x0b010101, arplen 4, arptype 0x800",
        ],
    );
    check(Kind::Arp, "-p ARP ! --arp-opcode 1", &["operation 2"], &["operation 1"]);
}

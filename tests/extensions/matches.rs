//! Matches, packet by packet.

use crate::support::{Host, check};
use fwdrift::traffic::space::Kind;

#[test]
fn a_state_is_the_packets_own_and_nothing_else_is_asked_without_a_connection() {
    let host = Host::new();
    check(
        &host,
        Kind::Ip4,
        &[
            (
                "-m conntrack --ctstate NEW,UNTRACKED",
                &["state new", "state untracked"],
                &["state established", "state invalid"],
            ),
            (
                "-m conntrack ! --ctstate ESTABLISHED,RELATED",
                &["state new", "state invalid"],
                &["state related"],
            ),
            ("-m conntrack --ctstate INVALID", &["state invalid"], &["state untracked", "state new"]),
            (
                "-m conntrack --ctstate SNAT",
                &["state established, status 0x10"],
                &["state established", "state invalid, status 0x10", "state established, status 0x20"],
            ),
            ("-m conntrack --ctstate DNAT", &["state new, status 0x20"], &["state new, status 0x10"]),
            (
                "-m conntrack --ctorigdst 10.0.0.0/8 --ctorigdstport 80:90",
                &["ctorigdst 10.1.2.3, ctorigdstport 85"],
                &[
                    "ctorigdst 10.1.2.3, ctorigdstport 91",
                    "ctorigdst 11.1.2.3, ctorigdstport 85",
                    "ctorigdst 10.1.2.3, ctorigdstport 85, state invalid",
                ],
            ),
            (
                "-m conntrack ! --ctorigdst 10.0.0.0/8",
                &["ctorigdst 11.0.0.1"],
                &["ctorigdst 10.0.0.1", "ctorigdst 11.0.0.1, state untracked"],
            ),
            ("-m conntrack --ctdir REPLY", &["direction 1"], &["direction 0"]),
            ("-m conntrack --ctdir ORIGINAL", &["direction 0"], &["direction 1"]),
            ("-m conntrack ! --ctproto 6", &["ctproto 17"], &["ctproto 6"]),
            ("-m conntrack --ctstatus ASSURED,EXPECTED", &["status 4", "status 1"], &["status 2"]),
            ("-m conntrack ! --ctstatus ASSURED", &["status 1"], &["status 5"]),
            (
                "-m conntrack --ctexpire 100:200",
                &["expiration 200999"],
                &["expiration 99999", "expiration 201000"],
            ),
            // The state alone is asked of packets that have no connection.
            (
                "-m conntrack --ctstate INVALID,NEW --ctdir REPLY",
                &["state invalid", "state new, direction 1"],
                &["state new"],
            ),
            ("-m state --state RELATED,UNTRACKED", &["state related", "state untracked"], &["state new"]),
            (
                "-m connmark --mark 0x10/0xf0",
                &["ctmark 0x1f"],
                &["ctmark 0x2f", "ctmark 0x1f, state invalid"],
            ),
            (
                "-m connmark ! --mark 0x10/0xf0",
                &["ctmark 0x2f"],
                &["ctmark 0x1f", "ctmark 0x2f, state invalid"],
            ),
        ],
    );
}

#[test]
fn ports_are_in_a_list_or_inverted_as_a_whole_and_later_fragments_have_none() {
    let host = Host::new();
    check(
        &host,
        Kind::Ip4,
        &[
            (
                "-p tcp -m multiport --dports 22,80:90,443",
                &["protocol 6, dport 22", "protocol 6, dport 85", "protocol 6, dport 443"],
                &["protocol 6, dport 91", "protocol 17, dport 22", "protocol 6, sport 22"],
            ),
            (
                "-p tcp -m multiport ! --dports 22,80:90",
                &["protocol 6, dport 91"],
                &["protocol 6, dport 22", "protocol 6, dport 90"],
            ),
            ("-p udp -m multiport --sports 53,123", &["protocol 17, sport 53"], &["protocol 17, dport 53"]),
            (
                "-p tcp -m multiport --ports 22",
                &["protocol 6, dport 22", "protocol 6, sport 22"],
                &["protocol 6, dport 23"],
            ),
            (
                "-p tcp -m multiport ! --ports 22",
                &["protocol 6, dport 23"],
                &["protocol 6, dport 22", "protocol 6, sport 22"],
            ),
            ("-f", &["fragment 5"], &["fragment 0"]),
            (
                "-p tcp -m multiport ! --dports 1:9",
                &["protocol 6, dport 22"],
                &["protocol 6, dport 22, fragment 5"],
            ),
            ("-p dccp -m dccp --dport 5:9", &["protocol 33, dport 5"], &["protocol 33, dport 10"]),
            (
                "-p sctp -m sctp --dport 5 ! --sport 1:9",
                &["protocol 132, dport 5, sport 10"],
                &["protocol 132, dport 5, sport 9", "protocol 132, dport 6, sport 10"],
            ),
            (
                "-p esp -m esp --espspi 65537:65538",
                &["protocol 50, sport 1, dport 2"],
                &["protocol 50, sport 1, dport 3"],
            ),
            (
                "-p icmp -m icmp --icmp-type 3/4",
                &["protocol 1, type 3, code 4"],
                &["protocol 1, type 3, code 5"],
            ),
            ("-p icmp -m icmp ! --icmp-type 8", &["protocol 1, type 0"], &["protocol 1, type 8, code 7"]),
            ("-p icmp -m icmp --icmp-type any", &["protocol 1, type 9, code 7"], &["protocol 6"]),
            (
                "-p tcp -m tcp --tcp-flags SYN,ACK SYN ! --sport 1:9",
                &["protocol 6, flags 2, sport 10", "protocol 6, flags 3, sport 10"],
                &["protocol 6, flags 0x12, sport 10", "protocol 6, flags 2, sport 9"],
            ),
        ],
    );
}

#[test]
fn words_of_the_network_header_are_compared_as_the_kernel_does() {
    let host = Host::new();
    check(
        &host,
        Kind::Ip4,
        &[
            (
                "-m iprange --src-range 10.0.0.5-10.0.0.9 ! --dst-range 1.1.1.1-1.1.1.3",
                &["saddr 10.0.0.5, daddr 1.1.1.4"],
                &["saddr 10.0.0.10, daddr 1.1.1.4", "saddr 10.0.0.5, daddr 1.1.1.2"],
            ),
            ("-m ttl --ttl-gt 63", &["ttl 64", "ttl 255"], &["ttl 63"]),
            ("-m ttl --ttl-lt 5", &["ttl 4", "ttl 0"], &["ttl 5"]),
            ("-m ttl ! --ttl-eq 7", &["ttl 8"], &["ttl 7"]),
            ("-m length --length 100:200", &["length 100", "length 200"], &["length 99", "length 201"]),
            ("-m length ! --length 100:200", &["length 99"], &["length 150"]),
            ("-m dscp --dscp 0x2e", &["service 0xb8", "service 0xbb"], &["service 0x2e"]),
            ("-m dscp ! --dscp 0", &["service 4"], &["service 3"]),
            ("-m tos --tos 0x10/0x3f", &["service 0xd0"], &["service 0x11"]),
            ("-m tos ! --tos 0x10/0x3f", &["service 0x11"], &["service 0xd0"]),
            ("-m ecn --ecn-ip-ect 2", &["service 0xfe"], &["service 3"]),
            ("-p tcp -m ecn ! --ecn-tcp-cwr", &["protocol 6, flags 0x40"], &["protocol 6, flags 0x80"]),
            ("-m mark --mark 0x1/0xf", &["mark 0xf1"], &["mark 2"]),
            ("-m mark ! --mark 0x1/0xf", &["mark 2"], &["mark 0xf1"]),
            ("-m pkttype --pkt-type multicast", &["pkttype 2"], &["pkttype 1"]),
            (
                "-m addrtype --dst-type LOCAL,BROADCAST",
                &["daddrtype 2", "daddrtype 3"],
                &["daddrtype 1", "saddrtype 2"],
            ),
            ("-m addrtype ! --src-type UNICAST", &["saddrtype 2"], &["saddrtype 1"]),
            ("-m cpu --cpu 3", &["cpu 3"], &["cpu 1"]),
            ("-m realm --realm 0x1/0xf", &["realm 0x31"], &["realm 2"]),
            (
                "-m u32 --u32 4&0xffff0000=0x12340000:0x12350000",
                &["id 0x1234", "id 0x1235"],
                &["id 0x1233", "id 0x1236"],
            ),
            ("-m u32 --u32 6&0xFF=1,17", &["protocol 1", "protocol 17"], &["protocol 6"]),
            ("-m u32 ! --u32 6&0xFF=1,17", &["protocol 6"], &["protocol 17"]),
        ],
    );
}

#[test]
fn owners_and_cards_are_asked_of_packets_that_have_them() {
    let host = Host::new();
    check(
        &host,
        Kind::Ip4,
        &[
            ("-m owner --uid-owner 1000-2000", &["uid 1500"], &["uid 0", "uid 4294967295"]),
            // Without a socket, what is inverted holds.
            ("-m owner ! --uid-owner 1000", &["uid 0", "uid 4294967295"], &["uid 1000"]),
            ("-m owner --socket-exists", &["free socket-exists"], &["uid 0"]),
            (
                "-m mac --mac-source 02:00:00:00:00:01",
                &["iiftype 1, ethersource 0x020000000001"],
                &["iiftype 1, ethersource 2", "iiftype 772, ethersource 0x020000000001"],
            ),
            (
                "-m mac ! --mac-source 02:00:00:00:00:01",
                &["iiftype 1, ethersource 2"],
                &["iiftype 1, ethersource 0x020000000001", "iiftype 772, ethersource 2"],
            ),
            ("-m policy --dir in --pol none", &["ttl 1"], &["ipsec 1"]),
        ],
    );
}

#[test]
fn what_has_no_model_has_a_persons_words_and_a_rules_own_state_its_place() {
    let host = Host::new();
    let lowered = check(
        &host,
        Kind::Ip4,
        &[
            ("-m string --string x --algo bm", &["free -m string --string \"x\" --algo bm"], &["ttl 1"]),
            (
                "-m string ! --string y --algo kmp --icase",
                &["ttl 1"],
                &["free --string \"y\" --algo kmp --icase"],
            ),
            (
                "-m hashlimit --hashlimit-above 3/min --hashlimit-name h",
                &["ttl 1"],
                &["free hashlimit-upto 3/min"],
            ),
            ("-m statistic --mode random --probability 0.5", &["free --probability 0.5"], &["ttl 1"]),
            ("-m recent --set --name r", &["ttl 1"], &[]),
            (
                "-m recent --rcheck --seconds 60 --name r",
                &["free recent --rcheck --seconds 60 --name r"],
                &["ttl 1"],
            ),
            ("-m connlimit --connlimit-above 3", &["free --connlimit-above 3"], &["ttl 1"]),
            ("-m connlimit --connlimit-upto 4", &["ttl 1"], &["free --connlimit-above 4"]),
            (
                "-m connbytes --connbytes 5:9 --connbytes-dir both --connbytes-mode bytes",
                &["free connbytes 5:9"],
                &["ttl 1"],
            ),
            ("-m comment --comment hello", &["ttl 1"], &[]),
            ("-m quota --quota 1000", &["free quota --quota 1000"], &["ttl 1"]),
            ("-m helper --helper ftp", &["free --helper \"ftp\""], &["ttl 1"]),
            ("-m time --timestart 10:00 --weekdays Mon", &["free --timestart 10:00:00"], &["ttl 1"]),
            ("-m physdev --physdev-in eth0 ! --physdev-is-bridged", &["free --physdev-in eth0"], &["ttl 1"]),
            ("-m quota --quota 1000", &[], &["ttl 1"]),
        ],
    );
    let free = lowered.free_words();
    let quotas = free.iter().filter(|word| word.starts_with("quota --quota 1000")).count();
    assert_eq!(quotas, 2, "{free:?}");
    assert!(!free.iter().any(|word| word.starts_with("xt ")), "{free:?}");
}

#[test]
fn in_ipv6_the_same_words_stand_elsewhere() {
    let host = Host::new();
    check(
        &host,
        Kind::Ip6,
        &[
            ("-m hl --hl-eq 255", &["ttl 255"], &["ttl 254"]),
            ("-m length --length 100:200", &["length 60", "length 160"], &["length 59", "length 161"]),
            ("-m length --length 10:39", &[], &["length 0", "length 10"]),
            ("-m dscp --dscp 0x2e", &["service 0xb8"], &["service 0x2e"]),
            ("-p icmpv6 -m icmp6 --icmpv6-type 133", &["protocol 58, type 133"], &["protocol 58, type 134"]),
            ("-m addrtype --dst-type MULTICAST", &["daddr ff02::1"], &["daddr 2001:db8::1"]),
            ("-m addrtype ! --dst-type UNICAST", &["daddr ff02::1", "daddr ::"], &["daddr 2001:db8::1"]),
            (
                "-m addrtype --dst-type LOCAL",
                &["daddr 2001:db8::1, daddrtype 2"],
                &["daddr 2001:db8::1, daddrtype 1"],
            ),
            (
                "-m iprange --src-range 2001:db8::5-2001:db8::9",
                &["saddr 2001:db8::6"],
                &["saddr 2001:db8::a"],
            ),
            ("-m conntrack --ctstate NEW", &["state new"], &["state invalid"]),
        ],
    );
}

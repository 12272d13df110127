//! The laboratory itself: packets come in the state of conntrack that was asked for.

use crate::asking::{
    ACK, ANSWER, ESTABLISHED, HOOKS, SYN, both, check, from, icmp, icmp6, in_state, lab, only, packet, tcp,
    to, udp, v4, v6,
};
use crate::kernel::{Hook, L4, Lab, Packet, Path, Seen, State};
use Path::{Forward, Input, Output};
use Seen::{Accepted, Dropped};

#[test]
fn each_state_is_the_one_asked_for() {
    let sctp = L4::Sctp { sport: 40_000, dport: 9 };
    let ack = L4::Tcp { sport: 40_000, dport: 80, flags: ACK };
    let all = [
        (State::New, "new", vec![tcp(80), udp(53), sctp, L4::Other(47), icmp(8), icmp6(128)]),
        (
            ESTABLISHED,
            "established",
            vec![ack, udp(53), sctp, L4::Other(47), L4::Other(88), icmp(8), icmp6(128)],
        ),
        (ANSWER, "established", vec![ack, udp(53), sctp, L4::Other(47), L4::Other(88), icmp(0), icmp6(129)]),
        (State::Related, "related", vec![tcp(80), udp(53), icmp(3), icmp(11), icmp6(1), icmp6(3)]),
        (
            State::Invalid,
            "invalid",
            vec![tcp(80), ack, udp(53), sctp, icmp(8), icmp(0), icmp(3), icmp6(128), icmp6(1)],
        ),
        (State::Untracked, "untracked", vec![icmp6(135), icmp6(136), icmp6(134)]),
    ];
    for (path, name, hook) in HOOKS {
        for asked in ["new", "established", "related", "invalid", "untracked"] {
            let mut lab = lab(&only(name, &format!("ct state {asked} accept")));
            let mut cases = Vec::new();
            for (state, word, kinds) in &all {
                for l4 in kinds {
                    let packets = match l4 {
                        L4::Icmp { .. } => vec![v4(*l4)],
                        L4::Icmp6 { .. } => vec![v6(*l4)],
                        _ => both(*l4).to_vec(),
                    };
                    let seen = if *word == asked { Accepted } else { Dropped(hook) };
                    cases.extend(packets.into_iter().map(|packet| (in_state(*state, packet), seen.clone())));
                }
            }
            check(&mut lab, path, &cases);
        }
    }
}

#[test]
fn the_direction_of_a_connection_is_the_one_asked_for() {
    let rules = only("input", "ct direction original accept");
    for l4 in [L4::Tcp { sport: 1, dport: 2, flags: ACK }, udp(53)] {
        for p in both(l4) {
            let reply = in_state(ANSWER, p.clone());
            let cases =
                [(in_state(ESTABLISHED, p.clone()), Accepted), (reply, Dropped(Hook::Input)), (p, Accepted)];
            // A first packet with ACK only is nobody's.
            let asked = if matches!(l4, L4::Tcp { .. }) { &cases[..2] } else { &cases };
            check(&mut lab(&rules), Input, asked);
        }
    }
}

#[test]
fn a_connection_made_by_packets_is_seen_as_the_entry_is_that_stands_for_it() {
    // On the way through: at input, the host itself would reset a connection that nobody listens for.
    let facts = "meta l4proto tcp ct state established ct status seen-reply ct status assured";
    for (direction, state) in [("original", ESTABLISHED), ("reply", ANSWER)] {
        let rules = format!("{facts} ct direction {direction} ct original proto-dst 80 accept");
        let hold = only("forward", &format!("{rules}\ntcp flags & (syn | ack) != ack accept"));
        let mut lab = lab(&hold);
        for version in [v4, v6] {
            let there =
                |flags| from("eth0", to("eth1", version(L4::Tcp { sport: 40_000, dport: 80, flags })));
            let back = |flags| {
                let p = there(flags);
                let l4 = L4::Tcp { sport: 80, dport: 40_000, flags };
                from("eth1", to("eth0", Packet { src: p.dst, dst: p.src, l4, ..p }))
            };
            let third = in_state(ESTABLISHED, there(ACK));
            let made =
                [there(SYN), in_state(ANSWER, back(SYN | ACK)), third.clone(), in_state(ANSWER, back(ACK))];
            let seen = lab.in_turn(&made.map(|packet| (Forward, packet)));
            let verdict = |passes| if passes { Accepted } else { Dropped(Hook::Forward) };
            // The third packet makes the connection assured only as it leaves prerouting: it is so already.
            let expected =
                [Accepted, Accepted, verdict(direction == "original"), verdict(direction == "reply")];
            assert_eq!(seen, expected, "{direction}, {version:?}");
            let asked = if direction == "original" { there(ACK) } else { back(ACK) };
            let other = if direction == "original" { back(ACK) } else { there(ACK) };
            let away = if direction == "original" { ANSWER } else { ESTABLISHED };
            check(
                &mut lab,
                Forward,
                &[(in_state(state, asked), Accepted), (in_state(away, other), verdict(false))],
            );
        }
    }
}

#[test]
fn a_packet_of_a_state_that_cannot_be_is_not_asked() {
    let mut lab = Lab::new(&[]);
    let ack = L4::Tcp { sport: 1, dport: 2, flags: ACK };
    let cases = [
        v4(ack),
        in_state(ESTABLISHED, v4(icmp(3))),
        in_state(State::Untracked, v4(tcp(1))),
        in_state(State::New, v6(icmp6(135))),
        in_state(State::Invalid, v4(L4::Other(88))),
        packet("192.0.2.1", "2001:db8::1", udp(1)),
        from("eth7", v4(udp(1))),
        v4(L4::Other(17)),
    ];
    let seen = lab.verdicts(Input, &cases);
    assert!(seen.iter().all(|seen| matches!(seen, Seen::NotAsked(_))), "{seen:#?}");
}

#[test]
fn rules_that_do_not_track_are_the_rulesets_own_doing() {
    let rules = "table inet t {
        chain raw { type filter hook prerouting priority raw; udp dport 53 notrack; udp dport 54 drop; }
        chain c { type filter hook input priority 0; policy drop; ct state untracked accept; }
    }";
    let mut lab = lab(rules);
    for p in both(udp(53)) {
        check(&mut lab, Input, &[(p.clone(), Accepted), (in_state(State::Untracked, p), Accepted)]);
    }
    check(&mut lab, Input, &both(udp(54)).map(|p| (p, Dropped(Hook::Prerouting))));
    check(&mut lab, Input, &both(udp(55)).map(|p| (p, Dropped(Hook::Input))));
}

#[test]
fn packets_of_one_connection_are_asked_one_by_one() {
    let mut lab = lab(&only("input", "ct state new accept"));
    let forth = packet("203.0.113.5", "192.0.2.1", L4::Udp { sport: 1, dport: 2 });
    let back = packet("192.0.2.1", "203.0.113.5", L4::Udp { sport: 2, dport: 1 });
    check(
        &mut lab,
        Input,
        &[(forth.clone(), Accepted), (back, Accepted), (forth.clone(), Accepted), (forth, Accepted)],
    );
}

#[test]
fn discovery_is_never_tracked_but_redirects_are_invalid() {
    let mut lab = Lab::new(&[]);
    for kind in [130, 131, 132, 133, 134, 135, 136, 143] {
        let seen = lab
            .verdicts(Input, &[State::Untracked, State::New].map(|state| in_state(state, v6(icmp6(kind)))));
        assert_eq!(seen, [Accepted, Seen::NotAsked("state is 0x40".into())], "{kind}");
    }
    check(&mut lab, Input, &[(in_state(State::Invalid, v6(icmp6(137))), Accepted)]);
    let seen = lab.verdicts(Input, &[in_state(State::New, v6(icmp6(137)))]);
    assert_eq!(seen, [Seen::NotAsked("state is 0x1".into())]);
}

#[test]
fn a_packet_to_its_own_sender_can_be_a_new_one() {
    let myself = packet("192.0.2.1", "192.0.2.1", L4::Udp { sport: 7, dport: 8 });
    let mut lab = Lab::new(&[]);
    for path in [Input, Forward, Output] {
        check(
            &mut lab,
            path,
            &[(myself.clone(), Accepted), (in_state(ESTABLISHED, myself.clone()), Accepted)],
        );
    }
}

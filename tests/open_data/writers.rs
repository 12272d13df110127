//! Rules that other programs wrote. Netlink libraries encode the same rule in other bytes than nft does: a
//! network by its mask, a range by one expression or by two, an interface's name without its padding, sets
//! without nft's notes on them. Against a baseline that nft wrote, that is *re-encoded*, not drift; and a
//! change of such a rule is one.

use crate::live::Live;
use crate::manifest::{Entry, Loader};
use crate::raw::commit;
use crate::table::{Outcome, Results};
use crate::{Claims, described};
use fwdrift::model::{ChangeKind, ObjectKind, Verdict};
use fwdrift::netlink::nft::{self, elem, expr, msg, rule, set};
use fwdrift::netlink::{AttrWriter, flags};

const HOME: (&str, u8, &str, &str) = ("inet", 1, "t", "c");
/// A table that iptables-nft would call its own.
const IPTABLES: (&str, u8, &str, &str) = ("ip", 2, "filter", "INPUT");
/// `NFT_REG_1`, the first register of sixteen bytes.
const REG: u32 = 1;
/// `NFT_META_*`.
const META_OIFNAME: u32 = 7;
const META_IIFNAME: u32 = 6;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
/// `NFT_CMP_*`.
const EQ: u32 = 0;
const NEQ: u32 = 1;
const LTE: u32 = 3;
const GTE: u32 = 5;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const NF_ACCEPT: u32 = 1;
const NF_DROP: u32 = 0;
const SET_DATA_LEN: u16 = 7;
/// nft's own numbers for types (datatype.h): they are in no kernel header, and every library repeats them.
const TYPE_IPADDR: u32 = 7;
const TYPE_INET_SERVICE: u32 = 13;
const TYPE_VERDICT: u32 = 0xffff_ff00;

/// A rule as another program writes it.
struct Case {
    /// What is encoded in another way.
    what: &'static str,
    /// Its family, its number, its table and its chain.
    home: (&'static str, u8, &'static str, &'static str),
    /// The chain's first line.
    chain: &'static str,
    /// The set that nft makes for it, if it is a named one.
    set: &'static str,
    /// The rule in nft's words.
    text: &'static str,
    /// Sets to make over netlink.
    sets: Vec<RawSet>,
    /// Its expressions; with another number, of another rule.
    expressions: fn(u8) -> Vec<Vec<u8>>,
    userdata: &'static [u8],
}

struct RawSet {
    name: &'static [u8],
    flags: u32,
    key: (u32, u32),
    data: Option<(u32, u32)>,
    /// Key, whether it ends an interval, the verdict that it maps to.
    elements: Vec<(Vec<u8>, bool, Option<u32>)>,
}

fn expression(name: &[u8], fill: impl FnOnce(&mut AttrWriter)) -> Vec<u8> {
    let mut out = AttrWriter::new();
    out.nested(nft::LIST_ELEM, |one| {
        one.string(expr::NAME, name).nested(expr::DATA, fill);
    });
    out.into_bytes()
}

fn value(out: &mut AttrWriter, kind: u16, bytes: &[u8]) {
    out.nested(kind, |data| {
        data.put(expr::DATA_VALUE, bytes);
    });
}

fn meta(key: u32) -> Vec<u8> {
    expression(b"meta", |data| {
        data.be32(2, key).be32(1, REG);
    })
}

fn ct(key: u32) -> Vec<u8> {
    expression(b"ct", |data| {
        data.be32(2, key).be32(1, REG);
    })
}

fn compare_in(register: u32, operation: u32, bytes: &[u8]) -> Vec<u8> {
    expression(b"cmp", |data| value(data.be32(1, register).be32(2, operation), 3, bytes))
}

fn compare(operation: u32, bytes: &[u8]) -> Vec<u8> {
    compare_in(REG, operation, bytes)
}

fn field_in(register: u32, base: u32, offset: u32, length: u32) -> Vec<u8> {
    expression(b"payload", |data| {
        data.be32(1, register).be32(2, base).be32(3, offset).be32(4, length);
    })
}

fn field(base: u32, offset: u32, length: u32) -> Vec<u8> {
    field_in(REG, base, offset, length)
}

fn masked(mask: &[u8]) -> Vec<u8> {
    expression(b"bitwise", |data| {
        data.be32(1, REG).be32(2, REG).be32(3, mask.len() as u32);
        value(data, 4, mask);
        value(data, 5, &vec![0; mask.len()]);
    })
}

fn range(from: &[u8], to: &[u8]) -> Vec<u8> {
    expression(b"range", |data| {
        data.be32(1, REG).be32(2, EQ);
        value(data, 3, from);
        value(data, 4, to);
    })
}

fn verdict(code: u32) -> Vec<u8> {
    expression(b"immediate", |data| {
        data.be32(1, 0).nested(2, |value| {
            value.nested(expr::DATA_VERDICT, |verdict| {
                verdict.be32(expr::VERDICT_CODE, code);
            });
        });
    })
}

fn immediate(register: u32, bytes: &[u8]) -> Vec<u8> {
    expression(b"immediate", |data| value(data.be32(1, register), 2, bytes))
}

/// With the counts that a program may give along.
fn counter(count: u64) -> Vec<u8> {
    expression(b"counter", |data| {
        data.put(1, &count.to_be_bytes()).put(2, &count.to_be_bytes());
    })
}

fn lookup(name: &[u8], to: Option<u32>) -> Vec<u8> {
    expression(b"lookup", |data| {
        data.string(1, name).be32(2, REG).be32(4, 1);
        to.into_iter().for_each(|register| {
            data.be32(3, register);
        });
    })
}

fn of_protocol(protocol: u8) -> Vec<Vec<u8>> {
    vec![meta(META_L4PROTO), compare(EQ, &[protocol])]
}

fn of_ipv4() -> Vec<Vec<u8>> {
    vec![meta(META_NFPROTO), compare(EQ, &[2])]
}

fn all(parts: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    parts.into_iter().flatten().collect()
}

fn tcp_port() -> Vec<Vec<u8>> {
    all([of_protocol(6), vec![field(TRANSPORT, 2, 2)]])
}

fn ports(name: &'static [u8], to: bool) -> RawSet {
    let data = to.then_some((TYPE_VERDICT, 16));
    let elements = [(22_u16, NF_ACCEPT), (80, NF_DROP)];
    let element = |(port, code): (u16, u32)| (port.to_be_bytes().to_vec(), false, to.then_some(code));
    let flags = set::F_ANONYMOUS | set::F_CONSTANT | if to { set::F_MAP } else { 0 };
    RawSet { name, flags, key: (TYPE_INET_SERVICE, 2), data, elements: elements.map(element).into() }
}

const FILTER: &str = "type filter hook input priority 0; policy accept;";
const SNAT: &str = "type nat hook postrouting priority 100; policy accept;";
const DNAT: &str = "type nat hook prerouting priority -100; policy accept;";

fn cases() -> Vec<Case> {
    let case = |what, text, expressions| Case {
        what,
        home: HOME,
        chain: FILTER,
        set: "",
        text,
        sets: Vec::new(),
        expressions,
        userdata: b"",
    };
    vec![
        case("network by a mask of four bytes", "ip saddr 10.0.0.0/24 accept", |n| {
            let network = [field(NETWORK, 12, 4), masked(&[255, 255, 255, 0]), compare(EQ, &[10, 0, n, 0])];
            all([of_ipv4(), network.into(), vec![verdict(NF_ACCEPT)]])
        }),
        Case {
            home: ("ip", 2, "t", "c"),
            ..case("the same behind a name", "iifname \"eth0\" ip saddr 10.0.0.0/24 accept", |n| {
                let name = [meta(META_IIFNAME), compare(EQ, b"eth0\0\0\0\0\0\0\0\0\0\0\0\0")];
                let network =
                    [field(NETWORK, 12, 4), masked(&[255, 255, 255, 0]), compare(EQ, &[10, 0, n, 0])];
                all([name.into(), network.into(), vec![verdict(NF_ACCEPT)]])
            })
        },
        case("ports by one range", "tcp dport 1000-2000 accept", |n| {
            let to = (2000 + u16::from(n)).to_be_bytes();
            all([tcp_port(), vec![range(&1000_u16.to_be_bytes(), &to), verdict(NF_ACCEPT)]])
        }),
        case("ports by two comparisons", "tcp dport 1000-2000 accept", |n| {
            let (from, to) = (1000_u16.to_be_bytes(), (2000 + u16::from(n)).to_be_bytes());
            all([tcp_port(), vec![compare(GTE, &from), compare(LTE, &to), verdict(NF_ACCEPT)]])
        }),
        Case {
            home: IPTABLES,
            ..case(
                "one range, where iptables has words only for two comparisons",
                "tcp sport 1-1023 counter accept",
                |n| {
                    let range = range(&1_u16.to_be_bytes(), &(1023 + u16::from(n)).to_be_bytes());
                    all([of_protocol(6), vec![field(TRANSPORT, 0, 2), range, counter(0), verdict(NF_ACCEPT)]])
                },
            )
        },
        case("interface's name without padding", "iifname \"eth0\" accept", |n| {
            let name = [b"eth", &[b'0' + n][..], b"\0"].concat();
            vec![meta(META_IIFNAME), compare(EQ, &name), verdict(NF_ACCEPT)]
        }),
        case("states by a mask", "ct state established,related accept", |n| {
            // Of the machine's own byte order.
            let states = (6 + u32::from(n) * 8).to_ne_bytes();
            vec![ct(0), masked(&states), compare(NEQ, &[0; 4]), verdict(NF_ACCEPT)]
        }),
        case("another register", "tcp dport 22 accept", |n| {
            let port = [field_in(2, TRANSPORT, 2, 2), compare_in(2, EQ, &[0, 22 + n])];
            all([of_protocol(6), port.into(), vec![verdict(NF_ACCEPT)]])
        }),
        Case {
            userdata: b"made by a controller",
            ..case("user data that are no text, counts", "udp dport 53 counter accept", |n| {
                all([
                    of_protocol(17),
                    vec![field(TRANSPORT, 2, 2), compare(EQ, &[0, 53 + n])],
                    vec![counter(77), verdict(NF_ACCEPT)],
                ])
            })
        },
        Case {
            sets: vec![ports(b"__set%d", false)],
            ..case("anonymous set without notes", "tcp dport { 22, 80 } accept", |n| {
                all([
                    tcp_port(),
                    vec![lookup(b"__set%d", None), verdict(if n == 0 { NF_ACCEPT } else { NF_DROP })],
                ])
            })
        },
        Case {
            sets: vec![ports(b"__map%d", true)],
            ..case("verdict map without notes", "tcp dport vmap { 22 : accept, 80 : drop }", |n| {
                all([of_protocol(6 + n * 11), vec![field(TRANSPORT, 2, 2), lookup(b"__map%d", Some(0))]])
            })
        },
        Case {
            set: "set nets { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }",
            sets: vec![RawSet {
                name: b"nets",
                flags: set::F_INTERVAL,
                key: (TYPE_IPADDR, 4),
                data: None,
                elements: vec![(vec![10, 0, 0, 0], false, None), (vec![11, 0, 0, 0], true, None)],
            }],
            ..case("named set without notes, intervals without the zero", "ip saddr @nets drop", |n| {
                all([
                    of_ipv4(),
                    vec![field(NETWORK, 12 + u32::from(n) * 4, 4), lookup(b"nets", None), verdict(NF_DROP)],
                ])
            })
        },
        Case {
            chain: SNAT,
            ..case("masquerade with flags of zero", "oifname \"eth0\" counter masquerade", |n| {
                let mut name = *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0";
                name[3] += n;
                let masq = expression(b"masq", |data| {
                    data.be32(1, 0);
                });
                vec![meta(META_OIFNAME), compare(EQ, &name), counter(0), masq]
            })
        },
        Case {
            chain: DNAT,
            ..case("dnat with both ends of each range", "tcp dport 80 dnat ip to 10.0.0.2:8080", |n| {
                let to = [immediate(1, &[10, 0, 0, 2 + n]), immediate(2, &8080_u16.to_be_bytes())];
                let nat = expression(b"nat", |data| {
                    data.be32(1, 1).be32(2, 2).be32(3, 1).be32(4, 1).be32(5, 2).be32(6, 2);
                });
                all([tcp_port(), vec![compare(EQ, &[0, 80])], to.into(), vec![nat]])
            })
        },
    ]
}

/// Sends the sets and the rule as one transaction.
fn write(live: &Live, case: &Case, number: u8) -> bool {
    let (_, family, table, chain) = case.home;
    let mut messages = Vec::new();
    for (id, raw) in case.sets.iter().enumerate() {
        let id = id as u32 + 1;
        let mut attrs = AttrWriter::new();
        attrs.string(set::TABLE, table.as_bytes()).string(set::NAME, raw.name).be32(set::FLAGS, raw.flags);
        attrs.be32(set::KEY_TYPE, raw.key.0).be32(set::KEY_LEN, raw.key.1).be32(set::ID, id);
        if let Some((kind, length)) = raw.data {
            attrs.be32(set::DATA_TYPE, kind).be32(SET_DATA_LEN, length);
        }
        messages.push((msg::NEWSET, flags::CREATE, family, attrs.into_bytes()));
        let mut attrs = AttrWriter::new();
        attrs
            .string(elem::LIST_TABLE, table.as_bytes())
            .string(elem::LIST_SET, raw.name)
            .be32(elem::LIST_SET_ID, id);
        attrs.nested(elem::LIST_ELEMENTS, |list| {
            for (key, ends, code) in &raw.elements {
                list.nested(nft::LIST_ELEM, |one| {
                    value(one, elem::KEY, key);
                    if *ends {
                        one.be32(elem::FLAGS, elem::F_INTERVAL_END);
                    }
                    if let Some(code) = code {
                        one.nested(elem::DATA, |data| {
                            data.nested(expr::DATA_VERDICT, |verdict| {
                                verdict.be32(expr::VERDICT_CODE, *code);
                            });
                        });
                    }
                });
            }
        });
        messages.push((msg::NEWSETELEM, flags::CREATE, family, attrs.into_bytes()));
    }
    let mut attrs = AttrWriter::new();
    attrs.string(rule::TABLE, table.as_bytes()).string(rule::CHAIN, chain.as_bytes());
    attrs.nested(rule::EXPRESSIONS, |list| {
        list.raw(&(case.expressions)(number).concat());
    });
    if !case.userdata.is_empty() {
        attrs.put(rule::USERDATA, case.userdata);
    }
    messages.push((msg::NEWRULE, flags::CREATE | flags::APPEND, family, attrs.into_bytes()));
    commit(live, &messages)
}

fn load(live: &Live, case: &Case, set: &str, rule: &str) {
    let (family, _, table, chain) = case.home;
    let inside = format!("{set}\nchain {chain} {{\n{}\n{rule}\n}}", case.chain);
    let script = format!("flush ruleset\ntable {family} {table} {{\n{inside}\n}}\n");
    live.script(&script).unwrap();
}

fn examine(case: &Case) -> Claims {
    let live = Live::empty(&Entry::of_file("/dev/null".into(), Loader::Nft));
    load(&live, case, case.set, case.text);
    live.init().unwrap_or_else(|error| panic!("init: {error}"));
    let mut outcomes = Vec::new();
    let written = |number| {
        load(&live, case, "", "");
        assert!(write(&live, case, number), "the kernel refuses {}", case.what);
        live.check().unwrap_or_else(|error| panic!("check: {error}")).0
    };
    let result = written(0);
    let in_sync = match result.verdict {
        Verdict::InSync => Outcome::Right,
        verdict => Outcome::Wrong(format!("{verdict:?}: {}", described(&result.changes))),
    };
    outcomes.push(("written otherwise: no drift", in_sync));
    // Rows without other bytes prove nothing: they are counted apart.
    let other_bytes = if result.summary.re_encoded > 0 { Outcome::Right } else { Outcome::NotApplicable };
    outcomes.push(("of these, in other bytes: re-encoded", other_bytes));
    let result = written(1);
    let found = match &result.changes[..] {
        [one]
            if (one.kind, one.object) == (ChangeKind::Modified, ObjectKind::Rule)
                && one.before != one.after =>
        {
            Outcome::Right
        }
        changes => Outcome::Wrong(described(changes)),
    };
    outcomes.push(("written otherwise and changed: found", found));
    // What it wrote is approved as it stands, and is in sync with itself.
    live.approve().unwrap_or_else(|error| panic!("approve: {error}"));
    let approved = crate::check(&live);
    outcomes.push(("written otherwise and approved: in sync", approved));
    Some((false, outcomes))
}

#[test]
fn rules_that_other_programs_encode_in_their_own_way_are_re_encoded_and_not_drift() {
    let jobs = cases().into_iter().map(|case| (case.what.to_owned(), move || examine(&case)));
    let results: Results = crate::in_parallel(jobs);
    crate::say(&format!("\n{}", results.table()));
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
}

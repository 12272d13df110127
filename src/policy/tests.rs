use super::*;
use crate::model::{Expect, Severity};
use proptest::prelude::*;

#[track_caller]
fn parsed(text: &str) -> Policy {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// The error's parts, and what it says to write.
#[track_caller]
fn check(text: &str, parts: &[&str], instead: &str) {
    let error = parse(text.as_bytes()).expect_err(text);
    let message = error.to_string();
    assert!(message.starts_with("fwdrift.toml on main: line "), "{message}");
    parts.iter().for_each(|part| assert!(message.contains(part), "{part:?} in {message}"));
    let hint = error.hint().expect("each error says what to write");
    assert!(hint.starts_with("correct fwdrift.toml and commit it on main; "), "{hint}");
    assert!(hint.contains(instead), "{instead:?} in {hint}");
}

const WEB_TO_DB: &str = "\
[groups]
web = [\"10.0.1.0/24\", \"10.0.3.5\"]
db = \"10.0.2.9\"
both = [\"web\", \"db\", \"10.0.3.6-10.0.3.9\", \"2001:db8::/32\"]

[[flow]]
name = \"web to db\"
from = \"web\"
to = [\"db\", \"10.0.2.8\"]
proto = \"tcp\"
port = [3306, \"3300-3305\", 33060]
interfaces = { in = \"eth0\", out = [\"eth1\", \"wg*\"] }
hook = \"forward\"
owner = \"team-db\"
ticket = \"NET-12\"
severity = \"high\"
";

#[test]
fn the_list_of_settings_is_extended_and_shortened() {
    let text = "# policy\n[sysctl]\nalso = [\"net.ipv4.tcp_syncookies\"]\nignore = [\"net.ipv4.conf.cali*.rp_filter\"]\n";
    let settings = parsed(text).settings;
    assert!(settings.patterns().contains(&&b"net.ipv4.tcp_syncookies"[..]));
    assert!(settings.ignores(b"net.ipv4.conf.cali7.rp_filter"));
    assert_eq!(parsed(""), Policy::default());
}

#[test]
fn what_is_wrong_is_named_by_line_and_key() {
    let keys = "`[sysctl]` has the keys `also` and `ignore`";
    check("[sysctl]\nallso = []\n", &["line 2", "allso"], keys);
    check("\n[sysctls]\n", &["line 2", "sysctls"], keys);
    check(
        "[sysctl]\nalso = [\n \"net.ipv4.tcp_x\",\n \"kernel.x\",\n]\n",
        &["line 4", "sysctl.also", "kernel.x"],
        keys,
    );
    check("[sysctl]\nignore = [\"net.*.*.x\"]\n", &["line 2", "sysctl.ignore"], keys);
    check("[sysctl]\nalso = \"net.ipv4.x\"\n", &["line 2"], keys);
    check("[sysctl\n", &["line 1"], keys);
    assert!(parse(b"x\n\xff").unwrap_err().to_string().contains("line 2"));
}

#[test]
fn a_flow_has_its_names_resolved_to_ranges() {
    let policy = parsed(WEB_TO_DB);
    let flow = &policy.flows[0];
    assert_eq!((flow.name.as_str(), flow.line), ("web to db", 7));
    assert_eq!(flow.from.v4, [(0x0a00_0100, 0x0a00_01ff), (0x0a00_0305, 0x0a00_0305)]);
    assert_eq!(flow.to.v4, [(0x0a00_0208, 0x0a00_0209)]);
    assert!(flow.from.v6.is_empty() && !flow.from.any && !flow.from.this_host);
    assert_eq!(
        (flow.protocols.as_slice(), flow.ports.as_slice()),
        (&[6][..], &[(3300, 3306), (33060, 33060)][..])
    );
    let name = |name: &str, is_prefix| InterfaceName { name: name.to_owned(), is_prefix };
    assert_eq!(flow.interfaces_in, [name("eth0", false)]);
    assert_eq!(flow.interfaces_out, [name("eth1", false), name("wg", true)]);
    assert_eq!(
        (flow.hook, flow.expect, flow.severity),
        (Some(FlowHook::Forward), Expect::Allow, Some(Severity::High))
    );
    assert_eq!((flow.owner.as_deref(), flow.ticket.as_deref()), (Some("team-db"), Some("NET-12")));
    let both = &policy.groups["both"];
    let v4 = [(0x0a00_0100, 0x0a00_01ff), (0x0a00_0209, 0x0a00_0209), (0x0a00_0305, 0x0a00_0309)];
    assert_eq!(both.v4, v4);
    assert_eq!(both.v6, [(0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1)]);
}

#[test]
fn what_is_left_out_of_a_flow_is_any() {
    let policy = parsed("[[flow]]\nname = \"a\"\nfrom = \"any\"\nto = \"self\"\nexpect = \"deny\"\n");
    let flow = &policy.flows[0];
    assert_eq!((&flow.from, &flow.to), (&Addresses::any(), &Addresses::this_host()));
    assert!(flow.protocols.is_empty() && flow.ports.is_empty() && flow.interfaces_in.is_empty());
    assert_eq!((flow.expect, flow.hooks()), (Expect::Deny, vec![FlowHook::Input]));
    assert_eq!(policy.severities, Severities::default());
}

#[test]
fn flow_and_flows_are_the_same_word() {
    let one =
        |word: &str, name: &str| format!("[[{word}]]\nname = \"{name}\"\nfrom = \"any\"\nto = \"any\"\n");
    let text = one("flows", "a") + &one("flow", "b") + &one("flows", "c");
    let names: Vec<String> = parsed(&text).flows.into_iter().map(|flow| flow.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn an_exclamation_mark_takes_out_of_the_list() {
    let text = "[groups]\nweb = [\"10.0.1.0/24\", \"!10.0.1.7\"]\n\
        [[flow]]\nname = \"a\"\nfrom = [\"!web\", \"any\"]\nto = \"any\"\n";
    let policy = parsed(text);
    assert_eq!(policy.groups["web"].v4, [(0x0a00_0100, 0x0a00_0106), (0x0a00_0108, 0x0a00_01ff)]);
    let from = &policy.flows[0].from;
    assert_eq!(from.v4, [(0, 0x0a00_00ff), (0x0a00_0107, 0x0a00_0107), (0x0a00_0200, u32::MAX)]);
    assert_eq!((from.any, from.v6.as_slice()), (false, &[(0, u128::MAX)][..]));
}

#[test]
fn a_group_that_is_wrong_says_what_to_write() {
    let group = |list: &str| format!("[groups]\nx = {list}\n");
    check(
        &group("[\n\"10.0.0.0/8\",\n\"webb\"]\nweb = \"10.0.0.1\""),
        &["line 4", "group \"x\"", "no group \"webb\""],
        "groups: web, x",
    );
    check(
        &group("[\"y\"]\ny = [\"z\"]\nz = [\"x\"]"),
        &["line 4", "group \"z\"", "contains itself: x → y → z → x"],
        "take `x` out",
    );
    check(&group("\"x\""), &["line 2", "x → x"], "take `x` out");
    check(&group("[]"), &["line 2", "empty"], "write the addresses");
    check(
        &group("[\"10.0.0.1\", \"!10.0.0.0/8\"]"),
        &["line 2", "no address is left"],
        "write the addresses",
    );
    check(&group("\"any\""), &["line 2", "`any` has no place"], "in the flow itself");
    check(&group("[\"self\"]"), &["line 2", "`self` has no place"], "in the flow itself");
    check(&group("[80]"), &["line 2", "80 is a number"], "in quotes");
    check(&group("[\"10.0.1.7/24\"]"), &["line 2", "bits of a host"], "`10.0.1.0/24` for the network");
    check(&group("\"db.example.org:3306\""), &["line 2", "is no address"], "no names of hosts");
    check(&group("true"), &["line 2", "a string, a number, or a list"], "`[groups]` has names");
    check("[groups]\nany = \"10.0.0.1\"\n", &["line 2", "cannot be the name"], "a meaning of their own");
    check("[groups]\n\"10.0.0.1\" = \"10.0.0.2\"\n", &["line 2", "cannot be the name"], "write a letter");
}

#[test]
fn groups_without_an_end_are_refused() {
    let mut text = "[groups]\n".to_owned();
    (0..200).for_each(|n| text.push_str(&format!("g{n:03} = \"g{:03}\"\n", n + 1)));
    check(&(text + "g200 = \"10.0.0.1\"\n"), &["more than 64 groups deep"], "addresses themselves");
}

/// A flow from `any` to `any` in lines 2 to 4, with these lines behind.
fn flow(rest: &str) -> String {
    format!("[[flow]]\nname = \"f\"\nfrom = \"any\"\nto = \"any\"\n{rest}\n")
}

#[test]
fn a_flow_that_is_wrong_says_what_to_write() {
    let tcp = "write `proto = \"tcp\"`";
    check(&flow("port = 80"), &["line 5", "flow \"f\": port", "no protocol that has ports"], tcp);
    check(&flow("proto = \"any\"\nport = 80"), &["line 6", "no protocol that has ports"], tcp);
    check(&flow("proto = [\"tcp\", \"icmp\"]\nport = 80"), &["line 6", "icmp has none"], tcp);
    check(&flow("proto = [\"tcp\", \"any\"]"), &["line 5", "proto", "`any` stands beside"], "`any` alone");
    check(&flow("proto = \"TCP\""), &["line 5", "no protocol \"TCP\""], "names: icmp, igmp");
    check(&flow("proto = 256"), &["line 5", "no protocol \"256\""], "0 to 255");
    check(&flow("proto = []"), &["line 5", "empty"], "leave `proto` out");
    check(
        &flow("proto = \"tcp\"\nport = \"https\""),
        &["line 6", "\"https\" is no port"],
        "no names of services",
    );
    check(&flow("proto = \"tcp\"\nport = [1,\n0]"), &["line 7", "\"0\" is no port"], "from 1 to 65535");
    check(&flow("proto = \"tcp\"\nport = \"90-80\""), &["line 6", "\"90-80\""], "\"8000-8099\"");
    check(&flow("interfaces = { in = \"*\" }"), &["line 5", "interfaces.in"], "leave the key out");
    check(&flow("interfaces = { out = \"an-interface-too-long\" }"), &["line 5", "interfaces.out"], "`wg*`");
    check(
        &flow("interfaces = \"eth0\""),
        &["line 5", "expected a table `{ in = …, out = … }`"],
        "`interfaces`",
    );
    check(&flow("interfaces = { inn = \"eth0\" }"), &["line 5", "inn", "`in`"], "`interfaces`");
    check(&flow("hook = \"prerouting\""), &["line 5", "hook", "prerouting"], "`input`, `forward`, `output`");
    check(&flow("expect = \"block\""), &["line 5", "expect", "block"], "`allow`, `deny`");
    check(
        &flow("severity = \"urgent\""),
        &["line 5", "severity", "urgent"],
        "`info`, `low`, `medium`, `high`, `critical`",
    );
    check(&flow("ports = 80"), &["line 5", "ports"], "`port`");
    check(
        "[[flow]]\nfrom = \"any\"\nto = \"any\"\n",
        &["line 1", "missing field `name`"],
        "`[[flow]]` has `name`",
    );
    check("flow = [1]\n", &["line 1", "a table `[[flow]]`"], "`[[flow]]` has `name`");
    check("[flow]\nname = \"x\"\n", &["line 1"], "`[[flow]]` has `name`");
    check(&flow("").replace("\"f\"", "\" \""), &["line 2", "its name is empty"], "a name for people");
    check(&(flow("") + &flow("")), &["line 7", "flow \"f\"", "flow of line 2"], "a name of its own");
}

#[test]
fn both_ends_are_of_one_family() {
    let of = |from: &str, to: &str, rest: &str| {
        format!("[[flow]]\nname = \"f\"\nfrom = \"{from}\"\nto = \"{to}\"\n{rest}\n")
    };
    check(
        &of("10.0.0.1", "2001:db8::1", ""),
        &["line 4", "`from` has only IPv4", "`to` only IPv6"],
        "one family",
    );
    check(&of("2001:db8::1", "10.0.0.1", ""), &["line 4", "only IPv6", "only IPv4"], "one family");
    check(&of("any", "2001:db8::1", "proto = \"icmp\""), &["line 5", "icmp is IPv4's"], "icmpv6");
    check(
        &of("10.0.0.1", "self", "proto = \"icmpv6\""),
        &["line 5", "icmpv6 is IPv6's"],
        "`proto = \"icmp\"`",
    );
    parsed(&of("self", "2001:db8::1", "proto = [\"icmp\", \"icmpv6\"]"));
}

#[test]
fn hook_and_interfaces_agree_with_self() {
    let of = |from: &str, to: &str, rest: &str| {
        format!("[[flow]]\nname = \"f\"\nfrom = \"{from}\"\nto = \"{to}\"\n{rest}\n")
    };
    check(&of("self", "any", "hook = \"input\""), &["line 2", "the way `input`"], "leave `hook` out");
    check(&of("any", "self", "hook = \"forward\""), &["line 2", "the way `forward`"], "leave `hook` out");
    check(
        &of("self", "any", "interfaces = { in = \"eth0\" }"),
        &["line 2", "begins at this host"],
        "out = …",
    );
    check(
        &of("any", "any", "hook = \"input\"\ninterfaces = { out = \"eth0\" }"),
        &["ends at this host"],
        "in = …",
    );
    check(
        &of("self", "any", "").replace("\"any\"", "[\"any\", \"self\"]"),
        &["line 4", "beside other"],
        "flow of its own",
    );
    assert_eq!(parsed(&of("self", "self", "")).flows[0].hooks(), [FlowHook::Output, FlowHook::Input]);
}

/// Two flows with these lines, the first to be allowed and the second to be denied.
fn two(first: &str, second: &str) -> String {
    format!("[[flow]]\nname = \"a\"\n{first}\n[[flow]]\nname = \"b\"\nexpect = \"deny\"\n{second}\n")
}

#[test]
fn flows_that_contradict_each_other_are_both_named() {
    let ends = "from = \"10.0.0.0/8\"\nto = \"10.0.2.9\"\n";
    let text = two(&format!("{ends}proto = \"tcp\"\nport = 3306"), "from = \"10.0.1.0/24\"\nto = \"any\"");
    let parts = [
        "line 8: flow \"b\" (deny)",
        "flow \"a\" of line 2 (allow)",
        "tcp from 10.0.1.0 to 10.0.2.9, port 3306",
    ];
    check(&text, &parts, "`from = [\"any\", \"!web\"]`");
    let v6 = "from = \"2001:db8::/32\"\nto = \"any\"";
    check(
        &two(v6, "from = \"any\"\nto = \"2001:db8::/126\""),
        &["any protocol from 2001:db8:: to 2001:db8::"],
        "!",
    );
    check(&two("from = \"any\"\nto = \"self\"", "from = \"any\"\nto = \"any\""), &["to self"], "!");
}

#[test]
fn flows_that_differ_in_one_thing_do_not_contradict() {
    let base = "from = \"10.0.1.0/24\"\nto = \"10.0.2.9\"\n";
    let differ = |one: &str, other: &str| {
        parsed(&two(&format!("{base}{one}"), &format!("{base}{other}")));
    };
    differ("proto = \"tcp\"", "proto = [\"udp\", 1]");
    differ("proto = \"tcp\"\nport = \"80-90\"", "proto = \"tcp\"\nport = [79, 91]");
    differ("interfaces = { in = \"eth0\" }", "interfaces = { in = [\"eth1\", \"wg*\"] }");
    differ("interfaces = { in = \"eth*\" }", "interfaces = { in = \"en*\" }");
    differ("hook = \"input\"", "hook = \"forward\"");
    parsed(&two(base, "from = \"10.0.2.0/24\"\nto = \"10.0.2.9\""));
    parsed(&two(base, "from = [\"any\", \"!10.0.1.0/24\"]\nto = \"10.0.2.9\""));
    parsed(&two("from = \"self\"\nto = \"any\"", "from = \"any\"\nto = \"self\""));
    // The same packets with the same wish are no contradiction.
    parsed(&two(base, base).replace("expect = \"deny\"\n", ""));
    let meet = |one: &str, other: &str| {
        check(&two(&format!("{base}{one}"), &format!("{base}{other}")), &["contradicts"], "!");
    };
    meet("interfaces = { in = \"eth0\" }", "interfaces = { in = \"eth*\" }");
    meet("interfaces = { in = \"eth0\" }", "interfaces = { out = \"eth1\" }");
    meet("hook = \"forward\"", "");
    meet("proto = \"tcp\"\nport = \"80-90\"", "proto = \"tcp\"\nport = \"90-99\"");
}

#[test]
fn severities_are_over_the_defaults() {
    let policy = parsed(
        "[severity]\nmanagement_ports = [22, \"8000-8001\"]\nopened_to_world = \"high\"\ncut = \"low\"\n",
    );
    let expect = Severities {
        management_ports: vec![(22, 22), (8000, 8001)],
        opened_to_world: Severity::High,
        cut: Severity::Low,
        ..Severities::default()
    };
    assert_eq!(policy.severities, expect);
    check("[severity]\ncut = \"urgent\"\n", &["line 2", "severity.cut", "urgent"], "`critical`");
    check(
        "[severity]\n\nmanagement_ports = \"ssh\"\n",
        &["line 3", "severity.management_ports", "ssh"],
        "1 to 65535",
    );
    check("[severity]\ncuts = \"low\"\n", &["line 2", "cuts"], "`[severity]` has `management_ports`");
}

#[test]
fn the_example_of_the_documentation_is_read() {
    let documentation = include_str!("../../docs/flows.md");
    let mut blocks =
        documentation.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let policy = parsed(blocks.next().expect("an example to paste"));
    assert!(policy.flows.len() >= 3 && !policy.groups.is_empty());
    let defaults = blocks.next().expect("the severities");
    assert_eq!(parsed(defaults).severities, Severities::default(), "it shows the defaults");
}

proptest! {
    /// Whatever is in the file, there is a policy, or an error of a line of it.
    #[test]
    fn no_file_makes_it_panic(
        cuts in prop::collection::vec((0_usize..700, 0_usize..12, "[ -~\\n]{0,12}"), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut text = WEB_TO_DB.as_bytes().to_vec();
        for (at, length, with) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, with.bytes());
        }
        for text in [text, noise] {
            if let Err(error) = parse(&text) {
                let message = error.to_string();
                let line = message.split("line ").nth(1).and_then(|rest| rest.split(':').next());
                let line: usize = line.and_then(|line| line.parse().ok()).expect("a line");
                let lines = 1 + text.iter().filter(|byte| **byte == b'\n').count();
                prop_assert!((1..=lines).contains(&line), "{}", message);
                prop_assert!(error.hint().is_some());
            }
        }
    }
}

use crate::model::{Change, ChangeKind, ObjectKind, Source};
use crate::report::check::text;
use crate::report::fixture::*;

/// The way back, without where the approved files are.
fn check_next(change: Change, expect: &str) {
    let text = plain(&text(&result(vec![change], vec![]), &options(None)));
    let start = text.find("  or put it back\n").expect("a way back");
    let end = text.find("  what was approved\n").unwrap_or(text.len());
    assert_eq!(&text[start..end], expect);
}

#[test]
fn iptables_rules_go_back_with_iptables() {
    let rule = |source, family: &str| Change {
        source,
        family: family.into(),
        chain: Some("INPUT".into()),
        ..rule(ChangeKind::Removed, Some("-A INPUT -p tcp --dport 22 -j ACCEPT"), None)
    };
    let expect = |tool: &str| {
        let list = format!("{tool} -t filter -n -L INPUT --line-numbers");
        let insert = format!("{tool} -t filter -I INPUT N RULE");
        let width = list.len();
        format!(
            "  or put it back\n    {list}  # N: the rule's number\n    {insert:<width$}  # a - rule, \
             as number N\n"
        )
    };
    check_next(rule(Source::IptablesNft, "ip"), &expect("iptables-nft"));
    check_next(rule(Source::IptablesLegacy, "ip6"), &expect("ip6tables-legacy"));
}

#[test]
fn rules_of_ebtables_and_arptables_go_back_with_their_own_options() {
    let bridge = |before: &str, after: &str| Change {
        source: Source::Ebtables,
        family: "bridge".into(),
        chain: Some("own".into()),
        ..rule(ChangeKind::Modified, Some(before), Some(after))
    };
    check_next(
        bridge("-A own -p ARP -j DROP", "-A own -p IPv4 -j DROP"),
        "  or put it back\n    ebtables-nft -t filter -L own --Ln    # N: the rule's number\n    \
         ebtables-nft -t filter -D own N       # the + rule\n    \
         ebtables-nft -t filter -I own N RULE  # the approved - rule, as number N\n",
    );
    check_next(
        bridge(":own DROP", ":own ACCEPT"),
        "  or put it back\n    ebtables-nft -t filter -P own POLICY  # POLICY: as in the approved - line, RETURN where there is none\n",
    );
    let arp = Change {
        source: Source::Arptables,
        legacy: true,
        family: "arp".into(),
        ..bridge("-A own", "-A own -j DROP")
    };
    check_next(
        arp,
        "  or put it back\n    arptables-legacy -t filter -n -L own --line-numbers  # N: the rule's number\n    \
         arptables-legacy -t filter -R own N RULE             # RULE: the approved - line\n",
    );
}

fn context(source: Source, name: &str, before: Option<&str>, after: Option<&str>) -> Change {
    let kind = match (before, after) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Modified,
    };
    let object = if source == Source::Sysctl { ObjectKind::Sysctl } else { ObjectKind::BpfProgram };
    let text = |value: Option<&str>| value.map(|value| format!("{name} = {value}"));
    Change {
        kind,
        source,
        family: "unspec".into(),
        table: String::new(),
        chain: None,
        object,
        name: Some(name.into()),
        position: None,
        ..rule(kind, text(before).as_deref(), text(after).as_deref())
    }
}

#[test]
fn settings_and_programs_go_back_by_their_own_tools() {
    let back = |change, expect: &str| check_next(change, &format!("  or put it back\n    {expect}\n"));
    let sysctl = |name, before, after| context(Source::Sysctl, name, before, after);
    back(
        sysctl("net.ipv4.ip_forward", Some("0"), Some("1")),
        "sysctl -w net.ipv4.ip_forward=0  # the approved value",
    );
    back(
        sysctl("net.bridge.bridge-nf-call-iptables", None, Some("1")),
        "sysctl -w net.bridge.bridge-nf-call-iptables=0  # as if its module were not loaded",
    );
    back(
        sysctl("net.ipv4.tcp_syncookies", None, Some("1")),
        "# nothing is approved of this setting: its value is yours to choose",
    );
    let bpf = |name| context(Source::Bpf, name, None, Some("p tag 3b185187f1855c4c"));
    back(
        bpf("eth0 xdp/driver"),
        "ip link set dev eth0 xdpdrv off  # refused where a link holds it: bpftool link list",
    );
    back(
        bpf("eth0 tc/parent 1:5 chain 2 pref 7 handle 0x1"),
        "tc filter delete dev eth0 parent 1:5 chain 2 pref 7 handle 0x1 bpf  # the filter, with its program",
    );
}

#[test]
fn a_setting_or_an_interface_cannot_become_a_command() {
    let refused =
        "  or put it back\n    # a name or a value here is not safe in a command: put it back by hand\n";
    for hostile in ["$(reboot)", "x;reboot", "x\\x23y", "-w", "x\ny"] {
        for name in [hostile.to_owned(), format!("net.ipv4.conf.{hostile}.rp_filter")] {
            if hostile != "-w" || name == "-w" {
                check_next(context(Source::Sysctl, &name, Some("0"), Some("1")), refused);
            }
        }
        check_next(
            context(Source::Sysctl, "net.ipv4.x", Some(hostile), Some("1")),
            if hostile == "-w" {
                "  or put it back\n    sysctl -w net.ipv4.x=-w  # the approved value\n"
            } else {
                refused
            },
        );
        for name in [format!("{hostile} xdp/generic"), format!("eth0 tc/ingress pref {hostile}")] {
            if !name.contains("pref -w") {
                check_next(context(Source::Bpf, &name, None, Some("p")), refused);
            }
        }
    }
}

#[test]
fn elements_go_back_one_by_one() {
    check_next(
        object(ObjectKind::Element, ChangeKind::Added, "bl", "192.0.2.7"),
        "  or put it back\n    nft delete element inet filter bl '{ … }'  # a + element, without its comment\n",
    );
}

#[test]
fn a_name_cannot_become_a_command() {
    let refused = "  or put it back\n    # a name here is not safe in a command: find its handle with nft -a list ruleset\n";
    for hostile in ["x; flush ruleset", "--file=/tmp/x", "x\n# reboot", "$(reboot)", "a'b", "", "a b", "*"] {
        for source in [Source::Nft, Source::IptablesNft, Source::IptablesLegacy] {
            let rule = Change { source, family: "ip".into(), ..added() };
            check_next(Change { table: hostile.into(), ..rule.clone() }, refused);
            check_next(Change { chain: Some(hostile.into()), ..rule.clone() }, refused);
            check_next(Change { family: hostile.into(), ..rule }, refused);
        }
        check_next(object(ObjectKind::Set, ChangeKind::Added, hostile, "set"), refused);
        check_next(object(ObjectKind::Element, ChangeKind::Removed, hostile, "192.0.2.7"), refused);
    }
}

#[test]
fn commands_enter_the_namespace() {
    let mut result = result(vec![added()], vec![]);
    for (netns, prefix) in [("pid:12", "nsenter -t 12 -n nft"), ("docker-web", "nsenter -t PID -n nft")] {
        result.netns = Some(netns.into());
        let text = plain(&text(&result, &options(None)));
        assert!(text.contains(&format!("    {prefix} delete rule inet filter input handle N")), "{text}");
    }
    result.netns = Some("dmz".into());
    let text = plain(&text(&result, &options(None)));
    assert!(text.contains("    ip netns exec dmz nft delete rule inet filter input handle N"), "{text}");
}

/// Pasted as they are, before the blanks are filled in, by someone in a hurry.
#[test]
fn commands_with_blanks_change_nothing() {
    let mut script = "set -e
        nft 'add table ip filter { chain x { tcp dport 22 accept; }; set ifs { type ifname; }; }'
        nft list ruleset >before\n"
        .to_owned();
    let mut blanks = 0;
    for kind in [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified, ChangeKind::Moved] {
        for of in [ObjectKind::Table, ObjectKind::Rule, ObjectKind::Set, ObjectKind::Element] {
            for source in [Source::Nft, Source::IptablesNft] {
                let chain = (of == ObjectKind::Rule).then(|| "x".to_owned());
                let change = Change { source, chain, family: "ip".into(), ..object(of, kind, "ifs", "text") };
                let text = plain(&text(&result(vec![change], vec![]), &options(None)));
                let blank = |line: &&str| [" N ", " RULE", " FILE", "…"].iter().any(|b| line.contains(b));
                for line in text.lines().skip_while(|l| *l != "  or put it back").filter(blank) {
                    blanks += 1;
                    script.push_str(&format!("if {{ {line}\n}} >/dev/null 2>&1; then exit 9; fi\n"));
                }
            }
        }
    }
    assert!(blanks > 20, "{blanks}");
    script.push_str("nft list ruleset | cmp before -\n");
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let run = std::process::Command::new("unshare")
        .args(["-n", "sh", "-c", &script])
        .current_dir(scratch.path())
        .output()
        .expect("unshare runs");
    assert!(run.status.success(), "{run:?}\n{script}");
}

#[test]
fn no_command_flushes() {
    for kind in [ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified, ChangeKind::Moved] {
        for of in
            [ObjectKind::Table, ObjectKind::Chain, ObjectKind::Rule, ObjectKind::Set, ObjectKind::Element]
        {
            for source in [Source::Nft, Source::IptablesNft, Source::IptablesLegacy] {
                let change = Change { source, family: "ip".into(), ..object(of, kind, "x", "text") };
                let text = plain(&text(&result(vec![change], vec![]), &options(None)));
                assert!(!text.contains(" flush ") && !text.contains(" -F"), "{text}");
                assert!(!text.contains("-restore FILE"), "{text}");
            }
        }
    }
}

//! Kernel settings and BPF programs: what decides with the rules, or before them, what happens to a packet.

use crate::support::{Host, RULES, kinds, lines};
use fwdrift::netlink::{AttrWriter, flags};
use fwdrift::sys::bpf::{self, hook};
use fwdrift::sys::socket::Socket;
use serde_json::Value;
use std::os::fd::{AsRawFd, OwnedFd};

/// A firewall between two interfaces, approved.
fn router() -> Host {
    let host = Host::bare();
    host.sh("ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up");
    host.nft(RULES);
    host.run(&["init"]).ended(0);
    host
}

fn set(host: &Host, setting: &str, value: &str) {
    host.inside(|| std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap());
}

#[track_caller]
fn found(host: &Host, expect: &[&str]) {
    assert_eq!(lines(&host.changes()), expect);
}

fn approve(host: &Host) {
    host.run(&["approve", "-y", "-m", "meant"]).ended(0);
    found(host, &[]);
}

fn file(host: &Host, path: &str) -> String {
    host.git(&["show", &format!("main:baselines/db-01/{path}")])
}

#[test]
fn forwarding_switched_on_is_one_change_and_an_approved_one_is_none() {
    let host = router();
    assert!(file(&host, "context/sysctl.conf").contains("\nnet.ipv4.ip_forward = 0\n"));
    found(&host, &[]);
    set(&host, "ipv4/ip_forward", "1");
    let line =
        "modified sysctl unspec  net.ipv4.ip_forward: net.ipv4.ip_forward = 0 -> net.ipv4.ip_forward = 1";
    found(&host, &[line]);
    let text = host.run(&["check"]).ended(1);
    assert!(text.contains("\nsysctl\n  ~ net.ipv4.ip_forward: 0 → 1\n"), "{text}");
    assert!(text.contains("sysctl -w net.ipv4.ip_forward=0"), "{text}");
    let events = host.record();
    assert_eq!((kinds(&events), events[0]["author"]["name"].as_str()), (vec!["drift"], Some("unknown")));
    assert!(!events[0]["author"]["window"]["from"].is_null(), "{events:#?}");
    approve(&host);
    assert!(file(&host, "context/sysctl.conf").contains("\nnet.ipv4.ip_forward = 1\n"));
    set(&host, "ipv4/ip_forward", "0");
    assert_eq!(host.changes().len(), 1);
    set(&host, "ipv4/ip_forward", "1");
    found(&host, &[]);
}

#[test]
fn the_way_back_of_a_setting_works_as_printed() {
    let host = router();
    set(&host, "ipv4/ip_forward", "1");
    set(&host, "ipv6/conf/v0/disable_ipv6", "1");
    let text = host.run(&["check"]).ended(1);
    let commands: Vec<&str> = text.lines().filter(|line| line.contains("sysctl -w ")).collect();
    assert_eq!(commands.len(), 2, "{text}");
    host.sh(&commands.join("\n"));
    found(&host, &[]);
}

#[test]
fn an_interface_that_comes_or_goes_is_no_drift_and_one_that_is_changed_is() {
    let host = router();
    host.sh("ip link add veth7 type veth peer name veth8; ip link set veth7 up");
    found(&host, &[]);
    host.sh("ip link add link v0 name v0.100 type vlan id 100 2>/dev/null || ip link set veth8 name v0.100");
    found(&host, &[]);
    set(&host, "ipv4/conf/v0.100/route_localnet", "1");
    set(&host, "ipv4/conf/v0/rp_filter", "2");
    let name = |name: &str, before: &str, after: &str| {
        format!("modified sysctl unspec  {name}: {name} = {before} -> {name} = {after}")
    };
    let localnet = name("net.ipv4.conf.v0/100.route_localnet", "0", "1");
    found(&host, &[&name("net.ipv4.conf.v0.rp_filter", "0", "2"), &localnet]);
    approve(&host);
    // The approved setting's interface goes, and comes back without it.
    host.sh("ip link del v0.100");
    found(&host, &[]);
    host.sh("ip link add v0.100 type veth peer name veth8");
    found(&host, &[&name("net.ipv4.conf.v0/100.route_localnet", "1", "0")]);
}

#[test]
fn policy_adds_settings_and_takes_some_away() {
    let host = router();
    let policy = |text: &str| {
        std::fs::write(host.repo().join("fwdrift.toml"), text).unwrap();
        host.git(&["add", "fwdrift.toml"]);
        host.git(&["commit", "-qm", "policy"]);
    };
    policy("[sysctl]\nalso = [\"net.ipv4.tcp_syncookies\", \"net.ipv6.conf.*.accept_ra\"]\n");
    let changes = lines(&host.changes());
    let named = |part: &str| changes.iter().filter(|line| line.contains(part)).count();
    assert_eq!(
        (named("added sysctl unspec  net.ipv4.tcp_syncookies"), named(".accept_ra: - ->")),
        (1, 2),
        "{changes:#?}"
    );
    assert_eq!(changes.len(), 3, "{changes:#?}");
    approve(&host);
    set(&host, "ipv6/conf/v1/accept_ra", "0");
    assert_eq!(host.changes().len(), 1);
    policy("[sysctl]\nalso = [\"net.ipv4.tcp_syncookies\"]\nignore = [\"net.ipv6.conf.v*.accept_ra\"]\n");
    found(&host, &[]);
    policy("[sysctl]\nalso = [\n  \"kernel.panic\"]\n");
    let error = host.run(&["check"]).failed();
    assert!(
        error.contains("fwdrift.toml on main: line 3: sysctl.also") && error.contains("hint: "),
        "{error}"
    );
    policy("[sysctl]\nignoer = []\n");
    assert!(host.run(&["check"]).failed().contains("ignoer"));
}

/// Bridged packets begin to meet the rules: `bridge-nf-call-iptables` is 1 as soon as its module is there. Here
/// it is there already, so a baseline without it stands for the time before.
#[test]
fn bridged_packets_that_begin_to_meet_the_rules_are_a_change() {
    let host = router();
    let setting = "net.bridge.bridge-nf-call-iptables";
    if !std::path::Path::new("/proc/sys/net/bridge").exists() {
        crate::support::skipped("no br_netfilter");
        return;
    }
    let conf = host.repo().join("baselines/db-01/context/sysctl.conf");
    let without: Vec<String> = std::fs::read_to_string(&conf)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with(setting))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&conf, without.concat()).unwrap();
    host.git(&["commit", "-qam", "before the module"]);
    found(&host, &[&format!("added sysctl unspec  {setting}: - -> {setting} = 1")]);
    set(&host, "bridge/bridge-nf-call-iptables", "0");
    found(&host, &[]);
}

#[test]
fn a_baseline_without_settings_is_in_sync_and_gets_them_with_one_approval() {
    for authored in [false, true] {
        let host = router();
        host.git(&["rm", "-q", "-r", "baselines/db-01/context"]);
        if authored {
            std::fs::remove_file(host.repo().join("baselines/db-01/nft/inet-filter.nft")).unwrap();
            std::fs::write(host.repo().join("baselines/db-01/nft/mine.nft"), RULES).unwrap();
            host.git(&["add", "-A"]);
        }
        host.git(&["commit", "-qm", "an older version's baseline"]);
        set(&host, "ipv4/ip_forward", "1");
        let gap = gap(&host.check(0), "not part of this baseline");
        assert_eq!((gap["source"].as_str(), gap["blinds_verdict"].as_bool()), (Some("sysctl"), Some(false)));
        assert!(gap["hint"].as_str().unwrap().contains("fwdrift approve"), "{gap}");
        host.record();
        let said = host.run(&["approve", "-y"]).ended(0);
        assert!(said.contains("Approved the kernel settings"), "{said}");
        assert_eq!(other_gaps(&host.check(0)), Vec::<Value>::new());
        assert!(file(&host, "context/sysctl.conf").contains("\nnet.ipv4.ip_forward = 1\n"));
        if authored {
            assert_eq!(file(&host, "nft/mine.nft"), RULES);
        }
        assert_eq!(host.record(), Vec::<Value>::new());
        assert!(host.run(&["approve", "-y"]).ended(0).contains("nothing to approve"));
        set(&host, "ipv4/ip_forward", "0");
        assert_eq!(kinds(&host.record()), ["drift"]);
        approve(&host);
    }
}

#[test]
fn authored_files_are_adopted_with_the_settings_as_they_are() {
    let host = Host::bare();
    host.nft(RULES);
    let rules = host.file("fw.nft", RULES);
    host.run(&["init", "--from", &rules]).ended(0);
    assert!(file(&host, "context/sysctl.conf").contains("net.ipv4.ip_forward = 0\n"));
    found(&host, &[]);
    set(&host, "ipv4/ip_forward", "1");
    approve(&host);
    assert_eq!(file(&host, "nft/fw.nft"), RULES);
}

const XDP: u32 = 6;
const SCHED_CLS: u32 = 3;
const SK_LOOKUP: u32 = 30;
const NETFILTER: u32 = 32;

/// `r0 = verdict; exit`.
fn program(kind: u32, hook: u32, name: &str, verdict: u64) -> OwnedFd {
    bpf::load(kind, hook, name, &[0xb7 | verdict << 32, 0x95]).unwrap()
}

fn index(host: &Host, interface: &str) -> u32 {
    host.sh(&format!("ip -o link show {interface}")).split(':').next().unwrap().parse().unwrap()
}

/// Attaches to XDP in the calling thread's namespace (`RTM_SETLINK`); without a program, detaches.
fn attach_xdp(interface: u32, program: Option<&OwnedFd>, mode: u32) {
    const IFLA_XDP: u16 = 43;
    let fd = program.map_or(-1, AsRawFd::as_raw_fd);
    let mut attrs = AttrWriter::new();
    attrs.nested(IFLA_XDP, |xdp| {
        xdp.put(1, &fd.to_ne_bytes()).put(3, &mode.to_ne_bytes());
    });
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&interface.to_ne_bytes());
    Socket::open(None).unwrap().request(19, 0, &[&header, attrs.as_bytes()], |_| {}).unwrap();
}

fn xdp(host: &Host, interface: u32, program: Option<&OwnedFd>, mode: u32) {
    host.inside(|| attach_xdp(interface, program, mode));
}

/// Adds a filter with a program at ingress, preference 7 (`RTM_NEWTFILTER`).
fn tc(host: &Host, interface: u32, program: &OwnedFd) {
    let mut attrs = AttrWriter::new();
    attrs.string(1, b"bpf").nested(2, |options| {
        options
            .put(6, &program.as_raw_fd().to_ne_bytes())
            .string(7, b"drop; \x1b[2J")
            .put(8, &1u32.to_ne_bytes());
    });
    let mut header = [0; 20];
    header[4..8].copy_from_slice(&interface.to_ne_bytes());
    header[8..12].copy_from_slice(&1u32.to_ne_bytes());
    header[12..16].copy_from_slice(&0xffff_fff2_u32.to_ne_bytes());
    header[16..20].copy_from_slice(&(7 << 16 | u32::from(3u16.to_be())).to_ne_bytes());
    let create = flags::CREATE | flags::EXCL;
    host.inside(|| {
        Socket::open(None).unwrap().request(44, create, &[&header, attrs.as_bytes()], |_| {}).unwrap()
    });
}

/// The program is found as added, approved, and its end found as removal.
#[track_caller]
fn comes_and_goes(host: &Host, name: &str, value: &str, end: impl FnOnce()) {
    let text = format!("{name} = {value}");
    found(host, &[&format!("added bpf_program unspec  {name}: - -> {text}")]);
    approve(host);
    assert!(file(host, "context/bpf.conf").contains(&format!("\n{text}\n")));
    end();
    found(host, &[&format!("removed bpf_program unspec  {name}: {text} -> -")]);
    approve(host);
}

/// `tag 0123456789abcdef` of `r0 = verdict; exit`, from another place: kernels differ in how they make it.
fn tag(verdict: u64) -> String {
    let loaded = program(XDP, 0, "for_its_tag", verdict);
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", loaded.as_raw_fd())).unwrap();
    format!("tag {}", info.lines().find_map(|line| line.strip_prefix("prog_tag:\t")).unwrap())
}

/// The gaps but the notice of links: another test's netfilter link is a notice everywhere.
fn other_gaps(result: &Value) -> Vec<Value> {
    let mut gaps = result["gaps"].as_array().unwrap().clone();
    gaps.retain(|gap| gap["source"] != "bpf-links");
    gaps
}

/// The gap whose reason has this in it.
#[track_caller]
fn gap(result: &Value, part: &str) -> Value {
    let gaps = result["gaps"].as_array().unwrap();
    let found = gaps.iter().find(|gap| gap["reason"].as_str().unwrap().contains(part));
    found.unwrap_or_else(|| panic!("{part:?} in {gaps:#?}")).clone()
}

#[test]
fn a_program_at_xdp_is_a_finding_until_it_is_approved() {
    let (tag_1, tag_0) = (tag(1), tag(0));
    let host = router();
    let v0 = index(&host, "v0");
    for (mode, word) in [(1 << 1, "generic"), (1 << 2, "driver")] {
        let drops = program(XDP, 0, "drops_all", 1);
        xdp(&host, v0, Some(&drops), mode);
        let text = host.run(&["check"]).ended(1);
        assert!(text.contains(&format!("+ v0 xdp/{word} = drops_all {tag_1}\n")), "{text}");
        let off =
            text.lines().find(|line| line.contains(" off")).unwrap().split('#').next().unwrap().to_owned();
        comes_and_goes(&host, &format!("v0 xdp/{word}"), &format!("drops_all {tag_1}"), || {
            drop(host.sh(&off))
        });
    }
    // Another program of the same name at the same place.
    xdp(&host, v0, Some(&program(XDP, 0, "p", 1)), 1 << 1);
    approve(&host);
    xdp(&host, v0, None, 1 << 1);
    xdp(&host, v0, Some(&program(XDP, 0, "p", 1)), 1 << 1);
    found(&host, &[]);
    xdp(&host, v0, None, 1 << 1);
    xdp(&host, v0, Some(&program(XDP, 0, "p", 0)), 1 << 1);
    let place = "v0 xdp/generic";
    found(
        &host,
        &[&format!("modified bpf_program unspec  {place}: {place} = p {tag_1} -> {place} = p {tag_0}")],
    );
}

#[test]
fn programs_at_tc_and_tcx_are_found_by_place() {
    let (tag_1, tag_0) = (tag(1), tag(0));
    let host = router();
    host.sh("tc qdisc add dev v0 clsact");
    found(&host, &[]);
    let v0 = index(&host, "v0");
    tc(&host, v0, &program(SCHED_CLS, 0, "shot", 2));
    let changes = host.changes();
    let tag = changes[0]["after"].as_str().unwrap().split(" tag ").nth(1).unwrap()[..16].to_owned();
    let value = format!("drop\\x3b\\x20\\x1b[2J tag {tag} direct-action protocol all");
    let text = host.run(&["check"]).ended(1);
    let off = text.lines().find(|line| line.contains("tc filter delete ")).unwrap().to_owned();
    comes_and_goes(&host, "v0 tc/ingress pref 7 handle 0x1", &value, || drop(host.sh(&off)));
    let passes = program(SCHED_CLS, 0, "passes", 1);
    let other = program(SCHED_CLS, 0, "other", 0);
    let attach = |program| host.inside(|| bpf::attach(program, v0, hook::TCX_EGRESS, [0; 4]).unwrap());
    let link = attach(&passes);
    comes_and_goes(&host, "v0 tcx/egress", &format!("passes {tag_1}"), || drop(link));
    let _both = (attach(&passes), attach(&other));
    found(
        &host,
        &[
            &format!("added bpf_program unspec  v0 tcx/egress: - -> v0 tcx/egress = passes {tag_1}"),
            &format!("added bpf_program unspec  v0 tcx/egress 2: - -> v0 tcx/egress 2 = other {tag_0}"),
        ],
    );
}

#[test]
fn classic_filters_below_a_classful_discipline_are_found_and_other_filters_are_a_notice() {
    let host = router();
    host.sh(
        "tc qdisc add dev v1 root handle 1: htb; tc class add dev v1 parent 1: classid 1:5 htb rate 1mbit",
    );
    found(&host, &[]);
    host.sh("tc filter add dev v1 parent 1:5 protocol ip pref 3 bpf bytecode '1,6 0 0 0' classid 1:5");
    let changes = host.changes();
    assert_eq!(changes[0]["name"], "v1 tc/parent 1:5 pref 3 handle 0x1");
    let value = changes[0]["after"].as_str().unwrap();
    assert!(value.contains(" = classic tag ") && value.ends_with(" protocol ip"), "{value}");
    host.sh("tc filter del dev v1 parent 1:5; tc filter add dev v1 parent 1:5 protocol ip pref 3 bpf bytecode '1,6 0 0 1' classid 1:5");
    assert_ne!(host.changes()[0]["after"], *value, "other instructions");
    host.sh("tc filter del dev v1 parent 1:5");
    found(&host, &[]);
    host.sh("tc filter add dev v1 parent 1: protocol ip u32 match u32 0 0 flowid 1:5");
    let gap = gap(&host.check(0), "(on v1)");
    assert_eq!((gap["source"].as_str(), gap["blinds_verdict"].as_bool()), (Some("tc"), Some(false)));
    // Beside it, what is compared is compared.
    let drops = program(XDP, 0, "drops_all", 1);
    let v0 = index(&host, "v0");
    xdp(&host, v0, Some(&drops), 1 << 1);
    comes_and_goes(&host, "v0 xdp/generic", &format!("drops_all {}", tag(1)), || {
        xdp(&host, v0, None, 1 << 1)
    });
}

#[test]
fn a_program_that_chooses_sockets_is_found() {
    let tag_1 = tag(1);
    let host = router();
    let chooses = program(SK_LOOKUP, hook::SK_LOOKUP, "steers", 1);
    let link = host.inside(|| {
        let netns = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
        bpf::attach(&chooses, netns.as_raw_fd().cast_unsigned(), hook::SK_LOOKUP, [0; 4]).unwrap()
    });
    comes_and_goes(&host, "netns sk_lookup", &format!("steers {tag_1}"), || drop(link));
}

/// The kernel does not tell the namespace of such a link: in the host's first namespace it is found, elsewhere
/// there is a notice. Looks at the namespace that the tests run in; nothing of it is changed.
#[test]
fn a_program_at_a_netfilter_hook_is_found_in_the_first_namespace_and_a_notice_elsewhere() {
    let tag_0 = tag(0);
    let host = router();
    let first = Host::bare();
    let drops = program(NETFILTER, hook::NETFILTER, "nf_drops", 0);
    let attach = || {
        host.inside(|| bpf::attach(&drops, 0, hook::NETFILTER, [2, 1, (-77_i32).cast_unsigned(), 0]).unwrap())
    };
    let link = attach();
    gap(&host.check(0), "perhaps of this namespace");
    drop(link);
    if !std::path::Path::new("/proc/sys/net/core/netdev_budget").exists() {
        crate::support::skipped("this is not the host's first network namespace");
        return;
    }
    let ours = || -> Vec<String> {
        let run = first.here(&["check", "--format", "json"]);
        let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        let mut changes = result["changes"].as_array().unwrap().clone();
        changes
            .retain(|change| change["source"] == "bpf" && change["name"].as_str().unwrap().contains("-77"));
        lines(&changes)
    };
    let here = first.here(&["init"]);
    assert!(here.code == Some(0), "{here:?}");
    assert_eq!(ours(), Vec::<String>::new());
    let link = attach();
    let place = "netfilter ip/input priority -77";
    assert_eq!(ours(), [format!("added bpf_program unspec  {place}: - -> {place} = nf_drops {tag_0}")]);
    first.here(&["approve", "-y"]).ended(0);
    assert_eq!(ours(), Vec::<String>::new());
    drop(link);
    assert_eq!(ours(), [format!("removed bpf_program unspec  {place}: {place} = nf_drops {tag_0} -> -")]);
}

/// In a user namespace bpf(2) can never be asked, and only XDP's presence is seen.
#[test]
fn in_a_user_namespace_programs_that_cannot_be_named_leave_the_verdict_open() {
    let host = Host::bare();
    let mut outer = std::process::Command::new("/usr/bin/unshare");
    outer.args(["--user", "--map-root-user", "--net", "/bin/sh", "-ec"]);
    outer.arg("ip link add v0 type veth peer name v1; echo ready; exec sleep 60");
    let mut child = outer.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).unwrap();
    let pid = child.id().to_string();
    let inside = |args: &[&str]| {
        let nsenter = ["/usr/bin/nsenter", "--user", "--net", "--preserve-credentials", "--target", &pid];
        host.here_through(&nsenter, args)
    };
    let check = |code: i32| -> Value {
        serde_json::from_str(&inside(&["check", "--format", "json"]).ended(code)).unwrap()
    };
    inside(&["init"]).ended(0);
    let quiet = check(0);
    assert_eq!(
        (&quiet["gaps"][0]["source"], &quiet["gaps"][0]["blinds_verdict"]),
        (&"bpf".into(), &false.into())
    );
    let netns =
        fwdrift::sys::netns::Netns::open(std::path::Path::new(&format!("/proc/{pid}/ns/net"))).unwrap();
    netns.run(|| attach_xdp(2, Some(&program(XDP, 0, "drops_all", 1)), 1 << 1)).unwrap();
    let open = check(2);
    assert_eq!((&open["verdict"], &open["changes"]), (&"unknown".into(), &serde_json::json!([])));
    gap(&open, " xdp/generic");
    child.kill().unwrap();
    child.wait().unwrap();
}

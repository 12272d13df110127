//! What a change does to traffic, required flows, and one packet's way: as a person reads it, and as programs do.

use crate::support::{Host, Run};
use serde_json::Value;

const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        tcp dport 22 accept
        ip saddr 10.0.1.0/24 tcp dport 3306 accept comment \"web to db\"
    }
    chain forward { type filter hook forward priority 0; policy drop; }
    chain output { type filter hook output priority 0; policy accept; }
}
";

const UPDATE: &str = "insert rule inet filter input tcp dport 3306 drop comment \"routine security update\"";

const FLOWS: &str = "[groups]
web = [\"10.0.1.0/24\"]

[[flow]]
name = \"web to db\"
from = \"web\"
to = \"10.0.2.9\"
proto = \"tcp\"
port = 3306
owner = \"team-db\"
ticket = \"OPS-12\"

[[flow]]
name = \"no telnet\"
from = \"any\"
to = \"self\"
proto = \"tcp\"
port = 23
expect = \"deny\"
";

/// A database server with its address, and flows that are required.
fn server(flows: &str) -> Host {
    let host = Host::bare();
    host.sh("ip link set lo up
        ip link add eth0 type veth peer name peer0
        ip link set peer0 up
        ip link set eth0 up
        ip address add 10.0.2.9/24 dev eth0");
    host.nft(RULES);
    host.run(&["init"]).ended(0);
    require(&host, flows);
    host
}

fn require(host: &Host, flows: &str) {
    std::fs::write(host.repo().join("fwdrift.toml"), flows).unwrap();
    host.git(&["add", "fwdrift.toml"]);
    host.git(&["commit", "-q", "-m", "policy: flows"]);
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"))
}

fn statements(change: &Value) -> Vec<String> {
    let all = change["impact"].as_array().unwrap_or_else(|| panic!("{change}"));
    all.iter().map(|effect| effect["statement"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_rule_of_the_outage_says_what_it_cut_and_what_accepted_it_before() {
    let host = Host::new(RULES);
    host.nft(UPDATE);
    let result = host.check(1);
    let change = &result["changes"][0];
    let first = &change["impact"][0];
    assert_eq!(
        first["statement"],
        "cut  tcp 10.0.1.0/24 → any:3306, new connections, at input; was accepted by \"ip saddr 10.0.1.0/24 tcp \
         dport 3306 accept comment \"web to db\"\" (baseline line 11), now dropped by \"tcp dport 3306 drop comment \"routine security \
         update\"\""
    );
    assert_eq!(
        (&first["effect"], &first["hook"], &first["family"]),
        (&"cut".into(), &"input".into(), &"ip".into())
    );
    assert_eq!((&first["proto"], &first["src"]), (&"tcp".into(), &"10.0.1.0/24".into()));
    assert_eq!((&first["dst"], &first["dport"]), (&Value::Null, &"3306".into()));
    assert_eq!(first["sample"]["src"], "10.0.1.10");
    assert_eq!((&first["was"]["verdict"], &first["was"]["position"]), (&"accept".into(), &3.into()));
    assert_eq!((&first["now"]["verdict"], &first["now"]["position"]), (&"drop".into(), &1.into()));
    let at = &first["was"]["baseline"];
    assert_eq!(*at, serde_json::json!({ "path": "baselines/db-01/nft/inet-filter.nft", "line": 11 }));
    let approved = host.git(&["show", &format!("main:{}", at["path"].as_str().unwrap())]);
    assert!(approved.lines().nth(10).unwrap().contains("web to db"), "{approved}");
    assert!(host.run(&["check"]).ended(1).contains("(rule 3, baseline line 11), now dropped by this rule"));
    assert_eq!(first["now"]["provenance"]["id"], change["id"]);
    assert_eq!(first["now"]["baseline"], Value::Null);
    assert_eq!(first["conditions"], serde_json::json!([]));
    assert_eq!(change["severity"], "medium");
    // The answers of connections that exist are cut as well, for both families: one statement.
    assert_eq!(change["impact"][1]["family"], "inet");
    assert_eq!(change["impact"].as_array().unwrap().len(), 2, "{:#?}", statements(change));
}

/// Deletes the input chain's rule whose text ends so.
fn remove(host: &Host, rule: &str) {
    let handle = format!("nft -a list chain inet filter input | sed -n 's/.*{rule} # handle //p'");
    host.sh(&format!("nft delete rule inet filter input handle $({handle})"));
}

#[test]
fn approved_rules_that_moved_down_have_their_line_in_the_baseline() {
    let host = Host::new(RULES);
    host.nft("insert rule inet filter input tcp dport 9 counter");
    remove(&host, "dport 22 accept");
    let cut = |host: &Host| {
        let changes = host.changes();
        let of = changes.iter().find(|change| change["kind"] == "removed").unwrap();
        of["impact"][0].clone()
    };
    let first = cut(&host);
    assert_eq!((&first["was"]["baseline"]["line"], &first["was"]["position"]), (&10.into(), &2.into()));
    // A policy is where its chain is.
    assert_eq!(first["now"]["text"], "policy drop");
    assert_eq!(first["now"]["baseline"]["line"], 7);
    // A live rule that stays has another place by now, and its line all the same.
    host.nft("add rule inet filter input tcp dport 22 reject comment \"last\"");
    host.run(&["approve", "-m", "moved"]).ended(0);
    host.nft("insert rule inet filter input tcp dport 9 counter");
    remove(&host, "comment \"web to db\"");
    host.nft("insert rule inet filter input tcp dport 22 accept");
    let changes = host.changes();
    let opened = changes.iter().find(|change| change["impact"][0]["effect"] == "opened").unwrap();
    let was = &opened["impact"][0]["was"];
    let approved = host.git(&["show", "main:baselines/db-01/nft/inet-filter.nft"]);
    let line = was["baseline"]["line"].as_u64().unwrap_or_else(|| panic!("{opened}"));
    assert!(approved.lines().nth(line as usize - 1).unwrap().contains("\"last\""), "{approved}\n{was}");
}

#[test]
fn changes_without_effect_on_any_packet_say_so() {
    let host = Host::new(RULES);
    // Shadowed; and two rules about other ports, in another order.
    host.nft("add rule inet filter input tcp dport 22 drop");
    let result = host.check(1);
    assert_eq!(result["changes"][0]["impact"], serde_json::json!([]));
    assert_eq!(result["changes"][0]["severity"], "info");
    assert!(host.run(&["check"]).ended(1).contains("no effect on traffic"));

    let host = Host::new(
        &RULES.replace("tcp dport 22 accept\n", "tcp dport 22 accept\ntcp dport 80 accept comment \"x\"\n"),
    );
    host.nft("flush chain inet filter input");
    host.nft(
        "add rule inet filter input ct state established,related accept
         add rule inet filter input tcp dport 80 accept comment \"y\"
         add rule inet filter input tcp dport 22 accept
         add rule inet filter input ip saddr 10.0.1.0/24 tcp dport 3306 accept comment \"web to db\"",
    );
    for change in host.changes() {
        assert_eq!(change["impact"], serde_json::json!([]), "{change}");
    }
}

#[test]
fn what_has_no_model_is_a_condition_and_a_setting_is_not_computed() {
    let host = Host::new(RULES);
    host.nft("add rule inet filter input tcp dport 80 limit rate 10/minute accept");
    host.sh("sysctl -q -w net.ipv4.ip_forward=1 || echo 1 > /proc/sys/net/ipv4/ip_forward");
    let changes = host.changes();
    let rule = changes.iter().find(|change| change["object"] == "rule").unwrap();
    let conditions = &rule["impact"][0]["conditions"];
    assert_eq!(*conditions, serde_json::json!(["limit rate 10/minute (in chain input)"]));
    assert!(statements(rule)[0].contains("if limit rate 10/minute"), "{:?}", statements(rule));
    let setting = changes.iter().find(|change| change["source"] == "sysctl").unwrap();
    assert_eq!(setting["impact"], Value::Null);
    assert!(setting["impact_incomplete"].as_str().unwrap().starts_with("not computed"));
}

#[test]
fn sets_elements_policies_and_older_iptables_have_effects_too() {
    let host = Host::bare();
    host.nft(
        "table ip t {
         set bad { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }
         chain input { type filter hook input priority 0; ip saddr @bad drop; }
         }",
    );
    host.sh("iptables-legacy -A INPUT -p tcp -m multiport --dports 25,465 -j REJECT");
    host.run(&["init"]).ended(0);
    host.nft("add element ip t bad { 198.51.100.0/24 }");
    // Not what the other table rejects anyway.
    let told = statements(&host.changes()[0]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("cut  not tcp 198.51.100.0/24 → any, at input; was accepted by policy accept"),
        "{told:?}"
    );
    assert!(told[1].starts_with("cut  tcp 198.51.100.0/24 → any:{not 25, 465}, at input;"), "{told:?}");
    host.nft("delete element ip t bad { 198.51.100.0/24 }");
    host.sh("iptables-legacy -I INPUT -p tcp --dport 465 -s 10.0.0.0/8 -j ACCEPT");
    let changes = host.changes();
    assert_eq!(changes[0]["source"], "iptables-legacy");
    let told = statements(&changes[0]);
    assert!(told[0].starts_with("opened  tcp 10.0.0.0/8 → any:465, at input; was rejected by"), "{told:?}");
}

#[test]
fn a_required_flow_that_breaks_ends_with_3_and_names_rule_packets_and_owner() {
    let host = server(FLOWS);
    let flows = json(host.run(&["flows", "--format", "json"]));
    assert_eq!(flows["schema"], "fwdrift.flows/1");
    let held: Vec<&Value> = flows["flows"].as_array().unwrap().iter().map(|flow| &flow["holds"]).collect();
    assert_eq!(held, [&Value::Bool(true), &Value::Bool(true)], "{flows:#}");
    host.run(&["flows"]).ended(0);
    host.check(0);

    host.nft(UPDATE);
    let flow = &json(host.run(&["flows", "--format", "json"]))["flows"][0];
    assert_eq!((&flow["name"], &flow["holds"]), (&"web to db".into(), &false.into()));
    assert_eq!((&flow["direction"], &flow["path"]), (&"request".into(), &"input".into()));
    assert_eq!(flow["broken_by"]["position"], 1);
    assert_eq!(flow["broken_by"]["provenance"]["kind"], "drift");
    assert_eq!(flow["packets"], serde_json::json!(["tcp 10.0.1.0/24 → 10.0.2.9:3306"]));
    let text = host.run(&["flows"]).ended(3);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("BROKEN  db-01"), "{text}");
    assert!(first.contains("1 of 2 required flows is broken in live: \"web to db\", dropped by"), "{text}");
    assert!(text.contains("owner: team-db, ticket: OPS-12"), "{text}");
    // The approved state still holds, and a check says drift and flow.
    host.run(&["flows", "baseline"]).ended(0);
    let result = host.check(3);
    assert_eq!(
        (&result["verdict"], &result["changes"][0]["severity"]),
        (&"drift".into(), &"critical".into())
    );
    assert_eq!(result["changes"][0]["impact"][0]["flow"], "web to db");
    let first = host.run(&["check"]).ended(3);
    assert!(first.lines().next().unwrap().contains("critical: cuts required flow \"web to db\""), "{first}");
}

#[test]
fn an_answer_that_is_cut_breaks_a_flow_whose_requests_get_through() {
    let host = server(FLOWS);
    host.nft("insert rule inet filter output tcp sport 3306 drop");
    let flow = &json(host.run(&["flows", "--format", "json"]))["flows"][0];
    assert_eq!((&flow["holds"], &flow["direction"]), (&false.into(), &"answer".into()), "{flow:#}");
    assert_eq!(flow["broken_by"]["chain"], "output");
}

#[test]
fn a_broken_flow_without_any_drift_ends_check_with_3_also_from_memory() {
    let host = server(&FLOWS.replace("port = 23\n", "port = 22\n"));
    host.run(&["check"]).ended(3);
    host.run(&["record", "-q"]);
    for _ in 0..2 {
        let result = host.check(3);
        assert_eq!(result["verdict"], "in_sync");
        assert_eq!(result["flows"][1]["holds"], false);
    }
    // Another policy is judged at once, though nothing was committed.
    require(&host, FLOWS);
    host.check(0);
}

#[test]
fn a_flow_that_depends_on_a_limit_is_inconclusive_and_junit_says_error() {
    let host = server(FLOWS);
    host.nft(
        "flush chain inet filter input; add rule inet filter input tcp dport 3306 limit rate 5/second accept",
    );
    let flow = &json(host.run(&["flows", "--format", "json"]))["flows"][0];
    assert_eq!(flow["holds"], Value::Null, "{flow:#}");
    assert!(flow["packets"][0].as_str().unwrap().contains("limit rate 5/second"), "{flow:#}");
    let xml = host.run(&["flows", "--format", "junit"]).ended(2);
    assert!(
        xml.starts_with("<?xml") && xml.contains("<error message=") && xml.contains("tests=\"2\""),
        "{xml}"
    );
}

#[test]
fn a_flow_within_limits_holds_behind_one_and_breaks_where_it_is_closed() {
    let within = FLOWS.replace("proto = \"tcp\"\n", "proto = \"tcp\"\nwithin_limits = true\n");
    let host = server(&within);
    let is_holding = |rules: &str| {
        let rules: Vec<String> =
            rules.split("; ").map(|rule| format!("add rule inet filter input {rule}")).collect();
        host.nft(&format!("flush chain inet filter input; {}", rules.join("; ")));
        json(host.run(&["flows", "--format", "json"]))["flows"][0]["holds"].clone()
    };
    assert_eq!(is_holding("tcp dport 3306 limit rate 5/second accept"), true);
    assert_eq!(is_holding("tcp dport 3306 limit rate over 5/second drop; tcp dport 3306 accept"), true);
    assert_eq!(is_holding("tcp dport 3306 ct count over 20 reject; tcp dport 3306 accept"), true);
    assert_eq!(is_holding("tcp dport 3306 limit rate 5/second drop; tcp dport 3306 accept"), false);
    assert_eq!(
        is_holding("tcp dport 3306 meta mark 7 accept; tcp dport 3306 limit rate 5/second log"),
        false
    );
    assert_eq!(is_holding("meta skuid 7 tcp dport 3306 limit rate 5/second accept"), Value::Null);
    host.nft("flush chain inet filter input");
    for rules in [
        "-A INPUT -p tcp --dport 3306 -m connlimit --connlimit-above 3 -j REJECT",
        "-A INPUT -p tcp --dport 3306 -m hashlimit --hashlimit-above 9/sec --hashlimit-name x -j DROP",
        "-A INPUT -p tcp --dport 3306 -m limit --limit 9/sec -j ACCEPT\n-A INPUT -j DROP",
    ] {
        host.nft("table inet filter { chain input { policy accept; }; }");
        host.sh(&format!("printf '*filter\\n{rules}\\nCOMMIT\\n' | iptables-restore"));
        let flow = &json(host.run(&["flows", "--format", "json"]))["flows"][0];
        assert_eq!(flow["holds"], true, "{rules}: {flow:#}");
    }
}

#[test]
fn a_pipeline_without_a_repository_refuses_a_baseline_that_breaks_a_flow() {
    let host = server(FLOWS);
    let (policy, baseline) = (host.repo().join("fwdrift.toml"), host.repo().join("baselines/db-01"));
    let args =
        ["flows", baseline.to_str().unwrap(), "--policy", policy.to_str().unwrap(), "--format", "junit"];
    let elsewhere = Host::bare();
    assert!(elsewhere.run(&args).ended(0).contains("failures=\"0\""));
    let file = baseline.join("nft/inet-filter.nft");
    let broken =
        std::fs::read_to_string(&file).unwrap().replace("tcp dport 3306 accept", "tcp dport 3307 accept");
    std::fs::write(&file, broken).unwrap();
    assert!(elsewhere.run(&args).ended(3).contains("failures=\"1\""));
}

#[test]
fn a_flow_with_an_unknown_group_names_file_line_and_what_to_write() {
    let host = server(FLOWS);
    require(&host, &FLOWS.replace("from = \"web\"", "from = \"webb\""));
    let said = host.run(&["flows"]).failed();
    assert!(said.contains("fwdrift.toml on main: line 6") && said.contains("webb"), "{said}");
}

#[test]
fn a_trace_names_each_rule_the_one_that_decides_and_who_put_it_there() {
    let host = server("");
    let packet = ["tcp", "10.0.1.5:40000", "10.0.2.9:3306"];
    let trace = |more: &[&str]| {
        let args: Vec<&str> =
            ["trace", "--format", "json"].iter().chain(&packet).chain(more).copied().collect();
        json(host.run(&args))
    };
    let before = trace(&[]);
    assert_eq!((&before["schema"], &before["verdict"]), (&"fwdrift.trace/1".into(), &"accept".into()));
    let step = &before["steps"][0];
    assert_eq!(
        (&step["hook"], &step["chain"], &step["position"]),
        (&"input".into(), &"input".into(), &3.into())
    );
    assert_eq!((&step["provenance"]["kind"], &step["decides"]), (&"approved".into(), &true.into()));
    let path = step["provenance"]["path"].as_str().unwrap();
    let line = step["provenance"]["line"].as_u64().unwrap() as usize;
    let file = std::fs::read_to_string(host.repo().join(path)).unwrap();
    assert!(
        file.lines().nth(line - 1).unwrap().contains("ip saddr 10.0.1.0/24 tcp dport 3306 accept"),
        "{step:#}"
    );

    host.nft(UPDATE);
    host.run(&["record", "-q"]);
    let after = trace(&[]);
    assert_eq!(after["verdict"], "drop");
    assert_eq!(after["steps"][0]["provenance"]["kind"], "drift");
    assert_eq!(trace(&["--against", "baseline"])["verdict"], "accept");
    // Another way, another hook; an answer in an established connection.
    assert_eq!(trace(&["--hook", "forward"])["verdict"], "drop");
    assert_eq!(trace(&["--hook", "forward"])["steps"][0]["text"], "policy drop");
    let established = trace(&["--state", "established", "--against", "baseline"]);
    assert_eq!(established["steps"][0]["position"], 1);
    let text = host.run(&["trace", "tcp", "10.0.1.5:40000", "10.0.2.9:3306"]).ended(0);
    assert!(text.starts_with("DROP  tcp 10.0.1.5:40000 → 10.0.2.9:3306"), "{text}");
    assert!(text.contains("decides: drop"), "{text}");
}

#[test]
fn a_file_with_a_jump_loop_is_an_error_that_names_it() {
    let host = server(FLOWS);
    let rules = "table ip t {\n chain a { jump b; }\n chain b { jump a; }\n chain input { type filter hook input \
                 priority 0; jump a; }\n}\n";
    let file = host.file("loop.nft", rules);
    for args in
        [&["flows", &file][..], &["trace", "tcp", "10.0.1.5:40000", "10.0.2.9:3306", "--against", &file]]
    {
        let said = host.run(args).failed();
        assert!(said.contains("loop.nft") && said.contains("Too many links"), "{args:?}: {said}");
    }
}

#[test]
fn a_trace_of_icmp_and_of_what_cannot_be_says_what_to_write() {
    let host = server("");
    host.nft("insert rule inet filter input icmp type echo-request limit rate 1/second accept");
    let text = host.run(&["trace", "icmp", "10.0.1.5", "10.0.2.9", "--type", "echo-request"]).ended(2);
    assert!(text.starts_with("INCONCLUSIVE  icmp") && text.contains("limit rate 1/second"), "{text}");
    host.run(&["trace", "icmp", "10.0.1.5", "10.0.2.9", "--type", "echo-reply"]).ended(0);
    for (args, part) in [
        (["trace", "tpc", "10.0.1.5", "10.0.2.9"], "is no protocol"),
        (["trace", "tcp", "10.0.1.5", "2001:db8::1"], "two families"),
        (["trace", "icmp", "10.0.1.5:80", "10.0.2.9"], "has no ports"),
        (["trace", "tcp", "10.0.1", "10.0.2.9"], "is no address"),
    ] {
        let said = host.run(&args).failed();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_a_change_did_is_kept_in_the_ledger_and_told_by_show_diff_and_report() {
    let host = Host::new(RULES);
    host.nft(UPDATE);
    let events = host.record();
    let change = &events[0]["changes"][0];
    assert!(statements(change)[0].starts_with("cut  tcp 10.0.1.0/24"), "{change}");
    for args in [&["show", "2"][..], &["diff", "baseline", "live"], &["report"], &["log"]] {
        let run = host.run(args);
        assert!(run.stdout.contains("tcp 10.0.1.0/24 → any:3306"), "{args:?}: {run:?}");
    }
}

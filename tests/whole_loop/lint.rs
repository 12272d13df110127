//! `lint` judges any side, says where in which file, reads only, and its exit code tells warnings from none.

use crate::support::{Host, NAME, RULES, has_arptables_legacy, snapshot};
use serde_json::Value;

const DEAD: &str = "table inet filter {
    set office { type ipv4_addr; elements = { 10.0.0.1 }; }
    set lost { type ipv4_addr; }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname \"lo\" accept
        tcp dport 22 accept
        ip saddr @office tcp dport 22 drop
        tcp dport 3306 accept
    }
    chain unused { accept; }
}
";

fn lint(host: &Host, side: &str, code: i32) -> Value {
    let run = host.run(&["lint", side, "--format", "json"]);
    assert_eq!(run.code, Some(code), "{side}: {run:?}");
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&result["schema"], &result["side"]["given"]), (&"fwdrift.lint/1".into(), &side.into()));
    result
}

/// `FW002 rule input 4 nft/inet-filter.nft:15`, one line a finding.
fn lines(result: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |finding: &Value| {
        let name = if finding["chain"].is_string() { &finding["chain"] } else { &finding["name"] };
        let place = finding["position"].as_u64().map_or_else(String::new, |place| format!(" {place}"));
        let at = finding["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
        let object = text(&finding["object"]);
        format!("{} {object} {}{place} {}{at}", text(&finding["code"]), text(name), text(&finding["file"]))
    };
    result["findings"].as_array().unwrap().iter().map(line).collect()
}

fn line_of(host: &Host, path: &str, text: &str) -> usize {
    let content = std::fs::read_to_string(host.repo().join(path)).unwrap();
    1 + content.lines().position(|line| line.trim() == text).unwrap()
}

#[test]
fn an_ordinary_ruleset_is_clean_on_every_side() {
    let host = Host::new(RULES);
    let ledger = format!("live/{NAME}");
    for side in ["live", "baseline", "main", &ledger] {
        let result = lint(&host, side, 0);
        assert_eq!(lines(&result), Vec::<String>::new(), "{side}");
    }
    let text = host.run(&["lint"]).ended(0);
    assert!(text.starts_with("CLEAN  db-01") && text.lines().count() == 1, "{text}");
}

#[test]
fn a_finding_of_the_baseline_has_the_line_of_its_file() {
    let host = Host::new(DEAD);
    let result = lint(&host, "baseline", 1);
    let path = format!("baselines/{NAME}/nft/inet-filter.nft");
    let at = |text: &str| format!("{path}:{}", line_of(&host, &path, text));
    assert_eq!(
        lines(&result),
        [
            format!("FW007 chain unused {}", at("chain unused {")),
            format!("FW002 rule input 4 {}", at("ip saddr @office tcp dport 22 drop")),
            format!("FW008 set lost {}", at("set lost {")),
        ]
    );
    let shadowed = &result["findings"][1];
    assert_eq!(shadowed["text"], "ip saddr @office tcp dport 22 drop");
    assert_eq!(shadowed["level"], "warning");
    assert_eq!(shadowed["related"][0]["text"], "tcp dport 22 accept");
    assert_eq!(shadowed["related"][0]["position"], 3);
    assert_eq!(shadowed["related"][0]["line"], line_of(&host, &path, "tcp dport 22 accept"));
    let live = lint(&host, "live", 1);
    let fingerprints = |result: &Value| -> Vec<Value> {
        result["findings"].as_array().unwrap().iter().map(|finding| finding["fingerprint"].clone()).collect()
    };
    assert_eq!(fingerprints(&live), fingerprints(&result));
    assert!(lines(&live).iter().all(|line| line.ends_with(" -")), "{:?}", lines(&live));
}

#[test]
fn a_file_is_judged_without_a_repository_and_has_its_own_lines() {
    let host = Host::bare();
    let file = host.file("rules.nft", DEAD);
    let found = lines(&lint(&host, &file, 1));
    assert_eq!(
        found,
        [
            format!("FW007 chain unused {file}:12"),
            format!("FW002 rule input 4 {file}:9"),
            format!("FW008 set lost {file}:3"),
        ]
    );
    let save = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n-A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j DROP\nCOMMIT\n";
    let file = host.file("saved.rules", save);
    assert_eq!(lines(&lint(&host, &file, 1)), [format!("FW002 rule INPUT 2 {file}:4")]);
}

#[test]
fn two_equal_findings_have_two_fingerprints() {
    let host = Host::bare();
    let file = host
        .file("rules.nft", &DEAD.replace("tcp dport 3306 accept", "tcp dport 22 drop\ntcp dport 22 drop"));
    let result = lint(&host, &file, 1);
    let all = result["findings"].as_array().unwrap().iter();
    let all: std::collections::BTreeSet<&str> =
        all.map(|finding| finding["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(all.len(), result["findings"].as_array().unwrap().len(), "{result:#}");
}

#[test]
fn rules_of_iptables_legacy_are_judged_in_their_own_words() {
    let host = Host::bare();
    host.sh("iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT
        iptables-legacy -A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j DROP");
    let result = lint(&host, "live", 1);
    let dead = &result["findings"][0];
    assert_eq!((&dead["code"], &dead["position"]), (&"FW002".into(), &2.into()), "{result:#}");
    assert_eq!(dead["text"], "-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j DROP");
}

#[test]
fn an_interface_that_does_not_exist_is_found_only_where_it_is_known() {
    let host = Host::new(&RULES.replace("iifname \"lo\"", "iifname { \"lo\", \"eth7\" }"));
    assert_eq!(lines(&lint(&host, "live", 1)), ["FW011 rule input 2 -"]);
    lint(&host, "baseline", 0);
}

#[test]
fn with_required_flows_an_accept_beyond_them_is_found() {
    let host = Host::new(RULES);
    lint(&host, "live", 0);
    let flows = "[[flow]]\nname = \"ssh\"\nfrom = \"any\"\nto = \"self\"\nproto = \"tcp\"\nport = 22\n";
    std::fs::write(host.repo().join("fwdrift.toml"), flows).unwrap();
    host.git(&["add", "fwdrift.toml"]);
    host.git(&["commit", "-qm", "flows"]);
    let result = lint(&host, "live", 1);
    assert_eq!(lines(&result), ["FW010 rule input 4 -"]);
    assert!(result["findings"][0]["packets"][0].as_str().unwrap().contains(":3306"), "{result:#}");
}

#[test]
fn a_table_that_could_not_be_judged_is_a_gap_and_the_exit_code_says_so() {
    if !has_arptables_legacy() {
        return;
    }
    let host = Host::bare();
    host.nft(RULES);
    // arptables-nft knows no mask of a protocol's type.
    host.sh("arptables-legacy -A INPUT --proto-type 0x800/0xff00 -j DROP");
    let result = lint(&host, "live", 2);
    let gaps = result["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap["reason"].as_str().unwrap().contains("table arp filter")), "{gaps:#?}");
    let text = host.run(&["lint"]).ended(2);
    assert!(text.starts_with("UNKNOWN") && text.contains("not judged"), "{text}");
    // Chain FORWARD, which is always there, is nothing to complain about.
    host.sh("arptables-legacy -F; arptables-legacy -A INPUT -s 10.0.0.1 -j DROP");
    lint(&host, "live", 0);
}

#[test]
fn sarif_has_what_its_schema_requires() {
    let host = Host::new(DEAD);
    let text = host.run(&["lint", "baseline", "--format", "sarif"]).ended(1);
    let log: Value = serde_json::from_str(&text).unwrap();
    // sarifLog: version, runs; run: tool; tool: driver; toolComponent: name.
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "fwdrift");
    // reportingDescriptor: id; and what code scanning wants besides.
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string() && rule["shortDescription"]["text"].is_string(), "{rule:#}");
        assert!(rule["help"]["text"].is_string(), "{rule:#}");
        assert!(
            ["note", "warning", "error", "none"]
                .contains(&rule["defaultConfiguration"]["level"].as_str().unwrap())
        );
    }
    // invocation: executionSuccessful.
    assert_eq!(runs[0]["invocations"][0]["executionSuccessful"], true);
    // artifactLocation of a base: an absolute URI that ends in a slash.
    let base = runs[0]["originalUriBaseIds"]["REPOSITORY"]["uri"].as_str().unwrap();
    assert!(base.starts_with("file:///") && base.ends_with('/'), "{base}");
    let results = runs[0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        // result: message; message: text or id.
        assert!(result["message"]["text"].is_string(), "{result:#}");
        let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        let fingerprint = result["partialFingerprints"]["fwdrift/v1"].as_str().unwrap();
        assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let location = &result["locations"][0];
        let physical = &location["physicalLocation"];
        let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
        assert_eq!(physical["artifactLocation"]["uriBaseId"], "REPOSITORY");
        assert!(host.repo().join(uri).is_file(), "{uri}");
        assert!(physical["region"]["startLine"].as_u64().unwrap() >= 1);
        assert!(location["logicalLocations"][0]["fullyQualifiedName"].is_string());
    }
}

#[test]
fn lint_writes_nothing() {
    let host = Host::new(DEAD);
    let (files, generation) = (snapshot(&host.repo()), host.check(0)["generation"].clone());
    for side in ["live", "baseline"] {
        host.run(&["lint", side]).ended(1);
    }
    assert_eq!(snapshot(&host.repo()), files);
    assert_eq!(host.check(0)["generation"], generation);
}

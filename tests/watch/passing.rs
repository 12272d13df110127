//! What is made and undone at once.

use crate::support::{Host, RULES, kinds, line};
use crate::watching::{Watching, generation, generations, generations_of};

#[test]
fn what_was_made_and_undone_at_once_is_told_with_its_text() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    host.login(1001, "nft 'add rule inet filter input tcp dport 4444 accept'; nft -a list chain inet filter input | sed -n 's/.*dport 4444 .*handle /delete rule inet filter input handle /p' | nft -f -");
    let events = watching.events_up_to_now();
    let texts: Vec<String> =
        events[1..].iter().flat_map(|event| event["changes"].as_array().unwrap()).map(line).collect();
    assert!(
        texts.iter().any(|text| text == "added rule inet filter/input: - -> tcp dport 4444 accept"),
        "{texts:#?}"
    );
    assert!(events[1..].iter().all(|event| event["author"]["auid"] == 1001), "{events:#?}");
    assert_eq!(host.check(0)["changes"].as_array().unwrap().len(), 0);
    watching.stop();
}

#[test]
fn both_sides_of_a_passing_transaction_are_told() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    // One batch a line: seen together, because the program is stopped meanwhile.
    watching.signal("-STOP");
    host.login(1002, "printf '%s\\n' 'add rule inet filter input tcp dport 4444 accept' 'delete chain inet filter forward' 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }' 'delete rule inet filter input handle 100' 'flush chain inet filter input' | nft -i >/dev/null 2>&1 || true");
    host.nft("flush ruleset");
    host.nft(RULES);
    watching.signal("-CONT");
    let events = watching.events_up_to_now();
    assert_eq!(kinds(&events[1..]), ["transient"; 2], "{events:#?}");
    let of_1002: Vec<String> = events
        .iter()
        .filter(|event| event["author"]["auid"] == 1002)
        .flat_map(|event| event["changes"].as_array().unwrap().iter().map(line))
        .collect();
    for part in [
        "added rule inet filter/input: - -> tcp dport 4444 accept",
        "removed chain inet filter/forward",
        "removed rule inet filter/input: tcp dport 22 accept -> -",
    ] {
        assert!(of_1002.iter().any(|text| text.contains(part)), "{part}: {of_1002:#?}");
    }
    watching.stop();
}

#[test]
fn what_one_does_again_and_again_is_counted_and_what_another_does_meanwhile_is_told() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    let before = generation(&host);
    watching.signal("-STOP");
    let pair = "echo 'add chain inet filter again'; echo 'delete chain inet filter again'";
    host.login(1001, &format!("for n in $(seq 20); do {pair}; done | nft -i >/dev/null"));
    host.login(
        1002,
        "printf '%s\\n' 'add chain inet filter hidden' 'delete chain inet filter hidden' | nft -i >/dev/null",
    );
    watching.signal("-CONT");
    let events = watching.events_up_to_now();
    let of = |uid: u64| events.iter().find(|event| event["author"]["auid"] == uid).unwrap();
    let texts = |uid| of(uid)["changes"].as_array().unwrap().iter().map(line).collect::<Vec<_>>();
    assert_eq!(generations_of(of(1001)).len(), 40);
    assert_eq!(texts(1001).len(), 5, "{:#?}", texts(1001));
    assert_eq!(texts(1002).len(), 2, "{:#?}", texts(1002));
    assert!(texts(1002)[0].starts_with("added chain inet filter/hidden"), "{:#?}", texts(1002));
    assert_eq!(generations(&events).range(before + 1..).count(), 42);
    watching.stop();
}

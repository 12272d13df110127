use super::*;
use crate::model::{AuditEvent, Background, ChangeKind, Evidence, ObjectKind, Syscall};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

fn look(generation: u32, second: i64) -> Look {
    Look { boot_id: "one".to_owned(), netns_cookie: Some(1), generation, time: at(second) }
}

fn change(table: &str) -> Change {
    let change = Change::new(ChangeKind::Added, Source::Nft, ("inet", table), ObjectKind::Rule);
    Change { id: format!("id of {table}"), ..change }
}

fn legacy(table: &str) -> Change {
    Change { source: Source::IptablesLegacy, family: "ip".to_owned(), ..change(table) }
}

/// A commit of this generation to these tables of family inet, that many seconds on, by a login.
fn commit(generation: u32, second: i64, pid: u32, auid: u32, tables: &[&str]) -> AuditEvent {
    let netfilter = tables.iter().map(|table| NetfilterCfg {
        table: table.as_bytes().to_vec(),
        generation: Some(generation),
        family: 1,
        op: "nft_register_rule".to_owned(),
        pid,
        comm: b"nft".to_vec(),
    });
    AuditEvent {
        time: at(second),
        serial: u64::try_from(1000 + second).unwrap(),
        netfilter: netfilter.collect(),
        syscall: Some(Syscall {
            auid: Some(auid),
            uid: 0,
            session: Some(auid),
            tty: Some(b"pts1".to_vec()),
            pid,
            ppid: Some(1),
            comm: Some(b"nft".to_vec()),
            exe: Some(b"/usr/sbin/nft".to_vec()),
            success: Some(true),
            login_name: None,
            uid_name: None,
        }),
        proctitle: Some(b"nft\0-f\0/etc/nft.conf\0".to_vec()),
        background: Background::default(),
    }
}

fn replace(second: i64, pid: u32, auid: u32) -> AuditEvent {
    let mut event = commit(0, second, pid, auid, &["filter"]);
    let cfg = &mut event.netfilter[0];
    (cfg.generation, cfg.family, cfg.op) = (None, 2, "xt_replace".to_owned());
    event
}

fn without_login(mut event: AuditEvent, exe: &str) -> AuditEvent {
    let syscall = event.syscall.as_mut().unwrap();
    (syscall.auid, syscall.session) = (None, None);
    syscall.exe = Some(exe.as_bytes().to_vec());
    event
}

fn name_of(uid: u32) -> Option<String> {
    (uid < 2000).then(|| format!("ops{}", uid - 1000))
}

/// Looks at generation 10 (second 0) and at `generation` (second 60); what is made of it.
fn judge(change: Change, generation: u32, history: &[AuditEvent]) -> (Change, Attribution) {
    judge_with(change, Some(&look(10, 0)), &look(generation, 60), history, true)
}

fn judge_with(
    change: Change,
    before: Option<&Look>,
    now: &Look,
    history: &[AuditEvent],
    sound: bool,
) -> (Change, Attribution) {
    let evidences = Evidences {
        history,
        names: &name_of,
        covers_window: sound,
        unbroken: sound,
        without_transaction: &|change| change.id == "expired",
        scratch: &|event| is_scratch(event, b"/usr/bin/fwdrift"),
    };
    let mut changes = [change];
    let attribution = attribute(&mut changes, before, now, &evidences);
    let [change] = changes;
    (change, attribution)
}

fn check(change: Change, generation: u32, history: &[AuditEvent], expected: &str) -> Change {
    let (change, _) = judge(change, generation, history);
    assert_eq!(change.author.name, expected, "{:?}", change.author);
    assert_eq!(change.author.is_known(), change.time.is_some());
    change
}

#[test]
fn what_a_confined_script_started_is_scratch_work_by_its_uid() {
    let mut event = commit(11, 20, 7, 1005, &["t"]);
    assert!(!is_scratch(&event, b"/usr/bin/fwdrift"));
    if let Some(syscall) = &mut event.syscall {
        syscall.uid = SCRATCH_UID;
    }
    assert!(is_scratch(&event, b"/usr/bin/fwdrift"));
}

#[test]
fn one_transaction_by_one_login_is_that_logins_at_the_records_time() {
    let history = [commit(11, 20, 7, 1005, &["t"])];
    let (change, joined) = judge(change("t"), 11, &history);
    assert_eq!((change.author.name.as_str(), change.author.evidence), ("ops5", Evidence::AuditLog));
    assert_eq!(change.time, Some(at(20)));
    assert_eq!(change.author.cmdline.as_deref(), Some("nft -f /etc/nft.conf"));
    assert_eq!((change.author.tty.as_deref(), change.author.pid), (Some("pts1"), Some(7)));
    assert_eq!(joined.generations_of(&change), [11]);
}

#[test]
fn several_transactions_by_one_login_give_the_last_time_and_the_window() {
    let history =
        [commit(11, 20, 7, 1005, &["t"]), commit(12, 25, 8, 1006, &["u"]), commit(13, 30, 9, 1005, &["t"])];
    let (change, joined) = judge(change("t"), 13, &history);
    assert_eq!((change.author.name.as_str(), change.author.pid, change.time), ("ops5", None, Some(at(30))));
    assert_eq!(change.author.window, Some(Window { from: Some(at(20)), to: at(30) }));
    assert_eq!(joined.generations_of(&change), [11, 13]);
}

#[test]
fn a_generation_without_a_record_leaves_all_unknown() {
    let history = [commit(11, 20, 7, 1005, &["t"])];
    let (change, joined) = judge(change("t"), 12, &history);
    assert!(!change.author.is_known());
    assert_eq!(change.author.window, Some(Window { from: Some(at(0)), to: at(60) }));
    assert_eq!(change.author.candidates[0].name, "ops5");
    assert_eq!(joined.generations_of(&change), [11, 12], "all since the last look");
}

#[test]
fn a_generation_claimed_twice_leaves_its_tables_unknown_and_others_known() {
    let history = [
        commit(11, 20, 7, 1005, &["t"]),
        commit(11, 21, 8, 1006, &["t"]),
        commit(12, 22, 9, 1005, &["other"]),
    ];
    let unknown = check(change("t"), 12, &history, "unknown");
    assert_eq!(unknown.author.candidates.len(), 2);
    check(change("other"), 12, &history, "ops5");
    let elsewhere = [commit(11, 20, 7, 1005, &["t"]), commit(11, 21, 8, 1005, &["docker"])];
    check(change("t"), 11, &elsewhere, "unknown");
}

#[test]
fn a_record_that_fills_a_hole_out_of_order_is_another_namespaces() {
    let history =
        [commit(11, 30, 7, 1005, &["t"]), commit(12, 20, 8, 1006, &["x"]), commit(13, 40, 9, 1005, &["t"])];
    check(change("t"), 13, &history, "unknown");
}

#[test]
fn a_record_without_a_system_call_has_no_author() {
    let mut hidden = commit(11, 20, 7, 1005, &["t"]);
    hidden.syscall = None;
    let unknown = check(change("t"), 11, &[hidden.clone()], "unknown");
    assert_eq!(unknown.author.candidates[0].comm.as_deref(), Some("nft"));
    let later = commit(12, 30, 8, 1005, &["t"]);
    check(change("t"), 12, &[hidden, later], "unknown");
}

#[test]
fn a_service_without_a_login_is_named_by_its_executable() {
    let docker = |generation, second, pid| {
        without_login(commit(generation, second, pid, 1005, &["t"]), "/usr/bin/dockerd (deleted)")
    };
    let known = check(change("t"), 12, &[docker(11, 20, 7), docker(12, 30, 7)], "dockerd (no login)");
    assert_eq!(
        (known.author.auid, known.author.uid, known.author.evidence),
        (None, Some(0), Evidence::AuditLog)
    );
    let other = without_login(commit(12, 30, 8, 1005, &["t"]), "/usr/bin/podman");
    let unknown = check(change("t"), 12, &[docker(11, 20, 7), other], "unknown");
    let names: Vec<_> = unknown.author.candidates.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["dockerd (no login)", "podman (no login)"]);
    check(change("t"), 12, &[docker(11, 20, 7), commit(12, 30, 8, 1005, &["t"])], "unknown");
}

#[test]
fn a_name_from_the_record_is_better_than_todays() {
    let mut event = commit(11, 20, 7, 1005, &["t"]);
    event.syscall.as_mut().unwrap().login_name = Some("maria".to_owned());
    check(change("t"), 11, &[event], "maria");
    check(change("t"), 11, &[commit(11, 20, 7, 5000, &["t"])], "uid 5000");
}

#[test]
fn the_same_name_in_another_family_is_another_table() {
    let history = [commit(11, 20, 7, 1005, &["t"])];
    check(Change { family: "ip".to_owned(), ..change("t") }, 11, &history, "unknown");
    check(Change { family: "decnet".to_owned(), ..change("t") }, 11, &history, "unknown");
    let mut ip6 = commit(11, 20, 7, 1005, &["t"]);
    ip6.netfilter[0].family = 10;
    let nat = Change { family: "ip6".to_owned(), source: Source::IptablesNft, ..change("t") };
    check(nat, 11, &[ip6], "ops5");
}

#[test]
fn a_reboot_a_remade_namespace_no_look_before_or_a_short_history_leave_all_unknown() {
    let history = [commit(11, 20, 7, 1005, &["t"])];
    let rebooted = Look { boot_id: "two".to_owned(), ..look(11, 60) };
    let remade = Look { netns_cookie: Some(2), ..look(11, 60) };
    for (before, now, sound) in [
        (Some(look(10, 0)), rebooted, true),
        (Some(look(10, 0)), remade, true),
        (None, look(11, 60), true),
        (Some(look(10, 0)), look(11, 60), false),
        (Some(look(11, 0)), look(11, 60), true),
    ] {
        let (change, _) = judge_with(change("t"), before.as_ref(), &now, &history, sound);
        assert!(!change.author.is_known(), "{before:?} {now:?}");
        assert_eq!(change.author.window.unwrap().to, now.time);
    }
}

#[test]
fn records_of_another_time_do_not_count() {
    check(change("t"), 11, &[commit(11, 100, 7, 1005, &["t"])], "unknown");
    check(change("t"), 11, &[commit(11, 62, 7, 1005, &["t"])], "ops5");
    let mut yesterday = commit(11, 20, 7, 1005, &["t"]);
    yesterday.time = at(-86_400);
    check(change("t"), 11, &[yesterday.clone()], "unknown");
    check(change("t"), 11, &[yesterday, commit(11, 30, 8, 1006, &["t"])], "ops6");
}

#[test]
fn generations_wrap() {
    let history = [commit(u32::MAX, 20, 7, 1005, &["t"]), commit(0, 30, 8, 1005, &["t"])];
    let before = look(u32::MAX - 1, 0);
    let (change, joined) = judge_with(change("t"), Some(&before), &look(0, 60), &history, true);
    assert_eq!(change.author.name, "ops5");
    assert_eq!(joined.generations_of(&change), [u32::MAX, 0]);
    assert_eq!(joined.generations_of_all(&[change]), [u32::MAX, 0]);
}

#[test]
fn very_many_generations_are_not_listed_one_by_one() {
    let (change, joined) = judge_with(change("t"), Some(&look(0, 0)), &look(u32::MAX, 60), &[], true);
    let listed = joined.generations_of(&change);
    assert_eq!((listed.len(), listed.last()), (4096, Some(&u32::MAX)));
}

#[test]
fn an_element_whose_time_ran_out_is_nobodys() {
    let history = [commit(11, 20, 7, 1005, &["t"])];
    let expired = Change { id: "expired".to_owned(), ..change("t") };
    let expired = check(expired, 11, &history, "unknown");
    assert_eq!(expired.author.candidates, []);
}

#[test]
fn fwdrifts_own_work_in_scratch_namespaces_claims_no_generation() {
    let own = without_login(commit(11, 30, 8, 1006, &["t"]), "/usr/bin/fwdrift");
    let mut child = commit(12, 31, 9, 1006, &["t"]);
    child.proctitle = Some(b"fwdrift-scratch\0-f\0-".to_vec());
    let real = [commit(11, 20, 7, 1005, &["t"]), commit(12, 21, 7, 1005, &["t"])];
    check(change("t"), 12, &[real[0].clone(), real[1].clone(), own.clone(), child.clone()], "ops5");
    check(change("t"), 12, &[real[0].clone(), child], "unknown");
    check(change("t"), 12, &[real[1].clone(), own], "unknown");
}

#[test]
fn resetting_counters_is_no_claim_to_a_generation() {
    let mut reset = commit(11, 25, 8, 1006, &["t"]);
    reset.netfilter[0].op = "nft_reset_rule".to_owned();
    check(change("t"), 11, &[commit(11, 20, 7, 1005, &["t"]), reset], "ops5");
}

#[test]
fn x_tables_have_an_author_only_if_one_login_did_it_all_in_an_unbroken_history() {
    let both = [replace(20, 7, 1005), replace(30, 8, 1005)];
    let known = check(legacy("filter"), 10, &both, "ops5");
    assert_eq!(known.time, Some(at(30)));
    check(legacy("filter"), 10, &[replace(20, 7, 1005), replace(30, 8, 1006)], "unknown");
    check(legacy("filter"), 10, &[replace(-3, 7, 1006), replace(30, 8, 1005)], "ops5");
    check(legacy("nat"), 10, &both, "unknown");
    let (change, joined) = judge_with(legacy("filter"), Some(&look(10, 0)), &look(12, 60), &both, false);
    assert!(!change.author.is_known());
    assert_eq!(joined.generations_of(&change), [0u32; 0]);
    let native = [commit(11, 20, 7, 1005, &["filter"])];
    check(legacy("filter"), 11, &native, "unknown");
}

#[test]
fn the_same_login_in_the_same_session_is_one_author() {
    let history =
        [commit(11, 20, 7, 1005, &["t"]), commit(12, 25, 8, 1006, &["u"]), commit(13, 30, 9, 1005, &["v"])];
    let mut changes =
        vec![change("t"), change("u"), change("v"), change("nowhere"), change("nowhere either")];
    let evidences = Evidences {
        history: &history,
        names: &name_of,
        covers_window: true,
        unbroken: true,
        without_transaction: &|_| false,
        scratch: &|_| false,
    };
    attribute(&mut changes, Some(&look(10, 0)), &look(13, 60), &evidences);
    let groups = by_author(changes);
    let shape: Vec<_> = groups.iter().map(|(author, group)| (author.name.as_str(), group.len())).collect();
    assert_eq!(shape, [("ops5", 2), ("ops6", 1), ("unknown", 2)]);
    let (ops5, group) = &groups[0];
    assert_eq!((ops5.pid, ops5.session, time_of(group)), (None, Some(1005), Some(at(30))));
    assert_eq!(ops5.window, Some(Window { from: Some(at(20)), to: at(30) }));
    assert_eq!(time_of(&groups[2].1), None);
}

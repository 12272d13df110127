use super::*;
use crate::evidence::record::parse_message;

const CFG: &[u8] =
    b"audit(1795179312.272:3): table=a:2 family=1 entries=1 op=nft_register_table pid=77 comm=\"nft\"";
const CALL: &[u8] = b"audit(1795179312.272:3): arch=c000003e syscall=46 success=yes pid=77 auid=1005 uid=0 ses=4 comm=\"nft\" exe=\"/n\"";
const TITLE: &[u8] = b"audit(1795179312.272:3): proctitle=6E6674";
const END: &[u8] = b"audit(1795179312.272:3): ";

fn committed(generation: u32, thread: u32, process: Option<u32>) -> Committed {
    Committed { generation, thread, process }
}

fn take(join: &mut Join<()>, kind: u32, text: &[u8], now: Instant) {
    join.record(parse_message(kind, text).unwrap(), (kind, text.to_vec()), now);
}

fn event(join: &mut Join<()>, now: Instant) {
    take(join, 1325, CFG, now);
    take(join, 1320, END, now);
}

fn ready(join: &mut Join<()>, now: Instant) -> usize {
    join.ready(now, |_, _| false).len()
}

#[test]
fn an_event_is_joined_whichever_of_the_two_comes_first() {
    let now = Instant::now();
    let mut join = Join::default();
    event(&mut join, now);
    assert_eq!(ready(&mut join, now), 0);
    join.commit(committed(2, 77, Some(77)), (), now);
    assert_eq!(ready(&mut join, now), 1);
    join.commit(committed(2, 77, Some(77)), (), now);
    event(&mut join, now);
    assert_eq!(ready(&mut join, now), 1);
    assert!(join.is_idle());
}

#[test]
fn records_are_joined_in_any_order_and_between_those_of_other_events() {
    let now = Instant::now();
    let records: [(u32, &[u8]); 4] = [(1325, CFG), (1300, CALL), (1327, TITLE), (1320, END)];
    for order in [[0, 1, 2, 3], [1, 0, 2, 3], [2, 1, 0, 3], [1, 2, 0, 3]] {
        let mut join = Join::default();
        join.commit(committed(2, 77, None), (), now);
        for at in order {
            let other = format!("audit(1795179312.272:{}): pid=9 auid=1 uid=0 ses=1", 10 + at);
            take(&mut join, 1105, other.as_bytes(), now);
            take(&mut join, records[at].0, records[at].1, now);
        }
        let joined = join.ready(now, |_, _| false);
        let kinds: Vec<u32> = joined[0].records.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, order.map(|at| records[at].0), "{order:?}");
    }
}

#[test]
fn another_namespaces_event_with_the_same_generation_is_not_joined() {
    let now = Instant::now();
    let mut join = Join::default();
    event(&mut join, now);
    join.commit(committed(2, 78, Some(78)), (), now);
    join.commit(committed(3, 77, Some(77)), (), now);
    assert_eq!(ready(&mut join, now), 0);
    assert_eq!(ready(&mut join, now + HOLD), 0);
    assert_eq!(join.overdue(|(), since| now + HOLD >= since + HOLD).len(), 2);
    assert!(join.is_idle());
}

#[test]
fn of_two_claims_to_a_generation_the_one_that_the_kernel_named_counts() {
    let now = Instant::now();
    let mut join = Join::default();
    let foreign = String::from_utf8(CFG.to_vec()).unwrap().replace(":3)", ":2)").replace("pid=77", "pid=66");
    take(&mut join, 1325, foreign.as_bytes(), now);
    take(&mut join, 1320, b"audit(1795179312.272:2): ", now);
    event(&mut join, now);
    join.commit(committed(2, 77, Some(77)), (), now);
    let joined = join.ready(now, |_, _| false);
    assert_eq!((joined.len(), &joined[0].records[0].1), (1, &CFG.to_vec()));
}

#[test]
fn a_thread_is_joined_with_its_process() {
    let now = Instant::now();
    let mut join = Join::default();
    event(&mut join, now);
    join.commit(committed(2, 90, Some(77)), (), now);
    assert_eq!(ready(&mut join, now), 1);
    take(&mut join, 1325, CFG, now);
    join.commit(committed(2, 90, None), (), now);
    assert_eq!(join.ready(now + QUIET, |pid, tid| (pid, tid) == (77, 90)).len(), 1);
}

#[test]
fn an_event_without_an_end_is_taken_when_quiet() {
    let now = Instant::now();
    let mut join = Join::default();
    take(&mut join, 1325, CFG, now);
    join.commit(committed(2, 77, None), (), now);
    assert_eq!((ready(&mut join, now), join.next_quiet()), (0, Some(now + QUIET)));
    assert_eq!(ready(&mut join, now + QUIET), 1);
}

#[test]
fn whoever_is_in_a_hurry_does_not_wait_for_the_end() {
    let now = Instant::now();
    let mut join = Join::default();
    join.commit(committed(2, 77, None), (), now);
    take(&mut join, 1325, CFG, now);
    take(&mut join, 1300, CALL, now);
    assert_eq!(join.ready_early(now, |_, _| false).len(), 0);
    take(&mut join, 1327, TITLE, now);
    assert_eq!(ready(&mut join, now), 0);
    assert_eq!(join.ready_early(now, |_, _| false).len(), 1);
    take(&mut join, 1320, END, now);
    assert!(join.is_idle());
}

#[test]
fn one_system_call_may_commit_twice() {
    let now = Instant::now();
    let mut join = Join::default();
    take(&mut join, 1325, CFG, now);
    let second = String::from_utf8(CFG.to_vec()).unwrap().replace("a:2", "a:3");
    take(&mut join, 1325, second.as_bytes(), now);
    take(&mut join, 1320, END, now);
    join.commit(committed(2, 77, None), (), now);
    let first = join.ready(now, |_, _| false);
    assert_eq!((first.len(), first[0].again), (1, false));
    join.commit(committed(3, 77, None), (), now);
    let second = join.ready(now, |_, _| false);
    assert_eq!((second.len(), second[0].again), (1, true));
    join.commit(committed(3, 77, None), (), now);
    assert_eq!(ready(&mut join, now), 0, "a generation is joined once");
}

#[test]
fn x_tables_and_started_programs_are_given_whole_and_the_rest_is_not_kept() {
    let now = Instant::now();
    let mut join = Join::default();
    let xt = b"audit(1.000:1): table=filter family=2 entries=4 op=xt_replace pid=7 comm=\"iptables\"";
    take(&mut join, 1325, xt, now);
    take(&mut join, 1300, b"audit(1.000:2): arch=c000003e", now);
    take(&mut join, 1309, b"audit(1.000:2): argc=1 a0=\"nft\"", now);
    take(&mut join, 1300, b"audit(1.000:4): arch=c000003e", now);
    for serial in [2, 4] {
        take(&mut join, 1320, format!("audit(1.000:{serial}): ").as_bytes(), now);
    }
    let of = |join: &mut Join<()>| join.finished().map(|records| records[0].0).collect::<Vec<u32>>();
    assert_eq!(of(&mut join), [1300]);
    join.ready(now + QUIET, |_, _| false);
    assert_eq!(of(&mut join), [1325], "without a system call's end it is taken when quiet");
    assert!(join.is_idle());
}

#[test]
fn what_has_waited_too_long_is_taken_back() {
    let now = Instant::now();
    let mut join = Join::default();
    join.commit(committed(2, 77, None), "first", now);
    join.commit(committed(3, 77, None), "second", now + QUIET);
    assert_eq!(join.first_waiting(), Some((&"first", now)));
    let late = join.overdue(|_, since| now + QUIET >= since + QUIET);
    assert_eq!(late, [(committed(2, 77, None), "first", now)]);
    assert_eq!(join.commits_waiting(), 1);
}

#[test]
fn a_flood_of_other_namespaces_drives_no_event_out_that_a_commit_waits_for() {
    let now = Instant::now();
    let mut join = Join::default();
    join.commit(committed(2, 77, None), (), now);
    take(&mut join, 1325, CFG, now);
    for serial in 0..(3 * BOUND) {
        let message =
            format!("audit(1795179313.000:{serial}): table=a:9 family=1 entries=1 op=nft_x pid=7 comm=\"n\"");
        take(&mut join, 1325, message.as_bytes(), now);
    }
    take(&mut join, 1320, END, now);
    assert_eq!((ready(&mut join, now), join.events.len() <= BOUND), (1, true));
    for _ in 0..ROUNDS {
        ready(&mut join, now + QUIET);
    }
    assert!(join.is_idle(), "events of other namespaces are not held for long");
}

#[test]
fn what_is_held_stays_bounded_and_a_flood_of_others_drives_no_commit_out() {
    let now = Instant::now();
    let mut join = Join::default();
    event(&mut join, now);
    for serial in 0..(BOUND + 10) {
        let other = format!("audit(2.000:{serial}): pid=1 uid=0 auid=0 ses=1");
        take(&mut join, 1105, other.as_bytes(), now);
    }
    join.commit(committed(2, 77, None), (), now);
    assert_eq!((ready(&mut join, now), join.others.len(), join.dropped), (1, BOUND, 0));
    for serial in 0..(BOUND + 10) {
        let message =
            format!("audit(1.000:{serial}): table=a:2 family=1 entries=1 op=nft_x pid=7 comm=\"n\"");
        take(&mut join, 1325, message.as_bytes(), now);
        join.commit(committed(9, 9, None), (), now);
    }
    assert!(join.events.len() <= BOUND && join.commits.len() == BOUND && join.dropped >= 10);
    assert_eq!(join.overdue(|(), _| false).len(), 10, "no commit is forgotten");
}

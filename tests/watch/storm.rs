//! A thousand transactions a second for half a minute.

use crate::support::{Host, RULES};
use crate::watching::{Watching, generation, generations_of};
use fwdrift::collect::transactions::{Transactions, is_after};
use fwdrift::evidence::enable_guard;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Who makes it; each has a chain of that number.
const LOGINS: [u32; 2] = [1001, 1002];
const TIME: Duration = Duration::from_secs(30);
/// Transactions a second of each.
const RATE: u32 = 500;
/// What watch may have in memory meanwhile, in kB: 32 MB of it are messages that wait.
const MEMORY: u64 = 96 << 10;

#[test]
fn a_thousand_transactions_a_second_for_half_a_minute_are_all_accounted_for() {
    let chains: String = LOGINS.iter().map(|uid| format!("add chain inet filter by{uid}\n")).collect();
    let host = Host::new(&format!("{RULES}{chains}"));
    let _auditing = enable_guard().unwrap();
    let watching = Watching::start(&host);
    let first = generation(&host) + 1;
    let busy = load();
    let (truth, took, largest) = storm(&host, &watching);
    let last = generation(&host);
    let events = watching.events_up_to_now();

    let rate = truth.len() as f64 / took.as_secs_f64();
    // Two cores make that many while nobody else wants them.
    if busy > 1.5 {
        println!(
            "the machine was busy with something else (load {busy}): only {rate:.0} a second for {took:?}"
        );
    } else {
        assert!(rate > 400.0 && took > TIME - Duration::from_secs(1), "{rate:.0} a second for {took:?}");
    }
    assert_eq!(truth.len() as u64, last + 1 - first, "the test itself heard them all");
    let mut places: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for event in &events {
        for generation in generations_of(event) {
            places.entry(generation).or_default().push(event);
        }
    }
    let (mut right, mut unknown, mut in_gaps) = (0, 0, 0);
    for (generation, uid) in &truth {
        let [event] = places.get(generation).map_or(&[][..], Vec::as_slice) else {
            panic!("generation {generation} is in {:?}", places.get(generation));
        };
        match (event["kind"].as_str().unwrap(), event["author"]["auid"].as_u64()) {
            ("gap", _) => in_gaps += 1,
            (_, None) => unknown += 1,
            (_, Some(auid)) if auid == u64::from(*uid) => right += 1,
            (_, Some(auid)) => panic!("generation {generation} is by {uid}, not by {auid}: {event:#}"),
        }
    }
    println!(
        "{} transactions, {rate:.0} a second: {right} right authors, {unknown} unknown, {in_gaps} in gaps; \
         {} events, {:.1} MB resident at most",
        truth.len(),
        events.len(),
        largest as f64 / 1024.0
    );
    // An author may be lost where the kernel lets audit records go; how many depends on the machine.
    assert!(right * 10 >= truth.len() * 9, "{right} of {} authors are known", truth.len());
    assert!(largest < MEMORY, "{largest} kB");
    assert!(events.len() < 1000, "{} events", events.len());
    assert_eq!(host.check(0)["changes"].as_array().unwrap().len(), 0);
    watching.stop();
}

/// Makes it, and hears by itself who made which generation. Also how long it took, and how much memory watch had at most.
fn storm(host: &Host, watching: &Watching<'_>) -> (BTreeMap<u64, u32>, Duration, u64) {
    let mut heard =
        host.inside(|| Transactions::open(&fwdrift::sys::netns::Netns::current().unwrap()).unwrap());
    let (ended, largest) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut truth = BTreeMap::new();
    let start = Instant::now();
    let took = std::thread::scope(|scope| {
        let people: Vec<_> = LOGINS.iter().map(|uid| scope.spawn(|| by(host, *uid, start))).collect();
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                largest.fetch_max(resident(watching), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        while people.iter().any(|one| !one.is_finished()) {
            hear(&mut heard, &mut truth);
            std::thread::sleep(Duration::from_millis(20));
        }
        people.into_iter().for_each(|one| one.join().unwrap());
        let took = start.elapsed();
        let now = generation(host) as u32;
        while is_after(now, heard.generation()) && start.elapsed() < TIME * 2 {
            hear(&mut heard, &mut truth);
        }
        ended.store(true, Ordering::SeqCst);
        took
    });
    (truth, took, largest.into_inner())
}

/// One login: makes a rule and flushes the chain, in transactions of their own.
fn by(host: &Host, uid: u32, start: Instant) {
    let mut nft = login(host, uid);
    let mut input = nft.stdin.take().unwrap();
    let (add, flush) = (
        format!("add rule inet filter by{uid} tcp dport 80 accept\n"),
        format!("flush chain inet filter by{uid}\n"),
    );
    let mut sent = 0;
    while sent < RATE * TIME.as_secs() as u32 {
        let due = start.elapsed().min(TIME).as_millis() as u32 * RATE / 1000;
        while sent < due {
            input.write_all(format!("{add}{flush}").as_bytes()).unwrap();
            sent += 2;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(input);
    assert!(nft.wait().unwrap().success());
}

/// nft in a session of somebody who logged in, for lines that are a transaction each.
fn login(host: &Host, uid: u32) -> Child {
    let mut sh = Command::new("/bin/sh");
    let script = format!("echo {uid} > /proc/self/loginuid; timeout 120 /usr/sbin/nft -i");
    sh.args(["-ec", &script]).stdin(Stdio::piped()).stdout(Stdio::null());
    host.inside(|| sh.spawn().unwrap())
}

fn hear(heard: &mut Transactions, truth: &mut BTreeMap<u64, u32>) {
    let news = heard.receive().unwrap();
    assert!(!news.lost, "the test itself lost transactions");
    for transaction in news.transactions {
        let says = |uid: u32| {
            let chain = format!("by{uid}\0").into_bytes();
            transaction
                .messages
                .iter()
                .any(|message| message.attrs.windows(chain.len()).any(|part| part == chain))
        };
        let uid = LOGINS.into_iter().find(|uid| says(*uid)).expect("a transaction of one of them");
        truth.insert(transaction.generation.into(), uid);
    }
}

/// How many tasks wanted a core, over the last minute (proc_loadavg(5)).
fn load() -> f64 {
    std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// In kB.
fn resident(watching: &Watching<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", watching.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

//! What is heard of the kernel's announcements, and what is told of what is not.

use crate::support::{Batch, Lab, StopOnDrop, key, name, named, sender};
use fwdrift::collect::nftables::generation;
use fwdrift::collect::transactions::{Budget, following, is_after, weight};
use fwdrift::model::{Family, Transaction};
use fwdrift::netlink::nft::{chain, expr, msg, object, rule, set, table};
use fwdrift::netlink::{AttrWriter, Attrs, flags};
use fwdrift::normalise::touched::{Act, Thing, Touches};
use fwdrift::sys::socket::Socket;
use fwdrift::tool::Tool;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many rules one of [`add_rules`] adds.
const RULES: u32 = 5;

/// Adds rules that accept everything, each marked with a number, in one transaction.
fn add_rules(socket: &mut Socket, number: u32) {
    let mut batch = Batch::new();
    for _ in 0..RULES {
        let mut attrs = named((rule::TABLE, "t"), (rule::CHAIN, "c"));
        attrs.nested(rule::EXPRESSIONS, |list| {
            list.nested(1, |immediate| {
                immediate.string(expr::NAME, b"immediate").nested(expr::DATA, |data| {
                    data.be32(expr::IMMEDIATE_DREG, 0).nested(expr::IMMEDIATE_DATA, |value| {
                        value.nested(expr::DATA_VERDICT, |verdict| {
                            verdict.be32(expr::VERDICT_CODE, 1);
                        });
                    });
                });
            });
        });
        attrs.put(rule::USERDATA, &number.to_be_bytes());
        batch.push(msg::NEWRULE, flags::CREATE | flags::APPEND, Family::Ip, &attrs);
    }
    assert!(batch.send(socket).is_empty());
}

fn flush(socket: &mut Socket) {
    let mut batch = Batch::new();
    batch.push(msg::DELRULE, 0, Family::Ip, &named((rule::TABLE, "t"), (rule::CHAIN, "c")));
    assert!(batch.send(socket).is_empty());
}

/// The number that all rules of a transaction have.
fn number_of(transaction: &Transaction) -> Option<u32> {
    let number = |attrs: &Vec<u8>| Attrs(attrs).find(rule::USERDATA).unwrap().be32().unwrap();
    let mut numbers = transaction.messages.iter().map(|message| number(&message.attrs));
    let first = numbers.next()?;
    (numbers.all(|number| number == first) && transaction.messages.len() == RULES as usize).then_some(first)
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.nft("table ip t { chain c { }; }");
    lab.hear();
    lab
}

fn wait(lab: &Lab) -> bool {
    let patience = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    poll(&mut [PollFd::new(&lab.heard.as_fd(), PollFlags::IN)], Some(&patience)).unwrap() > 0
}

/// With one page, some ten transactions of [`add_rules`] fit.
fn make_small(lab: &Lab) {
    rustix::net::sockopt::set_socket_recv_buffer_size(lab.heard.as_fd(), 4096).unwrap();
}

#[test]
fn each_kind_of_thing_is_announced_put_and_removed() {
    let mut lab = Lab::new();
    lab.run("ip", &["link", "add", "a0", "type", "veth", "peer", "name", "a1"]);
    let mut touches = Touches::default();
    let mut check = |script: &str, expected: &[(Act, &str)]| {
        let transaction = lab.transaction(script);
        let touched = touches.touched(&transaction, &BTreeMap::new());
        let of = |thing: &Thing| match thing {
            Thing::Table => "table".to_owned(),
            Thing::Chain(name) => format!("chain {name}"),
            Thing::Rule(chain, handle) => format!("rule {chain} {handle}"),
            Thing::Set(name) => format!("set {name}"),
            Thing::Element(set, key) => format!("element {set} {:?}-{:?}", key.key, key.end),
            Thing::Object(kind, name) => format!("object {kind} {name}"),
            Thing::Flowtable(name) => format!("flowtable {name}"),
        };
        let found: Vec<(Act, String)> =
            touched.objects.iter().map(|touch| (touch.act, of(&touch.thing))).collect();
        let found: Vec<(Act, &str)> = found.iter().map(|(act, thing)| (*act, thing.as_str())).collect();
        assert_eq!(found, expected, "{script}");
        assert!(!touched.scope.everything);
    };
    use Act::{Added, Removed, Stated};
    check("add table ip t", &[(Stated, "table")]);
    check("add table ip t { flags dormant; }", &[(Stated, "table")]);
    check("add chain ip t c", &[(Stated, "chain c")]);
    check("add chain ip t b { type filter hook input priority 0; }", &[(Stated, "chain b")]);
    check("add chain ip t b { policy drop; }", &[(Stated, "chain b")]);
    check("rename chain ip t c d", &[(Removed, "chain c"), (Stated, "chain d")]);
    check("add rule ip t d accept", &[(Added, "rule d 3")]);
    check("replace rule ip t d handle 3 drop", &[(Removed, "rule d 3"), (Added, "rule d 3")]);
    check("add rule ip t d tcp dport { 1, 2 } jump { accept; }", &[(Added, "rule d 7")]);
    check("delete rule ip t d handle 7", &[(Removed, "rule d 7"), (Removed, "set __set0")]);
    check("add set ip t s { type inet_service; flags interval; }", &[(Stated, "set s")]);
    check(
        "add element ip t s { 1, 5-9 }",
        &[(Added, "element s [0, 1]-[0, 2]"), (Added, "element s [0, 5]-[0, 10]")],
    );
    check("delete element ip t s { 5-9 }", &[(Removed, "element s [0, 5]-[0, 10]")]);
    check("flush set ip t s", &[(Removed, "element s [0, 1]-[0, 2]")]);
    check("delete set ip t s", &[(Removed, "set s")]);
    check("add map ip t m { type mark : verdict; }", &[(Stated, "set m")]);
    check("add element ip t m { 1 : jump d }", &[(Added, "element m [1, 0, 0, 0]-[]")]);
    check("delete map ip t m", &[(Removed, "set m")]);
    check("add counter ip t n", &[(Stated, "object 1 n")]);
    check("add quota ip t q { over 5 mbytes; }", &[(Stated, "object 2 q")]);
    check("add quota ip t q { over 6 mbytes; }", &[(Stated, "object 2 q")]);
    check("delete counter ip t n", &[(Removed, "object 1 n")]);
    check(
        "add chain ip t e; add rule ip t e drop; delete chain ip t e",
        &[(Stated, "chain e"), (Added, "rule e 13"), (Removed, "rule e 13"), (Removed, "chain e")],
    );
    check(
        "add rule ip t d drop; flush chain ip t d",
        &[(Added, "rule d 14"), (Removed, "rule d 3"), (Removed, "rule d 14")],
    );
    check(
        "add table netdev v; add chain netdev v i { type filter hook ingress device a0 priority 0; }",
        &[(Stated, "table"), (Stated, "chain i")],
    );
    check(
        "delete table ip t",
        &[(Removed, "object 2 q"), (Removed, "chain d"), (Removed, "chain b"), (Removed, "table")],
    );
}

#[test]
fn what_is_destroyed_is_removed() {
    let mut lab = Lab::new();
    lab.nft("table ip t { chain c { accept\n}; set s { type mark; elements = { 1 }; }; counter n { }; }");
    lab.hear();
    let destroy = || {
        let mut batch = Batch::new();
        let mut add = |message, attrs: &AttrWriter| batch.push(message, 0, Family::Ip, attrs);
        add(msg::DESTROYRULE, &named((rule::TABLE, "t"), (rule::CHAIN, "c")));
        add(msg::DESTROYCHAIN, &named((chain::TABLE, "t"), (chain::NAME, "c")));
        add(msg::DESTROYSETELEM, &named((set::TABLE, "t"), (set::NAME, "s")));
        add(msg::DESTROYSET, &named((set::TABLE, "t"), (set::NAME, "s")));
        let mut counter = named((object::TABLE, "t"), (object::NAME, "n"));
        add(msg::DESTROYOBJ, counter.be32(object::TYPE, object::T_COUNTER));
        let mut whole = AttrWriter::new();
        add(msg::DESTROYTABLE, whole.string(table::NAME, b"t"));
        batch.send(&mut sender())
    };
    let refused = lab.netns.run(destroy).unwrap();
    if refused.iter().any(|error| *error == rustix::io::Errno::INVAL.raw_os_error()) {
        // Before Linux 6.3 there is no such message.
        println!("SKIPPED: this kernel destroys nothing");
        return;
    }
    assert!(refused.is_empty(), "{refused:?}");
    let heard = lab.hear();
    let touched = Touches::default().touched(&heard[0], &BTreeMap::new());
    assert!(!touched.scope.everything, "{heard:#?}");
    let things: Vec<&Thing> = touched.objects.iter().map(|touch| &touch.thing).collect();
    for thing in [Thing::Chain(name("c")), Thing::Set(name("s")), Thing::Object(1, name("n")), Thing::Table] {
        assert!(things.contains(&&thing), "{thing:?}: {things:?}");
    }
    assert!(
        touched.objects.iter().all(|touch| touch.act == Act::Removed && touch.table == key(Family::Ip, "t"))
    );
}

#[test]
fn a_transaction_says_who_sent_it() {
    let mut lab = lab();
    let first = lab.heard.generation();
    let mut threads = Vec::new();
    for number in 0..3 {
        // Each on a thread of its own, with a name of its own.
        let send = || {
            rustix::thread::set_name(c"changer").unwrap();
            add_rules(&mut sender(), number);
            rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
        };
        let (sent, done) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let netns = &lab.netns;
            scope.spawn(move || {
                netns.run(move || {
                    sent.send(send()).unwrap();
                    let _ = ended.recv();
                })
            });
            threads.push(done.recv().unwrap());
            let heard = lab.heard.receive().unwrap();
            let [transaction] = &heard.transactions[..] else { panic!("{heard:?}") };
            assert_eq!(Some(&transaction.thread), threads.last());
            assert_eq!(transaction.process, Some(std::process::id()));
            assert_ne!(transaction.thread, std::process::id());
            assert_eq!(transaction.comm, b"changer");
            assert_eq!(transaction.generation, first + 1 + number);
            drop(end);
        });
    }
    lab.nft("add chain ip t more");
    let heard = lab.hear();
    // The program has ended, and nobody has its number.
    assert_eq!((heard[0].comm.as_slice(), heard[0].process), (&b"nft"[..], None));
}

#[test]
fn a_thousand_transactions_a_second_are_heard_one_by_one() {
    const RATE: u32 = 1000;
    const SECONDS: u32 = 4;
    let mut lab = lab();
    let first = lab.heard.generation();
    let done = AtomicBool::new(false);
    let (mut heard, mut most) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let (netns, done) = (&lab.netns, &done);
        scope.spawn(move || {
            let send = || {
                let mut socket = sender();
                let start = Instant::now();
                for number in 0..RATE * SECONDS {
                    if number % 500 == 499 {
                        flush(&mut socket)
                    } else {
                        add_rules(&mut socket, number)
                    }
                    let due = start + Duration::from_secs(1) * number / RATE;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                println!(
                    "{} transactions a second",
                    f64::from(RATE * SECONDS) / start.elapsed().as_secs_f64()
                );
            };
            netns.run(send).unwrap();
            done.store(true, Ordering::Release);
        });
        loop {
            let is_last = done.load(Ordering::Acquire);
            let news = lab.heard.receive().unwrap();
            assert!(!news.lost);
            most = most.max(news.transactions.iter().map(weight).sum());
            heard.extend(news.transactions.into_iter().map(|mut transaction| {
                let number = number_of(&transaction);
                transaction.messages.clear();
                (transaction, number)
            }));
            if is_last {
                break;
            }
            wait(&lab);
        }
    });
    assert_eq!(heard.len(), (RATE * SECONDS) as usize);
    for (place, (transaction, number)) in (0..).zip(&heard) {
        assert_eq!((transaction.generation, transaction.left_out), (first + 1 + place, 0));
        assert!(transaction.process.is_some());
        assert_eq!(*number, (place % 500 != 499).then_some(place));
    }
    println!("at most {most} bytes at once");
}

#[test]
fn a_full_buffer_is_told_and_what_came_before_is_whole() {
    const SENT: u32 = 200;
    let mut lab = lab();
    make_small(&lab);
    let first = lab.heard.generation();
    lab.netns.run(|| (0..SENT).for_each(|number| add_rules(&mut sender(), number))).unwrap();
    let news = lab.heard.receive().unwrap();
    assert!(news.lost);
    assert!(!news.transactions.is_empty() && news.transactions.len() < SENT as usize);
    for (place, transaction) in (0..).zip(&news.transactions) {
        assert_eq!(transaction.generation, first + 1 + place);
        assert_eq!((number_of(transaction), transaction.left_out), (Some(place), 0));
    }
    // From then on all is heard again.
    assert_eq!(lab.heard.generation(), first + SENT);
    let next = lab.transaction("add chain ip t more");
    assert_eq!((next.generation, next.messages.len()), (first + SENT + 1, 1));
}

/// Transactions that come without pause while a small buffer runs over again and again.
#[test]
fn no_transaction_with_a_hole_looks_whole() {
    let mut lab = lab();
    make_small(&lab);
    let first = lab.heard.generation();
    let stop = AtomicBool::new(false);
    let (mut losses, mut whole, mut partly, mut last) = (0, 0, 0, first);
    std::thread::scope(|scope| {
        let (netns, stop) = (&lab.netns, &stop);
        let sent = scope.spawn(move || {
            let send = || {
                let (mut socket, mut number) = (sender(), 0);
                while !stop.load(Ordering::Relaxed) {
                    if number % 300 == 299 {
                        flush(&mut socket)
                    } else {
                        add_rules(&mut socket, number)
                    }
                    number += 1;
                }
                number
            };
            netns.run(send).unwrap()
        });
        let guard = StopOnDrop(stop);
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let news = lab.heard.receive().unwrap();
            losses += u32::from(news.lost);
            for transaction in &news.transactions {
                assert!(is_after(transaction.generation, last) || transaction.left_out > 0);
                if transaction.generation != following(last) && is_after(transaction.generation, last) {
                    assert!(losses > 0, "generations are missing, and nothing was said to be lost");
                }
                last = transaction.generation;
                let number = transaction.generation - first - 1;
                if transaction.left_out > 0 {
                    partly += 1;
                } else if number % 300 == 299 {
                    assert!(transaction.messages.iter().all(|message| message.kind == msg::DELRULE));
                } else {
                    whole += 1;
                    assert_eq!(number_of(transaction), Some(number), "{transaction:?}");
                }
            }
            std::thread::sleep(Duration::from_millis(if whole % 3 == 0 { 3 } else { 0 }));
        }
        drop(guard);
        println!("{} were sent", sent.join().unwrap());
    });
    println!("{losses} losses, {whole} whole, {partly} not");
    assert!(losses > 10 && whole > 100, "{losses} losses, {whole} whole");
    // At rest, the last generation is the kernel's.
    while wait(&lab) {
        lab.heard.receive().unwrap();
    }
    let now = lab.netns.run(|| generation(&mut sender()).unwrap()).unwrap();
    assert_eq!(lab.heard.generation(), now);
}

/// Of a rule of some 8 KB the kernel makes no announcement, and says ENOBUFS.
#[test]
fn a_rule_that_is_too_long_to_be_announced_is_told_with_who_sent_it() {
    let mut lab = Lab::new();
    lab.run("iptables-nft", &["-A", "INPUT", "-j", "ACCEPT"]);
    lab.hear();
    let first = lab.heard.generation();
    let long: Vec<String> =
        (0..5).flat_map(|n| ["-m", "u32", "--u32", &format!("{n}=1")].map(str::to_owned)).collect();
    let long: Vec<&str> = ["-A", "INPUT"].into_iter().chain(long.iter().map(String::as_str)).collect();
    lab.run("iptables-nft", &long);
    lab.nft("add chain ip filter e");
    let news = lab.heard.receive().unwrap();
    assert!(news.lost);
    let [long, short] = &news.transactions[..] else { panic!("{news:?}") };
    assert_eq!((long.generation, long.comm.as_slice()), (first + 1, &b"iptables-nft"[..]));
    assert!(long.left_out > 0 && long.messages.is_empty());
    // Which of the two the missing announcement is of, nothing says.
    assert!(short.left_out > 0);
    let next = lab.transaction("add chain ip filter f");
    assert_eq!(next.generation, first + 3);
    assert!(Touches::default().touched(long, &BTreeMap::new()).scope.everything);
}

#[test]
fn a_transaction_beyond_the_budget_is_counted_and_the_next_one_is_whole() {
    let mut lab = lab();
    let budget = Budget { transaction: 4000, waiting: 9000 };
    lab.heard.set_budget(budget);
    let rules = "add rule ip t c tcp dport { 1, 2 } accept\n".repeat(50);
    lab.nft(&rules);
    lab.nft("add chain ip t d");
    let news = lab.heard.receive().unwrap();
    assert!(!news.lost);
    let [large, small] = &news.transactions[..] else { panic!("{news:?}") };
    assert!(weight(large) <= 4000 && large.messages.len() > 3);
    // A set, two elements and the rule.
    assert_eq!(large.messages.len() + large.left_out, 200);
    assert!(Touches::default().touched(large, &BTreeMap::new()).scope.everything);
    assert_eq!((small.messages.len(), small.left_out), (1, 0));

    // What the caller still has counts, too.
    lab.heard.hold(weight(large) + weight(small));
    lab.nft(&rules);
    lab.nft(&rules);
    lab.nft("add chain ip t e");
    let news = lab.heard.receive().unwrap();
    let kept: usize = news.transactions.iter().map(weight).sum();
    assert!(kept + weight(large) + weight(small) <= budget.waiting);
    let all: Vec<usize> = news.transactions.iter().map(|one| one.messages.len() + one.left_out).collect();
    assert_eq!(all, [200, 200, 1]);
    lab.heard.hold(0);
    assert_eq!(lab.transaction("add chain ip t f").left_out, 0);
}

/// One reading takes a millisecond or two: between two transactions there is time for it.
#[test]
fn a_part_can_be_read_in_a_storm() {
    let mut lab = lab();
    let transaction = lab.transaction("add chain ip t d; add rule ip t d tcp dport { 1, 2 } accept");
    let scope = Touches::default().touched(&transaction, &BTreeMap::new()).scope;
    let stop = AtomicBool::new(false);
    let (mut read, mut torn, mut longest) = (0, 0, Duration::ZERO);
    std::thread::scope(|threads| {
        let (netns, stop) = (&lab.netns, &stop);
        threads.spawn(move || {
            let send = || {
                let (mut socket, start) = (sender(), Instant::now());
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        println!(
                            "{:.0} transactions a second",
                            f64::from(number) / start.elapsed().as_secs_f64()
                        );
                        return;
                    }
                    if number % 300 == 299 {
                        flush(&mut socket)
                    } else {
                        add_rules(&mut socket, number)
                    }
                    let due = start + Duration::from_millis(number.into());
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            };
            netns.run(send).unwrap();
        });
        let _guard = StopOnDrop(stop);
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let start = Instant::now();
            match fwdrift::collect::scoped(&lab.netns, &scope) {
                Ok(_) => read += 1,
                Err(_) => torn += 1,
            }
            longest = longest.max(start.elapsed());
        }
    });
    println!("{read} readings, {torn} given up, {longest:?} at most");
    assert!(read > 50 && torn * 10 < read, "{read} readings, {torn} given up");
}

/// The kernel announces that a quota is used up, outside of any transaction.
#[test]
fn a_quota_that_is_used_up_is_nobodys_deed() {
    let mut lab = Lab::new();
    lab.nft("table ip t { quota q { over 10 bytes; }; chain o { type filter hook output priority 0; quota name \"q\" drop\n}; }");
    lab.hear();
    lab.netns
        .run(|| {
            Tool::find("ip").unwrap().args(["link", "set", "lo", "up"]).run().unwrap();
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let sent = socket.send_to(&[0; 100], "127.0.0.1:9");
            assert!(sent.is_err(), "the quota did not drop the packet");
        })
        .unwrap();
    assert!(wait(&lab), "the kernel announced nothing");
    assert!(lab.hear().is_empty());
    let transaction = lab.transaction("add counter ip t n");
    assert_eq!(transaction.messages.len(), 1, "{transaction:?}");
}

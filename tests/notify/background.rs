//! Delivery in the background, as a process that stays uses it.

use crate::receiver::{DROP, Http, Site, wait};
use clap::Parser;
use fwdrift::config::{GlobalArgs, Settings};
use fwdrift::ledger::Repository;
use fwdrift::notify::{Background, Notifier, Summary};
use fwdrift::pipeline;
use fwdrift::report::Options;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArgs,
}

/// What `watch` would hold.
struct Watcher {
    settings: Settings,
    repository: Repository,
    notifier: Notifier,
}

impl Watcher {
    fn new(site: &Site) -> Self {
        let config = site.host.path("config.toml");
        let netns = site.host.netns_path();
        let args = ["fwdrift", "--config", config.to_str().unwrap(), "--netns", &netns];
        let settings = Settings::resolve(&Arguments::try_parse_from(args).unwrap().global).unwrap();
        let repository = Repository::open(&settings.repo).unwrap();
        let notifier = Notifier::open(&settings, &repository).unwrap();
        Self { settings, repository, notifier }
    }

    fn start(&self, site: &Site) -> Background {
        let notifier = &self.notifier;
        site.inside(|| notifier.start())
    }

    /// Looks, records and queues; how many alerts are new.
    fn turn(&self) -> u64 {
        let recorded = pipeline::record(&self.settings).unwrap();
        let options = Options { width: None, repo: &self.settings.repo, program: "fwdrift" };
        let summary = Summary::of(&recorded.result);
        self.notifier.queue(&self.repository, &recorded.events, Some(&summary), &options).unwrap()
    }
}

#[test]
fn what_is_queued_is_delivered_at_once_and_after_an_outage() {
    let site = Site::new("[notify.webhook]\nurl = 'http://127.0.0.1:8080/'\n");
    let watcher = Watcher::new(&site);
    let background = watcher.start(&site);
    let http = Http::start(&site, 8080, "");
    site.host.nft(DROP);
    assert_eq!(watcher.turn(), 1);
    let begun = Instant::now();
    background.wake();
    wait(|| Some(()).filter(|()| http.seqs() == [2])).expect("the first alert");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(watcher.turn(), 0);
    drop(http);
    site.host.nft("add table ip another");
    watcher.turn();
    background.wake();
    std::thread::sleep(Duration::from_millis(300));
    let http = Http::start(&site, 8080, "");
    wait(|| Some(()).filter(|()| http.seqs() == [3])).expect("the alert of the outage");
    background.stop(Duration::from_secs(5));
}

#[test]
fn stopping_waits_for_nobody_who_hangs() {
    let site = Site::new("[notify.webhook]\nurl = 'http://127.0.0.1:8080/'\ntimeout_seconds = 60\n");
    let watcher = Watcher::new(&site);
    let http = Http::start(&site, 8080, "hang");
    let background = watcher.start(&site);
    site.host.nft(DROP);
    watcher.turn();
    background.wake();
    http.server.until("the attempt", || Some(()).filter(|()| http.requests().len() == 1));
    let begun = Instant::now();
    background.stop(Duration::from_millis(200));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_idle_thread_does_not_wake_and_an_open_alert_is_sent_again() {
    let site = Site::new("[notify.alertmanager]\nurl = 'http://127.0.0.1:8080'\nrefresh_seconds = 10\n");
    let watcher = Watcher::new(&site);
    let http = Http::start(&site, 8080, "");
    let background = watcher.start(&site);
    let switches = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let of = |task: std::fs::DirEntry| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            name.starts_with("alerts alertman").then(|| line.trim().parse::<u64>().unwrap())
        };
        tasks.filter_map(of).next().unwrap()
    };
    std::thread::sleep(Duration::from_millis(500));
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(switches(), before, "nothing waits, nothing is open");
    site.host.nft(DROP);
    watcher.turn();
    background.wake();
    let sent = |n: usize| wait(|| Some(()).filter(|()| http.requests().len() >= n));
    sent(1).expect("the alert");
    sent(3).expect("the same alert again");
    let paths: Vec<_> = http.requests().iter().map(|request| request["path"].clone()).collect();
    assert!(paths.iter().all(|path| path == "/api/v2/alerts"), "{paths:?}");
    background.stop(Duration::from_secs(5));
}

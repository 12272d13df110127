use super::*;
use crate::config::notify::{CommandSettings, QueueBounds, SinkKind};
use crate::model::EventKind;
use crate::notify::tracking::State;
use std::path::{Path, PathBuf};

/// A queue with these alerts, and a sink that is a shell script with `$0` as its directory.
struct Case {
    directory: tempfile::TempDir,
    store: Store,
}

impl Case {
    fn new(alerts: u64, bounds: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bounds = QueueBounds { alerts: bounds, bytes: 1 << 30 };
        let store = Store::at(directory.path(), bounds);
        let case = Self { directory, store };
        case.store.lock().unwrap().append(&State::from(None, 1), &[]).unwrap();
        case.store.lock().unwrap().enrol("command", &State::from(None, 1)).unwrap();
        for number in 1..=alerts {
            case.queue(number, AlertKind::Drift);
        }
        case
    }

    fn queue(&self, number: u64, kind: AlertKind) {
        let id = format!("a{number}");
        let alert = Alert { id, number, kind, ..Alert::dropped("h", Utc::now(), (1, 1)) };
        self.store.lock().unwrap().append(&State::from(None, number + 1), &[alert]).unwrap();
    }

    fn target(&self, script: &str, timeout: Duration) -> Target {
        let here = self.directory.path().to_str().unwrap().to_owned();
        let arguments = vec!["-c".to_owned(), script.to_owned(), here];
        let kind = SinkKind::Command(CommandSettings { program: "/bin/sh".into(), arguments });
        let kinds = vec![EventKind::Drift];
        let settings = SinkSettings { name: "command".to_owned(), kinds, timeout, kind };
        Target::new(&settings, &HostName::parse("h").unwrap()).unwrap()
    }

    fn run(&self, script: &str) -> Delivered {
        self.run_for(script, Duration::from_secs(20))
    }

    fn run_for(&self, script: &str, time: Duration) -> Delivered {
        let target = self.target(script, time);
        run_once(&target, &self.store, Instant::now() + time).unwrap().unwrap()
    }

    /// The ids that arrived, in their order.
    fn arrived(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("arrived")).unwrap_or_default();
        let id = |line: &str| serde_json::from_str::<Alert>(line).unwrap().id;
        text.lines().map(id).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }
}

const TAKE: &str = "cat >>$0/arrived";

#[test]
fn what_waits_is_delivered_once_and_in_order() {
    let case = Case::new(3, 100);
    let report = case.run(TAKE);
    assert_eq!((report.sent, report.waiting, report.error), (3, 0, None));
    assert_eq!(case.arrived(), ["a1", "a2", "a3"]);
    assert_eq!(case.run(TAKE).sent, 0);
    let position = case.store.position("command").unwrap();
    assert_eq!((position.number, position.delivered), (3, 3));
    assert!(position.last_success.is_some());
}

#[test]
fn a_sink_that_is_away_gets_everything_later_in_order() {
    let case = Case::new(2, 100);
    let report = case.run("echo no network >&2; exit 6");
    assert_eq!((report.sent, report.waiting, report.is_news), (0, 2, true));
    assert!(report.error.unwrap().ends_with("ended with status 6: no network"));
    let again = case.run("exit 6");
    assert!(!again.is_news, "an outage is news once");
    case.queue(3, AlertKind::Drift);
    // Fails for each alert once.
    let report = case.run(
        "cat >$0/in; if mkdir $0/$(md5sum <$0/in | cut -c1-32); then exit 1; fi; cat $0/in >>$0/arrived",
    );
    assert_eq!((report.sent, report.waiting), (3, 0));
    assert_eq!(case.arrived(), ["a1", "a2", "a3"]);
    assert_eq!(case.store.position("command").unwrap().failing_since, None);
}

#[test]
fn a_refused_alert_stops_no_other() {
    let case = Case::new(3, 100);
    let report =
        case.run("cat >$0/in; if grep -q '\"id\":\"a2\"' $0/in; then exit 65; fi; cat $0/in >>$0/arrived");
    assert_eq!((report.sent, report.refused, report.waiting, report.is_news), (2, 1, 0, true));
    assert_eq!(case.arrived(), ["a1", "a3"]);
}

#[test]
fn a_hanging_sink_ends_the_run_at_its_time_and_loses_nothing() {
    let case = Case::new(1, 100);
    let begun = Instant::now();
    let report = case.run_for("sleep 30", Duration::from_secs(1));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!((report.sent, report.waiting), (0, 1));
    assert_eq!(case.run(TAKE).sent, 1);
}

#[test]
fn an_attempt_that_ends_well_after_its_time_counts() {
    let case = Case::new(1, 100);
    let target = case.target("sleep 1; cat >>$0/arrived", Duration::from_secs(9));
    let step = |budget| {
        let mut delivery = Delivery::begin(&target, &case.store).unwrap().unwrap();
        delivery.step(budget).unwrap()
    };
    assert_eq!(step(Duration::from_millis(100)), Step::Failed { after: None });
    assert_eq!(step(Duration::from_millis(100)), Step::Failed { after: None }, "it still runs");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(step(Duration::from_millis(100)), Step::Done);
    assert_eq!(step(Duration::from_millis(100)), Step::Idle);
    assert_eq!(case.arrived(), ["a1"], "it was not sent twice");
}

#[test]
fn alerts_of_other_kinds_are_passed_over() {
    let case = Case::new(1, 100);
    case.queue(2, AlertKind::Transient);
    case.queue(3, AlertKind::Gap);
    case.queue(4, AlertKind::Drift);
    case.queue(5, AlertKind::Transient);
    let report = case.run(TAKE);
    assert_eq!((report.sent, report.waiting), (2, 0));
    assert_eq!(case.arrived(), ["a1", "a4"]);
}

#[test]
fn what_had_to_make_room_is_told_of() {
    let case = Case::new(7, 3);
    let report = case.run(TAKE);
    assert_eq!((report.sent, report.dropped, report.waiting), (4, 4, 0));
    assert_eq!(case.arrived(), ["h-dropped-1-4", "a5", "a6", "a7"]);
    // A damaged file is told of as well.
    case.queue(8, AlertKind::Drift);
    std::fs::write(case.path("queue/000000000008-1.json"), "x").unwrap();
    assert_eq!((case.run(TAKE).sent, case.arrived().pop().unwrap()), (1, "h-dropped-8-8".to_owned()));
}

#[test]
fn pauses_grow_to_a_bound_and_differ() {
    let (first, longest) = (Duration::from_secs(1), Duration::from_secs(300));
    let of = |attempt| (0..50).map(|_| pause(attempt, first, longest)).collect::<Vec<_>>();
    assert!(of(0).iter().all(|pause| (500..=1_000).contains(&pause.as_millis())));
    assert!(of(5).iter().all(|pause| (16..=32).contains(&pause.as_secs())));
    assert!(of(60).iter().all(|pause| (150..=300).contains(&pause.as_secs())));
    assert!(of(5).windows(2).any(|pair| pair[0] != pair[1]));
}

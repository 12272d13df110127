use super::*;
use crate::notify::alert::Alert;

const ROOMY: QueueBounds = QueueBounds { alerts: 1_000, bytes: 1 << 30 };

fn store(directory: &Path, bounds: QueueBounds) -> Store {
    Store::at(directory, bounds)
}

fn alerts(range: std::ops::Range<u64>) -> Vec<Alert> {
    range.map(|number| Alert { number, ..Alert::dropped("h", Utc::now(), (1, 1)) }).collect()
}

/// Queues these numbers, which follow the last ones.
fn append(store: &Store, range: std::ops::Range<u64>) {
    let state = State::from(None, range.end);
    store.lock().unwrap().append(&state, &alerts(range)).unwrap();
}

fn ranges(store: &Store) -> Vec<(u64, u64)> {
    store.batches().iter().map(|batch| (batch.first, batch.last)).collect()
}

#[test]
fn a_sink_reads_in_order_what_comes_after_its_position() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    assert_eq!(store.next_after(0), (None, 0));
    append(&store, 1..4);
    append(&store, 4..5);
    let first = store.next_after(0).0.unwrap();
    assert_eq!((first.first, first.last, store.last()), (1, 3, 4));
    assert_eq!(first.read().unwrap().iter().map(|alert| alert.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(store.next_after(2).0, Some(first));
    assert_eq!(store.next_after(3).0.map(|batch| batch.first), Some(4));
    assert_eq!(store.next_after(4), (None, 4));
}

#[test]
fn what_a_killed_process_left_is_not_seen_and_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    append(&store, 1..3);
    // Killed after the file of alerts, before state.json; and in the midst of a file.
    let left = store.queue().join("000000000003-7.json");
    fs::write(&left, serde_json::to_vec(&alerts(3..10)).unwrap()).unwrap();
    fs::write(store.queue().join(".fwdrift-tmp-x"), "half").unwrap();
    assert_eq!(store.next_after(2), (None, 2));
    append(&store, 3..5);
    assert_eq!(ranges(&store), [(1, 2), (3, 4)]);
    assert!(!left.exists() && !store.queue().join(".fwdrift-tmp-x").exists());
}

#[test]
fn what_every_sink_has_goes_and_what_one_lacks_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    append(&store, 1..3);
    append(&store, 3..5);
    store.keep_position("a", &Position::at(4)).unwrap();
    store.keep_position("b", &Position::at(2)).unwrap();
    store.lock().unwrap().prune().unwrap();
    assert_eq!(ranges(&store), [(3, 4)]);
    store.keep_position("b", &Position::at(4)).unwrap();
    store.lock().unwrap().prune().unwrap();
    assert_eq!(ranges(&store), []);
    assert_eq!(store.last(), 4);
}

#[test]
fn the_oldest_make_room_by_number_and_by_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let few = store(directory.path(), QueueBounds { alerts: 3, ..ROOMY });
    few.keep_position("a", &Position::at(0)).unwrap();
    for n in 1..6 {
        append(&few, n..n + 1);
    }
    assert_eq!(ranges(&few), [(3, 3), (4, 4), (5, 5)]);
    let tight = store(directory.path(), QueueBounds { bytes: 1, ..ROOMY });
    append(&tight, 6..7);
    assert_eq!(ranges(&tight), [(6, 6)], "the newest stays");
}

#[test]
fn many_alerts_make_several_files() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    append(&store, 1..251);
    assert_eq!(ranges(&store), [(1, 100), (101, 200), (201, 250)]);
    let mut large = alerts(251..254);
    for alert in &mut large {
        alert.details = "x".repeat(BATCH_BYTES / 2 + 1);
    }
    store.lock().unwrap().append(&State::from(None, 254), &large).unwrap();
    assert_eq!(ranges(&store)[3..], [(251, 251), (252, 252), (253, 253)]);
}

#[test]
fn damaged_files_are_as_good_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    append(&store, 1..3);
    store.keep_position("a", &Position::at(2)).unwrap();
    fs::write(store.queue().join("state.json"), "{").unwrap();
    assert_eq!(store.state(), None);
    assert_eq!(store.lock().unwrap().next_free(), 3, "no number is given twice");
    fs::write(store.sink("a").join("position.json"), "[]").unwrap();
    assert_eq!(store.position("a"), None);
    fs::write(store.queue().join("000000000001-2.json"), "x").unwrap();
    assert_eq!(store.batches()[0].read(), None);
}

#[test]
fn one_at_a_time_delivers_to_a_sink() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(directory.path(), ROOMY);
    let held = store.lock_sink("a").unwrap();
    assert!(held.is_some());
    assert!(store.lock_sink("a").unwrap().is_none());
    assert!(store.lock_sink("b").unwrap().is_some());
    drop(held);
    assert!(store.lock_sink("a").unwrap().is_some());
}

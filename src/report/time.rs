//! Times and durations for people.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// RFC 3339 in UTC, to the second: `2026-11-20T02:14:09Z`.
pub fn utc(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Two times as [`utc`] gives them, but to the millisecond where they would look the same.
pub(super) fn apart(from: DateTime<Utc>, to: DateTime<Utc>) -> (String, String) {
    match (utc(from), utc(to)) {
        (from_text, to_text) if from_text == to_text => {
            let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
            (text(from), text(to))
        }
        texts => texts,
    }
}

/// A duration in its two largest units: `3 h 12 min`, `45 s`, `2 d`. A shorter one, also a negative one
/// (two clocks that disagree), reads as `less than 1 s`.
pub fn duration(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else {
        return "less than 1 s".to_owned();
    };
    let (size, name) = units[first];
    let mut text = format!("{} {name}", seconds / size);
    if let Some((next, name)) = units.get(first + 1) {
        let rest = seconds % size / next;
        if rest > 0 {
            text.push_str(&format!(" {rest} {name}"));
        }
    }
    text
}

/// A point in time that others are told relative to, and its words: `this check`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reference {
    pub(super) time: DateTime<Utc>,
    pub(super) name: &'static str,
}

/// `2026-11-20T02:14:09Z (4 min before this check)`; without the bracket where there is no reference,
/// or where the clocks disagree.
pub(super) fn relative(time: DateTime<Utc>, reference: Option<Reference>) -> String {
    match reference {
        Some(at) if at.time > time => {
            format!("{} ({} before {})", utc(time), duration(at.time - time), at.name)
        }
        Some(_) | None => utc(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        let check = |seconds, expect: &str| assert_eq!(duration(TimeDelta::seconds(seconds)), expect);
        check(0, "less than 1 s");
        check(45, "45 s");
        check(60, "1 min");
        check(61, "1 min 1 s");
        check(3 * 3600 + 12 * 60 + 9, "3 h 12 min");
        check(2 * 86_400, "2 d");
        check(2 * 86_400 + 4 * 3600 + 59, "2 d 4 h");
        check(-7, "less than 1 s");
    }

    #[test]
    fn two_times_never_look_the_same() {
        let check = |from: &str, to: &str, expect: (&str, &str)| {
            let time = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().to_utc();
            let (from, to) = apart(time(from), time(to));
            assert_eq!((from.as_str(), to.as_str()), expect);
        };
        check(
            "2026-11-20T02:14:09.120Z",
            "2026-11-20T02:14:10.001Z",
            ("2026-11-20T02:14:09Z", "2026-11-20T02:14:10Z"),
        );
        check(
            "2026-11-20T02:14:09.120Z",
            "2026-11-20T02:14:09.5Z",
            ("2026-11-20T02:14:09.120Z", "2026-11-20T02:14:09.500Z"),
        );
    }
}

//! Times on the command line.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use std::str::FromStr;

/// A moment: absolute, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(DateTime<Utc>),
    /// Before now.
    Ago(TimeDelta),
}

/// A text that is no moment.
#[derive(Debug, thiserror::Error)]
#[error("not a time: write 2026-11-01, 2026-11-01T14:00:00Z, or 7d, 24h, 30m for so long ago")]
pub struct NotATime;

impl Moment {
    /// The point in time, seen from `now`.
    pub fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Ago(delta) => now.checked_sub_signed(delta).unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }
}

impl FromStr for Moment {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(time.to_utc()));
        }
        if let Ok(date) = NaiveDate::from_str(text) {
            return Ok(Self::At(date.and_hms_opt(0, 0, 0).ok_or(NotATime)?.and_utc()));
        }
        let unit = text.chars().last().ok_or(NotATime)?;
        let count: i64 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or(NotATime)?;
        let delta = match unit {
            'm' => TimeDelta::try_minutes(count),
            'h' => TimeDelta::try_hours(count),
            'd' => TimeDelta::try_days(count),
            'w' => TimeDelta::try_weeks(count),
            _ => None,
        };
        delta.filter(|_| count >= 0).map(Self::Ago).ok_or(NotATime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_spans_are_read() {
        let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
        let check = |text: &str, expect: &str| {
            assert_eq!(text.parse::<Moment>().unwrap().at(now).to_rfc3339(), expect, "{text}");
        };
        check("2026-11-01", "2026-11-01T00:00:00+00:00");
        check("2026-11-01T10:00:00+02:00", "2026-11-01T08:00:00+00:00");
        check("36h", "2026-11-19T00:00:00+00:00");
        check("2w", "2026-11-06T12:00:00+00:00");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "d", "-3d", "yesterday", "99999999999999999999d", "2026-13-01", "3é"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}

//! Sizes, durations and ages for people.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// `1536` → `1.5 KiB`. Three significant digits at most, so columns stay narrow.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    // Integers keep the figures exact: `scaled` is the size in thousandths of the unit.
    let mut scaled = u128::from(bytes) * 1000;
    while unit + 1 < UNITS.len() && (scaled + 500) / 1000 >= 1024 {
        scaled /= 1024;
        unit += 1;
    }
    let (whole, tenth) = ((scaled + 500) / 1000, (scaled + 50) / 100);
    if unit == 0 || tenth >= 100 {
        format!("{whole} {}", UNITS[unit])
    } else {
        format!("{}.{} {}", tenth / 10, tenth % 10, UNITS[unit])
    }
}

/// `1 entry`, `287 entries`.
pub fn entries(count: u64) -> String {
    match count {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    }
}

/// How long work took: `38 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`.
pub fn duration(took: Duration) -> String {
    let (ms, s) = (took.as_millis(), took.as_secs());
    if ms < 1000 {
        format!("{ms} ms")
    } else if s < 10 {
        format!("{}.{} s", ms / 1000, ms % 1000 / 100)
    } else if s < 60 {
        format!("{s} s")
    } else if s < 3600 {
        format!("{} min {} s", s / 60, s % 60)
    } else {
        format!("{} h {} min", s / 3600, s % 3600 / 60)
    }
}

/// How long ago, in the largest unit that says something: `3 days ago`. A clock that went
/// backwards is not hidden: `in 2 hours`.
pub fn age(then: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = now.signed_duration_since(then).num_seconds();
    let (count, unit) = match seconds.unsigned_abs() {
        s if s < 5 => return "just now".into(),
        s if s < 60 => (s, "second"),
        s if s < 3600 => (s / 60, "minute"),
        s if s < 86400 => (s / 3600, "hour"),
        s if s < 86400 * 60 => (s / 86400, "day"),
        s if s < 86400 * 730 => (s * 100 / (86400 * 3044), "month"),
        s => (s * 4 / (86400 * 1461), "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if seconds < 0 {
        format!("in {count} {unit}{plural}")
    } else {
        format!("{count} {unit}{plural} ago")
    }
}

/// A moment, in UTC: `2026-11-21 11:37`.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_is_not_several() {
        assert_eq!(entries(0), "0 entries");
        assert_eq!(entries(1), "1 entry");
        assert_eq!(entries(2), "2 entries");
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10_188, "9.9 KiB"),
            (10_239, "10 KiB"),
            (10_240, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_048_576, "1.0 MiB"),
            (200 << 30, "200 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn durations() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (9_990, "9.9 s"),
            (10_000, "10 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn ages() {
        let now = DateTime::from_timestamp(1_795_260_000, 0).unwrap();
        let ago = |seconds| age(now - chrono::TimeDelta::seconds(seconds), now);
        for (seconds, text) in [
            (0, "just now"),
            (5, "5 seconds ago"),
            (60, "1 minute ago"),
            (7200, "2 hours ago"),
            (86400, "1 day ago"),
            (86400 * 59, "59 days ago"),
            (86400 * 61, "2 months ago"),
            (86400 * 730, "1 year ago"),
            (86400 * 731, "2 years ago"),
            (-7200, "in 2 hours"),
        ] {
            assert_eq!(ago(seconds), text, "{seconds}");
        }
    }
}

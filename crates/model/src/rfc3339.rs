//! Moments as the API writes them, like `2026-05-01T12:30:00.25Z`.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A moment, as the time since 1970 began in UTC, that prints as the API writes it: to the microsecond.
///
/// Source: RFC 3339 §5.6; `metav1.MicroTime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339(pub Duration);

impl Rfc3339 {
    /// Reads a moment since 1970, with or without a fraction of a second, in any offset from UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let at: Timestamp = text.parse().ok()?;
        Duration::try_from(at.as_duration()).ok().map(Rfc3339)
    }

    /// As `metav1.Time` is written, without the fraction.
    pub fn to_the_second(self) -> String {
        format!("{:.0}", Rfc3339(Duration::from_secs(self.0.as_secs())).timestamp())
    }

    /// What is later than the last moment of the calendar, in the year 9999, is that.
    fn timestamp(self) -> Timestamp {
        let at = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        Timestamp::from_duration(at).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_whatever_its_fraction_and_offset() {
        let cases = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01T00:00:01.000000001Z", Some(1_000_000_001)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500_000_000)),
            ("2026-11-21T10:01:18.123456Z", Some(1_795_255_278_123_456_000)),
            ("2026-11-21T12:01:18.123456+02:00", Some(1_795_255_278_123_456_000)),
            ("2026-11-21T04:31:18.123456-05:30", Some(1_795_255_278_123_456_000)),
            ("1969-12-31T23:59:59Z", None),
            ("2026-13-21T10:01:18Z", None),
            ("2026-11-21T24:01:18Z", None),
            ("2026-11-21T10:01:18", None),
            ("2026-11-21T10:01:18.Z", None),
            ("2026-11-21T10:01:18ZZ", None),
            ("99999999999-01-01T00:00:00Z", None),
            ("2026-+1-21T10:01:18Z", None),
            ("2026-11-21T10:01:18+é:00", None),
            ("", None),
        ];
        for (text, nanos) in cases {
            let want = nanos.map(|nanos| Rfc3339(Duration::from_nanos(nanos)));
            assert_eq!(Rfc3339::parse(text), want, "{text}");
        }
    }

    #[test]
    fn a_moment_prints_to_the_microsecond() {
        let cases = [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z"),
            (Duration::from_micros(951_825_600_500_001), "2000-02-29T12:00:00.500001Z"),
            (Duration::MAX, "9999-12-30T22:00:00.999999Z"),
        ];
        for (since, text) in cases {
            assert_eq!(Rfc3339(since).to_string(), text);
        }
    }
}

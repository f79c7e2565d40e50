//! Moments as the API writes them, like `2026-05-01T12:30:00.25Z`.

use std::fmt;
use std::time::Duration;

/// A moment, as the time since 1970 began in UTC, that prints as the API writes it: to the microsecond.
///
/// Source: RFC 3339 §5.6; `metav1.MicroTime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339(pub Duration);

/// Seconds of a day; there are no leap seconds in Unix time.
const DAY: i64 = 86_400;

impl Rfc3339 {
    /// Reads a moment since 1970, with or without a fraction of a second, in any offset from UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once(['T', 't'])?;
        let (time, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
        let [year, month, day] = numbers(date, '-')?;
        let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let [hour, minute, second] = numbers(time, ':')?;
        let is_date = year < 10_000 && (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_date || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let seconds = days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        let seconds = u64::try_from(seconds - offset_seconds(offset)?).ok()?;
        Some(Rfc3339(Duration::from_secs(seconds) + nanoseconds(fraction)?))
    }
}

/// Three numbers with `between` in between.
fn numbers(text: &str, between: char) -> Option<[i64; 3]> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Option<Vec<i64>> =
        text.split(between).map(|part| part.parse().ok().filter(|_| digits(part))).collect();
    parts?.try_into().ok()
}

/// A fraction of a second; what is smaller than a nanosecond is cut off.
fn nanoseconds(digits: &str) -> Option<Duration> {
    let nine: String = digits.chars().chain("000000000".chars()).take(9).collect();
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    nine.parse().ok().filter(|_| all_digits).map(Duration::from_nanos)
}

/// `Z`, or hours and minutes like `+02:00`.
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = match text.chars().next()? {
        'Z' | 'z' => return (text.len() == 1).then_some(0),
        '-' => -1,
        _ => 1,
    };
    let [hours, minutes, _] = numbers(&format!("{}:0", &text[1..]), ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, where a year begins in March so that
/// its odd day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Five months from March are always 153 days; 719,468 days lie between 0000-03-01 and 1970.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // 400 years are 146,097 days; by an estimate of the year and, where it is one too many, one less.
    let after = days + 719_468;
    let mut year = after.div_euclid(146_097) * 400 + after.rem_euclid(146_097) * 400 / 146_097;
    while days_since_1970(year + 1, 3, 1) <= days {
        year += 1;
    }
    while days_since_1970(year, 3, 1) > days {
        year -= 1;
    }
    let of_year = days - days_since_1970(year, 3, 1);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        let (year, month, day) = date(seconds / DAY);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let micros = self.0.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
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
            ("2026-11-21 10:01:18Z", None),
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
    fn what_is_printed_reads_the_same_on_every_day_of_four_centuries() {
        for day in 0..146_097 {
            let at = Rfc3339(Duration::from_micros(day * 86_400_000_000 + 43_200_000_001));
            assert_eq!(Rfc3339::parse(&at.to_string()), Some(at), "{at}");
        }
        let leap = Rfc3339(Duration::from_secs(951_825_600));
        assert_eq!(leap.to_string(), "2000-02-29T12:00:00.000000Z");
    }
}

//! Times at which a CronJob runs.
//!
//! As with Kubernetes, what falls into the hour that is skipped in spring does not run, and what falls into
//! the hour that comes twice in autumn runs twice.
//!
//! Source: crontab(5); Kubernetes, CronJob API, `spec.schedule` (github.com/robfig/cron, standard parser).

use k8s_openapi::jiff::civil::{DateTime, Time};
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Span, Timestamp};

/// Which minutes, hours, days, months and weekdays are meant, each as a set of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Days and weekdays are both restricted: either will do.
    either: bool,
}

/// No schedule has a longer gap: the 29th of February on a given weekday comes after 40 years at the most.
const HORIZON_YEARS: i16 = 41;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// # Errors
    /// What is wrong with which field.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let mut weekdays = bits(weekday, 0, 7, &WEEKDAYS)?;
        if weekdays & (1 << 7) != 0 {
            weekdays |= 1; // Sunday is 0 and 7.
        }
        let is_any = |field: &str| field.starts_with(['*', '?']);
        Ok(Self {
            minutes: bits(minute, 0, 59, &[])?,
            hours: bits(hour, 0, 23, &[])?,
            days: bits(day, 1, 31, &[])?,
            months: bits(month, 1, 12, &MONTHS)?,
            weekdays,
            either: !is_any(day) && !is_any(weekday),
        })
    }

    /// The first time after `time` that the clocks of `zone` fit; none for days that never come.
    pub(super) fn next(&self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let minute = SignedDuration::from_mins(1);
        let bit = |set: u64, place: i8| set >> place & 1 == 1;
        let second = SignedDuration::from_secs(zone.to_datetime(time).second().into());
        let whole = Timestamp::from_second(time.as_second()).ok()? - second;
        let mut at = whole.checked_add(minute).ok()?;
        let last_year = zone.to_datetime(at).year().checked_add(HORIZON_YEARS)?;
        loop {
            let local = zone.to_datetime(at);
            if local.year() > last_year {
                return None;
            }
            let next = if !bit(self.months, local.month()) {
                let month =
                    local.date().first_of_month().checked_add(Span::new().months(1)).ok()?;
                zone.to_timestamp(month.to_datetime(Time::midnight())).ok()?
            } else if !self.is_day(local) {
                let day = local.date().tomorrow().ok()?;
                zone.to_timestamp(day.to_datetime(Time::midnight())).ok()?
            } else if !bit(self.hours, local.hour()) {
                at + SignedDuration::from_mins((60 - local.minute()).into())
            } else if !bit(self.minutes, local.minute()) {
                at + minute
            } else {
                return Some(at);
            };
            // A midnight that comes twice is no way back.
            at = next.max(at + minute);
        }
    }

    fn is_day(&self, at: DateTime) -> bool {
        let day = self.days >> at.day() & 1 == 1;
        let weekday = self.weekdays >> at.weekday().to_sunday_zero_offset() & 1 == 1;
        if self.either { day || weekday } else { day && weekday }
    }
}

/// The numbers of a field as bits: `*`, `5`, `1-5`, `*/15`, `10-20/2`, names, and lists of these.
fn bits(field: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in field.split(',') {
        let wrong = |why: &str| format!("{why}: {part} in {field}");
        let (range, step) =
            part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let number = |text: &str| -> Result<u32, String> {
            let text = text.to_lowercase();
            if let Some(place) = names.iter().position(|name| *name == text) {
                return u32::try_from(place)
                    .map(|place| place + least)
                    .map_err(|_| wrong("no such name"));
            }
            text.parse().map_err(|_| wrong("failed to parse int from"))
        };
        let (first, last) = match range {
            // Of weekdays, 7 is but another word for Sunday.
            "*" | "?" => (least, if names.len() == 7 { 6 } else { most }),
            range => match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None if step.is_some() => (number(range)?, most),
                None => (number(range)?, number(range)?),
            },
        };
        let step =
            step.map_or(Ok(1), |step| step.parse().map_err(|_| wrong("failed to parse int from")))?;
        if first < least || last > most {
            return Err(wrong(&format!("not between {least} and {most}")));
        }
        if first > last {
            return Err(wrong("beginning of range beyond end of range"));
        }
        if step == 0 {
            return Err(wrong("step of range should be a positive number"));
        }
        (first..=last).step_by(step).for_each(|number| bits |= 1 << number);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_the_first_that_fits() {
        let cases = [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:45:00Z", "2026-01-01T01:00:00Z"),
            ("0 3 * * *", "2026-01-01T04:00:00Z", "2026-01-02T03:00:00Z"),
            ("@monthly", "2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z"),
            ("30 12 * * mon-fri", "2026-01-02T13:00:00Z", "2026-01-05T12:30:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("0 0 13 * 5", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 29 feb *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("5,10-20/5 1 * * *", "2026-01-01T01:10:00Z", "2026-01-01T01:15:00Z"),
            ("0 0 31 2 *", "2026-01-01T00:00:00Z", "never"),
        ];
        for (text, after, expect) in cases {
            let next = Schedule::parse(text).unwrap().next(after.parse().unwrap(), &TimeZone::UTC);
            assert_eq!(next.map_or("never".to_owned(), |time| time.to_string()), expect, "{text}");
        }
    }

    /// New York's clocks: on 8 March 2026 they skip from 2:00 to 3:00, on 1 November 2:00 is 1:00 again.
    #[test]
    fn clocks_that_change_skip_an_hour_and_have_one_twice() {
        let zone = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap();
        let cases = [
            ("0 9 * * *", "2026-01-15T00:00:00Z", "2026-01-15T14:00:00Z"),
            ("0 9 * * *", "2026-07-15T00:00:00Z", "2026-07-15T13:00:00Z"),
            ("0 0 1 * *", "2026-03-02T00:00:00Z", "2026-04-01T04:00:00Z"),
            ("30 2 * * *", "2026-03-08T05:00:00Z", "2026-03-09T06:30:00Z"),
            ("0 * * * *", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"),
            ("30 1 * * *", "2026-11-01T04:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"),
            ("30 1 * * *", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"),
        ];
        for (text, after, expect) in cases {
            let next = Schedule::parse(text).unwrap().next(after.parse().unwrap(), &zone);
            assert_eq!(
                next.map(|time| time.to_string()).as_deref(),
                Some(expect),
                "{text} {after}"
            );
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "not between 0 and 59: 60 in 60"),
            ("* 5-2 * * *", "beginning of range beyond end of range: 5-2 in 5-2"),
            ("*/0 * * * *", "step of range should be a positive number: */0 in */0"),
            ("* * * foo *", "failed to parse int from: foo in foo"),
        ];
        for (text, expect) in cases {
            assert_eq!(Schedule::parse(text), Err(expect.to_owned()));
        }
    }
}

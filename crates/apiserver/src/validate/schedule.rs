//! When cron jobs run: their schedules and time zones.
//!
//! Source: github.com/robfig/cron v3 `parser.go`, whose sentences these are; Kubernetes
//! pkg/apis/batch/validation `validateScheduleFormat`, `validateTimeZone`.
use serde_json::Value;

use crate::refusal::Cause;

/// A field of a schedule: its least and its largest value, and the names of values.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

/// Minute, hour, day of the month, month, day of the week. Names begin at the least value.
const FIELDS: [Bounds; 5] = [
    Bounds { least: 0, most: 59, names: &[] },
    Bounds { least: 0, most: 23, names: &[] },
    Bounds { least: 1, most: 31, names: &[] },
    Bounds {
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Bounds { least: 0, most: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

const NICKNAMES: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// The longest part of a time zone's name, in bytes.
const LONGEST_PART: usize = 14;

/// What is wrong with the times of a cron job.
pub(super) fn causes(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let schedule = spec["schedule"].as_str().unwrap_or("");
    if !schedule.is_empty() {
        let invalid = |why: &str| Cause::invalid("spec.schedule", &spec["schedule"], why);
        causes.extend(problem(schedule).map(|why| invalid(&why)));
        if schedule.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            causes.push(invalid(detail));
        }
    }
    if let Some(zone) = spec["timeZone"].as_str()
        && let Some(why) = zone_problem(zone)
    {
        causes.push(Cause::invalid("spec.timeZone", &spec["timeZone"], &why));
    }
    causes
}

fn problem(schedule: &str) -> Option<String> {
    let schedule = match schedule.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            rest.trim()
        }
        _ => schedule,
    };
    if schedule.starts_with('@') {
        return nickname_problem(schedule);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let list = fields.join(" ");
        return Some(format!("expected exactly 5 fields, found {}: [{list}]", fields.len()));
    }
    fields.iter().zip(&FIELDS).find_map(|(field, bounds)| {
        field.split(',').filter(|part| !part.is_empty()).find_map(|part| bounds.problem(part).err())
    })
}

fn nickname_problem(schedule: &str) -> Option<String> {
    if NICKNAMES.contains(&schedule) {
        return None;
    }
    match schedule.strip_prefix("@every ") {
        Some(text) if is_duration(text) => None,
        Some(text) => {
            Some(format!("failed to parse duration {schedule}: time: invalid duration {text:?}"))
        }
        None => Some(format!("unrecognized descriptor: {schedule}")),
    }
}

impl Bounds {
    /// Reads `a`, `a-b`, `*` or `?`, each with or without `/step`.
    fn problem(&self, part: &str) -> Result<(), String> {
        let (range, step) = match part.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (range, Some(step)),
            _ => {
                self.range(part.split('/').next().unwrap_or(""), part)?;
                return Err(format!("too many slashes: {part}"));
            }
        };
        let (start, mut end) = self.range(range, part)?;
        let mut every = 1;
        if let Some(step) = step {
            every = number(step)?;
            if !range.contains('-') {
                end = self.most;
            }
        }
        let (least, most) = (self.least, self.most);
        if start < least {
            return Err(format!("beginning of range ({start}) below minimum ({least}): {part}"));
        }
        if end > most {
            return Err(format!("end of range ({end}) above maximum ({most}): {part}"));
        }
        if start > end {
            return Err(format!(
                "beginning of range ({start}) beyond end of range ({end}): {part}"
            ));
        }
        if every == 0 {
            return Err(format!("step of range should be a positive number: {part}"));
        }
        Ok(())
    }

    fn range(&self, range: &str, part: &str) -> Result<(u64, u64), String> {
        let ends: Vec<&str> = range.split('-').collect();
        match ends[..] {
            ["*" | "?", ..] => Ok((self.least, self.most)),
            [one] => self.value(one).map(|value| (value, value)),
            [start, end] => Ok((self.value(start)?, self.value(end)?)),
            _ => {
                self.value(ends[0])?;
                Err(format!("too many hyphens: {part}"))
            }
        }
    }

    fn value(&self, text: &str) -> Result<u64, String> {
        let lower = text.to_lowercase();
        match self.names.iter().zip(self.least..).find(|(name, _)| **name == lower) {
            Some((_, value)) => Ok(value),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let why = format!("strconv.Atoi: parsing {text:?}: invalid syntax");
        return Err(format!("failed to parse int from {text}: {why}"));
    }
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number)
            .map_err(|_| format!("negative number ({number}) not allowed: {text}")),
        Err(_) => {
            let why = format!("strconv.Atoi: parsing {text:?}: value out of range");
            Err(format!("failed to parse int from {text}: {why}"))
        }
    }
}

/// Whether a text is a duration as Go reads it: `1h30m`, `1.5s`, `0`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let number = &rest[..rest.len() - unit.len()];
        let has_digit = number.bytes().any(|byte| byte.is_ascii_digit());
        let next = unit.find(|letter: char| letter.is_ascii_digit() || letter == '.');
        let (name, after) = unit.split_at(next.unwrap_or(unit.len()));
        if !has_digit || number.matches('.').count() > 1 || !UNITS.contains(&name) {
            return false;
        }
        rest = after;
    }
    !text.is_empty() && text != "+" && text != "-"
}

/// What is wrong with a name of a time zone. Whether there is such a zone, the controller finds out.
fn zone_problem(zone: &str) -> Option<String> {
    if zone.is_empty() {
        return Some("timeZone must be nil or non-empty string".to_owned());
    }
    let is_part = |part: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        (1..=LONGEST_PART).contains(&part.len())
            && part.bytes().all(known)
            && !part.starts_with('-')
            && !matches!(part, "." | "..")
    };
    if !zone.split('/').all(is_part) {
        return Some(format!("unknown time zone {zone}"));
    }
    let detail = "timeZone must be an explicit time zone as defined in \
                  https://www.iana.org/time-zones";
    zone.eq_ignore_ascii_case("local").then(|| detail.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schedules_and_time_zones_are_refused_in_the_words_of_their_readers() {
        let cases = [
            ("* * * * *", ""),
            ("*/5 0-6/2 1,15 jan-MAR ?", ""),
            ("@every 1h30m", ""),
            ("@daily", ""),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("-1 * * * *", "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax"),
            (
                "* * * * funday",
                "failed to parse int from funday: strconv.Atoi: parsing \"funday\": invalid syntax",
            ),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("@every now", "failed to parse duration @every now: time: invalid duration \"now\""),
            (
                "TZ=UTC * * * * *",
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ),
        ];
        for (schedule, why) in cases {
            let causes = causes(&json!({"schedule": schedule}));
            let lines: Vec<String> = causes.iter().map(Cause::line).collect();
            let expected = match why {
                "" => Vec::new(),
                why => vec![format!("spec.schedule: Invalid value: {schedule:?}: {why}")],
            };
            assert_eq!(lines, expected);
        }
        let zones = [
            ("Europe/Berlin", true),
            ("Etc/GMT+1", true),
            ("", false),
            ("local", false),
            ("../etc/passwd", false),
            ("a//b", false),
        ];
        for (zone, good) in zones {
            assert_eq!(causes(&json!({"timeZone": zone})).is_empty(), good, "{zone}");
        }
    }
}

//! Time zones by name, as this machine describes them.
//!
//! Source: tzfile(5), RFC 9636; Go's `time.LoadLocation`, which is what Kubernetes asks.

use std::collections::HashMap;
use std::path::PathBuf;

use k8s_openapi::jiff::tz::TimeZone;

/// Where zones are described: package `tzdata`.
const DIRECTORY: &str = "/usr/share/zoneinfo";

/// Longest description that is read, in bytes; the longest there is has a tenth of it.
const LONGEST: u64 = 64 << 10;

/// Zones that are remembered; there are some six hundred names.
const REMEMBERED: usize = 1024;

/// The zones of a machine.
pub(super) struct Zones {
    directory: PathBuf,
    known: HashMap<String, TimeZone>,
}

impl Default for Zones {
    fn default() -> Self {
        Self { directory: DIRECTORY.into(), known: HashMap::new() }
    }
}

impl Zones {
    /// The zone of that name.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn named(&mut self, name: &str) -> Result<TimeZone, String> {
        if matches!(name, "UTC" | "Etc/UTC") {
            return Ok(TimeZone::UTC);
        }
        if let Some(zone) = self.known.get(name) {
            return Ok(zone.clone());
        }
        let unknown = || format!("unknown time zone {name}");
        // A name is a path below the directory, and no way out of it.
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if !name.split('/').all(is_part) {
            return Err("time: invalid location name".to_owned());
        }
        let path = self.directory.join(name);
        let is_file = path.metadata().is_ok_and(|it| it.is_file() && it.len() <= LONGEST);
        let bytes = is_file.then(|| std::fs::read(&path).ok()).flatten().ok_or_else(unknown)?;
        let zone = TimeZone::tzif(name, &bytes).map_err(|_| unknown())?;
        if self.known.len() < REMEMBERED {
            self.known.insert(name.to_owned(), zone.clone());
        }
        Ok(zone)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    /// A description of a zone that is always one hour ahead.
    fn one_hour_ahead() -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend(b"TZif2");
            bytes.extend([0; 15]);
            // No UT/local or standard/wall indicators, no leap seconds, no transitions.
            bytes.extend([0, 0, 0, 0].repeat(4));
            // One local time type with a name of four characters.
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 4]);
            bytes.extend(3600_i32.to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(b"+01\0");
        }
        bytes.extend(b"\n<+01>-1\n");
        bytes
    }

    #[test]
    fn a_zone_is_a_description_below_the_directory() {
        let directory = std::env::temp_dir().join(format!("seaway-zones-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("Europe")).unwrap();
        std::fs::write(directory.join("Europe/Here"), one_hour_ahead()).unwrap();
        std::fs::write(directory.join("nonsense"), "nonsense").unwrap();
        let mut zones = Zones { directory: directory.join("Europe"), ..Zones::default() };
        let cases = [
            ("UTC", "0"),
            ("Here", "3600"),
            ("There", "unknown time zone There"),
            ("../nonsense", "time: invalid location name"),
            ("/etc/passwd", "time: invalid location name"),
            ("", "time: invalid location name"),
            (".", "time: invalid location name"),
        ];
        let now = Timestamp::from_second(0).unwrap();
        for (name, expect) in cases {
            let offset = |zone: TimeZone| zone.to_offset(now).seconds().to_string();
            assert_eq!(zones.named(name).map_or_else(|why| why, offset), expect, "{name:?}");
        }
        zones.directory.clone_from(&directory);
        assert_eq!(zones.named("nonsense"), Err("unknown time zone nonsense".to_owned()));
        assert_eq!(zones.named("Europe"), Err("unknown time zone Europe".to_owned()));
        std::fs::remove_dir_all(directory).unwrap();
    }
}

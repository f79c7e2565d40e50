//! Versions of the specification, and the answer to VERSION.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};

/// A version of the CNI specification that Seaway speaks, oldest first.
///
/// 0.1.0 and 0.2.0 know no interfaces in their result, so they are refused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.0: `interfaces` and `ips` in the result, chains.
    V0_3_0,
    /// 0.3.1: corrects the text of 0.3.0.
    V0_3_1,
    /// 0.4.0: CHECK; DEL gets the previous result.
    V0_4_0,
    /// 1.0.0: `ips[].version` is gone.
    V1_0_0,
    /// 1.1.0: GC, STATUS, MTU of interfaces and attributes of routes.
    #[default]
    V1_1_0,
}

impl Version {
    /// All versions, oldest first.
    pub const ALL: [Version; 5] =
        [Version::V0_3_0, Version::V0_3_1, Version::V0_4_0, Version::V1_0_0, Version::V1_1_0];

    /// The version as the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// The version to answer a configuration in, however broken it is: its own if Seaway speaks
    /// it, else the newest.
    pub fn of(stdin: &[u8]) -> Self {
        cni_version(stdin).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Version::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

/// A version Seaway does not speak.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cniVersion {0:?}: one of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0")]
pub struct UnknownVersion(String);

/// The answer to VERSION: the versions Seaway speaks, and the version asked in, echoed as it came.
///
/// Source: CNI spec 1.1.0 §5, Version.
pub fn answer_version(stdin: &[u8]) -> String {
    let echo = cni_version(stdin).unwrap_or_else(|| Version::default().to_string());
    let supported: Vec<_> = Version::ALL.iter().map(|version| version.as_str()).collect();
    json!({ "cniVersion": echo, "supportedVersions": supported }).to_string()
}

fn cni_version(stdin: &[u8]) -> Option<String> {
    let conf: Value = serde_json::from_slice(stdin).ok()?;
    conf.get("cniVersion")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_echoes_what_was_asked_and_lists_what_works() {
        let supported = r#""supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]"#;
        for (asked, echo) in [
            (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
            ("", "1.1.0"),
            (r#"{"cniVersion":7}"#, "1.1.0"),
        ] {
            let answer = answer_version(asked.as_bytes());
            assert_eq!(answer, format!(r#"{{"cniVersion":"{echo}",{supported}}}"#));
        }
    }

    #[test]
    fn versions_are_ordered_and_others_are_refused() {
        assert!(Version::ALL.is_sorted());
        for other in ["0.1.0", "0.2.0", "1.0", "1.1.1", "2.0.0", ""] {
            assert!(other.parse::<Version>().is_err(), "{other}");
        }
    }
}

//! The small values a lab is described with: its name and its IP families.

use std::fmt;
use std::str::FromStr;

use model::Family;
use serde::{Deserialize, Serialize};

use super::SpecError;

/// Name of a lab: also the name of its directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// Which IP families nodes and pods have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4 only.
    Ipv4,
    /// IPv6 only.
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

impl IpFamily {
    /// The families, primary first.
    pub fn families(self) -> &'static [Family] {
        match self {
            IpFamily::Ipv4 => &[Family::V4],
            IpFamily::Ipv6 => &[Family::V6],
            IpFamily::Dual => &[Family::V4, Family::V6],
        }
    }
}

impl FromStr for IpFamily {
    type Err = UnknownIpFamily;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ipv4" => Ok(IpFamily::Ipv4),
            "ipv6" => Ok(IpFamily::Ipv6),
            "dual" => Ok(IpFamily::Dual),
            _ => Err(UnknownIpFamily(text.to_owned())),
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpFamily::Ipv4 => "ipv4",
            IpFamily::Ipv6 => "ipv6",
            IpFamily::Dual => "dual",
        })
    }
}

/// Text that names no choice of IP families.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not one of ipv4, ipv6, dual")]
pub struct UnknownIpFamily(pub String);

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = (1..=40).contains(&text.len())
            && text.bytes().all(allowed)
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-');
        if valid { Ok(LabName(text.to_owned())) } else { Err(SpecError::Name(text.to_owned())) }
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for LabName {
    type Error = SpecError;

    fn try_from(text: String) -> Result<Self, SpecError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lab_names_are_dns_labels() {
        for good in ["a", "lab", "ci-7"] {
            assert!(good.parse::<LabName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "7up", "A", "a/b", "..", "a.b", &"a".repeat(41)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }
}

//! Kernel settings under /proc/sys/net.

use std::fmt;

/// A setting by its path below `/proc/sys/`, like `net/ipv4/conf/eth0/rp_filter`.
///
/// Slashes and not dots, because interface names may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SysctlKey(pub String);

/// What a setting is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// This value.
    Is(String),
    /// No less than this. More is somebody else's wish, and in a network namespace that may not
    /// change it, it is left to those that may.
    AtLeast(u64),
}

impl From<&str> for Setting {
    fn from(value: &str) -> Self {
        Setting::Is(value.to_owned())
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Is(value) => write!(f, "= {value}"),
            Setting::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// As `sysctl` prints it: dots for slashes.
impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('/', "."))
    }
}

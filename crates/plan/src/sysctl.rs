//! Kernel settings under /proc/sys/net.

use std::fmt;

/// A setting by its path below `/proc/sys/`, like `net/ipv4/conf/eth0/rp_filter`.
///
/// Slashes and not dots, because interface names may hold dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SysctlKey(pub String);

/// As `sysctl` prints it: dots for slashes.
impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.replace('/', "."))
    }
}

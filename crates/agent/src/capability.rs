//! What this process must be allowed to do, checked before anything is touched.

use std::fs;

/// A capability: its bit in the kernel's sets (linux/capability.h), its name, what it is needed for.
type Needed = (u32, &'static str, &'static str);

const NEEDED: [Needed; 3] = [
    (12, "CAP_NET_ADMIN", "links, routes, rules, neighbors and nftables"),
    (21, "CAP_SYS_ADMIN", "entering the network namespaces of pods"),
    (1, "CAP_DAC_OVERRIDE", "writing sysctls and the runtime's directories"),
];

/// Capabilities are missing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent lacks {0}; run it as root, or give its container these capabilities")]
pub struct MissingCapability(String);

/// Checks the effective capabilities of this process.
///
/// # Errors
/// [`MissingCapability`] with the name of each and what it is for.
pub(crate) fn check() -> Result<(), MissingCapability> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    // Without /proc the first write will tell.
    effective.map_or(Ok(()), check_set)
}

fn check_set(effective: u64) -> Result<(), MissingCapability> {
    let missing = NEEDED.iter().filter(|(bit, _, _)| effective & (1 << bit) == 0);
    let missing: Vec<String> =
        missing.map(|(_, name, purpose)| format!("{name} ({purpose})")).collect();
    if missing.is_empty() { Ok(()) } else { Err(MissingCapability(missing.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_purpose() {
        assert_eq!(check_set(u64::MAX), Ok(()));
        let error = check_set(!(1 << 12)).unwrap_err().to_string();
        assert!(error.contains("CAP_NET_ADMIN (links, routes"), "{error}");
        assert!(!error.contains("CAP_SYS_ADMIN"), "{error}");
    }
}

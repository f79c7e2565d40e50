//! Flags of `seaway agent` about connection tracking: kube-proxy's, with its defaults, but for
//! `--conntrack-tcp-be-liberal` and `--conntrack-tcp-strict` (docs/decisions/0021 and 0034).

use std::time::Duration;

use model::Conntrack;
use nix::unistd::{SysconfVar, sysconf};

#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Connections to be able to track, at least, for each processor; 0 leaves the limit as it is. It is
    /// never lowered.
    #[arg(
        long = "conntrack-max-per-core",
        env = "SEAWAY_CONNTRACK_MAX_PER_CORE",
        default_value_t = 32768,
        value_name = "COUNT"
    )]
    max_per_core: u32,
    /// Connections to be able to track, at least, however few processors there are.
    #[arg(
        long = "conntrack-min",
        env = "SEAWAY_CONNTRACK_MIN",
        default_value_t = 131_072,
        value_name = "COUNT"
    )]
    min: u32,
    /// How long an established TCP connection may be silent before it is forgotten; 0 leaves it as it is.
    #[arg(
        long = "conntrack-tcp-timeout-established",
        env = "SEAWAY_CONNTRACK_TCP_TIMEOUT_ESTABLISHED",
        default_value = "24h",
        value_parser = duration,
        value_name = "TIME"
    )]
    tcp_timeout_established: Duration,
    /// How long one may be silent that one side has closed; 0 leaves it as it is.
    #[arg(
        long = "conntrack-tcp-timeout-close-wait",
        env = "SEAWAY_CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT",
        default_value = "1h",
        value_parser = duration,
        value_name = "TIME"
    )]
    tcp_timeout_close_wait: Duration,
    /// Translate TCP segments outside of the window like the others; false leaves it as it is.
    #[arg(
        long = "conntrack-tcp-be-liberal",
        env = "SEAWAY_CONNTRACK_TCP_BE_LIBERAL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "true|false"
    )]
    tcp_be_liberal: bool,
    /// Take for a TCP connection only what begins with a SYN; false leaves it as it is.
    #[arg(
        long = "conntrack-tcp-strict",
        env = "SEAWAY_CONNTRACK_TCP_STRICT",
        default_value_t = true,
        action = clap::ArgAction::Set,
        value_name = "true|false"
    )]
    tcp_strict: bool,
}

impl Flags {
    /// What they come to on this machine.
    pub(crate) fn settings(&self) -> Conntrack {
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let processors = online.and_then(|count| u64::try_from(count).ok()).unwrap_or(1);
        let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
        Conntrack {
            max: Conntrack::max_of(processors, self.max_per_core, self.min),
            tcp_established: unless_zero(self.tcp_timeout_established),
            tcp_close_wait: unless_zero(self.tcp_timeout_close_wait),
            tcp_be_liberal: self.tcp_be_liberal,
            tcp_strict: self.tcp_strict,
        }
    }
}

/// A time as kube-proxy's flags take it: `24h`, `1h30m`, `90s`, `0`. The kernel counts in seconds, in 31
/// bits.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?}: a time like 24h, 1h30m or 90s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut total, mut rest) = (0_u32, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[digits] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(wrong()),
        };
        let part = count.checked_mul(unit).and_then(|part| total.checked_add(part));
        total = part.filter(|total| i32::try_from(*total).is_ok()).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then(|| Duration::from_secs(total.into())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kube_proxy_reads_them() {
        for (text, seconds) in
            [("24h", 86400), ("1h30m", 5400), ("24h0m0s", 86400), ("90s", 90), ("0", 0), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "24", "h", "1d", "-1h", "1.5h", "99999999h", "1h é"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

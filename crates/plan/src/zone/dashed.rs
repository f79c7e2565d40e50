//! Addresses as labels: `10-244-2-7`, `fd00--7`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest address in text, with room for one more `0`.
const LONGEST: usize = 48;

/// A label on the stack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dashed {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Dashed {
    /// How an endpoint at `ip` is called that has no hostname: `.` and `:` become `-`, and a `0`
    /// follows what would end with one (DNS-27).
    pub(super) fn of(ip: IpAddr) -> Self {
        let mut label = Dashed { bytes: [0; LONGEST], len: 0 };
        // It fits: what does not is cut off, below.
        let written = write!(label, "{ip}");
        debug_assert!(written.is_ok(), "an address has 45 bytes at most");
        if label.as_bytes().last() == Some(&b'-') {
            label.push(b'0');
        }
        label
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

impl Write for Dashed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.push(if matches!(byte, b'.' | b':') { b'-' } else { byte });
        }
        Ok(())
    }
}

/// The address that `label` spells in any way: with exactly three `-`, none after another, of IPv4
/// (DNS-29).
pub(super) fn parse(label: &[u8]) -> Option<IpAddr> {
    let dashes = label.iter().filter(|byte| **byte == b'-').count();
    let is_v4 = dashes == 3 && !label.windows(2).any(|two| two == b"--");
    let mut bytes = [0; LONGEST];
    let bytes = bytes.get_mut(..label.len())?;
    bytes.copy_from_slice(label);
    for byte in bytes.iter_mut().filter(|byte| **byte == b'-') {
        *byte = if is_v4 { b'.' } else { b':' };
    }
    let text = std::str::from_utf8(bytes).ok()?;
    match is_v4 {
        true => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        false => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
    }
}

/// The address whose endpoint is called `label`, were it one without a hostname: no other way to write
/// it is a name.
pub(super) fn endpoint(label: &[u8]) -> Option<IpAddr> {
    parse(label).filter(|ip| Dashed::of(*ip).as_bytes() == label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_labels_and_back() {
        for (ip, label) in [
            ("10.244.2.7", "10-244-2-7"),
            ("5678:abcd::1", "5678-abcd--1"),
            ("fd00::", "fd00--0"),
            ("::1", "--1"),
            ("::", "--0"),
            ("1:2:3:4:5:6:7:8", "1-2-3-4-5-6-7-8"),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(Dashed::of(ip).as_bytes(), label.as_bytes());
            assert_eq!(endpoint(label.as_bytes()), Some(ip), "{label}");
        }
    }

    #[test]
    fn an_endpoint_has_one_name_and_a_pod_address_many() {
        let cases = [
            ("fd00-0-0-0-0-0-0-1", Some("fd00::1")),
            ("FD00--1", Some("fd00::1")),
            ("010-0-0-1", None),
            ("10-0-0", None),
            ("10-0-0-256", None),
            ("a-b-g--d", None),
            ("web", None),
            ("", None),
        ];
        for (label, want) in cases {
            assert_eq!(parse(label.as_bytes()), want.map(|ip| ip.parse().unwrap()), "{label}");
            assert_eq!(endpoint(label.as_bytes()), None, "{label}");
        }
        assert_eq!(parse(&[b'1'; 64]), None);
    }
}

//! Small network values: families, protocols, hardware addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of `addr`.
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Length of a host prefix: 32 or 128 bits.
    pub fn host_prefix(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        })
    }
}

/// A transport protocol that Kubernetes objects name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, number 6.
    Tcp,
    /// UDP, number 17.
    Udp,
    /// SCTP, number 132.
    Sctp,
}

impl Protocol {
    /// The IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Ok(Protocol::Sctp),
            _ => Err(format!("protocol {name:?}: one of TCP, UDP, SCTP")),
        }
    }
}

/// An Ethernet hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A stable unicast, locally administered address that follows from `seed` alone (FNV-1a), so
    /// that every node can work out the address of every other without asking.
    pub fn derive(seed: &str) -> Self {
        let hash = fnv1a(seed.as_bytes()).to_be_bytes();
        Mac([(hash[0] & 0xfc) | 0x02, hash[1], hash[2], hash[3], hash[4], hash[5]])
    }
}

/// FNV-1a, 64 bit: small, stable across releases and machines, and not for secrets.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Mac(bytes)) }
    }
}

/// Text that is not six bytes in hex with colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hardware address {0:?}: six bytes in hex, like 02:00:00:00:00:01")]
pub struct InvalidMac(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_macs_are_unicast_local_and_stable() {
        let mac = Mac::derive("node-a");
        assert_eq!(mac.0[0] & 0x03, 0x02);
        assert_eq!(mac, Mac::derive("node-a"));
        assert_ne!(mac, Mac::derive("node-b"));
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn broken_macs_are_refused() {
        for bad in
            ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "zz:00:00:00:00:01", "2:0:0:0:0:1"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}

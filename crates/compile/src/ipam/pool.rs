//! One pod CIDR as a range of addresses to lease.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::Family;

/// A pod CIDR with room for at least one pod.
///
/// Reserved are the network address (remote nodes use it as the next hop into the overlay), the
/// first address (the node's own on the bridge) and, in IPv4, the broadcast address. In IPv6 the
/// network address is the subnet-router anycast address (RFC 4291 §2.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    cidr: IpNet,
}

/// A pod CIDR without room for a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cidr} is too small: a pool needs at least /{longest}")]
pub struct TooSmall {
    /// The CIDR.
    pub cidr: IpNet,
    /// The longest prefix that leaves room for a pod.
    pub longest: u8,
}

impl Pool {
    /// The pool of `cidr`.
    ///
    /// # Errors
    /// [`TooSmall`] when nothing is left beside the reserved addresses: longer than /30 in IPv4,
    /// longer than /126 in IPv6.
    pub fn new(cidr: IpNet) -> Result<Self, TooSmall> {
        let cidr = cidr.trunc();
        let longest = Family::of(cidr.addr()).host_prefix() - 2;
        if cidr.prefix_len() > longest {
            Err(TooSmall { cidr, longest })
        } else {
            Ok(Pool { cidr })
        }
    }

    /// The CIDR.
    pub fn cidr(&self) -> IpNet {
        self.cidr
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.cidr.addr())
    }

    /// The first address, which is the node's: the bridge carries it, with the CIDR's prefix.
    pub fn gateway(&self) -> IpNet {
        let first = from_bits(self.family(), bits(self.cidr.network()) + 1);
        IpNet::new(first, self.cidr.prefix_len()).expect("the prefix is one of this family")
    }

    /// Whether `addr` can be leased at all: inside the CIDR and not reserved.
    pub fn holds(&self, addr: IpAddr) -> bool {
        let (first, last) = self.span();
        self.cidr.contains(&addr) && (first..=last).contains(&bits(addr))
    }

    /// Number of addresses that can be leased.
    pub fn capacity(&self) -> u128 {
        let (first, last) = self.span();
        last - first + 1
    }

    /// Leasable addresses, lowest first.
    pub fn addrs(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family();
        let (first, last) = self.span();
        (first..=last).map(move |bits| from_bits(family, bits))
    }

    /// First and last leasable address, as numbers.
    fn span(&self) -> (u128, u128) {
        let last = bits(self.cidr.broadcast());
        let last = if self.family() == Family::V4 { last - 1 } else { last };
        (bits(self.cidr.network()) + 2, last)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cidr.fmt(f)
    }
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let bits = u32::try_from(bits).expect("bits of an IPv4 pool stay within 32");
            IpAddr::V4(Ipv4Addr::from_bits(bits))
        }
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_the_reserved_addresses_back() {
        let cases = "
            10.244.1.0/24  | 10.244.1.1/24   | 10.244.1.2 | 10.244.1.254       | 253
            10.244.1.4/30  | 10.244.1.5/30   | 10.244.1.6 | 10.244.1.6         | 1
            fd00:1::/126   | fd00:1::1/126   | fd00:1::2  | fd00:1::3          | 2
            fd00:1::/112   | fd00:1::1/112   | fd00:1::2  | fd00:1::ffff       | 65534";
        for line in cases.trim().lines() {
            let [cidr, gateway, first, last, capacity] =
                line.split('|').map(str::trim).collect::<Vec<_>>()[..]
            else {
                panic!("{line}")
            };
            let pool = Pool::new(cidr.parse().unwrap()).unwrap();
            assert_eq!(pool.gateway().to_string(), gateway);
            assert_eq!(pool.addrs().next().unwrap().to_string(), first);
            assert_eq!(pool.addrs().last().unwrap().to_string(), last);
            assert_eq!(pool.capacity().to_string(), capacity);
            assert!(!pool.holds(pool.gateway().addr()) && !pool.holds(pool.cidr().network()));
        }
    }

    #[test]
    fn a_cidr_without_room_for_a_pod_is_no_pool() {
        for (cidr, longest) in
            [("10.0.0.0/31", 30), ("10.0.0.1/32", 30), ("fd00::/127", 126), ("fd00::1/128", 126)]
        {
            assert_eq!(Pool::new(cidr.parse().unwrap()).unwrap_err().longest, longest, "{cidr}");
        }
    }
}

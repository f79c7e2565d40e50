//! Who may ask.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses, which is looked into for every datagram: ranges, sorted, apart from each other.
/// IPv4 is in it as the IPv4-mapped part of IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(Box<[(u128, u128)]>);

impl Sources {
    /// The addresses in `blocks`, which may overlap.
    pub fn new(blocks: impl IntoIterator<Item = IpNet>) -> Self {
        let range = |block: IpNet| (bits(block.network()), bits(block.broadcast()));
        let mut all: Vec<_> = blocks.into_iter().map(range).collect();
        all.sort_unstable();
        let mut apart: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match apart.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                Some(_) | None => apart.push((first, last)),
            }
        }
        Sources(apart.into())
    }

    /// Whether `ip` is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = bits(ip);
        let after = self.0.partition_point(|(first, _)| *first <= ip);
        after.checked_sub(1).is_some_and(|i| ip <= self.0[i].1)
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_set_when_it_is_in_a_block() {
        let blocks = ["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16", "192.0.2.7/32", "fd00:1::/64"];
        let sources = Sources::new(blocks.map(|block| block.parse().unwrap()));
        assert_eq!(sources.0.len(), 3, "overlapping and adjacent blocks are one: {sources:?}");
        for (ip, is_in) in [
            ("10.1.0.0", true),
            ("10.2.255.255", true),
            ("10.0.255.255", false),
            ("10.3.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fd00:1::ffff", true),
            ("fd00:1:0:1::", false),
            ("::a01:203", false),
        ] {
            assert_eq!(sources.contains(ip.parse().unwrap()), is_in, "{ip}");
        }
    }

    #[test]
    fn nobody_is_in_no_blocks_and_everybody_in_all() {
        assert!(!Sources::default().contains("10.0.0.1".parse().unwrap()));
        let all = Sources::new(["::/0", "fd00::/8"].map(|block| block.parse().unwrap()));
        assert!(all.contains("10.0.0.1".parse().unwrap()));
        assert!(all.contains("ffff::".parse().unwrap()));
    }
}

//! Networks cut into parts: a node's pod CIDR, a subnet's addresses.

use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Part number `index` of `cidr` when it is cut into /24 (IPv4) or /64 (IPv6) networks, if there are
/// as many.
pub(crate) fn part(cidr: IpNet, index: u32) -> Option<IpNet> {
    match cidr {
        IpNet::V4(net) => {
            let at = u32::from(net.network()).checked_add(index.checked_mul(256)?)?;
            let part = Ipv4Net::new(at.into(), 24).ok()?;
            net.contains(&part).then_some(part.into())
        }
        IpNet::V6(net) if net.prefix_len() <= 64 => {
            let at = u128::from(net.network()).checked_add(u128::from(index) << shift(net))?;
            let part = Ipv6Net::new(at.into(), 64).ok()?;
            net.contains(&part).then_some(part.into())
        }
        IpNet::V6(_) => None,
    }
}

/// A network of at most 32 bits numbers its parts in the third group, so that fd00:80::/32 reads
/// fd00:80:1::/64, fd00:80:2::/64, …
fn shift(net: Ipv6Net) -> u32 {
    if net.prefix_len() <= 48 - 16 { 80 } else { 64 }
}

/// The numbers of the parts of `cidr` that `net` reaches into, if there are any.
pub(crate) fn numbers(cidr: IpNet, net: IpNet) -> Option<RangeInclusive<u32>> {
    let v4 = |net: Ipv4Net| (u32::from(net.network()).into(), u32::from(net.broadcast()).into());
    let v6 = |net: Ipv6Net| (net.network().into(), net.broadcast().into());
    let (all, some, shift): ((u128, u128), (u128, u128), u32) = match (cidr, net) {
        (IpNet::V4(cidr), IpNet::V4(net)) => (v4(cidr), v4(net), 8),
        (IpNet::V6(cidr), IpNet::V6(net)) => (v6(cidr), v6(net), shift(cidr)),
        (IpNet::V4(_), IpNet::V6(_)) | (IpNet::V6(_), IpNet::V4(_)) => return None,
    };
    let (first, last) = (some.0.max(all.0), some.1.min(all.1));
    let number = |addr: u128| u32::try_from((addr - all.0) >> shift).unwrap_or(u32::MAX);
    (first <= last).then(|| number(first)..=number(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_is_cut_into_networks_whose_number_can_be_read() {
        let cases = [
            ("10.244.0.0/16", 3, Some("10.244.3.0/24")),
            ("10.244.0.0/16", 256, None),
            ("10.0.0.0/24", 0, Some("10.0.0.0/24")),
            ("10.0.0.0/25", 0, None),
            ("fd00:10:244::/56", 3, Some("fd00:10:244:3::/64")),
            ("fd00:10:244::/56", 256, None),
            ("fd00:80::/32", 2, Some("fd00:80:2::/64")),
            ("fd00::/65", 0, None),
        ];
        for (cidr, index, expect) in cases {
            let expect = expect.map(|net| net.parse::<IpNet>().unwrap());
            assert_eq!(part(cidr.parse().unwrap(), index), expect, "{cidr} {index}");
        }
    }

    #[test]
    fn a_network_reaches_into_the_parts_it_shares_an_address_with() {
        let cases = [
            ("10.244.0.0/16", "10.244.3.0/24", Some(3..=3)),
            ("10.244.0.0/16", "10.244.3.128/25", Some(3..=3)),
            ("10.244.0.0/16", "10.244.4.0/23", Some(4..=5)),
            ("10.244.0.0/16", "0.0.0.0/0", Some(0..=255)),
            ("10.244.0.0/16", "10.245.0.0/24", None),
            ("10.244.0.0/16", "fd00::/64", None),
            ("fd00:10:244::/56", "fd00:10:244:3::/64", Some(3..=3)),
            ("fd00:80::/32", "fd00:80:2::/64", Some(2..=2)),
        ];
        for (cidr, net, expect) in cases {
            assert_eq!(
                numbers(cidr.parse().unwrap(), net.parse().unwrap()),
                expect,
                "{cidr} {net}"
            );
        }
    }
}

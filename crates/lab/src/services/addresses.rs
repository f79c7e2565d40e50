//! Addresses of Services.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::Family;

/// A range of addresses, and who may still get one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) cidrs: Vec<IpNet>,
    /// It is going away: nobody gets a new address of it.
    pub(super) leaves: bool,
}

/// The ranges by name, and every address that is in use.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) ranges: BTreeMap<String, Range>,
    used: BTreeSet<IpAddr>,
    /// Where the search goes on, by CIDR: an address that was given back rests as long as it can.
    next: BTreeMap<IpNet, u128>,
}

impl Addresses {
    pub(super) fn is_used(&self, address: IpAddr) -> bool {
        self.used.contains(&address)
    }

    /// Marks an address as in use, or not; how it was before.
    pub(super) fn set(&mut self, address: IpAddr, used: bool) -> bool {
        match used {
            true => !self.used.insert(address),
            false => self.used.remove(&address),
        }
    }

    /// Why this very address can't be had.
    pub(super) fn refusal(&self, address: IpAddr) -> Option<String> {
        let why = if !self.cidrs(Family::of(address)).any(|cidr| holds(cidr, address)) {
            let ranges: Vec<String> =
                self.cidrs(Family::of(address)).map(|c| c.to_string()).collect();
            format!(
                "the provided IP is not in the valid range. The range of valid IPs is {}",
                ranges.join(", ")
            )
        } else if self.is_used(address) {
            "provided IP is already allocated".to_owned()
        } else {
            return None;
        };
        Some(format!("failed to allocate IP {address}: {why}"))
    }

    /// A free address for who does not choose: of the upper band of a range, and of the lower one,
    /// which is for those who choose, when there is no other.
    pub(super) fn pick(&mut self, family: Family) -> Option<IpAddr> {
        let cidrs: Vec<IpNet> = self.cidrs(family).collect();
        let found = cidrs.into_iter().find_map(|cidr| {
            let (low, first, last) = bands(cidr);
            let from = self.next.get(&cidr).copied().unwrap_or(low).clamp(low, last);
            let free = |at: &u128| !self.used.contains(&address(cidr, *at));
            let at = (from..=last).chain(low..from).chain(first..low).find(free)?;
            Some((cidr, at))
        });
        let (cidr, at) = found?;
        self.next.insert(cidr, at + 1);
        Some(address(cidr, at))
    }

    fn cidrs(&self, family: Family) -> impl Iterator<Item = IpNet> {
        let ranges = self.ranges.values().filter(|range| !range.leaves);
        let cidrs = ranges.flat_map(|range| range.cidrs.iter().copied());
        cidrs.filter(move |cidr| Family::of(cidr.addr()) == family)
    }
}

/// Where the upper band of `cidr` begins, its first and its last address, as offsets from the network
/// address, which nobody gets; nor the broadcast address.
fn bands(cidr: IpNet) -> (u128, u128, u128) {
    let bits = cidr.max_prefix_len() - cidr.prefix_len();
    let size = 1u128.checked_shl(bits.into()).unwrap_or(u128::MAX);
    // Nobody's cluster has more: a search stays short.
    let size = size.min(1 << 20);
    let last = if cidr.addr().is_ipv4() { size.saturating_sub(2) } else { size - 1 };
    let low = (size / 16).clamp(16, 256);
    (if low < last { 1 + low } else { 1 }, 1, last.max(1))
}

/// Whether `address` is one that `cidr` has to give.
fn holds(cidr: IpNet, address: IpAddr) -> bool {
    let broadcast = cidr.addr().is_ipv4() && address == cidr.broadcast();
    cidr.contains(&address) && address != cidr.network() && !broadcast
}

fn address(cidr: IpNet, at: u128) -> IpAddr {
    match cidr.network() {
        IpAddr::V4(network) => {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            IpAddr::V4(u32::from(network).saturating_add(at).into())
        }
        IpAddr::V6(network) => IpAddr::V6(u128::from(network).saturating_add(at).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(cidr: &str) -> Addresses {
        let range = Range { cidrs: vec![cidr.parse().unwrap()], leaves: false };
        Addresses { ranges: [("kubernetes".to_owned(), range)].into(), ..Addresses::default() }
    }

    #[test]
    fn who_does_not_choose_gets_the_upper_band_first_and_every_address_in_the_end() {
        let mut all = addresses("10.96.0.0/24");
        let first = all.pick(Family::V4).unwrap();
        assert_eq!(first.to_string(), "10.96.0.17", "1 to 16 are for those who choose");
        let mut seen = BTreeSet::new();
        while let Some(address) = all.pick(Family::V4) {
            assert!(!all.set(address, true));
            assert!(seen.insert(address));
        }
        assert_eq!(seen.len(), 254, "all but the network's and the broadcast address");
        assert_eq!(all.pick(Family::V6), None);
    }

    #[test]
    fn an_address_that_is_given_back_rests_while_others_are_free() {
        let mut all = addresses("10.96.0.0/24");
        let first = all.pick(Family::V4).unwrap();
        all.set(first, true);
        all.set(first, false);
        assert_ne!(all.pick(Family::V4), Some(first));
    }

    #[test]
    fn one_that_cannot_be_had_is_refused_with_the_reason() {
        let mut all = addresses("10.96.0.0/24");
        all.set("10.96.0.10".parse().unwrap(), true);
        let cases = [
            ("10.96.0.11", None),
            (
                "10.96.0.10",
                Some("failed to allocate IP 10.96.0.10: provided IP is already allocated"),
            ),
            (
                "10.97.0.1",
                Some(
                    "failed to allocate IP 10.97.0.1: the provided IP is not in the valid range. The \
                     range of valid IPs is 10.96.0.0/24",
                ),
            ),
            (
                "10.96.0.0",
                Some(
                    "failed to allocate IP 10.96.0.0: the provided IP is not in the valid range. The range of valid IPs is 10.96.0.0/24",
                ),
            ),
        ];
        for (address, why) in cases {
            assert_eq!(all.refusal(address.parse().unwrap()).as_deref(), why, "{address}");
        }
    }

    #[test]
    fn the_bands_are_as_kubernetes_cuts_them() {
        let band = |cidr: &str| bands(cidr.parse().unwrap());
        assert_eq!(band("10.96.0.0/28"), (1, 1, 14), "too small for two bands");
        assert_eq!(band("10.96.0.0/24"), (17, 1, 254));
        assert_eq!(band("10.96.0.0/16"), (257, 1, 65534));
        assert_eq!(band("fd00::/112"), (257, 1, 65535));
    }
}

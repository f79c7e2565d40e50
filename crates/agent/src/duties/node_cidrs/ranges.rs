//! What Nodes are given their pod CIDRs from, as a setting.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use model::Family;

/// Longest prefix of a Node's part that leaves addresses for pods: a network without those that the node keeps
/// back.
const LONGEST: [u8; 2] = [30, 126];

/// Prefix of a Node's part, unless the setting says another: kube-controller-manager's.
const USUAL: [u8; 2] = [24, 64];

/// Whether Nodes are given pod CIDRs that nobody else gives any, and from which ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodCidrs {
    /// Not at all.
    Never,
    /// From the usual ranges of the families that the Node has addresses of.
    Usual,
    /// From these, of different families.
    Ranges(Vec<Range>),
}

/// A range, and how long the prefix of each Node's part of it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub(super) net: IpNet,
    pub(super) prefix: u8,
}

/// Text that is no such setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPodCidrs {
    /// A part of the list is nothing that is known.
    #[error(
        "{0:?}: auto, none, or a CIDR for each family like 10.244.0.0/16, or 10.244.0.0/16/24 for a /24 for each Node"
    )]
    Unknown(String),
    /// Two ranges of one family.
    #[error("{0}: the second range of its family")]
    Second(IpNet),
    /// Bits behind the prefix.
    #[error("{0}: has bits set behind its prefix, the network is {1}")]
    HostBits(IpNet, IpNet),
    /// The prefix of a Node's part is none of that range.
    #[error("{0}: a /{1} for each Node: between /{2} and /{3}")]
    Prefix(IpNet, u8, u8, u8),
}

impl PodCidrs {
    /// The ranges for a Node that has addresses of these families, in their order; of which family its first
    /// pod CIDR is.
    pub(super) fn ranges(&self, families: &[Family]) -> Vec<Range> {
        match self {
            PodCidrs::Never => Vec::new(),
            PodCidrs::Usual => families.iter().copied().map(Range::usual).collect(),
            PodCidrs::Ranges(ranges) => ranges.clone(),
        }
    }
}

impl Range {
    /// kubeadm's, flannel's and kind's.
    fn usual(family: Family) -> Range {
        let net = match family {
            Family::V4 => IpNet::new_assert(Ipv4Addr::new(10, 244, 0, 0).into(), 16),
            Family::V6 => {
                let addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0);
                IpNet::new_assert(addr.into(), 56)
            }
        };
        Range { net, prefix: of(family, USUAL) }
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.net.addr())
    }
}

fn of<T: Copy>(family: Family, [v4, v6]: [T; 2]) -> T {
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

impl FromStr for Range {
    type Err = InvalidPodCidrs;

    fn from_str(text: &str) -> Result<Self, InvalidPodCidrs> {
        let unknown = || InvalidPodCidrs::Unknown(text.to_owned());
        let (net, prefix) = match text.match_indices('/').nth(1) {
            Some((at, _)) => (&text[..at], Some(text[at + 1..].parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let net: IpNet = net.parse().map_err(|_| unknown())?;
        if net.trunc() != net {
            return Err(InvalidPodCidrs::HostBits(net, net.trunc()));
        }
        let family = Family::of(net.addr());
        let longest = of(family, LONGEST);
        let prefix = prefix.unwrap_or(of(family, USUAL).max(net.prefix_len()));
        match (net.prefix_len()..=longest).contains(&prefix) {
            true => Ok(Range { net, prefix }),
            false => Err(InvalidPodCidrs::Prefix(net, prefix, net.prefix_len(), longest)),
        }
    }
}

impl FromStr for PodCidrs {
    type Err = InvalidPodCidrs;

    fn from_str(text: &str) -> Result<Self, InvalidPodCidrs> {
        match text {
            "auto" => return Ok(PodCidrs::Usual),
            "none" => return Ok(PodCidrs::Never),
            _ => {}
        }
        let mut ranges: Vec<Range> = Vec::new();
        for range in text.split(',') {
            let range: Range = range.parse()?;
            if ranges.iter().any(|other| other.family() == range.family()) {
                return Err(InvalidPodCidrs::Second(range.net));
            }
            ranges.push(range);
        }
        Ok(PodCidrs::Ranges(ranges))
    }
}

/// As it is said to people: `10.244.0.0/16 has no /24 left`.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.net.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_auto_none_or_a_range_of_each_family() {
        let ranges = |text: &str, families: &[Family]| {
            let all = text.parse::<PodCidrs>().unwrap().ranges(families);
            let all: Vec<String> = all.iter().map(|it| format!("{it} {}", it.prefix)).collect();
            all.join(", ")
        };
        let both = [Family::V6, Family::V4];
        assert_eq!(ranges("auto", &both), "fd00:10:244::/56 64, 10.244.0.0/16 24");
        assert_eq!(ranges("auto", &[Family::V4]), "10.244.0.0/16 24");
        assert_eq!(ranges("none", &both), "");
        assert_eq!(ranges("10.0.0.0/12/25,fd00::/48", &both), "10.0.0.0/12 25, fd00::/48 64");
        assert_eq!(ranges("10.0.0.0/26", &both), "10.0.0.0/26 26", "one Node has all of it");
    }

    #[test]
    fn what_is_no_setting_is_named() {
        let cases = [
            ("", "\"\": auto, none, or a CIDR"),
            ("always", "\"always\": auto, none"),
            ("10.0.0.0", "\"10.0.0.0\": auto"),
            ("10.0.0.0/16/x", "\"10.0.0.0/16/x\": auto"),
            (
                "10.0.0.1/16",
                "10.0.0.1/16: has bits set behind its prefix, the network is 10.0.0.0/16",
            ),
            ("10.0.0.0/16,10.1.0.0/16", "10.1.0.0/16: the second range of its family"),
            ("10.0.0.0/16/15", "10.0.0.0/16: a /15 for each Node: between /16 and /30"),
            ("fd00::/56/127", "fd00::/56: a /127 for each Node: between /56 and /126"),
            ("10.0.0.0/31", "10.0.0.0/31: a /31 for each Node"),
        ];
        for (text, named) in cases {
            let error = text.parse::<PodCidrs>().unwrap_err().to_string();
            assert!(error.starts_with(named), "{text}: {error}");
        }
    }
}

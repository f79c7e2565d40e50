//! What a lab should be, resolved: every choice made, nothing optional by accident, and every
//! combination that could not work refused before anything is made.

mod choice;
mod part;
mod text;

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use model::{Family, NodePortAddrs, PodLinkMode, Routing};
use serde::{Deserialize, Serialize};

use crate::plane;

pub(crate) use part::{numbers, part};

pub use choice::{IpFamily, LabName, UnknownIpFamily};

/// Most nodes of a lab: their addresses are .11 to .250 of a subnet.
pub const MAX_NODES: u32 = 240;

/// Networks outside the cluster, the same in every lab (RFC 5737, RFC 3849).
const OUTSIDE: [&str; 4] =
    ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:c::/64", "2001:db8:1::/64"];

/// A lab, as the supervisor reads it from `spec.json` in the lab's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name of the lab.
    pub name: LabName,
    /// Nodes it starts with; more may join.
    pub nodes: u32,
    /// Subnets of the underlay; nodes are dealt to them in turn.
    pub subnets: u32,
    /// Zones that nodes are dealt to in turn; nodes are in none when `None`.
    pub zones: Option<u32>,
    /// How pods are joined to their node.
    #[serde(with = "text")]
    pub pod_link: PodLinkMode,
    /// How packets cross between nodes.
    #[serde(with = "text")]
    pub routing: Routing,
    /// Families of nodes and pods, primary first.
    #[serde(with = "text")]
    pub ip_family: IpFamily,
    /// MTU of pods; derived by the agent when `None`.
    pub mtu: Option<u32>,
    /// MTU of the underlay's cables.
    pub underlay_mtu: u32,
    /// Pods' addresses: one CIDR per family. Each node gets a /24 or a /64 of it.
    #[serde(with = "text::list")]
    pub pod_cidrs: Vec<IpNet>,
    /// The underlay's addresses: one CIDR per family. Each subnet gets a /24 or a /64 of it.
    #[serde(with = "text::list")]
    pub node_cidrs: Vec<IpNet>,
    /// Services' addresses: one CIDR per family.
    #[serde(with = "text::list")]
    pub service_cidrs: Vec<IpNet>,
    /// Addresses of nodes at which node ports are open; the agent's own choice when empty.
    #[serde(with = "text::list")]
    pub nodeport_addresses: Vec<NodePortAddrs>,
    /// External addresses that Services may have.
    #[serde(with = "text::list")]
    pub external_ips: Vec<IpNet>,
    /// Whether packets to cluster IPs take the node's address.
    pub masquerade_all: bool,
    /// DNS servers that nodes ask for names outside of the cluster; the router when empty.
    #[serde(default)]
    pub nameservers: Vec<IpAddr>,
    /// Document that says what agents ask of other servers, and log; an absolute path.
    #[serde(default)]
    pub dns_settings: Option<PathBuf>,
    /// Whether nodes have agents of their own; else a manifest brings the network, as to a cluster.
    #[serde(default = "yes")]
    pub has_agents: bool,
    /// Controllers that the control plane lacks, by their names.
    #[serde(default)]
    pub no_controllers: Vec<String>,
    /// Image map entries, `NAME=COMMAND`.
    pub images: Vec<String>,
    /// Where the cluster's objects and keys are kept, so that they outlive the lab; an absolute path.
    /// A lab without one starts empty.
    pub state_dir: Option<PathBuf>,
}

/// What a `spec.json` means that does not say.
fn yes() -> bool {
    true
}

/// Why a lab cannot be made as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The name would not do as a directory and DNS label.
    #[error("lab name {0:?}: 1 to 40 lower-case letters, digits and '-', starting with a letter")]
    Name(String),
    /// A number out of its range.
    #[error("{option} {value}: must be from {least} to {most}")]
    Range {
        /// The option.
        option: &'static str,
        /// What was asked for.
        value: u32,
        /// Smallest value allowed.
        least: u32,
        /// Largest value allowed.
        most: u32,
    },
    /// A CIDR of a family that the lab does not have, or none, or two of one it has.
    #[error("{option}: {found} {family} CIDRs, the lab needs {needed} (--ip-family {ip_family})")]
    Families {
        /// The option.
        option: &'static str,
        /// The family in question.
        family: Family,
        /// CIDRs given.
        found: usize,
        /// CIDRs needed: 0 or 1.
        needed: usize,
        /// What the lab has.
        ip_family: IpFamily,
    },
    /// A CIDR with bits set behind its prefix.
    #[error("{option} {cidr}: has bits set behind its prefix, the network is {network}")]
    HostBits {
        /// The option.
        option: &'static str,
        /// As given.
        cidr: IpNet,
        /// Without those bits.
        network: IpNet,
    },
    /// Two networks of the lab share addresses.
    #[error("{first_option} {first} overlaps {second_option} {second}")]
    Overlap {
        /// Where the first comes from.
        first_option: &'static str,
        /// The first.
        first: IpNet,
        /// Where the second comes from.
        second_option: &'static str,
        /// The second.
        second: IpNet,
    },
    /// A CIDR that cannot be cut into enough parts.
    #[error("{option} {cidr}: has room for {room} {part}, the lab needs {needed}")]
    TooSmall {
        /// The option.
        option: &'static str,
        /// As given.
        cidr: IpNet,
        /// Parts it can be cut into.
        room: u64,
        /// What a part is, like `/24 networks`.
        part: &'static str,
        /// Parts needed.
        needed: u32,
    },
    /// Plain routes cannot cross a router that knows no pod route.
    #[error(
        "--routing direct with --subnets {0}: the router between the subnets knows no pod route; \
         use auto or vxlan, or one subnet"
    )]
    DirectAcrossSubnets(u32),
    /// A controller that there is none of.
    #[error("--no-controller {name}: there are {}", known.join(", "))]
    Controller {
        /// As asked for.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// An image map entry without a name or a command.
    #[error("--image {0:?}: must be NAME=COMMAND")]
    Image(String),
}

impl Spec {
    /// The lab that `seaway lab up` makes without any option.
    pub fn new(name: LabName) -> Self {
        Spec {
            name,
            nodes: 3,
            subnets: 1,
            zones: None,
            pod_link: PodLinkMode::Routed,
            routing: Routing::Auto,
            ip_family: IpFamily::Dual,
            mtu: None,
            underlay_mtu: 1500,
            pod_cidrs: Vec::new(),
            node_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            nodeport_addresses: Vec::new(),
            external_ips: Vec::new(),
            masquerade_all: false,
            dns_settings: None,
            nameservers: Vec::new(),
            has_agents: true,
            no_controllers: Vec::new(),
            images: Vec::new(),
            state_dir: None,
        }
        .with_default_cidrs()
    }

    /// Gives every family that has no CIDR yet the usual one.
    #[must_use]
    pub fn with_default_cidrs(mut self) -> Self {
        let fill = |cidrs: &mut Vec<IpNet>, family, address: IpAddr, prefix| {
            if !cidrs.iter().any(|net| Family::of(net.addr()) == family) {
                cidrs.push(IpNet::new_assert(address, prefix));
            }
        };
        for family in self.ip_family.families() {
            let (pods, nodes) = (&mut self.pod_cidrs, &mut self.node_cidrs);
            let services = &mut self.service_cidrs;
            match family {
                Family::V4 => {
                    fill(pods, *family, [10, 244, 0, 0].into(), 16);
                    fill(nodes, *family, [10, 80, 0, 0].into(), 16);
                    fill(services, *family, [10, 96, 0, 0].into(), 16);
                }
                Family::V6 => {
                    fill(pods, *family, [0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0].into(), 56);
                    fill(nodes, *family, [0xfd00, 0x80, 0, 0, 0, 0, 0, 0].into(), 32);
                    fill(services, *family, [0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0].into(), 112);
                }
            }
        }
        self
    }

    /// Refuses what could not work.
    ///
    /// # Errors
    /// [`SpecError`] with the option, its value and what is wrong.
    pub fn check(&self) -> Result<(), SpecError> {
        in_range("--nodes", self.nodes, 1, MAX_NODES)?;
        in_range("--subnets", self.subnets, 1, self.nodes.min(64))?;
        if let Some(zones) = self.zones {
            in_range("--zones", zones, 1, self.nodes)?;
        }
        in_range("--underlay-mtu", self.underlay_mtu, 1280, 65535)?;
        if let Some(mtu) = self.mtu {
            in_range("--mtu", mtu, 1280, self.underlay_mtu)?;
        }
        if self.routing == Routing::Direct && self.subnets > 1 {
            return Err(SpecError::DirectAcrossSubnets(self.subnets));
        }
        plane::check(self)?;
        if let Some(image) = self.images.iter().find(|image| !is_image_entry(image)) {
            return Err(SpecError::Image(image.clone()));
        }
        self.check_cidrs("--pod-cidr", &self.pod_cidrs, self.nodes)?;
        // One more for the control network.
        self.check_cidrs("--node-cidr", &self.node_cidrs, self.subnets + 1)?;
        self.check_cidrs("--service-cidr", &self.service_cidrs, 0)?;
        self.check_overlaps()
    }

    /// The CIDR of `family` in `cidrs`.
    pub(crate) fn of_family(cidrs: &[IpNet], family: Family) -> Option<IpNet> {
        cidrs.iter().copied().find(|net| Family::of(net.addr()) == family)
    }

    fn check_cidrs(
        &self,
        option: &'static str,
        cidrs: &[IpNet],
        parts: u32,
    ) -> Result<(), SpecError> {
        for family in Family::ALL {
            let needed = usize::from(self.ip_family.families().contains(&family));
            let found = cidrs.iter().filter(|net| Family::of(net.addr()) == family).count();
            if found != needed {
                let ip_family = self.ip_family;
                return Err(SpecError::Families { option, family, found, needed, ip_family });
            }
        }
        for cidr in cidrs {
            if cidr.trunc() != *cidr {
                return Err(SpecError::HostBits { option, cidr: *cidr, network: cidr.trunc() });
            }
            let (length, part) = match cidr {
                IpNet::V4(_) => (24u8, "/24 networks"),
                IpNet::V6(_) => (64, "/64 networks"),
            };
            let bits = length.checked_sub(cidr.prefix_len());
            let room = bits.map_or(0, |bits| 1u64 << bits.min(32));
            if room < u64::from(parts) {
                return Err(SpecError::TooSmall { option, cidr: *cidr, room, part, needed: parts });
            }
        }
        Ok(())
    }

    fn check_overlaps(&self) -> Result<(), SpecError> {
        let pods = self.pod_cidrs.iter().map(|net| ("--pod-cidr", *net));
        let nodes = self.node_cidrs.iter().map(|net| ("--node-cidr", *net));
        let services = self.service_cidrs.iter().map(|net| ("--service-cidr", *net));
        let outside = OUTSIDE
            .iter()
            .filter_map(|net| net.parse().ok())
            .map(|net: IpNet| ("the lab's outside network", net));
        let all: Vec<_> = pods.chain(nodes).chain(services).chain(outside).collect();
        for (at, (first_option, first)) in all.iter().enumerate() {
            for (second_option, second) in &all[at + 1..] {
                if first.contains(second) || second.contains(first) {
                    return Err(SpecError::Overlap {
                        first_option,
                        first: *first,
                        second_option,
                        second: *second,
                    });
                }
            }
        }
        Ok(())
    }
}

fn in_range(option: &'static str, value: u32, least: u32, most: u32) -> Result<(), SpecError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(SpecError::Range { option, value, least, most })
    }
}

fn is_image_entry(entry: &str) -> bool {
    entry.split_once('=').is_some_and(|(name, command)| !name.is_empty() && !command.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::new("lab".parse().unwrap())
    }

    #[test]
    fn the_lab_without_options_is_sound() {
        assert_eq!(spec().check(), Ok(()));
        let json = serde_json::to_string(&spec()).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec());
    }

    #[test]
    fn what_could_not_work_is_refused_by_name() {
        type Change = fn(&mut Spec);
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let cases: [(Change, &str); 16] = [
            (|s| s.zones = Some(0), "--zones 0: must be from 1 to 3"),
            (|s| s.zones = Some(4), "--zones 4: must be from 1 to 3"),
            (|s| s.nodes = 0, "--nodes 0: must be from 1 to 240"),
            (|s| s.nodes = 241, "--nodes 241"),
            (|s| s.subnets = 4, "--subnets 4: must be from 1 to 3"),
            (|s| s.mtu = Some(1279), "--mtu 1279: must be from 1280 to 1500"),
            (|s| s.mtu = Some(1501), "--mtu 1501"),
            (|s| s.underlay_mtu = 1200, "--underlay-mtu 1200"),
            (
                |s| (s.routing, s.subnets) = (Routing::Direct, 2),
                "--routing direct with --subnets 2",
            ),
            (|s| s.images.push("busybox".into()), "--image \"busybox\": must be NAME=COMMAND"),
            (
                |s| s.no_controllers.push("dns".into()),
                "--no-controller dns: there are cidrAllocator, cluster-dns, controllermanager",
            ),
            (|s| s.ip_family = IpFamily::Ipv4, "--pod-cidr: 1 ipv6 CIDRs, the lab needs 0"),
            (|s| s.node_cidrs.truncate(1), "--node-cidr: 0 ipv6 CIDRs, the lab needs 1"),
            (
                |s| s.pod_cidrs[0] = "10.80.0.0/14".parse().unwrap(),
                "--pod-cidr 10.80.0.0/14 overlaps --node-cidr 10.80.0.0/16",
            ),
            (
                |s| s.pod_cidrs[0] = "10.244.0.0/23".parse().unwrap(),
                "--pod-cidr 10.244.0.0/23: has room for 2 /24 networks, the lab needs 3",
            ),
            (
                |s| s.pod_cidrs[0] = "10.244.0.1/16".parse().unwrap(),
                "--pod-cidr 10.244.0.1/16: has bits set behind its prefix, the network is",
            ),
        ];
        for (change, message) in cases {
            let mut spec = spec();
            change(&mut spec);
            let error = spec.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
        }
        let mut outside = spec();
        outside.pod_cidrs[0] = net("203.0.112.0/22");
        assert!(outside.check().unwrap_err().to_string().contains("the lab's outside network"));
    }
}

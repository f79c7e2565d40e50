//! The sets and maps of Services: their names, and what they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Family, TrafficPolicy};
use plan::nft::{ChainName, DataType, Dynamic, Field, Set, SetName, Type};

use super::shape::Shape;
use crate::ruleset::by_family;

/// How many clients one map remembers, and how many marks are aside at once. A client beyond them is
/// served all the same, by chance.
const REMEMBERED: u32 = 1 << 18;

/// Longer than a packet takes through one chain.
const ASIDE: Duration = Duration::from_secs(1);

/// Where a frontend is, as far as its maps' keys go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// At an address of its own.
    Address,
    /// At every address of the node that has node ports.
    Node,
}

/// Which of a port's sets: [`TrafficPolicy`], in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Backends {
    /// Those of the cluster.
    Cluster,
    /// Those of this node.
    Local,
}

impl From<TrafficPolicy> for Backends {
    fn from(policy: TrafficPolicy) -> Self {
        match policy {
            TrafficPolicy::Cluster => Backends::Cluster,
            TrafficPolicy::Local => Backends::Local,
        }
    }
}

/// A map or set by what it is for. Its key begins with the frontend where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Map {
    /// Frontend → its chain.
    Frontends,
    /// Frontend and slot → backend.
    Slots(Backends),
    /// Frontend and slot → number of a backend, where clients are remembered.
    Choices(Backends),
    /// Frontend and number → backend.
    Members(Backends),
    /// Frontend → number of its port, which all frontends of the port share.
    Ports,
    /// Frontend and prefix: clients that are let in.
    Allowed,
    /// Client and number of a port → number of a backend, for so many seconds.
    Clients(u32),
    /// A packet's addresses and ports → the mark it came with.
    Aside,
    /// Cluster IPs.
    Ips,
    /// Addresses of load balancers and external IPs.
    Vips,
    /// Ranges of cluster IPs.
    Cidrs,
    /// Addresses of node ports.
    NodeAddrs,
}

/// Type of an address.
pub(super) fn addr_type(family: Family) -> Type {
    by_family(family, Type::Ipv4Addr, Type::Ipv6Addr)
}

/// The fields that a frontend is found by.
pub(super) fn frontend(place: Place, family: Family) -> Vec<Field> {
    let daddr = by_family(family, Field::Ip4Daddr, Field::Ip6Daddr);
    match place {
        Place::Address => vec![daddr, Field::L4proto, Field::Dport],
        Place::Node => vec![Field::L4proto, Field::Dport],
    }
}

/// The field of a packet's source.
pub(super) fn source(family: Family) -> Field {
    by_family(family, Field::Ip4Saddr, Field::Ip6Saddr)
}

/// The fields that tell one flow's packets from all others'.
pub(super) fn flow(family: Family) -> Vec<Field> {
    let daddr = by_family(family, Field::Ip4Daddr, Field::Ip6Daddr);
    vec![source(family), Field::L4proto, Field::Sport, daddr, Field::Dport]
}

impl Map {
    fn name(self, place: Place, family: Family) -> String {
        let of = |backends| match backends {
            Backends::Cluster => "cluster",
            Backends::Local => "local",
        };
        let name = match self {
            Map::Frontends => match place {
                Place::Address => "services".to_owned(),
                Place::Node => "node_ports".to_owned(),
            },
            Map::Slots(backends) => format!("{}_slots", of(backends)),
            Map::Choices(backends) => format!("{}_choices", of(backends)),
            Map::Members(backends) => format!("{}_members", of(backends)),
            Map::Ports => "service_port".to_owned(),
            Map::Allowed => "allowed_clients".to_owned(),
            Map::Clients(seconds) => format!("clients_{seconds}s_"),
            Map::Aside => "marks_aside".to_owned(),
            Map::Ips => "service_ips".to_owned(),
            Map::Vips => "external_ips".to_owned(),
            Map::Cidrs => "service_cidrs".to_owned(),
            Map::NodeAddrs => "node_port_addrs".to_owned(),
        };
        let node = if place == Place::Node && self.has_frontend() { "node_" } else { "" };
        format!("{node}{name}{}", by_family(family, 4, 6))
    }

    fn has_frontend(self) -> bool {
        match self {
            Map::Slots(_) | Map::Choices(_) | Map::Members(_) | Map::Ports | Map::Allowed => true,
            Map::Frontends
            | Map::Clients(_)
            | Map::Aside
            | Map::Ips
            | Map::Vips
            | Map::Cidrs
            | Map::NodeAddrs => false,
        }
    }

    /// Its declaration.
    pub(super) fn declared(self, place: Place, family: Family) -> Set {
        let addr = addr_type(family);
        let (proto, port) = (Type::InetProto, Type::InetService);
        let at = |more: &[Type]| {
            let frontend: &[Type] = match place {
                Place::Address => &[addr, proto, port],
                Place::Node => &[proto, port],
            };
            [frontend, more].concat()
        };
        let backend = DataType::Values(vec![addr, port]);
        let one = |kind| DataType::Values(vec![kind]);
        let dynamic = |timeout, set| Set {
            size: Some(REMEMBERED),
            dynamic: Some(Dynamic { timeout }),
            ..set
        };
        let map =
            |key, data| Set { key, data: Some(data), interval: false, size: None, dynamic: None };
        let set = |key, interval| Set { key, data: None, interval, size: None, dynamic: None };
        match self {
            Map::Frontends => map(at(&[]), DataType::Verdict),
            Map::Slots(_) => map(at(&[Type::Mark]), backend),
            Map::Choices(_) => map(at(&[Type::Mark]), one(Type::ClassId)),
            Map::Members(_) => map(at(&[Type::ClassId]), backend),
            Map::Ports => map(at(&[]), one(Type::Mark)),
            Map::Allowed => set(at(&[addr]), true),
            Map::Clients(seconds) => {
                let timeout = Duration::from_secs(seconds.into());
                let clients = map(vec![addr, Type::Mark], one(Type::ClassId));
                dynamic(timeout, clients)
            }
            Map::Aside => {
                let marks = map(vec![addr, proto, port, addr, port], one(Type::Mark));
                dynamic(ASIDE, marks)
            }
            Map::Ips | Map::Vips | Map::NodeAddrs => set(vec![addr], false),
            Map::Cidrs => set(vec![addr], true),
        }
    }
}

/// Names that have been asked for, so that elements share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    known: BTreeMap<(Map, Place, Family), SetName>,
    chains: BTreeMap<Shape, ChainName>,
}

impl Names {
    /// The name of the chain of `shape`.
    pub(super) fn chain(&mut self, shape: &Shape) -> ChainName {
        self.chains.entry(*shape).or_insert_with(|| shape.chain()).clone()
    }

    /// The name of `map`.
    pub(super) fn of(&mut self, map: Map, place: Place, family: Family) -> SetName {
        let place =
            if map.has_frontend() || map == Map::Frontends { place } else { Place::Address };
        let make = || SetName(map.name(place, family).into());
        self.known.entry((map, place, family)).or_insert_with(make).clone()
    }
}

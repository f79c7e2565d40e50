//! The underlay of a lab, as pure numbers: which hosts there are, how cables join them, who has
//! which address and route.
//!
//! ```text
//!   client ───────┐             ┌─────── internet
//!   198.51.100.10 │   router    │        203.0.113.10
//!                 ├─────────────┤
//!   control ──────┘  .1  .1  .1 └─ 10.80.1.0/24 ── switch ── node-1 10.80.1.11, node-3 10.80.1.13
//!   10.80.0.2             └─────── 10.80.2.0/24 ── switch ── node-2 10.80.2.12
//! ```
//!
//! The router knows no pod route, and the internet host knows the way to the nodes only: a packet
//! with a pod's address on the underlay goes nowhere, as on most real networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, IfName};

use crate::spec::{MAX_NODES, Spec, part};

/// Where something of the lab is: one network namespace each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One bridge per subnet.
    Switch,
    /// Forwards between all networks.
    Router,
    /// Where the API server listens for nodes.
    Control,
    /// A host outside the cluster that uses it.
    Client,
    /// A host outside the cluster that the cluster uses.
    Internet,
    /// A node, by its number.
    Node(u32),
}

/// A veth pair between two places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cable {
    /// Both ends; the second is the one at the switch, or at the router where the switch has none.
    pub ends: [End; 2],
    /// MTU of both ends, in bytes.
    pub mtu: u32,
}

impl Cable {
    /// What people call it: the node or host it leads to, or the subnet it joins to the router.
    pub fn name(&self) -> String {
        let [near, _] = &self.ends;
        match near.place {
            Place::Router => near.link.to_string(),
            Place::Switch | Place::Control | Place::Client | Place::Internet | Place::Node(_) => {
                near.place.to_string()
            }
        }
    }
}

/// One end of a cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where it is.
    pub place: Place,
    /// Its name there.
    pub link: IfName,
    /// What it is joined to.
    pub joins: Joins,
}

/// What an end of a cable is joined to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joins {
    /// A bridge of the same place.
    Bridge(IfName),
    /// The host itself, with these addresses.
    Host(Vec<IpNet>),
}

/// A route of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// Whose route it is.
    pub place: Place,
    /// Destination.
    pub to: IpNet,
    /// Next hop, on a subnet of the host.
    pub gateway: IpAddr,
    /// The link that leads to the next hop.
    pub link: IfName,
}

/// Cables and routes that are made together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wiring {
    /// Cables.
    pub cables: Vec<Cable>,
    /// Routes, to be made once the cables are up.
    pub routes: Vec<Via>,
}

/// Address of the API server on the control network, one per family, primary first.
pub fn api_addrs(spec: &Spec) -> Vec<IpAddr> {
    let control = |family: &Family| host(subnet(spec, *family, 0)?, 2);
    spec.ip_family.families().iter().filter_map(control).map(|net| net.addr()).collect()
}

/// Name of node `number`, also its host name.
pub fn node_name(number: u32) -> String {
    format!("node-{number}")
}

/// Number of the node with this name.
pub fn node_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix("node-")?.parse().ok()?;
    (node_name(number) == name).then_some(number)
}

/// Zone of node `number`, from 1, if the lab has zones: nodes are dealt to them in turn.
pub fn zone_of(spec: &Spec, number: u32) -> Option<u32> {
    spec.zones.map(|zones| number.saturating_sub(1) % zones + 1)
}

/// Addresses of node `number`, one per family, primary first.
///
/// Nodes are dealt to the subnets in turn; a node's address ends in 10 more than its number,
/// whatever its subnet, so that one can be read off the other.
pub fn node_addrs(spec: &Spec, number: u32) -> Vec<IpNet> {
    let index = subnet_of(spec, number);
    let addr = |family: &Family| host(subnet(spec, *family, index)?, 10 + number);
    spec.ip_family.families().iter().filter_map(addr).collect()
}

/// Addresses of the router on the subnet of node `number`, one per family, primary first.
pub fn router_addrs(spec: &Spec, number: u32) -> Vec<IpAddr> {
    let nets = subnets(spec, subnet_of(spec, number));
    nets.filter_map(|net| host(net, 1)).map(|net| net.addr()).collect()
}

/// Address of the host outside at `place`, for the families of the lab.
pub fn outside_addrs(spec: &Spec, place: Place) -> Vec<IpAddr> {
    let nets = outside_nets(spec, place);
    nets.into_iter().filter_map(|net| host(net, 10)).map(|net| net.addr()).collect()
}

/// The cable of this name, if a lab like `spec` can have one.
pub fn cable_named(spec: &Spec, name: &str) -> Option<Cable> {
    let wiring = match node_number(name) {
        Some(number) if (1..=MAX_NODES).contains(&number) => node(spec, number),
        Some(_) => return None,
        None => fixed(spec),
    };
    wiring.cables.into_iter().find(|cable| cable.name() == name)
}

/// Names of the switch's bridges, one per subnet.
pub fn bridges(spec: &Spec) -> Vec<IfName> {
    (1..=spec.subnets).map(bridge).collect()
}

/// Everything but the nodes.
pub fn fixed(spec: &Spec) -> Wiring {
    let mut wiring = Wiring { cables: Vec::new(), routes: Vec::new() };
    for index in 1..=spec.subnets {
        let routers = subnets(spec, index).filter_map(|net| host(net, 1)).collect();
        wiring.cables.push(cable(
            spec,
            (Place::Router, name(format!("subnet{index}")), Joins::Host(routers)),
            (
                Place::Switch,
                name("router".to_owned() + &index.to_string()),
                Joins::Bridge(bridge(index)),
            ),
        ));
    }
    let control: Vec<_> = subnets(spec, 0).collect();
    wiring.join_router(spec, Place::Control, "control", &control, 2, &default_routes(spec));
    for (place, link) in [(Place::Client, "client"), (Place::Internet, "internet")] {
        let nets = outside_nets(spec, place);
        let other = if place == Place::Client { Place::Internet } else { Place::Client };
        let mut known = spec.node_cidrs.clone();
        known.extend(outside_nets(spec, other));
        wiring.join_router(spec, place, link, &nets, 10, &known);
    }
    wiring
}

/// What joins node `number` to the underlay.
pub fn node(spec: &Spec, number: u32) -> Wiring {
    let index = subnet_of(spec, number);
    let port = Joins::Bridge(bridge(index));
    let cable = cable(
        spec,
        (Place::Node(number), name("eth0".to_owned()), Joins::Host(node_addrs(spec, number))),
        (Place::Switch, name(format!("node{number}")), port),
    );
    let nets: Vec<_> = subnets(spec, index).collect();
    let routes = routes_via(Place::Node(number), &nets, &default_routes(spec));
    Wiring { cables: vec![cable], routes }
}

impl Wiring {
    /// Joins `place` to the router over a cable of its own: the router is `.1` of each of `nets`, the
    /// place is `.number`, and reaches `known` through the router.
    fn join_router(
        &mut self,
        spec: &Spec,
        place: Place,
        link: &str,
        nets: &[IpNet],
        number: u32,
        known: &[IpNet],
    ) {
        let at = |number| Joins::Host(nets.iter().filter_map(|net| host(*net, number)).collect());
        self.cables.push(cable(
            spec,
            (place, name("eth0".to_owned()), at(number)),
            (Place::Router, name(link.to_owned()), at(1)),
        ));
        self.routes.extend(routes_via(place, nets, known));
    }
}

/// Routes of `place` to each of `known` through the router, `.1` of the one of `nets` in its family.
fn routes_via(place: Place, nets: &[IpNet], known: &[IpNet]) -> Vec<Via> {
    let route = |to: &IpNet| {
        let net = Spec::of_family(nets, Family::of(to.addr()))?;
        let gateway = host(net, 1)?.addr();
        Some(Via { place, to: *to, gateway, link: name("eth0".to_owned()) })
    };
    known.iter().filter_map(route).collect()
}

fn default_routes(spec: &Spec) -> Vec<IpNet> {
    let families = spec.ip_family.families().iter();
    families
        .map(|family| match family {
            Family::V4 => IpNet::new_assert([0; 4].into(), 0),
            Family::V6 => IpNet::new_assert([0u16; 8].into(), 0),
        })
        .collect()
}

fn cable(spec: &Spec, a: (Place, IfName, Joins), b: (Place, IfName, Joins)) -> Cable {
    let end = |(place, link, joins)| End { place, link, joins };
    Cable { ends: [end(a), end(b)], mtu: spec.underlay_mtu }
}

fn subnet_of(spec: &Spec, number: u32) -> u32 {
    (number.saturating_sub(1) % spec.subnets) + 1
}

fn subnet(spec: &Spec, family: Family, index: u32) -> Option<IpNet> {
    part(Spec::of_family(&spec.node_cidrs, family)?, index)
}

fn subnets(spec: &Spec, index: u32) -> impl Iterator<Item = IpNet> + '_ {
    spec.ip_family.families().iter().filter_map(move |family| subnet(spec, *family, index))
}

fn outside_nets(spec: &Spec, place: Place) -> Vec<IpNet> {
    let (v4, v6) = match place {
        Place::Internet => ([203, 0, 113, 0], [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0]),
        Place::Client => ([198, 51, 100, 0], [0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 0]),
        Place::Switch | Place::Router | Place::Control | Place::Node(_) => return Vec::new(),
    };
    let families = spec.ip_family.families().iter();
    families
        .map(|family| match family {
            Family::V4 => IpNet::new_assert(v4.into(), 24),
            Family::V6 => IpNet::new_assert(v6.into(), 64),
        })
        .collect()
}

/// Address number `number` of `net`, with the prefix of `net`. Addresses end in the digits of their
/// decimal number in both families: number 13 is `.13` and `::13`.
fn host(net: IpNet, number: u32) -> Option<IpNet> {
    let addr: IpAddr = match net {
        IpNet::V4(net) => IpAddr::V4(u32::from(net.network()).checked_add(number)?.into()),
        IpNet::V6(net) => {
            let digits = u128::from_str_radix(&number.to_string(), 16).ok()?;
            IpAddr::V6((u128::from(net.network()) | digits).into())
        }
    };
    IpNet::new(addr, net.prefix_len()).ok()
}

fn bridge(index: u32) -> IfName {
    name(format!("subnet{index}"))
}

fn name(text: String) -> IfName {
    IfName::new(text).expect("a word and a number below 1000 make a link name")
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Switch => f.write_str("switch"),
            Place::Router => f.write_str("router"),
            Place::Control => f.write_str("control"),
            Place::Client => f.write_str("client"),
            Place::Internet => f.write_str("internet"),
            Place::Node(number) => f.write_str(&node_name(*number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::IpFamily;

    fn spec(nodes: u32, subnets: u32, ip_family: &str) -> Spec {
        let ip_family: IpFamily = ip_family.parse().unwrap();
        let spec = Spec::new("lab".parse().unwrap());
        let empty = Spec { pod_cidrs: Vec::new(), node_cidrs: Vec::new(), ..spec };
        Spec { nodes, subnets, ip_family, ..empty }.with_default_cidrs()
    }

    #[test]
    fn node_addresses_can_be_read_off_their_numbers() {
        let cases = [
            (1, 1, "dual", "10.80.1.11/24 fd00:80:1::11/64"),
            (1, 3, "ipv4", "10.80.1.13/24"),
            (2, 1, "ipv4", "10.80.1.11/24"),
            (2, 2, "ipv4", "10.80.2.12/24"),
            (2, 3, "ipv6", "fd00:80:1::13/64"),
            (3, 240, "ipv4", "10.80.3.250/24"),
        ];
        for (subnets, number, family, expect) in cases {
            let addrs = node_addrs(&spec(240, subnets, family), number);
            let text: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            assert_eq!(text.join(" "), expect);
        }
    }

    #[test]
    fn node_names_and_numbers_belong_together() {
        for (name, number) in
            [("node-7", Some(7)), ("node-07", None), ("node-", None), ("host-1", None)]
        {
            assert_eq!(node_number(name), number, "{name}");
        }
    }

    #[test]
    fn no_address_and_no_link_name_is_given_twice() {
        for (nodes, subnets, family) in [(1, 1, "ipv4"), (12, 3, "dual"), (240, 64, "ipv6")] {
            let spec = spec(nodes, subnets, family);
            let (mut addrs, mut links) = (BTreeSet::new(), BTreeSet::new());
            let wirings = (1..=nodes).map(|n| node(&spec, n)).chain([fixed(&spec)]);
            for end in wirings.flat_map(|w| w.cables).flat_map(|cable| cable.ends) {
                assert!(links.insert((end.place, end.link.clone())), "{end:?}");
                let Joins::Host(own) = end.joins else { continue };
                assert!(!own.is_empty());
                for net in own {
                    assert!(addrs.insert(net.addr()), "{net}");
                }
            }
        }
    }

    #[test]
    fn the_router_knows_no_pod_and_the_internet_only_nodes_and_client() {
        let spec = spec(3, 2, "dual");
        let routes = fixed(&spec).routes;
        assert!(routes.iter().all(|via| via.place != Place::Router));
        let known: Vec<_> = routes
            .iter()
            .filter(|via| via.place == Place::Internet)
            .map(|via| format!("{} via {}", via.to, via.gateway))
            .collect();
        let expect = [
            "10.80.0.0/16 via 203.0.113.1",
            "fd00:80::/32 via 2001:db8:1::1",
            "198.51.100.0/24 via 203.0.113.1",
            "2001:db8:c::/64 via 2001:db8:1::1",
        ];
        assert_eq!(known, expect);
    }
}

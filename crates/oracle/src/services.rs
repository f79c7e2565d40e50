//! What should happen to the first packet of a flow to a Service, at the node it reaches first.
//!
//! Written from the Service and EndpointSlice APIs and KEP-1669, KEP-1672, KEP-1860, KEP-1880,
//! KEP-2086, KEP-2433, KEP-2447, KEP-3015 and KEP-5707, packet by packet and with nothing remembered:
//! every question looks at every object.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{
    Endpoint, Family, NodeName, NodePortAddrs, Protocol, Service, ServiceKind, ServiceName,
    ServicePort, TrafficPolicy, World,
};

/// Who sends the packet, as seen from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// A pod of the node.
    Pod,
    /// A process of the node.
    Process,
    /// Anybody else, pods of other nodes included.
    Elsewhere,
}

/// What should become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is not for a Service that this node serves.
    NotForAService,
    /// It goes to any of these, each as likely as the others.
    Forward {
        /// Address and port of each endpoint.
        to: BTreeSet<(IpAddr, u16)>,
        /// Whose address the endpoint sees, hairpins aside.
        source: Seen,
        /// What the client is remembered by, where it should have the endpoint that it had (S-54).
        affinity: Option<Remembered>,
    },
    /// The client learns at once that nobody is there.
    Refused,
    /// Nobody answers.
    Dropped,
    /// Two Services want the same frontend, and no specification says who has it.
    Unsaid,
}

/// What session affinity is kept by: a client and a port of a Service, whichever way it comes in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remembered {
    /// The client's address, before anybody rewrites it; its port does not count.
    pub client: IpAddr,
    /// The Service.
    pub service: ServiceName,
    /// Name of its port.
    pub port: Arc<str>,
    /// The port's protocol.
    pub protocol: Protocol,
}

/// Whose address an endpoint sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// The client's.
    Client,
    /// The node's.
    Node,
    /// Either will do.
    Either,
}

/// One way into a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cluster,
    NodePort,
    LoadBalancer,
    External,
}

/// What should become of a packet from `src` to `dst`, at the node `me`.
pub fn answer(
    world: &World,
    me: &NodeName,
    (client, src): (Client, IpAddr),
    (dst, protocol, port): (IpAddr, Protocol, u16),
) -> Answer {
    let mut found: Vec<(&Service, &ServicePort, Way)> = Vec::new();
    for service in world.services.values().map(|service| &**service).filter(|s| is_served(s)) {
        for at in &service.ports {
            let ways = ways(world, me, service, at, dst, port).into_iter();
            found.extend(ways.filter(|_| at.protocol == protocol).map(|way| (service, at, way)));
        }
    }
    // A cluster IP is its Service's own (T02), and one address' own port before every address' port.
    for way in [Way::Cluster, Way::LoadBalancer, Way::External, Way::NodePort] {
        let of_way: Vec<_> = found.iter().filter(|(_, _, found)| *found == way).collect();
        let external = matches!(way, Way::LoadBalancer | Way::External);
        let rivals: BTreeSet<&ServiceName> = match external {
            true => {
                found.iter().filter(|(_, _, w)| *w != Way::NodePort).map(|f| &f.0.name).collect()
            }
            false => of_way.iter().map(|found| &found.0.name).collect(),
        };
        let Some((service, at, way)) = of_way.first() else { continue };
        if rivals.len() > 1 {
            return Answer::Unsaid;
        }
        return through(world, me, (service, at, *way), (client, src), Family::of(dst));
    }
    unclaimed(world, me, client, dst)
}

/// What no frontend answers to: a cluster IP's other ports are refused, what no Service has of the
/// ranges of cluster IPs is dropped (S-41), and what strangers send to other ports of addresses that
/// the network leads here, and nobody here has, does not go back to them (T22).
fn unclaimed(world: &World, me: &NodeName, client: Client, dst: IpAddr) -> Answer {
    let mut served = world.services.values().filter(|service| is_served(service));
    if served.any(|service| !service.ports.is_empty() && service.cluster_ips.contains(&dst)) {
        return Answer::Refused;
    }
    let mut ranges = world.service_cidrs.values().flat_map(|row| &row.cidrs);
    let is_dropped = ranges.any(|net| net.contains(&dst))
        || client == Client::Elsewhere && leads_here(world, me, dst);
    if is_dropped { Answer::Dropped } else { Answer::NotForAService }
}

/// Whether `dst` is an address that some Service has from outside of the cluster, and no machine has.
fn leads_here(world: &World, me: &NodeName, dst: IpAddr) -> bool {
    let is_a_nodes = world.nodes.values().any(|node| node.internal_ips.contains(&dst))
        || world.host.addrs().any(|net| net.addr() == dst);
    let mut served = world.services.values().filter(|service| is_served(service));
    !is_a_nodes
        && served.any(|service| {
            service.ports.iter().any(|at| {
                let ways = ways(world, me, service, at, dst, at.port);
                ways.iter().any(|way| matches!(way, Way::LoadBalancer | Way::External))
            })
        })
}

fn is_served(service: &Service) -> bool {
    service.proxy.as_ref().is_none_or(|proxy| proxy == "seaway")
        && service.kind != ServiceKind::ExternalName
}

/// The ways by which `dst` and `port` lead into `at` of `service`.
fn ways(
    world: &World,
    me: &NodeName,
    service: &Service,
    at: &ServicePort,
    dst: IpAddr,
    port: u16,
) -> Vec<Way> {
    let family = Family::of(dst);
    if !service.cluster_ips.iter().any(|ip| Family::of(*ip) == family) {
        return Vec::new();
    }
    let mut ways = Vec::new();
    if at.port == port && service.cluster_ips.contains(&dst) {
        ways.push(Way::Cluster);
    }
    if at.node_port == Some(port) && is_node_port_address(world, me, dst) {
        ways.push(Way::NodePort);
    }
    let is_of_cluster = || {
        let pods = world.nodes.values().flat_map(|node| &node.pod_cidrs);
        let services = world.service_cidrs.values().flat_map(|row| &row.cidrs);
        pods.chain(services).any(|net| net.contains(&dst))
    };
    let is_takeable = || is_one_host(dst) && !is_of_cluster();
    if at.port == port && service.load_balancer_ips.contains(&dst) && is_takeable() {
        ways.push(Way::LoadBalancer);
    }
    let is_nodes = || world.nodes.values().any(|node| node.internal_ips.contains(&dst));
    let allowed = world.config.external_ips.iter().any(|net| net.contains(&dst));
    if at.port == port
        && service.external_ips.contains(&dst)
        && allowed
        && is_takeable()
        && !is_nodes()
    {
        ways.push(Way::External);
    }
    ways
}

/// Where the settings say, if the machine has it: at the Node's first InternalIP of the family, at all
/// its addresses, or at those inside of a prefix; never at loopback.
fn is_node_port_address(world: &World, me: &NodeName, dst: IpAddr) -> bool {
    let is_carried = |addr: IpAddr| world.host.addrs().any(|net| net.addr() == addr);
    let node = world.nodes.get(me);
    let mut carried = node
        .into_iter()
        .flat_map(|node| &node.internal_ips)
        .filter(|ip| Family::of(**ip) == Family::of(dst) && is_carried(**ip));
    let primary = carried.next();
    let named = world.config.node_port_addrs.iter().any(|setting| match setting {
        NodePortAddrs::Primary => primary == Some(&dst),
        NodePortAddrs::All => true,
        NodePortAddrs::Cidr(net) => net.contains(&dst),
    });
    named && is_carried(dst) && !dst.is_loopback()
}

/// What becomes of a packet that comes into a Service by `way`.
fn through(
    world: &World,
    me: &NodeName,
    (service, at, way): (&Service, &ServicePort, Way),
    (client, src): (Client, IpAddr),
    family: Family,
) -> Answer {
    if way == Way::LoadBalancer && !is_let_in(world, me, service, src) {
        return Answer::Dropped;
    }
    let endpoints = endpoints(world, me, service, at, family);
    let anywhere = everywhere(world, me, &endpoints);
    let is_internal = way == Way::Cluster;
    let policy = match (is_internal, client) {
        (true, _) => service.internal_policy,
        (false, Client::Elsewhere) => service.external_policy,
        (false, Client::Pod | Client::Process) => TrafficPolicy::Cluster,
    };
    let to = match policy {
        TrafficPolicy::Cluster => anywhere.clone(),
        TrafficPolicy::Local => here(me, &endpoints),
    };
    if to.is_empty() {
        return if anywhere.is_empty() { Answer::Refused } else { Answer::Dropped };
    }
    let source = match (is_internal, client) {
        (true, Client::Pod | Client::Process) if world.config.masquerade_all => Seen::Node,
        (true, Client::Pod) | (false, Client::Pod) => Seen::Client,
        (true, Client::Process) => Seen::Client,
        (true, Client::Elsewhere) | (false, Client::Process) => Seen::Node,
        (false, Client::Elsewhere) => match policy {
            TrafficPolicy::Cluster => Seen::Either,
            TrafficPolicy::Local => Seen::Client,
        },
    };
    let affinity = service.affinity.is_some().then(|| Remembered {
        client: src,
        service: service.name.clone(),
        port: Arc::clone(&at.name),
        protocol: at.protocol,
    });
    Answer::Forward { to, source, affinity }
}

/// `loadBalancerSourceRanges`: of the packet's family, or none at all.
fn is_let_in(world: &World, me: &NodeName, service: &Service, src: IpAddr) -> bool {
    let of_family = |addr: IpAddr| Family::of(addr) == Family::of(src);
    let ranges = service.source_ranges.iter().filter(|net| of_family(net.addr()));
    if ranges.clone().next().is_none() || ranges.clone().any(|net| net.contains(&src)) {
        return true;
    }
    let node = world.nodes.get(me);
    let mut own = node.into_iter().flat_map(|node| &node.internal_ips);
    let is_in_range = own.any(|ip| ranges.clone().any(|net| net.contains(ip)));
    is_in_range && service.load_balancer_ips.contains(&src)
}

type Endpoints<'a> = BTreeMap<(IpAddr, u16), &'a Endpoint>;

/// Every endpoint of a port, once. Of several copies one that does not terminate counts, then the one
/// on this node, then the first slice's. Nothing is sent to addresses that mean something else on
/// every node (CVE-2021-25737), nor back to the node's own server of DNS: a packet to the Service is one
/// that it did not take.
fn endpoints<'a>(
    world: &'a World,
    me: &NodeName,
    service: &Service,
    at: &ServicePort,
    family: Family,
) -> Endpoints<'a> {
    let mut found: Endpoints<'a> = BTreeMap::new();
    let rank = |e: &Endpoint| (!e.conditions.terminating, e.node.as_ref() == Some(me));
    for slice in world
        .slices
        .values()
        .filter(|slice| slice.key.service == service.name && !slice.is_headless)
    {
        let named = slice.ports.iter().filter(|p| p.name == at.name && p.protocol == at.protocol);
        for port in named.filter(|_| slice.family == family) {
            let is_there = |e: &&Endpoint| {
                is_one_host(e.addr) && !is_asker(world, me, service, (e.addr, port.port))
            };
            for endpoint in slice.endpoints.iter().filter(is_there) {
                let known = found.entry((endpoint.addr, port.port)).or_insert(endpoint);
                if rank(endpoint) > rank(known) {
                    *known = endpoint;
                }
            }
        }
    }
    found
}

/// Whether the node asks itself there.
fn is_asker(world: &World, me: &NodeName, service: &Service, (addr, port): (IpAddr, u16)) -> bool {
    let dns = &world.config.dns;
    let is_dns = dns.is_served && dns.service == service.name && dns.node_port == port;
    is_dns && world.nodes.get(me).is_some_and(|node| node.internal_ips.contains(&addr))
}

fn is_one_host(addr: IpAddr) -> bool {
    let of_link = match addr {
        IpAddr::V4(addr) => addr.is_link_local() || addr.is_broadcast(),
        IpAddr::V6(addr) => addr.is_unicast_link_local() || addr.to_ipv4_mapped().is_some(),
    };
    !(of_link || addr.is_loopback() || addr.is_unspecified() || addr.is_multicast())
}

/// Policy Cluster.
fn everywhere(world: &World, me: &NodeName, all: &Endpoints<'_>) -> BTreeSet<(IpAddr, u16)> {
    let ready: Endpoints<'_> = pick(all, |e| e.conditions.ready);
    if ready.is_empty() {
        return pick(all, |e| e.conditions.serving && e.conditions.terminating)
            .into_keys()
            .collect();
    }
    let nodes = |e: &Endpoint| e.hints.as_ref().map(|h| h.nodes.clone()).unwrap_or_default();
    let zones = |e: &Endpoint| e.hints.as_ref().map(|h| h.zones.clone()).unwrap_or_default();
    let zone = world.nodes.get(me).and_then(|node| node.zone.clone());
    let for_node = pick(&ready, |e| nodes(e).contains(me));
    if ready.values().all(|e| !nodes(e).is_empty()) && !for_node.is_empty() {
        return for_node.into_keys().collect();
    }
    let for_zone = pick(&ready, |e| zone.as_ref().is_some_and(|zone| zones(e).contains(zone)));
    if ready.values().all(|e| !zones(e).is_empty()) && !for_zone.is_empty() {
        return for_zone.into_keys().collect();
    }
    ready.into_keys().collect()
}

/// Policy Local.
fn here(me: &NodeName, all: &Endpoints<'_>) -> BTreeSet<(IpAddr, u16)> {
    let own = pick(all, |e| e.node.as_ref() == Some(me));
    let ready = pick(&own, |e| e.conditions.ready);
    if !ready.is_empty() {
        return ready.into_keys().collect();
    }
    pick(&own, |e| e.conditions.serving && e.conditions.terminating).into_keys().collect()
}

fn pick<'a>(from: &Endpoints<'a>, which: impl Fn(&Endpoint) -> bool) -> Endpoints<'a> {
    let chosen = from.iter().filter(|(_, endpoint)| which(endpoint));
    chosen.map(|(place, endpoint)| (*place, *endpoint)).collect()
}

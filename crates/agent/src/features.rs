//! Whether this machine's kernel takes every kind of rule that Services, DNS and policies need.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use compile::policy::{Around, PolicyTable, lower};
use compile::{Scope, compile};
use kernel::netns::Netns;
use kernel::nft::{Nft, Owned};
use model::{
    Conditions, DNS_PORT, Dns, Endpoint, EndpointPort, EndpointSlice, Family, Node, NodeName,
    Protocol, Service, ServiceCidr, ServiceKind, ServiceName, ServicePort, SliceKey, TrafficPolicy,
    World, chain,
};
use plan::nft::{Key, Row};
use plan::{Listener, Table, converge};

/// A kind of rules, and why the kernel does not take it, if it does not.
#[derive(Debug)]
pub struct Feature {
    /// What it is, with the words of nft.
    pub name: &'static str,
    /// Why not.
    pub outcome: Result<(), String>,
}

/// What makes a Service need it.
type Change = fn(&mut Service);

/// Tries each kind in a network namespace that is gone afterwards. Needs root.
pub fn features() -> Vec<Feature> {
    let cases: [(&str, Change); 3] = [
        ("maps with concatenated keys, numgen, dnat, reject", |_| {}),
        ("maps that packets write (session affinity)", |service| {
            service.affinity = Some(Duration::from_secs(60));
        }),
        ("prefixes in concatenations (loadBalancerSourceRanges)", |service| {
            service.source_ranges =
                ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().expect("a prefix")).into();
        }),
    ];
    let services = cases.into_iter().map(|(name, change)| Feature { name, outcome: works(change) });
    let dns = Feature { name: "a rate for each client (DNS)", outcome: bounds_clients() };
    let log =
        Feature { name: "log to a group (the names of dropped packets)", outcome: shows_drops() };
    services.chain([dns, log]).collect()
}

/// Whether the kernel takes the rules that show what policies drop.
pub(crate) fn shows_drops() -> Result<(), String> {
    let table = PolicyTable { has_policies: true, ..PolicyTable::default() };
    let (pods, node) = Default::default();
    let around = Around { pods, node, has_log: true, dns: None };
    takes(&lower(&table, &around, NonZero::<u8>::MIN))
}

/// Whether the kernel takes the rules that DNS is reached by.
fn bounds_clients() -> Result<(), String> {
    let place = Listener::Local(SocketAddr::from((Ipv4Addr::LOCALHOST, DNS_PORT)));
    let rows = compile::dns::untracked([&place], Dns::default().client_rate);
    let program = || Owned::open()?.put(&rows);
    let netns = Netns::fresh().map_err(|error| chain(&error))?;
    let put = netns.run(program).map_err(|error| chain(&error))?;
    put.map(drop).map_err(|error| chain(&error))
}

/// Whether the kernel takes the rules of a Service with this `change`.
fn works(change: Change) -> Result<(), String> {
    takes(&compile(&world(change), &Scope::Node(NodeName::from("node"))).plan.nft)
}

fn takes(rows: &Table<Key, Row>) -> Result<(), String> {
    let program = || -> Result<(), String> {
        let mut nft = Nft::open().map_err(|error| chain(&error))?;
        let (_, failures) = converge(&mut nft, rows).map_err(|error| chain(&error))?;
        match failures.first() {
            None => Ok(()),
            Some(failure) => Err(format!("{}: {}", failure.attempt, chain(&*failure.cause))),
        }
    };
    let netns = Netns::fresh().map_err(|error| chain(&error))?;
    netns.run(program).map_err(|error| chain(&error))?
}

/// A node with one Service of both families that has an endpoint, and one that has none.
fn world(change: Change) -> World {
    let node = Node::new(NodeName::from("node"));
    let cidrs = ["10.96.0.0/16", "fd00:96::/112"].map(|net| net.parse().expect("a prefix"));
    let cidr = ServiceCidr { name: "kubernetes".into(), cidrs: cidrs.into() };
    let mut world = World::default();
    world.config.node = node.name.clone();
    world.nodes.insert(node.name.clone(), Arc::new(node));
    world.service_cidrs.insert(cidr.name.clone(), Arc::new(cidr));
    for (name, last) in [("served", 1), ("empty", 2)] {
        let mut service = service(name, last);
        change(&mut service);
        world.services.insert(service.name.clone(), Arc::new(service));
    }
    for family in Family::ALL {
        let slice = slice(family);
        world.slices.insert(slice.key.clone(), Arc::new(slice));
    }
    world
}

fn addr(family: Family, v4: &str, v6: &str) -> IpAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    text.parse().expect("an address")
}

fn service(name: &str, last: u8) -> Service {
    let at = |v4: &str, v6: &str| {
        Family::ALL
            .map(|family| addr(family, &format!("{v4}{last}"), &format!("{v6}{last}")))
            .into()
    };
    let port = ServicePort {
        name: "".into(),
        protocol: Protocol::Tcp,
        port: 80,
        node_port: Some(30_080 + u16::from(last)),
    };
    Service {
        name: ServiceName::new("check", name),
        proxy: None,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: at("10.96.0.", "fd00:96::"),
        is_headless: false,
        external_name: None,
        publishes_not_ready: false,
        ports: vec![port],
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        affinity: None,
        external_ips: Vec::new(),
        load_balancer_ips: at("203.0.113.", "2001:db8::"),
        source_ranges: Vec::new(),
        created: None,
        health_check_node_port: None,
    }
}

fn slice(family: Family) -> EndpointSlice {
    let conditions = Conditions { ready: true, serving: true, terminating: false };
    let endpoint = Endpoint {
        addr: addr(family, "10.244.0.2", "fd00:244::2"),
        node: Some(NodeName::from("node")),
        conditions,
        hints: None,
        hostname: None,
        pod: None,
    };
    EndpointSlice {
        key: SliceKey {
            service: ServiceName::new("check", "served"),
            slice: family.to_string().into(),
        },
        family,
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![endpoint],
        triggered: None,
        is_headless: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_service_is_a_change_of_the_rules() {
        let rows = |change| compile(&world(change), &Scope::Node(NodeName::from("node"))).plan.nft;
        let plain = rows(|_| {});
        assert!(plain.len() > 20, "{}", plain.len());
        let affinity = rows(|service| service.affinity = Some(Duration::from_secs(60)));
        let ranges = rows(|service| service.source_ranges = vec!["192.0.2.0/24".parse().unwrap()]);
        assert!(plain != affinity && plain != ranges);
    }
}

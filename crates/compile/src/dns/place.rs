//! Where a node answers.

use std::net::SocketAddr;

use ipnet::IpNet;
use model::{DNS_PORT, Family, IfName, NodeName, World};
use plan::{LOOPBACK, Listener, Plan, Route, RouteKey, RouteTable};

/// The node's own addresses, where pods, nodes and whom the settings name are answered.
pub(crate) fn node(world: &World, me: &NodeName, plan: &mut Plan) {
    let dns = &world.config.dns;
    let Some(node) = world.nodes.get(me).filter(|_| dns.is_served) else { return };
    let own = node.internal_ips.iter().filter(|ip| world.host.uplink_of(**ip).is_some());
    for ip in own {
        plan.listeners.insert(Listener::Node(SocketAddr::new(*ip, dns.node_port)), ());
    }
    let pods = world.nodes.values().flat_map(|node| node.pod_cidrs.iter().copied());
    let nodes = world.nodes.values().flat_map(|node| node.internal_ips.iter().copied());
    let named = dns.clients.iter().map(IpNet::trunc);
    for net in pods.chain(nodes.map(IpNet::from)).chain(named) {
        plan.listeners.insert(Listener::Client(net), ());
    }
}

/// The addresses that every node has for itself. Each is delivered here unless the machine carries it
/// anyway. The node's own clients ask from the node's address, so that another node can answer them.
pub(crate) fn everywhere(world: &World, me: &NodeName, plan: &mut Plan) {
    for addr in world.dns_addrs() {
        plan.listeners.insert(Listener::Local(SocketAddr::new(addr, DNS_PORT)), ());
        if world.host.uplink_of(addr).is_some() {
            continue;
        }
        let key = RouteKey { table: RouteTable::Local, dst: addr.into() };
        let src = world.own_source(me, Family::of(addr));
        let dev = Some(IfName::new(LOOPBACK).expect("two letters"));
        plan.routes.insert(key, Route { via: None, dev, onlink: false, src });
    }
}

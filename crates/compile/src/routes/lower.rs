//! [`Peers`] → links, neighbors, forwarding entries, routes, rules and settings.

use ipnet::IpNet;
use model::{Family, Mac, NodeName, World};
use plan::nft::{Field, HookPoint, Op, Statement, TableFamily, Type, Value};
use plan::{
    Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Plan, Route, RouteKey, RouteTable, Rule,
    RuleKey, SysctlKey,
};

use super::table::{Peer, Peers, Reach};
use crate::ruleset::{self, Ruleset, by_family, lookup};
use crate::{Pools, device};

/// Priority of the rules that send pods' packets to the overlay table first.
const OVERLAY_PRIORITY: u32 = 8377;

pub(super) fn lower(world: &World, me: &NodeName, pools: &Pools, peers: &Peers, plan: &mut Plan) {
    forwarding(plan);
    for peer in peers.rows.values() {
        for (cidr, reach) in &peer.pods {
            route(world, me, *cidr, reach, plan);
            if *reach == Reach::Overlay {
                overlay(me, pools, peer, *cidr, plan);
            }
        }
    }
    let Some(local) = peers.tunnel else { return };
    let config = &world.config.vxlan;
    let kind = LinkKind::Vxlan { vni: config.vni, port: config.port, local };
    let mac = Mac::derive(&format!("vtep/{me}"));
    plan.links.insert(device::overlay(), Link { kind, mtu: peers.mtu, mac });
    // Loose: what a node's own connection to a hostPort of ours gets back comes through the tunnel
    // with a node's address. The guard below does the filter's work.
    plan.sysctls.extend(device::settings(&device::overlay(), "2"));
    guard(world, plan);
}

/// The node is a router for its pods, in both families (Linux forwards only when told so).
fn forwarding(plan: &mut Plan) {
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        plan.sysctls.insert(SysctlKey(key.to_owned()), "1".to_owned());
    }
}

/// The route to a peer's pods. The node's own packets carry its own address, which the peer knows
/// the way back to.
fn route(world: &World, me: &NodeName, cidr: IpNet, reach: &Reach, plan: &mut Plan) {
    let family = Family::of(cidr.addr());
    let src = world.nodes.get(me).and_then(|node| node.internal_ip(family));
    let (via, dev, onlink) = match reach {
        Reach::Direct { via, dev } => (*via, dev.clone(), false),
        Reach::Overlay => (cidr.network(), device::overlay(), true),
    };
    plan.routes.insert(
        RouteKey { table: RouteTable::Main, dst: cidr },
        Route { via: Some(via), dev: Some(dev), onlink, src },
    );
}

/// What leads into the tunnel: the CIDR's network address stands for the peer's VTEP, and pods reach
/// the peer's own addresses by the same way, through a table that only they look into.
fn overlay(me: &NodeName, pools: &Pools, peer: &Peer, cidr: IpNet, plan: &mut Plan) {
    let Some(vtep) = peer.vtep else { return };
    let (dev, via) = (device::overlay(), cidr.network());
    plan.neighbors.insert(NeighborKey { dev: dev.clone(), addr: via }, Neighbor { mac: vtep.mac });
    plan.fdb.insert(FdbKey { dev: dev.clone(), mac: vtep.mac }, Fdb::Vtep(vtep.addr));
    let family = Family::of(via);
    let Some(pool) = pools.pool(me, family) else { return };
    let priority = OVERLAY_PRIORITY;
    plan.rules.insert(RuleKey { priority, from: pool.cidr() }, Rule { table: RouteTable::Overlay });
    for addr in peer.addrs.iter().filter(|addr| Family::of(**addr) == family) {
        plan.routes.insert(
            RouteKey { table: RouteTable::Overlay, dst: IpNet::from(*addr) },
            Route { via: Some(via), dev: Some(dev.clone()), onlink: true, src: None },
        );
    }
}

/// Only nodes may send tunnel packets, only other nodes' pods may come out of the tunnel, and no pod
/// may speak VXLAN to a node (T06).
fn guard(world: &World, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    for (name, key) in [("nodes4", Type::Ipv4Addr), ("nodes6", Type::Ipv6Addr)] {
        rules.set(name, &[key]);
    }
    for addr in world.nodes.values().flat_map(|node| &node.internal_ips) {
        rules.element(by_family(Family::of(*addr), "nodes4", "nodes6"), vec![(*addr).into()]);
    }
    let vxlan = |mut statements: Vec<Statement>| {
        let mut all = vec![
            Statement::Match(Field::L4proto, Op::Eq, Value::Number(17)),
            Statement::Match(Field::Dport, Op::Eq, Value::Port(world.config.vxlan.port)),
        ];
        all.append(&mut statements);
        all
    };
    let mut chain = Vec::new();
    for (saddr, daddr, nodes, pods) in [
        (Field::Ip4Saddr, Field::Ip4Daddr, "nodes4", "local_pods4"),
        (Field::Ip6Saddr, Field::Ip6Daddr, "nodes6", "local_pods6"),
    ] {
        let local = Statement::Match(Field::FibDaddrType, Op::Eq, ruleset::FIB_LOCAL);
        let tunnel =
            Statement::Match(Field::Iifname, Op::Eq, Value::Name(device::overlay().to_string()));
        chain.push(ruleset::drop(
            vxlan(vec![local, lookup(&[saddr], Op::Ne, nodes)]),
            "tunnel packets come from nodes only",
        ));
        chain.push(ruleset::drop(
            vxlan(vec![lookup(&[saddr], Op::Eq, pods), lookup(&[daddr], Op::Eq, nodes)]),
            "pods don't speak VXLAN to nodes",
        ));
        chain.push(ruleset::drop(
            vec![tunnel, lookup(&[saddr], Op::Eq, pods)],
            "our pods are not behind the tunnel",
        ));
    }
    rules.base_chain("overlay", ruleset::before_conntrack(HookPoint::Prerouting), chain);
}

//! [`Peers`] → links, neighbors, forwarding entries, routes, rules and settings.

use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, IfName, Mac, NodeName, World};
use plan::nft::{Field, HookPoint, Op, Statement, TableFamily, Type, Value};
use plan::{
    Fdb, FdbKey, Link, LinkKind, Neighbor, NeighborKey, Plan, Route, RouteKey, RouteTable, Rule,
    RuleKey, SysctlKey,
};

use super::around;
use super::table::{Peer, Peers, Reach, Vtep};
use crate::ruleset::{self, Ruleset, by_family, lookup};
use crate::{Pools, device};

/// Priority of the rules that send pods' packets to the overlay table first.
pub(super) const OVERLAY_PRIORITY: u32 = 8377;

pub(super) fn lower(world: &World, me: &NodeName, pools: &Pools, peers: &Peers, plan: &mut Plan) {
    forwarding(plan);
    for peer in peers.rows.values() {
        for (cidr, reach) in &peer.pods {
            match (reach, &peer.vtep) {
                (Reach::Direct { via, dev }, _) => {
                    route(world, me, *cidr, (*via, dev.clone(), false), plan);
                }
                (Reach::Overlay, Some(vtep)) => overlay(world, me, pools, peer, vtep, *cidr, plan),
                (Reach::Overlay, None) | (Reach::Other, _) => {}
            }
        }
    }
    let Some(local) = peers.tunnel else { return };
    let config = &world.config.vxlan;
    let kind = LinkKind::Vxlan { vni: config.vni, port: config.port, local };
    let mac = Mac::derive(&format!("vtep/{me}"));
    plan.links.insert(device::overlay(), Link { kind, mtu: peers.mtu, mac });
    guard(world, plan);
    around::lower(pools.of(me), world.config.masquerade_all, plan);
}

/// The node is a router for its pods, in both families (Linux forwards only when told so).
fn forwarding(plan: &mut Plan) {
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        plan.sysctls.insert(SysctlKey(key.to_owned()), "1".into());
    }
}

/// The route to a peer's pods, by next hop, link and whether that is on the link by decree. The
/// node's own packets carry its own address, which the peer knows the way back to.
fn route(
    world: &World,
    me: &NodeName,
    cidr: IpNet,
    (via, dev, onlink): (IpAddr, IfName, bool),
    plan: &mut Plan,
) {
    let family = Family::of(cidr.addr());
    plan.routes.insert(
        RouteKey { table: RouteTable::Main, dst: cidr },
        Route { via: Some(via), dev: Some(dev), onlink, src: world.own_source(me, family) },
    );
}

/// What leads into the tunnel: a next hop that stands for the peer's VTEP, and pods reach the peer's
/// own addresses by the same way, through a table that only they look into.
fn overlay(
    world: &World,
    me: &NodeName,
    pools: &Pools,
    peer: &Peer,
    vtep: &Vtep,
    cidr: IpNet,
    plan: &mut Plan,
) {
    let (dev, via, family) = (device::overlay(), vtep.next_hop(cidr), Family::of(cidr.addr()));
    // A link-local next hop is on its link by nature.
    let onlink = family == Family::V4;
    route(world, me, cidr, (via, dev.clone(), onlink), plan);
    plan.neighbors.insert(NeighborKey { dev: dev.clone(), addr: via }, Neighbor { mac: vtep.mac });
    plan.fdb.insert(FdbKey { dev: dev.clone(), mac: vtep.mac }, Fdb::Vtep(vtep.addr));
    let Some(pool) = pools.pool(me, family) else { return };
    let priority = OVERLAY_PRIORITY;
    plan.rules.insert(
        RuleKey { priority, from: pool.cidr(), mark: 0 },
        Rule { table: RouteTable::Overlay },
    );
    for addr in peer.addrs.iter().filter(|addr| Family::of(**addr) == family) {
        plan.routes.insert(
            RouteKey { table: RouteTable::Overlay, dst: IpNet::from(*addr) },
            Route { via: Some(via), dev: Some(dev.clone()), onlink, src: None },
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
        let tunnel = Statement::Match(
            Field::Iifname,
            Op::Eq,
            Value::Name(device::overlay().as_str().into()),
        );
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

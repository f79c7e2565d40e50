//! The routed pod link: every container alone behind a veth pair, with routes and static neighbors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{Family, Host, NodeName, World};
use plan::nft::{ChainKind, Field, Hook, HookPoint, Op, RejectWith, Statement, TableFamily, Value};
use plan::{Neighbor, NeighborKey, Plan, Route, RouteKey, RouteTable, SysctlKey};

use super::Joined;
use crate::ipam::Pool;
use crate::ruleset::{self, Ruleset, lookup};

/// The gateway of every routed container. The host end need not carry it: a static neighbor says
/// where it is, and routers are never the source of what they forward.
pub(super) fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    }
}

/// A pod CIDR's own addresses are here or nowhere: without a host route a packet must not follow the
/// default route out, which would lead it back and forth. Where the network before Seaway has the CIDR on a
/// link, a route leads there already.
pub(super) fn node(host: &Host, pools: &[Pool], plan: &mut Plan) {
    for pool in pools {
        let mut is_routed = host.routes.contains(&pool.cidr());
        for (dev, net) in host.subnets_of(pool.cidr()) {
            is_routed |= net.trunc() == pool.cidr();
            if pool.family() == Family::V6 {
                let key = SysctlKey(format!("net/ipv6/conf/{dev}/proxy_ndp"));
                plan.sysctls.insert(key, "1".into());
            }
        }
        if !is_routed {
            plan.routes.insert(
                RouteKey { table: RouteTable::Main, dst: pool.cidr() },
                Route { via: None, dev: None, onlink: false, src: None },
            );
        }
    }
    gone(plan);
}

/// Clients of a container that is gone are reset, and who connects to it is refused (S-70). The
/// unreachable route tells them, too, but by ICMP: a mere hint to a connection that is established, and
/// kernels send only so many.
fn gone(plan: &mut Plan) {
    let refuse = |daddr, pods| {
        let statements = vec![
            lookup(&[daddr], Op::Eq, pods),
            Statement::Match(Field::FibDaddrType, Op::Ne, ruleset::FIB_LOCAL),
            Statement::Match(Field::FibDaddrOif, Op::Eq, ruleset::FIB_MISSING),
            Statement::Match(Field::L4proto, Op::Eq, Value::Number(6)),
            Statement::Counter,
            Statement::Reject(RejectWith::TcpReset),
        ];
        ruleset::rule(statements, "no pod has this address")
    };
    let chain =
        vec![refuse(Field::Ip4Daddr, "local_pods4"), refuse(Field::Ip6Daddr, "local_pods6")];
    // Where the destination is the endpoint's already.
    let hook = Hook { kind: ChainKind::Filter, point: HookPoint::Prerouting, priority: 0 };
    Ruleset::new(&mut plan.nft, TableFamily::Inet).base_chain("gone", hook, chain);
}

pub(super) fn attachment(world: &World, me: &NodeName, joined: &Joined, plan: &mut Plan) {
    for addr in &joined.addrs {
        let src = world.own_source(me, Family::of(*addr));
        let dev = Some(joined.host_link.clone());
        plan.routes.insert(
            RouteKey { table: RouteTable::Main, dst: IpNet::from(*addr) },
            Route { via: None, dev, onlink: false, src },
        );
        plan.neighbors.insert(
            NeighborKey { dev: joined.host_link.clone(), addr: *addr },
            Neighbor { mac: joined.link.mac },
        );
        proxies(world, me, *addr, plan);
    }
}

/// Pods that share a link with all of the pod CIDR look there for a pod of Seaway's, too: the node answers
/// in its place, and forwards.
fn proxies(world: &World, me: &NodeName, addr: IpAddr, plan: &mut Plan) {
    let cidrs = world.nodes.get(me).map(|node| &*node.pod_cidrs).unwrap_or_default();
    let subnets = cidrs.iter().flat_map(|cidr| world.host.subnets_of(*cidr));
    for (dev, _) in subnets.filter(|(_, net)| net.contains(&addr) && net.addr() != addr) {
        plan.proxies.insert(NeighborKey { dev: dev.clone(), addr }, ());
    }
}

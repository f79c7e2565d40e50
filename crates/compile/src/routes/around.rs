//! What came around the overlay goes back around it.
//!
//! A peer's own connection to a hostPort of ours is a packet between nodes: it comes by the uplink,
//! where nothing needs a tunnel, and is rewritten to a container here. By its addresses alone its
//! answer, from a container to a peer, would take the tunnel, and a strict reverse path filter on
//! the uplink would drop the request for that. So both directions carry a bit of the mark that sends
//! them by the main table; `src_valid_mark` makes the filter follow it.
//!
//! Connection tracking knows all it takes: that the flow was rewritten here, and which way a packet
//! goes. A container's connection to a peer that is rewritten is the other way around, and is left
//! to the tunnel, unless the peer is to see this node's own address: then it is a packet between nodes,
//! too. Services do that to containers' packets with `--masquerade-all`, and another network may have done it
//! to connections that it began before Seaway took its place. The kernel forgets such a connection when it would
//! leave by another link.

use ipnet::IpNet;
use model::Family;
use plan::nft::{
    ChainKind, CtStatus, Field, Hook, HookPoint, ORIGINAL, Op, REPLY, Rule as NftRule, Statement,
    TableFamily, Value,
};
use plan::{AROUND_OVERLAY, Plan, RouteTable, Rule, RuleKey, SysctlKey};

use super::lower::OVERLAY_PRIORITY;
use crate::ipam::Pool;
use crate::ruleset::{self, MASQUERADE, Ruleset, lookup};

/// Before the rules that lead into the overlay.
const PRIORITY: u32 = OVERLAY_PRIORITY - 1;

/// Between the rewriting of destinations (`dstnat`, -100) and routing.
const BEFORE_ROUTING: Hook =
    Hook { kind: ChainKind::Filter, point: HookPoint::Prerouting, priority: -90 };

/// What a node with an overlay and these pools needs; `all_masquerade` with `--masquerade-all`.
pub(super) fn lower(pools: &[Pool], all_masquerade: bool, plan: &mut Plan) {
    let mut rules = Ruleset::new(&mut plan.nft, TableFamily::Inet);
    let chain = pools.iter().flat_map(|pool| marking(pool.family(), all_masquerade)).collect();
    rules.base_chain("around_overlay", BEFORE_ROUTING, chain);
    for pool in pools {
        let key = RuleKey { priority: PRIORITY, from: any(pool.family()), mark: AROUND_OVERLAY };
        plan.rules.insert(key, Rule { table: RouteTable::Main });
    }
    // IPv6 has no reverse path filter, and no such setting.
    let key = SysctlKey("net/ipv4/conf/all/src_valid_mark".to_owned());
    plan.sysctls.insert(key, "1".into());
}

fn marking(family: Family, all_masquerade: bool) -> Vec<NftRule> {
    use CtStatus::{Dnat, Snat};
    let (saddr, daddr, nodes, pods) = match family {
        Family::V4 => (Field::Ip4Saddr, Field::Ip4Daddr, "nodes4", "local_pods4"),
        Family::V6 => (Field::Ip6Saddr, Field::Ip6Daddr, "nodes6", "local_pods6"),
    };
    let mark = |status, direction, from, to, and: Option<Statement>, why| {
        let mut statements = vec![
            Statement::CtStatus([status].into()),
            Statement::Match(Field::CtDirection, Op::Eq, Value::Number(direction)),
            lookup(&[saddr], Op::Eq, from),
            lookup(&[daddr], Op::Eq, to),
        ];
        statements.extend(and);
        statements.push(Statement::SetMarkBits(AROUND_OVERLAY));
        ruleset::rule(statements, why)
    };
    let mut rules = vec![
        mark(Dnat, ORIGINAL, nodes, pods, None, "a node's own connection to a hostPort here"),
        mark(Dnat, REPLY, pods, nodes, None, "its answer goes back as it came"),
        mark(Snat, ORIGINAL, pods, nodes, None, "to a node from this node's address"),
        mark(Snat, REPLY, nodes, pods, None, "the node's answer to that"),
    ];
    if all_masquerade {
        let masked = Some(Statement::MarkBits(MASQUERADE));
        rules.push(mark(
            Dnat,
            ORIGINAL,
            pods,
            nodes,
            masked,
            "it will be from this node's address",
        ));
    }
    rules
}

fn any(family: Family) -> IpNet {
    let addr = match family {
        Family::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNet::new(addr, 0).expect("0 bits fit any address")
}

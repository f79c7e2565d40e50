//! What becomes of packets in the rows of policies.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;

use model::{Direction, Family, NodeName, ObjectName, Peer, World};
use oracle::Packet as Header;
use oracle::policy::{Flow, Learned, Origin};
use plan::Table;
use plan::nft::{
    Connection, CtState, HookPoint, Key, Network, Outcome, Packet, Row, Surroundings, TableFamily,
    Transport, Value, Walk, walk,
};
use seaway_compile::policy::{Around, GENERATION, lower, name_set, resolve};

/// Rows of one node.
pub(crate) type Rows = Table<Key, Row>;

/// The rows of all nodes.
pub(crate) type AllRows = BTreeMap<NodeName, Rows>;

/// Number of the policies.
pub(crate) const NOW: NonZero<u8> = NonZero::new(7).expect("not zero");

/// The mark that allowed connections get.
const ALLOWED: u32 = 7 << 24;

/// The mark of a connection that was allowed by other policies; the lower bits are somebody else's.
const STALE: u32 = 6 << 24 | OTHERS;
const OTHERS: u32 = 0x000a_bcde;

pub(crate) fn around(world: &World, me: &NodeName) -> Around {
    let own = world.pods.values().filter(|pod| pod.node.as_ref() == Some(me));
    let own = own.filter(|pod| !pod.is_host_network);
    let addrs = own.flat_map(|pod| pod.addrs.iter().map(|addr| (*addr, Some(pod.name.clone()))));
    Around { pods: addrs.collect(), node: world.nodes[me].ips().collect() }
}

pub(crate) fn rows(world: &World) -> AllRows {
    let of = |node: &NodeName| lower(&resolve(world, node), &around(world, node), NOW);
    world.nodes.keys().map(|node| (node.clone(), of(node))).collect()
}

/// What DNS has put into the sets of the names in the policies of `world`, once it has answered what is
/// `learned`.
pub(crate) fn answered(world: &World, learned: &Learned) -> Surroundings {
    let rules = world.cluster_policies.values().flat_map(|policy| policy.rules(Direction::Egress));
    let mut surroundings = Surroundings::default();
    for peer in rules.flat_map(|rule| rule.rule.peers.iter().flatten()) {
        let Peer::Names(pattern) = peer else { continue };
        let meant = learned.iter().filter(|(name, _)| pattern.matches(name));
        for addr in meant.flat_map(|(_, addrs)| addrs) {
            let key = [Value::from(*addr)].into_iter().collect();
            let element = (name_set(pattern, Family::of(*addr)), key);
            surroundings.learned.insert(element, [].into_iter().collect());
        }
    }
    surroundings
}

/// What becomes of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Whether its first packet gets through.
    pub(crate) first: bool,
    /// Whether one of the next does, which answers, where other policies allowed the connection.
    pub(crate) later: bool,
    /// Whether whoever allows it says so in the connection's mark, and leaves the rest of it.
    pub(crate) is_marked: bool,
    /// The comments of the rules that the first packet met.
    pub(crate) met: Vec<String>,
}

/// A flow at one node.
struct At<'a> {
    rows: &'a Rows,
    surroundings: &'a Surroundings,
    point: HookPoint,
    header: Header,
    client: IpAddr,
}

/// What becomes of `flow` at the nodes that it comes to, each of which has what is around it.
pub(crate) fn fate(
    world: &World,
    (all, surroundings): (&AllRows, &Surroundings),
    flow: &Flow,
) -> Fate {
    let mut fate = Fate { first: true, later: true, is_marked: true, met: Vec::new() };
    for at in path(world, (all, surroundings), flow) {
        let first = at.walk(CtState::New, OTHERS, false);
        let comments = first.trace.iter().filter_map(|step| step.rule.comment.clone());
        fate.met.extend(comments);
        let is_allowed = first.outcome == Outcome::Accept;
        if let Some(mark) = first.connection_mark {
            let want = if is_allowed && at.is_judged() { ALLOWED | OTHERS } else { OTHERS };
            fate.is_marked &= mark == want;
        }
        // The node's own answers are asked about nowhere.
        let is_reply = at.point == HookPoint::Forward;
        let later = at.walk(CtState::Established, STALE, is_reply);
        fate.first &= is_allowed;
        fate.later &= later.outcome == Outcome::Accept;
        if !is_allowed {
            break;
        }
    }
    fate
}

/// Where a flow comes by: the sender's node, then the receiver's.
fn path<'a>(
    world: &World,
    (all, surroundings): (&'a AllRows, &'a Surroundings),
    flow: &Flow,
) -> Vec<At<'a>> {
    let header = flow.packet;
    let from = match &flow.origin {
        Origin::Pod(name) => world.pods.get(name),
        Origin::Process(_) | Origin::Elsewhere => None,
    };
    let is_back = from.is_some_and(|pod| pod.addrs.contains(&header.dst));
    if is_back && !flow.is_led {
        return Vec::new();
    }
    let is_on = |node: &NodeName| {
        let family = model::Family::of(header.dst);
        world.nodes[node].internal_ip(family) == Some(header.dst)
    };
    let to = world.pods.values().find(|p| !p.is_host_network && p.addrs.contains(&header.dst));
    let there = match to {
        Some(pod) => pod.node.as_ref(),
        None => all.keys().find(|node| is_on(node)),
    };
    let here = match &flow.origin {
        Origin::Pod(_) => from.and_then(|pod| pod.node.as_ref()),
        Origin::Process(node) => Some(node),
        Origin::Elsewhere => None,
    };
    let nodes = here.into_iter().chain(there.filter(|there| Some(*there) != here));
    let at = |node: &NodeName| At {
        rows: &all[node],
        surroundings,
        point: if matches!(&flow.origin, Origin::Process(of) if of == node) {
            HookPoint::Output
        } else if is_on(node) {
            HookPoint::Input
        } else {
            HookPoint::Forward
        },
        header,
        client: if is_back { header.dst } else { header.src },
    };
    nodes.map(at).collect()
}

impl<'a> At<'a> {
    /// Whether there are rules for what passes here.
    fn is_judged(&self) -> bool {
        self.point != HookPoint::Output && !self.rows.is_empty()
    }

    fn walk(&self, state: CtState, mark: u32, is_reply: bool) -> Walk<'a> {
        let packet = self.packet(state, mark, is_reply);
        walk(self.rows, TableFamily::Inet, self.point, &packet, self.surroundings)
    }

    fn packet(&self, state: CtState, mark: u32, is_reply: bool) -> Packet {
        let Header { dst: server, protocol, dport, .. } = self.header;
        let (src, dst) = if is_reply { (server, self.client) } else { (self.client, server) };
        let ports = if is_reply { (dport, 40_000) } else { (40_000, dport) };
        let transport = match protocol {
            6 | 17 | 132 => Transport::Ports { protocol, sport: ports.0, dport: ports.1 },
            58 => Transport::Icmpv6 { kind: u8::try_from(dport).unwrap_or_default() },
            other => Transport::Other(other),
        };
        let is_discovery = protocol == 58 && matches!(dport, 130..=137 | 143);
        let connection =
            Connection { client: self.client, server: SocketAddr::new(server, dport), mark };
        let link = |name: &str| name.parse().expect("a name of a link");
        Packet {
            iif: (self.point != HookPoint::Output).then(|| link("sw0")),
            oif: (self.point != HookPoint::Input).then(|| link("eth0")),
            ether: None,
            network: Network::Ip { src, dst, transport },
            ct_state: if is_discovery { CtState::Untracked } else { state },
            ct_status: BTreeSet::new(),
            is_reply,
            connection: (!is_discovery).then_some(connection),
            mark: 0,
            priority: 0,
        }
    }
}

/// What becomes of a packet of no connection, or of an error of one, between a pod of `node` and `peer`.
pub(crate) fn stray(
    rows: &Rows,
    (src, dst): (IpAddr, IpAddr),
    state: CtState,
    transport: Transport,
    connection: Option<Connection>,
) -> Outcome {
    let packet = Packet {
        iif: Some("sw0".parse().expect("a name")),
        oif: Some("eth0".parse().expect("a name")),
        ether: None,
        network: Network::Ip { src, dst, transport },
        ct_state: state,
        ct_status: BTreeSet::new(),
        is_reply: false,
        connection,
        mark: 0,
        priority: 0,
    };
    let surroundings = Surroundings::default();
    walk(rows, TableFamily::Inet, HookPoint::Forward, &packet, &surroundings).outcome
}

/// A connection of older policies.
pub(crate) fn stale(client: IpAddr, server: SocketAddr) -> Connection {
    Connection { client, server, mark: STALE }
}

/// The first address of the pod `NAMESPACE/NAME`.
pub(crate) fn addr_of(world: &World, name: &str) -> IpAddr {
    let (space, name) = name.split_once('/').expect("NAMESPACE/NAME");
    world.pods[&ObjectName::new(space, name)].addrs[0]
}

/// The number in a connection's mark.
pub(crate) fn generation(mark: u32) -> u32 {
    (mark & GENERATION) >> 24
}

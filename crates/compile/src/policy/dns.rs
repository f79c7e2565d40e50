//! The cluster's DNS, as policies see it: a pod that is not there.
//!
//! People allow a pod to ask for names by selecting the pods of the cluster's DNS, or its addresses. Every node
//! answers at those addresses itself, so nobody may be selected. What policies say of questions is what they
//! say of a pod with those addresses in the namespace of the DNS's Service, labeled as such pods are
//! (docs/decisions/0038).

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{
    DNS_PORT, Direction, DropReason, Labels, NamedPort, ObjectName, Pod, Protocol, RuleAction,
    World,
};

use super::endings::Ending;
use super::facing::{Decision, Goal, Membership};
use super::judge::Learned;
use super::{Group, PolicyTable};

/// By what the protocols of DNS are over.
pub(super) const OVER: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

/// Where a cluster's DNS is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// At port 53 of these addresses, by whoever is at the same node.
    pub addrs: BTreeSet<IpAddr>,
    /// At this port of nodes' addresses.
    pub node_port: u16,
    /// The addresses of all nodes.
    pub nodes: BTreeSet<IpAddr>,
}

impl Places {
    /// Those of `world`; `None` where nodes answer no questions.
    pub fn of(world: &World) -> Option<Self> {
        let dns = Some(&world.config.dns).filter(|dns| dns.is_served)?;
        let nodes = world.nodes.values().flat_map(|node| node.ips());
        Some(Places {
            addrs: world.dns_addrs().collect(),
            node_port: dns.node_port,
            nodes: nodes.collect(),
        })
    }
}

/// What policies see of `world`, with its DNS among the pods.
pub(super) fn with_stand_in(world: &World) -> World {
    let mut seen = World {
        nodes: world.nodes.clone(),
        namespaces: world.namespaces.clone(),
        pods: world.pods.clone(),
        policies: world.policies.clone(),
        cluster_policies: world.cluster_policies.clone(),
        ..World::default()
    };
    if world.config.dns.is_served && seen.has_policies() {
        let pod = stand_in(world);
        seen.pods.insert(pod.name.clone(), pod.into());
    }
    seen
}

/// Whether it is the pod that stands for the DNS: no other has a space in its name.
pub(super) fn is_stand_in(name: &ObjectName) -> bool {
    &*name.name == STAND_IN
}

const STAND_IN: &str = "cluster DNS";

/// What it is called.
pub(super) fn stand_in_name(world: &World) -> ObjectName {
    ObjectName::new(&world.config.dns.service.namespace, STAND_IN)
}

/// As the pods of CoreDNS are made wherever it is installed.
fn stand_in(world: &World) -> Pod {
    let port = |name: &str, protocol| NamedPort { name: name.into(), protocol, port: DNS_PORT };
    let labels: Labels = [("k8s-app", "kube-dns")].into_iter().collect();
    Pod {
        name: stand_in_name(world),
        uid: "".into(),
        labels,
        node: None,
        is_host_network: false,
        addrs: world.dns_addrs().collect(),
        ports: [port("dns", Protocol::Udp), port("dns-tcp", Protocol::Tcp)].into(),
    }
}

/// What a group says of questions.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// By which protocols all questions end alike, wherever they go.
    pub(super) all: Vec<(Protocol, Ending)>,
    /// By the others, where packets end that ask one of the addresses, of all that do not just pass.
    pub(super) ends: Vec<(IpAddr, Protocol, Ending)>,
    /// By which protocols no address may be asked, and so no node's port.
    pub(super) never: Vec<(Protocol, Ending)>,
}

impl Said {
    /// What `group`, of what goes out, says.
    pub(super) fn of(places: &Places, table: &PolicyTable, group: &Group) -> Self {
        let mut said = Said::default();
        for protocol in OVER {
            let ask = |addr: &IpAddr| (*addr, ending(table, group, (*addr, protocol)));
            let endings: Vec<(IpAddr, Option<Ending>)> = places.addrs.iter().map(ask).collect();
            let is_never = |(_, ending): &(_, Option<Ending>)| ending.is_some_and(|e| !e.is_audit);
            let first = endings.first().and_then(|(_, ending)| *ending);
            let never = first.filter(|_| endings.iter().all(is_never));
            said.never.extend(never.map(|ending| (protocol, ending)));
            match never.filter(|_| endings.iter().all(|(_, ending)| *ending == first)) {
                Some(ending) => said.all.push((protocol, ending)),
                None => said.ends.extend(
                    endings
                        .into_iter()
                        .filter_map(|(addr, ending)| Some((addr, protocol, ending?))),
                ),
            }
        }
        said
    }
}

/// Where a question ends that a group does not let pass, or would not.
fn ending(
    table: &PolicyTable,
    group: &Group,
    (to, protocol): (IpAddr, Protocol),
) -> Option<Ending> {
    // Names stand for what DNS says; that it may be asked at all is said by others (NP-F3).
    let learned = Learned::new();
    let membership = Membership { table, learned: &learned };
    let goal = Goal { to, protocol: Some(protocol), port: DNS_PORT };
    let of = |group: &Group, is_audit| {
        let facing = membership.facing(group, to);
        let decision = facing.decide(true, |one| membership.is_there(one, goal));
        let reason = match decision {
            Decision::NotAllowed => DropReason::NotAllowed,
            Decision::Rule(rule) if rule.action != RuleAction::Accept => DropReason::Denied,
            Decision::Rule(_) | Decision::Nothing => return None,
        };
        Some(Ending { reason, direction: Some(Direction::Egress), is_audit })
    };
    of(group, false).or_else(|| of(group.audit.as_ref()?, true))
}

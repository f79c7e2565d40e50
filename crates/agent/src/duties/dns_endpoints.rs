//! Keeps the endpoints of the Service of DNS where Seaway has made it: every node that has an agent. A node answers
//! its own clients itself; the endpoints are who is asked while it does not.
//!
//! Whoever wants other servers of DNS gives the Service a selector: its endpoints are theirs then.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Listed, SliceError};
use model::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Family, MadeService, NodeName, NodeState,
    NodeTold, OrdMap, Protocol, ServiceName, SliceKey,
};
use tokio::sync::watch::Receiver;

use super::Context;

/// Most endpoints of a slice: kube-controller-manager's `--max-endpoints-per-slice`.
const MOST: usize = 100;

/// How long a change waits for others: many nodes come at once.
const SETTLE: Duration = Duration::from_secs(1);

/// First pause after a write failed; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// What there is to go by, as the watches show it.
pub(super) struct Seen {
    pub(super) made: Receiver<Listed<ServiceName, MadeService>>,
    pub(super) states: Receiver<Listed<NodeName, NodeState>>,
    pub(super) told: Receiver<Listed<NodeName, NodeTold>>,
    pub(super) slices: Receiver<Listed<SliceKey, EndpointSlice>>,
}

type Slices = BTreeMap<SliceKey, EndpointSlice>;

/// What is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Due {
    put: Vec<EndpointSlice>,
    delete: Vec<SliceKey>,
}

/// Does so until the future is dropped.
pub(super) async fn keep(context: &Context, client: &Client, mut seen: Seen) {
    let Some(dns) = &context.dns else { return std::future::pending().await };
    let (mut pause, mut said) = (SHORTEST, None);
    loop {
        tokio::time::sleep(SETTLE).await;
        let due = seen.due(&dns.service, dns.node_port);
        match write(context, client, due).await {
            Ok(()) => (pause, said) = (SHORTEST, None),
            Err(error) => {
                let why = kube::chain(&error);
                if said.as_ref() != Some(&why) {
                    tracing::warn!("{why}; trying again");
                    said = Some(why);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
                continue;
            }
        }
        seen.changed().await;
    }
}

async fn write(
    context: &Context,
    client: &Client,
    due: Option<(Option<Arc<MadeService>>, Due)>,
) -> Result<(), SliceError> {
    let Some((service, due)) = due else { return Ok(()) };
    let Due { put, delete } = due;
    for slice in put {
        let Some(service) = &service else { break };
        if context.leadership.borrow().is_held() {
            let put = kube::put_slice(client, service, &slice).await;
            context.metrics.duties.wrote(put.is_ok());
            put?;
        }
    }
    for key in delete {
        if context.leadership.borrow().is_held() {
            let deleted = kube::delete_slice(client, &key).await;
            context.metrics.duties.wrote(deleted.is_ok());
            deleted?;
        }
    }
    Ok(())
}

impl Seen {
    async fn changed(&mut self) {
        let changed = tokio::select! {
            changed = self.made.changed() => changed,
            changed = self.states.changed() => changed,
            changed = self.told.changed() => changed,
            changed = self.slices.changed() => changed,
        };
        if changed.is_err() {
            // Nobody watches any more.
            std::future::pending::<()>().await;
        }
    }

    /// What is to be written for the Service `name`, if that is ours; `None` until all has been listed.
    fn due(&mut self, name: &ServiceName, port: u16) -> Option<(Option<Arc<MadeService>>, Due)> {
        let made = self.made.borrow_and_update().listed.clone()?;
        let states = self.states.borrow_and_update().listed.clone()?;
        let told = self.told.borrow_and_update().listed.clone()?;
        let slices = self.slices.borrow_and_update().listed.clone()?;
        let service = made.get(name).filter(|it| !it.has_selector && !it.is_leaving).cloned();
        let there = own(&slices, name);
        let wanted = |family| endpoints(&states, &told, family);
        let due = match &service {
            None => Due { put: Vec::new(), delete: there.into_keys().collect() },
            Some(service) => due(service, there, port, wanted),
        };
        Some((service, due))
    }
}

/// The slices of the Service `name` that are ours, by their names.
fn own(slices: &OrdMap<SliceKey, Arc<EndpointSlice>>, name: &ServiceName) -> Slices {
    let first = SliceKey { service: name.clone(), slice: prefix(name).into() };
    let all = slices.range(first..).take_while(|(key, _)| key.service == *name);
    let own = all.filter(|(key, _)| key.slice.starts_with(&prefix(name)));
    own.map(|(key, slice)| (key.clone(), EndpointSlice::clone(slice))).collect()
}

fn prefix(name: &ServiceName) -> String {
    format!("seaway-{}-", name.name)
}

/// A node's own address of `family`, of each node whose agent has told what it goes by, and whether the node is
/// ready.
fn endpoints(
    states: &OrdMap<NodeName, Arc<NodeState>>,
    told: &OrdMap<NodeName, Arc<NodeTold>>,
    family: Family,
) -> BTreeMap<NodeName, (IpAddr, bool)> {
    let nodes = states.iter().filter(|(name, _)| told.contains_key(*name));
    let endpoint = |(name, node): (&NodeName, &Arc<NodeState>)| {
        let is_ready = node.is_ready && !node.is_leaving;
        Some((name.clone(), (node.internal_ip(family)?, is_ready)))
    };
    nodes.filter_map(endpoint).collect()
}

/// What makes `there` slices with the endpoints that are wanted. An endpoint stays in its slice, so a change of one
/// node is a change of one slice.
fn due(
    service: &MadeService,
    there: Slices,
    port: u16,
    wanted: impl Fn(Family) -> BTreeMap<NodeName, (IpAddr, bool)>,
) -> Due {
    let mut due = Due::default();
    for family in Family::ALL {
        let mut left = match service.families.contains(&family) {
            true => wanted(family),
            false => BTreeMap::new(),
        };
        let mut kept: Slices = BTreeMap::new();
        for (key, old) in there.iter().filter(|(_, slice)| slice.family == family) {
            let stays = |old: &Endpoint| {
                let node = old.node.clone()?;
                Some(endpoint(&node, left.remove(&node)?))
            };
            // In this order: what is in two slices stays in one.
            let endpoints = old.endpoints.iter().filter_map(stays).collect();
            kept.insert(key.clone(), slice(key.clone(), family, port, endpoints));
        }
        let mut left = left.into_iter().map(|(node, at)| endpoint(&node, at)).peekable();
        for slice in kept.values_mut() {
            let room = MOST.saturating_sub(slice.endpoints.len());
            slice.endpoints.extend(left.by_ref().take(room));
        }
        let mut numbers = 0..;
        while left.peek().is_some() {
            let key = free(&service.name, family, &kept, &mut numbers);
            let endpoints = left.by_ref().take(MOST).collect();
            kept.insert(key.clone(), slice(key, family, port, endpoints));
        }
        for (key, slice) in kept {
            match slice.endpoints.is_empty() {
                true => due.delete.push(key),
                false if there.get(&key) != Some(&slice) => due.put.push(slice),
                false => {}
            }
        }
    }
    due
}

/// The key of the next slice that there is not.
fn free(
    service: &ServiceName,
    family: Family,
    kept: &Slices,
    numbers: &mut impl Iterator<Item = u32>,
) -> SliceKey {
    let name = |number| format!("{}{family}-{number}", prefix(service)).into();
    let keys = numbers.map(|number| SliceKey { service: service.clone(), slice: name(number) });
    let mut free = keys.filter(|key| !kept.contains_key(key));
    free.next().expect("there are fewer slices than numbers")
}

fn slice(key: SliceKey, family: Family, port: u16, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let named = |name: &str, protocol| EndpointPort { name: name.into(), protocol, port };
    let ports = vec![named("dns", Protocol::Udp), named("dns-tcp", Protocol::Tcp)];
    EndpointSlice { key, family, ports, endpoints, triggered: None, is_headless: false }
}

fn endpoint(node: &NodeName, (addr, is_ready): (IpAddr, bool)) -> Endpoint {
    Endpoint {
        addr,
        node: Some(node.clone()),
        conditions: Conditions { ready: is_ready, serving: is_ready, terminating: false },
        hints: None,
        hostname: None,
        pod: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(families: &[Family]) -> MadeService {
        MadeService {
            name: ServiceName::new("kube-system", "kube-dns"),
            uid: "u".into(),
            has_selector: false,
            is_leaving: false,
            families: families.iter().copied().collect(),
        }
    }

    /// So many nodes from this one on.
    fn nodes(from: u8, count: u8) -> impl Fn(Family) -> BTreeMap<NodeName, (IpAddr, bool)> {
        move |family| {
            let addr = |number: u8| match family {
                Family::V4 => IpAddr::from([192, 0, 2, number]),
                Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)]),
            };
            let node = |number| (NodeName::from(format!("node-{number:03}")), (addr(number), true));
            (from..from + count).map(node).collect()
        }
    }

    /// What is written, as `+NAME COUNT` and `-NAME`, and what is there then.
    fn done(
        service: &MadeService,
        there: &mut Slices,
        wanted: impl Fn(Family) -> BTreeMap<NodeName, (IpAddr, bool)>,
    ) -> Vec<String> {
        let Due { put, delete } = due(service, there.clone(), 10053, wanted);
        let puts = put.iter().map(|it| format!("+{} {}", it.key.slice, it.endpoints.len()));
        let lines = puts.chain(delete.iter().map(|key| format!("-{}", key.slice))).collect();
        delete.iter().for_each(|key| drop(there.remove(key)));
        there.extend(put.into_iter().map(|slice| (slice.key.clone(), slice)));
        lines
    }

    #[test]
    fn every_node_is_an_endpoint_and_a_change_of_one_is_a_change_of_one_slice() {
        let (both, mut there) = (service(&Family::ALL), Slices::new());
        let first = done(&both, &mut there, nodes(1, 3));
        assert_eq!(first, ["+seaway-kube-dns-ipv4-0 3", "+seaway-kube-dns-ipv6-0 3"]);
        assert_eq!(done(&both, &mut there, nodes(1, 3)), [""; 0], "nothing has changed");
        let all = done(&both, &mut there, nodes(1, 250));
        assert_eq!(all.len(), 6, "{all:?}");
        assert_eq!(
            all[..3],
            [
                "+seaway-kube-dns-ipv4-0 100",
                "+seaway-kube-dns-ipv4-1 100",
                "+seaway-kube-dns-ipv4-2 50"
            ]
        );
        let less = done(&both, &mut there, nodes(2, 249));
        assert_eq!(less, ["+seaway-kube-dns-ipv4-0 99", "+seaway-kube-dns-ipv6-0 99"]);
        let unready = |family| {
            let mut nodes = nodes(2, 249)(family);
            nodes.values_mut().last().unwrap().1 = false;
            nodes
        };
        let unready = done(&both, &mut there, unready);
        assert_eq!(unready, ["+seaway-kube-dns-ipv4-2 50", "+seaway-kube-dns-ipv6-2 50"]);
        let few = done(&both, &mut there, nodes(103, 2));
        assert_eq!(few.len(), 6, "{few:?}");
        assert_eq!(few[4..], ["-seaway-kube-dns-ipv6-0", "-seaway-kube-dns-ipv6-2"]);
        let more = done(&both, &mut there, nodes(1, 140));
        assert_eq!(more[0], "+seaway-kube-dns-ipv4-0 40");
        let one = service(&[Family::V4]);
        assert_eq!(
            done(&one, &mut there, nodes(1, 140)),
            ["-seaway-kube-dns-ipv6-0", "-seaway-kube-dns-ipv6-1"]
        );
        assert_eq!(there.len(), 2);
    }

    #[test]
    fn a_slice_that_somebody_has_changed_is_put_right_and_a_node_is_in_one() {
        let (one, mut there) = (service(&[Family::V4]), Slices::new());
        done(&one, &mut there, nodes(1, 2));
        let key = there.keys().next().unwrap().clone();
        there.get_mut(&key).unwrap().ports.pop();
        assert_eq!(done(&one, &mut there, nodes(1, 2)), ["+seaway-kube-dns-ipv4-0 2"]);
        there.get_mut(&key).unwrap().endpoints[0].addr = [198, 51, 100, 1].into();
        assert_eq!(done(&one, &mut there, nodes(1, 2)), ["+seaway-kube-dns-ipv4-0 2"]);
        let mut double = there[&key].clone();
        double.key.slice = "seaway-kube-dns-ipv4-7".into();
        there.insert(double.key.clone(), double);
        assert_eq!(done(&one, &mut there, nodes(1, 2)), ["-seaway-kube-dns-ipv4-7"]);
    }

    #[test]
    fn nodes_without_an_agent_and_slices_of_others_are_none_of_ours() {
        let state = |name: &str, ready: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"{name}"}},"status":{{"addresses":[{{"type":"InternalIP","address":"192.0.2.1"}}],
                "conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
            );
            let state = model::decode::node_state(json.as_bytes()).unwrap();
            (state.name.clone(), Arc::new(state))
        };
        let states =
            [state("a", "True"), state("b", "Unknown"), state("c", "True")].into_iter().collect();
        let told = ["a", "b"].map(|name| {
            let node = NodeName::from(name);
            (node.clone(), Arc::new(NodeTold { node, realised: model::Realised::default() }))
        });
        let told = told.into_iter().collect();
        let v4: Vec<_> = endpoints(&states, &told, Family::V4).into_iter().collect();
        let addr = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(v4, [("a".into(), (addr, true)), ("b".into(), (addr, false))]);
        assert!(endpoints(&states, &told, Family::V6).is_empty());
        let name = ServiceName::new("kube-system", "kube-dns");
        let keyed = |service: &ServiceName, name: &str| {
            let key = SliceKey { service: service.clone(), slice: name.into() };
            (key.clone(), Arc::new(slice(key, Family::V4, 10053, Vec::new())))
        };
        let other = ServiceName::new("kube-system", "kube-dns-2");
        let all = [
            keyed(&name, "kube-dns-abcde"),
            keyed(&name, "seaway-kube-dns-ipv4-0"),
            keyed(&name, "theirs"),
            keyed(&other, "seaway-kube-dns-ipv4-1"),
        ];
        let own: Vec<_> = own(&all.into_iter().collect(), &name).into_keys().collect();
        assert_eq!(own.len(), 1);
        assert_eq!(&*own[0].slice, "seaway-kube-dns-ipv4-0");
    }
}

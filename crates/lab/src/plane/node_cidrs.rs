//! Gives each node its part of the pod CIDRs.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube_rs::api::{Patch, PatchParams};
use kube_rs::{Api, Client};
use serde_json::json;

use super::is_overtaken;
use super::level::{Level, Objects};
use crate::spec::{Spec, part};
use crate::topology::node_number;

/// Gives every node without pod CIDRs some, until the level ends.
pub(super) async fn run(client: Client, mut nodes: Level<Node>, spec: Arc<Spec>) {
    let api = Api::<Node>::all(client);
    // Decisions whose effect the level may not show yet.
    let mut given: Vec<(String, u32)> = Vec::new();
    let mut complained = BTreeSet::new();
    loop {
        let level = nodes.borrow_and_update().clone().unwrap_or_default();
        given.retain(|(name, _)| level.get(name).is_some_and(|node| cidrs(node).is_empty()));
        for (name, index) in choose(&spec, &level, &given) {
            let Some(index) = index else {
                if complained.insert(name.clone()) {
                    tracing::warn!("node {name}: every part of the pod CIDRs is taken");
                }
                continue;
            };
            let cidrs = parts(&spec, index);
            let texts: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
            let patch = json!({ "spec": { "podCIDR": texts.first(), "podCIDRs": texts } });
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => given.push((name, index)),
                Err(error) if is_overtaken(&error) => {}
                Err(error) => tracing::warn!("give node {name} {}: {error}", texts.join(", ")),
            }
        }
        if nodes.changed().await.is_err() {
            return;
        }
    }
}

/// For each node without pod CIDRs, which part it gets; `None` when none is left.
///
/// A node named `node-7` gets part 7 if that is free, so that a pod's address tells its node; any
/// other the lowest free part. Part 0 goes last: networks that end in 0 read badly.
fn choose(
    spec: &Spec,
    nodes: &Objects<Node>,
    given: &[(String, u32)],
) -> Vec<(String, Option<u32>)> {
    let mut taken: BTreeSet<IpNet> = nodes.values().flat_map(|node| cidrs(node)).collect();
    taken.extend(given.iter().flat_map(|(_, index)| parts(spec, *index)));
    let mut chosen = Vec::new();
    for (name, node) in nodes.iter() {
        let decided = given.iter().any(|(other, _)| other == name);
        if decided || !cidrs(node).is_empty() || node.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let wished = node_number(name).into_iter();
        let free = |index: &u32| {
            let parts = parts(spec, *index);
            parts.len() == spec.pod_cidrs.len() && parts.iter().all(|part| !taken.contains(part))
        };
        let index = wished.chain(1..room(spec)).chain([0]).find(free);
        taken.extend(index.iter().flat_map(|index| parts(spec, *index)));
        chosen.push((name.clone(), index));
    }
    chosen
}

/// How many parts every pod CIDR has.
fn room(spec: &Spec) -> u32 {
    let bits = |net: &IpNet| match net {
        IpNet::V4(net) => 24u8.saturating_sub(net.prefix_len()),
        IpNet::V6(net) => 64u8.saturating_sub(net.prefix_len()),
    };
    1 << spec.pod_cidrs.iter().map(bits).min().unwrap_or(0).min(16)
}

fn parts(spec: &Spec, index: u32) -> Vec<IpNet> {
    spec.pod_cidrs.iter().filter_map(|cidr| part(*cidr, index)).collect()
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.as_ref();
    let texts = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn node(name: &str, cidrs: &[&str]) -> (String, Arc<Node>) {
        let json = json!({ "metadata": { "name": name }, "spec": { "podCIDRs": cidrs } });
        (name.to_owned(), Arc::new(serde_json::from_value(json).unwrap()))
    }

    #[test]
    fn a_node_gets_the_part_of_its_number_or_the_lowest_that_is_free() {
        let spec = Spec::new("lab".parse().unwrap());
        let nodes: BTreeMap<_, _> = [
            node("node-2", &["10.244.3.0/24", "fd00:10:244:3::/64"]),
            node("node-1", &[]),
            node("node-3", &[]),
            node("other", &[]),
        ]
        .into();
        let given = [("node-9".to_owned(), 2)];
        let chosen = choose(&spec, &Arc::new(nodes), &given);
        let expect = [("node-1", Some(1)), ("node-3", Some(4)), ("other", Some(5))];
        assert_eq!(chosen, expect.map(|(name, index)| (name.to_owned(), index)));
    }

    #[test]
    fn a_full_pool_gives_none_and_says_so() {
        let mut spec = Spec::new("lab".parse().unwrap());
        spec.pod_cidrs[0] = "10.244.0.0/23".parse().unwrap();
        let nodes: BTreeMap<_, _> = (1..=3).map(|n| node(&format!("node-{n}"), &[])).collect();
        let chosen = choose(&spec, &Arc::new(nodes), &[]);
        let indices: Vec<_> = chosen.into_iter().map(|(_, index)| index).collect();
        assert_eq!(indices, [Some(1), Some(0), None]);
    }
}

//! The peer: the rules that kube-router makes for NetworkPolicies, given to `nft`. A rule for each pod and
//! direction leads to its chain, which asks a chain for each policy of the pod; that marks what it allows.
//! Peers are sets for each policy, as its ipsets are.
//!
//! Source: kube-router's documentation of its network policy controller.

use std::fmt::Write as _;
use std::time::Duration;

use model::{Direction, Namespaces, NetworkPolicy, Peer, Pod, PortMatch, World};

use crate::{Outcome, peer_nft};

/// Programs the policies of `world` in the calling thread's namespace. Returns how long `nft` took.
pub(crate) fn program(world: &World) -> Outcome<Duration> {
    peer_nft::load(&ruleset(world)?)
}

fn ruleset(world: &World) -> Outcome<String> {
    let mut text = "table ip kube-router {\n".to_owned();
    for policy in world.policies.values() {
        policy_chain(world, policy, &mut text)?;
    }
    let local = world.pods.values().filter(|pod| pod.node.as_ref() == Some(&world.config.node));
    let local: Vec<&Pod> = local.map(|pod| &**pod).collect();
    for pod in &local {
        writeln!(text, "chain pod-{} {{\nct state established,related accept", pod.name.name)?;
        let own =
            world.policies.values().filter(|policy| policy.name.namespace == pod.name.namespace);
        for policy in own.filter(|policy| policy.subject.pods.matches(&pod.labels)) {
            writeln!(text, "jump {}", chain(policy))?;
        }
        writeln!(
            text,
            "meta mark & 0x10000 != 0x10000 reject\nmeta mark set meta mark & 0xfffeffff\n}}"
        )?;
    }
    writeln!(text, "chain forward {{ type filter hook forward priority 0")?;
    for pod in &local {
        for addr in &pod.addrs {
            writeln!(
                text,
                "ip daddr {addr} jump pod-{0}\nip saddr {addr} jump pod-{0}",
                pod.name.name
            )?;
        }
    }
    writeln!(text, "}}\n}}")?;
    Ok(text)
}

fn chain(policy: &NetworkPolicy) -> String {
    format!("policy-{}-{}", policy.name.namespace, policy.name.name)
}

/// The sets of a policy and its chain, which marks what a rule allows.
fn policy_chain(world: &World, policy: &NetworkPolicy, text: &mut String) -> Outcome<()> {
    let name = chain(policy);
    let own = |pod: &&Pod| {
        pod.name.namespace == policy.name.namespace && policy.subject.pods.matches(&pod.labels)
    };
    set(&format!("{name}-pods"), world.pods.values().map(|pod| &**pod).filter(own), text)?;
    let mut rules = String::new();
    for (direction, ours, others) in
        [(Direction::Ingress, "daddr", "saddr"), (Direction::Egress, "saddr", "daddr")]
    {
        for (i, rule) in policy.rules(direction).into_iter().flatten().enumerate() {
            let peers = format!("{name}-{direction}-{i}");
            let is_peer =
                |pod: &&Pod| rule.peers.iter().flatten().any(|peer| is_meant(world, peer, pod));
            set(&peers, world.pods.values().map(|pod| &**pod).filter(is_peer), text)?;
            for port in rule.ports.iter().flatten() {
                let PortMatch::Numbers { first, .. } = port else { continue };
                writeln!(
                    rules,
                    "ip {ours} @{name}-pods ip {others} @{peers} tcp dport {first} meta mark set meta mark | 0x10000 return"
                )?;
            }
        }
    }
    writeln!(text, "chain {name} {{\n{rules}}}")?;
    Ok(())
}

fn set<'a>(name: &str, pods: impl Iterator<Item = &'a Pod>, text: &mut String) -> Outcome<()> {
    let addrs: Vec<String> = pods.flat_map(|pod| &pod.addrs).map(ToString::to_string).collect();
    let elements = match addrs.is_empty() {
        true => String::new(),
        false => format!("elements = {{ {} }}\n", addrs.join(", ")),
    };
    writeln!(text, "set {name} {{ type ipv4_addr\n{elements}}}")?;
    Ok(())
}

fn is_meant(world: &World, peer: &Peer, pod: &Pod) -> bool {
    let Peer::Pods(selector) = peer else { return false };
    let Namespaces::Matching(spaces) = &selector.namespaces else { return false };
    let space = world.namespaces.get(&pod.name.namespace);
    space.is_some_and(|space| spaces.matches(&space.labels)) && selector.pods.matches(&pod.labels)
}

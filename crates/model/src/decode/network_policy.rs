//! `networking.k8s.io/v1/NetworkPolicy`.

use serde::Deserialize;
use serde_json::Value;

use super::rule::WirePeers;
use super::selector::WireSelector;
use super::{DecodeError, Meta, Object, read};
use crate::{
    Direction, LabelSelector, Namespaces, NetworkPolicy, ObjectName, Peer, PodSelector, PortMatch,
    Rule,
};

#[derive(Deserialize)]
struct WirePolicy {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    pod_selector: Option<Value>,
    policy_types: Option<Vec<String>>,
    ingress: Option<Vec<Value>>,
    egress: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct WireRule {
    #[serde(flatten)]
    peers: WirePeers,
    ports: Option<Vec<Value>>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePeer {
    pod_selector: Option<WireSelector>,
    namespace_selector: Option<WireSelector>,
    ip_block: Option<WireBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireBlock {
    cidr: String,
    except: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePort {
    protocol: Option<String>,
    port: Option<Number>,
    end_port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(i64),
    Name(String),
}

/// Reads a NetworkPolicy from its JSON. What is missing, null or an empty list is the same (NP-N4).
/// A rule that can't be read allows nothing.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a NetworkPolicy, or does not say which pods or directions it is
/// about.
///
/// Source: NetworkPolicy API, `NetworkPolicySpec`.
pub fn network_policy(json: &[u8]) -> Result<NetworkPolicy, DecodeError> {
    let wire: WirePolicy = read("NetworkPolicy", json)?;
    let object = Object { kind: "NetworkPolicy", name: wire.metadata.full_name() };
    let name = wire.metadata.object_name();
    let Spec { pod_selector, policy_types, ingress, egress } = wire.spec;
    let (ingress, egress) = (ingress.unwrap_or_default(), egress.unwrap_or_default());
    let pods = selector(&object, "spec.podSelector", pod_selector)?;
    let types = policy_types.unwrap_or_default();
    let [is_ingress, is_egress] = directions(&object, &types, !egress.is_empty())?;
    let mut faults = Vec::new();
    let mut rules = |direction: Direction, wire: Vec<Value>| -> Vec<Rule> {
        let numbered = wire.into_iter().enumerate();
        let read = numbered.map(|(i, wire)| {
            let field = format!("spec.{direction}[{i}]");
            rule(&object, &name, direction, &field, wire).unwrap_or_else(|fault| {
                faults.push(fault);
                Rule { peers: Some(Vec::new()), ports: None }
            })
        });
        read.collect()
    };
    let ingress = is_ingress.then(|| rules(Direction::Ingress, ingress));
    let egress = is_egress.then(|| rules(Direction::Egress, egress));
    let subject = PodSelector { namespaces: Namespaces::Only(name.namespace.clone()), pods };
    let audit = wire.metadata.audit();
    Ok(NetworkPolicy { subject, name, ingress, egress, faults, audit })
}

fn selector(
    object: &Object,
    field: &str,
    wire: Option<Value>,
) -> Result<LabelSelector, DecodeError> {
    match wire {
        Some(wire) => object.part::<WireSelector>(field, wire)?.read(object, field),
        None => Ok(LabelSelector::default()),
    }
}

/// Whether the policy is about ingress and about egress: as `policyTypes` says, else about ingress, and
/// about egress if it has a rule for that (NP-N3).
fn directions(
    object: &Object,
    types: &[String],
    has_egress_rule: bool,
) -> Result<[bool; 2], DecodeError> {
    for (i, text) in types.iter().enumerate() {
        if text != "Ingress" && text != "Egress" {
            let why = format!("{text:?} is none of Ingress, Egress");
            return Err(object.fail(&format!("spec.policyTypes[{i}]"), why));
        }
    }
    if types.is_empty() {
        return Ok([true, has_egress_rule]);
    }
    Ok(["Ingress", "Egress"].map(|direction| types.iter().any(|text| text == direction)))
}

fn rule(
    object: &Object,
    own: &ObjectName,
    direction: Direction,
    field: &str,
    wire: Value,
) -> Result<Rule, DecodeError> {
    let wire: WireRule = object.part(field, wire)?;
    if let Some(unknown) = wire.others.keys().next() {
        return Err(object.fail(field, format!("unknown field {unknown:?}")));
    }
    let (wire_peers, at) = wire.peers.of(object, field, direction)?;
    let mut peers = Vec::new();
    for (i, wire) in wire_peers.into_iter().enumerate() {
        peers.push(peer(object, own, &format!("{at}[{i}]"), wire)?);
    }
    let mut ports = Vec::new();
    for (i, wire) in wire.ports.into_iter().flatten().enumerate() {
        ports.push(port(object, &format!("{field}.ports[{i}]"), wire)?);
    }
    Ok(Rule {
        peers: Some(peers).filter(|peers| !peers.is_empty()),
        ports: Some(ports).filter(|ports| !ports.is_empty()),
    })
}

fn peer(object: &Object, own: &ObjectName, field: &str, wire: Value) -> Result<Peer, DecodeError> {
    let WirePeer { pod_selector, namespace_selector, ip_block } = object.part(field, wire)?;
    let read = |name: &str, wire: &WireSelector| wire.read(object, &format!("{field}.{name}"));
    let pods = pod_selector.map(|wire| read("podSelector", &wire)).transpose()?;
    let namespaces = namespace_selector.map(|wire| read("namespaceSelector", &wire)).transpose()?;
    match (ip_block, namespaces, pods) {
        (Some(WireBlock { cidr, except }), None, None) => {
            let field = format!("{field}.ipBlock");
            object.block(&field, &cidr, &except.unwrap_or_default()).map(Peer::Block)
        }
        (Some(_), ..) => Err(object.fail(field, "names an ipBlock and pods".to_owned())),
        (None, None, None) => Err(object.fail(field, "names no peer".to_owned())),
        (None, namespaces, pods) => Ok(Peer::Pods(PodSelector {
            namespaces: match namespaces {
                Some(selector) => Namespaces::Matching(selector),
                None => Namespaces::Only(own.namespace.clone()),
            },
            pods: pods.unwrap_or_default(),
        })),
    }
}

fn port(object: &Object, field: &str, wire: Value) -> Result<PortMatch, DecodeError> {
    let wire: WirePort = object.part(field, wire)?;
    let protocol = object.protocol(&format!("{field}.protocol"), wire.protocol.as_deref())?;
    let end = format!("{field}.endPort");
    match (wire.port, wire.end_port) {
        (Some(Number::Number(first)), last) => {
            let name = if last.is_some() { end } else { format!("{field}.port") };
            object.ports(&name, protocol, (first, last.unwrap_or(first)))
        }
        (_, Some(_)) => Err(object.fail(&end, "needs a port that is a number".to_owned())),
        (Some(Number::Name(name)), None) if name.is_empty() => {
            Err(object.fail(&format!("{field}.port"), "is empty".to_owned()))
        }
        (Some(Number::Name(name)), None) => {
            Ok(PortMatch::Named { name: name.as_str().into(), protocol: Some(protocol) })
        }
        (None, None) => Ok(PortMatch::Numbers { protocol, first: 0, last: u16::MAX }),
    }
}

#[cfg(test)]
#[path = "network_policy_tests.rs"]
mod tests;

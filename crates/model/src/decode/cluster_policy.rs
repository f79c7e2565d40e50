//! `policy.networking.k8s.io`: ClusterNetworkPolicy of v1alpha2; AdminNetworkPolicy and
//! BaselineAdminNetworkPolicy of v1alpha1, which say the same in other words.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rule::WirePeers;
use super::selector::{WirePods, WireSelector};
use super::{DecodeError, Meta, Object, read};
use crate::{
    ClusterPolicy, ClusterPolicyKind, ClusterPolicyName, ClusterRule, ClusterTier, Direction,
    LabelSelector, Namespaces, Peer, PodSelector, PortMatch, Protocol, Rule, RuleAction,
};

/// The lowest precedence there is, which the one BaselineAdminNetworkPolicy has.
const LAST: u16 = 1000;

#[derive(Deserialize)]
struct WirePolicy {
    metadata: Meta,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    tier: Option<String>,
    priority: Option<i64>,
    subject: Value,
    ingress: Option<Vec<Value>>,
    egress: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSubject {
    namespaces: Option<WireSelector>,
    pods: Option<WirePods>,
}

#[derive(Deserialize)]
struct WireRule {
    name: Option<String>,
    action: String,
    #[serde(flatten)]
    peers: WirePeers,
    /// In v1alpha2.
    protocols: Option<Vec<Value>>,
    /// In v1alpha1.
    ports: Option<Vec<Value>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePeer {
    namespaces: Option<WireSelector>,
    pods: Option<WirePods>,
    nodes: Option<WireSelector>,
    networks: Option<Vec<String>>,
    domain_names: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireProtocol {
    tcp: Option<WireDestination>,
    udp: Option<WireDestination>,
    sctp: Option<WireDestination>,
    destination_named_port: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireDestination {
    destination_port: WirePort,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePort {
    number: Option<i64>,
    range: Option<WireRange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRange {
    start: i64,
    end: i64,
}

/// A port of v1alpha1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OldPort {
    port_number: Option<OldNumber>,
    named_port: Option<String>,
    port_range: Option<OldRange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldNumber {
    protocol: Option<String>,
    port: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldRange {
    protocol: Option<String>,
    start: i64,
    end: i64,
}

/// Reads a ClusterNetworkPolicy from its JSON. A rule that can't be read is closed: one that accepts
/// matches nothing, any other one denies everything (NP-C8).
///
/// # Errors
/// [`DecodeError`] when the JSON is not a ClusterNetworkPolicy, or its tier, priority or subject can't be
/// read.
///
/// Source: ClusterNetworkPolicy API, network-policy-api v0.2.0.
pub fn cluster_policy(json: &[u8]) -> Result<ClusterPolicy, DecodeError> {
    policy(ClusterPolicyKind::ClusterNetworkPolicy, json)
}

/// Reads an AdminNetworkPolicy from its JSON, as a policy of the Admin tier.
///
/// # Errors
/// As [`cluster_policy`].
///
/// Source: AdminNetworkPolicy API, network-policy-api v0.1.
pub fn admin_policy(json: &[u8]) -> Result<ClusterPolicy, DecodeError> {
    policy(ClusterPolicyKind::AdminNetworkPolicy, json)
}

/// Reads a BaselineAdminNetworkPolicy from its JSON, as the last policy of the Baseline tier.
///
/// # Errors
/// As [`cluster_policy`], and when it is not called `default`: there is but one.
///
/// Source: BaselineAdminNetworkPolicy API, network-policy-api v0.1.
pub fn baseline_policy(json: &[u8]) -> Result<ClusterPolicy, DecodeError> {
    policy(ClusterPolicyKind::BaselineAdminNetworkPolicy, json)
}

fn policy(kind: ClusterPolicyKind, json: &[u8]) -> Result<ClusterPolicy, DecodeError> {
    let WirePolicy { metadata, spec } = read(kind.as_str(), json)?;
    let reader =
        Reader { object: Object { kind: kind.as_str(), name: metadata.full_name() }, kind };
    let (tier, priority) = reader.rank(&metadata.name, spec.tier.as_deref(), spec.priority)?;
    let subject = reader.object.part("spec.subject", spec.subject)?;
    let subject = reader.subject(subject)?;
    let mut faults = Vec::new();
    let mut rules = |direction: Direction, wire: Option<Vec<Value>>| -> Vec<ClusterRule> {
        let numbered = wire.into_iter().flatten().enumerate();
        let read = numbered.map(|(i, wire)| {
            let action = wire["action"].as_str().map(str::to_owned);
            let field = format!("spec.{direction}[{i}]");
            reader.rule(direction, &field, wire).unwrap_or_else(|fault| {
                faults.push(fault);
                reader.closed(action.as_deref())
            })
        });
        read.collect()
    };
    let ingress = rules(Direction::Ingress, spec.ingress);
    let egress = rules(Direction::Egress, spec.egress);
    let name = ClusterPolicyName { name: metadata.name.as_str().into(), kind };
    let (audit, edition) = (metadata.audit(), metadata.edition());
    Ok(ClusterPolicy { name, edition, tier, priority, subject, ingress, egress, faults, audit })
}

/// Knows which of the kinds it reads.
struct Reader {
    object: Object,
    kind: ClusterPolicyKind,
}

impl Reader {
    fn rank(
        &self,
        name: &str,
        tier: Option<&str>,
        priority: Option<i64>,
    ) -> Result<(ClusterTier, u16), DecodeError> {
        let tier = match (self.kind, tier) {
            (ClusterPolicyKind::ClusterNetworkPolicy, Some("Admin"))
            | (ClusterPolicyKind::AdminNetworkPolicy, _) => ClusterTier::Admin,
            (ClusterPolicyKind::ClusterNetworkPolicy, Some("Baseline")) => ClusterTier::Baseline,
            (ClusterPolicyKind::ClusterNetworkPolicy, other) => {
                let why = format!("{:?} is none of Admin, Baseline", other.unwrap_or_default());
                return Err(self.object.fail("spec.tier", why));
            }
            (ClusterPolicyKind::BaselineAdminNetworkPolicy, _) if name == "default" => {
                return Ok((ClusterTier::Baseline, LAST));
            }
            (ClusterPolicyKind::BaselineAdminNetworkPolicy, _) => {
                return Err(self.object.fail("metadata.name", "is not default".to_owned()));
            }
        };
        let known = priority.and_then(|p| u16::try_from(p).ok()).filter(|p| *p <= LAST);
        let priority = known.ok_or_else(|| {
            let given = priority.map_or("nothing".to_owned(), |priority| priority.to_string());
            self.object.fail("spec.priority", format!("{given} is not between 0 and {LAST}"))
        })?;
        Ok((tier, priority))
    }

    fn subject(&self, wire: WireSubject) -> Result<PodSelector, DecodeError> {
        let field = "spec.subject";
        match (wire.namespaces, wire.pods) {
            (Some(namespaces), None) => {
                Ok(all_of(namespaces.read(&self.object, &format!("{field}.namespaces"))?))
            }
            (None, Some(pods)) => pods.read(&self.object, &format!("{field}.pods")),
            (Some(_), Some(_)) | (None, None) => {
                Err(self.object.fail(field, "names not one of namespaces and pods".to_owned()))
            }
        }
    }

    fn action(&self, text: &str) -> Option<RuleAction> {
        let is_old = self.kind != ClusterPolicyKind::ClusterNetworkPolicy;
        let is_baseline = self.kind == ClusterPolicyKind::BaselineAdminNetworkPolicy;
        match text {
            "Accept" if !is_old => Some(RuleAction::Accept),
            "Allow" if is_old => Some(RuleAction::Accept),
            "Deny" => Some(RuleAction::Deny),
            "Pass" if !is_baseline => Some(RuleAction::Pass),
            _ => None,
        }
    }

    /// What a rule is that can't be read.
    fn closed(&self, action: Option<&str>) -> ClusterRule {
        let (action, peers) = match action.and_then(|text| self.action(text)) {
            Some(RuleAction::Accept) => (RuleAction::Accept, Some(Vec::new())),
            Some(RuleAction::Deny | RuleAction::Pass) | None => (RuleAction::Deny, None),
        };
        ClusterRule { name: None, action, rule: Rule { peers, ports: None } }
    }

    fn rule(
        &self,
        direction: Direction,
        field: &str,
        wire: Value,
    ) -> Result<ClusterRule, DecodeError> {
        let wire: WireRule = self.object.part(field, wire)?;
        let action = self.action(&wire.action).ok_or_else(|| {
            let why = format!("{:?} is no action of this kind", wire.action);
            self.object.fail(&format!("{field}.action"), why)
        })?;
        let is_old = self.kind != ClusterPolicyKind::ClusterNetworkPolicy;
        let (due, foreign) = match is_old {
            true => ((wire.ports, "ports"), (wire.protocols, "protocols")),
            false => ((wire.protocols, "protocols"), (wire.ports, "ports")),
        };
        let unknown = wire.others.keys().next().map(String::as_str);
        if let Some(unknown) = unknown.or(foreign.0.is_some().then_some(foreign.1)) {
            return Err(self.object.fail(field, format!("unknown field {unknown:?}")));
        }
        let (wire_peers, at) = wire.peers.of(&self.object, field, direction)?;
        if wire_peers.is_empty() {
            return Err(self.object.fail(&at, "names no peer".to_owned()));
        }
        let mut peers = Vec::new();
        for (i, wire) in wire_peers.into_iter().enumerate() {
            peers.extend(self.peers((direction, action), &format!("{at}[{i}]"), wire)?);
        }
        let mut ports = Vec::new();
        for (i, wire) in due.0.into_iter().flatten().enumerate() {
            let field = format!("{field}.{}[{i}]", due.1);
            ports.push(if is_old { self.old_port(&field, wire) } else { self.port(&field, wire) }?);
        }
        let ports = Some(ports).filter(|ports| !ports.is_empty());
        let name = wire.name.filter(|name| !name.is_empty()).map(|name| name.as_str().into());
        Ok(ClusterRule { name, action, rule: Rule { peers: Some(peers), ports } })
    }

    /// An element of `from` or `to`, which may name several addresses or names.
    fn peers(
        &self,
        (direction, action): (Direction, RuleAction),
        field: &str,
        wire: Value,
    ) -> Result<Vec<Peer>, DecodeError> {
        let object = &self.object;
        let wire: WirePeer = object.part(field, wire)?;
        let at = |name: &str| format!("{field}.{name}");
        let is_egress = direction == Direction::Egress;
        let WirePeer { namespaces, pods, nodes, networks, domain_names } = wire;
        match (namespaces, pods, nodes, networks, domain_names) {
            (Some(all), None, None, None, None) => {
                Ok(vec![Peer::Pods(all_of(all.read(object, &at("namespaces"))?))])
            }
            (None, Some(pods), None, None, None) => {
                Ok(vec![Peer::Pods(pods.read(object, &at("pods"))?)])
            }
            (None, None, Some(nodes), None, None) if is_egress => {
                Ok(vec![Peer::Nodes(nodes.read(object, &at("nodes"))?)])
            }
            (None, None, None, Some(nets), None) if is_egress && !nets.is_empty() => {
                let nets = nets.iter().enumerate();
                let block = |(i, net): (usize, &String)| {
                    object.block(&format!("{field}.networks[{i}]"), net, &[]).map(Peer::Block)
                };
                nets.map(block).collect()
            }
            (None, None, None, None, Some(names))
                if is_egress && action == RuleAction::Accept && !names.is_empty() =>
            {
                self.names(&at("domainNames"), &names)
            }
            _ => Err(object.fail(field, format!("names no peer of such an {direction} rule"))),
        }
    }

    fn names(&self, field: &str, names: &[String]) -> Result<Vec<Peer>, DecodeError> {
        let numbered = names.iter().enumerate();
        let read = numbered.map(|(i, text)| {
            let fail = |error: crate::InvalidDomainPattern| {
                self.object.fail(&format!("{field}[{i}]"), error.to_string())
            };
            text.parse().map(Peer::Names).map_err(fail)
        });
        read.collect()
    }

    fn port(&self, field: &str, wire: Value) -> Result<PortMatch, DecodeError> {
        let wire: WireProtocol = self.object.part(field, wire)?;
        let (protocol, wire) = match (wire.tcp, wire.udp, wire.sctp, wire.destination_named_port) {
            (Some(wire), None, None, None) => (Protocol::Tcp, wire),
            (None, Some(wire), None, None) => (Protocol::Udp, wire),
            (None, None, Some(wire), None) => (Protocol::Sctp, wire),
            (None, None, None, Some(name)) if !name.is_empty() => {
                return Ok(PortMatch::Named { name: name.as_str().into(), protocol: None });
            }
            _ => return Err(self.object.fail(field, "names not one protocol or port".to_owned())),
        };
        let ports = match (wire.destination_port.number, wire.destination_port.range) {
            (Some(number), None) => (number, number),
            (None, Some(WireRange { start, end })) => (start, end),
            (Some(_), Some(_)) | (None, None) => {
                let why = "names not one of number and range".to_owned();
                return Err(self.object.fail(&format!("{field}.destinationPort"), why));
            }
        };
        self.object.ports(&format!("{field}.destinationPort"), protocol, ports)
    }

    fn old_port(&self, field: &str, wire: Value) -> Result<PortMatch, DecodeError> {
        let wire: OldPort = self.object.part(field, wire)?;
        let (name, protocol, ports) = match (wire.port_number, wire.named_port, wire.port_range) {
            (Some(OldNumber { protocol, port }), None, None) => {
                ("portNumber", protocol, (port, port))
            }
            (None, None, Some(OldRange { protocol, start, end })) => {
                ("portRange", protocol, (start, end))
            }
            (None, Some(name), None) if !name.is_empty() => {
                return Ok(PortMatch::Named { name: name.as_str().into(), protocol: None });
            }
            _ => return Err(self.object.fail(field, "names not one port".to_owned())),
        };
        let field = format!("{field}.{name}");
        let protocol = self.object.protocol(&format!("{field}.protocol"), protocol.as_deref())?;
        self.object.ports(&field, protocol, ports)
    }
}

/// All pods of some namespaces.
fn all_of(namespaces: LabelSelector) -> PodSelector {
    PodSelector { namespaces: Namespaces::Matching(namespaces), pods: LabelSelector::default() }
}

#[cfg(test)]
#[path = "cluster_policy_tests.rs"]
mod tests;

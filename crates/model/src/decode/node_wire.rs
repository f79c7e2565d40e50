//! `v1/Node` as the API server sends it: the shapes alone. Two read them, and differ in what they do with a text that is no
//! address or CIDR. [`node`](super::node()) is strict: packets would go a wrong way, so the Node is left out and the
//! field named. [`node_state`](super::node_state()) is lenient: who gives others theirs has to know of the Node, so
//! that text is left out alone.

use serde::Deserialize;

use super::Meta;

#[derive(Deserialize)]
pub(super) struct WireNode {
    pub(super) metadata: Meta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    #[serde(rename = "podCIDR")]
    pub(super) pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub(super) pod_cidrs: Vec<String>,
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    #[serde(default)]
    key: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) addresses: Vec<Address>,
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
pub(super) struct Address {
    #[serde(rename = "type")]
    kind: String,
    pub(super) address: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl WireNode {
    /// Whether it has a taint with this key.
    pub(super) fn has_taint(&self, key: &str) -> bool {
        self.spec.taints.iter().any(|taint| taint.key == key)
    }

    /// Whether its condition `kind` is True.
    pub(super) fn is(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|it| it.kind == kind && it.status == "True")
    }
}

impl Address {
    /// Whether other nodes reach it there.
    pub(super) fn is_internal(&self) -> bool {
        self.kind == "InternalIP"
    }
}

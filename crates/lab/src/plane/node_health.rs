//! Notices nodes that fell silent, and what becomes of the pods of nodes that are silent or gone.
//!
//! A node renews its Lease every [`RENEWAL`]. After [`GRACE`] without, its `Ready` becomes Unknown, it
//! is tainted and its pods are not ready; after five minutes more its pods are deleted, which a dead
//! node cannot confirm, so they stay Terminating until it is back or its Node object is deleted.
//! Pods of a node that has no Node object are removed at once.
//!
//! Source: Kubernetes, node-lifecycle, taint-eviction and podgc controllers, with shorter times.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::api::{DeleteParams, Patch, PatchParams};
use kube_rs::{Api, Client};
use serde_json::{Value, json};

use super::is_overtaken;
use super::level::{Level, Objects};

/// Namespace of the nodes' leases.
pub const LEASES: &str = "kube-node-lease";

/// How often a node renews its lease (the kubelet: 10 s).
pub const RENEWAL: Duration = Duration::from_secs(2);

/// How long a node may be silent (Kubernetes: 50 s).
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How long pods stay on a silent node (Kubernetes: the default toleration of its taints).
const TOLERATION: SignedDuration = SignedDuration::from_secs(300);

const TAINT: &str = "node.kubernetes.io/unreachable";

/// Something to do about silence.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// The node's `Ready` becomes Unknown.
    Doubt(String),
    /// The taint goes: the node is heard again.
    Trust(String),
    /// The pod is no longer ready.
    Unready(String),
    /// The pod is to end.
    Evict(String),
    /// The pod is removed at once.
    Remove(String),
}

/// Watches over nodes until a level ends.
pub(super) async fn run(
    client: Client,
    mut nodes: Level<Node>,
    mut pods: Level<Pod>,
    leases: Level<Lease>,
) {
    // Leases are renewed all the time, so only what does not happen is of interest: a clock asks.
    let mut clock = tokio::time::interval(RENEWAL);
    loop {
        let levels = (
            nodes.borrow_and_update().clone(),
            pods.borrow_and_update().clone(),
            leases.borrow().clone(),
        );
        if let (Some(nodes), Some(pods), Some(leases)) = levels {
            for action in judge(&nodes, &pods, &leases, Timestamp::now()) {
                if let Err(error) = carry_out(&client, &nodes, &pods, &action).await
                    && !is_overtaken(&error)
                {
                    tracing::warn!("{action:?}: {error}");
                }
            }
        }
        let alive = tokio::select! {
            changed = nodes.changed() => changed.is_ok(),
            changed = pods.changed() => changed.is_ok(),
            _ = clock.tick() => true,
        };
        if !alive {
            return;
        }
    }
}

/// What is to be done at `now`.
fn judge(
    nodes: &Objects<Node>,
    pods: &Objects<Pod>,
    leases: &Objects<Lease>,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for (name, node) in nodes.iter() {
        let silent = is_silent(node, leases.get(&format!("{LEASES}/{name}")), now);
        if silent && ready(node) != "Unknown" {
            actions.push(Action::Doubt(name.clone()));
        }
        if !silent && ready(node) != "Unknown" && is_tainted(node) {
            actions.push(Action::Trust(name.clone()));
        }
    }
    for (key, pod) in pods.iter() {
        let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) else {
            continue;
        };
        let Some(node) = nodes.get(name) else {
            actions.push(Action::Remove(key.clone()));
            continue;
        };
        if ready(node) != "Unknown" {
            continue;
        }
        if pod_ready(pod) == Some("True") {
            actions.push(Action::Unready(key.clone()));
        }
        let since = changed(node).unwrap_or(now);
        if pod.metadata.deletion_timestamp.is_none() && now.duration_since(since) > TOLERATION {
            actions.push(Action::Evict(key.clone()));
        }
    }
    actions
}

async fn carry_out(
    client: &Client,
    nodes: &Objects<Node>,
    pods: &Objects<Pod>,
    action: &Action,
) -> Result<(), kube_rs::Error> {
    let parameters = PatchParams::default();
    match action {
        Action::Doubt(name) => {
            let api = Api::<Node>::all(client.clone());
            let Some(node) = nodes.get(name) else { return Ok(()) };
            doubt(&api, node).await?;
            let mut taints = other_taints(node);
            for effect in ["NoSchedule", "NoExecute"] {
                taints.push(json!({ "key": TAINT, "effect": effect }));
            }
            let patch = json!({ "spec": { "taints": taints } });
            api.patch(name, &parameters, &Patch::Merge(patch)).await?;
            tracing::warn!("node {name} fell silent");
        }
        Action::Trust(name) => {
            let api = Api::<Node>::all(client.clone());
            let others: Vec<_> = nodes.get(name).map(|node| other_taints(node)).unwrap_or_default();
            let patch = json!({ "spec": { "taints": others } });
            api.patch(name, &parameters, &Patch::Merge(patch)).await?;
            tracing::info!("node {name} is heard again");
        }
        Action::Unready(key) => {
            let Some(pod) = pods.get(key) else { return Ok(()) };
            let unready = json!({ "status": "False", "reason": "NodeNotReady" });
            let patch = json!({ "status": { "conditions": with_ready(&pod.status, &unready) } });
            let (api, name) = pod_api(client, key);
            api.patch_status(name, &parameters, &Patch::Merge(patch)).await?;
        }
        Action::Evict(key) => {
            let (api, name) = pod_api(client, key);
            api.delete(name, &DeleteParams::default()).await?;
        }
        Action::Remove(key) => {
            let (api, name) = pod_api(client, key);
            api.delete(name, &DeleteParams::default().grace_period(0)).await?;
        }
    }
    Ok(())
}

/// Says that nobody knows how `node` is.
///
/// # Errors
/// The API server's.
pub async fn doubt(api: &Api<Node>, node: &Node) -> Result<(), kube_rs::Error> {
    let unknown = json!({ "status": "Unknown", "reason": "NodeStatusUnknown",
        "message": "The node stopped posting node status." });
    let patch = json!({ "status": { "conditions": with_ready(&node.status, &unknown) } });
    let name = node.metadata.name.as_deref().unwrap_or_default();
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

fn pod_api<'a>(client: &Client, key: &'a str) -> (Api<Pod>, &'a str) {
    let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
    (Api::namespaced(client.clone(), namespace), name)
}

/// The conditions of `status` with `Ready` replaced by `ready`: a merge patch replaces lists whole.
fn with_ready(status: &impl serde::Serialize, ready: &Value) -> Vec<Value> {
    let status = serde_json::to_value(status).unwrap_or_default();
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "Ready");
    let mut ready = ready.clone();
    ready["type"] = json!("Ready");
    ready["lastTransitionTime"] = json!(now());
    conditions.push(ready);
    conditions
}

/// Now, as Kubernetes writes times.
pub fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the node's `Ready` condition is True.
pub fn is_ready(node: &Node) -> bool {
    ready(node) == "True"
}

fn ready(node: &Node) -> &str {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|condition| condition.type_ == "Ready").map_or("", |ready| &ready.status)
}

fn changed(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    Some(ready.last_transition_time.as_ref()?.0)
}

fn pod_ready(pod: &Pod) -> Option<&str> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .map(|ready| ready.status.as_str())
}

/// A node that has never renewed anything counts from the moment it was made.
fn is_silent(node: &Node, lease: Option<&std::sync::Arc<Lease>>, now: Timestamp) -> bool {
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    let made = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    renewed.or(made).is_some_and(|heard| now.duration_since(heard) > GRACE)
}

fn is_tainted(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == TAINT)
}

fn other_taints(node: &Node) -> Vec<Value> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints
        .filter(|taint| taint.key != TAINT)
        .filter_map(|taint| serde_json::to_value(taint).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn objects<K: serde::de::DeserializeOwned>(list: &[(&str, Value)]) -> Objects<K> {
        let read = |json: &Value| Arc::new(serde_json::from_value(json.clone()).unwrap());
        Arc::new(list.iter().map(|(key, json)| ((*key).to_owned(), read(json))).collect())
    }

    fn node(ready: &str, since: &str, tainted: bool) -> Value {
        let taints =
            if tainted { json!([{ "key": TAINT, "effect": "NoExecute" }]) } else { json!([]) };
        json!({
            "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "taints": taints },
            "status": { "conditions":
                [{ "type": "Ready", "status": ready, "lastTransitionTime": since }] },
        })
    }

    fn judged(node: &Value, pod_ready: &str, renewed: &str, now: &str) -> String {
        let pod = json!({
            "metadata": { "name": "p" },
            "spec": { "nodeName": "n", "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": pod_ready }] },
        });
        let lease = json!({ "metadata": {}, "spec": { "renewTime": renewed } });
        let actions = judge(
            &objects(&[("n", node.clone())]),
            &objects(&[("ns/p", pod)]),
            &objects(&[("kube-node-lease/n", lease)]),
            now.parse().unwrap(),
        );
        format!("{actions:?}")
    }

    #[test]
    fn silence_and_its_end_are_noticed() {
        let (heard, soon) = ("2026-01-01T00:10:00.000000Z", "2026-01-01T00:10:09Z");
        let (late, much_later) = ("2026-01-01T00:10:11Z", "2026-01-01T00:20:00Z");
        let cases = [
            (node("True", heard, false), "True", soon, "[]"),
            (node("True", heard, false), "True", late, r#"[Doubt("n")]"#),
            (node("Unknown", heard, true), "True", late, r#"[Unready("ns/p")]"#),
            (node("Unknown", heard, true), "False", late, "[]"),
            (node("Unknown", heard, true), "False", much_later, r#"[Evict("ns/p")]"#),
            (node("True", heard, true), "True", soon, r#"[Trust("n")]"#),
        ];
        for (node, pod_ready, now, expect) in cases {
            assert_eq!(judged(&node, pod_ready, heard, now), expect);
        }
    }

    #[test]
    fn pods_of_a_node_that_is_no_more_are_removed() {
        let pod = json!({ "metadata": {}, "spec": { "nodeName": "gone", "containers": [] } });
        let waiting = json!({ "metadata": {}, "spec": { "containers": [] } });
        let pods = objects(&[("ns/p", pod), ("ns/q", waiting)]);
        let actions = judge(&objects(&[]), &pods, &objects(&[]), Timestamp::now());
        assert_eq!(actions, [Action::Remove("ns/p".to_owned())]);
    }
}

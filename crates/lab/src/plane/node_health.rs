//! Notices nodes that fell silent, and what becomes of the pods of nodes that are silent or gone.
//!
//! A node renews its Lease every [`RENEWAL`]. After [`GRACE`] without, its `Ready` becomes Unknown and its
//! pods are not ready. Nodes that are silent, not ready or cordoned are tainted; what the taints do to pods
//! is up to the scheduler and to `taint_eviction`. Pods of a node that has no Node object are removed at
//! once.
//!
//! Source: Kubernetes, node-lifecycle and podgc controllers, with shorter times.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube_rs::api::{DeleteParams, Patch, PatchParams};
use kube_rs::{Api, Client};
use serde_json::{Value, json};

use super::is_overtaken;
use super::level::{Level, Objects};
use super::placement::{NOT_READY, UNREACHABLE, UNSCHEDULABLE, taint};

/// Namespace of the nodes' leases.
pub const LEASES: &str = "kube-node-lease";

/// How often a node renews its lease (the kubelet: 10 s).
pub const RENEWAL: Duration = Duration::from_secs(2);

/// How long a node may be silent (Kubernetes: 50 s).
pub const GRACE: SignedDuration = SignedDuration::from_secs(10);

/// Something to do about silence.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// The node's `Ready` becomes Unknown.
    Doubt(String),
    /// The node's taints become those of its state.
    Taint(String),
    /// The pod is no longer ready.
    Unready(String),
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
        if !same_taints(&own_taints(node), &wanted_taints(node, now)) {
            actions.push(Action::Taint(name.clone()));
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
            tracing::warn!("node {name} fell silent");
        }
        Action::Taint(name) => {
            let api = Api::<Node>::all(client.clone());
            let Some(node) = nodes.get(name) else { return Ok(()) };
            let mut taints = other_taints(node);
            taints.extend(wanted_taints(node, Timestamp::now()));
            let version = &node.metadata.resource_version;
            let patch =
                json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
            api.patch(name, &parameters, &Patch::Merge(patch)).await?;
        }
        Action::Unready(key) => {
            let Some(pod) = pods.get(key) else { return Ok(()) };
            let unready = json!({ "status": "False", "reason": "NodeNotReady" });
            let patch = json!({ "status": { "conditions": with_ready(&pod.status, &unready) } });
            let (api, name) = pod_api(client, key);
            api.patch_status(name, &parameters, &Patch::Merge(patch)).await?;
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

/// The taints of a node's state, those it has with the time it got them.
fn wanted_taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let mut wanted = match ready(node) {
        "True" => Vec::new(),
        "Unknown" => vec![taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE, "NoExecute")],
        _ => vec![taint(NOT_READY, "NoSchedule"), taint(NOT_READY, "NoExecute")],
    };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push(taint(UNSCHEDULABLE, "NoSchedule"));
    }
    let own = own_taints(node);
    for taint in &mut wanted {
        let old = own.iter().find(|own| (&own.key, &own.effect) == (&taint.key, &taint.effect));
        let since = old.and_then(|old| old.time_added.clone());
        taint.time_added = Some(since.unwrap_or(Time(now)));
    }
    wanted
}

/// The taints of a node's state that it has.
fn own_taints(node: &Node) -> Vec<Taint> {
    all_taints(node).filter(|taint| is_of_state(taint)).cloned().collect()
}

fn other_taints(node: &Node) -> Vec<Taint> {
    all_taints(node).filter(|taint| !is_of_state(taint)).cloned().collect()
}

fn all_taints(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten()
}

fn is_of_state(taint: &Taint) -> bool {
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str())
}

fn same_taints(a: &[Taint], b: &[Taint]) -> bool {
    let has = |all: &[Taint], taint: &Taint| {
        all.iter().any(|other| (&other.key, &other.effect) == (&taint.key, &taint.effect))
    };
    a.iter().all(|taint| has(b, taint)) && b.iter().all(|taint| has(a, taint))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn objects<K: serde::de::DeserializeOwned>(list: &[(&str, Value)]) -> Objects<K> {
        let read = |json: &Value| Arc::new(serde_json::from_value(json.clone()).unwrap());
        Arc::new(list.iter().map(|(key, json)| ((*key).to_owned(), read(json))).collect())
    }

    fn node(ready: &str, taints: &[&str]) -> Value {
        let taint = |text: &&str| {
            let (key, effect) = text.split_once(':').unwrap();
            json!({ "key": format!("node.kubernetes.io/{key}"), "effect": effect })
        };
        json!({
            "metadata": { "name": "n", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "taints": taints.iter().map(taint).collect::<Vec<_>>(), "unschedulable": false },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
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
        let heard = "2026-01-01T00:10:00.000000Z";
        let (soon, late) = ("2026-01-01T00:10:09Z", "2026-01-01T00:10:11Z");
        let silent = ["unreachable:NoSchedule", "unreachable:NoExecute"];
        let unready = ["not-ready:NoSchedule", "not-ready:NoExecute"];
        let cases = [
            (node("True", &[]), "True", soon, "[]"),
            (node("True", &[]), "True", late, r#"[Doubt("n")]"#),
            (node("Unknown", &[]), "False", late, r#"[Taint("n")]"#),
            (node("Unknown", &silent), "True", late, r#"[Unready("ns/p")]"#),
            (node("Unknown", &silent), "False", late, "[]"),
            (node("True", &silent), "True", soon, r#"[Taint("n")]"#),
            (node("False", &unready), "True", soon, "[]"),
            (node("False", &silent), "True", soon, r#"[Taint("n")]"#),
        ];
        for (node, pod_ready, now, expect) in cases {
            assert_eq!(judged(&node, pod_ready, heard, now), expect);
        }
    }

    #[test]
    fn a_node_has_the_taints_of_its_state_and_keeps_those_of_others() {
        let mut tainted = node("False", &["unreachable:NoExecute"]);
        tainted["spec"]["unschedulable"] = json!(true);
        let other = json!({ "key": "mine", "effect": "NoSchedule" });
        tainted["spec"]["taints"].as_array_mut().unwrap().push(other);
        let tainted: Node = serde_json::from_value(tainted).unwrap();
        let now = Timestamp::now();
        let names = |taints: Vec<Taint>| {
            let name = |taint: &Taint| format!("{}:{}", taint.key, taint.effect);
            taints.iter().map(name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            names(wanted_taints(&tainted, now)),
            "node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute \
             node.kubernetes.io/unschedulable:NoSchedule"
        );
        assert_eq!(names(other_taints(&tainted)), "mine:NoSchedule");
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

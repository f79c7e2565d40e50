//! Waiting until a lab is ready, and saying what is not and why.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube_rs::api::ListParams;
use kube_rs::runtime::{WatchStreamExt, watcher};
use kube_rs::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::plane::node_lifecycle::is_ready;
use crate::plane::object_key;

/// What is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of nodes that are to be Ready.
    pub nodes: Vec<String>,
    /// Pods, as `namespace/name`, that are to be Ready or to have succeeded.
    pub pods: Vec<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Nodes that are ready, of how many.
    pub nodes: (usize, usize),
    /// Pods that are ready, of how many.
    pub pods: (usize, usize),
}

/// What is not ready, each with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// Object, like `pod hello/web-1`, to reason.
    pub reasons: BTreeMap<String, String>,
    /// Whether waiting longer would not help.
    pub hopeless: bool,
}

impl std::error::Error for NotReady {}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not ready:")?;
        self.reasons.iter().try_for_each(|(object, why)| write!(f, "\n  {object}: {why}"))
    }
}

/// Why a container waits that will not go away by waiting.
///
/// Source: kubelet's reasons for containers that cannot be made from what the pod says.
const HOPELESS: [&str; 4] =
    ["ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "ErrImagePull"];

/// Waits until everything in `wanted` is ready, at most `timeout`; tells `progress` whenever it grows.
///
/// # Errors
/// [`NotReady`] at the timeout, or as soon as waiting cannot help any more.
pub async fn ready(
    client: &Client,
    wanted: &Wanted,
    timeout: Duration,
    mut progress: impl FnMut(&Progress),
) -> Result<(), NotReady> {
    let (mut node_events, mut pod_events) = (events::<Node>(client), events::<Pod>(client));
    let (mut nodes, mut pods) = (Objects::<Node>::default(), Objects::<Pod>::default());
    let deadline = tokio::time::sleep(timeout);
    tokio::pin!(deadline);
    let mut shown = None;
    let not_ready = loop {
        let (not_ready, now) = judge(wanted, &nodes.all, &pods.all);
        if shown.as_ref() != Some(&now) {
            progress(&now);
            shown = Some(now);
        }
        if not_ready.reasons.is_empty() {
            return Ok(());
        }
        if not_ready.hopeless {
            break not_ready;
        }
        tokio::select! {
            () = &mut deadline => break not_ready,
            Some(event) = node_events.next() => nodes.take(event),
            Some(event) = pod_events.next() => pods.take(event),
        }
    };
    Err(with_events(client, not_ready).await)
}

type Happening<K> = Result<watcher::Event<K>, watcher::Error>;

fn events<K>(client: &Client) -> impl Stream<Item = Happening<K>> + Unpin
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    Box::pin(watcher(Api::all(client.clone()), watcher::Config::default()).default_backoff())
}

/// Objects of a kind by key, as they are now.
struct Objects<K> {
    all: BTreeMap<String, K>,
    /// What has been read of a list that is not complete yet.
    list: BTreeMap<String, K>,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), list: BTreeMap::new() }
    }
}

impl<K: Resource<DynamicType = ()>> Objects<K> {
    fn take(&mut self, event: Happening<K>) {
        match event {
            Err(error) => tracing::warn!("watch {}: {error}", K::plural(&())),
            Ok(watcher::Event::Init) => self.list.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                self.list.insert(object_key(&object), object);
            }
            Ok(watcher::Event::InitDone) => self.all = std::mem::take(&mut self.list),
            Ok(watcher::Event::Apply(object)) => {
                self.all.insert(object_key(&object), object);
            }
            Ok(watcher::Event::Delete(object)) => {
                self.all.remove(&object_key(&object));
            }
        }
    }
}

fn judge(
    wanted: &Wanted,
    nodes: &BTreeMap<String, Node>,
    pods: &BTreeMap<String, Pod>,
) -> (NotReady, Progress) {
    let mut not_ready = NotReady { reasons: BTreeMap::new(), hopeless: false };
    for name in &wanted.nodes {
        if let Some(why) = node_trouble(nodes.get(name)) {
            not_ready.reasons.insert(format!("node {name}"), why);
        }
    }
    let missing_nodes = not_ready.reasons.len();
    for key in &wanted.pods {
        if let Some((why, hopeless)) = pod_trouble(pods.get(key)) {
            not_ready.reasons.insert(format!("pod {key}"), why);
            not_ready.hopeless |= hopeless;
        }
    }
    let missing_pods = not_ready.reasons.len() - missing_nodes;
    let progress = Progress {
        nodes: (wanted.nodes.len() - missing_nodes, wanted.nodes.len()),
        pods: (wanted.pods.len() - missing_pods, wanted.pods.len()),
    };
    (not_ready, progress)
}

/// Why the node is not ready; `None` when it is.
fn node_trouble(node: Option<&Node>) -> Option<String> {
    let Some(node) = node else {
        return Some("it has not registered with the API server".to_owned());
    };
    if is_ready(node) {
        return None;
    }
    if node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref()).is_none_or(Vec::is_empty) {
        return Some("it has no pod CIDR yet".to_owned());
    }
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    let message = ready.and_then(|ready| ready.message.clone());
    Some(message.unwrap_or_else(|| "it has not reported its condition".to_owned()))
}

/// Why the pod is not ready, and whether that stays so; `None` when it is.
fn pod_trouble(pod: Option<&Pod>) -> Option<(String, bool)> {
    let Some(pod) = pod else { return Some(("it is not there".to_owned(), false)) };
    let Some(status) = pod.status.as_ref() else {
        return Some(("it has no status yet".to_owned(), false));
    };
    let phase = status.phase.as_deref().unwrap_or("Pending");
    let conditions = status.conditions.iter().flatten();
    let is_ready = conditions.clone().any(|it| it.type_ == "Ready" && it.status == "True");
    if is_ready || phase == "Succeeded" {
        return None;
    }
    let mut why = vec![phase.to_owned()];
    let mut hopeless = phase == "Failed";
    why.extend(status.message.clone());
    let inits = status.init_container_statuses.iter().flatten();
    for container in inits.chain(status.container_statuses.iter().flatten()) {
        let Some(state) = container.state.as_ref() else { continue };
        let (reason, message) = match (&state.waiting, &state.terminated) {
            (Some(waiting), _) => (waiting.reason.clone(), waiting.message.clone()),
            (None, Some(end)) => (end.reason.clone(), Some(format!("exit code {}", end.exit_code))),
            (None, None) => continue,
        };
        let reason = reason.unwrap_or_default();
        hopeless |= HOPELESS.contains(&reason.as_str());
        let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
        why.push(format!("container {}: {reason}{message}", container.name));
    }
    for condition in conditions.filter(|condition| condition.status == "False") {
        why.extend(condition.message.clone().filter(|message| !why.contains(message)));
    }
    Some((why.join("; "), hopeless))
}

/// Adds the newest event of each pod: it often knows more than the status.
async fn with_events(client: &Client, mut not_ready: NotReady) -> NotReady {
    let listed = Api::<Event>::all(client.clone()).list(&ListParams::default()).await;
    for event in listed.map(|events| events.items).unwrap_or_default() {
        let about = &event.involved_object;
        let (namespace, name) = (about.namespace.as_deref(), about.name.as_deref());
        let key = format!("pod {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        let is_warning = event.type_.as_deref() == Some("Warning");
        if let (Some(why), Some(message), true) =
            (not_ready.reasons.get_mut(&key), event.message, is_warning)
            && !why.contains(&message)
        {
            why.push_str("; ");
            why.push_str(&message);
        }
    }
    not_ready
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let json = json!({ "metadata": {}, "spec": { "containers": [] }, "status": status });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_pod_says_why_it_is_not_ready_and_whether_waiting_helps() {
        let waiting = |reason: &str| {
            json!({ "phase": "Pending", "containerStatuses": [{
                "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": "m" } },
            }] })
        };
        let cases = [
            (json!({ "phase": "Succeeded" }), None),
            (json!({ "conditions": [{ "type": "Ready", "status": "True" }] }), None),
            (json!({ "phase": "Failed", "message": "boom" }), Some(("Failed; boom", true))),
            (
                json!({ "conditions": [
                    { "type": "PodScheduled", "status": "False", "message": "0/3 nodes" }] }),
                Some(("Pending; 0/3 nodes", false)),
            ),
            (
                waiting("ContainerCreating"),
                Some(("Pending; container c: ContainerCreating (m)", false)),
            ),
            (
                waiting("ErrImageNeverPull"),
                Some(("Pending; container c: ErrImageNeverPull (m)", true)),
            ),
        ];
        for (status, expect) in cases {
            let expect = expect.map(|(why, hopeless)| (why.to_owned(), hopeless));
            assert_eq!(pod_trouble(Some(&pod(&status))), expect, "{status}");
        }
    }

    #[test]
    fn a_node_says_how_far_it_got() {
        let node = |json: Value| serde_json::from_value::<Node>(json).unwrap();
        let cidrs = json!({ "podCIDRs": ["10.244.1.0/24"] });
        let status = |status: &str| json!({ "conditions": [{ "type": "Ready", "status": status, "message": "m" }] });
        let named = json!({ "metadata": {} });
        let unready = json!({ "metadata": {}, "spec": cidrs, "status": status("False") });
        let ready = json!({ "metadata": {}, "spec": cidrs, "status": status("True") });
        assert!(node_trouble(None).unwrap().contains("not registered"));
        assert!(node_trouble(Some(&node(named))).unwrap().contains("no pod CIDR"));
        assert_eq!(node_trouble(Some(&node(unready))).as_deref(), Some("m"));
        assert_eq!(node_trouble(Some(&node(ready))), None);
    }
}

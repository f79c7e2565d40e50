//! Before a pod that goes is asked to end: waits until no node begins flows to it any more.
//!
//! A kubelet can't do this. It signals at once, while the news that the endpoint goes is still on its way
//! to the nodes, and a server that stops accepting refuses what they still send (kubernetes#43576). Here
//! every node tells in a Lease which EndpointSlices its new flows follow.
//!
//! ```text
//! pod deleted ─► slice: terminating, revision R ─► every agent ─► Lease: R ─► TERM
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::node_lease::{DRAINED, LABEL, NAMESPACE};
use kube_rs::api::{Api, ListParams};
use kube_rs::{Client, Error};

/// Longest wait, if the pod's grace period is not shorter: a node that hangs must not hold up pods of
/// others.
const LONGEST: Duration = Duration::from_secs(10);
/// Time between two looks at first; it doubles up to [`SELDOM`].
const OFTEN: Duration = Duration::from_millis(5);
/// Time between two looks in the end.
const SELDOM: Duration = Duration::from_millis(80);

/// Slices that a node's new flows have nothing to do with.
const OTHERS: &str = "!service.kubernetes.io/headless";

/// How far the news is that a pod goes.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It is no endpoint of anything.
    Needless,
    /// A slice still shows it as one that stays.
    Expected,
    /// Every slice shows it, or no longer has it, as of this revision.
    Out(u64),
}

/// Waits until no node begins flows to `pod` by a Service, if it has been deleted; not for long.
pub(super) async fn drained(client: Client, pod: Arc<Pod>) {
    if pod.metadata.deletion_timestamp.is_none() {
        return;
    }
    match tokio::time::timeout(LONGEST, wait(&client, &pod)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("wait until {} gets no new flows: {error}", name(&pod)),
        Err(_) => tracing::info!("{} ends although nodes may still send it new flows", name(&pod)),
    }
}

async fn wait(client: &Client, pod: &Pod) -> Result<(), Error> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let (leases, nodes) = (Api::namespaced(client.clone(), NAMESPACE), Api::all(client.clone()));
    let mut pause = OFTEN;
    let mut revision = None;
    loop {
        if revision.is_none() {
            let slices = slices.list(&ListParams::default().labels(OTHERS)).await?;
            revision = match news(&slices.items, pod.metadata.uid.as_deref().unwrap_or_default()) {
                News::Needless => return Ok(()),
                News::Expected => None,
                News::Out(revision) => Some(revision),
            };
        }
        if let Some(revision) = revision {
            let leases = leases.list(&ListParams::default().labels(LABEL)).await?;
            let nodes = nodes.list(&ListParams::default()).await?;
            if behind(&leases.items, &nodes.items, revision).next().is_none() {
                return Ok(());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(SELDOM);
    }
}

/// What `slices` say about the pod with this uid.
fn news(slices: &[EndpointSlice], uid: &str) -> News {
    let mut known = News::Needless;
    for slice in slices {
        let of_pod = slice.endpoints.iter().filter(|endpoint| {
            endpoint.target_ref.as_ref().and_then(|pod| pod.uid.as_deref()) == Some(uid)
        });
        for endpoint in of_pod {
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.terminating) != Some(true) {
                return News::Expected;
            }
            let revision = number(slice.metadata.resource_version.as_deref());
            known = match known {
                News::Out(newest) => News::Out(newest.max(revision)),
                News::Needless | News::Expected => News::Out(revision),
            };
        }
    }
    known
}

/// The nodes, of those that are well and tell it, whose new flows do not follow `revision` yet.
fn behind<'a>(
    leases: &'a [Lease],
    nodes: &'a [Node],
    revision: u64,
) -> impl Iterator<Item = &'a str> {
    let told = |lease: &'a Lease| {
        let node = lease.metadata.labels.as_ref()?.get(LABEL)?;
        let drained = lease.metadata.annotations.as_ref()?.get(DRAINED)?;
        Some((node.as_str(), number(Some(drained))))
    };
    let told: BTreeMap<&str, u64> = leases.iter().filter_map(told).collect();
    let well = nodes.iter().filter(|node| is_ready(node));
    let names = well.filter_map(|node| node.metadata.name.as_deref());
    names.filter(move |node| told.get(node).is_some_and(|drained| *drained < revision))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.type_ == "Ready").any(|ready| ready.status == "True")
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn name(pod: &Pod) -> String {
    super::start::title(pod)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(revision: &str, endpoints: &[(&str, Option<bool>)]) -> EndpointSlice {
        let endpoint = |(uid, terminating): &(&str, Option<bool>)| {
            json!({"addresses": ["10.244.1.2"], "targetRef": {"kind": "Pod", "uid": uid},
                "conditions": {"terminating": terminating}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "resourceVersion": revision}, "addressType": "IPv4",
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<Value>>(),
        }))
        .unwrap()
    }

    #[test]
    fn the_news_is_out_when_every_slice_of_the_pod_has_it() {
        let (going, staying) = (("a", Some(true)), ("a", None));
        for (slices, expected) in [
            (vec![], News::Needless),
            (vec![slice("7", &[("b", Some(true))])], News::Needless),
            (vec![slice("7", &[staying])], News::Expected),
            (vec![slice("7", &[("b", None), going])], News::Out(7)),
            (vec![slice("9", &[going]), slice("8", &[going])], News::Out(9)),
            (vec![slice("9", &[going]), slice("8", &[staying])], News::Expected),
        ] {
            assert_eq!(news(&slices, "a"), expected, "{slices:?}");
        }
    }

    #[test]
    fn only_nodes_that_are_well_and_tell_are_waited_for() {
        let node = |name: &str, ready: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": name},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
            .unwrap()
        };
        let lease = |node: &str, drained: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": format!("seaway-{node}"),
                "labels": {LABEL: node}, "annotations": {DRAINED: drained}}}))
            .unwrap()
        };
        let nodes = [node("a", "True"), node("b", "True"), node("c", "Unknown"), node("d", "True")];
        let leases = [lease("a", "9"), lease("b", "10"), lease("c", "1"), lease("gone", "1")];
        for (revision, expected) in [(9, vec![]), (10, vec!["a"]), (11, vec!["a", "b"])] {
            assert_eq!(behind(&leases, &nodes, revision).collect::<Vec<_>>(), expected);
        }
    }
}

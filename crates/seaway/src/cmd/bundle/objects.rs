//! What an API server has of a cluster.

use anyhow::Context;
use http::Request;
use kube::Client;
use serde_json::Value;

use super::Gathered;

/// What the API server is asked for: everything that a network follows from, and what was said of it.
/// No Secrets and no ConfigMaps.
const LISTS: [(&str, &str); 11] = [
    ("nodes", "/api/v1/nodes"),
    ("namespaces", "/api/v1/namespaces"),
    ("pods", "/api/v1/pods"),
    ("services", "/api/v1/services"),
    ("events", "/api/v1/events"),
    ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies"),
    ("servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs"),
    ("leases", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"),
    ("clusternetworkpolicies", "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"),
    ("daemonsets", "/apis/apps/v1/daemonsets"),
];

/// Takes all of it. Returns the names of the nodes.
pub(super) async fn gather(client: &Client, all: &mut Gathered) -> Vec<String> {
    let mut nodes = Vec::new();
    for (what, path) in LISTS {
        let list = list(client, path).await;
        if let ("nodes", Ok(list)) = (what, &list) {
            nodes = names(list);
        }
        let list = list.map(|list| format!("{list:#}\n"));
        all.put(format!("objects/{what}.json"), list.map_err(|error| kube::chain(error.as_ref())));
    }
    nodes
}

async fn list(client: &Client, path: &str) -> anyhow::Result<Value> {
    let request = Request::get(path).body(Vec::new())?;
    client.request::<Value>(request).await.with_context(|| format!("list {path}"))
}

fn names(list: &Value) -> Vec<String> {
    let name = |object: &Value| object["metadata"]["name"].as_str().map(str::to_owned);
    list["items"].as_array().into_iter().flatten().filter_map(name).collect()
}

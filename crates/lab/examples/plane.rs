//! What a control plane costs as its cluster grows: an API server and all controllers in this process, a
//! hundred nodes that nobody runs, and ten thousand pods that come a thousand at a time. A thousand that takes
//! as long as the one before it says that a pod costs the same however many there are.

#![expect(clippy::print_stdout, reason = "its tables are its output")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube_rs::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube_rs::{Client, Config};
use seaway_lab::plane;
use seaway_lab::spec::Spec;
use serde_json::{Value, json};

const NODES: u32 = 100;
const PODS: u32 = 10_000;
const BATCH: u32 = 1000;
/// Requests that are under way at the same time.
const PARALLEL: usize = 16;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result {
    println!("| s until the next {BATCH} of {PODS} pods have a node | plain | spread over nodes |");
    println!("|---|---|---|");
    let plain = grow(&json!({})).await?;
    let spread = grow(&json!({ "topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "web" } } }] }))
    .await?;
    for (turn, (plain, spread)) in plain.iter().zip(&spread).enumerate() {
        let before = turn * usize::try_from(BATCH)?;
        let (plain, spread) = (plain.as_secs_f64(), spread.as_secs_f64());
        println!("| with {before} placed | {plain:.2} | {spread:.2} |");
    }
    Ok(())
}

/// How long each batch took, from its first request to its last binding.
async fn grow(more: &Value) -> Result<Vec<Duration>> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", listener.local_addr()?);
    let options = apiserver::Options { listeners: vec![listener], ..apiserver::Options::default() };
    let server = apiserver::Server::new(options)?;
    let kubeconfig = kube_rs::config::Kubeconfig::from_yaml(&server.kubeconfig(&url))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
    let client = Client::try_from(config)?;
    let served = tokio::spawn(async move { server.run(std::future::pending()).await });
    let spec = Arc::new(Spec::new("measure".parse()?));
    let controllers = tokio::spawn(plane::run(client.clone(), spec));
    for number in 1..=NODES {
        node(&client, number).await?;
    }
    let mut took = Vec::new();
    for first in (0..PODS).step_by(usize::try_from(BATCH)?) {
        let start = Instant::now();
        let pods = stream::iter(first..first + BATCH).map(|number| pod(&client, number, more));
        pods.buffer_unordered(PARALLEL).try_collect::<()>().await?;
        all_placed(&client).await?;
        took.push(start.elapsed());
    }
    controllers.abort();
    served.abort();
    Ok(took)
}

/// A node that is ready, with room for its part of the pods, whose lease lasts.
async fn node(client: &Client, number: u32) -> Result {
    let name = format!("crowd-{number}");
    let node =
        json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } } });
    let nodes = Api::<Node>::all(client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(node)?).await?;
    let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "110" });
    let status = json!({ "status": { "allocatable": room, "capacity": room,
        "conditions": [{ "type": "Ready", "status": "True" }] } });
    nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
    let lease = json!({ "metadata": { "name": name },
        "spec": { "holderIdentity": name, "renewTime": "2100-01-01T00:00:00.000000Z" } });
    let leases = Api::<Lease>::namespaced(client.clone(), plane::node_lifecycle::LEASES);
    leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    Ok(())
}

async fn pod(client: &Client, number: u32, more: &Value) -> Result {
    let mut pod = json!({
        "metadata": { "name": format!("web-{number}"), "labels": { "app": "web" } },
        "spec": more,
    });
    pod["spec"]["containers"] = json!([{ "name": "c", "image": "seaway/echo",
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } } }]);
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

/// Waits until no pod is without a node.
async fn all_placed(client: &Client) -> Result {
    let pods = Api::<Pod>::namespaced(client.clone(), "default");
    let homeless = ListParams::default().fields("spec.nodeName=").limit(1);
    while !pods.list_metadata(&homeless).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

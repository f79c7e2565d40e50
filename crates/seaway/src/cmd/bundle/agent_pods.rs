//! The nodes of a cluster, each gathered by `seaway bundle` in its agent's pod, with what the agent says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube_rs::api::{AttachParams, ListParams, LogParams};
use kube_rs::{Api, ResourceExt};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Gathered, objects};
use crate::cmd::cluster::Cluster;

/// The agents' pods, as `seaway install` labels them.
const AGENTS: &str = "app.kubernetes.io/name=seaway,app.kubernetes.io/component=agent";

/// The agent's container.
const CONTAINER: &str = "agent";

/// Nodes gathered at once.
const AT_ONCE: usize = 16;

/// How many lines of an agent's log are taken, from its end.
const LOG_LINES: i64 = 20_000;

/// How long a node may take, beside its check.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every node of a cluster, its objects and its agents' logs.
pub(super) fn cluster(cluster: &Cluster, timeout: u64) -> anyhow::Result<Gathered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = cluster.client().await?;
        let mut all = Gathered::default();
        let nodes = objects::gather(&client, &mut all).await;
        let mut pods = agents(&client).await?;
        let found = stream::iter(nodes).map(|node| {
            let (client, pod) = (client.clone(), pods.remove(&node));
            async move { (of_node(&client, pod, timeout).await, node) }
        });
        let mut found = found.buffer_unordered(AT_ONCE);
        while let Some((gathered, node)) = found.next().await {
            all.put_below(&node, gathered);
        }
        all.files.sort();
        Ok(all)
    })
}

/// The pod of each node's agent, the last one to have started where one hands over to another.
async fn agents(client: &Client) -> anyhow::Result<BTreeMap<String, Pod>> {
    let wanted = ListParams::default().labels(AGENTS);
    let listed = Api::<Pod>::all(client.clone()).list(&wanted).await;
    let mut pods = listed.context("list the agents' pods")?.items;
    pods.sort_by_key(ResourceExt::creation_timestamp);
    let of_node = |pod: Pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod));
    Ok(pods.into_iter().filter_map(of_node).collect())
}

async fn of_node(client: &Client, pod: Option<Pod>, timeout: u64) -> Gathered {
    let mut all = Gathered::default();
    let Some(pod) = pod else {
        all.missing.push(format!("everything: no pod there is labeled {AGENTS}"));
        return all;
    };
    let name = pod.name_any();
    let pods = Api::<Pod>::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    for (file, previous) in [("agent.log", false), ("agent-before.log", true)] {
        let wanted = LogParams {
            container: Some(CONTAINER.to_owned()),
            previous,
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        // Most agents have not been started again by their kubelet.
        match pods.logs(&name, &wanted).await {
            Err(_) if previous => {}
            log => all.put(file, log.map_err(|error| kube::chain(&error))),
        }
    }
    let patience = PATIENCE + Duration::from_secs(timeout);
    let gathered = tokio::time::timeout(patience, inside(&pods, &name, timeout)).await;
    let late = || anyhow::anyhow!("no answer within {} s", patience.as_secs());
    match gathered.unwrap_or_else(|_| Err(late())) {
        Ok(inner) => {
            all.files.extend(inner.files);
            all.missing.extend(inner.missing);
        }
        Err(error) => {
            let why = kube::chain(error.as_ref());
            all.missing.push(format!("everything inside of pod {name}: {why}"));
        }
    }
    all
}

/// What `seaway bundle` finds inside of the pod.
async fn inside(pods: &Api<Pod>, name: &str, timeout: u64) -> anyhow::Result<Gathered> {
    let timeout = timeout.to_string();
    let command = ["seaway", "bundle", "--file", "-", "--timeout", &timeout];
    let wanted = AttachParams::default().container(CONTAINER).stdout(true).stderr(true);
    let mut running = pods.exec(name, command, &wanted).await.context("start seaway bundle")?;
    let status = running.take_status();
    let (bundle, said) = tokio::join!(whole(running.stdout()), whole(running.stderr()));
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    running.join().await.context("hear seaway bundle")?;
    let (bundle, said) = (bundle?, said?);
    let status = status.context("nobody says how seaway bundle ended")?;
    let why = status.message.unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    ensure!(status.status.as_deref() == Some("Success"), "{why}: {}", said.trim_end());
    Gathered::read(&bundle).context("read the bundle of the node")
}

async fn whole(stream: Option<impl AsyncRead + Unpin>) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    let Some(mut stream) = stream else { bail!("nothing can be heard") };
    stream.read_to_end(&mut all).await?;
    Ok(all)
}

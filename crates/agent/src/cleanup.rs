//! Takes everything of Seaway's off a node again.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Access;
use model::{NodeName, chain};
use wire::cni::Paths;

use crate::journal::Journal;
use crate::reconcile::{Reach, wall_clock};
use crate::run::{RunError, system};
use crate::{capability, found, handover, install, places, snapshot};

/// What is taken away, and from where.
#[derive(Debug, Clone)]
pub struct Cleanup {
    /// Run and state directory.
    pub paths: Paths,
    /// Where runtimes look for network configurations.
    pub cni_conf_dir: PathBuf,
    /// Where runtimes look for plugins.
    pub cni_bin_dir: PathBuf,
    /// Whether leases of pods' addresses are forgotten, too.
    pub ledger: bool,
    /// The API server, and which Node the machine is there, if what agents have written there is to go as well.
    pub cluster: Option<(Access, NodeName)>,
}

/// Takes everything off the node that agents put there: the kernel's state, the configuration, the
/// plugin, the sockets and what was known of the cluster; and what they wrote in the API, once the kernel has
/// nothing any more, which is what others wait for. No agent may be running.
///
/// # Errors
/// [`RunError`]; running it again goes on. What could not be removed is in the returned lines.
pub fn cleanup(wanted: &Cleanup) -> Result<Vec<String>, RunError> {
    let Cleanup { paths, cni_conf_dir, cni_bin_dir, ledger, cluster } = wanted;
    capability::check()?;
    let (journal, _) = Journal::open(&paths.state_dir, wall_clock())?;
    install::remove_conflist(cni_conf_dir)?;
    let mut steps = places::steps(&paths.run_dir, &Arc::default(), None)?;
    // The rules say whose flows are ours. What cannot be read, the pass finds out again and reports.
    drop(steps.read());
    let report = steps.pass(&plan::Plan::default(), Reach::All, Default::default());
    tracing::info!("{report}");
    let unnamed = kernel::nft::Owned::open().and_then(|mut rules| rules.clear());
    install::remove_loopback(cni_bin_dir)?;
    install::remove(&cni_bin_dir.join(install::PLUGIN))?;
    for name in ["cni.sock", "agent.sock", handover::SOCKET, places::SYSCTLS] {
        install::remove(&paths.run_dir.join(name))?;
    }
    drop(journal);
    if *ledger {
        for name in ["ledger", "ledger.lock"] {
            install::remove(&paths.state_dir.join(name))?;
        }
        // DELs that wait are about leases, too.
        if let Err(cause) = std::fs::remove_dir_all(paths.pending())
            && cause.kind() != std::io::ErrorKind::NotFound
        {
            return Err(system("remove the DELs that wait")(cause));
        }
    }
    let unnamed = unnamed.err().map(|error| chain(&error));
    let left: Vec<String> =
        report.failures().map(|failure| failure.text.clone()).chain(unnamed).collect();
    if let Some((access, node)) = cluster.as_ref().filter(|_| left.is_empty()) {
        withdraw(access, node)?;
    }
    // These say where the API server is: they are needed to try again.
    for name in [snapshot::FILE, snapshot::NEW_FILE, found::FILE, found::SERVERS] {
        install::remove(&paths.state_dir.join(name))?;
    }
    // Only empty ones go: what else is in them is not ours.
    for dir in [&paths.run_dir, &paths.state_dir] {
        drop(std::fs::remove_dir(dir));
    }
    Ok(left)
}

/// Takes back what the agent of `node` has written in the API.
fn withdraw(access: &Access, node: &NodeName) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done: kube::Uninstalled =
        runtime.map_err(system("start the runtime"))?.block_on(async {
            let client = kube::connect(access).await?;
            Ok::<_, RunError>(kube::uninstall(&client, node).await?)
        })?;
    for gone in &done.gone {
        tracing::info!("{gone} is gone");
    }
    if let Some(other) = done.other {
        tracing::info!("node {other} has Seaway: what is there for all nodes stays");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use kube::{Client, NETWORK_PRESSURE, NETWORK_UNAVAILABLE, NodeCondition, Uninstalled};
    use model::{NodeName, Realised, ServiceName};
    use serde_json::{Value, json};

    use crate::duties::served::serve;
    use crate::scratch::Scratch;

    async fn send(client: &Client, method: &str, path: &str, body: Value) -> Value {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("Content-Type", "application/json");
        client.request(request.body(body.to_string().into_bytes()).unwrap()).await.unwrap()
    }

    /// Conditions of a Node, as `TYPE REASON`.
    async fn conditions(client: &Client, node: &str) -> Vec<String> {
        let node = send(client, "GET", &format!("/api/v1/nodes/{node}"), Value::Null).await;
        let all = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let words =
            |it: &Value| [&it["type"], &it["reason"]].map(|it| it.as_str().unwrap().to_owned());
        let mut all: Vec<String> = all.iter().map(|it| words(it).join(" ")).collect();
        all.sort();
        all
    }

    async fn tells(client: &Client, node: &NodeName) {
        for kind in [NETWORK_UNAVAILABLE, NETWORK_PRESSURE] {
            let reason = "SeawayIsUp";
            let told = NodeCondition { kind, is_true: false, reason, message: String::new() };
            kube::tell_condition(client, node, &told).await.unwrap();
        }
        let realised = Realised::default();
        kube::node_lease::tell_realised(client, node, &realised).await.unwrap();
    }

    async fn leaves(client: &Client, node: &NodeName) -> Uninstalled {
        kube::uninstall(client, node).await.unwrap()
    }

    #[tokio::test]
    async fn a_node_takes_back_what_it_told_and_the_last_one_what_was_there_for_all() {
        let scratch = Scratch::new();
        let client = kube::connect(&serve(&scratch).0).await.unwrap();
        let [a, b, c]: [NodeName; 3] = ["a", "b", "gone"].map(Into::into);
        let theirs =
            json!({ "type": "NetworkUnavailable", "status": "False", "reason": "FlannelIsUp" });
        for node in [&a, &b] {
            let object = json!({ "metadata": { "name": node.as_str() },
                "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "Yes" }] } });
            send(&client, "POST", "/api/v1/nodes", object).await;
            tells(&client, node).await;
        }
        kube::node_lease::tell_realised(&client, &c, &Realised::default()).await.unwrap();
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        for name in ["seaway", "kube-controller-manager"] {
            send(&client, "POST", leases, json!({ "metadata": { "name": name } })).await;
        }
        let dns = ServiceName::new("kube-system", "kube-dns");
        let addr = ["10.96.0.10".parse().unwrap()];
        kube::make_dns_service(&client, &dns, &addr, 10053).await.unwrap();

        let left = leaves(&client, &a).await;
        assert_eq!(left.other.as_deref(), Some("b"));
        assert_eq!(
            left.gone,
            [
                "condition NetworkPressure of Node a",
                "condition NetworkUnavailable of Node a",
                "Lease kube-system/seaway-a",
            ]
        );
        assert_eq!(conditions(&client, "a").await, ["Ready Yes"]);
        assert_eq!(conditions(&client, "b").await.len(), 3);

        // Another network has come in its place.
        let patch = json!({ "status": { "conditions": [theirs] } });
        let request = Request::patch("/api/v1/nodes/b/status")
            .header("Content-Type", "application/strategic-merge-patch+json");
        let request = request.body(patch.to_string().into_bytes()).unwrap();
        client.request::<Value>(request).await.unwrap();
        let left = leaves(&client, &b).await;
        assert_eq!(left.other, None);
        assert_eq!(
            left.gone,
            [
                "condition NetworkPressure of Node b",
                "Lease kube-system/seaway-b",
                "Lease kube-system/seaway-gone",
                "Lease kube-system/seaway",
                "Service kube-system/kube-dns",
            ]
        );
        let stays = conditions(&client, "b").await;
        assert_eq!(stays, ["NetworkUnavailable FlannelIsUp", "Ready Yes"]);
        assert_eq!(leaves(&client, &b).await, Uninstalled::default(), "nothing is left to do");

        // A Service that somebody else has made stays.
        let service =
            json!({ "metadata": { "name": "kube-dns" }, "spec": { "ports": [{ "port": 53 }] } });
        send(&client, "POST", "/api/v1/namespaces/kube-system/services", service).await;
        assert_eq!(leaves(&client, &b).await, Uninstalled::default());
        let others = send(&client, "GET", leases, Value::Null).await;
        assert_eq!(others["items"].as_array().unwrap().len(), 1);
    }
}

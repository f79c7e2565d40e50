//! Many nodes, each gathered by `seaway bundle` inside of it, and what is known beside them.

use std::fs;
use std::io::{Cursor, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use lab::lab::{Lab, Target};
use lab::node::CNI_CONF_DIR;
use lab::spec::LabName;
use serde_json::Value;

use super::{Gathered, LEFT_OUT};

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

/// Every node of a lab, its objects and its logs.
pub(super) fn lab(name: &LabName, timeout: u64) -> anyhow::Result<Gathered> {
    let lab = Lab::open(name)?;
    let mut all = Gathered::default();
    let lists = objects(&lab)?;
    let nodes = names(&lists);
    for (what, list) in lists {
        all.put(format!("objects/{what}.json"), list.map(|list| format!("{list:#}\n")));
    }
    all.put("logs/lab.log", fs::read(lab.directory().supervisor_log()));
    for node in nodes {
        let log = lab.directory().node(&node).agent_log();
        all.put(format!("logs/{node}.log"), fs::read(log));
        match of_node(&lab, &node, timeout) {
            Ok(gathered) => all.put_below(&node, gathered),
            Err(error) => all.missing.push(format!("{node}: {error:#}")),
        }
    }
    Ok(all)
}

type Lists = Vec<(&'static str, anyhow::Result<Value>)>;

fn objects(lab: &Lab) -> anyhow::Result<Lists> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = kube::connect(&kube::Access::Kubeconfig(lab.kubeconfig())).await?;
        let mut lists = Lists::new();
        for (what, path) in LISTS {
            let request = http::Request::get(path).body(Vec::new())?;
            let list = client.request::<Value>(request).await;
            lists.push((what, list.with_context(|| format!("list {path}"))));
        }
        Ok(lists)
    })
}

fn names(lists: &Lists) -> Vec<String> {
    let nodes = lists.iter().find(|(what, _)| *what == "nodes");
    let nodes = nodes.and_then(|(_, list)| list.as_ref().ok()?["items"].as_array());
    let name = |node: &Value| node["metadata"]["name"].as_str().map(str::to_owned);
    nodes.into_iter().flatten().filter_map(name).collect()
}

fn of_node(lab: &Lab, node: &str, timeout: u64) -> anyhow::Result<Gathered> {
    let inside = lab.enter(&Target::Node(node.to_owned())).context("enter the node")?;
    let mut command = Command::new(std::env::current_exe().context("find this program")?);
    command.args(["bundle", "--output", "-", "--cni-conf-dir", CNI_CONF_DIR]);
    command.args(["--timeout", &timeout.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = inside.spawn(&mut command).context("start seaway bundle there")?;
    let output = child.wait_with_output().context("wait for seaway bundle there")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "seaway bundle there: {}", said.trim_end());
    read(&output.stdout).context("read the bundle of the node")
}

/// The files of a bundle, whose paths begin with its title.
fn read(bundle: &[u8]) -> anyhow::Result<Gathered> {
    let mut all = Gathered::default();
    for entry in tar::Archive::new(GzDecoder::new(Cursor::new(bundle))).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.components().skip(1).collect::<std::path::PathBuf>();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents)?;
        match path.to_string_lossy() {
            path if path == LEFT_OUT => {
                let lines = String::from_utf8_lossy(&contents);
                all.missing.extend(lines.lines().map(str::to_owned));
            }
            path => all.files.push((path.into_owned(), contents)),
        }
    }
    Ok(all)
}

//! Where probes start and end: pods, nodes and the host outside, each with its namespace.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::Context;
use kernel::netlink::Netlink;
use kernel::netns::Netns;
use lab::lab::{Lab, Target};
use lab::node::ContainerOf;
use lab::spec::LabName;
use lab::supervisor::Outside;
use serde_json::Value;

/// Pods of one node that take part, unless all are wanted.
const PODS_PER_NODE: usize = 3;

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A pod with an address of its own.
    Pod,
    /// A node.
    Node,
    /// A host outside the cluster that knows no way to pods.
    Outside,
}

/// One end of probes.
pub(super) struct Place {
    /// `namespace/name` of a pod, name of a node, or `outside`.
    pub(super) name: String,
    pub(super) role: Role,
    /// The node it is, or is on; empty outside.
    pub(super) node: String,
    /// The addresses it is known by, at most one per family.
    pub(super) addrs: Vec<IpAddr>,
    /// Every address it may speak from.
    pub(super) own: Vec<IpAddr>,
    /// The largest packet it sends towards the others, in bytes.
    pub(super) mtu: u32,
    pub(super) netns: Netns,
}

/// The places of a lab: every node, running pods, the host outside.
pub(super) fn find(name: &LabName, all: bool) -> anyhow::Result<Vec<Place>> {
    let lab = Lab::open(name)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (nodes, pods) = runtime.block_on(listed(&lab))?;
    let mut places = Vec::new();
    for node in items(&nodes) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let addrs =
            addresses(&node["status"]["addresses"], "address", |a| a["type"] == "InternalIP");
        let target = Target::Node(name.clone());
        places.push(place(&lab, &target, name.clone(), Role::Node, name, addrs)?);
    }
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    for pod in items(&pods).filter(|pod| takes_part(pod)) {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
        let count = taken.entry(node.clone()).or_default();
        *count += 1;
        if *count > PODS_PER_NODE && !all {
            continue;
        }
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let of = ContainerOf { namespace: text("namespace"), pod: text("name"), container: None };
        let name = format!("{}/{}", of.namespace, of.pod);
        let addrs = addresses(&pod["status"]["podIPs"], "ip", |_| true);
        places.push(place(&lab, &Target::Container(of), name, Role::Pod, node, addrs)?);
    }
    places.push(outside(&lab)?);
    Ok(places)
}

/// Nodes and pods, as the API server lists them.
async fn listed(lab: &Lab) -> anyhow::Result<(Value, Value)> {
    let client = kube::connect(&kube::Access::Kubeconfig(lab.kubeconfig())).await?;
    let get = |path: &str| {
        let request = http::Request::get(path).body(Vec::new());
        let client = client.clone();
        let path = path.to_owned();
        async move { client.request::<Value>(request?).await.with_context(|| format!("list {path}")) }
    };
    Ok((get("/api/v1/nodes").await?, get("/api/v1/pods").await?))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// A pod that runs and has an address of its own.
fn takes_part(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
        && pod["metadata"]["deletionTimestamp"].is_null()
        && pod["spec"]["hostNetwork"] != true
        && pod["status"]["podIPs"].as_array().is_some_and(|ips| !ips.is_empty())
}

fn addresses(list: &Value, field: &str, wanted: impl Fn(&Value) -> bool) -> Vec<IpAddr> {
    let list = list.as_array().into_iter().flatten().filter(|entry| wanted(entry));
    list.filter_map(|entry| entry[field].as_str()?.parse().ok()).collect()
}

fn outside(lab: &Lab) -> anyhow::Result<Place> {
    let target = Target::Outside(Outside::Internet);
    let families = lab::topology::outside_addrs(lab.spec(), lab::topology::Place::Internet);
    place(lab, &target, "outside".to_owned(), Role::Outside, String::new(), families)
}

/// Opens the namespace of `target` and reads what it has there.
fn place(
    lab: &Lab,
    target: &Target,
    name: String,
    role: Role,
    node: String,
    addrs: Vec<IpAddr>,
) -> anyhow::Result<Place> {
    let entrance = lab.enter(target).with_context(|| format!("enter {name}"))?;
    let netns = entrance.netns().with_context(|| format!("enter {name}"))?;
    let mut netlink = Netlink::open_in(&netns)?;
    let links = netlink.links()?;
    let rows = netlink.addrs(None)?;
    let carries = |addr: &IpAddr| rows.iter().find(|row| row.net.addr() == *addr);
    let mtus = addrs.iter().filter_map(|addr| {
        let index = carries(addr)?.index;
        links.iter().find(|link| link.index == index).map(|link| link.mtu)
    });
    let mtu = mtus.min().with_context(|| format!("{name}: no link carries its address"))?;
    let own = rows.iter().filter(|row| row.global).map(|row| row.net.addr()).collect();
    Ok(Place { name, role, node, addrs, own, mtu, netns })
}

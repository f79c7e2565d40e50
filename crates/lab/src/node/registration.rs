//! The node as the API server sees it: its Node object, its conditions and its lease. The kubelet's
//! part of a cluster.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kernel::netlink::Netlink;
use kube_rs::api::{Patch, PatchParams, PostParams};
use kube_rs::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use super::context::Context;
use crate::architecture::architecture;
use crate::images::Images;
use crate::plane::is_overtaken;
use crate::plane::node_lifecycle::{GRACE, LEASES, RENEWAL, now};

/// Pods a node has room for: the kubelet's default.
const ROOM: &str = "110";

/// How long the API server may take to answer one heartbeat.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether pods can run here; the reason when they cannot.
pub(super) type Readiness = Result<(), String>;

/// Images by their names, with their sizes in bytes.
type Told = Vec<(Vec<String>, u64)>;

/// Registers the node and keeps its object true until the future is dropped. As with the kubelet, a
/// Node object that somebody deletes stays deleted until the node starts again.
pub(super) async fn keep(
    mut client: Client,
    context: &Context,
    images: &Images,
    mut ready: Receiver<Readiness>,
) {
    let mut heartbeat = tokio::time::interval(RENEWAL);
    while let Err(error) = register(&client, context).await {
        tracing::warn!("register node {}: {error}", context.name);
        heartbeat.tick().await;
    }
    let mut shown: Option<(Readiness, Vec<IpAddr>, Told)> = None;
    let mut since = now();
    loop {
        let wanted = (ready.borrow_and_update().clone(), own_addrs(context), images.told());
        if shown.as_ref().is_none_or(|(readiness, ..)| *readiness != wanted.0) {
            since = now();
        }
        let is_shown = shown.as_ref() == Some(&wanted);
        let beat = async {
            if !is_shown || is_doubted(&client, context, &wanted.0).await? {
                let mut status = status(context, &wanted.0, &wanted.1, &since);
                status["images"] = told(&wanted.2);
                show(&client, context, status).await?;
            }
            renew(&client, context).await
        };
        // A connection from an address the node no longer has hangs, and so may others of its pool.
        match tokio::time::timeout(PATIENCE, beat).await {
            Ok(Ok(())) => shown = Some(wanted),
            Ok(Err(error)) if is_overtaken(&error) => tracing::debug!("report the node: {error}"),
            Ok(Err(error)) => tracing::warn!("report node {}: {error}", context.name),
            Err(_) => {
                tracing::warn!("report node {}: no answer in {PATIENCE:?}", context.name);
                client = reconnect(client, context).await;
            }
        }
        tokio::select! {
            _ = heartbeat.tick() => {}
            changed = ready.changed() => if changed.is_err() { return },
        }
    }
}

/// A client without connections of the past; the old one when there is none to be had.
async fn reconnect(old: Client, context: &Context) -> Client {
    let access = kube::Access::Kubeconfig(context.kubeconfig.clone());
    kube::connect(&access).await.unwrap_or(old)
}

/// Makes the Node object; one that is there, from before a restart of the node, stays.
async fn register(client: &Client, context: &Context) -> Result<(), kube_rs::Error> {
    let node: Node = serde_json::from_value(json!({
        "metadata": { "name": context.name, "labels": context.labels },
    }))
    .map_err(kube_rs::Error::SerdeError)?;
    let created = Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await;
    match created {
        Err(error) if !is_overtaken(&error) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn show(client: &Client, context: &Context, status: Value) -> Result<(), kube_rs::Error> {
    let api = Api::<Node>::all(client.clone());
    // Conditions of others, as that of the network, stay.
    let patch = Patch::Strategic(json!({ "status": status }));
    api.patch_status(&context.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Images with their sizes, the largest first.
///
/// Source: kubelet `nodestatus.Images`: the 50 largest.
fn told(images: &[(Vec<String>, u64)]) -> Value {
    let mut images: Vec<_> = images.iter().collect();
    images.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let images = images.into_iter().take(50);
    images.map(|(names, bytes)| json!({ "names": names, "sizeBytes": bytes })).collect()
}

/// Whether the object says something else, as when the control plane missed this node for a while.
async fn is_doubted(
    client: &Client,
    context: &Context,
    readiness: &Readiness,
) -> Result<bool, kube_rs::Error> {
    let node = Api::<Node>::all(client.clone()).get(&context.name).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let told = if readiness.is_ok() { "True" } else { "False" };
    let is_told = |kind: &str, status: &str| kind == "Ready" && status == told;
    Ok(!conditions.iter().any(|condition| is_told(&condition.type_, &condition.status)))
}

async fn renew(client: &Client, context: &Context) -> Result<(), kube_rs::Error> {
    let api = Api::<Lease>::namespaced(client.clone(), LEASES);
    let seconds = GRACE.as_secs();
    let renewed = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
    let spec = json!({
        "holderIdentity": context.name,
        "leaseDurationSeconds": seconds,
        "renewTime": renewed,
    });
    let patch = Patch::Merge(json!({ "spec": spec }));
    match api.patch(&context.name, &PatchParams::default(), &patch).await {
        Err(kube_rs::Error::Api(status)) if status.code == 404 => {
            let lease = json!({ "metadata": { "name": context.name }, "spec": spec });
            let lease: Lease = serde_json::from_value(lease).map_err(kube_rs::Error::SerdeError)?;
            match api.create(&PostParams::default(), &lease).await {
                Err(error) if !is_overtaken(&error) => Err(error),
                Ok(_) | Err(_) => Ok(()),
            }
        }
        other => other.map(|_| ()),
    }
}

fn status(context: &Context, readiness: &Readiness, addrs: &[IpAddr], since: &str) -> Value {
    let mut addresses: Vec<_> =
        addrs.iter().map(|addr| json!({ "type": "InternalIP", "address": addr })).collect();
    addresses.push(json!({ "type": "Hostname", "address": context.name }));
    // The API merges addresses by their type, and there may be two of one.
    addresses.push(json!({ "$patch": "replace" }));
    let resources = json!({ "cpu": cores().to_string(), "memory": memory(), "pods": ROOM });
    let machine = nix::sys::utsname::uname().ok();
    let kernel = machine.map(|uname| uname.release().to_string_lossy().into_owned());
    json!({
        "addresses": addresses,
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions(readiness, since),
        "nodeInfo": {
            "machineID": context.name,
            "systemUUID": context.name,
            "bootID": context.name,
            "kernelVersion": kernel.unwrap_or_default(),
            "osImage": os_image(),
            "containerRuntimeVersion": concat!("seaway-lab://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": concat!("v1.33.0-seaway-lab.", env!("CARGO_PKG_VERSION")),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        },
    })
}

/// Source: kubelet, `ReadyCondition` and its neighbors: the messages of a network that is not ready, and of
/// what nodes of a lab never lack.
fn conditions(readiness: &Readiness, since: &str) -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now(), "lastTransitionTime": since,
        })
    };
    let ready = match readiness {
        Ok(()) => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Err(why) => {
            let message = format!("container runtime network not ready: {why}");
            condition("Ready", "False", "KubeletNotReady", &message)
        }
    };
    json!([
        condition(
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available"
        ),
        condition(
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure"
        ),
        condition(
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available"
        ),
        ready,
    ])
}

/// The node's addresses as its kernel has them now, so that a change at run time is reported; those
/// it was given when they cannot be read.
fn own_addrs(context: &Context) -> Vec<IpAddr> {
    let listed = || {
        let mut netlink = Netlink::open().ok()?;
        let index = netlink.link_index("eth0").ok()?;
        let rows = netlink.addrs(Some(index)).ok()?;
        let found: BTreeSet<IpAddr> =
            rows.iter().filter(|row| row.global).map(|row| row.net.addr()).collect();
        // The order of the families is the lab's.
        let v4_first = context.addrs.first().is_none_or(IpAddr::is_ipv4);
        let (first, second): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|addr| addr.is_ipv4() == v4_first);
        let all = [first, second].concat();
        (!all.is_empty()).then_some(all)
    };
    listed().unwrap_or_else(|| context.addrs.clone())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn memory() -> String {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.split_whitespace().next()).unwrap_or("0");
    format!("{kib}Ki")
}

fn os_image() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("Linux").trim_matches('"').to_owned()
}

//! What is in the cluster.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use futures_util::stream;
use http::Request;
use kube::Client;
use serde_json::{Value, json};

use crate::Outcome;

/// Requests under way at once.
const AT_ONCE: usize = 64;

/// How large it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) nodes: u32,
    pub(crate) services: u32,
    /// Of each Service.
    pub(crate) endpoints: u32,
    /// Whether every endpoint is a pod that is there as well.
    pub(crate) has_pods: bool,
}

impl Size {
    /// How many pods there are.
    pub(crate) fn pods(self) -> u32 {
        if self.has_pods { self.services * self.endpoints } else { 0 }
    }
}

/// Writes all objects of the cluster.
pub(crate) async fn create(client: &Client, size: Size) -> Outcome<()> {
    let nodes = (0..size.nodes).map(|number| ("/api/v1/nodes", node(number)));
    post_all(client, nodes).await?;
    let services = (0..size.services).map(|n| ("/api/v1/namespaces/default/services", service(n)));
    post_all(client, services).await?;
    let slices = (0..size.services).map(|number| (SLICES, slice(size, number, 0)));
    post_all(client, slices).await?;
    let pods =
        (0..size.pods()).map(|number| ("/api/v1/namespaces/default/pods", pod(size, number)));
    post_all(client, pods).await
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// The name of the endpoint of a Service that follows from `salt`.
pub(crate) fn name(size: Size, service: u32, salt: u32) -> String {
    let address = endpoint(size, service, 0, salt).replace('.', "-");
    format!("{address}.service-{service}.default.svc.cluster.local")
}

/// Gives a Service endpoints of which one follows from `salt`.
pub(crate) async fn change(client: &Client, size: Size, service: u32, salt: u32) -> Outcome<()> {
    let path = format!("{SLICES}/service-{service}");
    let request = Request::put(path).header("content-type", "application/json");
    let request = request.body(slice(size, service, salt).to_string().into_bytes())?;
    client.request::<Value>(request).await?;
    Ok(())
}

/// Writes what the kubelet of a node writes of itself every five minutes.
pub(crate) async fn beat(client: &Client, number: u32, at: u32) -> Outcome<()> {
    let path = format!("/api/v1/nodes/node-{number}/status");
    let conditions = json!({"status": {"conditions": conditions(at)}});
    let request = Request::patch(path).header("content-type", "application/merge-patch+json");
    client.request::<Value>(request.body(conditions.to_string().into_bytes())?).await?;
    Ok(())
}

async fn post_all(
    client: &Client,
    objects: impl Iterator<Item = (&'static str, Value)>,
) -> Outcome<()> {
    let posts = objects.map(|(path, object)| async move {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes())?;
        client.request::<Value>(request).await?;
        Ok(())
    });
    let mut under_way = stream::iter(posts).buffer_unordered(AT_ONCE);
    while let Some(posted) = under_way.next().await {
        let posted: Outcome<()> = posted;
        posted?;
    }
    Ok(())
}

fn addr(net: [u8; 4], host: u32) -> String {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(net)) + host).to_string()
}

fn node(number: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("node-{number}")},
        "spec": {"podCIDRs": [format!("{}/24", addr([10, 0, 0, 0], number << 8))]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": addr([192, 0, 2, 1], number)}],
            "conditions": conditions(0),
            "images": (0..30).map(image).collect::<Vec<_>>(),
        },
    })
}

/// Of a node at the second `at` of an hour.
fn conditions(at: u32) -> Value {
    let time = format!("2026-01-01T00:{:02}:{:02}Z", at / 60 % 60, at % 60);
    let of = |kind: &str, status: &str| {
        json!({"type": kind, "status": status, "reason": format!("Kubelet{kind}"), "lastHeartbeatTime": time,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "as the kubelet sees it"})
    };
    json!([of("MemoryPressure", "False"), of("DiskPressure", "False"), of("Ready", "True")])
}

fn image(number: u32) -> Value {
    let digest = format!("{number:064x}");
    json!({"names": [format!("registry.example/team/image-{number}@sha256:{digest}")], "sizeBytes": 30_000_000})
}

/// The name of what owns the pods of a Service; theirs are this and a number.
fn owner(service: u32) -> String {
    format!("service-{service}-{:x}", 0xb00f_0000 + service)
}

/// The pod behind endpoint `number` of all, as it is in the API while it runs. Its owner is of a kind that the API
/// server does not know: of one that it knows, it would delete pods whose owner is not there.
fn pod(size: Size, number: u32) -> Value {
    let (service, at) = (number / size.endpoints, number % size.endpoints);
    let ip = endpoint(size, service, at, 0);
    let owner = owner(service);
    let node = node_name(size, number);
    let since = "2026-01-01T00:00:00Z";
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": since});
    let conditions =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{owner}-{at}"), "generateName": format!("{owner}-"),
            "labels": {"app": format!("service-{service}"), "pod-template-hash": format!("{service:x}")},
            "annotations": {"kubectl.kubernetes.io/restartedAt": since},
            "ownerReferences": [{"apiVersion": "workloads.example/v1", "kind": "ReplicaSet", "name": owner,
                "uid": format!("00000000-0000-4000-8000-{service:012}"), "controller": true, "blockOwnerDeletion": true}],
        },
        "spec": {
            "nodeName": node, "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "app", "image": "registry.example/team/image-1:1.0", "imagePullPolicy": "IfNotPresent",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 10},
            }],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": addr([192, 0, 2, 1], number % size.nodes),
            "startTime": since, "qosClass": "Burstable",
            "conditions": conditions.map(condition),
            "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0,
                "image": "registry.example/team/image-1:1.0", "state": {"running": {"startedAt": since}},
                "imageID": image(1)["names"][0], "containerID": format!("containerd://{number:064x}")}],
        },
    })
}

fn service(number: u32) -> Value {
    let ip = addr([10, 96, 0, 1], number);
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("service-{number}")},
        "spec": {
            "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP"}],
        },
    })
}

/// The address of endpoint `at` of a Service: of its pod, as long as there is no `salt`.
fn endpoint(size: Size, service: u32, at: u32, salt: u32) -> String {
    let number = service * size.endpoints + at;
    let salt = if at == 0 { salt } else { 0 };
    let host = 2 + (number / size.nodes + salt) % 250;
    addr([10, 0, 0, 0], ((number % size.nodes) << 8) + host)
}

/// Where pod `number` of all runs.
fn node_name(size: Size, number: u32) -> String {
    format!("node-{}", number % size.nodes)
}

fn slice(size: Size, number: u32, salt: u32) -> Value {
    let endpoint = |at: u32| {
        let mut endpoint = json!({
            "addresses": [endpoint(size, number, at, salt)],
            "nodeName": node_name(size, number * size.endpoints + at),
            "conditions": {"ready": true, "serving": true, "terminating": false},
        });
        if size.has_pods {
            let pod = format!("{}-{at}", owner(number));
            endpoint["targetRef"] = json!({"kind": "Pod", "namespace": "default", "name": pod});
        }
        endpoint
    };
    let name = format!("service-{number}");
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..size.endpoints).map(endpoint).collect::<Vec<_>>(),
    })
}

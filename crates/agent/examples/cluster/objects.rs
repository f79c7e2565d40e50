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
}

/// Writes all objects of the cluster.
pub(crate) async fn create(client: &Client, size: Size) -> Outcome<()> {
    let nodes = (0..size.nodes).map(|number| ("/api/v1/nodes", node(number)));
    post_all(client, nodes).await?;
    let services = (0..size.services).map(|n| ("/api/v1/namespaces/default/services", service(n)));
    post_all(client, services).await?;
    let slices = (0..size.services).map(|number| (SLICES, slice(size, number, 0)));
    post_all(client, slices).await
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
        "status": {"addresses": [{"type": "InternalIP", "address": addr([192, 0, 2, 1], number)}]},
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

/// The address of endpoint `at` of a Service.
fn endpoint(size: Size, service: u32, at: u32, salt: u32) -> String {
    let salt = if at == 0 { salt } else { 0 };
    let host = 2 + (service * 7 + at + salt) % 250;
    addr([10, 0, 0, 0], (((service + at) % size.nodes) << 8) + host)
}

fn slice(size: Size, number: u32, salt: u32) -> Value {
    let endpoint = |at: u32| {
        json!({
            "addresses": [endpoint(size, number, at, salt)],
            "nodeName": format!("node-{}", (number + at) % size.nodes),
            "conditions": {"ready": true, "serving": true, "terminating": false},
        })
    };
    let name = format!("service-{number}");
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..size.endpoints).map(endpoint).collect::<Vec<_>>(),
    })
}

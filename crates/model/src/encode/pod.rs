//! `v1/Pod`.

use serde_json::{Value, json};

use super::{protocol, put_labels};
use crate::{NamedPort, Pod};

/// A Pod. Its named ports are all of one container.
pub fn pod(pod: &Pod) -> Value {
    let name = &pod.name;
    let mut metadata =
        json!({ "namespace": &*name.namespace, "name": &*name.name, "uid": pod.uid.to_string() });
    put_labels(&mut metadata, &pod.labels);
    let mut object = json!({ "metadata": metadata });
    if let Some(node) = &pod.node {
        object["spec"]["nodeName"] = node.as_str().into();
    }
    if pod.is_host_network {
        object["spec"]["hostNetwork"] = true.into();
    }
    if !pod.ports.is_empty() {
        let ports: Value = pod.ports.iter().map(port).collect();
        object["spec"]["containers"] = json!([{ "ports": ports }]);
    }
    if !pod.addrs.is_empty() {
        let addrs = pod.addrs.iter().map(|addr| json!({ "ip": addr }));
        object["status"]["podIPs"] = addrs.collect();
    }
    object
}

fn port(port: &NamedPort) -> Value {
    json!({ "name": &*port.name, "protocol": protocol(port.protocol), "containerPort": port.port })
}

//! `discovery.k8s.io/v1/EndpointSlice`.

use serde_json::{Value, json};

use super::{family, protocol};
use crate::decode::{HEADLESS, SERVICE_NAME, TRIGGERED};
use crate::{Conditions, Endpoint, EndpointPort, EndpointSlice, Hints};

/// What an endpoint is that says nothing of its conditions.
const PLAIN: Conditions = Conditions { ready: true, serving: true, terminating: false };

/// An EndpointSlice.
pub fn endpoint_slice(slice: &EndpointSlice) -> Value {
    let service = &slice.key.service;
    let mut metadata = json!({
        "namespace": &*service.namespace,
        "name": &*slice.key.slice,
        "labels": { SERVICE_NAME: &*service.name },
    });
    if let Some(triggered) = &slice.triggered {
        metadata["annotations"] = json!({ TRIGGERED: triggered.to_string() });
    }
    if slice.is_headless {
        metadata["labels"][HEADLESS] = "".into();
    }
    json!({
        "metadata": metadata,
        "addressType": family(slice.family),
        "ports": slice.ports.iter().map(port).collect::<Value>(),
        "endpoints": slice.endpoints.iter().map(endpoint).collect::<Value>(),
    })
}

fn port(port: &EndpointPort) -> Value {
    json!({ "name": &*port.name, "protocol": protocol(port.protocol), "port": port.port })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let mut object = json!({ "addresses": [endpoint.addr] });
    if endpoint.conditions != PLAIN {
        let Conditions { ready, serving, terminating } = endpoint.conditions;
        object["conditions"] =
            json!({ "ready": ready, "serving": serving, "terminating": terminating });
    }
    if let Some(node) = &endpoint.node {
        object["nodeName"] = node.as_str().into();
    }
    if let Some(hints) = &endpoint.hints {
        object["hints"] = for_whom(hints);
    }
    if let Some(hostname) = &endpoint.hostname {
        object["hostname"] = (**hostname).into();
    }
    if let Some(pod) = &endpoint.pod {
        object["targetRef"] = json!({ "kind": "Pod", "name": &**pod });
    }
    object
}

fn for_whom(hints: &Hints) -> Value {
    let named = |name: &str| json!({ "name": name });
    json!({
        "forZones": hints.zones.iter().map(|zone| named(zone)).collect::<Value>(),
        "forNodes": hints.nodes.iter().map(|node| named(node.as_str())).collect::<Value>(),
    })
}

//! `v1/Service`.

use serde_json::{Value, json};

use super::{ips, nets, protocol};
use crate::decode::PROXY_NAME;
use crate::{Service, ServiceKind, ServicePort, TrafficPolicy};

/// A Service.
pub fn service(service: &Service) -> Value {
    let mut metadata =
        json!({ "namespace": &*service.name.namespace, "name": &*service.name.name });
    if let Some(created) = &service.created {
        metadata["creationTimestamp"] = created.to_string().into();
    }
    if let Some(proxy) = &service.proxy {
        metadata["labels"] = json!({ PROXY_NAME: proxy });
    }
    let mut object = json!({ "metadata": metadata, "spec": spec(service) });
    if !service.load_balancer_ips.is_empty() {
        let ingress = service.load_balancer_ips.iter().map(|ip| json!({ "ip": ip }));
        object["status"]["loadBalancer"]["ingress"] = ingress.collect();
    }
    object
}

fn spec(service: &Service) -> Value {
    let mut spec = json!({ "type": kind(service.kind) });
    if service.is_headless {
        spec["clusterIPs"] = json!(["None"]);
    } else if !service.cluster_ips.is_empty() {
        spec["clusterIPs"] = ips(&service.cluster_ips);
    }
    if !service.ports.is_empty() {
        spec["ports"] = service.ports.iter().map(port).collect();
    }
    if let Some(name) = &service.external_name {
        spec["externalName"] = (**name).into();
    }
    if service.publishes_not_ready {
        spec["publishNotReadyAddresses"] = true.into();
    }
    if service.internal_policy == TrafficPolicy::Local {
        spec["internalTrafficPolicy"] = "Local".into();
    }
    if service.external_policy == TrafficPolicy::Local {
        spec["externalTrafficPolicy"] = "Local".into();
    }
    if let Some(affinity) = service.affinity {
        spec["sessionAffinity"] = "ClientIP".into();
        spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"] = affinity.as_secs().into();
    }
    if !service.external_ips.is_empty() {
        spec["externalIPs"] = ips(&service.external_ips);
    }
    if !service.source_ranges.is_empty() {
        spec["loadBalancerSourceRanges"] = nets(&service.source_ranges);
    }
    if let Some(port) = service.health_check_node_port {
        spec["healthCheckNodePort"] = port.into();
    }
    spec
}

fn kind(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::ClusterIp => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
        ServiceKind::ExternalName => "ExternalName",
    }
}

fn port(port: &ServicePort) -> Value {
    let mut object = json!({ "protocol": protocol(port.protocol), "port": port.port });
    if !port.name.is_empty() {
        object["name"] = (*port.name).into();
    }
    if let Some(number) = port.node_port {
        object["nodePort"] = number.into();
    }
    object
}

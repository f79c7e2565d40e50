//! `v1/Service`.

use std::time::Duration;

use serde::Deserialize;

use super::{DecodeError, Meta, Object, ip, list, net, read};
use crate::{Rfc3339, Service, ServiceKind, ServiceName, ServicePort, TrafficPolicy};

/// Source: KEP-2447.
pub(crate) const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";

/// `sessionAffinityConfig.clientIP.timeoutSeconds` when nothing is said: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// The longest affinity the API allows: a day.
const MOST_AFFINITY_SECONDS: i64 = 86_400;

#[derive(Deserialize)]
struct WireService {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    r#type: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Option<Vec<Port>>,
    internal_traffic_policy: Option<String>,
    external_traffic_policy: Option<String>,
    session_affinity: Option<String>,
    session_affinity_config: Option<AffinityConfig>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    load_balancer_source_ranges: Option<Vec<String>>,
    health_check_node_port: i64,
    external_name: Option<String>,
    publish_not_ready_addresses: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    #[serde(default)]
    name: String,
    protocol: Option<String>,
    port: i64,
    #[serde(default)]
    node_port: i64,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    load_balancer: Balancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Balancer {
    ingress: Option<Vec<Ingress>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    #[serde(default)]
    ip: String,
    ip_mode: Option<String>,
}

/// Reads a Service from its JSON.
///
/// A port of a node counts for types NodePort and LoadBalancer only, an address of a load balancer
/// for the latter, unless its `ipMode` is Proxy: then the balancer wants to see the packets itself
/// (KEP-1860). Entries of `status.loadBalancer.ingress` that are hostnames are skipped.
///
/// # Errors
/// [`DecodeError`] when the JSON is not a Service, or a field holds what the API would refuse.
///
/// Source: Service API.
pub fn service(json: &[u8]) -> Result<Service, DecodeError> {
    let wire: WireService = read("Service", json)?;
    let object = Object { kind: "Service", name: wire.metadata.full_name() };
    let spec = &wire.spec;
    let kind = kind(&object, spec.r#type.as_deref())?;
    let ips = if spec.cluster_ips.is_empty() && !spec.cluster_ip.is_empty() {
        std::slice::from_ref(&spec.cluster_ip)
    } else {
        &spec.cluster_ips
    };
    let headless = ips.first().is_some_and(|text| text == "None");
    let ips = if headless { &[] } else { ips };
    let in_spec = |field: &str, texts: &[String]| -> Result<Vec<_>, DecodeError> {
        let each = texts.iter().enumerate();
        list(each.map(|(i, text)| ip(&object, &format!("spec.{field}[{i}]"), text)))
    };
    let ranges = spec.load_balancer_source_ranges.iter().flatten().enumerate();
    let ranges = ranges
        .map(|(i, text)| net(&object, &format!("spec.loadBalancerSourceRanges[{i}]"), text.trim()));
    let balanced = kind == ServiceKind::LoadBalancer;
    let ingress = wire.status.load_balancer.ingress.iter().flatten().enumerate();
    let vips = ingress.filter(|(_, entry)| {
        balanced && !entry.ip.is_empty() && entry.ip_mode.as_deref().is_none_or(|m| m == "VIP")
    });
    let vips = vips
        .map(|(i, entry)| ip(&object, &format!("status.loadBalancer.ingress[{i}].ip"), &entry.ip));
    Ok(Service {
        name: ServiceName::new(&wire.metadata.namespace, &wire.metadata.name),
        created: wire.metadata.creation_timestamp.as_deref().and_then(Rfc3339::parse),
        proxy: wire.metadata.labels.get(PROXY_NAME).cloned(),
        kind,
        cluster_ips: in_spec("clusterIPs", ips)?,
        is_headless: headless,
        external_name: external_name(kind, spec),
        publishes_not_ready: spec.publish_not_ready_addresses,
        ports: ports(&object, kind, spec.ports.as_deref().unwrap_or_default())?,
        internal_policy: policy(&object, "internal", spec.internal_traffic_policy.as_deref())?,
        external_policy: policy(&object, "external", spec.external_traffic_policy.as_deref())?,
        affinity: affinity(&object, spec)?,
        external_ips: in_spec("externalIPs", spec.external_ips.as_deref().unwrap_or_default())?,
        load_balancer_ips: list(vips)?,
        source_ranges: list(ranges)?,
        health_check_node_port: object
            .optional_port("spec.healthCheckNodePort", spec.health_check_node_port)?,
    })
}

fn kind(object: &Object, text: Option<&str>) -> Result<ServiceKind, DecodeError> {
    match text {
        None | Some("" | "ClusterIP") => Ok(ServiceKind::ClusterIp),
        Some("NodePort") => Ok(ServiceKind::NodePort),
        Some("LoadBalancer") => Ok(ServiceKind::LoadBalancer),
        Some("ExternalName") => Ok(ServiceKind::ExternalName),
        Some(other) => Err(object.fail("spec.type", format!("{other:?} is no type of a Service"))),
    }
}

/// Only a Service of that type has a name elsewhere.
fn external_name(kind: ServiceKind, spec: &Spec) -> Option<Box<str>> {
    let name = spec.external_name.as_deref().filter(|name| !name.is_empty())?;
    (kind == ServiceKind::ExternalName).then(|| name.into())
}

fn policy(object: &Object, side: &str, text: Option<&str>) -> Result<TrafficPolicy, DecodeError> {
    match text {
        None | Some("" | "Cluster") => Ok(TrafficPolicy::Cluster),
        Some("Local") => Ok(TrafficPolicy::Local),
        Some(other) => Err(object.fail(
            &format!("spec.{side}TrafficPolicy"),
            format!("{other:?} is neither Cluster nor Local"),
        )),
    }
}

fn affinity(object: &Object, spec: &Spec) -> Result<Option<Duration>, DecodeError> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return Ok(None),
        Some("ClientIP") => {}
        Some(other) => {
            let why = format!("{other:?} is neither None nor ClientIP");
            return Err(object.fail("spec.sessionAffinity", why));
        }
    }
    let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).unwrap_or(AFFINITY_SECONDS);
    match u64::try_from(seconds) {
        Ok(whole) if (1..=MOST_AFFINITY_SECONDS).contains(&seconds) => {
            Ok(Some(Duration::from_secs(whole)))
        }
        Ok(_) | Err(_) => Err(object.fail(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            format!("{seconds} is not between 1 and {MOST_AFFINITY_SECONDS}"),
        )),
    }
}

fn ports(
    object: &Object,
    kind: ServiceKind,
    ports: &[Port],
) -> Result<Vec<ServicePort>, DecodeError> {
    let on_nodes = match kind {
        ServiceKind::NodePort | ServiceKind::LoadBalancer => true,
        ServiceKind::ClusterIp | ServiceKind::ExternalName => false,
    };
    let each = ports.iter().enumerate();
    list(each.map(|(i, port)| {
        let at = |field: &str| format!("spec.ports[{i}].{field}");
        let node_port = object.optional_port(&at("nodePort"), port.node_port)?;
        Ok(ServicePort {
            name: port.name.as_str().into(),
            protocol: object.protocol(&at("protocol"), port.protocol.as_deref())?,
            port: object.port(&at("port"), port.port)?,
            node_port: node_port.filter(|_| on_nodes),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Service, DecodeError> {
        service(format!(r#"{{"metadata":{{"namespace":"ns","name":"web"}},{spec}}}"#).as_bytes())
    }

    #[test]
    fn what_is_left_out_has_the_defaults_of_the_api() {
        let got = read(r#""spec":{"clusterIP":"10.96.0.9","ports":[{"port":80}]}"#).unwrap();
        assert_eq!(got.name.to_string(), "ns/web");
        assert_eq!(got.kind, ServiceKind::ClusterIp);
        assert_eq!(got.cluster_ips, ["10.96.0.9".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(got.ports[0].protocol, crate::Protocol::Tcp);
        assert_eq!((&*got.ports[0].name, got.ports[0].node_port), ("", None));
        assert_eq!(got.internal_policy, TrafficPolicy::Cluster);
        assert_eq!(got.external_policy, TrafficPolicy::Cluster);
        assert_eq!((got.affinity, got.proxy), (None, None));
        let sticky = read(r#""spec":{"sessionAffinity":"ClientIP"}"#).unwrap();
        assert_eq!(sticky.affinity, Some(Duration::from_secs(10_800)));
    }

    #[test]
    fn frontends_follow_from_the_type() {
        let spec = |kind: &str| {
            let spec = format!(
                r#""spec":{{"type":"{kind}","clusterIPs":["10.96.0.9","fd00::9"],
                "loadBalancerSourceRanges":[" 192.0.2.0/24 "],"healthCheckNodePort":32000,
                "ports":[{{"name":"x","protocol":"SCTP","port":80,"nodePort":30080}}]}},
                "status":{{"loadBalancer":{{"ingress":[{{"ip":"203.0.113.1"}},
                {{"ip":"203.0.113.2","ipMode":"VIP"}},{{"ip":"203.0.113.3","ipMode":"Proxy"}},
                {{"hostname":"lb.example"}}]}}}}"#
            );
            read(&spec).unwrap()
        };
        let cases = [
            ("ClusterIP", None, 0),
            ("NodePort", Some(30080), 0),
            ("LoadBalancer", Some(30080), 2),
            ("ExternalName", None, 0),
        ];
        for (kind, node_port, vips) in cases {
            let got = spec(kind);
            assert_eq!(got.ports[0].node_port, node_port, "{kind}");
            assert_eq!(got.load_balancer_ips.len(), vips, "{kind}");
            assert_eq!((got.cluster_ips.len(), got.source_ranges.len()), (2, 1), "{kind}");
        }
    }

    #[test]
    fn names_follow_from_the_type_and_from_none() {
        let of = |spec: &str| {
            let got = read(&format!(r#""spec":{{{spec}}}"#)).unwrap();
            (got.is_headless, got.external_name, got.publishes_not_ready)
        };
        let headless = r#""clusterIP":"None","clusterIPs":["None"]"#;
        assert_eq!(of(headless), (true, None, false));
        assert_eq!(read(&format!(r#""spec":{{{headless}}}"#)).unwrap().cluster_ips.len(), 0);
        assert_eq!(of(r#""clusterIP":"None","publishNotReadyAddresses":true"#), (true, None, true));
        assert_eq!(
            of(r#""clusterIP":"10.96.0.9","externalName":"a.example""#),
            (false, None, false)
        );
        let external = r#""type":"ExternalName","externalName":"a.example""#;
        assert_eq!(of(external), (false, Some("a.example".into()), false));
        assert_eq!(of(r#""type":"ExternalName""#), (false, None, false));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#""spec":{"type":"Cluster"}"#, "spec.type"),
            (r#""spec":{"clusterIPs":["10.96.0.9","x"]}"#, "spec.clusterIPs[1]"),
            (r#""spec":{"ports":[{"port":80},{"port":70000}]}"#, "spec.ports[1].port"),
            (r#""spec":{"ports":[{"port":80,"protocol":"ICMP"}]}"#, "spec.ports[0].protocol"),
            (r#""spec":{"ports":[{"port":80,"nodePort":-1}]}"#, "spec.ports[0].nodePort"),
            (r#""spec":{"externalIPs":["1.2.3"]}"#, "spec.externalIPs[0]"),
            (r#""spec":{"loadBalancerSourceRanges":["10/8"]}"#, "spec.loadBalancerSourceRanges[0]"),
            (r#""spec":{"internalTrafficPolicy":"Near"}"#, "spec.internalTrafficPolicy"),
            (r#""spec":{"externalTrafficPolicy":"Near"}"#, "spec.externalTrafficPolicy"),
            (r#""spec":{"sessionAffinity":"Cookie"}"#, "spec.sessionAffinity"),
            (
                r#""spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":0}}}"#,
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            ),
            (
                r#""spec":{"type":"LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"x"}]}}"#,
                "status.loadBalancer.ingress[0].ip",
            ),
            (r#""spec":7"#, ""),
        ];
        for (spec, field) in cases {
            let error = read(spec).unwrap_err();
            assert_eq!((error.object.as_str(), error.field.as_str()), ("Service ns/web", field));
        }
    }
}

//! `v1/Pod`.

use std::sync::Arc;

use serde::Deserialize;

use super::{DecodeError, Meta, Object, ip, list, read};
use crate::{NamedPort, NodeName, Pod};

/// What a kubelet writes on the mirror of a static pod: the uid that runtimes know the pod by. The mirror
/// has another one.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Deserialize)]
struct WirePod {
    metadata: Meta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
    host_network: Option<bool>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    ports: Option<Vec<ContainerPort>>,
    restart_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: Option<String>,
    protocol: Option<String>,
    container_port: i64,
}

#[derive(Default, Deserialize)]
struct Status {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

/// Reads a Pod from its JSON.
///
/// `status.podIPs` wins over the older `status.podIP`. A sidecar, an init container that goes on
/// running, has ports like any container; other init containers have none (KEP-753).
///
/// # Errors
/// [`DecodeError`] when the JSON is not a Pod, or an address or a named port is none.
///
/// Source: Pod API, `spec.containers[].ports`, `status.podIPs`.
pub fn pod(json: &[u8]) -> Result<Pod, DecodeError> {
    let mut wire: WirePod = read("Pod", json)?;
    let object = Object { kind: "Pod", name: wire.metadata.full_name() };
    let ports = ports(&object, &wire.spec)?;
    let uid = wire.metadata.annotations.get(MIRROR).unwrap_or(&wire.metadata.uid);
    Ok(Pod {
        name: wire.metadata.object_name(),
        uid: uid.as_str().into(),
        labels: wire.metadata.take_labels(),
        node: wire.spec.node_name.filter(|name| !name.is_empty()).map(NodeName::from),
        is_host_network: wire.spec.host_network.unwrap_or(false),
        addrs: addrs(&object, &wire.status)?,
        ports,
    })
}

fn addrs(object: &Object, status: &Status) -> Result<Vec<std::net::IpAddr>, DecodeError> {
    if let Some("Succeeded" | "Failed") = status.phase.as_deref() {
        return Ok(Vec::new());
    }
    let each = status.pod_ips.iter().flatten().enumerate();
    let addrs =
        list(each.map(|(i, wire)| ip(object, &format!("status.podIPs[{i}].ip"), &wire.ip)))?;
    match status.pod_ip.as_deref() {
        Some(text) if addrs.is_empty() && !text.is_empty() => {
            ip(object, "status.podIP", text).map(|addr| vec![addr])
        }
        Some(_) | None => Ok(addrs),
    }
}

fn ports(object: &Object, spec: &Spec) -> Result<Arc<[NamedPort]>, DecodeError> {
    let sidecar = |container: &Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().flatten().enumerate();
    let sidecars = spec.init_containers.iter().flatten().enumerate();
    let all = containers
        .map(|(i, container)| ("containers", i, container))
        .chain(sidecars.filter(|(_, c)| sidecar(c)).map(|(i, c)| ("initContainers", i, c)));
    let mut named = Vec::new();
    for (list, i, container) in all {
        for (n, wire) in container.ports.iter().flatten().enumerate() {
            let Some(name) = wire.name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let at = |field: &str| format!("spec.{list}[{i}].ports[{n}].{field}");
            named.push(NamedPort {
                name: name.into(),
                protocol: object.protocol(&at("protocol"), wire.protocol.as_deref())?,
                port: object.port(&at("containerPort"), wire.container_port)?,
            });
        }
    }
    named.sort_unstable();
    named.dedup();
    Ok(named.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ObjectName, Protocol};

    fn read(rest: &str) -> Result<Pod, DecodeError> {
        let json = format!(
            r#"{{"metadata":{{"namespace":"ns","name":"p","uid":"u","labels":{{"app":"web"}}}},{rest}}}"#
        );
        pod(json.as_bytes())
    }

    #[test]
    fn npn16_a_pod_has_the_named_ports_of_what_goes_on_running_in_it() {
        let pod = read(
            r#""spec":{"nodeName":"a","containers":[
            {"ports":[{"containerPort":80,"name":"http","protocol":"TCP"},{"containerPort":81}]},
            {"ports":[{"containerPort":80,"name":"http"},{"containerPort":53,"name":"dns","protocol":"UDP"}]}],
            "initContainers":[{"restartPolicy":"Always","ports":[{"containerPort":90,"name":"mesh"}]},
            {"ports":[{"containerPort":91,"name":"once"}]}]},
            "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}"#,
        )
        .unwrap();
        assert_eq!((pod.name, pod.uid), (ObjectName::new("ns", "p"), "u".into()));
        assert_eq!((pod.labels.get("app"), pod.node), (Some("web"), Some("a".into())));
        assert_eq!((pod.addrs.len(), pod.is_host_network), (2, false));
        let port = |name: &str, protocol, port| NamedPort { name: name.into(), protocol, port };
        let want = [
            port("dns", Protocol::Udp, 53),
            port("http", Protocol::Tcp, 80),
            port("mesh", Protocol::Tcp, 90),
        ];
        assert_eq!(*pod.ports, want);
    }

    #[test]
    fn p25_the_mirror_of_a_static_pod_has_the_uid_that_runtimes_know() {
        let json = r#"{"metadata":{"namespace":"ns","name":"p","uid":"u",
            "annotations":{"kubernetes.io/config.mirror":"hash"}}}"#;
        assert_eq!(pod(json.as_bytes()).unwrap().uid, *"hash");
    }

    #[test]
    fn npn9_a_pod_has_addresses_until_it_has_ended() {
        let cases = [
            (r#""phase":"Pending""#, 0),
            (r#""phase":"Pending","podIP":"10.0.0.1""#, 1),
            (r#""phase":"Running","podIP":"10.0.0.1","podIPs":[]"#, 1),
            (r#""phase":"Unknown","podIPs":[{"ip":"10.0.0.1"}]"#, 1),
            (r#""phase":"Succeeded","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"}]"#, 0),
            (r#""phase":"Failed","podIP":"10.0.0.1""#, 0),
            (r#""podIP":"""#, 0),
        ];
        for (status, want) in cases {
            assert_eq!(read(&format!(r#""status":{{{status}}}"#)).unwrap().addrs.len(), want);
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#""status":{"podIPs":[{"ip":"x"}]}"#, "status.podIPs[0].ip"),
            (r#""status":{"podIP":"x"}"#, "status.podIP"),
            (
                r#""spec":{"containers":[{"ports":[{"name":"a","containerPort":0}]}]}"#,
                "spec.containers[0].ports[0].containerPort",
            ),
            (
                r#""spec":{"containers":[{},{"ports":[{"name":"a","containerPort":1,"protocol":"X"}]}]}"#,
                "spec.containers[1].ports[0].protocol",
            ),
            (r#""spec":7"#, ""),
        ];
        for (rest, field) in cases {
            let error = read(rest).unwrap_err();
            assert_eq!((error.object.as_str(), error.field.as_str()), ("Pod ns/p", field));
        }
    }
}

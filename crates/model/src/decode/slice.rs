//! `discovery.k8s.io/v1/EndpointSlice`.

use serde::Deserialize;

use super::{DecodeError, Meta, Object, ip, list, read};
use crate::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Family, Hints, NodeName, Rfc3339,
    ServiceName, SliceKey,
};

/// The Service a slice belongs to.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// On slices of headless Services; its value means nothing.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";

/// When what a slice shows began to be so; who writes slices says it in RFC 3339.
pub(crate) const TRIGGERED: &str = "endpoints.kubernetes.io/last-change-trigger-time";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSlice {
    metadata: Meta,
    #[serde(default)]
    address_type: String,
    ports: Option<Vec<WirePort>>,
    endpoints: Option<Vec<WireEndpoint>>,
}

#[derive(Deserialize)]
struct WirePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEndpoint {
    addresses: Option<Vec<String>>,
    #[serde(default)]
    conditions: WireConditions,
    node_name: Option<String>,
    hints: Option<WireHints>,
    hostname: Option<String>,
    target_ref: Option<TargetRef>,
}

#[derive(Deserialize)]
struct TargetRef {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Default, Deserialize)]
struct WireConditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireHints {
    for_zones: Option<Vec<Named>>,
    for_nodes: Option<Vec<Named>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Reads an EndpointSlice from its JSON; `None` when neither packets nor names follow from it: of no
/// Service, or of names instead of addresses (FQDN).
///
/// A port without a name or a number is skipped, and so is an endpoint without an address.
///
/// # Errors
/// [`DecodeError`] when the JSON is not an EndpointSlice, or a field holds what the API would refuse.
///
/// Source: EndpointSlice API; KEP-752; KEP-1672 for the defaults of conditions.
pub fn endpoint_slice(json: &[u8]) -> Result<Option<EndpointSlice>, DecodeError> {
    let wire: WireSlice = read("EndpointSlice", json)?;
    let object = Object { kind: "EndpointSlice", name: wire.metadata.full_name() };
    let labels = &wire.metadata.labels;
    let service = labels.get(SERVICE_NAME).filter(|service| !service.is_empty());
    let Some(service) = service else { return Ok(None) };
    let family = match wire.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        "FQDN" => return Ok(None),
        other => {
            let why = format!("{other:?} is none of IPv4, IPv6, FQDN");
            return Err(object.fail("addressType", why));
        }
    };
    let endpoints = wire.endpoints.as_deref().unwrap_or_default().iter().enumerate();
    let endpoints = endpoints.filter_map(|(i, e)| {
        endpoint(&object, &wire.metadata.namespace, family, (i, e)).transpose()
    });
    Ok(Some(EndpointSlice {
        key: SliceKey {
            service: ServiceName::new(&wire.metadata.namespace, service),
            slice: wire.metadata.name.as_str().into(),
        },
        family,
        ports: ports(&object, wire.ports.as_deref().unwrap_or_default())?,
        endpoints: list(endpoints)?,
        triggered: wire.metadata.annotations.get(TRIGGERED).and_then(|at| Rfc3339::parse(at)),
        is_headless: labels.contains_key(HEADLESS),
    }))
}

fn ports(object: &Object, ports: &[WirePort]) -> Result<Vec<EndpointPort>, DecodeError> {
    let usable = ports.iter().enumerate().filter_map(|(i, wire)| {
        Some((i, wire, wire.name.as_deref()?, wire.port.filter(|port| *port != 0)?))
    });
    list(usable.map(|(i, wire, name, port)| {
        let at = |field: &str| format!("ports[{i}].{field}");
        Ok(EndpointPort {
            name: name.into(),
            protocol: object.protocol(&at("protocol"), wire.protocol.as_deref())?,
            port: object.port(&at("port"), port)?,
        })
    }))
}

fn endpoint(
    object: &Object,
    namespace: &str,
    family: Family,
    (i, wire): (usize, &WireEndpoint),
) -> Result<Option<Endpoint>, DecodeError> {
    let Some(text) = wire.addresses.as_ref().and_then(|addrs| addrs.first()) else {
        return Ok(None);
    };
    let field = format!("endpoints[{i}].addresses[0]");
    let addr = ip(object, &field, text)?;
    if Family::of(addr) != family {
        return Err(object.fail(&field, format!("{addr} is no {family} address")));
    }
    let conditions = Conditions {
        ready: wire.conditions.ready.unwrap_or(true),
        serving: wire.conditions.serving.unwrap_or(true),
        terminating: wire.conditions.terminating.unwrap_or(false),
    };
    let node = wire.node_name.as_ref().filter(|name| !name.is_empty()).cloned().map(NodeName::from);
    let hints = wire.hints.as_ref().map(hints).filter(|hints| *hints != Hints::default());
    let pod = wire.target_ref.as_ref().filter(|target| {
        target.kind == "Pod" && [namespace, ""].contains(&target.namespace.as_str())
    });
    let named = |name: &str| (!name.is_empty()).then(|| name.into());
    Ok(Some(Endpoint {
        addr,
        node,
        conditions,
        hints: hints.map(Box::new),
        hostname: wire.hostname.as_deref().and_then(named),
        pod: pod.and_then(|target| named(&target.name)),
    }))
}

fn hints(wire: &WireHints) -> Hints {
    let names = |list: &Option<Vec<Named>>| -> Vec<String> {
        list.iter().flatten().map(|named| named.name.clone()).collect()
    };
    Hints {
        zones: names(&wire.for_zones),
        nodes: names(&wire.for_nodes).into_iter().map(NodeName::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(labels: &str, rest: &str) -> Result<Option<EndpointSlice>, DecodeError> {
        let json = format!(
            r#"{{"metadata":{{"namespace":"ns","name":"web-x","labels":{{{labels}}}}},{rest}}}"#
        );
        endpoint_slice(json.as_bytes())
    }

    const OF_WEB: &str = r#""kubernetes.io/service-name":"web""#;

    #[test]
    fn conditions_left_out_have_the_defaults_of_the_api() {
        let cases = [
            ("", (true, true, false)),
            (r#""ready":true"#, (true, true, false)),
            (r#""ready":false"#, (false, true, false)),
            (r#""ready":false,"terminating":true"#, (false, true, true)),
            (r#""ready":false,"serving":false"#, (false, false, false)),
            (r#""ready":false,"serving":true,"terminating":true"#, (false, true, true)),
            (r#""ready":true,"serving":true,"terminating":true"#, (true, true, true)),
            (r#""ready":null,"serving":null,"terminating":null"#, (true, true, false)),
        ];
        for (conditions, (ready, serving, terminating)) in cases {
            let rest = format!(
                r#""addressType":"IPv4","endpoints":[{{"addresses":["10.0.0.1"],"conditions":{{{conditions}}}}}]"#
            );
            let slice = read(OF_WEB, &rest).unwrap().unwrap();
            let want = Conditions { ready, serving, terminating };
            assert_eq!(slice.endpoints[0].conditions, want, "{conditions}");
        }
    }

    #[test]
    fn a_slice_says_when_it_was_triggered_or_nothing() {
        let at = |text: &str| {
            let json = format!(
                r#"{{"metadata":{{"namespace":"ns","name":"web-x","labels":{{{OF_WEB}}},
                "annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"{text}"}}}},"addressType":"IPv4"}}"#
            );
            endpoint_slice(json.as_bytes()).unwrap().unwrap().triggered
        };
        let text = "2026-05-01T00:00:00.5Z";
        assert_eq!((at(text), at("yesterday")), (Rfc3339::parse(text), None));
        assert!(at(text).is_some());
    }

    #[test]
    fn an_endpoint_has_the_names_that_its_writer_gives_it() {
        let cases = [
            ("", (None, None)),
            (r#","hostname":"""#, (None, None)),
            (
                r#","hostname":"db-0","targetRef":{"kind":"Pod","name":"db-x"}"#,
                (Some("db-0"), Some("db-x")),
            ),
            (r#","targetRef":{"kind":"Pod","name":"p","namespace":"ns"}"#, (None, Some("p"))),
            (r#","targetRef":{"kind":"Pod","name":"p","namespace":"other"}"#, (None, None)),
            (r#","targetRef":{"kind":"Node","name":"n"}"#, (None, None)),
        ];
        let headless = format!(r#"{OF_WEB},"service.kubernetes.io/headless":"""#);
        for (rest, want) in cases {
            let rest =
                format!(r#""addressType":"IPv4","endpoints":[{{"addresses":["10.0.0.1"]{rest}}}]"#);
            let slice = read(&headless, &rest).unwrap().unwrap();
            let got = &slice.endpoints[0];
            assert_eq!((got.hostname.as_deref(), got.pod.as_deref()), want, "{rest}");
        }
    }

    #[test]
    fn what_neither_packets_nor_names_follow_from_is_left_out() {
        let v4 = r#""addressType":"IPv4","endpoints":[],"ports":[]"#;
        assert!(read(OF_WEB, v4).unwrap().is_some());
        assert!(read("", v4).unwrap().is_none());
        assert!(read(r#""kubernetes.io/service-name":"""#, v4).unwrap().is_none());
        assert!(
            read(OF_WEB, r#""addressType":"FQDN","endpoints":[{"addresses":["a.example"]}]"#)
                .unwrap()
                .is_none()
        );
        let rest = r#""addressType":"IPv4","endpoints":[{"addresses":[]},{"addresses":["10.0.0.1","10.0.0.2"]}],
            "ports":[{"port":80},{"name":"a"},{"name":"b","port":0},{"name":"c","port":80},{"name":"","port":81,"protocol":"UDP"}]"#;
        let slice = read(OF_WEB, rest).unwrap().unwrap();
        assert_eq!(slice.endpoints.len(), 1);
        let names: Vec<&str> = slice.ports.iter().map(|port| &*port.name).collect();
        assert_eq!(names, ["c", ""]);
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#""addressType":"IPv5""#, "addressType"),
            (r#""addressType":"IPv4","ports":[{"name":"","port":-1}]"#, "ports[0].port"),
            (
                r#""addressType":"IPv4","ports":[{"name":"","port":1,"protocol":"X"}]"#,
                "ports[0].protocol",
            ),
            (
                r#""addressType":"IPv4","endpoints":[{"addresses":["x"]}]"#,
                "endpoints[0].addresses[0]",
            ),
            (
                r#""addressType":"IPv4","endpoints":[{"addresses":["::1"]}]"#,
                "endpoints[0].addresses[0]",
            ),
            (r#""addressType":7"#, ""),
        ];
        for (rest, field) in cases {
            let error = read(OF_WEB, rest).unwrap_err();
            assert_eq!(
                (error.object.as_str(), error.field.as_str()),
                ("EndpointSlice ns/web-x", field)
            );
        }
    }
}

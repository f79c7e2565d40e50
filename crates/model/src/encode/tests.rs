//! Claims about encoding: what is read of it is what it was made from.

use super::*;
use crate::decode;

/// Objects as the API server has them, with every field that is read.
const SERVICES: [&str; 5] = [
    r#"{"metadata":{"namespace":"ns","name":"plain"}}"#,
    r#"{"metadata":{"namespace":"ns","name":"full","creationTimestamp":"2026-05-01T12:30:00Z",
        "labels":{"service.kubernetes.io/service-proxy-name":"other"}},
        "spec":{"type":"LoadBalancer","clusterIPs":["10.96.0.9","fd00::9"],"internalTrafficPolicy":"Local",
        "externalTrafficPolicy":"Local","sessionAffinity":"ClientIP","externalIPs":["192.0.2.9"],
        "sessionAffinityConfig":{"clientIP":{"timeoutSeconds":7}},"healthCheckNodePort":32000,
        "loadBalancerSourceRanges":["192.0.2.0/24"],"ports":[{"name":"x","protocol":"SCTP","port":80,"nodePort":30080},
        {"name":"y","protocol":"UDP","port":53}]},
        "status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.1"},{"ip":"203.0.113.3","ipMode":"Proxy"}]}}}"#,
    r#"{"metadata":{"namespace":"ns","name":"node-port"},
        "spec":{"type":"NodePort","clusterIP":"10.96.0.7","ports":[{"port":80,"nodePort":30081}]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"headless"},
        "spec":{"clusterIP":"None","clusterIPs":["None"],"publishNotReadyAddresses":true,"ports":[{"port":80}]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"elsewhere"},
        "spec":{"type":"ExternalName","externalName":"a.example"}}"#,
];

const SLICES: [&str; 2] = [
    r#"{"metadata":{"namespace":"ns","name":"web-x","labels":{"kubernetes.io/service-name":"web"}},
        "addressType":"IPv6","endpoints":[{"addresses":["fd00::1"]}]}"#,
    r#"{"metadata":{"namespace":"ns","name":"web-y","labels":{"kubernetes.io/service-name":"web"},
        "annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-05-01T00:00:00.5Z"}},
        "addressType":"IPv4","ports":[{"name":"","port":80},{"name":"dns","port":53,"protocol":"UDP"}],
        "endpoints":[{"addresses":["10.0.0.1","10.0.0.9"],"conditions":{"ready":false,"serving":true,"terminating":true},
        "nodeName":"a","hostname":"db-0","targetRef":{"kind":"Pod","name":"db-0"},
        "hints":{"forZones":[{"name":"z"}],"forNodes":[{"name":"a"}]}},
        {"addresses":["10.0.0.2"],"conditions":{"ready":false}},
        {"addresses":["10.0.0.3"],"hints":{"forZones":[{"name":"z"}]}}]}"#,
];

const NODES: [&str; 2] = [
    r#"{"metadata":{"name":"a"}}"#,
    r#"{"metadata":{"name":"b","labels":{"role":"edge","topology.kubernetes.io/zone":"east"},"deletionTimestamp":"2026-05-01T00:00:00Z"},
        "spec":{"podCIDRs":["10.244.1.0/24","fd00::/64"]},
        "status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"},{"type":"ExternalIP","address":"203.0.113.1"},
        {"type":"InternalIP","address":"2001:db8::1"},{"type":"Hostname","address":"b"}]}}"#,
];

#[test]
fn what_is_read_of_an_object_is_what_it_was_made_from() {
    for json in SERVICES {
        let read = decode::service(json.as_bytes()).unwrap();
        let again = decode::service(service(&read).to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&read), "{json}");
    }
    for json in SLICES {
        let read = decode::endpoint_slice(json.as_bytes()).unwrap().unwrap();
        let again = decode::endpoint_slice(endpoint_slice(&read).to_string().as_bytes());
        assert_eq!(again, Ok(Some(read)), "{json}");
    }
    for json in NODES {
        let read = decode::node(json.as_bytes()).unwrap();
        let again = decode::node(node(&read).to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&read), "{json}");
    }
    let known =
        decode::namespace(br#"{"metadata":{"name":"shop","labels":{"team":"a"}}}"#).unwrap();
    assert_eq!(decode::namespace(namespace(&known).to_string().as_bytes()).as_ref(), Ok(&known));
    let json = br#"{"metadata":{"name":"more"},"spec":{"cidrs":["10.96.0.0/16","fd00:96::/112"]}}"#;
    let known = decode::service_cidr(json).unwrap();
    let again = decode::service_cidr(service_cidr(&known).to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&known));
}

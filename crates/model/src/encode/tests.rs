//! Claims about encoding: what is read of it is what it was made from.

use std::time::Duration;

use super::*;
use crate::{ClusterPolicy, ClusterPolicyKind, Condition, NetworkPolicy, Rfc3339, decode};

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
    r#"{"metadata":{"namespace":"ns","name":"web-y","labels":{"kubernetes.io/service-name":"web","service.kubernetes.io/headless":""},
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

const PODS: [&str; 3] = [
    r#"{"metadata":{"namespace":"ns","name":"plain","uid":"u"}}"#,
    r#"{"metadata":{"namespace":"ns","name":"full","uid":"u","labels":{"app":"web","tier":""}},
        "spec":{"nodeName":"a","containers":[{"ports":[{"name":"http","containerPort":80},{"containerPort":81}]},
        {"ports":[{"name":"dns","containerPort":53,"protocol":"UDP"}]}]},
        "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"host","uid":"u"},"spec":{"nodeName":"a","hostNetwork":true},
        "status":{"phase":"Pending","podIP":"192.0.2.1"}}"#,
];

const POLICIES: [&str; 5] = [
    r#"{"metadata":{"namespace":"ns","name":"all"},"spec":{"podSelector":{}}}"#,
    r#"{"metadata":{"namespace":"ns","name":"out"},"spec":{"podSelector":{},"policyTypes":["Egress"]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"both"},"spec":{"podSelector":{"matchLabels":{"app":"web"}},
        "policyTypes":["Egress","Ingress"],"ingress":[{},{"from":[{"podSelector":{}}]},{"ports":[{}]}]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"full"},"spec":{"podSelector":{"matchExpressions":[
        {"key":"a","operator":"In","values":["x","y"]},{"key":"a","operator":"NotIn","values":["z"]},
        {"key":"b","operator":"Exists"},{"key":"c","operator":"DoesNotExist"}]},
        "ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"a"}}},{"namespaceSelector":{}},
        {"namespaceSelector":{"matchLabels":{"team":"a"}},"podSelector":{"matchLabels":{"app":"a"}}},
        {"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}},{"ipBlock":{"cidr":"fd00::/8"}}],
        "ports":[{"port":80},{"port":1,"endPort":65535,"protocol":"UDP"},{"protocol":"SCTP"},{"port":"http"}]}],
        "egress":[{"to":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]}]}}"#,
    r#"{"metadata":{"namespace":"ns","name":"broken","annotations":{"seaway.io/policy-audit":"true"}},"spec":{"podSelector":{},
        "ingress":[{"from":[{}]},{"ports":[{"port":0}]},{"ports":[{"port":80}]}]}}"#,
];

const CLUSTER_POLICIES: [&str; 2] = [
    r#"{"metadata":{"name":"a"},"spec":{"tier":"Admin","priority":7,"subject":{"namespaces":{}},
        "ingress":[{"name":"one","action":"Accept","from":[{"namespaces":{"matchLabels":{"team":"a"}}},
        {"pods":{"namespaceSelector":{},"podSelector":{"matchLabels":{"app":"a"}}}}],
        "protocols":[{"tcp":{"destinationPort":{"number":80}}},{"destinationNamedPort":"http"},
        {"udp":{"destinationPort":{"range":{"start":1,"end":9}}}},{"sctp":{"destinationPort":{"number":7}}}]},
        {"action":"Pass","from":[{"namespaces":{}}]},{"action":"Deny","from":[]}],
        "egress":[{"action":"Accept","to":[{"domainNames":["*.example.org","a.example"]},{"nodes":{}},
        {"networks":["10.0.0.0/8","fd00::/8"]}]},{"action":"Accept","to":[{"new":1}]}]}}"#,
    r#"{"metadata":{"name":"b","uid":"u","generation":7,"annotations":{"seaway.io/policy-audit":"maybe"}},"spec":{"tier":"Baseline","priority":1000,
        "subject":{"pods":{"namespaceSelector":{"matchLabels":{"team":"a"}},"podSelector":{}}}}}"#,
];

const OLD_POLICY: &str = r#"{"metadata":{"name":"default"},"spec":{"priority":9,"subject":{"namespaces":{}},
    "ingress":[{"name":"one","action":"Allow","from":[{"namespaces":{}}],
    "ports":[{"portNumber":{"protocol":"UDP","port":53}},{"portRange":{"start":1,"end":9}},{"namedPort":"http"}]},
    {"action":"Deny","from":[{"namespaces":{}}]},{"action":"Accept","from":[{"namespaces":{}}]}]}}"#;

#[test]
fn what_is_read_of_a_policy_is_what_it_was_made_from_and_what_was_closed_stays_so() {
    for json in POLICIES {
        let read = decode::network_policy(json.as_bytes()).unwrap();
        let again = network_policy(&read).to_string();
        let again = decode::network_policy(again.as_bytes()).unwrap();
        assert_eq!(again.faults.len(), read.faults.len(), "{json}");
        assert_eq!(NetworkPolicy { faults: read.faults.clone(), ..again }, read, "{json}");
    }
    type Decode = fn(&[u8]) -> Result<ClusterPolicy, decode::DecodeError>;
    let new = CLUSTER_POLICIES.map(|json| (json, decode::cluster_policy as Decode));
    let old = [decode::admin_policy as Decode, decode::baseline_policy];
    for (json, decode) in new.into_iter().chain(old.map(|decode| (OLD_POLICY, decode))) {
        let read = decode(json.as_bytes()).unwrap();
        let again = decode(cluster_policy(&read).to_string().as_bytes()).unwrap();
        assert_eq!(again.faults.len(), read.faults.len(), "{json}");
        assert_eq!(ClusterPolicy { faults: read.faults.clone(), ..again }, read, "{json}");
    }
}

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
    for json in PODS {
        let read = decode::pod(json.as_bytes()).unwrap();
        assert_eq!(decode::pod(pod(&read).to_string().as_bytes()).as_ref(), Ok(&read), "{json}");
    }
    for rest in ["", r#","status":{"phase":"Terminating"}"#] {
        let json = format!(r#"{{"metadata":{{"name":"shop","labels":{{"team":"a"}}}}{rest}}}"#);
        let known = decode::namespace(json.as_bytes()).unwrap();
        let again = decode::namespace(namespace(&known).to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(&known));
    }
    let json = br#"{"metadata":{"name":"more"},"spec":{"cidrs":["10.96.0.0/16","fd00:96::/112"]}}"#;
    let known = decode::service_cidr(json).unwrap();
    let again = decode::service_cidr(service_cidr(&known).to_string().as_bytes());
    assert_eq!(again.as_ref(), Ok(&known));
}

#[test]
fn what_is_read_of_a_condition_is_what_it_was_made_from_to_the_second() {
    let known = Condition {
        kind: "Accepted".to_owned(),
        is_true: false,
        reason: "Invalid".to_owned(),
        message: "why".to_owned(),
        generation: 4,
        since: Rfc3339(Duration::from_secs(1_700_000_000)),
    };
    let written = condition(&known);
    assert_eq!(written["lastTransitionTime"], "2023-11-14T22:13:20Z");
    let later =
        Condition { since: Rfc3339(known.since.0 + Duration::from_millis(999)), ..known.clone() };
    assert_eq!(condition(&later), written);
    let object = json!({"metadata":{"name":"p"},"spec":{},"status":{"conditions":[written]}});
    let kind = ClusterPolicyKind::ClusterNetworkPolicy;
    let read = decode::policy_state(kind, object.to_string().as_bytes()).unwrap();
    assert_eq!(read.conditions, [known]);
}

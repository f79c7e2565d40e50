//! What is read of NetworkPolicies.

use super::*;
use crate::{IpBlock, Protocol};

fn read(spec: &str) -> Result<NetworkPolicy, DecodeError> {
    network_policy(format!(r#"{{"metadata":{{"namespace":"x","name":"p"}},{spec}}}"#).as_bytes())
}

fn of(spec: &str) -> NetworkPolicy {
    let policy = read(&format!(r#""spec":{{{spec}}}"#)).unwrap();
    assert_eq!(policy.faults, [], "{spec}");
    policy
}

#[test]
fn npn3_directions_that_are_not_named_follow_from_the_rules() {
    let cases = [
        ("", [true, false]),
        (r#""policyTypes":[]"#, [true, false]),
        (r#""policyTypes":null,"egress":[]"#, [true, false]),
        (r#""egress":[{}]"#, [true, true]),
        (r#""policyTypes":["Ingress"],"egress":[{}]"#, [true, false]),
        (r#""policyTypes":["Egress"]"#, [false, true]),
        (r#""policyTypes":["Egress"],"ingress":[{}]"#, [false, true]),
        (r#""policyTypes":["Egress","Ingress"]"#, [true, true]),
    ];
    for (spec, want) in cases {
        let policy = of(spec);
        assert_eq!([policy.ingress.is_some(), policy.egress.is_some()], want, "{spec}");
    }
    assert_eq!(read(r#""spec":{"policyTypes":["In"]}"#).unwrap_err().field, "spec.policyTypes[0]");
}

#[test]
fn npn4_missing_null_and_empty_are_the_same() {
    for spec in ["", r#""ingress":null"#, r#""ingress":[]"#, r#""podSelector":null"#] {
        assert_eq!(of(spec).ingress, Some(Vec::new()), "{spec}");
    }
    for rule in ["{}", r#"{"from":null,"ports":null}"#, r#"{"from":[],"ports":[]}"#] {
        let policy = of(&format!(r#""ingress":[{rule}]"#));
        assert_eq!(policy.ingress, Some(vec![Rule::default()]), "{rule}");
    }
    assert_eq!(read(r#""metadata2":1"#).unwrap().ingress, Some(Vec::new()));
}

#[test]
fn npn6_npn7_a_peer_without_a_namespace_selector_is_in_the_policys_own() {
    let own = Namespaces::Only("x".into());
    let all = Namespaces::Matching(LabelSelector::default());
    let cases = [
        (r#"{"podSelector":{}}"#, own.clone(), "*"),
        (r#"{"podSelector":{"matchLabels":{"a":"b"}}}"#, own.clone(), "a=b"),
        (r#"{"namespaceSelector":{}}"#, all.clone(), "*"),
        (r#"{"namespaceSelector":{},"podSelector":{"matchLabels":{"a":"b"}}}"#, all, "a=b"),
    ];
    for (peer, namespaces, pods) in cases {
        let policy = of(&format!(r#""ingress":[{{"from":[{peer}]}}]"#));
        let peers = policy.ingress.unwrap().remove(0).peers.unwrap();
        let [Peer::Pods(got)] = &peers[..] else { panic!("{peers:?}") };
        assert_eq!((&got.namespaces, got.pods.to_string().as_str()), (&namespaces, pods));
    }
    assert_eq!(of("").subject.namespaces, own);
}

#[test]
fn npn14_npn15_npn16_what_a_port_stands_for() {
    let numbers = |protocol, first, last| PortMatch::Numbers { protocol, first, last };
    let named = |name: &str, protocol| PortMatch::Named { name: name.into(), protocol };
    let cases = [
        (r#"{"port":80}"#, numbers(Protocol::Tcp, 80, 80)),
        (r#"{"protocol":"UDP"}"#, numbers(Protocol::Udp, 0, 65535)),
        (r#"{"protocol":"SCTP","port":null}"#, numbers(Protocol::Sctp, 0, 65535)),
        (r#"{"port":80,"endPort":80}"#, numbers(Protocol::Tcp, 80, 80)),
        (r#"{"port":80,"endPort":90}"#, numbers(Protocol::Tcp, 80, 90)),
        (r#"{"port":"http"}"#, named("http", Some(Protocol::Tcp))),
        (r#"{"protocol":"UDP","port":"dns"}"#, named("dns", Some(Protocol::Udp))),
    ];
    for (port, want) in cases {
        let policy = of(&format!(r#""egress":[{{"ports":[{port}]}}]"#));
        assert_eq!(policy.egress.unwrap()[0].ports, Some(vec![want]), "{port}");
    }
}

#[test]
fn npn11_exceptions_are_canonical_too() {
    let block =
        r#"{"ipBlock":{"cidr":"10.1.2.3/8","except":["10.3.0.1/16","10.2.0.0/16","10.3.0.0/16"]}}"#;
    let rules = of(&format!(r#""egress":[{{"to":[{block}]}}]"#)).egress.unwrap();
    let net = |text: &str| text.parse().unwrap();
    let except = vec![net("10.2.0.0/16"), net("10.3.0.0/16")];
    assert_eq!(
        rules[0].peers,
        Some(vec![Peer::Block(IpBlock { cidr: net("10.0.0.0/8"), except })])
    );
}

#[test]
fn a_rule_that_can_not_be_read_allows_nothing_and_is_named() {
    let cases = [
        (r#"{"ports":[{"port":0}]}"#, "spec.ingress[1].ports[0].port"),
        (r#"{"ports":[{"port":70000}]}"#, "spec.ingress[1].ports[0].port"),
        (r#"{"ports":[{"port":""}]}"#, "spec.ingress[1].ports[0].port"),
        (r#"{"ports":[{"port":{}}]}"#, "spec.ingress[1].ports[0]"),
        (r#"{"ports":[{"port":80,"endPort":79}]}"#, "spec.ingress[1].ports[0].endPort"),
        (r#"{"ports":[{"endPort":79}]}"#, "spec.ingress[1].ports[0].endPort"),
        (r#"{"ports":[{"port":"http","endPort":79}]}"#, "spec.ingress[1].ports[0].endPort"),
        (r#"{"ports":[{"protocol":"ICMP"}]}"#, "spec.ingress[1].ports[0].protocol"),
        (r#"{"ports":[{"sourcePort":1}]}"#, "spec.ingress[1].ports[0]"),
        (r#"{"from":[{}]}"#, "spec.ingress[1].from[0]"),
        (r#"{"from":[{"serviceSelector":{}}]}"#, "spec.ingress[1].from[0]"),
        (r#"{"from":[{"ipBlock":{"cidr":"10/8"}}]}"#, "spec.ingress[1].from[0].ipBlock.cidr"),
        (
            r#"{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["11.0.0.0/9"]}}]}"#,
            "spec.ingress[1].from[0].ipBlock.except[0]",
        ),
        (
            r#"{"from":[{"ipBlock":{"cidr":"10.0.0.0/8"},"podSelector":{}}]}"#,
            "spec.ingress[1].from[0]",
        ),
        (
            r#"{"from":[{"podSelector":{"matchExpressions":[{"key":"a","operator":"~"}]}}]}"#,
            "spec.ingress[1].from[0].podSelector.matchExpressions[0].operator",
        ),
        (r#"{"to":[]}"#, "spec.ingress[1].to"),
        (r#"{"action":"Deny"}"#, "spec.ingress[1]"),
        ("7", "spec.ingress[1]"),
    ];
    for (rule, field) in cases {
        let policy = read(&format!(r#""spec":{{"ingress":[{{}},{rule}]}}"#)).unwrap();
        let closed = Rule { peers: Some(Vec::new()), ports: None };
        assert_eq!(policy.ingress, Some(vec![Rule::default(), closed]), "{rule}");
        let faults: Vec<_> = policy.faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(faults, [field], "{rule}");
        assert_eq!(policy.faults[0].object, "NetworkPolicy x/p");
    }
}

#[test]
fn a_policy_that_does_not_say_whom_it_is_about_is_an_error() {
    let cases = [
        (r#""spec":{"podSelector":{"matchAll":true}}"#, "spec.podSelector"),
        (r#""spec":{"podSelector":7}"#, "spec.podSelector"),
        (
            r#""spec":{"podSelector":{"matchExpressions":[{"key":"a","operator":"In"}]}}"#,
            "spec.podSelector.matchExpressions[0].values",
        ),
        (r#""spec":7"#, ""),
    ];
    for (spec, field) in cases {
        let error = read(spec).unwrap_err();
        assert_eq!((error.object.as_str(), error.field.as_str()), ("NetworkPolicy x/p", field));
    }
}

#[test]
fn npx3_an_audit_that_can_not_be_read_is_none() {
    let cases = [
        ("{}", "", false, false),
        ("{}", "true", true, false),
        ("{}", "yes", false, true),
        (r#"{"seaway.io/policy-audit":"true"}"#, "", true, false),
        (r#"{"seaway.io/policy-audit":"true"}"#, "false", true, false),
        (r#"{"seaway.io/policy-audit":"false"}"#, "true", false, false),
        (r#"{"seaway.io/policy-audit":"yes"}"#, "true", false, true),
        (r#"{"seaway.io/policy-audit":""}"#, "", false, true),
    ];
    for (annotations, label, is_audited, is_wrong) in cases {
        let json = format!(
            r#"{{"metadata":{{"namespace":"a","name":"p","annotations":{annotations}}},"spec":{{"podSelector":{{}}}}}}"#
        );
        let policy = network_policy(json.as_bytes()).unwrap();
        let labels = Some(label).filter(|label| !label.is_empty());
        let labels = labels.map(|label| (crate::AUDIT.to_owned(), label.to_owned()));
        let mut world = crate::World::default();
        world.namespaces.insert("a".into(), crate::Namespace::new("a", labels).into());
        assert_eq!(world.is_audited(&policy), is_audited, "{annotations} {label}");
        world.policies.insert(policy.name.clone(), policy.into());
        let faults: Vec<String> = world.audit_faults().map(|fault| fault.to_string()).collect();
        assert_eq!(!faults.is_empty(), is_wrong, "{faults:?}");
    }
}

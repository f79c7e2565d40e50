//! What is read of the cluster's policies.

use super::*;
use crate::IpBlock;

const ALL: &str = r#""subject":{"namespaces":{}}"#;

fn read(
    decode: fn(&[u8]) -> Result<ClusterPolicy, DecodeError>,
    name: &str,
    spec: &str,
) -> Result<ClusterPolicy, DecodeError> {
    decode(format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{{spec}}}}}"#).as_bytes())
}

/// The rule that a ClusterNetworkPolicy has for egress.
fn egress(rule: &str) -> (ClusterRule, Vec<String>) {
    let spec = format!(r#""tier":"Admin","priority":1,{ALL},"egress":[{rule}]"#);
    let mut policy = read(cluster_policy, "p", &spec).unwrap();
    let faults = policy.faults.into_iter().map(|fault| fault.field).collect();
    (policy.egress.remove(0), faults)
}

/// The rule that it has for ports, as its kind writes them.
fn ports(old: bool, ports: &str) -> (Option<Vec<PortMatch>>, usize) {
    let rule = |action: &str, field: &str| {
        let peers = r#""from":[{"namespaces":{}}]"#;
        format!(r#""ingress":[{{"action":"{action}",{peers},"{field}":[{ports}]}}]"#)
    };
    let mut policy = match old {
        true => {
            read(admin_policy, "p", &format!(r#""priority":1,{ALL},{}"#, rule("Allow", "ports")))
        }
        false => {
            let head = r#""tier":"Admin","priority":1"#;
            read(cluster_policy, "p", &format!("{head},{ALL},{}", rule("Accept", "protocols")))
        }
    }
    .unwrap();
    (policy.ingress.remove(0).rule.ports, policy.faults.len())
}

#[test]
fn npc1_tier_and_priority_rank_a_policy() {
    let rank = |spec: &str| {
        let policy = read(cluster_policy, "p", &format!("{spec},{ALL}"));
        policy.map(|p| (p.tier, p.priority)).map_err(|error| error.field)
    };
    assert_eq!(rank(r#""tier":"Admin","priority":0"#), Ok((ClusterTier::Admin, 0)));
    assert_eq!(rank(r#""tier":"Baseline","priority":1000"#), Ok((ClusterTier::Baseline, 1000)));
    assert_eq!(rank(r#""tier":"Admin","priority":1001"#), Err("spec.priority".to_owned()));
    assert_eq!(rank(r#""tier":"Admin","priority":-1"#), Err("spec.priority".to_owned()));
    assert_eq!(rank(r#""tier":"Admin""#), Err("spec.priority".to_owned()));
    assert_eq!(rank(r#""tier":"Network","priority":1"#), Err("spec.tier".to_owned()));
    assert_eq!(rank(r#""priority":1"#), Err("spec.tier".to_owned()));
}

#[test]
fn npc5_a_subject_is_one_selector() {
    let subject = |subject: &str| {
        let spec = format!(r#""tier":"Admin","priority":1,"subject":{subject}"#);
        read(cluster_policy, "p", &spec).map(|policy| policy.subject).map_err(|error| error.field)
    };
    let pods =
        subject(r#"{"pods":{"namespaceSelector":{"matchLabels":{"a":"b"}},"podSelector":{}}}"#);
    let Ok(PodSelector { namespaces: Namespaces::Matching(namespaces), pods }) = pods else {
        panic!("{pods:?}")
    };
    assert_eq!((namespaces.to_string().as_str(), pods.to_string().as_str()), ("a=b", "*"));
    assert!(subject(r#"{"namespaces":{}}"#).is_ok());
    for wrong in
        ["{}", r#"{"namespaces":{},"pods":{"namespaceSelector":{},"podSelector":{}}}"#, "7"]
    {
        assert_eq!(subject(wrong), Err("spec.subject".to_owned()), "{wrong}");
    }
}

#[test]
fn npc6_every_element_of_networks_and_domain_names_is_a_peer() {
    let (rule, faults) = egress(
        r#"{"name":"n","action":"Accept","to":[{"networks":["10.1.2.3/8","fd00::/8"]},
        {"domainNames":["*.Example.org","example.com."]},{"nodes":{"matchLabels":{"a":"b"}}}]}"#,
    );
    assert_eq!((faults.len(), rule.name.as_deref()), (0, Some("n")));
    let block = |cidr: &str| Peer::Block(IpBlock { cidr: cidr.parse().unwrap(), except: vec![] });
    let name = |name: &str| Peer::Names(name.parse().unwrap());
    let peers = rule.rule.peers.unwrap();
    assert_eq!(peers[..2], [block("10.0.0.0/8"), block("fd00::/8")]);
    assert_eq!(peers[2..4], [name("*.example.org"), name("example.com")]);
    assert!(matches!(&peers[4], Peer::Nodes(labels) if labels.to_string() == "a=b"));
}

#[test]
fn npc7_protocols_of_both_versions_are_the_same() {
    let numbers = |protocol, first, last| PortMatch::Numbers { protocol, first, last };
    let named = PortMatch::Named { name: "web".into(), protocol: None };
    let cases = [
        (r#"{"tcp":{"destinationPort":{"number":80}}}"#, numbers(Protocol::Tcp, 80, 80)),
        (
            r#"{"udp":{"destinationPort":{"range":{"start":1,"end":9}}}}"#,
            numbers(Protocol::Udp, 1, 9),
        ),
        (r#"{"sctp":{"destinationPort":{"number":9003}}}"#, numbers(Protocol::Sctp, 9003, 9003)),
        (r#"{"destinationNamedPort":"web"}"#, named.clone()),
    ];
    for (wire, want) in cases {
        assert_eq!(ports(false, wire), (Some(vec![want]), 0), "{wire}");
    }
    let cases = [
        (r#"{"portNumber":{"protocol":"TCP","port":80}}"#, numbers(Protocol::Tcp, 80, 80)),
        (r#"{"portNumber":{"port":80}}"#, numbers(Protocol::Tcp, 80, 80)),
        (r#"{"portRange":{"protocol":"UDP","start":1,"end":9}}"#, numbers(Protocol::Udp, 1, 9)),
        (r#"{"namedPort":"web"}"#, named),
    ];
    for (wire, want) in cases {
        assert_eq!(ports(true, wire), (Some(vec![want]), 0), "{wire}");
    }
    assert_eq!((ports(true, ""), ports(false, "")), ((None, 0), (None, 0)));
}

#[test]
fn npc8_a_rule_that_can_not_be_read_is_closed_and_named() {
    let (nothing, everything) = (Some(Vec::new()), None);
    let to = r#""to":[{"namespaces":{}}]"#;
    let cases = [
        // Peers.
        (r#""action":"Accept","to":[{"namespaces":{}},{}]"#.to_owned(), "to[1]"),
        (r#""action":"Accept","to":[{"serviceAccounts":{}}]"#.to_owned(), "to[0]"),
        (r#""action":"Accept","to":[{"namespaces":{"sameLabels":["a"]}}]"#.to_owned(), "to[0]"),
        (r#""action":"Accept","to":[{"namespaces":{},"networks":["::/0"]}]"#.to_owned(), "to[0]"),
        (r#""action":"Accept","to":[{"networks":["10/8"]}]"#.to_owned(), "to[0].networks[0].cidr"),
        (r#""action":"Accept","to":[{"networks":[]}]"#.to_owned(), "to[0]"),
        (
            r#""action":"Accept","to":[{"domainNames":["a.b","[.x"]}]"#.to_owned(),
            "to[0].domainNames[1]",
        ),
        (r#""action":"Deny","to":[{"domainNames":["a.b"]}]"#.to_owned(), "to[0]"),
        (r#""action":"Accept","to":[{"pods":{"podSelector":{}}}]"#.to_owned(), "to[0]"),
        (r#""action":"Accept","to":[]"#.to_owned(), "to"),
        (r#""action":"Pass""#.to_owned(), "to"),
        (r#""action":"Accept","from":[{"namespaces":{}}]"#.to_owned(), "from"),
        // Protocols.
        (format!(r#""action":"Accept",{to},"protocols":[{{}}]"#), "protocols[0]"),
        (format!(r#""action":"Deny",{to},"protocols":[{{"icmp":{{}}}}]"#), "protocols[0]"),
        (format!(r#""action":"Pass",{to},"protocols":[{{"tcp":{{}}}}]"#), "protocols[0]"),
        (
            format!(r#""action":"Accept",{to},"protocols":[{{"tcp":{{"destinationPort":{{}}}}}}]"#),
            "protocols[0].destinationPort",
        ),
        (
            format!(
                r#""action":"Accept",{to},"protocols":[{{"tcp":{{"destinationPort":{{"range":{{"start":9,"end":1}}}}}}}}]"#
            ),
            "protocols[0].destinationPort",
        ),
        (
            format!(r#""action":"Accept",{to},"protocols":[{{"destinationNamedPort":""}}]"#),
            "protocols[0]",
        ),
        (format!(r#""action":"Accept",{to},"ports":[]"#), ""),
        // The rest.
        (format!(r#""action":"Accept",{to},"sourcePorts":[]"#), ""),
        (format!(r#""action":"Allow",{to}"#), "action"),
        (format!(r#""action":"Reject",{to}"#), "action"),
        (to.to_owned(), ""),
    ];
    for (rule, field) in cases {
        let (closed, faults) = egress(&format!("{{{rule}}}"));
        let want = match rule.contains(r#""Accept""#) {
            true => (RuleAction::Accept, &nothing),
            false => (RuleAction::Deny, &everything),
        };
        assert_eq!((closed.action, &closed.rule.peers), want, "{rule}");
        assert_eq!(closed.rule.ports, None);
        let dot = if field.is_empty() { "" } else { "." };
        assert_eq!(faults, [format!("spec.egress[0]{dot}{field}")], "{rule}");
    }
}

#[test]
fn npc6_ingress_has_no_peers_but_pods() {
    for peer in [r#"{"nodes":{}}"#, r#"{"networks":["::/0"]}"#, r#"{"domainNames":["a.b"]}"#] {
        let rule = format!(r#"{{"action":"Accept","from":[{peer}]}}"#);
        let spec = format!(r#""tier":"Baseline","priority":1,{ALL},"ingress":[{rule}]"#);
        let policy = read(cluster_policy, "p", &spec).unwrap();
        assert_eq!(policy.faults.len(), 1, "{peer}");
    }
}

#[test]
fn npc3_policies_of_v1alpha1_are_read_in_their_own_words() {
    let rule = |action: &str| {
        format!(r#""ingress":[{{"action":"{action}","from":[{{"namespaces":{{}}}}]}}]"#)
    };
    let admin = |action: &str| {
        let policy = read(admin_policy, "p", &format!(r#""priority":7,{ALL},{}"#, rule(action)));
        let policy = policy.unwrap();
        assert_eq!((policy.tier, policy.priority), (ClusterTier::Admin, 7));
        (policy.ingress[0].action, policy.faults.len())
    };
    assert_eq!(admin("Allow"), (RuleAction::Accept, 0));
    assert_eq!(admin("Deny"), (RuleAction::Deny, 0));
    assert_eq!(admin("Pass"), (RuleAction::Pass, 0));
    assert_eq!(admin("Accept"), (RuleAction::Deny, 1));
    let baseline = |action: &str| {
        let policy = read(baseline_policy, "default", &format!("{ALL},{}", rule(action))).unwrap();
        assert_eq!((policy.tier, policy.priority), (ClusterTier::Baseline, 1000));
        (policy.ingress[0].action, policy.faults.len())
    };
    assert_eq!(baseline("Allow"), (RuleAction::Accept, 0));
    assert_eq!(baseline("Pass"), (RuleAction::Deny, 1));
    let other = read(baseline_policy, "other", ALL).unwrap_err();
    assert_eq!(
        other.to_string(),
        "BaselineAdminNetworkPolicy other: metadata.name: is not default"
    );
    let kinds = [("p", admin_policy as fn(&[u8]) -> _), ("default", baseline_policy)];
    for (name, decode) in kinds {
        let policy = read(decode, name, &format!(r#""priority":1,{ALL}"#)).unwrap();
        assert!(policy.name.to_string().ends_with(name), "{}", policy.name);
    }
}

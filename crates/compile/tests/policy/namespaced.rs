//! The rows of NetworkPolicy: who is isolated, and who the peers are.

use fixtures::policies::write::{egress, ingress, pods, pods_of, policy, selector, spaces};
use fixtures::policies::{Stage, Step, remove};
use serde_json::{Value, json};

use crate::stage::{after, block, check, pod};

/// A policy about `x/a` with this spec besides.
fn about_a(name: &str, mut spec: Value) -> Value {
    spec["podSelector"] = selector("pod=a");
    policy("x", name, spec)
}

#[test]
fn npn1_a_pod_is_isolated_for_the_directions_that_policies_are_about() {
    check(
        &after([ingress("p", "pod=a", json!([]))]),
        "
        x/b > x/a tcp/80 | no  | isolated by x/p
        x/a > x/b tcp/80 | yes | nothing
        x/b > x/c tcp/80 | yes | nothing
        y/b > y/a tcp/80 | yes | nothing",
    );
    check(
        &after([egress("p", "pod=a", json!([]))]),
        "
        x/b > x/a tcp/80 | yes | nothing
        x/a > x/b tcp/80 | no  | isolated by x/p",
    );
}

#[test]
fn npn2_policies_add_up_in_any_order_and_both_ends_are_asked() {
    let from = |name: &str, who: &str| ingress(name, "pod=a", json!([{"from": [pods(who)]}]));
    let [one, other] = [from("p", "pod=b"), from("q", "pod=c")];
    let cases = "
        x/b > x/a tcp/80 | yes | NetworkPolicy x/p rule 0
        x/c > x/a tcp/80 | yes | NetworkPolicy x/q rule 0
        y/b > x/a tcp/80 | no  | isolated by x/p, x/q";
    check(&after([one.clone(), other.clone()]), cases);
    check(&after([other, one.clone()]), cases);
    let shut = egress("r", "pod=b", json!([]));
    check(&after([one, shut]), "x/b > x/a tcp/80 | no | isolated by x/r");
}

#[test]
fn npn3_directions_that_are_not_named_follow_from_the_rules() {
    let cases = [
        (json!({}), "no", "yes"),
        (json!({"egress": []}), "no", "yes"),
        (json!({"policyTypes": [], "egress": []}), "no", "yes"),
        (json!({"egress": [{"to": [pods("pod=c")]}]}), "no", "no"),
        (json!({"policyTypes": ["Egress"]}), "yes", "no"),
        (json!({"policyTypes": ["Egress"], "ingress": [{}]}), "yes", "no"),
        (json!({"policyTypes": ["Ingress"], "egress": [{"to": [pods("pod=c")]}]}), "no", "yes"),
        (json!({"policyTypes": ["Ingress", "Egress"]}), "no", "no"),
    ];
    for (spec, inwards, outwards) in cases {
        let table = format!("x/b > x/a tcp/80 | {inwards}\nx/a > x/b tcp/80 | {outwards}");
        check(&after([about_a("p", spec)]), &table);
    }
}

#[test]
fn npn4_missing_null_and_empty_are_the_same() {
    for nothing in [json!({}), json!({"ingress": null}), json!({"ingress": []})] {
        check(&after([about_a("p", nothing)]), "x/b > x/a tcp/80 | no | isolated by x/p");
    }
    for rule in [json!({}), json!({"from": null}), json!({"from": [], "ports": []})] {
        check(
            &after([about_a("p", json!({"ingress": [rule]}))]),
            "
            x/b > x/a tcp/80         | yes | NetworkPolicy x/p rule 0
            203.0.113.9 > x/a udp/53 | yes | NetworkPolicy x/p rule 0
            x/b > x/a icmp/8         | yes | NetworkPolicy x/p rule 0",
        );
    }
    let only_b = json!({"from": [pods("pod=b")], "ports": null});
    check(
        &after([about_a("p", json!({"ingress": [only_b]}))]),
        "
        x/b > x/a gre            | yes
        203.0.113.9 > x/a tcp/80 | no",
    );
}

#[test]
fn npu3_what_addresses_are_found_by_is_never_forbidden_and_other_protocols_are() {
    let shut = policy("x", "p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    check(
        &after([shut]),
        "
        y/a > x/a icmp/8     | no  | isolated by x/p
        y/a > x/a icmp6/128  | no  | isolated by x/p
        y/a > x/a gre        | no  | isolated by x/p
        y/a > x/a icmp6/135  | yes | discovery
        y/a > x/a icmp6/136  | yes | discovery
        x/a > y/a icmp6/143  | yes | discovery",
    );
    let with_ports = ingress("p", "", json!([{"ports": [{"protocol": "TCP"}]}]));
    check(
        &after([with_ports]),
        "
        y/a > x/a tcp/1   | yes
        y/a > x/a icmp/8  | no
        y/a > x/a gre     | no",
    );
}

#[test]
fn npn6_npn7_whom_selectors_mean() {
    let own = "
        x/b > x/a tcp/80 | yes
        y/a > x/a tcp/80 | no
        203.0.113.9 > x/a tcp/80 | no";
    let all = "
        x/b > x/a tcp/80 | yes
        y/a > x/a tcp/80 | yes
        203.0.113.9 > x/a tcp/80 | no
        node-2 > x/a tcp/80 | no";
    let either = "
        x/b > x/a tcp/80 | yes
        x/c > x/a tcp/80 | no
        y/c > x/a tcp/80 | yes";
    let both = "
        y/b > x/a tcp/80 | yes
        y/c > x/a tcp/80 | no
        x/b > x/a tcp/80 | no";
    let cases = [
        (json!([pods("")]), own),
        (json!([spaces("")]), all),
        (json!([pods_of("", "")]), all),
        (json!([pods("pod=b"), spaces("ns=y")]), either),
        (json!([pods_of("ns=y", "pod=b")]), both),
        (json!([pods_of("ns in y", "pod notin a c")]), both),
        (json!([pods_of("ns notin x", "pod,pod in b")]), both),
    ];
    for (peers, table) in cases {
        check(&after([ingress("p", "pod=a", json!([{"from": peers}]))]), table);
    }
    // NotIn and DoesNotExist hold where the label is missing; requirements are all to hold.
    let labeled = pod("x/b", "/metadata/labels", json!({"pod": "b", "team": "red"}));
    for (who, [with, without]) in [
        ("team notin red", ["no", "yes"]),
        ("team notin blue", ["yes", "yes"]),
        ("!team", ["no", "yes"]),
        ("team", ["yes", "no"]),
        ("pod=b,team=red", ["yes", "no"]),
        ("pod=b,team=blue", ["no", "no"]),
    ] {
        let policy = ingress("p", "pod=a", json!([{"from": [pods(who)]}]));
        let table = format!("x/b > x/a tcp/80 | {with}\nx/c > x/a tcp/80 | {without}");
        check(&after([labeled.clone(), policy]), &table);
    }
}

#[test]
fn npn8_labels_that_change_count_both_ways() {
    let of_red = ingress("p", "team=red", json!([{"from": [spaces("team=red")]}]));
    let mut play = after([of_red]);
    check(&play, "y/a > x/a tcp/80 | yes | nothing");
    play.happen(&Step::Label("x/a", json!({"team": "red"})));
    check(&play, "y/a > x/a tcp/80 | no | isolated by x/p");
    play.happen(&Step::Label("y", json!({"team": "red"})));
    check(&play, "y/a > x/a tcp/80 | yes | NetworkPolicy x/p rule 0");
    play.happen(&Step::Label("y", json!({})));
    check(&play, "y/a > x/a tcp/80 | no | isolated by x/p");
    play.happen(&Step::Label("x/a", json!({})));
    check(&play, "y/a > x/a tcp/80 | yes | nothing");
    let by_name = ingress("q", "", json!([{"from": [spaces("kubernetes.io/metadata.name=y")]}]));
    check(&after([by_name]), "y/a > x/a tcp/80 | yes\nz/a > x/a tcp/80 | no");
}

#[test]
fn npn9_npu1_pods_of_the_hosts_network_are_nodes() {
    let host = pod("x/b", "/spec/hostNetwork", json!(true));
    let all = ingress("p", "", json!([{"from": [spaces("")]}]));
    let shut = egress("q", "", json!([]));
    // `x/b` would be at its node's address; the pod's own is nobody's now.
    let play = after([pod_at_node(host, "192.0.0.2"), all, shut]);
    check(
        &play,
        "
        node-2 > x/a tcp/80      | no  | isolated by x/p
        y/a > node-2 tcp/80      | yes | ingress: no pod
        x/b > y/a tcp/80         | yes | egress: no pod",
    );
    let by_addr = ingress("p", "pod=a", json!([{"from": [block("192.0.0.2/32", &[])]}]));
    check(&after([by_addr]), "node-2 > x/a tcp/80 | yes\nnode-3 > x/a tcp/80 | no");
}

fn pod_at_node(mut pod: Value, addr: &str) -> Value {
    pod["status"]["podIPs"] = json!([{"ip": addr}]);
    pod
}

#[test]
fn npn9_a_pod_that_ended_has_no_address_and_one_that_terminates_has() {
    let from_b = ingress("p", "pod=a", json!([{"from": [pods("pod=b")]}]));
    for (phase, want) in [("Running", "yes"), ("Succeeded", "no"), ("Failed", "no")] {
        let ended = pod("x/b", "/status/phase", json!(phase));
        // Its address is another's by now.
        let table = format!("10.244.2.2 > x/a tcp/80 | {want}");
        check(&after([from_b.clone(), ended]), &table);
    }
    let leaving = pod("x/b", "/metadata/deletionTimestamp", json!("2026-05-01T00:00:00Z"));
    check(&after([from_b, leaving]), "x/b > x/a tcp/80 | yes");
    let shut = ingress("p", "pod=a", json!([]));
    let leaving = pod("x/a", "/metadata/deletionTimestamp", json!("2026-05-01T00:00:00Z"));
    check(&after([shut, leaving]), "x/b > x/a tcp/80 | no");
}

#[test]
fn npn10_labels_that_look_like_ours_mean_nothing() {
    let from_y = ingress("p", "pod=a", json!([{"from": [spaces("ns=y")]}]));
    let from_name =
        ingress("q", "pod=a", json!([{"from": [spaces("kubernetes.io/metadata.name=y")]}]));
    let mimics = json!({
        "pod": "b",
        "ns": "y",
        "kubernetes.io/metadata.name": "y",
        "io.kubernetes.pod.namespace": "y",
    });
    let play = after([from_y, from_name, pod("z/b", "/metadata/labels", mimics)]);
    check(&play, "z/b > x/a tcp/80 | no\ny/b > x/a tcp/80 | yes");
    let mut play = play;
    play.happen(&Step::Label("z", json!({"kubernetes.io/metadata.name": "y"})));
    check(&play, "z/b > x/a tcp/80 | no");
}

#[test]
fn npn19_npb9_the_own_node_gets_in_and_what_it_forwards_does_not() {
    check(
        &after([ingress("p", "", json!([]))]),
        "
        node-1 > x/a tcp/80                     | yes | own node
        node-2 > x/a tcp/80                     | no  | isolated by x/p
        203.0.113.9 as node-1 > x/a tcp/80 led  | no  | isolated by x/p
        y/a as node-1 > x/a tcp/80 led          | no  | isolated by x/p
        node-2 > x/b tcp6/80                    | yes | own node",
    );
}

#[test]
fn npn20_npu4_a_pod_reaches_itself() {
    let shut = policy("x", "p", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    check(
        &after([shut]),
        "
        x/a > x/a tcp/80               | yes | itself
        x/a as node-1 > x/a tcp/80 led | yes | nothing
        x/a > x/b tcp/80 led           | no  | isolated",
    );
}

#[test]
fn npn9_a_pod_without_an_address_yet_is_nobodys_peer() {
    let from_b = ingress("p", "pod=a", json!([{"from": [pods("pod=b")]}]));
    let pending = pod("x/b", "/status/podIPs", json!([]));
    check(&after([from_b, pending]), "10.244.2.2 > x/a tcp/80 | no | isolated by x/p");
}

#[test]
fn npn7_pods_may_outlive_their_namespace_which_then_matches_no_selector() {
    // Pods may outlive their Namespace object, which then matches no selector of namespaces.
    let from_z = ingress("p", "", json!([{"from": [spaces("ns=z")]}]));
    let mut play = after([from_z]);
    for name in ["x", "z"] {
        play.world.namespaces.remove(name);
    }
    check(&play, "y/a > x/a tcp/80 | no | isolated by x/p\nz/a > x/a tcp/80 | no");
    remove(&mut play.world, &ingress("p", "", json!([])));
    check(&play, "y/a > x/a tcp/80 | yes | nothing");
}

#[test]
fn npn24_a_pods_own_node_is_not_forbidden_to_it_and_other_nodes_are() {
    check(
        &after([egress("p", "pod=a", json!([]))]),
        "
        x/a > node-1 tcp/10250  | yes | egress: nothing
        x/a > node-1 tcp6/10250 | yes | egress: nothing
        x/a > node-2 tcp/10250  | no  | isolated by x/p
        node-1 > node-2 tcp/22  | yes | no pod",
    );
}

#[test]
fn stages_are_what_the_tables_take_them_for() {
    let world = Stage::NINE.world();
    let addrs: Vec<String> =
        world.pods.values().map(|pod| format!("{} {}", pod.name, pod.addrs[0])).collect();
    assert_eq!(
        addrs[..4],
        ["x/a 10.244.1.2", "x/b 10.244.2.2", "x/c 10.244.3.2", "y/a 10.244.1.3"]
    );
}

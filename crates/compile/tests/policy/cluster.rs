//! The rows of ClusterNetworkPolicy.

use fixtures::policies::write::{cluster, egress, ingress, pods, policy, selector};
use serde_json::{Value, json};

use crate::stage::{after, check, pod};

/// A policy about the pods `x/a`.
fn about_a(name: &str, tier: &str, priority: u16, rules: Value) -> Value {
    let subject =
        json!({"pods": {"namespaceSelector": selector("ns=x"), "podSelector": selector("pod=a")}});
    let mut spec = json!({"subject": subject});
    for field in ["ingress", "egress"] {
        spec[field] = rules[field].clone();
    }
    cluster(name, tier, priority, spec)
}

/// A rule that lets in, out, or neither: everybody of the cluster.
fn everybody(action: &str, field: &str) -> Value {
    json!([{"action": action, field: [{"namespaces": {}}]}])
}

fn from_all(action: &str) -> Value {
    json!({"ingress": everybody(action, "from")})
}

#[test]
fn npc1_npu6_tiers_in_order_then_priorities_then_names() {
    let from_b = ingress("np", "pod=a", json!([{"from": [pods("pod=b")]}]));
    let base = about_a("base", "Baseline", 0, from_all("Deny"));
    check(
        &after([base.clone()]),
        "
        x/b > x/a tcp/80 | no  | Baseline ClusterNetworkPolicy base rule 0
        x/a > x/b tcp/80 | yes | nothing",
    );
    check(
        &after([base.clone(), from_b.clone()]),
        "
        x/b > x/a tcp/80 | yes | NetworkPolicy x/np rule 0
        x/c > x/a tcp/80 | no  | isolated by x/np",
    );
    let deny = about_a("deny", "Admin", 5, from_all("Deny"));
    check(
        &after([base.clone(), from_b.clone(), deny.clone()]),
        "x/b > x/a tcp/80 | no | Admin ClusterNetworkPolicy deny rule 0",
    );
    let accept = about_a("zero", "Admin", 0, from_all("Accept"));
    check(
        &after([base.clone(), from_b.clone(), deny.clone(), accept]),
        "x/c > x/a tcp/80 | yes | Admin ClusterNetworkPolicy zero rule 0",
    );
    let [earlier, later] = ["a", "z"].map(|name| about_a(name, "Admin", 5, from_all("Accept")));
    check(
        &after([deny.clone(), earlier]),
        "x/b > x/a tcp/80 | yes | ClusterNetworkPolicy a rule 0",
    );
    check(&after([deny, later]), "x/b > x/a tcp/80 | no | ClusterNetworkPolicy deny rule 0");
}

#[test]
fn npc1_rules_count_in_their_order() {
    let to = |space: &str| json!({"namespaces": selector(&format!("ns={space}"))});
    let rules = json!({"egress": [
        {"action": "Accept", "to": [to("y")]},
        {"action": "Deny", "to": [to("y"), to("z")]},
        {"action": "Accept", "to": [to("z")]},
    ]});
    check(
        &after([about_a("p", "Admin", 1, rules)]),
        "
        x/a > y/a tcp/80 | yes | rule 0
        x/a > z/a tcp/80 | no  | rule 1
        x/a > x/b tcp/80 | yes | egress: nothing",
    );
}

#[test]
fn npc2_without_rules_for_a_direction_it_is_untouched() {
    for tier in ["Admin", "Baseline"] {
        check(
            &after([
                about_a("p", tier, 1, json!({"ingress": []})),
                about_a("q", tier, 2, json!({})),
            ]),
            "
            x/b > x/a tcp/80 | yes | nothing
            x/a > x/b tcp/80 | yes | nothing",
        );
    }
    // What no rule matches goes on to the next tier; nobody is isolated by it.
    let some =
        json!({"ingress": [{"action": "Accept", "from": [{"namespaces": selector("ns=y")}]}]});
    check(&after([about_a("p", "Admin", 1, some)]), "z/a > x/a tcp/80 | yes | ingress: nothing");
}

#[test]
fn npc3_accept_deny_and_pass() {
    let shut = ingress("np", "pod=a", json!([]));
    let accept = about_a("p", "Admin", 1, from_all("Accept"));
    let pass = about_a("p", "Admin", 1, from_all("Pass"));
    let deny = about_a("q", "Admin", 2, from_all("Deny"));
    check(&after([shut.clone(), accept]), "y/a > x/a tcp/80 | yes | Admin");
    check(&after([shut, pass.clone(), deny.clone()]), "y/a > x/a tcp/80 | no | isolated by x/np");
    check(&after([pass.clone(), deny]), "y/a > x/a tcp/80 | yes | ingress: nothing");
    let base = about_a("b", "Baseline", 1, from_all("Deny"));
    check(&after([pass.clone(), base.clone()]), "y/a > x/a tcp/80 | no | Baseline");
    let base_passes = about_a("a", "Baseline", 0, from_all("Pass"));
    check(&after([pass, base_passes, base]), "y/a > x/a tcp/80 | yes | ingress: nothing");
    // The destination's side is asked, whatever the source's accepts.
    let out = about_a("p", "Admin", 1, json!({"egress": everybody("Accept", "to")}));
    let at_y = policy("y", "shut", json!({"podSelector": {}}));
    check(&after([out, at_y]), "x/a > y/a tcp/80 | no | isolated by y/shut");
}

#[test]
fn npc4_npu7_network_policies_are_final_for_the_directions_they_are_about() {
    let base = about_a("b", "Baseline", 1, from_all("Deny"));
    let out_alone = egress("out", "pod=a", json!([{}]));
    check(
        &after([base.clone(), out_alone]),
        "
        y/a > x/a tcp/80 | no  | Baseline
        x/a > y/a tcp/80 | yes | NetworkPolicy x/out rule 0",
    );
    let inwards = ingress("in", "pod=a", json!([{}]));
    check(&after([base, inwards]), "y/a > x/a tcp/80 | yes | NetworkPolicy x/in rule 0");
}

#[test]
fn npc5_npc6_pods_of_the_hosts_network_are_neither_subject_nor_peer() {
    let host = [
        pod("x/a", "/spec/hostNetwork", json!(true)),
        pod("y/a", "/spec/hostNetwork", json!(true)),
    ];
    let deny = cluster(
        "p",
        "Admin",
        1,
        json!({"subject": {"namespaces": {}}, "ingress": everybody("Deny", "from"),
            "egress": everybody("Deny", "to")}),
    );
    check(
        &after(host.into_iter().chain([deny])),
        "
        node-2 > x/a tcp/80  | yes | ingress: no pod
        x/b > x/a tcp/80     | yes | egress: nothing
        node-1 > x/b tcp/80  | yes | ingress: nothing
        x/b > x/c tcp/80     | no",
    );
}

#[test]
fn npc6_networks_and_nodes_are_whoever_has_the_addresses() {
    let rules = json!({"egress": [
        {"action": "Accept", "to": [{"nodes": selector("kubernetes.io/os=linux")}]},
        {"action": "Deny", "to": [{"networks": ["10.244.1.0/24", "192.0.0.0/24", "fd00:10:244::/48"]}]},
    ]});
    check(
        &after([about_a("p", "Admin", 1, rules)]),
        "
        x/a > node-1 tcp/10250  | yes | rule 0
        x/a > node-2 tcp/10250  | yes | rule 0
        x/a > 192.0.0.77 tcp/80 | no  | rule 1
        x/a > y/a tcp/80        | no  | rule 1
        x/a > y/a icmp/8        | no  | rule 1
        x/a > x/b tcp/80        | yes | egress: nothing
        x/a > x/b tcp6/80       | no  | rule 1",
    );
}

#[test]
fn npc7_protocols_and_named_ports() {
    let at = |protocols: Value| {
        let rule =
            json!([{"action": "Deny", "from": [{"namespaces": {}}], "protocols": protocols}]);
        after([about_a("p", "Admin", 1, json!({"ingress": rule}))])
    };
    check(
        &at(json!([{"tcp": {"destinationPort": {"number": 80}}},
            {"udp": {"destinationPort": {"range": {"start": 10, "end": 20}}}}])),
        "
        x/b > x/a tcp/80  | no
        x/b > x/a tcp/81  | yes
        x/b > x/a udp/9   | yes
        x/b > x/a udp/10  | no
        x/b > x/a udp/20  | no
        x/b > x/a udp/21  | yes
        x/b > x/a icmp/8  | yes",
    );
    // A name stands for the protocol that the container has it for.
    check(
        &at(json!([{"destinationNamedPort": "serve-81-udp"}])),
        "
        x/b > x/a udp/81 | no
        x/b > x/a tcp/81 | yes",
    );
    let all = after([about_a("p", "Admin", 1, from_all("Deny"))]);
    check(
        &all,
        "
        x/b > x/a tcp/80   | no
        x/b > x/a icmp/8   | no
        x/b > x/a gre      | no
        x/b > x/a icmp6/128 | no
        x/b > x/a icmp6/135 | yes | discovery",
    );
}

#[test]
fn npc7_npn16_egress_to_a_named_port_is_the_destinations() {
    let rules = json!({"egress": [
        {"action": "Accept", "to": [{"namespaces": {}}],
            "protocols": [{"destinationNamedPort": "web"}]},
        {"action": "Deny", "to": [{"networks": ["0.0.0.0/0"]}]},
    ]});
    let named = |name: &str, port: u16| {
        pod(name, "/spec/containers/0/ports", json!([{"name": "web", "containerPort": port}]))
    };
    check(
        &after([named("x/b", 80), named("y/b", 8080), about_a("p", "Admin", 1, rules)]),
        "
        x/a > x/b tcp/80   | yes | rule 0
        x/a > x/b tcp/8080 | no  | rule 1
        x/a > y/b tcp/8080 | yes | rule 0
        x/a > y/b tcp/80   | no  | rule 1
        x/a > z/b tcp/80   | no  | rule 1
        x/a > 203.0.113.9 tcp/80 | no | rule 1",
    );
}

#[test]
fn npc8_what_is_not_known_accepts_nothing_and_denies_everything() {
    let with = |action: &str| {
        let unknown = json!([{"action": action, "from": [{"serviceAccounts": {}}]}]);
        let late = about_a("q", "Admin", 9, from_all("Deny"));
        after([about_a("p", "Admin", 1, json!({"ingress": unknown})), late])
    };
    check(&with("Accept"), "x/b > x/a tcp/80 | no | ClusterNetworkPolicy q rule 0");
    for action in ["Deny", "Pass", "Log"] {
        check(
            &with(action),
            "
            x/b > x/a tcp/80         | no | ClusterNetworkPolicy p rule 0
            203.0.113.9 > x/a tcp/80 | no | ClusterNetworkPolicy p rule 0",
        );
    }
}

#[test]
fn npc10_npu8_the_own_node_gets_in_whatever_is_denied() {
    check(
        &after([about_a("p", "Admin", 1, json!({"ingress": [{"action": "Deny", "from": [{}]}]}))]),
        "
        node-1 > x/a tcp/80 | yes | own node
        node-2 > x/a tcp/80 | no  | Admin",
    );
}

#[test]
fn npc11_npu4_what_comes_back_by_a_service_is_the_clusters_matter_alone() {
    let shut =
        policy("x", "shut", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    let play = after([shut.clone()]);
    check(
        &play,
        "
        x/a > x/a tcp/80                  | yes | itself
        x/a as node-1 > x/a tcp/80 led    | yes | ingress: nothing",
    );
    let own = json!([{"pods": {"namespaceSelector": selector("ns=x"), "podSelector": selector("pod=a")}}]);
    let in_alone = json!({"ingress": [{"action": "Deny", "from": own}]});
    let out_alone = json!({"egress": [{"action": "Deny", "to": own}]});
    for rules in [in_alone, out_alone] {
        let play = after([shut.clone(), about_a("p", "Baseline", 1, rules)]);
        // From whom it seems to be is never asked.
        check(
            &play,
            "
            x/a as node-1 > x/a tcp/80 led | no  | Baseline ClusterNetworkPolicy p rule 0
            x/a > x/a tcp/80               | yes | itself",
        );
    }
}

#[test]
fn npc1_policies_of_v1alpha1_stand_in_the_same_tiers() {
    let old = |kind: &str, name: &str, action: &str| {
        let subject = json!({"namespaces": selector("ns=x")});
        let spec = json!({"priority": 3, "subject": subject, "ingress": everybody(action, "from")});
        json!({"kind": kind, "metadata": {"name": name}, "spec": spec})
    };
    let admin = old("AdminNetworkPolicy", "old", "Allow");
    let base = old("BaselineAdminNetworkPolicy", "default", "Deny");
    let new = cluster(
        "new",
        "Baseline",
        999,
        json!({"subject": {"namespaces": {}}, "ingress": everybody("Accept", "from")}),
    );
    check(
        &after([base.clone()]),
        "y/a > x/a tcp/80 | no | Baseline BaselineAdminNetworkPolicy default rule 0",
    );
    check(
        &after([base.clone(), new]),
        "y/a > x/a tcp/80 | yes | Baseline ClusterNetworkPolicy new rule 0",
    );
    check(&after([base, admin]), "y/a > x/a tcp/80 | yes | Admin AdminNetworkPolicy old rule 0");
}

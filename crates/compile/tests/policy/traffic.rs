//! The rows of NetworkPolicy: blocks of addresses, ports and protocols.

use fixtures::policies::write::{egress, ingress, spaces};
use serde_json::{Value, json};

use crate::stage::{after, block, check, pod};

#[test]
fn npn11_npb6_a_block_is_its_range_without_its_exceptions() {
    let blocks = [
        block("203.0.113.77/24", &["203.0.113.8/29", "203.0.113.200/32"]),
        block("203.0.113.10/32", &[]),
    ];
    let out = egress("p", "pod=a", json!([{"to": [blocks[0]]}, {"to": [blocks[1]]}]));
    check(
        &after([out]),
        "
        x/a > 203.0.113.1 tcp/80   | yes | rule 0
        x/a > 203.0.113.7 tcp/80   | yes | rule 0
        x/a > 203.0.113.8 tcp/80   | no
        x/a > 203.0.113.10 tcp/80  | yes | rule 1
        x/a > 203.0.113.15 tcp/80  | no
        x/a > 203.0.113.16 tcp/80  | yes | rule 0
        x/a > 203.0.113.200 tcp/80 | no
        x/a > 203.0.114.1 tcp/80   | no",
    );
}

#[test]
fn npn12_npb1_a_block_is_whoever_has_the_addresses_of_its_own_family() {
    let everybody = egress("p", "pod=a", json!([{"to": [block("0.0.0.0/0", &[])]}]));
    check(
        &after([everybody]),
        "
        x/a > y/a tcp/80           | yes
        x/a > node-2 tcp/80        | yes
        x/a > 203.0.113.9 tcp/80   | yes
        x/a > y/a tcp6/80          | no
        x/a > 2001:db8:9::9 tcp6/80 | no",
    );
    let of_pods = ingress("p", "pod=a", json!([{"from": [block("10.244.2.0/24", &[])]}]));
    check(&after([of_pods]), "x/b > x/a tcp/80 | yes\nx/c > x/a tcp/80 | no");
    let six = egress("p", "pod=a", json!([{"to": [block("::/0", &[])]}]));
    check(&after([six]), "x/a > y/a tcp6/80 | yes\nx/a > y/a tcp/80 | no");
}

#[test]
fn npn13_npu2_addresses_are_the_endpoints_and_the_client_as_it_is_seen() {
    let to_vip = egress("p", "pod=a", json!([{"to": [block("10.96.0.0/16", &[])]}]));
    check(&after([to_vip]), "x/a > y/a tcp/80 led | no | isolated by x/p");
    let outside = ingress("p", "pod=a", json!([{"from": [block("203.0.113.0/24", &[])]}]));
    check(
        &after([outside]),
        "
        203.0.113.9 > x/a tcp/80 led           | yes
        203.0.113.9 as node-2 > x/a tcp/80 led | no",
    );
}

#[test]
fn npn14_npb5_a_protocol_that_is_not_named_is_tcp_and_ports_are_the_targets() {
    let at = |port: Value| after([ingress("p", "pod=a", json!([{"ports": [port]}]))]);
    check(
        &at(json!({"port": 80})),
        "
        y/a > x/a tcp/80     | yes
        y/a > x/a tcp/80 led | yes
        y/a > x/a tcp/81     | no
        y/a > x/a udp/80     | no
        y/a > x/a sctp/80    | no",
    );
    check(
        &at(json!({"protocol": "UDP"})),
        "
        y/a > x/a udp/1     | yes
        y/a > x/a udp/65535 | yes
        y/a > x/a tcp/1     | no
        y/a > x/a icmp/8    | no",
    );
    check(&at(json!({})), "y/a > x/a tcp/9 | yes\ny/a > x/a udp/9 | no");
}

#[test]
fn npn15_a_range_of_ports_has_both_its_ends() {
    let at = |first: u16, last: u16| {
        let port = json!({"port": first, "endPort": last});
        after([ingress("p", "pod=a", json!([{"ports": [port]}]))])
    };
    check(
        &at(80, 82),
        "
        y/a > x/a tcp/79 | no
        y/a > x/a tcp/80 | yes
        y/a > x/a tcp/82 | yes
        y/a > x/a tcp/83 | no",
    );
    check(&at(80, 80), "y/a > x/a tcp/80 | yes\ny/a > x/a tcp/81 | no");
    check(&at(65535, 65535), "y/a > x/a tcp/65535 | yes\ny/a > x/a tcp/65534 | no");
}

#[test]
fn npn16_a_named_port_is_the_destinations() {
    let named = |name: &str, port: u16, protocol: &str| {
        let ports = json!([{"name": "web", "containerPort": port, "protocol": protocol}]);
        pod(name, "/spec/containers/0/ports", ports)
    };
    let all = [named("x/a", 80, "TCP"), named("x/b", 8080, "TCP"), named("y/b", 80, "UDP")];
    let web = json!([{"ports": [{"port": "web"}]}]);
    check(
        &after(all.clone().into_iter().chain([ingress("p", "", web.clone())])),
        "
        y/a > x/a tcp/80   | yes
        y/a > x/a tcp/8080 | no
        y/a > x/b tcp/8080 | yes
        y/a > x/b tcp/80   | no
        y/a > x/c tcp/80   | no",
    );
    check(
        &after(all.clone().into_iter().chain([egress("p", "pod=a", web)])),
        "
        x/a > x/b tcp/8080       | yes
        x/a > x/b tcp/80         | no
        x/a > y/b tcp/80         | no
        x/a > y/b udp/80         | no
        x/a > 203.0.113.9 tcp/80 | no
        x/a > node-2 tcp/80      | no",
    );
    let udp = json!([{"to": [spaces("")], "ports": [{"port": "web", "protocol": "UDP"}]}]);
    check(
        &after(all.into_iter().chain([egress("p", "pod=a", udp)])),
        "
        x/a > y/b udp/80   | yes
        x/a > y/b tcp/80   | no
        x/a > x/b udp/8080 | no",
    );
}

#[test]
fn npn17_a_policy_about_sctp_isolates_and_is_about_nothing_else() {
    check(
        &after([ingress("p", "pod=a", json!([{"ports": [{"port": 80, "protocol": "SCTP"}]}]))]),
        "
        y/a > x/a sctp/80 | yes
        y/a > x/a sctp/81 | no
        y/a > x/a tcp/80  | no
        y/a > x/a udp/80  | no",
    );
}

#[test]
fn npn18_a_rule_without_ports_is_about_every_protocol() {
    check(
        &after([ingress("p", "pod=a", json!([{"from": [spaces("ns=y")]}]))]),
        "
        y/a > x/a icmp/8    | yes
        y/a > x/a icmp6/128 | yes
        y/a > x/a gre       | yes
        z/a > x/a icmp/8    | no",
    );
}

#[test]
fn npb2_port_zero_and_ranges_to_the_end_are_what_they_say() {
    let rule = json!([{"ports": [{"port": 1, "endPort": 65535}]}]);
    check(&after([ingress("p", "pod=a", rule)]), "y/a > x/a tcp/1 | yes\ny/a > x/a tcp/0 | no");
    check(&after([ingress("p", "pod=a", json!([{"ports": [{}]}]))]), "y/a > x/a tcp/0 | yes");
}

#[test]
fn npb3_npb4_a_block_alone_lets_in_nobody_of_the_own_namespace_and_narrow_ones_do_not_hide_wide_ones()
 {
    let only = ingress("p", "pod=a", json!([{"from": [block("203.0.113.0/24", &[])]}]));
    check(&after([only]), "x/b > x/a tcp/80 | no\n203.0.113.9 > x/a tcp/80 | yes");
    let wide = block("203.0.113.0/24", &[]);
    let narrow = block("203.0.113.0/28", &["203.0.113.9/32"]);
    let out = egress("p", "pod=a", json!([{"to": [narrow]}, {"to": [wide]}]));
    check(&after([out]), "x/a > 203.0.113.9 tcp/80 | yes | rule 1");
}

#[test]
fn npb6_a_thousand_rules_are_all_asked() {
    let rule = |i: u32| {
        let addr = format!("198.18.{}.{}/32", i / 250, i % 250);
        json!({"to": [block(&addr, &[])], "ports": [{"port": 1000 + i}]})
    };
    let rules: Vec<Value> = (0..1000).map(rule).collect();
    check(
        &after([egress("p", "pod=a", json!(rules))]),
        "
        x/a > 198.18.3.249 tcp/1999 | yes | rule 999
        x/a > 198.18.3.249 tcp/1998 | no
        x/a > 198.18.0.0 tcp/1000   | yes | rule 0",
    );
}

#[test]
fn npb10_a_port_that_others_tunnel_through_is_a_port() {
    let at = ingress("p", "pod=a", json!([{"ports": [{"port": 80}]}]));
    check(&after([at]), "y/a > x/a tcp/15008 | no\ny/a > x/a tcp/80 | yes");
}

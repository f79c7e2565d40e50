//! Egress to names.

use fixtures::policies::write::cluster;
use oracle::policy::Learned;
use serde_json::json;

use crate::stage::{after, check, check_learned};

fn allowlist() -> serde_json::Value {
    let egress = json!([
        {"action": "Accept", "to": [{"domainNames": ["example.org", "*.wild.example"]}],
            "protocols": [{"tcp": {"destinationPort": {"number": 443}}}]},
        {"action": "Deny", "to": [{"networks": ["0.0.0.0/0", "::/0"]}]},
    ]);
    cluster("names", "Admin", 1, json!({"subject": {"namespaces": {}}, "egress": egress}))
}

fn learned(all: &[(&str, &str)]) -> Learned {
    let mut learned = Learned::new();
    for (name, addr) in all {
        let name = name.parse().expect("a name");
        learned.entry(name).or_default().insert(addr.parse().expect("an address"));
    }
    learned
}

#[test]
fn npf1_npf2_npf5_what_a_name_stands_for_is_allowed_while_it_does() {
    let play = after([allowlist()]);
    let known = learned(&[
        ("example.org", "203.0.113.9"),
        ("example.org", "2001:db8:9::9"),
        ("www.example.org", "203.0.113.10"),
        ("a.b.wild.example", "203.0.113.11"),
        ("wild.example", "203.0.113.12"),
    ]);
    check_learned(
        &play,
        &known,
        "
        x/a > 203.0.113.9 tcp/443      | yes | Admin ClusterNetworkPolicy names rule 0
        x/a > 2001:db8:9::9 tcp6/443   | yes | Admin ClusterNetworkPolicy names rule 0
        x/a > 203.0.113.9 tcp/80       | no  | Admin ClusterNetworkPolicy names rule 1
        x/a > 203.0.113.10 tcp/443     | no  | Admin ClusterNetworkPolicy names rule 1
        x/a > 203.0.113.11 tcp/443     | yes | Admin ClusterNetworkPolicy names rule 0
        x/a > 203.0.113.12 tcp/443     | no  | Admin ClusterNetworkPolicy names rule 1
        x/a > 203.0.113.13 tcp/443     | no  | Admin ClusterNetworkPolicy names rule 1",
    );
    // Nothing is remembered, or it has expired.
    check(&play, "x/a > 203.0.113.9 tcp/443 | no | Admin ClusterNetworkPolicy names rule 1");
}

#[test]
fn npf3_a_name_that_is_allowed_does_not_allow_to_ask_for_it() {
    let play = after([allowlist()]);
    check_learned(
        &play,
        &learned(&[("example.org", "203.0.113.9")]),
        "
        x/a > y/b udp/53         | no | names rule 1
        x/a > 203.0.113.9 udp/53 | no | names rule 1",
    );
}

#[test]
fn npf4_a_name_may_stand_for_hundreds_of_addresses() {
    let addrs: Vec<String> = (0..250).map(|i| format!("198.51.100.{i}")).collect();
    let all: Vec<(&str, &str)> =
        addrs.iter().map(|addr| ("x.wild.example", addr.as_str())).collect();
    let lines: String =
        addrs.iter().map(|addr| format!("x/a > {addr} tcp/443 | yes | names rule 0\n")).collect();
    check_learned(&after([allowlist()]), &learned(&all), &lines);
}

#[test]
fn npf6_pods_are_found_by_their_records_and_cluster_ips_are_not() {
    let play = after([allowlist()]);
    let pod = play.world.pods[&model::ObjectName::new("y", "b")].addrs[0].to_string();
    // A cluster IP that a name stands for is no destination any more where policy is asked.
    let known = learned(&[("db-0.wild.example", &pod), ("web.wild.example", "10.96.0.9")]);
    check_learned(
        &play,
        &known,
        "
        x/a > y/b tcp/443     | yes | names rule 0
        x/a > y/c tcp/443 led | no  | names rule 1",
    );
}

//! Which endpoints a node chooses from: conditions, policies, topology.

use libtest_mimic::Trial;
use serde_json::json;

use super::endpoints::slices;
use super::stage::{Stage, service};
use super::table::{ALL, TCP};
use crate::lab::test;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s5_s11_s13_s73_s74_conditions_decide_who_gets_new_flows", conditions),
        test("s14_s17_hints_of_all_or_of_none_narrow_the_choice", hints),
        test("s15_traffic_distribution_keeps_flows_near", distribution),
        test("s16_a_node_that_changes_its_zone_chooses_anew", zones),
    ]
}

/// Endpoints; who answers a pod of node-1 at the cluster IP; who answers a client outside at node-1,
/// under policy Local.
const CONDITIONS: &str = "
    web-1:ready web-2:ready             | web-1 web-2 | web-1
    web-1 web-2                         | web-1 web-2 | web-1
    web-2:ready                         | web-2       | silence
    web-1:ready web-2:terminating       | web-1       | web-1
    web-1:terminating web-2:ready       | web-2       | web-1
    web-1:terminating web-2:terminating | web-1 web-2 | web-1
    web-2:terminating                   | web-2       | silence
    web-1:unready web-2:ready           | web-2       | silence
    web-1:unready                       | refused     | refused
    web-1:ending                        | refused     | refused
    web-1:ending web-2:terminating      | web-2       | silence
    web-1:unready web-2:terminating     | web-2       | silence
    web-1:published web-2:terminating   | web-1       | web-1
    web-1:published web-2:ready         | web-1 web-2 | web-1
    web-1:ready web-2:ending            | web-1       | web-1";

fn conditions() {
    let stage = Stage::up(&[]);
    let cases: Vec<Vec<&str>> = rows(CONDITIONS);
    let mut objects = String::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case-{number}");
        let local = "  type: NodePort\n  externalTrafficPolicy: Local\n";
        objects += &service(&name, "", local);
        objects += &slices(&stage, &name, "all", case[0]);
    }
    stage.lab.apply(&objects);
    let tables = cases.iter().enumerate().map(|(number, case)| {
        let table = format!(
            "pod-1 | cluster | {} | itself\n client | node-1 | {} | itself",
            case[1], case[2]
        );
        (format!("case-{number}"), table)
    });
    stage.check_each(TCP, &tables.collect::<Vec<_>>());
}

/// node-1 is in lab-zone-1, node-2 in lab-zone-2. Endpoints; who answers a pod of each node.
const HINTS: &str = "
    web-1:zone=lab-zone-1 web-2:zone=lab-zone-2              | web-1       | web-2
    web-1:zone=lab-zone-2 web-2:zone=lab-zone-1              | web-2       | web-1
    web-1:zone=lab-zone-1 web-2                              | web-1 web-2 | web-1 web-2
    web-1:zone=lab-zone-1 web-2:zone=lab-zone-1              | web-1 web-2 | web-1 web-2
    web-1:zone=lab-zone-1 web-2:zone=lab-zone-3              | web-1       | web-1 web-2
    web-1:for=node-1 web-2:for=node-2                        | web-1       | web-2
    web-1:for=node-2 web-2:for=node-2                        | web-1 web-2 | web-1 web-2
    web-1:for=node-1 web-2:zone=lab-zone-2                   | web-1 web-2 | web-1 web-2
    web-1:zone=lab-zone-1 web-2:zone=lab-zone-2,unready      | web-1       | web-1
    web-1:zone=lab-zone-1 web-2:unready                      | web-1       | web-1
    web-1:terminating web-2:zone=lab-zone-2                  | web-2       | web-2
    web-1:zone=lab-zone-1,terminating web-2:terminating      | web-1 web-2 | web-1 web-2";

fn hints() {
    let stage = Stage::up(&["--zones", "2"]);
    let cases = rows(HINTS);
    let mut objects = String::new();
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case-{number}");
        objects += &service(&name, "", "");
        objects += &slices(&stage, &name, "all", case[0]);
    }
    // Under policy Local hints are nothing to clients outside, and everything to pods.
    objects += &service("local", "", "  type: NodePort\n  externalTrafficPolicy: Local\n");
    objects += &slices(&stage, "local", "all", "web-1:zone=lab-zone-2 web-2:zone=lab-zone-1");
    stage.lab.apply(&objects);
    let tables = cases.iter().enumerate().map(|(number, case)| {
        let table = format!(
            "pod-1 | cluster | {} | itself\n pod-2 | cluster | {} | itself",
            case[1], case[2]
        );
        (format!("case-{number}"), table)
    });
    stage.check_each(TCP, &tables.collect::<Vec<_>>());
    stage.check(
        "local",
        ALL,
        "client | node-1  | web-1 | itself
         client | node-2  | web-2 | itself
         pod-1  | cluster | web-2 | itself
         pod-1  | node-1  | web-2 | itself
         pod-2  | cluster | web-1 | itself",
    );
}

/// The controller's own hints, and those of the annotation that came before the field.
fn distribution() {
    let stage = Stage::up(&["--zones", "2"]);
    let near = |name: &str, how: &str| {
        service(name, "app: web", &format!("  trafficDistribution: {how}\n"))
    };
    let auto = service("auto", "", "").replace(
        "metadata: {name: auto}",
        "metadata: {name: auto, annotations: {service.kubernetes.io/topology-mode: Auto}}",
    );
    let objects = [
        near("zone", "PreferSameZone"),
        near("close", "PreferClose"),
        near("node", "PreferSameNode"),
        auto,
        slices(&stage, "auto", "all", "web-1:zone=lab-zone-1 web-2:zone=lab-zone-2"),
    ];
    stage.lab.apply(&objects.concat());
    for name in ["zone", "close", "node", "auto"] {
        stage.check(
            name,
            ALL,
            "pod-1 | cluster | web-1 | itself\n pod-2 | cluster | web-2 | itself",
        );
    }
    stage.change("zone", &json!({"trafficDistribution": null}));
    stage.check("zone", TCP, "pod-1 | cluster | web-1 web-2 | itself");
}

/// The label of the Node is what counts, at any time; without it no zone is.
fn zones() {
    let stage = Stage::up(&["--zones", "2"]);
    let near = slices(&stage, "web", "all", "web-1:zone=lab-zone-1 web-2:zone=lab-zone-2");
    stage.lab.apply(&[service("web", "", ""), near].concat());
    let label = |value: &str| {
        let label = format!("topology.kubernetes.io/zone{value}");
        stage.kubectl(&["label", "node", "node-1", &label, "--overwrite"]);
    };
    let answers = |hosts: &str| {
        let table =
            format!("pod-1 | cluster | {hosts} | itself\n pod-2 | cluster | web-2 | itself");
        stage.check("web", ALL, &table);
    };
    answers("web-1");
    label("=lab-zone-2");
    answers("web-2");
    label("-");
    answers("web-1 web-2");
    label("=lab-zone-1");
    answers("web-1");
}

fn rows(table: &str) -> Vec<Vec<&str>> {
    table.trim().lines().map(|row| row.split('|').map(str::trim).collect()).collect()
}

//! Traffic policies: which node's endpoints serve whom, and who is dropped.

use libtest_mimic::Trial;

use super::stage::{Stage, balancer, service};
use super::table::ALL;
use crate::lab::test;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (link, routing, subnets) in [("routed", "auto", "2"), ("bridge", "vxlan", "1")] {
        let name = format!(
            "s12_s13_s33_s39_s40_s48_s49_s50_policies_keep_flows_on_a_node_or_drop_them_{link}_{routing}"
        );
        let flags = ["--pod-link", link, "--routing", routing, "--subnets", subnets];
        trials.push(test(&name, move || policies(&flags)));
    }
    trials
}

// The only endpoint is on node-2.

/// `externalTrafficPolicy: Local`.
const EXTERNAL: &str = "
    client | node-2   | web-2 | itself
    client | vip-2    | web-2 | itself
    client | node-1   | silence
    client | vip      | silence
    client | external | silence
    pod-1  | external | web-2 | itself
    node-2 | external | web-2 | itself
    pod-1  | node-2   | web-2 | itself
    node-1 | node-2   | web-2 | itself
    pod-2  | node-1   | silence
    node-2 | node-1   | silence
    pod-1  | node-1   | web-2 | itself
    pod-1  | vip      | web-2 | itself
    pod-2  | node-2   | web-2 | itself
    pod-2  | vip      | web-2 | itself
    node-1 | node-1   | web-2 | itself
    node-1 | vip      | web-2 | itself
    node-2 | vip      | web-2 | itself
    pod-1  | cluster  | web-2 | itself
    node-1 | cluster  | web-2 | itself
    client | cluster  | web-2 | node-1";

/// `internalTrafficPolicy: Local`.
const INTERNAL: &str = "
    pod-2  | cluster | web-2 | itself
    node-2 | cluster | web-2 | itself
    pod-1  | cluster | silence
    node-1 | cluster | silence
    client | cluster | silence
    pod-1  | node-1  | web-2 | itself
    client | node-1  | web-2 | node-1";

/// Both.
const BOTH: &str = "
    client | node-2  | web-2 | itself
    client | node-1  | silence
    pod-1  | node-1  | web-2 | itself
    pod-1  | cluster | silence
    node-2 | cluster | web-2 | itself";

/// A load balancer has an address that is led to each node.
fn policies(flags: &[&str]) {
    let stage = Stage::up(flags);
    let [internal, external] =
        ["internal", "external"].map(|side| format!("  {side}TrafficPolicy: Local\n"));
    let balanced = "  type: LoadBalancer\n";
    let ips = "  externalIPs: [192.0.2.201, '2001:db8:77::201']\n";
    let objects = [
        service("external", "pod: web-2", &[balanced, ips, &external].concat()),
        service("internal", "pod: web-2", &[balanced, &internal].concat()),
        service("both", "pod: web-2", &[balanced, &internal, &external].concat()),
    ];
    stage.lab.apply(&objects.concat());
    stage.balance("external", &[balancer(1), balancer(2)].join(", "));
    let tables = [("external", EXTERNAL), ("internal", INTERNAL), ("both", BOTH)];
    let tables = tables.map(|(name, table)| (name.to_owned(), table.to_owned()));
    stage.check_each(ALL, &tables);
}

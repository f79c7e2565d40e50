//! Every combination of pod link, routing and family, and clusters of several sizes: `seaway check`
//! is green in each.

use libtest_mimic::Trial;

use crate::lab::{Lab, test};
use crate::manifests;

/// Pod link, routing, family, subnets.
const COMBINATIONS: [[&str; 4]; 18] = [
    ["routed", "auto", "ipv4", "2"],
    ["routed", "auto", "ipv6", "2"],
    ["routed", "auto", "dual", "2"],
    ["routed", "direct", "ipv4", "1"],
    ["routed", "direct", "ipv6", "1"],
    ["routed", "direct", "dual", "1"],
    ["routed", "vxlan", "ipv4", "1"],
    ["routed", "vxlan", "ipv6", "1"],
    ["routed", "vxlan", "dual", "2"],
    ["bridge", "auto", "ipv4", "2"],
    ["bridge", "auto", "ipv6", "2"],
    ["bridge", "auto", "dual", "2"],
    ["bridge", "direct", "ipv4", "1"],
    ["bridge", "direct", "ipv6", "1"],
    ["bridge", "direct", "dual", "1"],
    ["bridge", "vxlan", "ipv4", "1"],
    ["bridge", "vxlan", "ipv6", "1"],
    ["bridge", "vxlan", "dual", "2"],
];

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = COMBINATIONS
        .iter()
        .map(|combination| {
            let [link, routing, family, subnets] = *combination;
            let name = format!("every_path_works_{link}_{routing}_{family}_subnets_{subnets}");
            test(&name, move || combination_is_green([link, routing, family, subnets]))
        })
        .collect();
    for nodes in ["1", "2", "12"] {
        let name = format!("every_path_works_with_nodes_{nodes}");
        trials.push(test(&name, move || {
            let pods = nodes.parse::<usize>().expect("a number") * 2;
            green(&["--nodes", nodes], pods);
        }));
    }
    trials
}

fn combination_is_green([link, routing, family, subnets]: [&str; 4]) {
    let flags = [
        ["--pod-link", link],
        ["--routing", routing],
        ["--ip-family", family],
        ["--subnets", subnets],
        ["--nodes", "3"],
    ];
    green(flags.as_flattened(), 6);
}

/// A lab with these flags and `pods` pods comes up, is green, and goes.
fn green(flags: &[&str], pods: usize) {
    let mut lab = Lab::up_with(flags, &manifests::echoes(pods));
    lab.check();
    lab.down();
}

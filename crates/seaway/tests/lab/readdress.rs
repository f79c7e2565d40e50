//! A node gets other addresses while it runs, and connections die without a word.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text, within};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("routes_follow_a_node_whose_addresses_change", || moved("node-1")),
        test("routes_follow_a_node_behind_a_router_whose_addresses_change", || moved("node-2")),
        test("a_connection_to_the_api_server_that_dies_silently_is_given_up", silent_death),
    ]
}

/// node-1 and node-3 share a subnet, node-2 is behind a router: one route to the node that moves is
/// direct or has to become another tunnel's end, on its own side and on the others'.
fn moved(node: &str) {
    let pods: String = (1..=3)
        .map(|n| manifests::pod(&format!("p{n}"), &format!("node-{n}"), "seaway/echo"))
        .collect();
    let lab = Lab::up_with(&["--nodes", "3", "--subnets", "2", "--ip-family", "dual"], &pods);
    lab.check();

    let (old, new) = readdress(&lab, node);
    eventually("the Node object tells the new addresses", || {
        let field = "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}";
        let told = text(&lab.kubectl(&["get", "node", node, "-o", field]));
        if new.iter().all(|addr| told.contains(addr)) { Ok(()) } else { Err(told) }
    });
    eventually("every agent is ready and nothing fails", || {
        for node in ["node-1", "node-2", "node-3"] {
            let held = held(&lab, node);
            if let Some(addr) = old.iter().find(|addr| held.contains(*addr)) {
                return Err(format!("{node} still holds {addr}:\n{held}"));
            }
            healthy(&lab, node)?;
        }
        Ok(())
    });
    eventually("check is green", || success(&lab.seaway(&["check"]).output().expect("check")));
}

/// Nothing that the API server answers on the connections of now arrives any more.
fn silent_death() {
    let lab = Lab::up(&["--nodes", "1"]);
    let connections = || -> Vec<String> {
        let words = ["ss", "-Htn", "state", "established", "dport", "=", ":6443"];
        let lines = text(&lab.node("node-1", &words));
        let port =
            |line: &str| Some(line.split_whitespace().nth(2)?.rsplit_once(':')?.1.to_owned());
        lines.lines().filter_map(port).collect()
    };
    let old = connections();
    assert!(old.len() >= 2, "the agent's and the node's: {old:?}");
    let rule = format!("tcp sport 6443 tcp dport {{ {} }} drop", old.join(", "));
    let table =
        format!("table inet cut {{ chain in {{ type filter hook input priority 0; {rule}; }}; }}");
    success(&lab.node("node-1", &["nft", &table])).expect("cut the connections");
    within(Duration::from_secs(60), "others take their place", || {
        let now = connections();
        let is_old = now.iter().any(|port| old.contains(port));
        if !is_old && now.len() >= 2 { Ok(()) } else { Err((old.clone(), now)) }
    });
    eventually("the agent watches nodes again", || {
        let words = ["curl", "-s", "http://127.0.0.1:10249/metrics"];
        let metrics = text(&lab.node("node-1", &words));
        if metrics.contains("seaway_kube_watch_up 1") { Ok(()) } else { Err(metrics) }
    });
}

/// Gives the node other addresses of its subnet; what it had and what it has, followed by a space
/// as iproute2 prints them.
fn readdress(lab: &Lab, node: &str) -> ([String; 2], [String; 2]) {
    let addr = |family: &str| {
        let words = ["ip", family, "-o", "addr", "show", "dev", "eth0", "scope", "global"];
        let line = text(&lab.node(node, &words));
        line.split_whitespace().nth(3).expect("an address on eth0").to_owned()
    };
    let old = ["-4", "-6"].map(addr);
    let split = old[0].rsplit_once('.').expect("a dotted quad");
    let new4 = format!("{}.77/24", split.0);
    let new6 = format!("{}::77/64", old[1].rsplit_once("::").expect("a short address").0);
    let router = format!("{}.1", split.0);
    let router6 = format!("{}::1", old[1].rsplit_once("::").expect("a short address").0);
    let script = format!(
        "ip addr del {} dev eth0; ip addr add {new4} dev eth0; ip route add default via {router}; \
         ip -6 addr del {} dev eth0; ip -6 addr add {new6} dev eth0 nodad; \
         ip -6 route replace default via {router6}",
        old[0], old[1]
    );
    success(&lab.node(node, &["sh", "-ec", &script])).expect("change the addresses");
    let bare = |addr: String| addr.split('/').next().unwrap_or_default().to_owned();
    (old.map(bare).map(|addr| addr + " "), [new4, new6].map(bare))
}

/// What a node holds that names addresses of nodes.
fn held(lab: &Lab, node: &str) -> String {
    let script = "ip route show table all proto 83; ip -6 route show table all proto 83; \
                  bridge fdb show dev sw-vxlan; ip -d link show sw-vxlan | sed 's/$/ /'; ip -s neigh show nud permanent";
    text(&lab.node(node, &["sh", "-c", script]))
}

/// Ready, and the last pass had no failure.
fn healthy(lab: &Lab, node: &str) -> Result<(), String> {
    let report = success(&lab.node(node, &["seaway", "dump", "report", "-o", "json"]))?;
    let report: serde_json::Value = serde_json::from_str(&report).map_err(|e| e.to_string())?;
    let steps = report["steps"].as_array().ok_or("no steps")?;
    let fails =
        |step: &&serde_json::Value| step["failures"].as_array().is_some_and(|f| !f.is_empty());
    match steps.iter().find(fails) {
        Some(step) => Err(format!("{node}: {step}")),
        None => Ok(()),
    }
}

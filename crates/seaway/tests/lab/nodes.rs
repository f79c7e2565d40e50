//! Nodes come and go while pods run, and differ in what else is on them.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("routes_follow_a_node_that_joins_and_are_withdrawn_when_it_leaves", join_and_leave),
        test("the_first_node_across_a_router_changes_the_mtu_of_live_pods", mtu),
        test("a_bridge_works_with_and_without_br_netfilter", br_netfilter),
        test("a_chain_of_others_that_drops_is_named", foreign_drop),
        test("a_node_says_how_it_is_and_its_agent_says_how_its_network_is", conditions),
    ]
}

fn conditions() {
    let lab = Lab::up(&["--nodes", "1"]);
    let all = "-o=jsonpath={range .status.conditions[*]}{.type}={.status} {end}";
    let are_there = || {
        let told = text(&lab.kubectl(&["get", "node", "node-1", all]));
        let mut told: Vec<_> = told.split_whitespace().collect();
        told.sort_unstable();
        let told = told.join(" ");
        let expect = "DiskPressure=False MemoryPressure=False NetworkPressure=False \
                      NetworkUnavailable=False PIDPressure=False Ready=True";
        if told == expect { Ok(()) } else { Err(told) }
    };
    eventually("all conditions are there", are_there);
    let described = text(&lab.kubectl(&["describe", "node", "node-1"]));
    for word in ["SeawayIsUp", "KubeletReady", "RegisteredNode"] {
        assert!(described.contains(word), "no {word} in\n{described}");
    }
    let owned = || {
        let uid = text(&lab.kubectl(&["get", "node", "node-1", "-o=jsonpath={.metadata.uid}"]));
        let told = "-o=jsonpath={.spec.holderIdentity} {.metadata.ownerReferences[*].uid}";
        let lease = ["-n", "kube-system", "get", "lease", "seaway-node-1", told];
        let said = text(&lab.kubectl(&lease));
        if said == format!("node-1 {uid}") { Ok(()) } else { Err(format!("{said}, not {uid}")) }
    };
    eventually("its Lease is the Node's", owned);
    // Another Node of that name has none of them, and a Lease of its own.
    success(&lab.kubectl(&["delete", "node", "node-1"])).expect("delete the Node");
    eventually("the agent knows", || {
        let said = text(&lab.node("node-1", &["curl", "-s", "http://127.0.0.1:10249/readyz"]));
        if said.contains("Node node-1 does not exist") { Ok(()) } else { Err(said) }
    });
    lab.apply("{apiVersion: v1, kind: Node, metadata: {name: node-1}}");
    eventually("all conditions are there again", are_there);
    eventually("there is a Lease again", owned);
}

fn join_and_leave() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    lab.check();
    let before = ["node-1", "node-2"].map(|node| routes(&lab, node));
    run(&lab, &["join"]);
    lab.apply(&manifests::pod("late", "node-3", "seaway/echo"));
    wait_ready(&lab, "late");
    for node in ["node-1", "node-2"] {
        eventually("the route to the new node is there", || {
            let routes = routes(&lab, node);
            let has = |net: &str| routes.contains(net);
            if has("10.244.3.0/24") && has("fd00:10:244:2::/64") { Ok(()) } else { Err(routes) }
        });
    }
    lab.check();
    run(&lab, &["leave", "node-3"]);
    eventually("its Lease goes with the Node", || {
        let leases = text(&lab.kubectl(&["-n", "kube-system", "get", "leases", "-o=name"]));
        if leases.contains("seaway-node-3") { Err(leases) } else { Ok(()) }
    });
    for (node, before) in ["node-1", "node-2"].iter().zip(&before) {
        eventually("its routes are withdrawn", || {
            let now = routes(&lab, node);
            if now == *before { Ok(()) } else { Err(now) }
        });
    }
    lab.check();
}

/// node-1 ── switch 1 ── router ── switch 2 ── node-2: packets between them need room for VXLAN; alone,
/// node-1 has all of it (P-15).
fn mtu() {
    let lab = Lab::up_with(&["--nodes", "2", "--subnets", "2"], &manifests::pair());
    let mtu_is = |want: &str| {
        eventually("the live pod has the MTU", || {
            let mtu = text(&lab.exec("client", &["cat", "/sys/class/net/eth0/mtu"]));
            if mtu == want { Ok(()) } else { Err(mtu) }
        });
    };
    let (address, restarts) =
        (lab.pod_field("client", "{.status.podIP}"), "{.status.containerStatuses[0].restartCount}");
    mtu_is("1450");
    run(&lab, &["leave", "node-2"]);
    mtu_is("1500");
    run(&lab, &["join", "node-2"]);
    lab.apply(&manifests::pod("server", "node-2", "seaway/echo"));
    wait_ready(&lab, "server");
    mtu_is("1450");
    lab.check();
    assert_eq!(lab.pod_field("client", "{.status.podIP}"), address);
    assert_eq!(lab.pod_field("client", restarts), "0");
}

/// P-21: bridged packets pass nftables of the IP families, or don't; paths are checked strictly.
fn br_netfilter() {
    let lab = Lab::up_with(&["--nodes", "2", "--pod-link", "bridge"], &manifests::pair());
    lab.apply(&manifests::pod("neighbor", "node-1", "seaway/echo"));
    wait_ready(&lab, "neighbor");
    for value in ["0", "1"] {
        for node in ["node-1", "node-2"] {
            let set = format!(
                "set -e; test \"$(sysctl -n net.ipv4.conf.all.rp_filter)\" = 1; \
                 for name in iptables ip6tables arptables; do \
                 sysctl -q net.bridge.bridge-nf-call-$name={value}; done"
            );
            success(&lab.node(node, &["sh", "-c", &set])).expect("br_netfilter (modprobe it)");
        }
        lab.check();
    }
}

/// Docker's chain drops what is forwarded: the agent says so, and leaves it alone.
fn foreign_drop() {
    let lab = Lab::up(&["--nodes", "1"]);
    let chain = "add table ip filter; add chain ip filter FORWARD \
                 { type filter hook forward priority 0; policy drop; }";
    success(&lab.node("node-1", &["nft", chain])).expect("add a chain");
    eventually("the log names it", || {
        let said = text(&lab.seaway(&["lab", "logs"]).arg("node-1").output().expect("lab logs"));
        let named = "another program may drop packets of pods: chain ip filter FORWARD";
        if said.contains(named) { Ok(()) } else { Err(said) }
    });
    let agent = ["curl", "-sf", "http://127.0.0.1:10249/metrics"];
    let metrics = success(&lab.node("node-1", &agent)).expect("metrics");
    assert!(metrics.contains("seaway_nft_foreign_drop_chains 1"), "{metrics}");
    success(&lab.node("node-1", &["nft", "list", "chain", "ip", "filter", "FORWARD"]))
        .expect("it stays");
}

fn routes(lab: &Lab, node: &str) -> String {
    text(&lab.node(node, &["sh", "-c", "ip -4 route show proto 83; ip -6 route show proto 83"]))
}

fn wait_ready(lab: &Lab, pod: &str) {
    let pod = format!("pod/{pod}");
    let wait = ["wait", "--for=condition=Ready", &pod, "--timeout=30s"];
    success(&lab.kubectl(&wait)).expect("the pod is ready");
}

/// `seaway lab WORDS`, which must succeed.
fn run(lab: &Lab, words: &[&str]) {
    let output = lab.seaway(&[&["lab"], words].concat()).output().expect("start seaway lab");
    assert!(output.status.success(), "lab {words:?}: {}", lab.told(&output));
}

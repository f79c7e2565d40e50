//! What the agent that leads does for a cluster whose control plane doesn't: pod CIDRs of Nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::lab::{Lab, eventually, success, test, text, within};
use crate::service_stories::{kubectl, signal};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("nodes_that_nobody_gives_pod_cidrs_get_them_from_whoever_leads", given),
        test("where_somebody_else_gives_pod_cidrs_the_leader_gives_none", others),
    ]
}

/// Longer than a leader needs to be gone, and Nodes to have waited for the next one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A lab whose nodes are not ready.
fn without(flags: &[&str], variables: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new();
    let base = ["--nodes", "3", "--no-controller", "cidrAllocator", "--timeout", "3"];
    let said = lab.try_up_with_env(&[&base, flags].concat(), variables);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(told.contains("node node-3: it has no pod CIDR yet"), "{told}");
    lab
}

/// The pod CIDRs of a node.
fn cidrs(lab: &Lab, node: &str) -> Vec<String> {
    let cidrs = kubectl(lab, &format!("get node {node} -o jsonpath={{.spec.podCIDRs[*]}}"));
    cidrs.split_whitespace().map(str::to_owned).collect()
}

/// Waits until events of a node say this.
fn says(lab: &Lab, node: &str, reason: &str, what: &str) {
    let line =
        "jsonpath={range .items[*]}{.involvedObject.name} {.reason} {.message}{\"\\n\"}{end}";
    let about = format!("{node} {reason} ");
    within(PATIENCE, "an event says it", || {
        let events = text(&lab.kubectl(&["get", "events", "-o", line]));
        let mut lines = events.lines();
        let is_said = lines.any(|line| line.starts_with(&about) && line.contains(what));
        if is_said { Ok(()) } else { Err(events) }
    });
}

/// Left behind by a controller manager.
const LEASE: &str = r#"
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: kube-controller-manager, namespace: kube-system}
spec: {holderIdentity: cp-1_a, renewTime: "2026-01-01T00:00:00.000000Z"}"#;

fn given() {
    let lab = without(&[], &[]);
    lab.apply(LEASE);
    eventually("an agent says what it waits for", || {
        let said = text(&lab.node("node-1", &["curl", "-s", "http://127.0.0.1:10249/readyz"]));
        if said.contains("no pod CIDR yet: a controller manager") { Ok(()) } else { Err(said) }
    });
    let leader = eventually("one leads", || {
        let holder = success(&lab.kubectl(&[
            "-n",
            "kube-system",
            "get",
            "lease",
            "seaway",
            "-o",
            "jsonpath={.spec.holderIdentity}",
        ]))?;
        holder.split_once('_').map(|(node, _)| node.to_owned()).ok_or(holder)
    });
    says(
        &lab,
        "node-3",
        "CIDRNotAvailable",
        "Lease kube-system/kube-controller-manager of \"cp-1_a\"",
    );
    assert_eq!(cidrs(&lab, "node-3"), [""; 0]);
    let agents = processes::in_role(&lab, "agent");
    let agent = agents.iter().find(|agent| agent.has_word(&leader)).expect("its agent");
    signal(agent, Signal::SIGKILL);
    kubectl(&lab, "-n kube-system delete lease kube-controller-manager");
    let nodes = ["node-1", "node-2", "node-3"];
    let all: BTreeSet<String> = within(PATIENCE, "all nodes have pod CIDRs", || {
        let all: BTreeSet<String> = nodes.iter().flat_map(|node| cidrs(&lab, node)).collect();
        if all.len() == 6 { Ok(all) } else { Err(all) }
    });
    let want = ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"].map(str::to_owned);
    assert!(want.iter().all(|net| all.contains(net)), "{all:?}");
    says(&lab, "node-1", "CIDRAssigned", "10.244.0.0/24,fd00:10:244::/64");
    kubectl(&lab, "wait --for=condition=Ready nodes --all --timeout=60s");
    lab.apply(&manifests::pair());
    kubectl(&lab, "wait --for=condition=Ready pod --all --timeout=60s");
    lab.check();
}

fn others() {
    let variables = [("SEAWAY_POD_CIDRS", "10.200.0.0/26")];
    let lab = without(&["--ip-family", "ipv4"], &variables);
    let patch = r#"{"spec":{"podCIDR":"10.244.9.0/24","podCIDRs":["10.244.9.0/24"]}}"#;
    success(&lab.kubectl(&["patch", "node", "node-1", "-p", patch])).expect("patch node-1");
    for node in ["node-2", "node-3"] {
        says(&lab, node, "CIDRNotAvailable", "as 10.244.9.0/24 of Node node-1");
        assert_eq!(cidrs(&lab, node), [""; 0]);
    }
    kubectl(&lab, "wait --for=condition=Ready node node-1 --timeout=60s");
    // Whoever it was gives none any more.
    kubectl(&lab, "annotate node node-1 seaway.io/pod-cidrs-by=seaway");
    within(PATIENCE, "the next node gets some", || match cidrs(&lab, "node-2") {
        cidrs if cidrs == ["10.200.0.0/26"] => Ok(()),
        cidrs => Err(cidrs),
    });
    says(&lab, "node-3", "CIDRNotAvailable", "10.200.0.0/26 has no /26 left for it");
    assert_eq!(cidrs(&lab, "node-3"), [""; 0]);
    assert_eq!(cidrs(&lab, "node-1"), ["10.244.9.0/24"]);
}

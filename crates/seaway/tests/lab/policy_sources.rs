//! Where agents know of policies, and what waits for that.

use std::process::Child;
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cni::Node;
use crate::lab::{Lab, eventually, success, test, text, within};
use crate::processes;
use crate::service_stories::{ask_agent, kubectl, signal};

/// A policy about all pods of the namespace default.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: default}
spec: {podSelector: {}, ingress: [{}]}";

/// A definition that takes everything, and an object.
const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: adminnetworkpolicies.policy.networking.k8s.io
  annotations: {api-approved.kubernetes.io: \"https://github.com/kubernetes-sigs/network-policy-api/pull/30\"}
spec:
  group: policy.networking.k8s.io
  names: {kind: AdminNetworkPolicy, plural: adminnetworkpolicies, singular: adminnetworkpolicy}
  scope: Cluster
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";

const OBJECT: &str = "
apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: tenants}
spec:
  priority: 10
  subject: {namespaces: {}}
  ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: a}}}]}]";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("p25_an_add_waits_until_its_agent_knows_the_pod_and_no_other_does", waiting),
        test("npn22_a_slow_pod_of_a_namespace_that_ends_stays_cut_off_over_a_restart", ending),
        test("policies_of_a_kind_are_known_soon_after_the_kind_and_gone_with_it", definitions),
    ]
}

/// Waits until the agent of node-1 knows so many objects of this kind.
fn known(lab: &Lab, kind: &str, objects: u32) {
    let want = format!("seaway_kube_objects{{kind=\"{kind}\"}} {objects}");
    within(Duration::from_secs(60), &want, || {
        let metrics = ask_agent(lab, "node-1", "metrics")?;
        if metrics.lines().any(|line| line == want) { Ok(()) } else { Err(metrics) }
    });
}

fn waiting() {
    let node = Node::up();
    let conf = node.conf("1.1.0", json!({}));
    let start = |id: &str, args: &str| -> Child {
        node.make_netns(id);
        let args =
            format!("CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{args}");
        node.start_under(&["env", &args], "ADD", id, &conf)
    };
    let ends = |child: Child| child.wait_with_output().expect("wait for the plugin");
    success(&ends(start("early", ""))).expect("nothing waits while there is no policy");
    node.lab.apply(POLICY);
    known(&node.lab, "networkpolicies", 1);
    let another = start("another", ";K8S_POD_UID=another");
    let mut waiting = start("waiting", "");
    node.add("unnamed", &conf);
    node.succeeds("DEL", "unnamed", &conf);
    assert!(waiting.try_wait().expect("look at the plugin").is_none(), "the pod is not there yet");
    node.lab.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: \
         [{name: c, image: seaway, command: [sleep, inf]}]}}",
    );
    success(&ends(waiting)).expect("ADD once the pod is known");
    let refused = ends(another);
    let error: Value = serde_json::from_str(&text(&refused)).expect("an error is JSON");
    assert_eq!(error["code"], 11, "{error}");
    let why = error["msg"].as_str().expect("a message");
    assert!(why.contains("which policies are about pod default/p: the API server"), "{why}");
    eventually("the pod runs, by an ADD of its node's own", || {
        match node.lab.pod_field("p", "{.status.phase}") {
            phase if phase == "Running" => Ok(()),
            phase => Err(phase),
        }
    });
    for name in ["early", "waiting", "another"] {
        node.succeeds("DEL", name, &conf);
    }
}

/// A namespace whose one pod takes its time to end, and a client elsewhere.
const SLOW: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: slow}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut, namespace: slow}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: slow}
spec:
  terminationGracePeriodSeconds: 60
  containers:
  - {name: c, image: seaway, command: [sh, -c, \"trap '' TERM; until test -e /tmp/end; do sleep 0.2; done\"]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec: {containers: [{name: c, image: seaway, command: [sleep, inf]}]}";

fn ending() {
    let lab = Lab::up_with(&["--nodes", "1"], SLOW);
    let of_pod = |field: &str| kubectl(&lab, &format!("-n slow get pod p -o jsonpath={field}"));
    let addr = of_pod("{.status.podIP}");
    let is_cut_off = || !lab.exec("client", &["ping", "-c1", "-W1", &addr]).status.success();
    let rows = || text(&lab.node("node-1", &["seaway", "dump", "nft"]));
    let is_policed = || rows().contains("policy_generation");
    assert!(is_cut_off() && is_policed());
    let snapshot = lab.dir().join("nodes/node-1/run/seaway/state/snapshot");
    within(Duration::from_secs(60), "the policy is written down", || {
        let known = std::fs::read_to_string(&snapshot).map_err(|error| error.to_string())?;
        if known.contains("\nNetworkPolicy ") { Ok(()) } else { Err(known) }
    });
    kubectl(&lab, "delete namespace slow --wait=false");
    // As API servers before 1.33 do, which don't wait for the pods (CVE-2024-7598).
    kubectl(&lab, "-n slow delete networkpolicy shut");
    known(&lab, "networkpolicies", 0);
    assert!(is_cut_off() && of_pod("{.status.phase}") == "Running");
    for agent in processes::in_role(&lab, "agent") {
        signal(&agent, Signal::SIGKILL);
    }
    eventually("the next agent is ready", || ask_agent(&lab, "node-1", "readyz"));
    known(&lab, "networkpolicies", 0);
    assert!(is_cut_off() && of_pod("{.status.phase}") == "Running");
    success(&lab.exec("slow/p", &["touch", "/tmp/end"])).expect("end the pod");
    eventually("its policy goes with it", || if is_policed() { Err(lab.logs()) } else { Ok(()) });
}

fn definitions() {
    let lab = Lab::up(&["--nodes", "1"]);
    known(&lab, "adminnetworkpolicies", 0);
    lab.apply(DEFINITION);
    eventually("the kind is there", || success(&lab.kubectl(&["get", "adminnetworkpolicies"])));
    lab.apply(OBJECT);
    known(&lab, "adminnetworkpolicies", 1);
    let definition = "crd/adminnetworkpolicies.policy.networking.k8s.io";
    success(&lab.kubectl(&["delete", definition])).expect("delete the definition");
    known(&lab, "adminnetworkpolicies", 0);
    let log = lab.logs();
    let said = log.lines().filter(|line| line.contains("does not know the kind"));
    let said = said.filter(|line| line.contains(" adminnetworkpolicies"));
    assert!(said.count() <= 2, "it is told when it becomes so, and not each time: {log}");
}

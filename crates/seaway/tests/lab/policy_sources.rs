//! Where agents know of policies, and what waits for that.

use std::process::Child;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::cni::Node;
use crate::lab::{Lab, eventually, success, test, text, within};
use crate::service_stories::ask_agent;

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

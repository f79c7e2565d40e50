//! What a person is told about policies on a node: by `seaway policy` and `seaway dump policy`.

use libtest_mimic::Trial;

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("npx5_a_node_explains_its_policies_and_which_flows_others_would_cut", explained)]
}

/// Lets in whoever is a client, as every pod of the stories is called by its own label.
const LETS_IN: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8080}]
";

/// node-1: client ── node-2: server
fn explained() {
    let lab = Lab::up(&["--nodes", "2"]);
    lab.apply(&manifests::pair());
    for pod in ["client", "server"] {
        let ready = lab.kubectl(&["wait", "pod", pod, "--for=condition=Ready", "--timeout=60s"]);
        success(&ready).expect("the pod is ready");
        success(&lab.kubectl(&["label", "pod", pod, &format!("app={pod}")])).expect("label it");
    }
    let server = lab.pod_field("server", "{.status.podIP}");
    let url = format!("http://{server}:8080");
    success(&lab.exec("client", &["curl", "-sS", "-m", "5", &url])).expect("it is open");

    let trace = ["seaway", "policy", "trace", "client", "server", "tcp/8080"];
    let says = |argv: &[&str], line: &str| {
        eventually(&format!("{argv:?} says {line}"), || {
            let said = success(&lab.node("node-2", argv))?;
            if said.contains(line) { Ok(()) } else { Err(said) }
        });
    };
    says(&trace, "ingress allowed: no policy says anything");

    let shut = lab.dir().join("shut.yaml");
    let only = LETS_IN.replace("app: client", "app: nobody");
    std::fs::write(&shut, only).expect("write the manifest");
    let shut = shut.to_string_lossy();
    let checked = lab.node("node-2", &["seaway", "policy", "check", "-f", &shut]);
    let said = text(&checked);
    assert_eq!(checked.status.code(), Some(1), "{said}");
    let cut = format!("{server}:8080 pod default/client -> pod default/server");
    assert!(said.contains(&cut), "{cut} is not in {said}");
    let why = "ingress: no NetworkPolicy allows it; isolated by default/server";
    assert!(said.contains(&format!("{cut}\n    {why}")), "{said}");
    says(&trace, "ingress allowed: no policy says anything");

    lab.apply(LETS_IN);
    says(&trace, "ingress allowed: NetworkPolicy default/server rule 0 allows it");
    says(
        &["seaway", "dump", "policy", "server"],
        "allow tcp/8080 pods app=client of default [1: default/client] (NetworkPolicy default/server rule 0: ",
    );
    says(&["seaway", "policy", "matrix", "-n", "default", "-o", "table"], "tcp/8080\n");
    let same = lab.node("node-2", &["seaway", "policy", "check", "--delete", "netpol/default/x"]);
    assert_eq!(same.status.code(), Some(2), "{}", text(&same));
}

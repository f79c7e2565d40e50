//! The rights that the manifest gives to agents: those that they use, and no others.

use std::collections::BTreeSet;
use std::time::Duration;

use fixtures::policies::definition::definitions;
use libtest_mimic::Trial;
use serde_json::Value;

use crate::install::{LACKS, bare_with, kubectl, manifest};
use crate::lab::{Lab, eventually, test, text, within};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test("agents_use_every_right_that_the_manifest_gives_them", used)]
}

/// Who agents are to the API server.
const AGENT: &str = "system:serviceaccount:kube-system:seaway";

/// Has the API server say who may do what, whenever somebody asks for something.
const LOG: (&str, &str) = ("RUST_LOG", "info,seaway_apiserver::http::gate=trace");

/// A policy of each kind, and a Service of which there is something to tell.
const REASONS: &str = "
---
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: new},
  spec: {tier: Admin, priority: 10, subject: {namespaces: {}}}}
---
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: AdminNetworkPolicy, metadata: {name: old},
  spec: {priority: 10, subject: {namespaces: {}}}}
---
{apiVersion: policy.networking.k8s.io/v1alpha1, kind: BaselineAdminNetworkPolicy, metadata: {name: default},
  spec: {subject: {namespaces: {}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: told}, spec: {ports: [{port: 80}], externalIPs: [192.0.2.7]}}
";

fn used() {
    let lab = bare_with("1", &LACKS, &[LOG]);
    lab.apply(&definitions().map(|it| format!("---\n{it}\n")).concat());
    let path = manifest(&lab, &[], &["apiServer=/run/kubeconfig", "acknowledgeDrains=true"]);
    kubectl(&lab, &format!("apply -f {path}"));
    kubectl(&lab, "wait --for=condition=Ready nodes --all --timeout=90s");
    lab.apply(&[&manifests::pod("server", "node-1", "seaway/echo"), REASONS].concat());
    kubectl(&lab, "wait --for=condition=Ready pod --all --timeout=60s");
    kubectl(&lab, "wait --for=create event --field-selector reason=AddressRefused --timeout=60s");
    // What is told again is counted up in the event that there is.
    for (addresses, is_refused) in [("[]", false), ("[\"192.0.2.7\"]", true)] {
        let patch = format!("{{\"spec\":{{\"externalIPs\":{addresses}}}}}");
        kubectl(&lab, &format!("patch service told --type=merge -p {patch}"));
        eventually("the agent has looked", || {
            let said = text(&lab.node("node-1", &["seaway", "dump", "rejected"]));
            if said.contains("192.0.2.7") == is_refused { Ok(()) } else { Err(said) }
        });
    }
    // Who has pods of its own for names has no use for the endpoints that were made.
    kubectl(
        &lab,
        "-n kube-system patch service kube-dns --type=merge -p {\"spec\":{\"selector\":{\"a\":\"b\"}}}",
    );
    let given: BTreeSet<String> = [
        rights(&lab, "get clusterrole seaway -o json"),
        rights(&lab, "-n kube-system get role seaway -o json"),
    ]
    .concat()
    .into_iter()
    .collect();
    within(Duration::from_secs(60), "every right is used", || {
        let used = uses(&lab);
        let unused: Vec<&String> = given.difference(&used).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("never used: {unused:?}")) }
    });
}

/// The rights in a role, like `list pods` and `patch nodes/status`.
fn rights(lab: &Lab, words: &str) -> Vec<String> {
    let role: Value = serde_json::from_str(&kubectl(lab, words)).expect("kubectl prints JSON");
    let words = |rule: &Value, field: &str| -> Vec<String> {
        let words = rule[field].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let rules = role["rules"].as_array().expect("rules");
    let of_rule = |rule: &Value| {
        let verbs = words(rule, "verbs");
        let resources = words(rule, "resources").into_iter();
        let each = |resource: String| {
            let right = |verb: &String| format!("{verb} {resource}");
            verbs.iter().map(right).collect::<Vec<_>>()
        };
        resources.flat_map(each).collect::<Vec<_>>()
    };
    rules.iter().flat_map(of_rule).collect()
}

/// What agents have asked for, as rights.
fn uses(lab: &Lab) -> BTreeSet<String> {
    let log = std::fs::read_to_string(lab.dir().join("supervisor.log")).expect("read the log");
    let of_line = |line: &str| {
        let (verb, rest) = line.split_once(AGENT)?.1.strip_prefix(" may ")?.split_once(' ')?;
        let resource = rest.strip_prefix("resource \"")?.split_once('"')?.0;
        Some(format!("{verb} {resource}"))
    };
    log.lines().filter_map(of_line).collect()
}

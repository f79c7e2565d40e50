//! What the status of the cluster's policies says, and who writes it.

use std::net::SocketAddr;
use std::time::Duration;

use fixtures::policies::definition::definitions;
use libtest_mimic::Trial;
use model::Family;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::ask::{Notice, Question, ask};
use super::cluster::Cluster;
use super::scene::{PORT, TCP_UDP};
use crate::lab::{Lab, eventually, success, test, within};
use crate::processes;
use crate::service_stories::{ask_agent, restart_agent, signal};
use crate::services::stage::{Place, pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("npc12_conditions_say_whether_a_policy_is_understood_and_obeyed_everywhere", told),
        test("npc12_a_leader_that_stands_still_is_followed_and_its_node_is_named", followed),
    ]
}

/// Three nodes with a pod each.
struct Stage {
    lab: Lab,
    cluster: Cluster,
}

/// A policy of this kind about all pods of `default`, with these rules for who comes in.
fn policy(kind: &str, name: &str, ingress: &Value) -> Value {
    let is_old = kind != "ClusterNetworkPolicy";
    let mut spec = json!({
        "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}},
        "ingress": ingress,
    });
    if kind != "BaselineAdminNetworkPolicy" {
        spec["priority"] = json!(10);
    }
    if !is_old {
        spec["tier"] = json!("Admin");
    }
    let version = if is_old { "v1alpha1" } else { "v1alpha2" };
    json!({"apiVersion": format!("policy.networking.k8s.io/{version}"), "kind": kind,
        "metadata": {"name": name}, "spec": spec})
}

fn rule(action: &str) -> Value {
    json!([{"action": action, "from": [{"namespaces": {}}]}])
}

impl Stage {
    fn up() -> Stage {
        let definitions = definitions().map(|it| it.to_string()).join("\n---\n");
        let pods = ["a", "b", "c"].iter().zip(1..);
        let pods =
            pods.map(|(name, node)| pod(name, &format!("node-{node}"), "")).collect::<String>();
        let lab = Lab::up_with(&["--nodes", "3"], &format!("{definitions}\n---\n{pods}"));
        // They may have listed before the kinds were there, and would notice within half a minute.
        ["node-1", "node-2", "node-3"].iter().for_each(|node| restart_agent(&lab, node));
        let cluster = Cluster::of(&lab);
        Stage { lab, cluster }
    }

    fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        success(&self.lab.kubectl(&words)).unwrap_or_else(|why| panic!("kubectl {words:?}: {why}"))
    }

    /// Waits as a script would.
    fn wait(&self, object: &str, condition: &str) {
        let words = format!("wait --for=condition={condition} {object} --timeout=90s");
        let waited = success(&self.lab.kubectl(&words.split(' ').collect::<Vec<_>>()));
        waited
            .unwrap_or_else(|why| panic!("{words}: {why}\n{}\n{}", self.report(), self.lab.logs()));
    }

    fn report(&self) -> String {
        self.kubectl("-n kube-system get leases -o yaml")
            + &self.kubectl("get clusternetworkpolicies -o yaml")
    }

    /// What everybody notices at everybody else, asked once.
    fn notices(&self) -> Vec<Notice> {
        let mut all = Vec::new();
        for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
            for family in Family::ALL {
                let to = SocketAddr::new(Place::find(&self.lab, to).addr(family), PORT);
                let questions = TCP_UDP.map(|protocol| (Question { protocol, to }, true));
                all.extend(ask(&Place::find(&self.lab, from).netns, &questions));
            }
        }
        all
    }

    /// A condition of an object: status, reason, whether it is about the object as it is, message.
    fn condition(&self, object: &Value, kind: &str) -> Option<(String, String, bool, String)> {
        let object = self.cluster.find(object)?;
        let conditions = object["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|it| it["type"] == kind)?;
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        let is_current = found["observedGeneration"] == object["metadata"]["generation"];
        Some((text("status"), text("reason"), is_current, text("message")))
    }

    /// Waits until the condition is this one, of the object as it is, with these words in its message.
    fn says(&self, object: &Value, kind: &str, (status, reason): (&str, &str), words: &str) {
        within(Duration::from_secs(90), &format!("{kind}={status} {reason}: {words}"), || {
            let found = self.condition(object, kind);
            let is_it = found.as_ref().is_some_and(|(is, why, is_current, message)| {
                is == status && why == reason && *is_current && message.contains(words)
            });
            if is_it { Ok(()) } else { Err(found) }
        });
    }

    /// What the Lease says that one of the agents has.
    fn lease(&self) -> Value {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"namespace": "kube-system", "name": "seaway"}});
        eventually("somebody leads", || {
            let lease = self.cluster.find(&lease).ok_or("no Lease")?["spec"].clone();
            let holder = lease["holderIdentity"].as_str().unwrap_or_default();
            if holder.is_empty() { Err("nobody") } else { Ok(lease) }
        })
    }

    /// Who leads, and how many have before.
    fn leader(&self) -> (String, u64) {
        let lease = self.lease();
        let holder = lease["holderIdentity"].as_str().expect("a holder").to_owned();
        (holder, lease["leaseTransitions"].as_u64().unwrap_or_default())
    }

    /// Versions of everything that is written for conditions.
    fn versions(&self) -> String {
        let versions = "-o jsonpath={.items[*].metadata.resourceVersion}";
        let policies = self.kubectl(&format!("get clusternetworkpolicies {versions}"));
        let leases = format!("-n kube-system get leases -l seaway.io/node {versions}");
        policies + ", " + &self.kubectl(&leases)
    }

    /// Waits until the leader has renewed so many times.
    fn renewals(&self, count: usize) {
        let mut seen = self.lease()["renewTime"].clone();
        for _ in 0..count {
            seen = eventually("the leader renews", || {
                let now = self.lease()["renewTime"].clone();
                if now == seen { Err(now) } else { Ok(now) }
            });
        }
    }
}

fn told() {
    let stage = Stage::up();
    let shut = policy("ClusterNetworkPolicy", "shut", &rule("Deny"));
    stage.cluster.put(&shut);
    stage.wait("clusternetworkpolicy/shut", "Programmed");
    assert_eq!(stage.notices(), [Notice::Silence; 12], "it is obeyed everywhere by then");
    stage.says(&shut, "Accepted", ("True", "Accepted"), "");
    let open = policy("ClusterNetworkPolicy", "shut", &rule("Accept"));
    stage.cluster.put(&open);
    stage.wait("clusternetworkpolicy/shut", "Programmed");
    assert_eq!(stage.notices(), [Notice::Answer; 12], "and so is a change");

    // Whoever reads the rule's peers has never heard of them.
    let strange = json!([{"action": "Accept", "from": [{"planets": {}}]}]);
    let strange = policy("ClusterNetworkPolicy", "strange", &strange);
    stage.cluster.put(&strange);
    let why = "spec.ingress[0].from[0]: unknown field `planets`";
    stage.says(&strange, "Accepted", ("False", "Unsupported"), why);
    stage.says(&strange, "Programmed", ("True", "Programmed"), "");
    let mut nobody = policy("ClusterNetworkPolicy", "nobody", &rule("Deny"));
    nobody["spec"]["subject"] = json!({});
    stage.cluster.put(&nobody);
    let why = "spec.subject: names not one of namespaces and pods; this version is left out";
    stage.says(&nobody, "Accepted", ("False", "Invalid"), why);
    stage.says(&nobody, "Programmed", ("False", "Invalid"), "the version before");

    for (kind, name) in [("AdminNetworkPolicy", "old"), ("BaselineAdminNetworkPolicy", "default")] {
        let old = policy(kind, name, &rule("Allow"));
        stage.cluster.put(&old);
        stage.says(&old, "Accepted", ("True", "Accepted"), "");
        stage.says(&old, "Programmed", ("True", "Programmed"), "all nodes");
    }

    // Somebody else's condition, in the place of ours.
    let theirs = json!({"status": {"conditions": [{"type": "Theirs", "status": "True", "reason": "X",
        "message": "", "lastTransitionTime": "2026-05-01T00:00:00Z"}]}});
    let words = "patch clusternetworkpolicy shut --subresource=status --type=merge -p";
    let theirs = theirs.to_string();
    let words: Vec<&str> = words.split(' ').chain([theirs.as_str()]).collect();
    success(&stage.lab.kubectl(&words)).expect("patch the status");
    stage.says(&open, "Programmed", ("True", "Programmed"), "");
    stage.says(&open, "Accepted", ("True", "Accepted"), "");
    assert!(stage.condition(&open, "Theirs").is_some(), "others' conditions stay");
    stage.renewals(2);
    let before = stage.versions();
    stage.renewals(3);
    assert_eq!(stage.versions(), before, "nothing is written while nothing changes");
}

fn followed() {
    let stage = Stage::up();
    let shut = policy("ClusterNetworkPolicy", "shut", &rule("Deny"));
    stage.cluster.put(&shut);
    stage.says(&shut, "Programmed", ("True", "Programmed"), "");
    let (leader, before) = stage.leader();
    let (node, _) = leader.split_once('_').expect("a node");
    let report = ask_agent(&stage.lab, node, "report").expect("a report");
    assert_eq!(report.lines().last(), Some(&*format!("led by {node}")));
    let metrics = ask_agent(&stage.lab, node, "metrics").expect("metrics");
    assert!(metrics.contains("seaway_duties_leading 1"), "{metrics}");
    let agents = processes::in_role(&stage.lab, "agent");
    let still = agents.iter().find(|agent| agent.has_word(node)).expect("the leader");
    signal(still, Signal::SIGSTOP);
    let (next, transitions) = within(Duration::from_secs(90), "another one leads", || {
        let now = stage.leader();
        if now.0 == leader { Err(now) } else { Ok(now) }
    });
    assert_eq!(transitions, before + 1);
    let open = policy("ClusterNetworkPolicy", "shut", &rule("Accept"));
    stage.cluster.put(&open);
    let words = format!("2 of 3 nodes go by it; not yet: {node}");
    stage.says(&open, "Programmed", ("False", "Pending"), &words);
    stage.says(&open, "Accepted", ("True", "Accepted"), "");
    signal(still, Signal::SIGCONT);
    stage.says(&open, "Programmed", ("True", "Programmed"), "all nodes");
    assert_eq!(stage.notices(), [Notice::Answer; 12]);
    assert_eq!(stage.leader(), (next.clone(), transitions), "the one before leads no more");
    eventually("the one before knows who leads", || {
        let report = ask_agent(&stage.lab, node, "report")?;
        let (next, _) = next.split_once('_').expect("a node");
        let led = report.lines().last() == Some(&*format!("led by {next}"));
        if led { Ok(()) } else { Err(report) }
    });
    // An agent that hands over leaves the Lease to whoever takes it first.
    restart_agent(&stage.lab, next.split_once('_').expect("a node").0);
    eventually("somebody else leads", || {
        let (now, count) = stage.leader();
        if now != next && count == transitions + 1 { Ok(()) } else { Err((now, count)) }
    });
    stage.cluster.put(&shut);
    stage.wait("clusternetworkpolicy/shut", "Programmed");
    assert_eq!(stage.notices(), [Notice::Silence; 12]);
}

//! Agents that start while the API server is away: they go by what was written down before.

use std::path::PathBuf;
use std::process::Stdio;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use fixtures::vectors::service;

use super::dig::Dig;
use super::stage::{Client, LINK_LOCAL, Stage, VIPS};
use crate::lab::{Lab, eventually, success, test};
use crate::processes;
use crate::service_stories::{ask_agent, has_changed_nothing, signal};
use crate::services::stage::pod;

pub(crate) fn trials() -> Vec<Trial> {
    vec![test(
        "dns99_dns175_agents_that_start_in_an_outage_go_by_their_snapshot_and_then_by_the_truth",
        outage,
    )]
}

/// A Service that goes while the API server is away.
const GONE: (&str, &str) = ("gone.ns1.svc.cluster.local", "A 10.96.0.30");
/// A Service with an endpoint on node-1.
const SHOP: &str = "http://10.96.0.40/";
/// Everything of Seaway's that does not survive a reboot, as far as packets to Services care.
const FORGET: &str = "nft delete table inet seaway; ip route flush table all proto 83; \
                      ip -6 route flush table all proto 83";

fn outage() {
    let stage = Stage::up();
    let lab = &stage.lab;
    stage.put(&[addressed("gone", "10.96.0.30"), addressed("shop", "10.96.0.40")]);
    lab.apply(&pod("web-1", "node-1", ""));
    let ready = ["wait", "--for=condition=Ready", "pod/web-1", "--timeout=60s"];
    success(&lab.kubectl(&ready)).expect("the server is ready");
    let addr = lab.pod_field("web-1", "{.status.podIP}");
    stage.put(&[leads_to(&addr)]);
    for node in ["node-1", "node-2"] {
        eventually("what is known is written down", || {
            let text = std::fs::read_to_string(snapshot(lab, node)).map_err(|e| e.to_string())?;
            let is_there = text.contains("10.96.0.30") && text.contains(&addr);
            if is_there { Ok(()) } else { Err(text) }
        });
    }
    run(lab, &["cut", "control"]);
    success(&lab.kubectl(&["-n", "ns1", "delete", "service", "gone"])).expect("it is removed");

    restarted(&stage);
    forgetful(&stage);
    let mut joining = lab.seaway(&["lab", "join"]);
    run(lab, &["kill-node", "node-2"]);
    let mut joining = joining.arg("node-2").stdout(Stdio::null()).spawn().expect("start lab join");
    goes_by_its_snapshot(lab, "node-2");
    answers(&stage, Client::Host("node-2"));

    run(lab, &["heal", "control"]);
    assert!(joining.wait().expect("wait for lab join").success(), "{}", lab.logs());
    for client in [Client::Pod("shell-1"), Client::Host("node-2")] {
        eventually("what is gone is gone", || match status(&stage, client, GONE.0)?.as_str() {
            "NXDOMAIN" => Ok(()),
            other => Err(other.to_owned()),
        });
    }
    for node in ["node-1", "node-2"] {
        eventually("agents go by lists again", || {
            let metrics = ask_agent(lab, node, "metrics")?;
            let is_listed = metrics.contains("\nseaway_snapshot_recalled_timestamp_seconds 0\n");
            if is_listed { Ok(()) } else { Err(metrics) }
        });
    }
    reaches(&stage, Client::Pod("shell-1")).expect("the Service is there");
    reaches(&stage, Client::Host("node-2")).expect("the Service is there");
}

/// An agent on a node where everything is programmed.
fn restarted(stage: &Stage) {
    kill_agent(&stage.lab);
    goes_by_its_snapshot(&stage.lab, "node-1");
    has_changed_nothing(&stage.lab, "node-1").expect("what is there may be newer");
    answers(stage, Client::Pod("shell-1"));
}

/// An agent on a node where nothing is.
fn forgetful(stage: &Stage) {
    kill_agent(&stage.lab);
    success(&stage.lab.node("node-1", &["sh", "-c", FORGET])).expect("forget");
    reaches(stage, Client::Pod("shell-1")).expect_err("nobody leads there");
    goes_by_its_snapshot(&stage.lab, "node-1");
    answers(stage, Client::Pod("shell-1"));
}

/// Names of all kinds are answered on the very node, and a Service is reached.
fn answers(stage: &Stage, client: Client) {
    let known = [GONE, ("db-1.db.ns1.svc.cluster.local", "A 10.244.1.6")];
    for server in [VIPS[0], LINK_LOCAL] {
        for (name, record) in known.into_iter().chain([("example.org", "A 203.0.113.80")]) {
            eventually(&format!("{client:?} hears of {name} from {server}"), || {
                let reply = Dig::at(server).ask(stage, client, &[(name, "A")])?.remove(0);
                let is_there = reply.answer.iter().any(|found| found.text == record);
                if is_there { Ok(()) } else { Err(format!("{reply:?}")) }
            });
        }
    }
    let nowhere = status(stage, client, "example.org.ns1.svc.cluster.local");
    assert_eq!(nowhere.as_deref(), Ok("NXDOMAIN"), "{client:?}: a search goes on");
    eventually("the Service is reached", || reaches(stage, client));
}

fn status(stage: &Stage, client: Client, name: &str) -> Result<String, String> {
    Ok(Dig::at(LINK_LOCAL).ask(stage, client, &[(name, "A")])?.remove(0).status)
}

fn reaches(stage: &Stage, client: Client) -> Result<(), String> {
    success(&stage.run(client, &["curl", "-sf", "-m2", "-o/dev/null", SHOP])).map(drop)
}

/// Waits until the agent of `node` is ready by its snapshot, and says so.
fn goes_by_its_snapshot(lab: &Lab, node: &str) {
    eventually("the agent is ready", || ask_agent(lab, node, "readyz"));
    let report = ask_agent(lab, node, "dump/report").expect("a report");
    assert!(report.starts_with("by the snapshot of the cluster of "), "{report}");
}

fn kill_agent(lab: &Lab) {
    let is_first = |process: &processes::Process| process.has_word("node-1");
    let agent = processes::in_role(lab, "agent").into_iter().find(is_first).expect("an agent");
    signal(&agent, Signal::SIGKILL);
    eventually("it is gone", || match processes::left(&[agent.clone()].into()).is_empty() {
        true => Ok(()),
        false => Err(()),
    });
}

fn snapshot(lab: &Lab, node: &str) -> PathBuf {
    lab.dir().join("nodes").join(node).join("run/seaway/state/snapshot")
}

fn run(lab: &Lab, words: &[&str]) {
    let words = [&["lab"], words].concat();
    let output = lab.seaway(&words).output().expect("start seaway lab");
    assert!(output.status.success(), "{words:?}: {}", lab.told(&output));
}

fn addressed(name: &str, addr: &str) -> serde_json::Value {
    let spec = json!({"clusterIP": addr, "clusterIPs": [addr], "ports": [{"port": 80}]});
    service("ns1", name, spec)
}

/// The endpoints of `shop`.
fn leads_to(addr: &str) -> serde_json::Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "shop-1", "namespace": "ns1", "labels": {"kubernetes.io/service-name": "shop"}},
        "ports": [{"name": "", "port": 8080}],
        "endpoints": [{"addresses": [addr], "nodeName": "node-1"}],
    })
}

//! What every node answers to who asks all of them: how a cluster is, and whether a change is in place everywhere.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::{Lab, SEAWAY, eventually, success, test, text};
use crate::manifests;
use crate::processes;
use crate::service_stories::signal;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("a_change_is_waited_for_until_every_node_has_put_it_in_place", waited),
        test("what_is_data_is_there_as_json", as_json),
        test("who_does_not_answer_is_named_and_nobody_else_is_red", silent),
    ]
}

/// A command for this lab, by its name.
pub(crate) fn seaway(lab: &Lab, words: &[&str]) -> Output {
    let mut command = Command::new(SEAWAY);
    command.args(words).args(["--lab", lab.name()]);
    command.env("SEAWAY_LAB_DIR", lab.dir().parent().expect("the test's folder"));
    command.output().expect("start seaway")
}

fn questions(lab: &Lab) -> String {
    text(&lab.kubectl(&[
        "-n",
        "kube-system",
        "get",
        "lease",
        "seaway-question",
        "--ignore-not-found",
    ]))
}

/// By `--lab`, by a kubeconfig, and as JSON; what is in place by then is asked from each node itself.
fn waited() {
    let lab = Lab::up_with(&["--nodes", "3"], &manifests::pair());
    let kubeconfig = lab.dir().join("kubeconfig");
    let create =
        ["create", "service", "clusterip", "web", "--tcp=80:8080", "--clusterip=10.96.0.77"];
    success(&lab.kubectl(&create)).expect("make a Service");
    let change = ["wait", "--change", "service/web"];
    let said =
        success(&seaway(&lab, &change)).unwrap_or_else(|why| panic!("{why}\n{}", lab.logs()));
    assert_eq!(said.lines().filter(|line| line.contains(" in place after ")).count(), 3, "{said}");
    // Nobody looked before.
    for node in ["node-1", "node-2", "node-3"] {
        let known = text(&lab.node(node, &["seaway", "dump", "services", "default/web"]));
        assert!(known.contains("10.96.0.77"), "{node}: {known}");
    }
    let by_file = Command::new(SEAWAY).args(change).arg("--kubeconfig").arg(&kubeconfig).output();
    success(&by_file.expect("start seaway")).expect("the same by a kubeconfig");
    let json = success(&seaway(&lab, &["wait", "--change", "svc/web", "-o", "json"]));
    let json: Value = serde_json::from_str(&json.expect("as JSON")).expect("it is JSON");
    assert_eq!(json["nodes"][2]["realised"], true, "{json}");
    assert_eq!(questions(&lab), "", "the question is taken back");
    for (change, why) in [
        ("service/none", "/services/none: services \"none\" not found: NotFound\n"),
        ("deployment/web", "nodes don't follow objects of kind \"deployment\""),
        ("web", "KIND/NAME"),
    ] {
        let error = success(&seaway(&lab, &["wait", "--change", change]));
        assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{change}: {error:?}");
    }
}

/// Each prints one document, with these fields, and nothing else on stdout.
fn as_json() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let read = |output: &Output| -> Value {
        let said = text(output);
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {}", lab.told(output)))
    };
    let outside = |words: &[&str]| {
        let output = lab.seaway(words).args(["-o", "json"]).output();
        read(&output.expect("start seaway"))
    };
    let inside =
        |words: &[&str]| read(&lab.node("node-1", &[&["seaway"], words, &["-o", "json"]].concat()));
    assert_eq!(outside(&["lab", "list"])[0]["state"], "up");
    assert_eq!(outside(&["lab", "cables"])[0]["fault"], "whole");
    assert_eq!(outside(&["lab", "status"])["nodes"][1]["name"], "node-2");
    assert_eq!(outside(&["check"])["failed"], 0);
    assert!(inside(&["check", "--node"])["findings"][0]["what"].is_string());
    let all = inside(&["dump", "all"]);
    assert!(all["pods"]["lines"][0].is_string() && all["ipam"]["leases"][0].is_object(), "{all}");
    assert_eq!(inside(&["dump", "pods"])["lines"], all["pods"]["lines"]);
    assert_eq!(inside(&["migrate", "cni"])["found"], json!([]));
    let plain = |words: &[&str]| {
        let output = Command::new(SEAWAY).args(words).args(["-o", "json"]).output();
        read(&output.expect("start seaway"))
    };
    assert_eq!(plain(&["install", "--set", "mtu=1400"])["kind"], "List");
    let corefile = lab.dir().join("Corefile");
    std::fs::write(&corefile, ".:53 {\n  template IN A\n}\n").expect("write a Corefile");
    let converted = plain(&["migrate", "corefile", &corefile.display().to_string()]);
    assert!(converted["settings"].is_string() && converted["left"][0]["line"] == 2, "{converted}");
}

fn silent() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let green = eventually("all nodes are up to date", || success(&seaway(&lab, &["status"])));
    assert!(green.contains("2 of 2 nodes are up to date, led by node-"), "{green}");
    assert!(green.contains("clusterDomain cluster.local., mtu "), "{green}");

    let agents = processes::in_role(&lab, "agent");
    let still = agents.iter().find(|agent| agent.has_word("node-2")).expect("an agent of node-2");
    signal(still, Signal::SIGSTOP);
    let output = seaway(&lab, &["status", "--timeout", "2"]);
    let waited = seaway(&lab, &["wait", "--change", "node/node-1", "--timeout", "2"]);
    signal(still, Signal::SIGCONT);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("FAILED  node-2: no answer within 2 s: does its agent run?"), "{said}");
    assert!(said.contains("1 of 2 nodes are up to date"), "{said}");
    let error = success(&waited).expect_err("one node does not answer");
    assert!(error.contains("node-2 has not answered") && error.contains("1 of 2 nodes"), "{error}");
    eventually("it answers again", || success(&seaway(&lab, &["status"])));
}

//! Names follow the cluster, and stay when its API server goes.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use fixtures::vectors::{big, service};

use super::dig::Dig;
use super::stage::{Client, Stage, VIPS};
use crate::lab::{Lab, eventually, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("dns112_names_follow_services_and_endpoints", follows),
        test("dns99_names_are_answered_while_the_api_server_is_away", away),
    ]
}

const NAME: &str = "new.ns1.svc.cluster.local";

/// Status and records of `name`, sorted, as both nodes say.
fn becomes(stage: &Stage, (name, kind): (&str, &str), status: &str, records: &[&str]) {
    for client in [Client::Pod("shell-1"), Client::Pod("shell-2")] {
        eventually(&format!("{name} {kind} becomes {status} {records:?}"), || {
            let replies = Dig::at(VIPS[0]).ask(stage, client, &[(name, kind)])?;
            let mut found: Vec<&str> = replies[0].answer.iter().map(|r| r.text.as_str()).collect();
            found.sort_unstable();
            match (replies[0].status.as_str(), &found[..]) == (status, records) {
                true => Ok(()),
                false => Err(format!("{:?}", replies[0])),
            }
        });
    }
}

fn with_addr(addr: &str) -> Value {
    let spec = json!({"clusterIP": addr, "clusterIPs": [addr], "ports": [{"port": 80}]});
    service("ns1", "new", spec)
}

fn remove(stage: &Stage, kind: &str, name: &str) {
    success(&stage.lab.kubectl(&["-n", "ns1", "delete", kind, name])).expect("it is removed");
}

fn follows() {
    let stage = Stage::up();
    becomes(&stage, (NAME, "A"), "NXDOMAIN", &[]);
    stage.put(&[with_addr("10.96.0.30")]);
    becomes(&stage, (NAME, "A"), "NOERROR", &["A 10.96.0.30"]);
    becomes(&stage, ("30.0.96.10.in-addr.arpa", "PTR"), "NOERROR", &[&format!("PTR {NAME}.")]);
    remove(&stage, "service", "new");
    becomes(&stage, (NAME, "A"), "NXDOMAIN", &[]);
    stage.put(&[with_addr("10.96.0.31")]);
    becomes(&stage, (NAME, "A"), "NOERROR", &["A 10.96.0.31"]);
    for count in [1, 3, 2, 0] {
        stage.put(&big(count));
        let records: Vec<String> = (1..=count).map(|n| format!("A 10.250.0.{n}")).collect();
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        let status = if count == 0 { "NXDOMAIN" } else { "NOERROR" };
        becomes(&stage, ("big.ns1.svc.cluster.local", "A"), status, &records);
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "later"}});
    becomes(&stage, ("later.svc.cluster.local", "A"), "NXDOMAIN", &[]);
    stage.put(&[namespace]);
    becomes(&stage, ("later.svc.cluster.local", "A"), "NOERROR", &[]);
}

fn cable(lab: &Lab, words: &[&str]) {
    let words = [&["lab"], words].concat();
    success(&lab.seaway(&words).output().expect("start seaway lab")).expect("as it is told");
}

/// The API server goes, something changes behind the nodes' backs, and it comes back.
fn away() {
    let stage = Stage::up();
    stage.put(&[with_addr("10.96.0.30")]);
    becomes(&stage, (NAME, "A"), "NOERROR", &["A 10.96.0.30"]);
    cable(&stage.lab, &["cut", "control"]);
    let still = |name, record: &str| {
        for client in [Client::Pod("shell-1"), Client::Host("node-2")] {
            let replies = Dig::at(VIPS[0]).ask(&stage, client, &[(name, "A")]);
            let reply = replies.unwrap_or_else(|e| panic!("{client:?}: {name}: {e}")).remove(0);
            assert_eq!(reply.answer.last().map(|r| r.text.as_str()), Some(record), "{reply:?}");
        }
    };
    remove(&stage, "service", "new");
    for _ in 0..5 {
        still(NAME, "A 10.96.0.30");
        still("db-1.db.ns1.svc.cluster.local", "A 10.244.1.6");
        still("www.example.org", "A 203.0.113.80");
    }
    cable(&stage.lab, &["heal", "control"]);
    becomes(&stage, (NAME, "A"), "NXDOMAIN", &[]);
}

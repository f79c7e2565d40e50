//! The plugin on a node of a lab, called as a runtime calls it, with its real agent.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lab::{Lab, eventually, success, test, text};
use crate::processes;
use crate::service_stories::{ask_agent, signal};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("every_version_of_cni_adds_checks_and_deletes", every_version),
        test("add_twice_is_an_error_and_leaves_the_first_alone", add_twice),
        test("fifty_adds_at_once_get_fifty_addresses_and_leave_nothing", a_crowd),
        test("gc_removes_what_the_runtime_no_longer_lists", garbage),
        test("without_an_agent_add_says_try_again_and_status_says_unavailable", no_agent),
        test("pods_come_and_go_by_an_agent_that_started_without_an_api_server", no_api_server),
        test("a_plugin_killed_at_any_time_leaves_nothing_after_del", killed_plugins),
        test("an_agent_killed_during_adds_leaves_nothing_after_del", killed_agents),
    ]
}

fn every_version() {
    let node = Node::up();
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let before = node.state();
        let mut conf = node.conf(version, json!({}));
        let result = node.add("a", &conf);
        assert_eq!(result["cniVersion"], version);
        let address = result["ips"][0]["address"].as_str().expect("an address");
        assert!(address.starts_with("10.244."), "{address}");
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/a");
        let address = address.split('/').next().expect("an address before the slash");
        let ping = node.run(&["ping", "-c1", "-W2", address]);
        assert!(ping.status.success(), "ping {address}: {}", node.lab.told(&ping));
        conf["prevResult"] = result.clone();
        if version >= "0.4.0" {
            node.succeeds("CHECK", "a", &conf);
            conf["prevResult"]["ips"][0]["address"] = json!("10.244.255.1/32");
            assert_eq!(node.fails("CHECK", "a", &conf), 103);
        } else {
            assert_eq!(node.fails("CHECK", "a", &conf), 1);
        }
        for _ in 0..3 {
            node.succeeds("DEL", "a", &conf);
        }
        node.remove_netns("a");
        node.succeeds("DEL", "a", &conf);
        assert_eq!(node.state(), before, "{version}: DEL leaves the node as it was");
    }
}

fn add_twice() {
    let node = Node::up();
    let conf = node.conf("1.1.0", json!({}));
    let result = node.add("a", &conf);
    let state = node.state();
    assert_eq!(node.fails("ADD", "a", &conf), 102);
    assert_eq!(node.state(), state);
    let mut conf = conf;
    conf["prevResult"] = result;
    node.succeeds("CHECK", "a", &conf);
}

fn a_crowd() {
    let node = Node::up();
    let before = node.state();
    let conf = node.conf("1.1.0", json!({}));
    let names: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    names.iter().for_each(|name| node.make_netns(name));
    let started: Vec<Child> = names.iter().map(|name| node.start("ADD", name, &conf)).collect();
    let mut addresses = BTreeSet::new();
    for child in started {
        let output = child.wait_with_output().expect("wait for the plugin");
        let result: Value = serde_json::from_str(&success(&output).expect("ADD")).expect("JSON");
        addresses.insert(result["ips"][0]["address"].to_string());
    }
    assert_eq!(addresses.len(), names.len(), "{addresses:?}");
    let started: Vec<Child> = names.iter().map(|name| node.start("DEL", name, &conf)).collect();
    for child in started {
        success(&child.wait_with_output().expect("wait for the plugin")).expect("DEL");
    }
    assert_eq!(node.state(), before);
}

fn garbage() {
    let node = Node::up();
    let conf = node.conf("1.1.0", json!({}));
    node.add("a", &conf);
    let kept = node.state();
    for name in ["b", "c"] {
        node.add(name, &conf);
        node.remove_netns(name);
    }
    assert_eq!(node.fails("GC", "", &conf), 7, "no list is not an empty list");
    let keep = json!({"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]});
    node.succeeds("GC", "", &node.conf("1.1.0", keep));
    assert_eq!(node.state(), kept);
    let others = json!({"name": "another", "cni.dev/valid-attachments": []});
    node.succeeds("GC", "", &node.conf("1.1.0", others));
    assert_eq!(node.state(), kept, "another network's list says nothing about ours");
}

fn no_agent() {
    let node = Node::up();
    let conf = node.conf("1.1.0", json!({}));
    node.succeeds("STATUS", "", &conf);
    let nowhere = node.conf("1.1.0", json!({"runDir": "/run/nowhere"}));
    assert_eq!(node.fails("STATUS", "", &nowhere), 50);
    node.make_netns("a");
    assert_eq!(node.fails("ADD", "a", &nowhere), 11);
    node.succeeds("VERSION", "", &nowhere);
    let before = node.state();
    node.succeeds("ADD", "a", &conf);
    node.succeeds("DEL", "a", &nowhere);
    eventually("the DEL that waited is done", || {
        let now = node.state();
        if now == before { Ok(()) } else { Err(now) }
    });
}

fn killed_plugins() {
    let node = Node::up();
    let before = node.state();
    let conf = node.conf("1.1.0", json!({}));
    for n in 0..30 {
        let name = format!("k{n}");
        node.make_netns(&name);
        let bound = format!("0.{:03}", n + 1);
        let killer = ["timeout", "--signal", "KILL", &bound];
        node.start_under(&killer, "ADD", &name, &conf).wait_with_output().expect("wait");
        node.succeeds("DEL", &name, &conf);
        node.remove_netns(&name);
    }
    eventually("DEL leaves the node as it was", || {
        let now = node.state();
        if now == before { Ok(()) } else { Err(now) }
    });
}

fn killed_agents() {
    let node = Node::up();
    let before = node.state();
    let conf = node.conf("1.1.0", json!({}));
    for n in 0..8 {
        let name = format!("k{n}");
        node.make_netns(&name);
        let add = node.start("ADD", &name, &conf);
        std::thread::sleep(Duration::from_millis(5 * n));
        node.run(&["pkill", "-9", "-f", "seaway agent"]);
        // Whether it came in time or not, it ends, and the DEL after it cleans up.
        add.wait_with_output().expect("wait for the plugin");
        node.succeeds("DEL", &name, &conf);
        node.remove_netns(&name);
        eventually("the next agent is ready", || match node.call("STATUS", "", &conf) {
            output if output.status.success() => Ok(()),
            output => Err(text(&output)),
        });
    }
    eventually("DEL leaves the node as it was", || {
        let now = node.state();
        if now == before { Ok(()) } else { Err(now) }
    });
}

fn no_api_server() {
    let node = Node::up();
    let conf = node.conf("1.1.0", json!({}));
    let before = node.state();
    let snapshot = node.lab.dir().join("nodes/node-1/run/seaway/state/snapshot");
    eventually("what is known is written down", || std::fs::metadata(&snapshot));
    let cut = node.lab.seaway(&["lab", "cut"]).arg("control").output().expect("start seaway lab");
    success(&cut).expect("the API server is away");
    for agent in processes::in_role(&node.lab, "agent") {
        signal(&agent, Signal::SIGKILL);
    }
    let recalled = || ask_agent(&node.lab, "node-1", "dump/report");
    eventually("an agent goes by it", || match recalled()? {
        report if report.starts_with("by the snapshot") => Ok(()),
        report => Err(report),
    });
    let result = node.add("a", &conf);
    let address = result["ips"][0]["address"].as_str().expect("an address");
    let address = address.split('/').next().expect("an address before the slash");
    let ping = node.run(&["ping", "-c1", "-W2", address]);
    assert!(ping.status.success(), "ping {address}: {}", node.lab.told(&ping));
    let mut checked = conf.clone();
    checked["prevResult"] = result;
    node.succeeds("CHECK", "a", &checked);
    node.succeeds("DEL", "a", &conf);
    assert_eq!(node.state(), before);
}

/// The only node of a lab without pods.
pub(crate) struct Node {
    pub(crate) lab: Lab,
}

impl Node {
    pub(crate) fn up() -> Node {
        Node { lab: Lab::up(&["--nodes", "1", "--ip-family", "dual"]) }
    }

    fn run(&self, argv: &[&str]) -> Output {
        self.lab.node("node-1", argv)
    }

    /// The configuration the agent wrote, as a runtime derives a request from it.
    pub(crate) fn conf(&self, version: &str, change: Value) -> Value {
        let list = success(&self.run(&["cat", "/run/cni/net.d/05-seaway.conflist"]));
        let list: Value = serde_json::from_str(&list.expect("read the conflist")).expect("JSON");
        let mut conf = list["plugins"][0].clone();
        conf["name"] = list["name"].clone();
        conf["cniVersion"] = json!(version);
        for (key, value) in change.as_object().expect("an object") {
            conf[key] = value.clone();
        }
        conf
    }

    pub(crate) fn make_netns(&self, name: &str) {
        success(&self.run(&["ip", "netns", "add", name])).expect("make a network namespace");
    }

    fn remove_netns(&self, name: &str) {
        success(&self.run(&["ip", "netns", "del", name])).expect("remove a network namespace");
    }

    /// Starts the plugin for container and namespace `name`.
    fn start(&self, command: &str, name: &str, conf: &Value) -> Child {
        self.start_under(&[], command, name, conf)
    }

    /// The same, started by another program.
    pub(crate) fn start_under(
        &self,
        starter: &[&str],
        command: &str,
        name: &str,
        conf: &Value,
    ) -> Child {
        let mut plugin = self.lab.seaway(&["lab", "node"]);
        plugin.args(["node-1", "--", "env", "CNI_IFNAME=eth0", "CNI_PATH=/run/cni/bin"]);
        plugin.arg(format!("CNI_COMMAND={command}")).arg(format!("CNI_CONTAINERID={name}"));
        plugin.arg(format!("CNI_NETNS=/run/netns/{name}"));
        plugin.args(starter).arg("/run/cni/bin/seaway-cni");
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = plugin.spawn().expect("start the plugin");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(conf.to_string().as_bytes()).expect("write the configuration");
        child
    }

    fn call(&self, command: &str, name: &str, conf: &Value) -> Output {
        self.start(command, name, conf).wait_with_output().expect("wait for the plugin")
    }

    pub(crate) fn succeeds(&self, command: &str, name: &str, conf: &Value) -> String {
        let said = success(&self.call(command, name, conf));
        said.unwrap_or_else(|why| panic!("{command} {name}: {why}\n{}", self.lab.logs()))
    }

    /// The code of the error.
    fn fails(&self, command: &str, name: &str, conf: &Value) -> u64 {
        let output = self.call(command, name, conf);
        assert!(!output.status.success(), "{command} {name}: {}", text(&output));
        let error: Value = serde_json::from_str(&text(&output)).expect("an error is JSON");
        error["code"].as_u64().expect("an error has a code")
    }

    /// ADD to a new namespace; its result.
    pub(crate) fn add(&self, name: &str, conf: &Value) -> Value {
        self.make_netns(name);
        serde_json::from_str(&self.succeeds("ADD", name, conf)).expect("a result is JSON")
    }

    /// What attachments leave on a node: links, routes, neighbors, rules, leases.
    fn state(&self) -> String {
        let script = "ip -o link show type veth | sed 's/^[0-9]*: \\([^@]*\\).*/\\1/'; ip route; \
                      ip -6 route show proto 83; ip neigh show nud permanent; \
                      nft list table inet seaway | grep -v counter; seaway dump ipam | grep -v released";
        text(&self.run(&["sh", "-c", script]))
    }
}

//! Agents die and start again under open flows: nobody notices, and nothing is programmed again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::streams::Streams;
use super::{
    ask_agent, cluster_ip, echoes, has_changed_nothing, kubectl, netns, restart_agent, signal,
    with_clients,
};
use crate::lab::{Lab, difference, eventually, success, test, text};
use crate::processes;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s94_agents_die_and_restart_under_a_thousand_flows_and_program_nothing_again", flows),
        test("agents_succeed_each_other_while_pods_start_and_no_add_fails", adds),
    ]
}

const NODES: [&str; 2] = ["node-1", "node-2"];
/// An address that a load balancer outside would have announced.
const BALANCED: &str = "192.0.2.77";

fn flows() {
    let lab = with_clients(&["--nodes", "2"], &echoes("web", 4), "LoadBalancer");
    balance(&lab);
    let node_port = kubectl(&lab, "get service web -o jsonpath={.spec.ports[1].nodePort}");
    let address = |text: String| -> SocketAddr { text.parse().expect("an address") };
    let (pod, outside) = (netns(&lab, "one"), netns(&lab, "client"));
    let mut flows = [
        Streams::open(&pod, cluster_ip(&lab, "web", 90), 600, 50),
        Streams::open(&outside, address(format!("10.80.1.12:{node_port}")), 200, 0),
        Streams::open(&outside, address(format!("{BALANCED}:90")), 200, 20),
    ];
    let mut all_answer = |when: &str| flows.iter_mut().for_each(|flows| flows.all_answer(when));
    all_answer("before");
    let (before, rules) =
        (NODES.map(|node| entries(&lab, node)), NODES.map(|node| ruleset(&lab, node)));
    assert!(before[0].len() > 900, "{}", before[0].len());
    let monitors = NODES.map(|node| Monitor::start(&lab, node));
    for end in [End::Signal(Signal::SIGKILL), End::Signal(Signal::SIGTERM), End::Succeeded] {
        let dead = agents(&lab);
        assert_eq!(dead.len(), NODES.len());
        match end {
            End::Signal(end) => dead.iter().for_each(|agent| signal(agent, end)),
            End::Succeeded => NODES.iter().for_each(|node| restart_agent(&lab, node)),
        }
        let end = format!("{end:?}");
        all_answer(&format!("after {end}"));
        for node in NODES {
            eventually("its next agent has looked at everything", || {
                if agents(&lab).iter().any(|agent| dead.contains(agent)) {
                    return Err("the old one is there".to_owned());
                }
                ask_agent(&lab, node, "readyz")
            });
            has_changed_nothing(&lab, node).expect("a restart finds all as it should be");
        }
        all_answer(&format!("with the next agents after {end}"));
    }
    for (monitor, node) in monitors.into_iter().zip(NODES) {
        assert_eq!(monitor.end(), "", "{node}: somebody wrote");
    }
    for ((node, entries_before), rules_before) in NODES.into_iter().zip(before).zip(rules) {
        let now = entries(&lab, node);
        let gone: Vec<&String> = entries_before.difference(&now).collect();
        assert!(gone.is_empty(), "{node}: {} conntrack entries are gone: {gone:?}", gone.len());
        let now = ruleset(&lab, node);
        assert_eq!(now, rules_before, "{node}: {}", difference(&rules_before, &now));
    }
}

/// How an agent ends.
#[derive(Debug)]
enum End {
    Signal(Signal),
    /// Another one has taken its place.
    Succeeded,
}

/// Pods start on a node whose agent is replaced again and again.
fn adds() {
    let lab = Lab::up_with(&["--nodes", "1", "--ip-family", "ipv4"], &echoes("first", 1));
    lab.apply(&echoes("second", 12));
    for _ in 0..5 {
        restart_agent(&lab, "node-1");
    }
    kubectl(&lab, "rollout status deployment/second --timeout=60s");
    let events = kubectl(&lab, "get events -A --field-selector reason=FailedCreatePodSandBox");
    assert!(!events.contains("FailedCreatePodSandBox"), "{events}");
    let logs = lab.logs();
    assert_eq!(agents(&lab).len(), 1, "{logs}");
    let left = success(&lab.node("node-1", &["ls", "/run/seaway/state/pending"]));
    assert!(left.is_err() || left.as_deref() == Ok(""), "DELs wait: {left:?}");
}

/// Gives the Service the address, and has it lead to node-1.
fn balance(lab: &Lab) {
    let ingress = format!(r#"[{{"ip":"{BALANCED}"}}]"#);
    let status = format!(r#"{{"status":{{"loadBalancer":{{"ingress":{ingress}}}}}}}"#);
    let patch = ["patch", "service", "web", "--subresource=status", "--type=merge", "-p", &status];
    success(&lab.kubectl(&patch)).expect("give it an address");
    let route = |via| ["ip", "route", "add", BALANCED, "via", via];
    let routed = lab.seaway(&["lab", "router"]).arg("--").args(route("10.80.1.11")).output();
    success(&routed.expect("start seaway lab router")).expect("route the address to a node");
    success(&lab.client(&route("198.51.100.1"))).expect("route the address to the router");
    let element = format!("{{ {BALANCED} . tcp . 90 }}");
    eventually("the node knows the address", || {
        let get = ["nft", "get", "element", "inet", "seaway", "services4", &element];
        success(&lab.node("node-1", &get))
    });
}

fn agents(lab: &Lab) -> Vec<processes::Process> {
    processes::in_role(lab, "agent")
}

/// The conntrack entries of our flows: who talks to whom, and as whom. Their ages are left out.
fn entries(lab: &Lab, node: &str) -> BTreeSet<String> {
    let listed = success(&lab.node(node, &["conntrack", "-L"])).expect("list conntrack entries");
    let words = |line: &str| {
        let words = line.split_whitespace();
        let kept = words.filter(|word| {
            ["src=", "dst=", "sport=", "dport="].iter().any(|field| word.starts_with(field))
        });
        let protocol = line.split_whitespace().next().unwrap_or_default();
        format!("{protocol} {}", kept.collect::<Vec<_>>().join(" "))
    };
    // Ports of the line echo; probes and the API server come and go.
    listed.lines().filter(|line| line.contains("port=9090 ")).map(words).collect()
}

fn ruleset(lab: &Lab, node: &str) -> String {
    let listed = success(&lab.node(node, &["nft", "list", "ruleset"])).expect("list the ruleset");
    // Packets go on being counted, those of each client of DNS as well.
    let is_lasting =
        |line: &&str| !(line.contains("limit rate over") && line.contains(" expires "));
    let words = listed.split_inclusive('\n').filter(is_lasting).map(|line| {
        match line.split_once("counter packets") {
            Some((before, _)) => format!("{before}\n"),
            None => line.to_owned(),
        }
    });
    words.collect()
}

/// `nft monitor` on a node: whoever changes the ruleset is in its output.
struct Monitor(Child);

impl Monitor {
    fn start(lab: &Lab, node: &str) -> Monitor {
        let mut command = lab.seaway(&["lab", "node", node]);
        command.args(["--", "nft", "monitor"]).stdout(Stdio::piped());
        Monitor(command.spawn().expect("start nft monitor"))
    }

    /// What it told, but of the table that goes and comes with each agent.
    fn end(self) -> String {
        let below = processes::below(self.0.id());
        let nft =
            below.iter().filter(|process| process.has_word("nft") && !process.has_word("lab"));
        nft.for_each(|nft| signal(nft, Signal::SIGTERM));
        let told = text(&self.0.wait_with_output().expect("wait for nft monitor"));
        let is_anothers =
            |line: &&str| !(line.starts_with('#') || line.contains(" inet seaway-dns"));
        told.lines().filter(is_anothers).collect()
    }
}

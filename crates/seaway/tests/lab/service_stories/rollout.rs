//! Rolling updates under load. No pod has a `preStop` hook.

use std::process::{Child, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use super::load::{Load, Style};
use super::{cluster_ip, deployment, echoes, kubectl, netns, signal, with_clients};
use crate::lab::{Lab, eventually, test, text};
use crate::processes;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s75_a_rolling_update_fails_no_request_when_servers_refuse_once_asked_to_end", || {
            refusing();
        }),
        test(
            "s75_a_rolling_update_fails_no_request_when_servers_go_on_until_they_are_killed",
            || {
                deaf();
            },
        ),
    ]
}

/// Four kinds of clients: new connections and kept ones from a pod, new ones from outside to a node
/// port, and `wrk` from a pod of another node.
fn refusing() {
    let lab = with_clients(&["--nodes", "3"], &echoes("web", 4), "NodePort");
    let web = cluster_ip(&lab, "web", 80);
    let node_port = kubectl(&lab, "get service web -o jsonpath={.spec.ports[0].nodePort}");
    let outside = format!("10.80.1.12:{node_port}").parse().expect("an address");
    let (pod, client) = (netns(&lab, "one"), netns(&lab, "client"));
    let loads = [
        ("new connections from a pod", Load::start(&pod, web, Style::Anew, 2)),
        ("kept connections from a pod", Load::start(&pod, web, Style::Kept, 2)),
        ("new connections from outside", Load::start(&client, outside, Style::Anew, 2)),
    ];
    let wrk = Wrk::start(&lab, "two", &format!("http://{web}/"));
    let before = pods(&lab);
    roll(&lab);
    loads.iter().for_each(|(_, load)| load.goes_on_for(50));
    let after = pods(&lab);
    assert!(after.iter().all(|pod| !before.contains(pod)), "{before:?}, then {after:?}");
    for (who, load) in loads {
        let answers = load.end_whole(who).answers;
        let new = after.iter().filter(|pod| answers.contains_key(*pod)).count();
        assert!(new > 0, "{who}: {after:?} did not answer: {answers:?}");
    }
    let said = wrk.end();
    // wrk tells of these only if there are any.
    let is_whole = said.contains("requests in") && !said.contains("Socket errors:");
    assert!(is_whole && !said.contains("Non-2xx"), "{said}");
}

/// As process 1 of its container Python does not hear TERM: it serves until it is killed.
fn deaf() {
    let command =
        "image: python\n        command: [python3, -m, http.server, '8080', -d, /proc/net]";
    let lab = with_clients(&["--nodes", "2"], &deployment("web", 4, command), "ClusterIP");
    let web = cluster_ip(&lab, "web", 80);
    let pod = netns(&lab, "one");
    let load = Load::start(&pod, web, Style::Anew, 2);
    roll(&lab);
    load.goes_on_for(50);
    load.end_whole("new connections from a pod");
}

fn roll(lab: &Lab) {
    kubectl(lab, "rollout restart deployment/web");
    kubectl(lab, "rollout status deployment/web --timeout=60s");
    eventually("the old pods are gone", || match pods(lab).len() {
        4 => Ok(()),
        more => Err(more),
    });
}

fn pods(lab: &Lab) -> Vec<String> {
    let names = kubectl(lab, "get pods -l app=web -o jsonpath={.items[*].metadata.name}");
    names.split(' ').map(str::to_owned).collect()
}

/// wrk in a pod, until it is told to end.
struct Wrk(Child);

impl Wrk {
    fn start(lab: &Lab, pod: &str, url: &str) -> Wrk {
        let mut command = lab.seaway(&["lab", "exec", pod]);
        // It takes what it gets of the machine, and the rest of the lab shall live.
        command.args(["--", "nice", "-n19", "wrk", "-t1", "-c4", "-d10m", url]);
        Wrk(command.stdout(Stdio::piped()).spawn().expect("start wrk (cargo xtask install)"))
    }

    /// Has it end, and gives what it tells then.
    fn end(self) -> String {
        let below = processes::below(self.0.id());
        let wrk = below.iter().find(|process| process.has_word("wrk") && !process.has_word("lab"));
        signal(wrk.expect("wrk runs"), Signal::SIGINT);
        text(&self.0.wait_with_output().expect("wait for wrk"))
    }
}

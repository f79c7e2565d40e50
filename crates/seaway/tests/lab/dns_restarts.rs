//! Agents end, planned and not, while clients ask them for names.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fixtures::message;
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::lab::{Lab, eventually, success, test, text};
use crate::processes::{self, Process};
use crate::service_stories::{kubectl, restart_agent, signal};
use crate::{manifests, service_stories};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("dns109_twenty_planned_restarts_lose_no_query_of_a_lone_node", || planned(1)),
        test("dns109_twenty_planned_restarts_lose_no_query_of_three_nodes", || planned(3)),
        test("dns174_a_killed_agent_is_stood_in_for_by_other_nodes", || killed(&up(3))),
        test("dns174_the_leader_says_who_stands_in_for_a_killed_agent", made_by_the_leader),
    ]
}

/// How many restarts.
const RESTARTS: usize = 20;

/// How often an agent is killed.
const KILLS: u64 = 5;

/// Names of the cluster.
const NAMES: &str = "kubernetes.default.svc.cluster.local A\\nkube-dns.kube-system.svc.cluster.local A\\n\
                     missing.default.svc.cluster.local AAAA\\ndns-version.cluster.local TXT\\n";

/// A lab with a pod `client-N` on each node, where names are answered.
fn up(nodes: usize) -> Lab {
    up_with(nodes, &[])
}

fn up_with(nodes: usize, flags_too: &[&str]) -> Lab {
    let name = |number| (format!("client-{number}"), format!("node-{number}"));
    let pods = (1..=nodes).map(name);
    let pods: String =
        pods.map(|(pod, node)| manifests::pod(&pod, &node, "seaway/shell")).collect();
    let count = nodes.to_string();
    let flags = ["--nodes", &count, "--ip-family", "ipv4"];
    let lab = Lab::up_with(&[&flags, flags_too].concat(), &pods);
    eventually("there is the Service", || {
        success(&lab.kubectl(&["-n", "kube-system", "get", "service", "kube-dns"]))
    });
    for number in 1..=nodes {
        let at = format!("@{}", server(&lab));
        let question =
            ["dig", "+short", "+time=1", "+tries=1", &at, "kubernetes.default.svc.cluster.local"];
        eventually("names are answered", || {
            let told = success(&lab.exec(&format!("client-{number}"), &question))?;
            told.parse::<std::net::IpAddr>().map_err(|_| told)
        });
    }
    lab
}

fn server(lab: &Lab) -> String {
    kubectl(lab, "-n kube-system get service kube-dns -o jsonpath={.spec.clusterIP}")
}

/// Clients that keep their sockets and connections, on every node; agents are replaced one after the other.
fn planned(nodes: usize) {
    let lab = up(nodes);
    let clients: Vec<Perf> = (1..=nodes)
        .flat_map(|number| ["udp", "tcp"].map(|mode| Perf::start(&lab, number, mode)))
        .collect();
    for number in 0..RESTARTS {
        restart_agent(&lab, &format!("node-{}", 1 + number % nodes));
    }
    for client in clients {
        let (who, tally) = (client.who.clone(), client.end(&lab));
        assert!(tally.sent > 1000 && tally.lost == 0, "{who}: {tally:?}\n{}", lab.logs());
    }
}

/// Clients on the node of the killed agent, each with a socket that it keeps and one question after the other.
/// A question that the agent had not answered yet is lost with it, and no other: the next one is answered by
/// another node. So each client loses one for each kill at most.
fn killed(lab: &Lab) {
    const CLIENTS: usize = 4;
    let at = SocketAddr::new(server(lab).parse().expect("an address"), 53);
    let (netns, is_over) = (service_stories::netns(lab, "client-1"), AtomicBool::new(false));
    let ask = || netns.run(|| ask_on(at, &is_over)).expect("enter the pod");
    let tallies = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        for _ in 0..KILLS {
            let agent = agent(lab).expect("an agent");
            signal(&agent, Signal::SIGKILL);
            another(lab, &agent);
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("it ends")).collect::<Vec<_>>()
    });
    assert!(tallies.iter().all(|tally| tally.lost <= KILLS), "{tallies:?}\n{}", lab.logs());
}

/// Where the control plane makes no Service of DNS.
fn made_by_the_leader() {
    let lab = up_with(3, &["--no-controller", "cluster-dns"]);
    let slices = || {
        let slices = "-n kube-system get endpointslices -l kubernetes.io/service-name=kube-dns -o \
                      jsonpath={.items[*].endpoints[*].addresses[0]}";
        let told = kubectl(&lab, slices);
        told.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let are = |want: &[&str]| {
        eventually("endpoints follow", || {
            let now = slices();
            if now.iter().eq(want) { Ok(()) } else { Err(now) }
        });
    };
    are(&["10.80.1.11", "10.80.1.12", "10.80.1.13"]);
    killed(&lab);
    let left = lab.seaway(&["lab", "leave"]).arg("node-3").output();
    success(&left.expect("start seaway lab leave")).expect("it leaves");
    are(&["10.80.1.11", "10.80.1.12"]);
    // Whoever has servers of their own says so.
    let patch = r#"{"spec":{"selector":{"app":"theirs"}}}"#;
    success(&lab.kubectl(&["-n", "kube-system", "patch", "service", "kube-dns", "-p", patch]))
        .expect("patch the Service");
    are(&[]);
}

/// Asks until it is over, and again what was not answered within a second.
fn ask_on(at: SocketAddr, is_over: &AtomicBool) -> Tally {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect(at).expect("connect");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("set a timeout");
    let mut tally = Tally { sent: 0, lost: 0 };
    let mut message =
        message::query("kubernetes.default.svc.cluster.local", message::kind("A"), None);
    for id in (0..=u16::MAX).cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        message[..2].copy_from_slice(&id.to_be_bytes());
        tally.sent += 1;
        while !answered(&socket, &message) {
            tally.lost += 1;
            assert!(tally.lost <= KILLS, "{tally:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    tally
}

/// Asks once.
fn answered(socket: &UdpSocket, message: &[u8]) -> bool {
    socket.send(message).expect("send");
    let mut reply = [0; 512];
    while let Ok(length) = socket.recv(&mut reply) {
        // Another one may come late.
        if reply[..2] == message[..2] {
            return message::read(&reply[..length]).rcode() == 0;
        }
    }
    false
}

/// The agent of node-1.
fn agent(lab: &Lab) -> Option<Process> {
    processes::in_role(lab, "agent").into_iter().find(|agent| agent.has_word("node-1"))
}

/// Waits until another agent than `old` is ready.
fn another(lab: &Lab, old: &Process) {
    eventually("the next agent is ready", || match agent(lab) {
        Some(agent) if agent != *old => {
            service_stories::ask_agent(lab, "node-1", "readyz").map(drop)
        }
        other => Err(format!("{other:?}")),
    });
}

/// dnsperf in a pod.
pub(crate) struct Perf {
    child: Child,
    pub(crate) who: String,
    pod: String,
    mode: &'static str,
}

/// What a client has counted.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Perf {
    pub(crate) fn start(lab: &Lab, number: usize, mode: &'static str) -> Perf {
        let pod = format!("client-{number}");
        let script = format!(
            "printf '{NAMES}' >/tmp/{mode}; exec dnsperf -m {mode} -s {} -d /tmp/{mode} -c 4 -Q 500 -t 5 -l 600",
            server(lab)
        );
        let mut command = lab.seaway(&["lab", "exec"]);
        command.args([&pod, "--", "bash", "-c", &script]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("start seaway lab exec");
        let perf = Perf { child, who: format!("{pod} over {mode}"), pod, mode };
        eventually("dnsperf runs", || success(&lab.exec(&perf.pod, &perf.pgrep("pgrep"))));
        perf
    }

    /// Words that find it.
    fn pgrep<'a>(&self, tool: &'a str) -> [&'a str; 3] {
        [tool, "-f", if self.mode == "udp" { "dnsperf -m udp" } else { "dnsperf -m tcp" }]
    }

    pub(crate) fn end(self, lab: &Lab) -> Tally {
        let [tool, flag, pattern] = self.pgrep("pkill");
        success(&lab.exec(&self.pod, &[tool, "-INT", flag, pattern])).expect("end dnsperf");
        let told = self.child.wait_with_output().expect("wait for dnsperf");
        let told = text(&told);
        let number = |what: &str| {
            let line = told.lines().find_map(|line| line.trim().strip_prefix(what));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or_else(|| panic!("no {what} in {told}"))
        };
        Tally { sent: number("Queries sent:"), lost: number("Queries lost:") }
    }
}

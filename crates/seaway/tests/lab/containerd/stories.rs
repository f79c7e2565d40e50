//! Pods of containerd over time: their containers and sandboxes end and come again, containerd and the agent
//! do, and a hundred come and go at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{Child, Stdio};

use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use serde_json::json;

use super::process::Containerd;
use super::state;
use crate::cni::Node;
use crate::cri::{Container, Runtime, Sandbox};
use crate::lab::{Lab, SEAWAY, difference, eventually, success, test, text};
use crate::service_stories::signal;
use crate::{manifests, processes};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        test(
            "a_pods_containers_share_a_network_that_outlives_them_and_goes_with_its_sandbox",
            containers,
        ),
        test("a_hundred_sandboxes_at_once_have_their_own_addresses_and_leave_nothing", a_hundred),
        test("sandboxes_outlive_containerd_and_what_it_has_forgotten_goes_by_gc", forgotten),
        test(
            "cri1_containerd_is_ready_once_there_is_an_agent_and_what_went_without_it_is_released",
            away,
        ),
    ]
}

/// How many sandboxes start at once.
const HUNDRED: usize = 100;

/// Files of the machine that containers have, and the echo.
const MOUNTS: [(&str, &str); 5] = [
    ("/usr", "/usr"),
    ("/bin", "/bin"),
    ("/lib", "/lib"),
    ("/lib64", "/lib64"),
    ("/seaway-echo", SEAWAY),
];

/// Commands of a pod's two containers, which have no port in common.
const SERVER: [&str; 3] = ["/seaway-echo", "--http", "8080"];
const BESIDE: [&str; 3] = ["/seaway-echo", "--http", "8081"];

/// A pod with a server, a container beside it, and a hostPort.
struct Web<'a> {
    lab: &'a Lab,
    runtime: &'a Runtime,
    sandbox: Sandbox<'a>,
    id: String,
    address: String,
}

impl<'a> Web<'a> {
    const HOST_PORT_URL: &'static str = "http://10.80.1.11:8088/";

    fn run(lab: &'a Lab, runtime: &'a Runtime, attempt: u64) -> Web<'a> {
        let host_port = Some((8088, 8080));
        let sandbox = Sandbox { name: "web", uid: "web", attempt, host_port, ..Sandbox::default() };
        let id = runtime.run(&sandbox).expect("RunPodSandbox");
        let address = runtime.addresses(&id).expect("PodSandboxStatus").swap_remove(0);
        Web { lab, runtime, sandbox, id, address }
    }

    fn start(&self, name: &str, attempt: u64, command: &[&str]) -> String {
        let image = format!("localhost/seaway/pause:{}", env!("CARGO_PKG_VERSION"));
        let container = Container { name, attempt, image: &image, command, mounts: &MOUNTS };
        let started = self.runtime.start(&self.id, &self.sandbox, &container);
        started.unwrap_or_else(|why| panic!("container {name}: {why}"))
    }

    /// Both containers answer a pod of another node at one address, and the server both nodes at the hostPort.
    fn answers(&self) {
        const CURL: [&str; 3] = ["curl", "-sf", "-m5"];
        for port in [8080, 8081] {
            let url = format!("http://{}:{port}/", self.address);
            let words = [&CURL[..], &[&url]].concat();
            eventually("it answers a pod", || success(&self.lab.exec("server", &words)));
        }
        for node in ["node-1", "node-2"] {
            let words = [&CURL[..], &[Self::HOST_PORT_URL]].concat();
            eventually("it answers at the hostPort", || success(&self.lab.node(node, &words)));
        }
    }
}

/// server (node-2), node-1, node-2 ── web (node-1), whose containers end, and then its sandbox.
fn containers() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let runtime = containerd.runtime();
    let before = state(&lab, "node-1");
    let first = Web::run(&lab, &runtime, 0);
    let server = first.start("server", 0, &SERVER);
    let beside = first.start("beside", 0, &BESIDE);
    first.answers();
    let links = || text(&lab.node("node-1", &["ip", "-o", "link", "show", "type", "veth"]));
    let links_before = links();
    runtime.kill(&server).expect("end the server");
    let server = first.start("server", 1, &SERVER);
    first.answers();
    assert_eq!(links(), links_before, "a container that ends takes no link along");
    let kill = ["-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", &first.id];
    success(&containerd.ctr(&kill)).expect("kill the pause process");
    eventually("the sandbox has ended", || match runtime.is_ready(&first.id) {
        Ok(false) => Ok(()),
        other => Err(other),
    });
    // As a kubelet goes on.
    for container in [&server, &beside] {
        runtime.kill(container).expect("end a container");
    }
    runtime.stop(&first.id).expect("StopPodSandbox");
    let second = Web::run(&lab, &runtime, 1);
    assert_ne!(second.address, first.address, "an address that was released rests");
    second.start("server", 0, &SERVER);
    second.start("beside", 0, &BESIDE);
    second.answers();
    let leases = leases(&lab);
    assert!(leases.contains(&second.address) && !leases.contains(&first.address), "{leases:?}");
    for web in [&first, &second] {
        runtime.stop(&web.id).expect("StopPodSandbox");
        runtime.remove(&web.id).expect("RemovePodSandbox");
    }
    for node in ["node-1", "node-2"] {
        let asked = lab.node(node, &["curl", "-s", "-m5", Web::HOST_PORT_URL]);
        assert_eq!(asked.status.code(), Some(7), "refused at {node}: {}", lab.told(&asked));
    }
    assert_eq!(state(&lab, "node-1"), before, "DEL leaves the node as it was");
    lab.check();
}

/// server (node-2) ── a hundred sandboxes (node-1).
fn a_hundred() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let containerd = Containerd::start(&lab, "node-1");
    let runtime = containerd.runtime();
    let before = everything(&lab);
    let names: Vec<String> = (0..HUNDRED).map(|n| format!("pod-{n}")).collect();
    let ids = at_once(&names, |name| {
        let sandbox = Sandbox { name, uid: name, ..Sandbox::default() };
        runtime.run(&sandbox).unwrap_or_else(|why| panic!("{name}: {why}\n{}", containerd.log()))
    });
    let addresses = |id: &String| runtime.addresses(id).expect("PodSandboxStatus");
    let addresses: Vec<String> = ids.iter().flat_map(addresses).collect();
    assert_eq!(addresses.len(), 2 * HUNDRED, "one of each family: {addresses:?}");
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len(), "{addresses:?}");
    let ping = "for a in \"$@\"; do ping -c1 -W10 $a >/dev/null || echo $a & done; wait";
    let words = ["sh", "-c", ping, "sh"].into_iter().chain(addresses.iter().map(String::as_str));
    let unreached = text(&lab.exec("server", &words.collect::<Vec<_>>()));
    assert_eq!(unreached, "", "{}", lab.logs());
    at_once(&ids, |id| {
        runtime.stop(id).unwrap_or_else(|why| panic!("{id}: {why}"));
        runtime.remove(id).unwrap_or_else(|why| panic!("{id}: {why}"));
    });
    let now = everything(&lab);
    assert_eq!(now, before, "{}", difference(&before, &now));
}

/// server, client (node-2) ── kept, ended, forgotten (node-1); containerd is killed twice. The lab's own runtime has no
/// pods on node-1: GC would take them away, too.
fn forgotten() {
    let pods = manifests::pair().replace("node-1", "node-2");
    let node = Node { lab: Lab::up_with(&["--nodes", "2"], &pods) };
    let lab = &node.lab;
    let containerd = Containerd::start(lab, "node-1");
    let runtime = containerd.runtime();
    let before = state(lab, "node-1");
    let [kept, ended, forgotten] = ["kept", "ended", "forgotten"].map(|name| {
        let sandbox = Sandbox { name, uid: name, ..Sandbox::default() };
        let id = runtime.run(&sandbox).expect("RunPodSandbox");
        let address = runtime.addresses(&id).expect("PodSandboxStatus").swap_remove(0);
        (id, address)
    });
    let mut ping = lab.seaway(&["lab", "exec"]);
    ping.args(["server", "--", "ping", "-i", "0.1", "-W", "5", &kept.1]).stdout(Stdio::piped());
    let ping = ping.spawn().expect("start ping");
    containerd.kill();
    let reached = lab.exec("client", &["ping", "-c3", "-i0.2", "-W5", &kept.1]);
    success(&reached).expect("a sandbox without a containerd is reached");
    containerd.come_back();
    runtime.stop(&ended.0).expect("StopPodSandbox");
    runtime.remove(&ended.0).expect("RemovePodSandbox");
    assert!(!leases(lab).contains(&ended.1), "a containerd that was killed sends DEL");
    for words in [
        ["tasks", "kill", "-s", "SIGKILL", &forgotten.0].as_slice(),
        &["tasks", "rm", "--force", &forgotten.0],
        &["containers", "rm", &forgotten.0],
    ] {
        // The CRI may have been faster.
        drop(containerd.ctr(&[&["-n", "k8s.io"], words].concat()));
    }
    containerd.kill();
    containerd.come_back();
    let known = runtime.sandboxes().expect("ListPodSandbox");
    assert_eq!(known, std::slice::from_ref(&kept.0), "it has forgotten one");
    assert!(leases(lab).contains(&forgotten.1), "whoever is forgotten holds a lease");
    // What containerd from 2.0 on does when it starts.
    let valid: Vec<_> =
        known.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect();
    let conf = node.conf("1.1.0", json!({"cni.dev/valid-attachments": valid}));
    node.succeeds("GC", "", &conf);
    let leases = leases(lab);
    assert!(leases.contains(&kept.1) && !leases.contains(&forgotten.1), "{leases:?}");
    success(&lab.exec("server", &["pkill", "-INT", "-x", "ping"])).expect("end ping");
    let told = text(&ping.wait_with_output().expect("wait for ping"));
    assert!(told.contains(" 0% packet loss"), "{told}");
    runtime.stop(&kept.0).expect("StopPodSandbox");
    runtime.remove(&kept.0).expect("RemovePodSandbox");
    assert_eq!(state(lab, "node-1"), before, "nothing is left of all three");
}

/// A node without an agent gets one, which goes away and comes back.
///
/// containerd before 2.0 asks no plugin for its STATUS (docs/install.md, *Ready and unready*).
fn away() {
    let lab = Lab::up(&["--nodes", "1", "--no-agent"]);
    let containerd = Containerd::start_alone(&lab, "node-1");
    let runtime = containerd.runtime();
    eventually("containerd has no network", || match runtime.network_ready() {
        Err(why) if why.contains("cni plugin not initialized") => Ok(()),
        other => Err(other),
    });
    let agent = start_agent(&lab);
    eventually("containerd finds its network", || runtime.network_ready());
    let run = |name| runtime.run(&Sandbox { name, uid: name, ..Sandbox::default() });
    let address = |id: &String| runtime.addresses(id).expect("PodSandboxStatus").swap_remove(0);
    let [lost, left] = ["lost", "left"].map(|name| run(name).expect("a ready network is one"));
    let (lost_address, left_address) = (address(&lost), address(&left));
    end(agent);
    runtime.network_ready().expect("the configuration stays when the agent goes");
    let refused = run("early").expect_err("nobody gives addresses");
    assert!(refused.contains("the Seaway agent of this node does not answer"), "{refused}");
    let kill = ["-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", &lost];
    success(&containerd.ctr(&kill)).expect("kill the pause process");
    let unmake = "for n in /run/netns/*; do \
         if nsenter --net=$n ip -o addr | grep -q \" $1/\"; then umount -l $n && rm $n; fi; done";
    let unmade = lab.node("node-1", &["sh", "-c", unmake, "sh", &lost_address]);
    success(&unmade).expect("its namespace goes");
    eventually("its link has gone with it", || {
        let links = text(&lab.node("node-1", &["ip", "-o", "link", "show", "type", "veth"]));
        if links.matches(": sw").count() == 1 { Ok(()) } else { Err(links) }
    });
    let agent = start_agent(&lab);
    let next = eventually("the next agent gives addresses", || run("next"));
    let leases = leases(&lab);
    assert!(leases.contains(&left_address) && leases.contains(&address(&next)), "{leases:?}");
    assert_eq!(leases.len(), 4, "two pods, two families, and nobody else: {leases:?}");
    assert!(!leases.contains(&lost_address), "{leases:?}");
    for id in [&lost, &left, &next] {
        runtime.stop(id).expect("StopPodSandbox");
        runtime.remove(id).expect("RemovePodSandbox");
    }
    end(agent);
}

/// An agent on node-1, which the test ends itself.
fn start_agent(lab: &Lab) -> Child {
    let log = File::options().create(true).append(true).open(lab.dir().join("own-agent.log"));
    let log = log.expect("open a log");
    let mut agent = lab.seaway(&["lab", "node"]);
    agent.args(["node-1", "--", "seaway", "agent", "--node-name=node-1"]);
    agent.args(["--kubeconfig=/run/kubeconfig", "--state-dir=/run/seaway/state"]);
    agent.args(["--cni-conf-dir=/run/cni/net.d", "--cni-bin-dir=/run/cni/bin"]);
    agent.stdout(log.try_clone().expect("share the log")).stderr(log);
    agent.spawn().expect("start an agent")
}

fn end(mut agent: Child) {
    let below = processes::below(agent.id());
    let own = below.iter().filter(|process| process.has_word("agent") && !process.has_word("lab"));
    own.for_each(|process| signal(process, Signal::SIGTERM));
    agent.wait().expect("wait for the agent");
}

/// Does it for all, each in a thread of its own.
fn at_once<T: Send>(all: &[String], act: impl Fn(&String) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let acts: Vec<_> = all.iter().map(|one| scope.spawn(|| act(one))).collect();
        acts.into_iter().map(|act| act.join().expect("it ends")).collect()
    })
}

/// The addresses that node-1 has leased.
fn leases(lab: &Lab) -> BTreeSet<String> {
    let dump = success(&lab.node("node-1", &["seaway", "dump", "ipam"])).expect("dump leases");
    dump.lines().filter_map(|line| Some(line.split_once(" leased to ")?.0.to_owned())).collect()
}

/// What [`state`] has, the rules and the network namespaces of node-1.
fn everything(lab: &Lab) -> String {
    let script = "nft -s list table inet seaway | grep -v expires; ls /run/netns; \
                  grep -c ' /run/netns/' /proc/self/mountinfo";
    [state(lab, "node-1"), text(&lab.node("node-1", &["sh", "-c", script]))].join("\n")
}

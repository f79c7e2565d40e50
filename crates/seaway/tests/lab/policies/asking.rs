//! Who may ask the cluster's DNS, at each of its places, while the own node answers and while it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use fixtures::message;
use fixtures::policies::write::{policy, selector};
use kernel::netns::Netns;
use libtest_mimic::Trial;
use model::{Family, Protocol};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::scene::{Scene, TCP_UDP, mute};
use crate::lab::{eventually, success, test};
use crate::processes::{self, Process};
use crate::service_stories::signal;

pub(crate) fn trials() -> Vec<Trial> {
    let of = |link: &'static str| {
        let name = format!(
            "npn24_npu9_npx4_who_may_ask_for_names_may_when_the_node_does_not_answer_and_nobody_else_{link}"
        );
        test(&name, move || asked(link))
    };
    vec![of("routed"), of("bridge")]
}

const NAME: &str = "kubernetes.default.svc.cluster.local";

/// How long nothing heard is silence.
const SILENCE: Duration = Duration::from_millis(700);

/// `stranger` may send nothing, `friend` may ask for names in the words that everybody has for it, and nobody
/// says anything of `near`. All are on node-1.
fn asked(link: &str) {
    let scene = Scene::up(&["--pod-link", link]);
    let vips = [0, 1].map(|family| {
        let path = format!(
            "-n kube-system get service kube-dns -o jsonpath={{.spec.clusterIPs[{family}]}}"
        );
        SocketAddr::new(scene.kubectl(&path).parse().expect("an address"), 53)
    });
    let local: SocketAddr = "169.254.20.10:53".parse().expect("an address");
    let ports =
        |node: &str| Family::ALL.map(|family| SocketAddr::new(scene.addr(node, family), 10053));
    let everywhere = [&vips[..], &[local], &ports("node-1"), &ports("node-2")].concat();
    // Where pods are is told by their node, which will not always answer.
    let clients = [("near", true), ("friend", true), ("stranger", false)];
    let clients = clients.map(|(who, may)| (who, scene.netns(who), may));
    scene.cluster.put(&mute("mute", "pod=stranger"));
    scene.cluster.put(&usual());
    scene.hold_pod("stranger", "server", false);
    scene.hold_pod("friend", "server", false);
    for (who, netns, may) in &clients {
        hold(netns, who, &everywhere, *may);
    }
    told(&scene, vips[0].ip());
    // Who keeps the node's agent alive sleeps, so that nobody starts another one.
    let [keeper, agent] = ["node", "agent"].map(|role| of_node_1(&scene, role));
    let keeper = Asleep::put(keeper);
    signal(&agent, Signal::SIGKILL);
    eventually("the agent of node-1 is gone", || {
        match processes::left(&[agent.clone()].into()).is_empty() {
            true => Ok(()),
            false => Err("it is there"),
        }
    });
    let elsewhere = [&vips[..], &ports("node-2")].concat();
    for (who, netns, may) in &clients {
        hold(netns, who, &elsewhere, *may);
    }
    drop(keeper);
    for (who, netns, may) in &clients {
        hold(netns, who, &everywhere, *may);
    }
}

/// Port 53 of the pods of the cluster's DNS, and nothing else.
fn usual() -> Value {
    let to = json!([{
        "namespaceSelector": selector("kubernetes.io/metadata.name=kube-system"),
        "podSelector": selector("k8s-app=kube-dns"),
    }]);
    let ports = ["UDP", "TCP"].map(|protocol| json!({"protocol": protocol, "port": 53}));
    let spec = json!({
        "podSelector": selector("pod=friend"),
        "policyTypes": ["Egress"],
        "egress": [{"to": to, "ports": ports}],
    });
    policy("default", "usual", spec)
}

/// A process that does nothing until this value goes, however the test ends.
struct Asleep(Process);

impl Asleep {
    fn put(process: Process) -> Asleep {
        signal(&process, Signal::SIGSTOP);
        Asleep(process)
    }
}

impl Drop for Asleep {
    fn drop(&mut self) {
        signal(&self.0, Signal::SIGCONT);
    }
}

/// The process of node-1 in this role.
fn of_node_1(scene: &Scene, role: &str) -> Process {
    let all = processes::in_role(&scene.lab, role);
    let is_its = |process: &Process| process.has_word("node-1") || process.is_for("node-1");
    all.into_iter().find(is_its).unwrap_or_else(|| panic!("no {role} of node-1"))
}

/// Waits until a pod is answered at all these places, or at none, over UDP and TCP.
fn hold(netns: &Netns, who: &str, places: &[SocketAddr], may: bool) {
    eventually(&format!("{who} is answered: {may}"), || {
        let wrong = thread::scope(|scope| {
            let ask = |place: SocketAddr, protocol| {
                scope.spawn(move || {
                    let heard = netns.run(|| is_answered(place, protocol)).expect("enter");
                    (heard.as_ref().ok() != Some(&may))
                        .then(|| format!("{protocol} {place} {heard:?}"))
                })
            };
            let asked: Vec<_> = TCP_UDP
                .into_iter()
                .flat_map(|protocol| places.iter().map(move |place| (*place, protocol)))
                .map(|(place, protocol)| ask(place, protocol))
                .collect();
            asked.into_iter().filter_map(|one| one.join().expect("who asks")).collect::<Vec<_>>()
        });
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    });
}

/// Whether a question is answered with an address, from the network that this runs in. Who hears that nobody
/// listens is neither answered nor kept from asking.
fn is_answered(place: SocketAddr, protocol: Protocol) -> std::io::Result<bool> {
    let query = message::query(NAME, message::kind("A"), None);
    let said = match protocol {
        Protocol::Tcp => over_tcp(place, &query),
        Protocol::Udp | Protocol::Sctp => over_udp(place, &query),
    };
    match said {
        Ok(answer) => Ok(answer.len() > 12 && answer[7] > 0),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn over_udp(place: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match place {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0; 16].into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.connect(place)?;
    socket.send(query)?;
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn over_tcp(place: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&place, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let length = u16::try_from(query.len()).expect("a short question");
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut answer = vec![0; u16::from_be_bytes(head).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// What is dropped is told, and explained alike.
fn told(scene: &Scene, vip: IpAddr) {
    let why = "not-allowed: no NetworkPolicy allows it; isolated by default/mute";
    for (protocol, at) in [("udp", format!("{vip}:53")), ("tcp", "169.254.20.10:53".to_owned())] {
        eventually("a question that is dropped is told", || {
            let argv = ["seaway", "policy", "drops", "--pod", "stranger"];
            let said = success(&scene.lab.node("node-1", &argv))?;
            let is_it = |line: &str| {
                let ends = format!("dropped egress {protocol} default/stranger (");
                line.contains(&ends) && line.contains(&format!("> {at} ")) && line.contains(why)
            };
            if said.lines().any(is_it) { Ok(()) } else { Err(said) }
        });
    }
    let trace = |who: &str| {
        let argv = ["seaway", "policy", "trace", who, &vip.to_string(), "udp/53"];
        success(&scene.lab.node("node-1", &argv)).expect("it is traced")
    };
    assert!(trace("friend").contains("egress allowed: NetworkPolicy default/usual rule 0"));
    assert!(trace("stranger").contains("egress dropped: no NetworkPolicy allows it"));
}

//! What becomes of connections while policies, labels and agents change.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::json;

use super::ask::Notice;
use super::scene::{Asking, PORT, Scene, TCP_UDP, mute, only};
use crate::lab::{eventually, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("npn5_npn23_npu5_npb7_a_deny_cuts_what_it_forbids_from_either_end_alone", cut),
        test("npn8_labels_that_flip_open_and_close_and_disturb_nobody_else", flips),
        test("npn23_agents_that_are_killed_open_nothing_and_cut_nothing", killed),
    ]
}

/// How long nothing heard is silence.
const SILENCE: Duration = Duration::from_millis(400);

/// Both ends of something that goes on.
pub(crate) enum Flow {
    Tcp([TcpStream; 2]),
    Udp([UdpSocket; 2]),
}

impl Flow {
    pub(crate) fn open(
        scene: &Scene,
        from: &str,
        to: &str,
        protocol: Protocol,
        at: SocketAddr,
    ) -> Flow {
        let (from, to) = (scene.netns(from), scene.netns(to));
        let patient = Some(SILENCE);
        match protocol {
            Protocol::Tcp => {
                let listener = to.run(|| TcpListener::bind(at)).expect("enter").expect("listen");
                let client = from.run(|| TcpStream::connect(at)).expect("enter").expect("connect");
                let (server, _) = listener.accept().expect("accept");
                let ends = [client, server];
                ends.iter().for_each(|end| end.set_read_timeout(patient).expect("a timeout"));
                Flow::Tcp(ends)
            }
            Protocol::Udp | Protocol::Sctp => {
                let any = fixtures::sctp::any(Family::of(at.ip()));
                let server = to.run(|| UdpSocket::bind(at)).expect("enter").expect("bind");
                let open = || UdpSocket::bind((any, 0)).and_then(|it| it.connect(at).map(|()| it));
                let client = from.run(open).expect("enter").expect("bind");
                client.send(b"first").expect("send");
                server.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
                let (_, seen) = server.recv_from(&mut [0; 16]).expect("the first packet");
                server.connect(seen).expect("connect");
                let ends = [client, server];
                ends.iter().for_each(|end| end.set_read_timeout(patient).expect("a timeout"));
                Flow::Udp(ends)
            }
        }
    }

    /// Whether the other end hears `word` once `end` has said it; what was said before may come late.
    pub(crate) fn says(&mut self, end: usize, word: u8) -> bool {
        match self {
            Flow::Tcp(ends) => ends[end].write_all(&[word]).expect("write"),
            Flow::Udp(ends) => drop(ends[end].send(&[word]).expect("send")),
        }
        let mut bytes = [0; 64];
        loop {
            let heard = match self {
                Flow::Tcp(ends) => ends[1 - end].read(&mut bytes),
                Flow::Udp(ends) => ends[1 - end].recv(&mut bytes),
            };
            match heard {
                Ok(0) => return false,
                Ok(length) if bytes[..length].contains(&word) => return true,
                Ok(_) => {}
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    return false;
                }
                Err(error) => panic!("an end heard: {error}"),
            }
        }
    }
}

/// Flows between pods of one node and of two, over both protocols and families.
fn cut() {
    let scene = Scene::up(&[]);
    let mut flows = Vec::new();
    let mut port = 5000;
    for (from, to) in
        [("friend", "near"), ("stranger", "near"), ("friend", "server"), ("stranger", "server")]
    {
        for family in Family::ALL {
            for protocol in TCP_UDP {
                // One that the client speaks on first after the change, and one the server does.
                for first in [0, 1] {
                    port += 1;
                    let at = SocketAddr::new(scene.addr(to, family), port);
                    let mut flow = Flow::open(&scene, from, to, protocol, at);
                    assert!(flow.says(0, 0) && flow.says(1, 0), "{from} to {to}");
                    flows.push((from, format!("{from} to {to} {protocol} {family}"), first, flow));
                }
            }
        }
    }
    let friends =
        only("p", "", json!([{"from": [{"podSelector": {"matchLabels": {"pod": "friend"}}}]}]));
    for (word, denied) in (1..).zip([friends, mute("p", "pod=stranger")]) {
        scene.cluster.put(&denied);
        for to in ["near", "server"] {
            scene.hold_pod("stranger", to, false);
        }
        thread::scope(|scope| {
            for (from, name, first, flow) in &mut flows {
                let is_kept = *from == "friend";
                scope.spawn(move || {
                    for end in [*first, 1 - *first, *first] {
                        assert_eq!(flow.says(end, word), is_kept, "{name}: end {end} speaks");
                    }
                });
            }
        });
        scene.cluster.remove(&denied);
        for (_, name, first, flow) in &mut flows {
            eventually(&format!("{name} goes on"), || {
                match flow.says(*first, 10 + word) && flow.says(1 - *first, 10 + word) {
                    true => Ok(()),
                    false => Err("silent"),
                }
            });
        }
    }
}

/// The server lets in team a: `stranger` joins and leaves it, by its own label and its namespace's, while
/// `friend` is a member all along.
fn flips() {
    let scene = Scene::up(&[]);
    let pod =
        |name: &str| json!({"kind": "Pod", "metadata": {"namespace": "default", "name": name}});
    let space = json!({"kind": "Namespace", "metadata": {"name": "default"}});
    let team = |name: &str, team: &str| json!({"pod": name, "team": team});
    scene.cluster.label(&pod("friend"), &team("friend", "a"));
    let members = json!({"podSelector": {"matchLabels": {"team": "a"}}});
    scene.cluster.put(&only("p", "pod=server", json!([{"from": [members]}])));
    scene.hold_pod("stranger", "server", false);
    let at = SocketAddr::new(scene.addr("server", Family::V4), PORT);
    let friend = Asking::start(scene.netns("friend"), at, true);
    let near = Asking::start(scene.netns("near"), at, false);
    for round in 0..6 {
        let is_member = round % 2 == 0;
        let label = team("stranger", if is_member { "a" } else { "b" });
        scene.cluster.label(&pod("stranger"), &label);
        scene.hold_pod("stranger", "server", is_member);
    }
    near.has_only(Notice::Silence, "who is no member");
    let members = json!({"namespaceSelector": {"matchLabels": {"open": "yes"}}});
    let friends = json!({"podSelector": {"matchLabels": {"team": "a"}}});
    scene.cluster.put(&only("p", "pod=server", json!([{"from": [friends, members]}])));
    for round in 0..4 {
        let is_open = round % 2 == 0;
        scene.cluster.label(&space, &json!({"open": if is_open { "yes" } else { "no" }}));
        scene.hold_pod("stranger", "server", is_open);
    }
    friend.has_only(Notice::Answer, "who is a member all along");
}

/// Agents of both nodes die and start again, and once while policies have changed meanwhile.
fn killed() {
    let scene = Scene::up(&[]);
    let friends = json!([{"from": [{"podSelector": {"matchLabels": {"pod": "friend"}}}]}]);
    scene.cluster.put(&only("p", "pod=server", friends));
    scene.hold_pod("stranger", "server", false);
    let at = |family| SocketAddr::new(scene.addr("server", family), PORT);
    let mut flows = TCP_UDP.map(|protocol| {
        let own = SocketAddr::new(scene.addr("server", Family::V6), 5000);
        Flow::open(&scene, "friend", "server", protocol, own)
    });
    let asking = Family::ALL.map(|family| {
        let friend = Asking::start(scene.netns("friend"), at(family), true);
        (friend, Asking::start(scene.netns("stranger"), at(family), false))
    });
    for round in 0..3 {
        if round == 2 {
            scene.cluster.put(&only("q", "pod=server", json!([])));
        }
        scene.kill_agents();
        for flow in &mut flows {
            assert!(flow.says(0, round) && flow.says(1, round), "round {round}");
        }
    }
    for (friend, stranger) in asking {
        friend.has_only(Notice::Answer, "who is allowed");
        stranger.has_only(Notice::Silence, "who is not");
    }
}

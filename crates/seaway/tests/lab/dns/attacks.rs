//! What those may try who can write Services or have a pod of their own, to answer in the place of
//! cluster DNS, or to bring it down.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fixtures::message;
use libtest_mimic::Trial;
use socket2::{Domain, Socket, Type};

use super::dig::Dig;
use super::stage::{Client, FLAGS, LINK_LOCAL, NODE_1, NODE_PORT, Stage, VIPS, at, exchange};
use super::upstream::ADDRS;
use crate::lab::{eventually, success, test, text};
use crate::{manifests, processes};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("dns165_nobody_takes_over_cluster_dns_by_a_service_or_a_host_port", takeover),
        test("dns166_forged_answers_of_pods_reach_nobody", forged),
        test("dns160_dns162_no_message_stops_or_holds_up_the_server", garbled),
    ]
}

const NAME: &str = "web.ns1.svc.cluster.local";
const SILENCE: Duration = Duration::from_millis(400);

/// Every way to ask for a name of the cluster.
fn untouched(stage: &Stage, when: &str) {
    for client in [Client::Pod("shell-1"), Client::Pod("shell-2"), Client::Host("node-1")] {
        for (server, transport) in
            [(VIPS[0], "+notcp"), (VIPS[1], "+notcp"), (VIPS[0], "+tcp"), (LINK_LOCAL, "+notcp")]
        {
            let questions = [(NAME, "A"), ("example.org", "A")];
            let replies = Dig::at(server).with(transport).ask(stage, client, &questions);
            let replies = replies.unwrap_or_else(|e| panic!("{when}: {client:?} at {server}: {e}"));
            let found = replies.iter().map(|reply| reply.answer[0].text.as_str());
            let wanted = ["A 10.96.0.20", "A 203.0.113.80"];
            assert!(found.eq(wanted), "{when}: {client:?} at {server}: {replies:?}");
        }
    }
}

/// T02, T08 (CVE-2020-8554, CVE-2019-9946, CVE-2025-67499).
fn takeover() {
    let flags = [&FLAGS[..], &["--external-ips", "0.0.0.0/0,::/0"]].concat();
    let stage = Stage::up_with(&flags);
    let thief = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a-thief}\nspec:\n  \
        type: LoadBalancer\n  ipFamilyPolicy: PreferDualStack\n  selector: {app: thief}\n  \
        externalIPs: [10.96.0.10, 'fd00:96::a']\n  ports:\n  \
        - {name: u, port: 53, protocol: UDP, targetPort: 9090}\n  \
        - {name: t, port: 53, protocol: TCP, targetPort: 9090}\n";
    let ports = "ports: [{containerPort: 9090, hostPort: 53, protocol: UDP}, \
                 {containerPort: 9090, hostPort: 53, protocol: TCP}]";
    let pod = manifests::pod("thief", "node-1", "seaway/echo")
        .replace("{name: thief}", "{name: thief, labels: {app: thief}}")
        .replace("image: seaway/echo", &format!("image: seaway/echo, {ports}"));
    stage.lab.apply(&[thief, &pod].concat());
    let ready = ["wait", "--for=condition=Ready", "pod/thief", "--timeout=60s"];
    success(&stage.lab.kubectl(&ready)).expect("the thief is ready");
    eventually("the host port is the thief's", || {
        let said = stage.lab.client(&["curl", "-s", "-m2", "--http0.9", "telnet://10.80.1.11:53"]);
        if text(&said).contains("host=thief") { Ok(()) } else { Err(text(&said)) }
    });
    untouched(&stage, "external IPs and a host port");
    let ingress: Vec<String> = VIPS.map(|ip| format!(r#"{{"ip":"{ip}"}}"#)).into();
    let status =
        format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{}]}}}}}}"#, ingress.join(","));
    let patch =
        ["patch", "service", "a-thief", "--subresource=status", "--type=merge", "-p", &status];
    success(&stage.lab.kubectl(&patch)).expect("the status is taken");
    eventually("the status has arrived", || {
        let rejected = text(&stage.lab.node("node-1", &["seaway", "dump", "rejected"]));
        let is_told = VIPS
            .iter()
            .all(|ip| rejected.lines().any(|line| line.contains("a-thief") && line.contains(ip)));
        if is_told { Ok(()) } else { Err(rejected) }
    });
    untouched(&stage, "the status of a load balancer");
    // The name server outside is reached, too, by who asks it.
    for addr in &ADDRS[..1] {
        let replies = Dig::at(addr).ask(&stage, Client::Pod("shell-1"), &[("example.org", "A")]);
        assert_eq!(replies.expect("an answer")[0].answer[0].text, "A 203.0.113.80");
    }
}

/// A socket that claims to be `from`.
fn pretend(from: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(from), Type::DGRAM, None).expect("a socket");
    match from {
        SocketAddr::V4(_) => socket.set_freebind_v4(true).expect("bind to anything"),
        SocketAddr::V6(_) => socket.set_freebind_v6(true).expect("bind to anything"),
    }
    socket.bind(&from.into()).expect("bind to another's address");
    socket.into()
}

/// T05: a pod sends answers in the name of cluster DNS to who waits for one. And strangers are not answered
/// where nodes answer each other.
fn forged() {
    let stage = Stage::up();
    for (family, vip) in VIPS.into_iter().enumerate() {
        let path = format!("{{.status.podIPs[{family}].ip}}");
        for victim in ["shell-1", "shell-2"] {
            let addr = stage.lab.pod_field(victim, &path);
            let waiting = stage.netns(Client::Pod(victim)).run(|| super::stage::open(at(vip, 53)));
            let waiting = waiting.expect("enter the victim's network");
            waiting.set_read_timeout(Some(SILENCE)).expect("a timeout");
            let port = waiting.local_addr().expect("its address").port();
            // Its own node's answers do arrive.
            let query = message::query(NAME, message::kind("A"), None);
            waiting.send(&query).expect("send");
            waiting.recv(&mut [0; 512]).expect("an answer of cluster DNS");
            for thief in ["shell-1", "shell-2"].into_iter().filter(|thief| *thief != victim) {
                let send = || {
                    let socket = pretend(at(vip, 53));
                    // Where it does not even leave is as good.
                    (0..10).filter(|_| socket.send_to(&query, at(&addr, port)).is_err()).count()
                };
                stage.netns(Client::Pod(thief)).run(send).expect("enter the thief's network");
                let heard = waiting.recv(&mut [0; 512]);
                assert!(heard.is_err(), "{victim} believes {thief}, who says it is {vip}");
            }
        }
    }
    let query = message::query(NAME, message::kind("A"), None);
    let stranger = crate::services::stage::Place::find(&stage.lab, "client").netns;
    for addr in NODE_1 {
        let heard = stranger.run(|| exchange(at(addr, NODE_PORT), &query, SILENCE));
        assert_eq!(heard.expect("enter"), None, "an open resolver at {addr}");
    }
}

/// Messages that are anything but what they should be: T31, T32.
fn garbled() {
    let stage = Stage::up();
    let agents = processes::in_role(&stage.lab, "agent");
    let header = |counts: [u8; 8]| [&[0xab, 0xcd, 1, 0][..], &counts].concat();
    let one = [0, 1, 0, 0, 0, 0, 0, 0];
    let end: &[u8] = &[0, 0, 1, 0, 1];
    let mut odd: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 11],
        header(one),
        // A name that points at itself, ahead, behind the end; two that point at each other.
        [&header(one), &[0xc0, 12][..], &end[1..]].concat(),
        [&header(one), &[0xc0, 14][..], &end[1..]].concat(),
        [&header(one), &[0xff, 0xff][..], &end[1..]].concat(),
        [&header([0, 2, 0, 0, 0, 0, 0, 0]), &[0xc0, 18, 0, 1, 0, 1, 0xc0, 12][..], &end[1..]]
            .concat(),
        // 127 labels, 255 bytes and more, a label of 64, one that is cut off.
        [&header(one), &[1, b'a'].repeat(127)[..], end].concat(),
        [&header(one), &[1, b'a'].repeat(200)[..], end].concat(),
        [&header(one), &[64][..], &[b'a'; 64], end].concat(),
        [&header(one), &[63, b'a'][..]].concat(),
        // Records that are promised and do not come.
        [&header([0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), end].concat(),
        [&header([0xff, 0xff, 0, 0, 0, 0, 0, 0]), end].concat(),
    ];
    let good = message::query(NAME, message::kind("A"), Some(1232));
    odd.extend((0..good.len()).map(|length| good[..length].to_vec()));
    odd.extend((0..good.len() * 8).map(|bit| {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    }));
    for vip in VIPS {
        let to = at(vip, 53);
        let netns = stage.netns(Client::Pod("shell-1"));
        let send = || {
            let socket = super::stage::open(to);
            for message in &odd {
                socket.send(message).expect("send");
            }
        };
        netns.run(send).expect("enter");
        let answered = netns.run(|| {
            odd.iter().step_by(7).all(|_| exchange(to, &good, Duration::from_secs(3)).is_some())
        });
        assert!(answered.expect("enter"), "{vip}: a good question among bad ones");
    }
    untouched(&stage, "after everything odd");
    assert_eq!(processes::in_role(&stage.lab, "agent"), agents, "no agent ended");
}

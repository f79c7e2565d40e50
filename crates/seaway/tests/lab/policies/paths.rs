//! Ways around a pod's own address: Services, node ports, the node itself, errors.

use std::net::SocketAddr;

use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::json;

use super::ask::{Notice, Question, ask};
use super::scene::{PORT, Scene, TCP_UDP, mute, only};
use crate::lab::{eventually, test};
use crate::services::serve::Server;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for link in ["routed", "bridge"] {
        let name = format!("npn13_npn19_npb9_npu2_services_are_no_way_around_policies_{link}");
        trials.push(test(&name, move || services(link)));
        let name = format!("npn9_npn24_npu1_npu3_nodes_and_errors_are_what_they_were_{link}");
        trials.push(test(&name, move || nodes(link)));
    }
    trials
}

/// The port of every node that leads to `server`.
const NODE_PORT: u16 = 30090;

/// `server` lets in `friend`.
fn services(link: &str) {
    let scene = Scene::up(&["--pod-link", link]);
    let ports = ["TCP", "UDP"].map(|protocol| {
        json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": 90, "targetPort": PORT, "nodePort": NODE_PORT})
    });
    let spec = json!({"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"pod": "server"}, "ports": ports});
    let service = json!({"kind": "Service", "metadata": {"namespace": "default", "name": "web"}, "spec": spec});
    scene.cluster.put(&service);
    let there = scene.cluster.find(&service).expect("the Service");
    let vips: Vec<SocketAddr> = (0..2)
        .map(|family| there["spec"]["clusterIPs"][family].as_str().expect("an address"))
        .map(|ip| SocketAddr::new(ip.parse().expect("an address"), 90))
        .collect();
    let port = |node: &str, family| SocketAddr::new(scene.addr(node, family), NODE_PORT);
    let everywhere = || {
        let nodes = ["node-1", "node-2"].into_iter();
        let ports = nodes.flat_map(|node| Family::ALL.map(|family| port(node, family)));
        vips.iter().copied().chain(ports)
    };
    for who in ["friend", "stranger"] {
        everywhere().for_each(|at| scene.hold(who, at, true));
    }
    let friends = json!([{"from": [{"podSelector": {"matchLabels": {"pod": "friend"}}}]}]);
    scene.cluster.put(&only("p", "pod=server", friends));
    scene.hold_pod("stranger", "server", false);
    everywhere().for_each(|at| scene.hold("stranger", at, false));
    for family in Family::ALL {
        // Whose address is rewritten on the way is neither a friend nor the node that rewrites it.
        scene.hold("client", port("node-1", family), false);
        scene.hold("client", port("node-2", family), false);
        let direct = SocketAddr::new(scene.addr("server", family), PORT);
        scene.hold("node-1", direct, false);
        scene.hold("node-2", direct, true);
        scene.hold("friend", direct, true);
    }
    for vip in &vips {
        scene.hold("friend", *vip, true);
        scene.hold("node-1", *vip, false);
        scene.hold("node-2", *vip, true);
    }
}

/// Nothing gets in to or out of any pod: what is its node's goes on.
fn nodes(link: &str) {
    let scene = Scene::up(&["--pod-link", link]);
    let probed = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: probed}\nspec:\n  nodeName: node-1\n  \
        terminationGracePeriodSeconds: 0\n  containers:\n  - name: main\n    image: seaway/echo\n    \
        readinessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1, failureThreshold: 1}\n";
    scene.cluster.put(&only("in", "", json!([])));
    scene.cluster.put(&mute("out", ""));
    scene.start(probed, &["probed"]);
    scene.hold_pod("friend", "near", false);
    scene.hold_pod("friend", "server", false);
    for family in Family::ALL {
        // On the network of its node, a pod is the node; and a pod's own node is not forbidden to it.
        let host = SocketAddr::new(scene.addr("node-2", family), 7070);
        scene.hold("node-1", host, true);
        let own = SocketAddr::new(host.ip(), 7071);
        let server =
            |protocol| Server::start_at(&scene.netns("node-2"), protocol, &[own], "node-2");
        let servers = TCP_UDP.map(server);
        scene.hold("server", own, true);
        scene.hold("friend", own, false);
        drop(servers);
        scene.hold("friend", host, false);
        scene.hold("node-1", SocketAddr::new(scene.addr("friend", family), PORT), true);
        scene.hold("node-2", SocketAddr::new(scene.addr("friend", family), PORT), false);
    }
    errors(&scene);
}

/// What a pod that may be asked says of a closed port comes back.
fn errors(scene: &Scene) {
    let from = json!([{"from": [{"podSelector": {"matchLabels": {"pod": "friend"}}}]}]);
    scene.cluster.put(&only("errors", "pod=server", from));
    scene.cluster.remove(&mute("out", ""));
    scene.hold_pod("friend", "server", true);
    for family in Family::ALL {
        let to = SocketAddr::new(scene.addr("server", family), 9);
        eventually("a closed port is told", || {
            let question = Question { protocol: Protocol::Udp, to };
            match ask(&scene.netns("friend"), &[(question, true)])[..] {
                [Notice::Refused] => Ok(()),
                ref other => Err(other.to_vec()),
            }
        });
        let question = Question { protocol: Protocol::Udp, to };
        let stranger = ask(&scene.netns("stranger"), &[(question, false)]);
        assert_eq!(stranger, [Notice::Silence], "and to nobody else");
    }
}

//! What those may try who can write Services, who have a pod of their own, or who are on the nodes'
//! network: each attempt with real packets.

use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use model::Mac;

use crate::capture::{Capture, Where};
use crate::lab::{Lab, eventually, success, test, text};
use crate::services::stage::Place;
use crate::{manifests, processes};
use fixtures::frame::{send, udp};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s31_s32_nobody_takes_over_anothers_address_by_a_service", takeover),
        test("s6_s7_no_endpoint_by_hand_leads_to_what_is_every_nodes_own", deputies),
        test("s23_s41_nothing_comes_in_by_loopback_and_what_nobody_has_goes_nowhere", strays),
    ]
}

/// Who thieves would like to be.
const DNS: &str = "10.96.0.53";
const BALANCED: &str = "192.0.2.9";
const NODES: [&str; 2] = ["10.80.1.11", "10.80.1.12"];

/// `thief` (a pod on node-1), `victim` and `dns` (pods on node-2) with a Service each; the thief's is the
/// first by name. `shell` asks, from node-1.
fn stage(flags: &[&str]) -> Lab {
    let echo = |name: &str, node| {
        manifests::pod(name, node, "seaway/echo")
            .replace("}\nspec:", &format!(", labels: {{app: {name}}}}}\nspec:"))
    };
    let yaml = [
        echo("victim", "node-2"),
        echo("dns", "node-2"),
        echo("thief", "node-1"),
        manifests::pod("shell", "node-1", "seaway/shell"),
        service("victim", "type: LoadBalancer"),
        service("dns", &format!("clusterIP: {DNS}")),
    ];
    let flags = [&["--nodes", "2", "--ip-family", "ipv4"], flags].concat();
    let lab = Lab::up_with(&flags, &yaml.concat());
    balance(&lab, "victim", BALANCED);
    for (who, at) in [("dns", DNS), ("victim", BALANCED)] {
        eventually(who, || is(&ask(&lab, at, 80), who));
    }
    lab
}

/// A Service for the pod that is called the same.
fn service(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  \
         selector: {{app: {name}}}\n  ports: [{{port: 80, targetPort: 8080}}]\n"
    )
}

/// Has the status of a Service say that a load balancer has this address for it.
fn balance(lab: &Lab, name: &str, addr: &str) {
    let status = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{addr}"}}]}}}}}}"#);
    let patch = ["patch", "service", name, "--subresource=status", "--type=merge", "-p", &status];
    success(&lab.kubectl(&patch)).expect("give it an address");
}

/// Who answers a pod of node-1 there, if anybody does.
fn ask(lab: &Lab, at: &str, port: u16) -> Option<String> {
    let url = format!("http://{at}:{port}/");
    let said = success(&lab.exec("shell", &["curl", "-s", "-m2", &url])).ok()?;
    said.lines().find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
}

fn is(got: &Option<String>, want: &str) -> Result<(), String> {
    if got.as_deref() == Some(want) { Ok(()) } else { Err(format!("{got:?}")) }
}

/// T02, T22 (CVE-2020-8554): external IPs and addresses of load balancers that are somebody else's, as they
/// are honored by default and where an administrator allows any.
fn takeover() {
    for flags in [&[][..], &["--external-ips", "0.0.0.0/0"]] {
        let lab = stage(flags);
        // Which Service is the older one is known to the second.
        let created = ["get", "service", "dns", "-o", "jsonpath={.metadata.creationTimestamp}"];
        let created = text(&lab.kubectl(&created));
        eventually("the thief comes later", || {
            let now = text(&lab.node("node-1", &["date", "-u", "+%FT%TZ"]));
            if now > created { Ok(()) } else { Err(now) }
        });
        let victim = lab.pod_field("victim", "{.status.podIP}");
        let all = [DNS, NODES[0], NODES[1], &victim, BALANCED, "8.8.8.8"];
        let external = format!("type: LoadBalancer\n  externalIPs: [{}]", all.join(", "));
        // Its ports are those that the victims serve at.
        let thief = service("a-thief", &external).replace("app: a-thief", "app: thief");
        let both =
            "[{name: a, port: 80, targetPort: 8080}, {name: b, port: 8080, targetPort: 8080}]";
        lab.apply(&thief.replace("[{port: 80, targetPort: 8080}]", both));
        let own = "jsonpath={.spec.clusterIP}";
        let own = text(&lab.kubectl(&["get", "service", "a-thief", "-o", own]));
        eventually("the thief is a Service like any other", || is(&ask(&lab, &own, 80), "thief"));
        let untouched = |when: &str| {
            let is_allowed = !flags.is_empty();
            for (at, port, want) in [
                (DNS, 80, Some("dns")),
                (DNS, 8080, None),
                (&victim, 8080, Some("victim")),
                (&victim, 80, None),
                (BALANCED, 80, Some("victim")),
                (NODES[0], 80, None),
                (NODES[1], 8080, None),
                ("8.8.8.8", 80, is_allowed.then_some("thief")),
            ] {
                let got = ask(&lab, at, port);
                assert_eq!(got.as_deref(), want, "{when}: {at}:{port}, with {flags:?}");
            }
        };
        untouched("external IPs");
        let rejected = text(&lab.node("node-1", &["seaway", "dump", "rejected"]));
        for addr in [DNS, NODES[0], &victim] {
            let named =
                rejected.lines().any(|line| line.contains("a-thief") && line.contains(addr));
            assert!(named, "{addr} is not told of: {rejected}");
        }
        // The status of a Service is not everybody's to write; whoever may takes nothing over either.
        for addr in [DNS, &victim, BALANCED] {
            balance(&lab, "a-thief", addr);
            eventually("the status has arrived", || {
                let rejected = text(&lab.node("node-1", &["seaway", "dump", "rejected"]));
                let line = |line: &str| line.contains("a-thief") && line.contains(addr);
                if rejected.lines().any(line) { Ok(()) } else { Err(rejected) }
            });
            untouched(addr);
        }
    }
}

/// T03 (CVE-2021-25737, CVE-2021-25740): endpoints by hand at addresses that every node has, or that mean
/// something special, are left out; those at a node's or a pod's address are served, as by everybody, and
/// reach nothing that the client could not reach itself.
fn deputies() {
    let lab = stage(&[]);
    // What a node serves for itself alone: who could ask it through a Service would be taken for the node.
    let own = "setsid sh -c 'while :; do echo secret | nc -N -l 127.0.0.1 8080; done' >/dev/null 2>&1 & \
               setsid sh -c 'while :; do echo secret | nc -N -l ::1 8080; done' >/dev/null 2>&1 &";
    success(&lab.node("node-1", &["sh", "-c", own])).expect("listen on loopback");
    let special =
        ["127.0.0.1", "127.8.9.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "255.255.255.255"];
    let victim = lab.pod_field("victim", "{.status.podIP}");
    let slice = |name: &str, addrs: &[&str]| {
        let endpoints: String =
            addrs.iter().map(|addr| format!("- {{addresses: [{addr}]}}\n")).collect();
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
             labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\n\
             ports: [{{name: '', port: 8080, protocol: TCP}}]\nendpoints:\n{endpoints}"
        )
    };
    let deputy =
        |name: &str| service(name, "").replace(&format!("  selector: {{app: {name}}}\n"), "");
    for addr in special {
        // The API refuses what Kubernetes' own does; what it lets in has to be harmless.
        let file = manifests::write(&lab.dir().join("files"), &slice("special", &[addr]));
        drop(lab.kubectl(&["apply", "-f", &file]));
    }
    lab.apply(&[deputy("special"), deputy("pods"), slice("pods", &[&victim, NODES[1]])].concat());
    let at = |name: &str| {
        text(&lab.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]))
    };
    let (special_ip, pods_ip) = (at("special"), at("pods"));
    eventually("a pod of others is reached as it would be without the Service", || {
        is(&ask(&lab, &pods_ip, 80), "victim")
    });
    let elements =
        text(&lab.node("node-1", &["nft", "list", "map", "inet", "seaway", "cluster_slots4"]));
    for addr in special {
        assert!(!elements.contains(&format!(": {addr} . ")), "{addr} is an endpoint: {elements}");
    }
    for _ in 0..5 {
        let get = ["curl", "-sS", "-m2", &format!("http://{special_ip}/")];
        for said in [lab.exec("shell", &get), lab.node("node-1", &get), lab.client(&get)] {
            assert!(!said.status.success() && !text(&said).contains("secret"), "{said:?}");
        }
    }
    lab.node("node-1", &["pkill", "-f", "nc -N -l"]);
}

/// T01, T22, T08: what is for 127.0.0.1 from a neighbor of the node is dropped and no node port is open
/// there; packets to addresses in the ranges of Services that nobody has, and to ports that no Service opens,
/// do not wander between hosts.
fn strays() {
    let lab = stage(&[]);
    let (name, path) = ("victim", "jsonpath={.spec.ports[0].nodePort}");
    let node_port = text(&lab.kubectl(&["get", "service", name, "-o", path]));
    let port: u16 = node_port.parse().expect("a node port");
    for node in NODES {
        eventually("the node port is open", || {
            success(&lab.client(&["curl", "-sf", "-m2", &format!("http://{node}:{port}/")]))
        });
    }
    let routes = "cat /proc/sys/net/ipv4/conf/*/route_localnet | sort -u";
    assert_eq!(text(&lab.node("node-1", &["sh", "-c", routes])), "0");
    for local in ["127.0.0.1", "127.0.0.53"] {
        let get = ["curl", "-s", "-m1", &format!("http://{local}:{port}/")];
        assert!(!lab.node("node-1", &get).status.success(), "a node port is open at {local}");
    }
    // A neighbor on the nodes' own link, by its hardware address.
    let mac = |node: &str| -> Mac {
        let read = ["cat", "/sys/class/net/eth0/address"];
        text(&lab.node(node, &read)).parse().expect("a hardware address")
    };
    let (from, to) = (mac("node-2"), mac("node-1"));
    let node = processes::in_role(&lab, "node").into_iter().find(|node| node.is_for("node-2"));
    let node = node.expect("the node's process").pid;
    let ip = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let arrived = Capture::start(&lab, Where::Node("node-1"), "lo", 1, &format!("udp port {port}"));
    let frames: Vec<Vec<u8>> = [("10.80.1.12", "127.0.0.1"), ("127.0.0.1", NODES[0])]
        .into_iter()
        .map(|(source, target)| udp((from, to), (ip(source), ip(target)), port, b"stray"))
        .collect();
    send(node, "eth0", &frames);
    assert_eq!(arrived.lines(), Vec::<String>::new(), "it came in by loopback");
    unallocated(&lab);
}

/// One packet each to what nobody has: from outside each comes in once and goes nowhere, from a pod none
/// leaves the node.
fn unallocated(lab: &Lab) {
    let route = |host: &str, net: &str, via: &str| {
        let words = ["--", "ip", "route", "replace", net, "via", via];
        let routed = lab.seaway(&["lab", host]).args(words).output();
        success(&routed.expect("start seaway lab")).expect("route it to a node");
    };
    // As a network would that leads the cluster's ranges to a node: what the node sends back comes again.
    for net in ["10.96.0.0/16", BALANCED] {
        route("router", net, NODES[0]);
        route("client", net, "198.51.100.1");
    }
    let targets = ["10.96.99.99", DNS, NODES[0], BALANCED];
    let wire = || Capture::start(lab, Where::Node("node-1"), "eth0", 20, "udp and dst port 32123");
    // The balancer may have ports that are not the cluster's, so a pod's packet goes there, and comes back.
    for (from, times) in [("client", [1, 1, 1, 1]), ("shell", [0, 0, 0, 2])] {
        let wire = wire();
        let send = || -> std::io::Result<()> {
            for target in targets {
                let server = SocketAddr::new(target.parse().expect("an address"), 32123);
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                socket.send_to(b"stray", server)?;
            }
            Ok(())
        };
        let sent = Place::find(lab, from).netns.run(send).expect("enter the namespace");
        sent.expect("send it");
        let seen = wire.lines();
        for (target, times) in targets.into_iter().zip(times) {
            let count =
                seen.iter().filter(|line| line.contains(&format!("> {target}.32123"))).count();
            assert_eq!(count, times, "to {target} from {from}: {seen:?}");
        }
    }
}

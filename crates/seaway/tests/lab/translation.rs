//! What is seen on the wire: no translation between pods, the node's address outside.

use libtest_mimic::Trial;

use crate::capture::{Capture, Where};
use crate::lab::{Lab, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        test("tcpdump_sees_no_translation_between_pods_routed_directly", || {
            no_translation("direct")
        }),
        test("tcpdump_sees_no_translation_between_pods_inside_vxlan", || no_translation("vxlan")),
        test("outside_sees_the_node_and_never_the_pod", masqueraded),
    ];
    for link in ["routed", "bridge"] {
        for subnets in ["1", "2"] {
            let name = format!(
                "a_host_port_leads_to_its_pod_and_captures_nothing_else_{link}_subnets_{subnets}"
            );
            trials.push(test(&name, move || host_port(link, subnets)));
        }
    }
    trials
}

/// tcpdump on the receiving node's underlay, while the client's pod talks to the server's.
fn no_translation(routing: &str) {
    let lab = Lab::up_with(&["--nodes", "2", "--routing", routing], &manifests::pair());
    let (client, server) = (ip(&lab, "client"), ip(&lab, "server"));
    let filter = if routing == "vxlan" { "udp port 8472" } else { "tcp port 8080" };
    let dump = Capture::start(&lab, Where::Node("node-2"), "eth0", 8, filter);
    let got = lab.exec("client", &["curl", "-sf", &format!("http://{server}:8080/")]);
    let body = success(&got).expect("the server answers");
    assert!(body.contains(&client), "the server saw someone else: {body}");
    let lines = dump.lines();
    let inner: Vec<&String> = lines.iter().filter(|l| l.contains(".8080")).collect();
    assert!(!inner.is_empty(), "nothing captured: {lines:?}");
    for line in inner {
        assert!(
            line.contains(&format!("{client}.")) && line.contains(&format!("{server}.8080")),
            "{line}"
        );
    }
}

/// A packet from a pod to the host outside carries the node's address, and the answer comes back.
fn masqueraded() {
    let lab = Lab::up_with(&["--nodes", "2"], &manifests::pair());
    let node = text(&lab.kubectl(&[
        "get",
        "node",
        "node-1",
        "-o",
        "jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}",
    ]));
    let node = node.split_whitespace().next().unwrap_or_default().to_owned();
    let filter = "icmp and host 203.0.113.10";
    let dump = Capture::start(&lab, Where::Node("node-1"), "eth0", 2, filter);
    let ping = lab.exec("client", &["ping", "-c", "1", "-W", "3", "203.0.113.10"]);
    assert!(ping.status.success(), "{}", lab.told(&ping));
    let lines = dump.lines();
    assert!(lines.iter().any(|l| l.contains(&format!("{node} > 203.0.113.10"))), "{lines:?}");
    assert!(!lines.iter().any(|l| l.contains(&ip(&lab, "client"))), "a pod got out: {lines:?}");
}

/// A hostPort: reached at the node's address from outside, another node and the node itself, across
/// a router as well, under strict reverse path filters; ports of others are not captured
/// (CVE-2019-9946, CVE-2025-67499).
fn host_port(link: &str, subnets: &str) {
    let flags = ["--nodes", "2", "--pod-link", link, "--subnets", subnets];
    let lab = Lab::up_with(&flags, &manifests::pair());
    lab.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: front}\nspec:\n  nodeName: node-1\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: seaway/echo\n    \
         ports: [{containerPort: 8080, hostPort: 9090}]\n",
    );
    let wait = ["wait", "--for=condition=Ready", "pod/front", "--timeout=30s"];
    success(&lab.kubectl(&wait)).expect("the pod is ready");
    for node in ["10.80.1.11", "[fd00:80:1::11]"] {
        let get = ["curl", "-sf", "-m", "5", &format!("http://{node}:9090/")];
        for (from, output) in [
            ("outside", lab.client(&get)),
            ("the other node", lab.node("node-2", &get)),
            ("the node itself", lab.node("node-1", &get)),
            ("a pod of the node", lab.exec("client", &get)),
            ("a pod of the other node", lab.exec("server", &get)),
            ("the pod itself", lab.exec("front", &get)),
        ] {
            let body = success(&output).unwrap_or_else(|e| panic!("{node} from {from}: {e}"));
            assert!(body.contains("front"), "{node} from {from}: {body}");
        }
    }
    // The server listens on TCP 9090 itself: a pod's own port is not the node's.
    let direct = format!(
        "exec 3<>/dev/tcp/{}/9090; echo hi >&3; read -t 3 line <&3; echo $line",
        ip(&lab, "server")
    );
    let answer =
        success(&lab.exec("client", &["bash", "-c", &direct])).expect("the server answers");
    assert!(!answer.contains("front"), "captured: {answer}");
}

fn ip(lab: &Lab, pod: &str) -> String {
    lab.pod_field(pod, "{.status.podIP}")
}

//! What is seen on the wire: no translation between pods, the node's address outside.

use libtest_mimic::Trial;

use crate::capture::{Capture, Where};
use crate::lab::{Lab, success, test, text};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("tcpdump_sees_no_translation_between_pods_routed_directly", || {
            no_translation("direct")
        }),
        test("tcpdump_sees_no_translation_between_pods_inside_vxlan", || no_translation("vxlan")),
        test("outside_sees_the_node_and_never_the_pod", masqueraded),
        test("a_host_port_leads_to_its_pod_and_captures_nothing_else", host_port),
    ]
}

/// tcpdump on the receiving node's underlay, while the client's pod talks to the server's.
fn no_translation(routing: &str) {
    let lab = pair(&["--nodes", "2", "--routing", routing]);
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
    let lab = pair(&["--nodes", "2"]);
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

/// hostPort 53 of a pod: reached at the node's address from outside, another node and the node itself;
/// port 53 of others is not captured (CVE-2019-9946, CVE-2025-67499).
fn host_port() {
    let lab = pair(&["--nodes", "2"]);
    lab.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: front}\nspec:\n  nodeName: node-1\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: seaway/echo\n    \
         ports: [{containerPort: 8080, hostPort: 9090}]\n",
    );
    let wait = ["wait", "--for=condition=Ready", "pod/front", "--timeout=30s"];
    success(&lab.kubectl(&wait)).expect("the pod is ready");
    let get = ["curl", "-sf", "-m", "5", "http://10.80.1.11:9090/"];
    for (from, output) in [
        ("outside", lab.client(&get)),
        ("the other node", lab.node("node-2", &get)),
        ("the node itself", lab.node("node-1", &get)),
        ("a pod of the node", lab.exec("client", &get)),
        ("a pod of the other node", lab.exec("server", &get)),
        ("the pod itself", lab.exec("front", &get)),
    ] {
        let body = success(&output).unwrap_or_else(|e| panic!("from {from}: {e}"));
        assert!(body.contains("front"), "from {from}: {body}");
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

fn pair(flags: &[&str]) -> Lab {
    let mut lab = Lab::new();
    let file = manifests::write(&lab.dir().with_extension("files"), &manifests::pair());
    let output = lab.try_up(&[flags, &["-f", &file]].concat());
    assert!(output.status.success(), "lab up: {}", lab.told(&output));
    lab
}

fn ip(lab: &Lab, pod: &str) -> String {
    lab.pod_field(pod, "{.status.podIP}")
}

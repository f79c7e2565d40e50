//! What a node says of packets that policies drop.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fixtures::policies::definition::definitions;
use libtest_mimic::Trial;
use model::{Family, Protocol};
use serde_json::{Value, json};

use super::ask::{Notice, Question, ask};
use super::flows::Flow;
use super::scene::{PORT, Scene, TCP_UDP, only};
use crate::lab::{eventually, success, test};
use crate::service_stories::ask_agent;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("npx4_every_drop_can_be_read_with_both_ends_and_who_decided", told),
        test("npx4_what_is_dropped_can_be_followed_and_across_agents", followed),
        test("npx4_a_reply_that_is_dropped_is_told_as_its_connection", replies),
        test("npx3_an_audited_policy_drops_nothing_and_tells_what_it_would_drop", audited),
    ]
}

/// `server` lets in nobody, `near` may not speak with `friend`.
const POLICIES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: shut}
spec: {podSelector: {matchLabels: {pod: server}}, ingress: []}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: stay}
spec: {podSelector: {matchLabels: {pod: stranger}}, policyTypes: [Egress]}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: wall}
spec:
  tier: Admin
  priority: 1
  subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: friend}}}}
  ingress:
  - {action: Accept, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: x}}}}]}
  - {action: Deny, from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {pod: near}}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {pod: server}
  ports:
  - {name: tcp, protocol: TCP, port: 90, targetPort: 9090}
  - {name: udp, protocol: UDP, port: 90, targetPort: 9090}
";

impl Scene {
    fn ask(&self, from: &str, to: SocketAddr) {
        let questions = TCP_UDP.map(|protocol| (Question { protocol, to }, false));
        let notices = ask(&self.netns(from), &questions);
        assert!(notices.iter().all(|one| *one == Notice::Silence), "{from} to {to}: {notices:?}");
    }

    /// What `node` has dropped, as programs read it, with more arguments.
    fn dropped(&self, node: &str, more: &[&str]) -> Vec<Value> {
        let argv = [&["seaway", "policy", "drops", "-o", "json"], more].concat();
        let said = success(&self.lab.node(node, &argv)).expect("the agent says it");
        said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Waits for a line of `node`, in both protocols.
    fn says(&self, node: &str, (from, to): (&str, SocketAddr), why: [&str; 2]) {
        for protocol in TCP_UDP {
            self.says_of(node, (&protocol.to_string(), from, to), why);
        }
    }

    /// The same in one protocol.
    fn says_of(&self, node: &str, (protocol, from, to): (&str, &str, SocketAddr), why: [&str; 2]) {
        eventually(&format!("{node} says {protocol} {from} > {to} {why:?}"), || {
            let lines = self.dropped(node, &[]);
            let is_it = |line: &&Value| {
                let text = line["text"].as_str().unwrap_or_default();
                line["protocol"] == *protocol
                    && line["client"]["pod"] == format!("default/{from}")
                    && line["server"]["address"] == json!(to.ip())
                    && line["server"]["port"] == to.port()
                    && why.iter().all(|part| text.contains(part))
            };
            lines.iter().find(is_it).map(drop).ok_or(lines)
        });
    }
}

fn told() {
    let scene = Scene::up(&[]);
    definitions().iter().for_each(|definition| scene.cluster.put(definition));
    let kind = "crd/clusternetworkpolicies.policy.networking.k8s.io";
    scene.kubectl(&format!("wait --for=condition=Established {kind} --timeout=30s"));
    scene.lab.apply(POLICIES);
    let vip = |family: usize| {
        let path = format!("get service web -o jsonpath={{.spec.clusterIPs[{family}]}}");
        SocketAddr::new(scene.kubectl(&path).parse().expect("an address"), 90)
    };
    let vips = [vip(0), vip(1)];
    for family in Family::ALL {
        let at = |pod: &str| SocketAddr::new(scene.addr(pod, family), PORT);
        scene.hold("friend", at("server"), false);
        scene.hold("near", at("friend"), false);
        scene.hold("stranger", at("near"), false);
        let vip = vips.into_iter().find(|vip| Family::of(vip.ip()) == family).expect("a VIP");
        scene.hold("stranger", vip, false);
        scene.ask("near", vip);
        let shut = [
            "dropped ingress",
            "not-allowed: no NetworkPolicy allows it; isolated by default/shut",
        ];
        let stay =
            ["dropped egress", "not-allowed: no NetworkPolicy allows it; isolated by default/stay"];
        let wall = ["dropped ingress", "denied: Admin ClusterNetworkPolicy wall rule 1 denies it"];
        scene.says("node-2", ("friend", at("server")), shut);
        scene.says("node-1", ("near", at("friend")), wall);
        // The endpoint, not the Service's address.
        scene.says("node-2", ("near", at("server")), shut);
        scene.says("node-1", ("stranger", at("server")), stay);
    }
    let of_near = scene.dropped("node-1", &["--pod", "near"]);
    let is_near = |end: &Value| end["pod"] == "default/near";
    assert!(of_near.iter().all(|line| is_near(&line["client"]) || is_near(&line["server"])));
    assert!(of_near.iter().any(|line| line["tier"] == "Admin" && line["rule"] == 1), "{of_near:?}");
    assert_eq!(scene.dropped("node-1", &["-n", "kube-system"]), [Value::Null; 0]);
    counted(&scene);
    // The next agents go on.
    scene.kill_agents();
    let to = SocketAddr::new(scene.addr("server", Family::V4), PORT);
    eventually("the next agent is told", || {
        let question = Question { protocol: Protocol::Udp, to };
        ask(&scene.netns("friend"), &[(question, false)]);
        let lines = scene.dropped("node-2", &["--pod", "friend"]);
        if lines.is_empty() { Err("nothing yet") } else { Ok(()) }
    });
}

/// What `seaway policy drops --follow` of node-2 says.
struct Following {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Following {
    fn start(scene: &Scene, who: &str) -> Following {
        let mut command = scene.lab.seaway(&["lab", "node"]);
        let argv = ["seaway", "policy", "drops", "--follow", "-o", "json", "--pod", who];
        command.args(["node-2", "--", "timeout", "120"]).args(argv).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start seaway lab node");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("JSON");
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Following { child, lines }
    }

    fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The same question again and again: it is told when it is dropped first, when there are more, and by the
/// next agent.
fn followed() {
    let scene = Scene::up(&[]);
    scene.cluster.put(&only("shut", "pod=server", json!([])));
    scene.hold_pod("friend", "server", false);
    let following = Following::start(&scene, "friend");
    let to = SocketAddr::new(scene.addr("server", Family::V4), PORT);
    let question = [(Question { protocol: Protocol::Udp, to }, false)];
    let netns = scene.netns("friend");
    let hears = |what: &str, is_it: &dyn Fn(&Value) -> bool| -> Value {
        eventually(what, || {
            ask(&netns, &question);
            let lines = following.lines();
            let mut udp = lines.iter().filter(|line| line["protocol"] == "udp");
            udp.find(|line| line["server"]["address"] == json!(to.ip()) && is_it(line))
                .cloned()
                .ok_or(lines)
        })
    };
    let first = hears("a drop is told", &|_| true);
    let packets = |line: &Value| line["packets"].as_u64().expect("a number");
    let more = hears("more of it are told", &|line| {
        line["number"] == first["number"] && packets(line) > packets(&first)
    });
    assert_eq!(more["time"], first["time"]);
    scene.kill_agents();
    let began = |line: &Value| line["time"].as_str().expect("a time").to_owned();
    hears("the next agent's are told", &|line| began(line) > began(&first));
}

/// A client may go on while policies change and what its server says is not let through: an error of its
/// connection is nobody's, and what the server says is of the connection that its client began.
fn replies() {
    let scene = Scene::up(&[]);
    let at = SocketAddr::new(scene.addr("server", Family::V4), 5000);
    let mut flow = Flow::open(&scene, "friend", "server", Protocol::Udp, at);
    assert!(flow.says(0, 0) && flow.says(1, 0));
    scene.cluster.put(&only("shut", "pod=server", json!([])));
    scene.hold_pod("friend", "server", false);
    assert!(!flow.says(1, 1), "the server is not heard any more");
    scene.says_of(
        "node-2",
        ("udp", "friend", at),
        ["dropped ingress", "not-allowed: no NetworkPolicy allows it; isolated by default/shut"],
    );
}

/// A policy that lets in nobody is tried out, enforced, and tried out again with its namespace.
fn audited() {
    let scene = Scene::up(&[]);
    let shut = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: shut\n  \
        annotations: {seaway.io/policy-audit: 'true'}\nspec: {podSelector: {matchLabels: {pod: server}}}\n";
    scene.lab.apply(shut);
    let would = [
        "audit ingress",
        "would-not-allowed: no NetworkPolicy allows it; isolated by default/shut",
    ];
    for family in Family::ALL {
        let server = SocketAddr::new(scene.addr("server", family), PORT);
        for protocol in TCP_UDP {
            eventually("what would be dropped is told, and answered", || {
                let question = Question { protocol, to: server };
                assert_eq!(ask(&scene.netns("friend"), &[(question, true)]), [Notice::Answer]);
                let of_friend = |line: &&Value| {
                    line["verdict"] == "audit"
                        && line["protocol"] == protocol.to_string()
                        && line["server"]["address"] == json!(server.ip())
                };
                let lines = scene.dropped("node-2", &["--pod", "friend"]);
                lines.iter().find(of_friend).map(drop).ok_or(lines)
            });
        }
        scene.says("node-2", ("friend", server), would);
    }
    let show = ["seaway", "policy", "show", "server"];
    let said = success(&scene.lab.node("node-2", &show)).expect("it is shown");
    assert!(said.contains("ingress: not isolated\n"), "{said}");
    assert!(said.contains("audited: NetworkPolicy default/shut\n"), "{said}");
    assert!(said.contains("audit ingress: isolated by default/shut\n"), "{said}");
    let trace = ["seaway", "policy", "trace", "friend", "server", "tcp/9090"];
    let said = success(&scene.lab.node("node-2", &trace)).expect("it is traced");
    assert!(said.contains("audit: ingress would be dropped: no NetworkPolicy allows it"), "{said}");
    scene.kubectl("annotate netpol/shut seaway.io/policy-audit-");
    scene.hold_pod("friend", "server", false);
    scene.kubectl("label namespace default seaway.io/policy-audit=true");
    scene.hold_pod("friend", "server", true);
    // What nobody can read is no audit, and its own word counts before that of its namespace.
    scene.kubectl("annotate netpol/shut seaway.io/policy-audit=yes");
    scene.hold_pod("friend", "server", false);
    let rejected = success(&scene.lab.node("node-2", &["seaway", "dump", "rejected"]));
    let wanted = "NetworkPolicy default/shut: metadata.annotations[seaway.io/policy-audit]: \"yes\" is none of \
                  \"true\", \"false\"; it is enforced";
    assert!(rejected.as_ref().is_ok_and(|said| said.contains(wanted)), "{rejected:?}");
}

/// The kernel's own numbers.
fn counted(scene: &Scene) {
    let argv = ["seaway", "dump", "policy", "server", "-o", "json"];
    let said = success(&scene.lab.node("node-2", &argv)).expect("the agent says it");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let dropped = said["ingress"]["droppedPackets"].as_u64().expect("it is counted");
    assert!(dropped >= 4, "{said}");
    assert_eq!(said["egress"]["droppedPackets"], Value::Null);
    let argv = ["seaway", "dump", "policy", "friend", "-o", "json"];
    let said = success(&scene.lab.node("node-1", &argv)).expect("the agent says it");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let packets = |rule: usize| said["ingress"]["rules"][rule]["packets"].as_u64();
    assert!(packets(0) == Some(0) && packets(1) >= Some(4), "{said}");
    let text = ask_agent(&scene.lab, "node-2", "metrics").expect("metrics");
    let wanted = "seaway_policy_drops_total{reason=\"not-allowed\",direction=\"ingress\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(wanted)).expect(wanted);
    assert!(line.parse::<u64>().expect("a number") >= dropped, "{line}");
}

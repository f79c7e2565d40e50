//! Which Services and endpoints count, and when anything may be taken away.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libtest_mimic::Trial;
use model::{Family, Protocol};

use super::ask::{Notice, ask};
use super::endpoints::{slice, slices};
use super::serve::Server;
use super::stage::{ANSWER, PORT, Stage, service};
use super::table::{ALL, Over, TCP, TCP_UDP};
use crate::lab::{eventually, success, test, text};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s1_s2_a_service_without_a_cluster_ip_or_of_another_proxy_opens_nothing", not_ours),
        test("s2_s3_s6_endpoints_are_those_of_slices_by_port_name_and_protocol", matching),
        test("s99_a_node_says_where_packets_go_and_why_not_elsewhere", explained),
        test("s4_endpoints_move_between_slices_without_a_gap", moving),
        test("s7_endpoints_outside_of_every_pod_cidr_serve", outside),
        test("s8_pods_reach_the_api_server_by_its_service_and_the_agent_does_not_need_to", api),
        test("s9_nothing_is_taken_away_before_everything_is_listed", unlisted),
    ]
}

/// Headless, ExternalName, somebody else's; the label that says so comes and goes.
fn not_ours() {
    let stage = Stage::up(&[]);
    let external = "  externalIPs: [192.0.2.201, '2001:db8:77::201']\n";
    let headless = service("headless", "app: web", &["  clusterIP: None\n", external].concat());
    let named = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: named}}\nspec:\n  type: ExternalName\n  \
         externalName: example.org\n  selector: {{app: web}}\n  ports: [{{name: tcp, port: 80}}]\n{external}"
    );
    stage.lab.apply(&[headless, named, service("web", "app: web", external)].concat());
    let web = "pod-1 | cluster | web-1 web-2 | itself\n client | external | web-1 web-2 | node-1";
    stage.check("web", ALL, web);
    let frontends = stage.frontends("web");
    let label = |words: &str| {
        let label = format!("service.kubernetes.io/service-proxy-name{words}");
        stage.kubectl(&["label", "service", "web", &label]);
    };
    label("=another");
    // Now nobody has its addresses: not the headless Service and not the name.
    stage.check_at(&frontends, ALL, "pod-1 | cluster | silence\n node-2 | cluster | silence");
    stage.check_at(&frontends, TCP, "client | external | silence");
    label("-");
    stage.check("web", ALL, web);
}

/// Endpoints are nothing, slices are all: of the Service by label, by port name and protocol.
fn matching() {
    let stage = Stage::up(&[]);
    let addr = |name: &str, family| stage.at(name).addr(family).to_string();
    let v4 = addr("web-1", Family::V4);
    let mirrored = format!(
        "---\napiVersion: v1\nkind: Endpoints\nmetadata:\n  name: old\n  \
         labels: {{endpointslice.kubernetes.io/skip-mirror: 'true'}}\n\
         subsets: [{{addresses: [{{ip: {v4}}}], ports: [{{name: tcp, port: {PORT}}}]}}]\n"
    );
    let two = Family::ALL.map(|family| {
        let [first, second] = ["web-2", "web-1"].map(|name| addr(name, family));
        slice("first", "all", family, PORT, &format!("- {{addresses: ['{first}', '{second}']}}"))
    });
    let other_port = slices(&stage, "renamed", "all", "web-1").replace("name: tcp", "name: http");
    let headless = slices(&stage, "web", "headless", "web-2")
        .replace("labels: {", "labels: {service.kubernetes.io/headless: '', ");
    let fqdn = slices(&stage, "web", "fqdn", "").replace("addressType: IPv4", "addressType: FQDN");
    let fqdn = fqdn.split("---\n").nth(1).unwrap_or_default();
    let fqdn = fqdn.replace("  []", "- {addresses: [web.example.org]}");
    let portless =
        slices(&stage, "portless", "all", "web-1").replace(&format!(", port: {PORT}"), "");
    let objects = [
        mirrored,
        portless,
        service("portless", "", ""),
        two.concat(),
        other_port,
        headless,
        format!("---\n{fqdn}"),
        slices(&stage, "web", "all", "web-1"),
        service("old", "", ""),
        service("first", "", ""),
        service("renamed", "", ""),
        service("web", "", ""),
    ];
    stage.lab.apply(&objects.concat());
    stage.check("web", ALL, "pod-1 | cluster | web-1 | itself\n client | cluster | web-1 | node-1");
    stage.check("first", ALL, "pod-1 | cluster | web-2 | itself");
    stage.check("old", TCP, "pod-1 | cluster | refused");
    stage.check("renamed", TCP, "pod-1 | cluster | refused");
    stage.check("portless", TCP, "pod-1 | cluster | refused");
    let udp = Over { protocols: &[Protocol::Udp, Protocol::Sctp], ..TCP };
    stage.check("renamed", udp, "pod-1 | cluster | web-1 | itself");
    // A slice that changes hands.
    stage.kubectl(&[
        "label",
        "endpointslice",
        "first-all-ipv4",
        "first-all-ipv6",
        "kubernetes.io/service-name=old",
        "--overwrite",
    ]);
    stage.check("old", ALL, "pod-1 | cluster | web-2 | itself");
    stage.check("first", ALL, "pod-1 | cluster | refused");
}

/// The same address in one slice, in both, in the other; the new one first or the old one last.
fn moving() {
    let stage = Stage::up(&[]);
    let [a, b] = ["a", "b"].map(|part| slices(&stage, "web", part, "web-1 web-2"));
    stage.lab.apply(&[service("web", "", ""), a.clone()].concat());
    stage.check("web", TCP_UDP, "pod-1 | cluster | web-1 web-2 | itself");
    let frontends = stage.frontends("web");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut clients = Vec::new();
        for (family, protocol) in
            Family::ALL.into_iter().flat_map(|f| [(f, Protocol::Tcp), (f, Protocol::Udp)])
        {
            let to = frontends.at("cluster", family, protocol);
            let (stage, done) = (&stage, &done);
            clients.push(scope.spawn(move || {
                let mut asked = 0;
                while !done.load(Ordering::Relaxed) || asked < 100 {
                    let noticed = asks_anew(stage, protocol, to, asked);
                    let answered = matches!(noticed, Notice::Answer { .. });
                    assert!(answered, "{protocol} {to} after {asked}: {noticed:?}");
                    asked += 1;
                }
            }));
        }
        let delete = |part: &str| {
            let names = Family::ALL.map(|family| format!("web-{part}-{family}"));
            stage.kubectl(&["delete", "endpointslice", &names[0], &names[1]]);
        };
        let half = slices(&stage, "web", "a", "web-2");
        for _ in 0..3 {
            stage.lab.apply(&b);
            delete("a");
            stage.lab.apply(&a);
            stage.lab.apply(&half);
            delete("b");
            stage.lab.apply(&a);
        }
        done.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("every question is answered"));
    });
    stage.check("web", TCP_UDP, "pod-1 | cluster | web-1 web-2 | itself");
}

/// What pod-1 notices, asking for the time `asked`. Over UDP it asks from a port that it has not used for longer than the
/// kernel remembers: an entry that was answered before goes at once with its endpoint, and so does what was asked
/// again in that moment (docs/decisions/0020).
fn asks_anew(stage: &Stage, protocol: Protocol, to: SocketAddr, asked: u32) -> Notice {
    if protocol != Protocol::Udp {
        return stage.hears("pod-1", protocol, to);
    }
    let pod = stage.at("pod-1");
    let port = u16::try_from(10_000 + asked % 50_000).expect("a port");
    let from = SocketAddr::new(pod.addr(Family::of(to.ip())), port);
    pod.netns.run(|| ask(protocol, Some(from), to, ANSWER)).expect("enter the client's network")
}

/// A host outside of the cluster, named by hand, in both families.
fn outside() {
    let stage = Stage::up(&[]);
    let _servers = [Protocol::Tcp, Protocol::Udp]
        .map(|protocol| Server::start(&stage.at("internet").netns, protocol, PORT, "database"));
    let addrs = slices(&stage, "web", "all", "203.0.113.10 2001:db8:1::10");
    stage.lab.apply(&[service("web", "", "  type: NodePort\n"), addrs].concat());
    stage.check(
        "web",
        TCP_UDP,
        "pod-1  | cluster | database | node-1
         node-2 | cluster | database | itself
         client | node-2  | database | node-2
         pod-2  | node-2  | database | node-2",
    );
}

/// `default/kubernetes`, with other people's clients and the pod's own account.
fn api() {
    let stage = Stage::up(&[]);
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let curl = format!(
        "curl -sf -m 5 --cacert {account}/ca.crt -H \"Authorization: Bearer $(cat {account}/token)\" \
         https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version"
    );
    for pod in ["pod-1", "pod-2"] {
        for script in [&*curl, "kubectl get --raw /version"] {
            eventually(&format!("{pod}: {script}"), || {
                let said = success(&stage.lab.exec(pod, &["sh", "-c", script]))?;
                if said.contains("gitVersion") { Ok(()) } else { Err(said) }
            });
        }
    }
    let connections = stage.lab.node("node-1", &["ss", "-Htn", "state", "established"]);
    let connections = text(&connections);
    assert!(connections.contains("10.80.0.2:6443"), "{connections}");
    assert!(!connections.contains("10.96.0.1"), "{connections}");
}

/// An agent that starts while the API server can't be reached leaves everything as it was.
fn unlisted() {
    let stage = Stage::up(&[]);
    stage.lab.apply(&service("web", "app: web", "  type: NodePort\n"));
    let table = "pod-1  | cluster | web-1 web-2 | itself
                 node-1 | cluster | web-1 web-2 | itself
                 client | node-1  | web-1 web-2 | node-1";
    stage.check("web", ALL, table);
    let frontends = stage.frontends("web");
    let fault = |words: &[&str]| {
        let output = stage.lab.seaway(&[&["lab"], words].concat()).output();
        success(&output.expect("start seaway lab")).expect("a fault");
    };
    fault(&["cut", "control"]);
    let killed = stage.lab.node("node-1", &["pkill", "-9", "-f", "seaway agent"]);
    assert!(killed.status.success(), "{}", stage.lab.told(&killed));
    let agent = ["curl", "-sf", "--unix-socket", "/run/seaway/agent.sock", "http://agent/metrics"];
    eventually("the agent is there, and has tried", || {
        let metrics = success(&stage.lab.node("node-1", &agent))?;
        let is_down = metrics.contains("seaway_kube_watch_up{kind=\"services\"} 0");
        if is_down { Ok(()) } else { Err(metrics) }
    });
    stage.check_at(&frontends, ALL, table);
    fault(&["heal", "control"]);
    let ready = ["curl", "-sf", "--unix-socket", "/run/seaway/agent.sock", "http://agent/readyz"];
    eventually("the agent is ready", || success(&stage.lab.node("node-1", &ready)));
    stage.check("web", ALL, table);
}

/// What the dump says of each endpoint is what packets do.
fn explained() {
    let stage = Stage::up(&["--zones", "2"]);
    let near = "web-1:zone=lab-zone-1 web-2:zone=lab-zone-2 pod-2:terminating";
    let local = "  type: NodePort\n  externalTrafficPolicy: Local\n";
    stage.lab.apply(&[service("web", "", local), slices(&stage, "web", "all", near)].concat());
    stage.check("web", TCP, "pod-1 | cluster | web-1 | itself\n client | node-2 | web-2 | itself");
    let addr = |pod: &str| format!("{}:{PORT} ", stage.at(pod).addr(Family::V4));
    for (pod, why) in [
        ("web-1", "cluster: yes; local: yes"),
        ("web-2", "cluster: no, hinted for other zones; local: no, on another node"),
        ("pod-2", "cluster: no, terminating, and others are ready; local: no, on another node"),
    ] {
        // What is dumped is what the last pass that has ended was about.
        eventually(&format!("{pod} is told of: {why}"), || {
            let dump = stage.dump("node-1", &["services", "default/web"]);
            let mut lines = dump.lines().filter(|line| line.contains(&addr(pod)));
            let is_told = lines.any(|line| line.contains(" node ") && line.ends_with(why));
            if is_told { Ok(()) } else { Err(dump) }
        });
    }
}

//! Connection tracking on whole nodes: its settings, and flows of UDP whose client keeps its port, which
//! follow what becomes of their Service.
//!
//! `nc` asks, again and again from one port, more often than connection tracking forgets; so an entry
//! that nobody removes would hold for as long as a test waits.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use fixtures::frame;
use kernel::netns::Netns;
use libtest_mimic::Trial;
use socket2::{Domain, Socket, Type};

use crate::lab::{Lab, eventually, success, test, text};
use crate::manifests;
use crate::services::stage::Place;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s60_s63_udp_clients_survive_their_server_pods", cycled),
        test("s65_flows_end_when_their_endpoint_does_not_answer", conditions),
        test("s61_s62_flows_end_with_the_last_endpoint_and_with_the_service", ended),
        test("s68_flows_to_a_host_port_end_with_its_pod", host_port),
        test("s64_s66_flows_that_agree_outlive_the_agent_and_others_do_not", restarted),
        test("t23_a_segment_outside_of_the_window_costs_no_connection", out_of_window),
        test("s72_connections_are_tracked_as_long_as_by_kube_proxy", timeouts),
    ]
}

/// The nodes' first addresses.
const NODE_1: [&str; 2] = ["10.80.1.11", "fd00:80:1::11"];
const VIPS: [&str; 2] = ["10.96.0.90", "fd00:10:96::90"];

/// A client that speaks from one port.
struct Client<'a> {
    lab: &'a Lab,
    /// A pod, a node or the host outside.
    from: &'static str,
    port: u16,
    to: String,
    at: u16,
}

impl Client<'_> {
    /// Who answers one datagram; nobody within a second when empty.
    fn asks(&self) -> String {
        let Client { port, to, at, .. } = self;
        let script = format!("echo hi | nc -u -w 1 -p {port} {to} {at} 2>/dev/null");
        let argv = ["sh", "-c", &script];
        text(&match self.from {
            "outside" => self.lab.client(&argv),
            node if node.starts_with("node-") => self.lab.node(node, &argv),
            pod => self.lab.exec(pod, &argv),
        })
    }

    /// Waits until the answer is from `who`; from nobody when empty.
    fn hears(&self, who: &str) {
        eventually(&format!("{} hears {who:?} at {}", self.from, self.to), || match self.asks() {
            answer if who.is_empty() && answer.is_empty() => Ok(()),
            answer if !who.is_empty() && answer.contains(who) => Ok(()),
            other => Err(other),
        });
    }
}

/// A pod that answers UDP on 9090 and 9191, with `more` in its container.
fn server(name: &str, node: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  \
         nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    \
         image: seaway/echo\n    args: [--http, '8080', --udp, '9090', --udp, '9191']\n{more}"
    )
}

/// A Service in both families for pods `app: web`, with `more` in its spec and in its port.
fn service(name: &str, vips: [&str; 2], more: &str, port: &str) -> String {
    let [four, six] = vips;
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  \
         ipFamilyPolicy: PreferDualStack\n  clusterIPs: [{four}, '{six}']\n  \
         selector: {{app: web}}\n  ports: [{{protocol: UDP, port: 90, targetPort: 9090{port}}}]\n"
    )
}

fn kubectl(lab: &Lab, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    success(&lab.kubectl(&words)).unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"));
}

fn ready(lab: &Lab, pod: &str) {
    kubectl(lab, &format!("wait --for=condition=Ready pod/{pod} --timeout=30s"));
}

/// Entries of UDP that `node` has for `vip`, with their ids, as `conntrack` lists them.
fn entries(lab: &Lab, node: &str, vip: &str) -> Vec<String> {
    let family = if vip.contains(':') { "ipv6" } else { "ipv4" };
    let list = ["conntrack", "-L", "-f", family, "-p", "udp", "--orig-dst", vip, "-o", "id"];
    let output = success(&lab.node(node, &list)).expect("conntrack lists");
    output.lines().map(str::to_owned).collect()
}

/// Clients of every kind ask from before there is a server, and while one takes another's place.
fn cycled() {
    let client = manifests::pod("client", "node-1", "seaway/shell");
    let near = ["10.96.0.91", "fd00:10:96::91"];
    let manifest = [
        client,
        service("web", VIPS, "type: NodePort", ", nodePort: 30090"),
        service("near", near, "internalTrafficPolicy: Local", ""),
    ];
    let lab = Lab::up_with(&["--nodes", "2"], &manifest.concat());
    let places = [
        ("client", 4000, VIPS, 90),
        ("client", 4001, near, 90),
        ("node-1", 4002, VIPS, 90),
        ("node-1", 4003, NODE_1, 30090),
        ("node-2", 4004, NODE_1, 30090),
        ("outside", 4005, NODE_1, 30090),
    ];
    let mut clients = Vec::new();
    for (from, port, addrs, at) in places {
        for (family, to) in addrs.iter().enumerate() {
            let port = port + 100 * u16::try_from(family).expect("two families");
            clients.push(Client { lab: &lab, from, port, to: (*to).to_owned(), at });
        }
    }
    let all_hear = |who: &str| clients.iter().for_each(|client| client.hears(who));
    all_hear("");
    lab.apply(&server("first", "node-1", ""));
    all_hear("first");
    // The new one is there before the old one goes, and asked by nobody whose flow is the old one's.
    lab.apply(&server("second", "node-1", ""));
    ready(&lab, "second");
    kubectl(&lab, "delete pod first");
    all_hear("second");
    // A target port where nobody listens, and one where somebody does.
    let patch = |port: u16| {
        let patch = format!(
            "[{{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":{port}}}]"
        );
        success(&lab.kubectl(&["patch", "service", "web", "--type=json", "-p", &patch]))
            .expect("patch the Service");
    };
    patch(9999);
    clients[0].hears("");
    patch(9191);
    clients[0].hears("second");
    clients[9].hears("second");
}

/// Endpoints written by hand: one that is not ready, one that is about to go and still serves, and one
/// that does not.
fn conditions() {
    let bare = service("web", VIPS, "", "").replace("selector: {app: web}", "selector: {}");
    let lab = Lab::up_with(&["--nodes", "2"], &[manifests::pair(), bare].concat());
    ready(&lab, "server");
    let server = lab.pod_field("server", "{.status.podIP}");
    let client = Client { lab: &lab, from: "client", port: 4000, to: VIPS[0].to_owned(), at: 90 };
    let put = |conditions: &str| {
        lab.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1, labels: \
             {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: '', protocol: UDP, \
             port: 9090}}]\nendpoints: [{{addresses: [{server}], conditions: {{{conditions}}}}}]\n"
        ));
    };
    for (conditions, serves) in [
        ("ready: true", true),
        ("ready: false, serving: false", false),
        ("ready: true", true),
        ("ready: false, serving: true, terminating: true", true),
        ("ready: false, serving: false, terminating: true", false),
    ] {
        put(conditions);
        client.hears(if serves { "server" } else { "" });
    }
}

/// A sender that expects no answer: its entry would be its own reason to stay.
fn ended() {
    let pods = manifests::pair().replace("name: server}", "name: server, labels: {app: web}}");
    let lab = Lab::up_with(&["--nodes", "2"], &[pods, service("web", VIPS, "", "")].concat());
    ready(&lab, "server");
    let from = |family: usize| Client {
        lab: &lab,
        from: "client",
        port: 4000,
        to: VIPS[family].to_owned(),
        at: 90,
    };
    let clients = [from(0), from(1)];
    let gone = |what: &str| {
        for (client, vip) in clients.iter().zip(VIPS) {
            eventually(what, || {
                client.asks();
                match entries(&lab, "node-1", vip) {
                    none if none.is_empty() => Ok(()),
                    some => Err(some),
                }
            });
        }
    };
    clients.iter().for_each(|client| client.hears("server"));
    kubectl(&lab, "delete pod server");
    gone("no flow leads to the endpoint that was the last");
    lab.apply(&server("server", "node-2", ""));
    clients.iter().for_each(|client| client.hears("server"));
    kubectl(&lab, "delete service web");
    gone("no flow leads from the Service that is gone");
    lab.apply(&service("web", VIPS, "", ""));
    clients.iter().for_each(|client| client.hears("server"));
}

/// A pod with a hostPort is replaced by one with another address.
fn host_port() {
    let more = "    ports: [{containerPort: 9090, hostPort: 9053, protocol: UDP}]\n";
    let lab = Lab::up_with(&["--nodes", "2"], &server("first", "node-1", more));
    let clients: Vec<Client<'_>> = ["outside", "node-2", "node-1"]
        .into_iter()
        .flat_map(|from| NODE_1.map(|to| (from, to)))
        .map(|(from, to)| Client { lab: &lab, from, port: 4000, to: to.to_owned(), at: 9053 })
        .collect();
    clients.iter().for_each(|client| client.hears("first"));
    kubectl(&lab, "delete pod first");
    for vip in NODE_1 {
        eventually("no flow leads to the pod that is gone", || {
            clients.iter().for_each(|client| drop(client.asks()));
            let old: Vec<String> = entries(&lab, "node-1", vip)
                .into_iter()
                .filter(|line| {
                    line.contains("dport=9053") && !line.contains(&format!("src={vip} dst"))
                })
                .collect();
            if old.is_empty() { Ok(()) } else { Err(old) }
        });
    }
    // Meanwhile their datagrams went to the node itself.
    lab.apply(&server("second", "node-1", more));
    clients.iter().for_each(|client| client.hears("second"));
}

/// The agent of the client's node dies; a flow that agrees is the same entry afterwards.
fn restarted() {
    let pods = manifests::pair().replace("name: server}", "name: server, labels: {app: web}}");
    let lab = Lab::up_with(&["--nodes", "2"], &[pods, service("web", VIPS, "", "")].concat());
    let client = Client { lab: &lab, from: "client", port: 4000, to: VIPS[0].to_owned(), at: 90 };
    client.hears("server");
    let ids = || {
        let id =
            |line: &String| line.split(' ').find(|word| word.starts_with("id=")).map(str::to_owned);
        entries(&lab, "node-1", VIPS[0]).iter().filter_map(id).collect::<Vec<_>>()
    };
    let before = ids();
    assert_eq!(before.len(), 1, "{before:?}");
    // What nobody translated, as it is after the rules were away.
    let stale = "conntrack -I -p udp -s 10.9.9.9 -d 10.96.0.90 --sport 4001 --dport 90 -t 600";
    let foreign = "conntrack -I -p udp -s 10.9.9.9 -d 192.0.2.90 --sport 4001 --dport 90 -t 600";
    for made in [stale, foreign] {
        let words: Vec<&str> = made.split(' ').collect();
        success(&lab.node("node-1", &words)).expect("make an entry");
    }
    assert_eq!(ids().len(), 2);
    let killed = lab.node("node-1", &["pkill", "-9", "-f", "seaway agent"]);
    assert!(killed.status.success(), "{}", lab.told(&killed));
    eventually("the wrong entry is gone", || match ids() {
        now if now == before => Ok(()),
        now => Err(now),
    });
    client.hears("server");
    assert_eq!(ids(), before, "the flow is the same");
    assert_eq!(entries(&lab, "node-1", "192.0.2.90").len(), 1, "somebody else's is left alone");
    let dump = success(&lab.node("node-1", &["seaway", "dump", "flows"])).expect("the agent tells");
    assert!(dump.contains("udp 10.96.0.90:90 -> "), "{dump}");
}

/// A server's segment from far outside of the window: it is translated like the others, so the client
/// ignores it. That a client that gets it untranslated resets the connection shows that the test could
/// fail (T23).
fn out_of_window() {
    let pods = manifests::pair().replace("name: server}", "name: server, labels: {app: web}}");
    let pods = pods.replace("name: client}", "name: asker}");
    let service = service("web", VIPS, "", "").replace("protocol: UDP", "protocol: TCP");
    let lab = Lab::up_with(&["--nodes", "2"], &[pods, service].concat());
    ready(&lab, "server");
    let [client, server] = ["asker", "server"].map(|pod| Place::find(&lab, pod).netns);
    let resets = || -> u32 {
        let snmp = success(&lab.exec("asker", &["cat", "/proc/net/snmp"])).expect("counters");
        let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, numbers) = (tcp.next().expect("names"), tcp.next().expect("numbers"));
        let at = names.split(' ').position(|name| name == "OutRsts").expect("OutRsts");
        numbers.split(' ').nth(at).and_then(|number| number.parse().ok()).expect("a number")
    };
    let connect = || TcpStream::connect((VIPS[0], 90));
    let mut stream = eventually("the Service answers", || {
        client.run(connect).expect("enter the client's network")
    });
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
    let mut talk = || -> std::io::Result<String> {
        stream.write_all(b"still there?\n")?;
        let mut heard = String::new();
        while !heard.contains("still there?") {
            let mut buffer = [0; 512];
            match stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                length => heard.push_str(&String::from_utf8_lossy(&buffer[..length])),
            }
        }
        Ok(heard)
    };
    talk().expect("an answer");
    let to = client_end(&lab);
    let send = || stray_segments(&server, to);
    send();
    talk().expect("the connection goes on");
    assert_eq!(resets(), 0);
    let strict = ["sysctl", "-w", "net.netfilter.nf_conntrack_tcp_be_liberal=0"];
    // Agents set it again when they read settings back, so it is taken away before each segment.
    eventually("without the setting it is reset", || {
        for node in ["node-1", "node-2"] {
            success(&lab.node(node, &strict)).expect("set it");
        }
        send();
        if resets() == 0 { Err("no reset") } else { Ok(()) }
    });
}

/// Where the connection to the Service comes from.
fn client_end(lab: &Lab) -> SocketAddr {
    let list = ["conntrack", "-L", "-p", "tcp", "--orig-dst", VIPS[0], "--orig-port-dst", "90"];
    let entries = success(&lab.node("node-1", &list)).expect("conntrack lists");
    let value = |name: &str| {
        let word = entries.split_whitespace().find_map(|word| word.strip_prefix(name));
        word.unwrap_or_else(|| panic!("{name} in {entries}"))
    };
    format!("{}:{}", value("src="), value("sport=")).parse().expect("an address")
}

/// Sends segments from port 9090 of `server` that are half of all sequence numbers apart, so that one is
/// far ahead of the connection: what is behind it Linux lets through in either case.
fn stray_segments(server: &Netns, to: SocketAddr) {
    let (IpAddr::V4(addr), port) = (to.ip(), to.port()) else { panic!("not IPv4: {to}") };
    let sent = server.run(move || -> std::io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(6.into()))?;
        socket.connect(&SocketAddr::from((addr, 0)).into())?;
        let from = socket.local_addr()?.as_socket_ipv4().expect("an IPv4 socket");
        for sequence in [0x4000_0000_u32, 0xc000_0000] {
            let mut segment = [&9090_u16.to_be_bytes()[..], &port.to_be_bytes()].concat();
            segment.extend([sequence.to_be_bytes(); 2].concat()); // its own, and what it acknowledges
            segment.extend([0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]); // ACK, and no checksum yet
            segment.extend(b"late");
            frame::seal(&mut segment, 16, ((*from.ip()).into(), addr.into()), 6);
            socket.send(&segment)?;
        }
        Ok(())
    });
    sent.expect("enter the server's network").expect("send the segments");
}

/// An established connection that the server has closed and the client has not is kept for an hour, and
/// one that is open for a day.
fn timeouts() {
    let lab = Lab::up(&["--nodes", "1"]);
    let read = |name: &str| {
        let key = format!("net.netfilter.nf_conntrack_{name}");
        success(&lab.node("node-1", &["sysctl", "-n", &key])).expect("read it")
    };
    assert_eq!(read("tcp_timeout_established"), "86400");
    assert_eq!(read("tcp_timeout_close_wait"), "3600");
    assert_eq!((read("tcp_be_liberal"), read("tcp_loose")), ("1".to_owned(), "0".to_owned()));
    let limit: u64 = read("max").parse().expect("a number");
    assert!(limit > 0, "the lab's machine says how many");
    let dump = success(&lab.node("node-1", &["seaway", "dump", "sysctls"])).expect("a dump");
    assert!(dump.contains("net.netfilter.nf_conntrack_max >= "), "{dump}");
}

//! Services and their endpoints change under traffic.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use kernel::netns::Netns;
use libtest_mimic::Trial;

use super::load::{Load, Style};
use super::streams::Streams;
use super::{cluster_ip, echoes, kubectl, netns, with_clients};
use crate::lab::{Lab, eventually, success, test};
use crate::manifests;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s38_a_service_without_endpoints_refuses_and_serves_at_once_when_it_has_some", zero),
        test("s70_clients_of_a_pod_that_is_gone_are_reset_and_new_ones_refused", gone),
        test("s20_a_hundred_flaps_of_endpoints_break_no_flow_and_fail_no_request", flaps),
        test("s20_a_lost_node_takes_its_own_flows_along_and_no_others", lost_node),
    ]
}

/// To zero, and back: clients are refused, and then each is served.
fn zero() {
    let lab = with_clients(&["--nodes", "2"], &echoes("web", 2), "ClusterIP");
    let web = cluster_ip(&lab, "web", 80);
    let pod = netns(&lab, "one");
    let load = Load::start(&pod, web, Style::Anew, 2);
    load.goes_on_for(20);
    kubectl(&lab, "scale deployment web --replicas=0");
    let connect =
        || pod.run(|| TcpStream::connect_timeout(&web, Duration::from_secs(20)).map(drop));
    eventually("nobody is served", || match connect().expect("enter the namespace") {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        other => Err(other),
    });
    kubectl(&lab, "scale deployment web --replicas=2");
    load.goes_on_for(20);
    let failures = load.end().failures;
    // The last server that goes has no other to follow it: it resets what it has not accepted.
    let is_expected = |failure: &&String| {
        ["Connection refused", "Connection reset"].iter().any(|said| failure.contains(said))
    };
    let other = failures.iter().find(|failure| !is_expected(failure));
    assert!(!failures.is_empty() && other.is_none(), "{other:?}");
    let refused = failures.iter().filter(|failure| failure.contains("Connection refused")).count();
    assert!(refused * 2 > failures.len(), "{refused} of {} were refused", failures.len());
    let load = Load::start(&pod, web, Style::Anew, 2);
    load.goes_on_for(100);
    load.end_whole("clients of the Service that is back");
}

/// Pods that go without a word, as those of a machine that lost its power: their slice still has them.
fn gone() {
    let (lab, flap) = by_hand(&["--nodes", "2"], ["node-1", "node-2"]);
    let lines = SocketAddr::new(flap.ip(), 90);
    let clients = [netns(&lab, "one"), netns(&lab, "two")];
    let connect = |client: &Netns| {
        let open = move || {
            let stream = TcpStream::connect_timeout(&lines, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            io::Result::Ok(stream)
        };
        client.run(open).expect("enter the namespace")
    };
    let ask = |mut stream: &TcpStream| {
        stream.write_all(b"line\n")?;
        stream.read(&mut [0; 64])
    };
    let streams: Vec<TcpStream> = clients
        .iter()
        .flat_map(|client| (0..12).map(|_| connect(client).expect("connect")))
        .collect();
    streams.iter().for_each(|stream| assert!(ask(stream).expect("an answer") > 0));
    let cut = "add table inet cut; add chain inet cut pre { type filter hook prerouting priority -400; }; \
               add rule inet cut pre iifname sw* tcp flags & (fin | rst) != 0 drop";
    for node in ["node-1", "node-2"] {
        success(&lab.node(node, &["nft", cut])).expect("silence the pods");
    }
    kubectl(&lab, "delete pod web-0 web-1 --now");
    for stream in &streams {
        // What had come before is read first.
        let mut told = ask(stream);
        while matches!(told, Ok(1..)) {
            told = (&*stream).read(&mut [0; 64]);
        }
        let told = told.expect_err("nobody is there");
        assert_eq!(told.kind(), io::ErrorKind::ConnectionReset, "{told}");
    }
    for client in &clients {
        let told = connect(client).expect_err("nobody is there");
        assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused, "{told}");
    }
}

/// Two endpoints written by hand, of which now one and now the other is ready.
fn flaps() {
    let (lab, flap) = by_hand(&["--nodes", "2"], ["node-1", "node-2"]);
    let (one, two) = (netns(&lab, "one"), netns(&lab, "two"));
    let loads = [Load::start(&one, flap, Style::Anew, 2), Load::start(&two, flap, Style::Kept, 1)];
    let lines = SocketAddr::new(flap.ip(), 90);
    let mut streams = [Streams::open(&one, lines, 30, 0), Streams::open(&two, lines, 30, 0)];
    let addrs = addrs(&lab);
    let flap = |number| slice_of("flap", addrs.clone(), [number % 2 == 0, number % 2 == 1]);
    lab.apply(&(0..100).map(flap).collect::<String>());
    streams.iter_mut().for_each(|streams| streams.all_answer("after a hundred flaps"));
    let [anew, kept] = loads.map(|load| load.end_whole("clients of endpoints that flap").answers);
    assert!(anew.len() == 2 && !kept.is_empty(), "both had flows: {anew:?}, {kept:?}");
}

/// A node without power: flows to its pod are gone, others are not, and new ones go to whoever is left.
fn lost_node() {
    let yaml = [
        manifests::pod("one", "node-1", "seaway/shell"),
        manifests::pod("web-a", "node-2", "seaway/echo"),
        manifests::pod("web-b", "node-3", "seaway/echo"),
        super::service("web", "ClusterIP"),
    ];
    let flags = ["--nodes", "3", "--ip-family", "ipv4"];
    let lab = Lab::up_with(&flags, &yaml.concat());
    kubectl(&lab, "label pod web-a web-b app=web");
    let web = cluster_ip(&lab, "web", 80);
    let pod = netns(&lab, "one");
    let hosts = |load: Load| {
        load.goes_on_for(20);
        load.end().answers.into_keys().collect::<Vec<_>>()
    };
    eventually("both are endpoints", || {
        super::answers(&lab, "node-1", web)?;
        match hosts(Load::start(&pod, web, Style::Anew, 1)) {
            both if both.len() == 2 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let mut streams = Streams::open(&pod, SocketAddr::new(web.ip(), 90), 40, 0);
    streams.all_answer("before");
    let killed = lab.seaway(&["lab", "kill-node", "node-3"]).output();
    success(&killed.expect("start seaway lab kill-node")).expect("kill it");
    assert!(streams.keep_only("web-a") > 0, "no flow had gone to web-a");
    streams.all_answer("right after");
    let path = "{.items[*].endpoints[?(@.nodeName==\"node-3\")].conditions.ready}";
    let path = format!("jsonpath={path}");
    let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", &path];
    eventually("the endpoint is known not to be ready", || {
        match success(&lab.kubectl(&slices))?.as_str() {
            "false" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    eventually("new flows go to whoever is left", || {
        let load = Load::start(&pod, web, Style::Anew, 1);
        load.goes_on_for(20);
        let tally = load.end();
        let is_left = tally.answers.keys().all(|host| host == "web-a");
        if is_left && tally.failures.is_empty() { Ok(()) } else { Err(tally) }
    });
    streams.all_answer("when the node is known to be lost");
}

/// A lab with a Service `flap` whose endpoints are the pods `web-0` and `web-1`, by a slice by hand, and
/// clients `one` and `two`.
pub(super) fn by_hand(flags: &[&str], nodes: [&str; 2]) -> (Lab, SocketAddr) {
    let pods = [0, 1].map(|n| manifests::pod(&format!("web-{n}"), nodes[n], "seaway/echo"));
    let clients = [("one", "node-1"), ("two", "node-2")];
    let clients = clients.map(|(name, node)| manifests::pod(name, node, "seaway/shell"));
    let service = super::service("flap", "ClusterIP").replace("  selector: {app: flap}\n", "");
    let yaml = [pods.concat(), clients.concat(), service].concat();
    let lab = Lab::up_with(&[flags, &["--ip-family", "ipv4"]].concat(), &yaml);
    lab.apply(&slice_of("flap", addrs(&lab), [true, true]));
    let flap = cluster_ip(&lab, "flap", 80);
    for node in ["node-1", "node-2"] {
        eventually("nodes know the Service", || super::answers(&lab, node, flap));
    }
    (lab, flap)
}

/// Addresses of the two pods.
pub(super) fn addrs(lab: &Lab) -> [String; 2] {
    [0, 1].map(|n| lab.pod_field(&format!("web-{n}"), "{.status.podIP}"))
}

/// A slice of `service` with endpoints at these addresses; which of them are ready.
pub(super) fn slice_of(service: &str, addrs: [String; 2], ready: [bool; 2]) -> String {
    let [a, b] = addrs;
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-1\n  \
         labels: {{kubernetes.io/service-name: {service}}}\naddressType: IPv4\nports:\n\
         - {{name: tcp-80, port: 8080, protocol: TCP}}\n- {{name: tcp-90, port: 9090, protocol: TCP}}\n\
         - {{name: udp-90, port: 9090, protocol: UDP}}\nendpoints:\n\
         - {{addresses: [{a}], conditions: {{ready: {}}}}}\n- {{addresses: [{b}], conditions: {{ready: {}}}}}\n",
        ready[0], ready[1]
    )
}

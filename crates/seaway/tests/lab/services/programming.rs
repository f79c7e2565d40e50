//! What a change costs, and the source ports that clients outside are given.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use model::{Family, Protocol};

use super::ask::{connect, read_line};
use super::endpoints::slices;
use super::stage::{Stage, service};
use super::table::{Over, TCP};
use crate::lab::{Lab, eventually, success, test};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        test("s90_s96_an_endpoint_or_a_service_more_is_its_own_elements_and_no_rule", change),
        test("s53_clients_that_take_the_nodes_address_get_any_source_port", source_ports),
    ]
}

/// `nft monitor` on a node.
struct Monitor<'a> {
    lab: &'a Lab,
    node: &'a str,
    child: Child,
    file: PathBuf,
}

impl<'a> Monitor<'a> {
    fn start(lab: &'a Lab, node: &'a str) -> Self {
        let file = lab.dir().join(format!("monitor-{node}"));
        let mut command = lab.seaway(&["lab", "node", node]);
        command.args(["--", "timeout", "60", "stdbuf", "-oL", "nft", "monitor"]);
        let child = command.stdout(Stdio::from(File::create(&file).expect("create a file")));
        let child = child.spawn().expect("start nft monitor");
        let monitor = Monitor { lab, node, child, file };
        monitor.seen();
        monitor
    }

    /// The changes it has seen; all that were made before this was called are among them.
    fn seen(&self) -> Vec<String> {
        let is_mark = |line: &&str| line.contains("table inet monitored");
        let count = |text: &str| text.lines().filter(is_mark).count();
        let before = count(&std::fs::read_to_string(&self.file).expect("read the file"));
        eventually("nft monitor shows a change", || {
            for verb in ["add", "delete"] {
                let words = ["nft", verb, "table", "inet", "monitored"];
                success(&self.lab.node(self.node, &words)).expect("nft");
            }
            let text = std::fs::read_to_string(&self.file).expect("read the file");
            if count(&text) < before + 2 {
                return Err(text);
            }
            let lines = text.lines().filter(|line| !line.starts_with('#') && !is_mark(line));
            Ok(lines.map(str::to_owned).collect())
        })
    }
}

impl Drop for Monitor<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Among a hundred Services, one gets an endpoint more, and there is one Service more.
fn change() {
    let stage = Stage::up(&[]);
    let mut objects = String::new();
    for number in 0..100 {
        let name = format!("other-{number}");
        objects += &service(&name, "", "");
        objects += &slices_v4(&stage, &name, if number % 2 == 0 { "web-1" } else { "web-1 web-2" });
    }
    stage.lab.apply(&[objects, service("web", "", ""), slices_v4(&stage, "web", "web-1")].concat());
    let tcp = Over { families: &[Family::V4], ..TCP };
    for name in ["web", "other-98"] {
        stage.check(name, tcp, "pod-1 | cluster | web-1 | itself");
    }
    stage.check("other-99", tcp, "pod-1 | cluster | web-1 web-2 | itself");
    let rules = || success(&stage.lab.node("node-1", &["nft", "-t", "-s", "list", "ruleset"]));
    let before = rules().expect("nft list");
    let monitor = Monitor::start(&stage.lab, "node-1");
    let start = monitor.seen().len();
    stage.lab.apply(&slices_v4(&stage, "web", "web-1 web-2"));
    stage.check("web", tcp, "pod-1 | cluster | web-1 web-2 | itself");
    stage.lab.apply(&[service("more", "", ""), slices_v4(&stage, "more", "web-1")].concat());
    stage.check("more", tcp, "pod-1 | cluster | web-1 | itself");
    let own = ["web", "more"].map(|name| {
        let ips = &stage.object(&["service", name])["spec"]["clusterIPs"];
        [0, 1].map(|n| ips[n].as_str().expect("an address").to_owned())
    });
    let own = own.as_flattened();
    let changes = monitor.seen().split_off(start);
    assert!(!changes.is_empty(), "nft monitor has seen nothing");
    let others: Vec<&String> = changes
        .iter()
        .filter(|line| {
            let is_element = line.contains(" element inet seaway ");
            !is_element || !own.iter().any(|ip| line.contains(&format!("{{ {ip} ")))
        })
        .collect();
    assert!(others.is_empty(), "more than {own:?} has changed: {others:#?}");
    assert_eq!(rules().as_ref(), Ok(&before));
}

fn slices_v4(stage: &Stage, service: &str, endpoints: &str) -> String {
    slices(stage, service, "all", endpoints)
        .split("---\n")
        .filter(|object| object.contains("addressType: IPv4"))
        .map(|object| format!("---\n{object}"))
        .collect()
}

/// Whoever guesses a source port guesses one of all, whatever the client's own.
fn source_ports() {
    let stage = Stage::up(&[]);
    stage.lab.apply(&service("web", "app: web", "  type: NodePort\n"));
    stage.check("web", TCP, "client | node-1 | web-1 web-2 | node-1");
    let at = stage.frontends("web");
    for family in Family::ALL {
        let to = at.at("node-1", family, Protocol::Tcp);
        let ports = || -> Vec<(u16, u16)> { (0..40).map(|_| ports(to)).collect() };
        let ports = stage.at("client").netns.run(ports).expect("enter the client's network");
        let kept = ports.iter().filter(|(own, seen)| own == seen).count();
        let apart: BTreeSet<u16> =
            ports.iter().map(|(own, seen)| seen.wrapping_sub(*own)).collect();
        assert!(kept < 3 && apart.len() > 35, "{ports:?}");
    }
}

/// The source port of a connection, and that which the endpoint sees.
fn ports(to: SocketAddr) -> (u16, u16) {
    let stream = connect(None, to, Duration::from_secs(5)).expect("connect");
    let line = read_line(&stream).expect("an answer");
    let seen = line.split_whitespace().find_map(|word| word.strip_prefix("client="));
    let seen: SocketAddr = seen.and_then(|seen| seen.parse().ok()).expect("a client");
    (stream.local_addr().expect("an address").port(), seen.port())
}

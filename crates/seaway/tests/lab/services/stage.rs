//! The lab that most tests of Services play in.
//!
//! ```text
//!  client, internet ── router ──┬── node-1: pod-1, web-1, host-1 (on the node's own network)
//!                               └── node-2: pod-2, web-2
//! ```
//!
//! `web-…` and `host-1` answer, `pod-…` ask. Hosts outside send what is for cluster IPs and for the
//! addresses of load balancers to node-1; for those that end in an even number to node-2.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ::lab::control;
use ::lab::node::{self, ContainerOf, Reply};
use ::lab::supervisor::{Joined, Outside, Request};
use kernel::netns::Netns;
use model::{Family, Protocol};
use nix::ifaddrs::getifaddrs;
use serde_json::{Value, json};

use super::ask::{Notice, ask};
use super::serve::Server;
use crate::lab::{Lab, success, text};

/// How long no answer is silence.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);
/// How long an answer may take, a lost packet included.
pub(crate) const ANSWER: Duration = Duration::from_millis(2500);

/// The port that pods of [`Stage`] answer at, over each protocol.
pub(crate) const PORT: u16 = 9090;
/// The port that `host-1` answers at.
pub(crate) const HOST_PORT: u16 = 7070;

pub(crate) const NODES: [&str; 2] = ["node-1", "node-2"];
/// Ranges of load balancers' addresses.
const BALANCERS: [&str; 2] = ["192.0.2.0/24", "2001:db8:77::/64"];
/// What of them is led to node-2.
const SECOND: [&str; 2] = ["192.0.2.2/32", "2001:db8:77::2/128"];
/// The router as the client and the internet host see it.
const ROUTER: ([&str; 2], [&str; 2]) =
    (["198.51.100.1", "2001:db8:c::1"], ["203.0.113.1", "2001:db8:1::1"]);
/// The lab's ranges of cluster IPs.
const CLUSTER_IPS: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];
/// The lab and its places.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// InternalIPs of each node.
    pub(crate) nodes: BTreeMap<&'static str, Vec<IpAddr>>,
    places: BTreeMap<String, Place>,
    /// Whoever answers SCTP.
    _servers: Vec<Server>,
}

/// A network of the lab.
pub(crate) struct Place {
    pub(crate) netns: Netns,
}

impl Place {
    /// The place of this name: a node, a host outside, or a pod, with or without its namespace.
    pub(crate) fn find(lab: &Lab, name: &str) -> Place {
        Place { netns: enter(lab, name) }
    }

    /// Its own addresses of now, without those that mean something on one link only.
    pub(crate) fn addrs(&self) -> Vec<IpAddr> {
        self.netns.run(own_addrs).expect("enter the network")
    }

    /// Its first address of `family`.
    pub(crate) fn addr(&self, family: Family) -> IpAddr {
        let own = self.addrs().into_iter().find(|addr| Family::of(*addr) == family);
        own.unwrap_or_else(|| panic!("no {family} address"))
    }
}

impl Stage {
    /// The lab, with these flags of `seaway lab up`.
    pub(crate) fn up(flags: &[&str]) -> Stage {
        let flags = [&["--nodes", "2", "--external-ips", "192.0.2.128/25,2001:db8:77::/64"], flags];
        Stage::of(Lab::up_with(&flags.concat(), &pods()))
    }

    /// The same in a lab that is up with [`pods`].
    pub(crate) fn of(lab: Lab) -> Stage {
        let names = ["pod-1", "pod-2", "web-1", "web-2", "node-1", "node-2", "client", "internet"];
        let places: BTreeMap<_, _> =
            names.into_iter().map(|name| (name.to_owned(), Place::find(&lab, name))).collect();
        let sctp = |name: &str| Server::start(&places[name].netns, Protocol::Sctp, PORT, name);
        let servers = ["web-1", "web-2"].map(sctp).into();
        let nodes = internal_ips(&lab);
        let stage = Stage { lab, nodes, places, _servers: servers };
        stage.lead_outside();
        stage
    }

    /// Has hosts outside find the way to cluster IPs and load balancers, in the families of the lab.
    fn lead_outside(&self) {
        for (index, family) in Family::ALL.into_iter().enumerate() {
            let of = |node: &str| self.nodes[node].iter().find(|addr| Family::of(**addr) == family);
            let (Some(first), Some(second)) = (of("node-1"), of("node-2")) else { continue };
            for net in [BALANCERS[index], CLUSTER_IPS[index]] {
                self.route("router", net, &first.to_string());
                self.route("client", net, ROUTER.0[index]);
                self.route("internet", net, ROUTER.1[index]);
            }
            self.route("router", SECOND[index], &second.to_string());
        }
    }

    /// Gives `host` a route to `net` through `via`.
    pub(crate) fn route(&self, host: &str, net: &str, via: &str) {
        let words = ["ip", "route", "replace", net, "via", via];
        let mut command = self.lab.seaway(&["lab", host]);
        success(&command.args(["--"]).args(words).output().expect("start seaway lab"))
            .unwrap_or_else(|error| panic!("{host}: route to {net}: {error}"));
    }

    /// The place of this name: a pod, a node, `client` or `internet`.
    pub(crate) fn at(&self, name: &str) -> &Place {
        self.places.get(name).unwrap_or_else(|| panic!("no place {name}"))
    }

    /// What `who` notices, asking once, when no answer within `patience` is silence.
    pub(crate) fn asks(
        &self,
        who: &str,
        protocol: Protocol,
        to: SocketAddr,
        patience: Duration,
    ) -> Notice {
        let netns = &self.at(who).netns;
        netns.run(|| ask(protocol, None, to, patience)).expect("enter the client's network")
    }

    /// What `who` hears, given time.
    pub(crate) fn hears(&self, who: &str, protocol: Protocol, to: SocketAddr) -> Notice {
        self.asks(who, protocol, to, ANSWER)
    }

    /// An object as the API server has it.
    pub(crate) fn object(&self, words: &[&str]) -> Value {
        let output = self.lab.kubectl(&[&["get", "-o", "json"], words].concat());
        let text =
            success(&output).unwrap_or_else(|error| panic!("kubectl get {words:?}: {error}"));
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Runs one kubectl command, which has to work.
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        success(&self.lab.kubectl(words))
            .unwrap_or_else(|error| panic!("kubectl {words:?}: {error}"))
    }

    /// Has a load balancer give the Service `name` these addresses: items of its `ingress`, in JSON.
    pub(crate) fn balance(&self, name: &str, ingress: &str) {
        let patch = format!("{{\"status\": {{\"loadBalancer\": {{\"ingress\": [{ingress}]}}}}}}");
        let words =
            ["patch", "service", name, "--subresource=status", "--type=merge", "-p", &patch];
        self.kubectl(&words);
    }

    /// Merges `spec` into that of the Service `name`.
    pub(crate) fn change(&self, name: &str, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", "service", name, "--type=merge", "-p", &patch]);
    }

    /// What a node says of a Service.
    pub(crate) fn dump(&self, node: &str, words: &[&str]) -> String {
        text(&self.lab.node(node, &[&["seaway", "dump"], words].concat()))
    }
}

/// Both addresses of a load balancer that are led to node `number`, as items of `ingress`, in JSON.
pub(crate) fn balancer(number: u8) -> String {
    format!(r#"{{"ip": "192.0.2.{number}"}}, {{"ip": "2001:db8:77::{number}"}}"#)
}

/// The pods of the stage.
pub(crate) fn pods() -> String {
    let web = ["1", "2"].map(|n| pod(&format!("web-{n}"), &format!("node-{n}"), ""));
    let ask = ["1", "2"].map(|n| pod(&format!("pod-{n}"), &format!("node-{n}"), ""));
    let args = format!("    args: [--tcp, '{HOST_PORT}', --udp, '{HOST_PORT}']\n");
    let host = pod("host-1", "node-1", &args).replace("spec:\n", "spec:\n  hostNetwork: true\n");
    [web.concat(), ask.concat(), host].concat()
}

/// A pod that answers, with its name and the part before its number as labels.
pub(crate) fn pod(name: &str, node: &str, container: &str) -> String {
    let app = name.split('-').next().unwrap_or(name);
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {app}, pod: {name}}}}}\n\
         spec:\n  terminationGracePeriodSeconds: 1\n  nodeName: {node}\n  containers:\n  \
         - name: main\n    image: seaway/echo\n{container}"
    )
}

/// A Service in both families with port 80 over each protocol, for pods with this label, like
/// `app: web`; without endpoints of its own if there is none. `spec` is more of its specification.
pub(crate) fn service(name: &str, label: &str, spec: &str) -> String {
    let ports = ["TCP", "UDP", "SCTP"].map(|protocol| {
        let port = protocol.to_lowercase();
        format!("  - {{name: {port}, protocol: {protocol}, port: 80, targetPort: {PORT}}}\n")
    });
    let selector = match label {
        "" => String::new(),
        label => format!("  selector: {{{label}}}\n"),
    };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ipFamilyPolicy: PreferDualStack\n{selector}  ports:\n{}{spec}",
        ports.concat()
    )
}

fn internal_ips(lab: &Lab) -> BTreeMap<&'static str, Vec<IpAddr>> {
    let path = "jsonpath={range .items[*]}{.metadata.name} \
                {.status.addresses[?(@.type==\"InternalIP\")].address}{\"\\n\"}{end}";
    let told = text(&lab.kubectl(&["get", "nodes", "-o", path]));
    let of = |node| {
        let mut lines = told.lines().map(str::split_whitespace);
        let line = lines.find_map(|mut words| (words.next() == Some(node)).then_some(words));
        let addrs = line.unwrap_or_else(|| panic!("no {node}: {told}"));
        addrs.map(|addr| addr.parse().expect("an address")).collect()
    };
    NODES.map(|node| (node, of(node))).into()
}

/// The way into the network of this name.
fn enter(lab: &Lab, name: &str) -> Netns {
    let outside = match name {
        "client" => Some(Outside::Client),
        "internet" => Some(Outside::Internet),
        _ => None,
    };
    if let Some(outside) = outside {
        let socket = lab.dir().join("control.sock");
        let (joined, fds) = control::ask(&socket, &Request::Enter(outside)).expect("ask the lab");
        let Joined::Entrance(entrance) = joined else { panic!("{name}: {joined:?}") };
        return ::lab::enter::Namespaces { entrance, fds }.netns().expect("enter");
    }
    let nodes = lab.dir().join("nodes");
    if name.starts_with("node-") {
        let entrance = ask_node(&nodes.join(name), &node::Request::Node);
        return entrance.unwrap_or_else(|| panic!("no node {name}"));
    }
    let (namespace, pod) = name.split_once('/').unwrap_or(("default", name));
    let of = ContainerOf { namespace: namespace.into(), pod: pod.into(), container: None };
    let entries = std::fs::read_dir(nodes).expect("list the nodes").flatten();
    let mut found = entries.filter_map(|n| ask_node(&n.path(), &node::Request::Pod(of.clone())));
    found.next().unwrap_or_else(|| panic!("no pod {name}"))
}

/// The way a node says; `None` when it does not know the pod.
fn ask_node(node: &Path, request: &node::Request) -> Option<Netns> {
    let socket = node.join("run/control.sock");
    match control::ask(&socket, request).expect("ask the node") {
        (Reply::Entrance(entrance), fds) => {
            Some(::lab::enter::Namespaces { entrance, fds }.netns().expect("enter"))
        }
        (Reply::Elsewhere | Reply::Log(_) | Reply::Done, _) => None,
    }
}

fn own_addrs() -> Vec<IpAddr> {
    let all = getifaddrs().expect("list the addresses");
    let ips = all.filter_map(|row| {
        let addr = row.address?;
        let v4 = addr.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        v4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))
    });
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    ips.filter(|ip| !is_local(ip)).collect()
}

//! The lab that most tests of names play in: the cluster of the vectors, someone to ask on each node, and
//! a name server outside.
//!
//! ```text
//!  internet (NSD, for all names of the world) ── router ──┬── node-1: shell-1
//!                                                         └── node-2: shell-2
//! ```

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fixtures::vectors;
use kernel::netns::Netns;
use libtest_mimic::Trial;
use serde_json::json;

use super::dig::Dig;
use super::upstream::Upstream;
use crate::lab::{Lab, eventually, success, test};
use crate::manifests;
use crate::services::stage::Place;

/// Addresses of Service `kube-dns`.
pub(crate) const VIPS: [&str; 2] = ["10.96.0.10", "fd00:96::a"];
/// Where nodes answer besides.
pub(crate) const LINK_LOCAL: &str = "169.254.20.10";
/// Where node-1 answers the others.
pub(crate) const NODE_1: [&str; 2] = ["10.80.1.11", "fd00:80:1::11"];
/// The port for that.
pub(crate) const NODE_PORT: u16 = 10053;
/// Where shells find the clients that tests bring along.
pub(crate) const CLIENTS: &str = "/clients";
/// The flags of a lab with these addresses.
pub(crate) const FLAGS: [&str; 6] = [
    "--nodes",
    "2",
    "--service-cidr",
    "10.96.0.0/16,fd00:96::/112",
    "--nameserver",
    "203.0.113.10,2001:db8:1::10",
];

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(2500);

/// The stage that several tests share: up with the first of them, and down after the last.
#[derive(Default, Clone)]
pub(crate) struct Shared(Arc<OnceLock<Stage>>);

impl Shared {
    /// A test on the stage.
    pub(crate) fn test(&self, name: &str, run: impl FnOnce(&Stage) + Send + 'static) -> Trial {
        let stage = self.0.clone();
        test(name, move || run(stage.get_or_init(Stage::up)))
    }
}

/// The lab.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) upstream: Upstream,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A pod: `shell-1` of node-1, `shell-2` of node-2.
    Pod(&'static str),
    /// A process on the node itself.
    Host(&'static str),
}

impl Stage {
    /// A new one.
    pub(crate) fn up() -> Stage {
        Stage::up_with(&FLAGS)
    }

    /// A new one, with flags that begin with [`FLAGS`].
    pub(crate) fn up_with(flags: &[&str]) -> Stage {
        Stage::on(Lab::up(flags))
    }

    /// A new one in a lab that is up, with flags that begin with [`FLAGS`].
    pub(crate) fn on(lab: Lab) -> Stage {
        // Before the shells: nodes look for it from the beginning.
        let upstream = Upstream::start(&lab);
        let stage = Stage { lab, upstream };
        stage.bring_clients();
        stage.put(&vectors::objects());
        stage.shell("shell-1", "node-1", "");
        stage.shell("shell-2", "node-2", "");
        for node in ["node-1", "node-2"] {
            stage.knows(Client::Host(node), "db-1.db.ns1.svc.cluster.local", "A 10.244.1.6");
            stage.knows(Client::Host(node), "example.org", "A 203.0.113.80");
        }
        stage
    }

    /// The folder that shells see as [`CLIENTS`].
    pub(crate) fn clients(&self) -> PathBuf {
        self.lab.dir().with_extension("clients")
    }

    /// The clients of musl and c-ares.
    fn bring_clients(&self) {
        let (folder, sources) = (self.clients(), Path::new(env!("CARGO_MANIFEST_DIR")));
        let sources = sources.join("tests/lab/clients");
        std::fs::create_dir_all(&folder).expect("make the folder of clients");
        let mut compiler = Command::new("musl-gcc");
        compiler.args(["-static", "-O1", "-o"]).arg(folder.join("musl"));
        compiler.arg(sources.join("musl/lookup.c"));
        success(&compiler.output().expect("start musl-gcc (cargo xtask install)"))
            .expect("compile");
        std::fs::copy(sources.join("c_ares/lookup.py"), folder.join("c_ares.py")).expect("copy");
    }

    /// Someone to ask, on `node`; `spec` is more of the pod's specification.
    pub(crate) fn shell(&self, name: &str, node: &str, spec: &str) {
        self.annotated_shell(name, "", node, spec);
    }

    /// The same, with annotations like `a: b`.
    pub(crate) fn annotated_shell(&self, name: &str, annotations: &str, node: &str, spec: &str) {
        let folder = self.clients();
        let manifest = format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
             spec:\n  nodeName: {node}\n\
             {spec}  terminationGracePeriodSeconds: 1\n  \
             volumes: [{{name: clients, hostPath: {{path: {}}}}}]\n  containers:\n  \
             - {{name: main, image: seaway/shell, volumeMounts: [{{name: clients, mountPath: {CLIENTS}}}]}}\n",
            folder.display()
        );
        self.lab.apply(&manifest);
        let ready = format!("pod/{name}");
        success(&self.lab.kubectl(&["wait", "--for=condition=Ready", &ready, "--timeout=60s"]))
            .expect("the shell is ready");
    }

    /// Puts objects into the cluster.
    pub(crate) fn put(&self, objects: &[serde_json::Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let file = manifests::write(&self.lab.dir().with_extension("objects"), &list.to_string());
        success(&self.lab.kubectl(&["apply", "-f", &file])).expect("the objects are taken");
    }

    /// Runs a command as `client`.
    pub(crate) fn run(&self, client: Client, argv: &[&str]) -> Output {
        match client {
            Client::Pod(pod) => self.lab.exec(pod, argv),
            Client::Host(node) => self.lab.node(node, argv),
        }
    }

    /// The network of `client`.
    pub(crate) fn netns(&self, client: Client) -> Netns {
        match client {
            Client::Pod(name) | Client::Host(name) => Place::find(&self.lab, name).netns,
        }
    }

    /// Waits until the first address of `name` that `client` hears from the Service is `record`.
    pub(crate) fn knows(&self, client: Client, name: &str, record: &str) {
        eventually(&format!("{client:?} knows {name}"), || {
            let replies = Dig::at(VIPS[0]).ask(self, client, &[(name, "A")])?;
            let answer = &replies[0].answer;
            match answer.iter().any(|found| found.text == record) {
                true => Ok(()),
                false => Err(format!("{:?}", replies[0])),
            }
        });
    }

    /// What comes back to `client`, if anything does, for a datagram of its making.
    pub(crate) fn exchange(&self, client: Client, to: SocketAddr, query: &[u8]) -> Option<Vec<u8>> {
        let ask = || exchange(to, query, PATIENCE);
        self.netns(client).run(ask).expect("enter the client's network")
    }
}

/// What comes back for a datagram, from where it was sent to.
pub(crate) fn exchange(to: SocketAddr, query: &[u8], patience: Duration) -> Option<Vec<u8>> {
    let socket = open(to);
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    socket.send(query).expect("send");
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).ok()?;
    reply.truncate(length);
    Some(reply)
}

/// A socket that speaks with `to` alone.
pub(crate) fn open(to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    socket.connect(to).expect("a way there");
    socket
}

/// `addr` with `port`.
pub(crate) fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse::<IpAddr>().expect("an address"), port)
}

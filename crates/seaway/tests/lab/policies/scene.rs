//! A few pods that serve and ask, for stories about policies.
//!
//! ```text
//!  client ── router ──┬── node-1: near, friend, stranger
//!                     └── node-2: server, host (on the node's own network)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use fixtures::policies::write::{policy, selector};
use kernel::netns::Netns;
use model::{Family, Protocol};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::ask::{Notice, Question, ask};
use super::cluster::Cluster;
use crate::lab::{Lab, eventually, success};
use crate::processes;
use crate::service_stories::{ask_agent, signal};
use crate::services::stage::{Place, pod};

/// What every pod answers at, over TCP and UDP.
pub(crate) const PORT: u16 = 9090;

pub(crate) const TCP_UDP: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) cluster: Cluster,
}

impl Scene {
    pub(crate) fn up(flags: &[&str]) -> Scene {
        let at = [("near", 1), ("friend", 1), ("stranger", 1), ("server", 2)];
        let pods = at.map(|(name, node)| pod(name, &format!("node-{node}"), ""));
        let args = "    args: [--tcp, '7070', --udp, '7070']\n";
        let host = pod("host", "node-2", args).replace("spec:\n", "spec:\n  hostNetwork: true\n");
        let flags = [&["--nodes", "2"], flags].concat();
        let lab = Lab::up_with(&flags, &[&pods.concat(), &*host].concat());
        let cluster = Cluster::of(&lab);
        Scene { lab, cluster }
    }

    /// The network of a pod, a node or a host outside.
    pub(crate) fn netns(&self, name: &str) -> Netns {
        Place::find(&self.lab, name).netns
    }

    /// An address of a pod or a node.
    pub(crate) fn addr(&self, name: &str, family: Family) -> IpAddr {
        Place::find(&self.lab, name).addr(family)
    }

    /// Waits until `from` is answered at `to`, or hears nothing, in both protocols.
    pub(crate) fn hold(&self, from: &str, to: SocketAddr, is_answered: bool) {
        let netns = self.netns(from);
        let questions = TCP_UDP.map(|protocol| (Question { protocol, to }, is_answered));
        let want = if is_answered { Notice::Answer } else { Notice::Silence };
        eventually(&format!("{from} to {to}: {want:?}"), || {
            let notices = ask(&netns, &questions);
            if notices.iter().all(|notice| *notice == want) { Ok(()) } else { Err(notices) }
        });
    }

    /// The same to a pod's addresses.
    pub(crate) fn hold_pod(&self, from: &str, to: &str, is_answered: bool) {
        for family in Family::ALL {
            self.hold(from, SocketAddr::new(self.addr(to, family), PORT), is_answered);
        }
    }

    /// Kills the agents of both nodes, and waits for the next ones.
    pub(crate) fn kill_agents(&self) {
        let agents = processes::in_role(&self.lab, "agent");
        assert_eq!(agents.len(), 2);
        agents.iter().for_each(|agent| signal(agent, Signal::SIGKILL));
        eventually("the next agents are ready", || {
            let now = processes::in_role(&self.lab, "agent");
            if now.len() < 2 || now.iter().any(|agent| agents.contains(agent)) {
                return Err(format!("{now:?}"));
            }
            ["node-1", "node-2"]
                .iter()
                .try_for_each(|node| ask_agent(&self.lab, node, "readyz").map(drop))
        });
    }

    /// What kubectl prints, which has to work.
    pub(crate) fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        success(&self.lab.kubectl(&words)).unwrap_or_else(|why| panic!("kubectl {words:?}: {why}"))
    }

    /// Applies a manifest and waits for these pods of the namespace `default`.
    pub(crate) fn start(&self, yaml: &str, pods: &[&str]) {
        self.lab.apply(yaml);
        for pod in pods {
            self.kubectl(&format!("wait --for=condition=Ready pod/{pod} --timeout=30s"));
        }
    }
}

/// A policy of `default` about pods with these labels: who gets in.
pub(crate) fn only(name: &str, subject: &str, from: Value) -> Value {
    let subject = selector(subject);
    let rules = json!({"podSelector": subject, "policyTypes": ["Ingress"], "ingress": from});
    policy("default", name, rules)
}

/// Where nothing goes out.
pub(crate) fn mute(name: &str, subject: &str) -> Value {
    let spec = json!({"podSelector": selector(subject), "policyTypes": ["Egress"]});
    policy("default", name, spec)
}

/// Somebody who asks again and again.
pub(crate) struct Asking {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Notice>>,
}

impl Asking {
    /// `netns` asks `to` over both protocols.
    pub(crate) fn start(netns: Netns, to: SocketAddr, is_answered: bool) -> Asking {
        let ends = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut notices = Vec::new();
            let questions = TCP_UDP.map(|protocol| (Question { protocol, to }, is_answered));
            while !is_over.load(Ordering::Relaxed) {
                notices.extend(ask(&netns, &questions));
            }
            notices
        });
        Asking { ends, thread }
    }

    /// Ends it; it has never noticed anything else.
    pub(crate) fn has_only(self, notice: Notice, who: &str) {
        self.ends.store(true, Ordering::Relaxed);
        let notices = self.thread.join().expect("who asks ends");
        let others = notices.iter().filter(|one| **one != notice).count();
        assert!(others == 0 && !notices.is_empty(), "{who}: {others} of {} others", notices.len());
    }
}

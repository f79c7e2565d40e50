//! An agent that starts while the API server is away: it goes by what one before it has written down.

use std::time::Instant;

use super::*;
use crate::snapshot::Writing;
use crate::sources::Basis;

/// The other node, with this pod CIDR.
fn nodes(others: &[(&str, &str, &str)]) -> OrdMap<NodeName, Arc<Node>> {
    let node = |(name, ip, cidr): &(&str, &str, &str)| Node {
        internal_ips: vec![ip.parse().unwrap()],
        pod_cidrs: vec![cidr.parse().unwrap()],
        ..Node::new(NodeName::from(*name))
    };
    let all = [&[("a", "192.0.2.1", "10.244.1.0/24")], others].concat();
    all.iter().map(node).map(|node| (node.name.clone(), Arc::new(node))).collect()
}

const B: (&str, &str, &str) = ("b", "192.0.2.2", "10.244.2.0/24");
const B_MOVED: (&str, &str, &str) = ("b", "192.0.2.2", "10.244.9.0/24");

impl Agent {
    fn list_nodes(&self, others: &[(&str, &str, &str)]) {
        self.list_silently("10.244.1.0/24");
        self.watching.nodes.send_modify(|shown| shown.listed = Some(nodes(others)));
        self.handle.wake();
    }

    /// An agent that knows of the other node and has written down what it knows.
    async fn written(state: &Path, kernel: &Kernel) -> Agent {
        let agent = Agent::start(state, kernel);
        agent.list_nodes(&[B]);
        agent.ready().await;
        let (shown, node) = (Arc::clone(&agent.shown), NodeName::from("a"));
        Writing::start(state, &node, shown, Arc::default()).unwrap().end(true);
        agent
    }

    /// Waits until it goes by what the API server says.
    async fn listed(&self) {
        let mut views = self.shown.views();
        let listed = views.wait_for(|view| view.basis == Basis::Lists);
        tokio::time::timeout(Duration::from_secs(10), listed).await.unwrap().unwrap();
    }

    /// An agent with nobody to list anything, and a snapshot that is due.
    fn recalled(state: &Path, kernel: &Kernel) -> Agent {
        let recall = Recall { due: Instant::now(), ..Recall::new(state.to_owned()) };
        Agent::start_with(state, kernel, recall)
    }
}

#[tokio::test]
async fn dns99_after_a_reboot_without_an_api_server_a_node_is_as_its_snapshot_says() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    drop(Agent::written(scratch.path(), &kernel).await);
    let rebooted = Kernel::default();
    let agent = Agent::recalled(scratch.path(), &rebooted);
    agent.ready().await;
    assert_eq!(rebooted.routes.rows(), kernel.routes.rows());
    assert_eq!(rebooted.nft.rows(), kernel.nft.rows());
    let view = agent.shown.view();
    assert!(matches!(view.basis, Basis::Snapshot(_)) && view.zones.is_complete);
    let attached = agent.handle.attach(add("c")).await.unwrap();
    assert_eq!(rebooted.pods.rows().get(&key("c")), Some(&attached.link));
    agent.list_nodes(&[]);
    agent.listed().await;
    agent.handle.status().await;
    let to_b = |key: &RouteKey| key.dst.to_string() == B.2;
    assert!(kernel.routes.rows().keys().any(to_b), "b was there before");
    assert!(!rebooted.routes.rows().keys().any(to_b), "what is gone goes");
    assert_eq!(rebooted.pods.rows().len(), 1, "and what came since stays");
}

#[tokio::test]
async fn dns99_what_the_kernel_has_of_newer_times_than_the_snapshot_stays() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    let agent = Agent::written(scratch.path(), &kernel).await;
    agent.list_nodes(&[B_MOVED]);
    agent.handle.attach(add("old")).await.unwrap();
    drop(agent);
    let before = kernel.clone();
    let (routes, rules, nft) = (before.routes.rows(), before.rules.rows(), before.nft.rows());
    assert!(routes.keys().any(|key| key.dst.to_string() == B_MOVED.2));
    let agent = Agent::recalled(scratch.path(), &kernel);
    agent.ready().await;
    assert_eq!(agent.shown.view().report.changes(), 0, "a restart changes nothing");
    let attached = agent.handle.attach(add("new")).await.unwrap();
    assert_eq!(kernel.pods.rows().get(&key("new")), Some(&attached.link));
    assert_eq!(agent.handle.check(key("new")).await.unwrap(), attached);
    agent.handle.detach(key("new")).await.unwrap();
    assert_eq!(kernel.routes.rows(), routes);
    assert_eq!(kernel.rules.rows(), rules);
    assert_eq!(kernel.nft.rows(), nft);
    agent.list_nodes(&[B_MOVED]);
    agent.listed().await;
    assert_eq!(agent.shown.view().report.changes(), 0, "the kernel had it all");
}

#[tokio::test]
async fn until_a_snapshot_is_due_an_agent_waits_for_lists() {
    let (scratch, kernel) = (Scratch::new(), Kernel::default());
    drop(Agent::written(scratch.path(), &kernel).await);
    let agent = Agent::start(scratch.path(), &Kernel::default());
    assert!(matches!(agent.handle.status().await, Status::NotReady(_)));
    agent.list_nodes(&[B_MOVED]);
    agent.ready().await;
    assert_eq!(agent.shown.view().basis, Basis::Lists);
}

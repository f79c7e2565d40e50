//! Claims about the loop, on places in memory and a ledger on disk.

mod drain;
mod policies;
mod recalled;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use model::{AttachmentKey, Host, IfName, Node, NodeName, OrdMap, Uplink};
use plan::{NeighborKey, PodLink, RouteKey};
use tokio::sync::watch;

use super::*;
use crate::fake::Place;
use crate::handle::{Attach, Handle, RequestError, Status};
use crate::journal::Leases;
use crate::scratch::Scratch;
use crate::snapshot::Recall;
use crate::sources::{Disturbance, Disturbed, Watched, Watching};

/// The kernel of one node, as far as these tests look at it.
#[derive(Default, Clone)]
struct Kernel {
    links: Place<IfName, plan::Link>,
    addrs: Place<(IfName, ipnet::IpNet), ()>,
    pods: Place<AttachmentKey, PodLink>,
    sysctls: Place<plan::SysctlKey, plan::Setting>,
    neighbors: Place<NeighborKey, plan::Neighbor>,
    fdb: Place<plan::FdbKey, plan::Fdb>,
    routes: Place<RouteKey, plan::Route>,
    rules: Place<plan::RuleKey, plan::Rule>,
    nft: Place<plan::nft::Key, plan::nft::Row>,
}

impl Kernel {
    fn steps(&self) -> Steps {
        let Kernel { links, addrs, pods, sysctls, neighbors, fdb, routes, rules, nft } =
            self.clone();
        Steps::new(vec![
            Box::new(
                Step::new("links", links, table!(links), |k, r| format!("{k} {r}")).carrying(),
            ),
            Box::new(Step::new("addrs", addrs, table!(addrs), |k, ()| format!("{} {}", k.1, k.0))),
            Box::new(
                Step::new("pods", pods, table!(pods), |k, r| format!("{k} {r}"))
                    .of_links(OwnLinks {
                        key: AttachmentKey::clone,
                        link: AttachmentKey::host_link,
                        read: Place::observe_only,
                    })
                    .carrying(),
            ),
            Box::new(Step::new("sysctls", sysctls, table!(sysctls), |k, r| format!("{k} {r}"))),
            Box::new(Step::new("neighbors", neighbors, table!(neighbors), |k, r| {
                format!("{k} {r}")
            })),
            Box::new(Step::new("fdb", fdb, table!(fdb), |k, r| format!("{k} {r}"))),
            Box::new(Step::new("routes", routes, table!(routes), |k, r| format!("{k} {r}"))),
            Box::new(Step::new("rules", rules, table!(rules), |k, r| format!("{k} {r}"))),
            Box::new(Step::new("nft", nft, table!(nft), |k, r| format!("{k} {r}")).atomic()),
        ])
    }
}

/// An agent's loop on `kernel`, with its ledger in a scratch directory.
struct Agent {
    handle: Handle,
    watching: Watching,
    disturbed: Disturbed,
    shown: Arc<Shown>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    fn start(state: &Path, kernel: &Kernel) -> Self {
        Agent::start_with(state, kernel, Recall::new(state.to_owned()))
    }

    /// The same, with a snapshot for when nothing is listed.
    fn start_with(state: &Path, kernel: &Kernel, recall: Recall) -> Self {
        let (inbox, messages) = sync_channel(1024);
        let (watching, watched) = Watched::new();
        let disturbed = Disturbed::default();
        let addrs = vec!["192.0.2.1/24".parse().unwrap()];
        let uplink = Uplink { name: "eth0".parse().unwrap(), mtu: 1500, addrs };
        let host = Host { uplinks: vec![uplink], ..Host::default() };
        let shown = Arc::new(Shown::default());
        let mut steps = kernel.steps();
        let have = steps.read().unwrap();
        let parts = Parts {
            inbox: messages,
            config: Config { node: NodeName::from("a"), ..Config::default() },
            journal: Journal::open(state, 0).unwrap().0,
            sources: Sources::new(
                watched,
                recall,
                disturbed.clone(),
                Box::new(move || Ok(host.clone())),
                watch::Sender::new(()),
            ),
            steps,
            have,
            metrics: Arc::default(),
            shown: Arc::clone(&shown),
            due: Due::default(),
            names: Names::new(&model::Dns::default()),
        };
        let thread = std::thread::spawn(|| drop(Loop::new(parts).run()));
        Agent { handle: Handle::new(inbox), watching, disturbed, shown, thread: Some(thread) }
    }

    /// Shows the agent its own node with `cidr`, and a neighbor.
    fn list(&self, cidr: &str) {
        self.list_silently(cidr);
        self.handle.wake();
    }

    /// The same, and does not wake it.
    fn list_silently(&self, cidr: &str) {
        let node = |name: &str, ip: &str, cidr: &str| {
            let node = Node {
                internal_ips: vec![ip.parse().unwrap()],
                pod_cidrs: vec![cidr.parse().unwrap()],
                ..Node::new(NodeName::from(name))
            };
            (node.name.clone(), Arc::new(node))
        };
        let nodes: OrdMap<_, _> =
            [node("a", "192.0.2.1", cidr), node("b", "192.0.2.2", "10.244.2.0/24")]
                .into_iter()
                .collect();
        self.watching.list_nothing();
        self.watching.nodes.send_modify(|shown| shown.listed = Some(nodes));
    }

    async fn ready(&self) {
        let mut status = self.shown.status();
        let ready = status.wait_for(|status| matches!(status, Status::Ready { .. }));
        tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn key(id: &str) -> AttachmentKey {
    AttachmentKey { container_id: id.into(), ifname: "eth0".parse().unwrap() }
}

fn add(id: &str) -> Attach {
    Attach {
        key: key(id),
        network: "seaway".to_owned(),
        netns: format!("/run/netns/{id}").into(),
        pod: None,
        addrs: Vec::new(),
        mac: None,
        port_mappings: Vec::new(),
        search: None,
    }
}

fn leases(state: &Path) -> Leases {
    Journal::open(state, 0).unwrap().0.leases().clone()
}

#[tokio::test]
async fn until_the_nodes_are_listed_nothing_is_written_or_removed_and_add_is_told_to_wait() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    agent.handle.attach(add("c")).await.unwrap();
    drop(agent);
    let before = kernel.pods.rows();
    let agent = Agent::start(scratch.path(), &kernel);
    assert!(matches!(agent.handle.attach(add("d")).await, Err(RequestError::NotReady(_))));
    assert!(matches!(agent.handle.status().await, Status::NotReady(_)));
    assert_eq!(kernel.pods.rows(), before);
    agent.handle.detach(key("c")).await.unwrap();
    assert!(kernel.pods.rows().is_empty(), "a DEL is an order, not a conclusion");
}

#[tokio::test]
async fn who_asks_in_the_turn_of_the_first_pass_is_not_told_that_it_is_over() {
    let scratch = Scratch::new();
    let agent = Agent::start(scratch.path(), &Kernel::default());
    assert!(matches!(agent.handle.status().await, Status::NotReady(_)));
    agent.list_silently("10.244.1.0/24");
    let Status::NotReady(why) = agent.handle.status().await else { panic!("there was no pass") };
    assert_eq!(why, "the first pass is not over");
    agent.ready().await;
}

#[tokio::test]
async fn an_add_is_answered_when_its_rows_are_in_place_and_a_del_takes_them_away() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let attached = agent.handle.attach(add("c")).await.unwrap();
    assert_eq!(attached.attachment.addrs, ["10.244.1.2".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(kernel.pods.rows().get(&key("c")), Some(&attached.link));
    let again = agent.handle.attach(add("c")).await;
    assert!(matches!(again, Err(RequestError::Conflict(_))), "{again:?}");
    assert_eq!(agent.handle.check(key("c")).await.unwrap(), attached);
    agent.handle.detach(key("c")).await.unwrap();
    agent.handle.detach(key("c")).await.unwrap();
    assert!(kernel.pods.rows().is_empty());
    assert!(matches!(agent.handle.check(key("c")).await, Err(RequestError::Unknown(_))));
}

#[tokio::test]
async fn a_place_that_all_pods_depend_on_impairs_the_node_and_one_row_of_others_does_not() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let mut status = agent.shown.status();
    kernel.nft.go_blind(true);
    let places = BTreeSet::from(["nft"]);
    agent.disturbed.add(Disturbance { places, ..Disturbance::default() });
    agent.handle.wake();
    let impaired = status.wait_for(|status| matches!(status, Status::Impaired(_)));
    tokio::time::timeout(Duration::from_secs(10), impaired).await.unwrap().unwrap();
    kernel.nft.go_blind(false);
    agent.ready().await;
    let route = kernel.routes.rows().keys().next().unwrap().clone();
    kernel.routes.refuse(Some(route));
    kernel.routes.disturb(|rows| *rows = plan::Table::default());
    let places = BTreeSet::from(["routes"]);
    agent.disturbed.add(Disturbance { places, ..Disturbance::default() });
    agent.handle.wake();
    assert!(matches!(agent.handle.status().await, Status::Ready { .. }));
}

#[tokio::test]
async fn a_failed_add_leaves_nothing_behind_and_harms_no_other() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    kernel.pods.refuse(Some(key("bad")));
    let (good, bad) =
        tokio::join!(agent.handle.attach(add("good")), agent.handle.attach(add("bad")));
    good.unwrap();
    let error = bad.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    kernel.pods.refuse(None);
    agent.handle.detach(key("bad")).await.unwrap();
    drop(agent);
    let pods = kernel.pods.rows();
    assert_eq!(pods.keys().collect::<Vec<_>>(), [&key("good")]);
    assert_eq!(leases(scratch.path()).attachments.len(), 1);
}

#[tokio::test]
async fn a_restart_converges_with_zero_changes() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    for id in ["c", "d", "e"] {
        agent.handle.attach(add(id)).await.unwrap();
    }
    drop(agent);
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let report = agent.shown.view().report.clone();
    assert_eq!((report.changes(), report.failures().count()), (0, 0), "{report}");
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "holds the loop up until every ADD waits")]
async fn a_hundred_adds_at_once_get_a_hundred_addresses_with_two_passes() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let before = agent.shown.view().world.generation;
    let pause = kernel.pods.pause();
    let adds: Vec<_> = (0..100)
        .map(|number| {
            let handle = agent.handle.clone();
            tokio::spawn(async move { handle.attach(add(&format!("c{number}"))).await })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(pause);
    let mut addrs = BTreeSet::new();
    for task in adds {
        addrs.extend(task.await.unwrap().unwrap().attachment.addrs.clone());
    }
    assert_eq!(addrs.len(), 100);
    let passes = agent.shown.view().world.generation.0 - before.0;
    assert!((1..=2).contains(&passes), "{passes} passes");
    assert_eq!(agent.shown.view().leases.attachments.len(), 100);
}

#[tokio::test]
async fn a_full_pool_is_a_clear_error_and_a_released_address_is_used_again() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/29");
    agent.ready().await;
    for id in ["a", "b", "c", "d", "e"] {
        agent.handle.attach(add(id)).await.unwrap();
    }
    let error = agent.handle.attach(add("f")).await.unwrap_err();
    assert!(matches!(error, RequestError::Exhausted(_)), "{error}");
    assert!(error.to_string().contains("10.244.1.0/29"), "{error}");
    agent.handle.detach(key("c")).await.unwrap();
    let attached = agent.handle.attach(add("f")).await.unwrap();
    assert_eq!(attached.attachment.addrs, ["10.244.1.4".parse::<std::net::IpAddr>().unwrap()]);
}

#[tokio::test]
async fn gc_keeps_what_it_is_told_to_and_other_networks() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    agent.handle.attach(add("kept")).await.unwrap();
    agent.handle.attach(add("gone")).await.unwrap();
    agent.handle.attach(Attach { network: "other".into(), ..add("other") }).await.unwrap();
    let gone = agent.handle.gc("seaway".into(), [key("kept")].into()).await.unwrap();
    assert_eq!(gone, [key("gone")]);
    let pods = kernel.pods.rows();
    assert_eq!(pods.keys().collect::<Vec<_>>(), [&key("kept"), &key("other")]);
}

#[tokio::test]
async fn what_somebody_else_changed_is_put_back() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    agent.handle.attach(add("c")).await.unwrap();
    let wanted = kernel.routes.rows();
    kernel.routes.disturb(|rows| {
        let keys: Vec<RouteKey> = rows.keys().cloned().collect();
        for key in keys {
            rows.remove(&key);
        }
    });
    let error = agent.handle.check(key("c")).await.unwrap_err();
    assert!(matches!(error, RequestError::Differs { .. }), "{error}");
    agent.handle.status().await;
    assert_eq!(kernel.routes.rows(), wanted, "CHECK tells, and the loop mends");
    kernel.nft.disturb(|rows| *rows = plan::Table::default());
    agent.disturbed.add(Disturbance { places: ["nft"].into(), ..Disturbance::default() });
    agent.handle.wake();
    agent.handle.status().await;
    agent.handle.status().await;
    assert!(!kernel.nft.rows().is_empty());
}

#[tokio::test]
async fn an_add_nobody_waits_for_is_taken_back() {
    let scratch = Scratch::new();
    let kernel = Kernel::default();
    let agent = Agent::start(scratch.path(), &kernel);
    agent.list("10.244.1.0/24");
    agent.ready().await;
    let before = kernel.routes.rows();
    for number in 0..20 {
        let asked = agent.handle.attach(add(&format!("c{number}")));
        drop(tokio::time::timeout(Duration::from_micros(number * 50), asked).await);
    }
    agent.handle.status().await;
    agent.handle.status().await;
    let view = agent.shown.view();
    let pods = kernel.pods.rows();
    assert_eq!(view.leases.attachments.len(), pods.len());
    for key in pods.keys() {
        agent.handle.detach(key.clone()).await.unwrap();
    }
    assert!(kernel.pods.rows().is_empty());
    assert_eq!(kernel.routes.rows(), before);
}

//! Gives Nodes pod CIDRs where nobody else does (decision 0041).
//!
//! A Node has had none for a while, no Node of the cluster was given any by somebody else, and every controller
//! manager that has a Lease was at work meanwhile: then nobody gives any. What is written says that it is ours.

mod allocate;
#[cfg(test)]
mod give_tests;
mod managers;
mod ranges;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use kube::{Client, Event, Listed, Regarding};
use model::{NodeName, NodeState};
use tokio::sync::watch::Receiver;

use super::Context;
use allocate::{Nodes, Others, Promised, Verdict, allocate, foreign, waiting};
use managers::Managers;

pub use ranges::{InvalidPodCidrs, PodCidrs};

/// How long a Node is without pod CIDRs before it gets some here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks while a Node waits.
const ROUND: Duration = Duration::from_secs(5);

/// First pause after a write failed; it doubles up to [`LONGEST`]. Other Nodes don't wait for it.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// Does so until the future is dropped.
pub(super) async fn keep(
    context: &Context,
    client: &Client,
    mut states: Receiver<Listed<NodeName, NodeState>>,
) {
    if context.pod_cidrs == PodCidrs::Never {
        return std::future::pending().await;
    }
    let (mut book, mut managers) = (Book::default(), Managers::default());
    loop {
        let nodes = states.borrow_and_update().listed.clone();
        let is_waited_for = nodes.as_ref().is_some_and(|nodes| {
            book.look(nodes, Instant::now());
            !book.0.is_empty()
        });
        if let Some(nodes) = nodes.filter(|_| is_waited_for) {
            match kube::controller_managers(client).await {
                Ok(seats) => {
                    managers.look(seats, Instant::now());
                    serve(context, client, (&nodes, &managers), &mut book).await;
                }
                Err(error) => {
                    tracing::debug!("look for controller managers: {}", kube::chain(&error))
                }
            }
        } else {
            // What they do while nobody waits is not looked at.
            managers = Managers::default();
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(ROUND), if is_waited_for => {}
        }
    }
}

/// Gives every Node its pod CIDRs that has waited for long enough, or tells why not.
async fn serve(
    context: &Context,
    client: &Client,
    (nodes, managers): (&Nodes, &Managers),
    book: &mut Book,
) {
    let now = Instant::now();
    let ripe: Vec<_> = waiting(nodes).filter(|node| book.is_ripe(node, now)).cloned().collect();
    let verdicts = match obstacle(nodes, managers, now) {
        Some(why) => ripe.into_iter().map(|node| (node, Verdict::Lacks(why.clone()))).collect(),
        None => allocate(&context.pod_cidrs, nodes, &others(context), &book.promised(), &ripe),
    };
    for (node, verdict) in verdicts {
        match verdict {
            Verdict::Lacks(why) => lacks(context, book, &node, why),
            Verdict::Gets(cidrs) if context.leadership.borrow().is_held() => {
                give(context, client, book, (&node, cidrs)).await;
            }
            Verdict::Gets(_) => return,
        }
    }
}

/// Why nobody gets any.
fn obstacle(nodes: &Nodes, managers: &Managers, now: Instant) -> Option<String> {
    if let Some(node) = foreign(nodes) {
        let cidrs: Vec<String> = node.pod_cidrs.iter().map(ToString::to_string).collect();
        return Some(format!(
            "somebody else gives Nodes theirs, as {} of Node {}, and has to give this one its own",
            cidrs.join(","),
            node.name
        ));
    }
    let seat = managers.awaited(now, PATIENCE)?;
    let (name, holder) = (seat.name, &*seat.holder);
    Some(format!(
        "Lease kube-system/{name} of {holder:?} has not been renewed for {} s on end, and who has it may give \
         Nodes theirs; delete the Lease if there is nobody",
        PATIENCE.as_secs()
    ))
}

/// What pods may not have of the ranges.
fn others(context: &Context) -> Others {
    let cidrs = context.watched.service_cidrs.borrow();
    let mut services: Vec<IpNet> =
        cidrs.listed.iter().flatten().flat_map(|(_, range)| range.cidrs.clone()).collect();
    let seen = context.watched.services.borrow();
    let addrs = seen.listed.iter().flatten().flat_map(|(_, service)| service.cluster_ips.clone());
    let outside: Vec<IpNet> =
        addrs.filter(|ip| !services.iter().any(|net| net.contains(ip))).map(IpNet::from).collect();
    services.extend(outside);
    Others { services }
}

fn lacks(context: &Context, book: &mut Book, node: &NodeState, why: String) {
    let Some(entry) = book.0.get_mut(&node.name).filter(|entry| entry.said != why) else { return };
    tracing::warn!("Node {} has no pod CIDR, and gets none: {why}", node.name);
    tell(context, node, (true, "CIDRNotAvailable"), format!("it has no pod CIDR: {why}"));
    entry.said = why;
}

async fn give(
    context: &Context,
    client: &Client,
    book: &mut Book,
    (node, cidrs): (&NodeState, Vec<IpNet>),
) {
    let Some(entry) = book.0.get_mut(&node.name) else { return };
    if entry.again.is_some_and(|(again, _)| Instant::now() < again) {
        return;
    }
    let texts: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
    // Also when nothing is known of it afterwards.
    entry.promised = cidrs;
    let given = kube::give_cidrs(client, node, &texts).await;
    match given {
        Ok(true) => {
            context.metrics.duties.wrote(true);
            let texts = texts.join(",");
            tracing::info!("nobody gives Node {} a pod CIDR: it has {texts} now", node.name);
            let note = format!("nobody has given it a pod CIDR; it has {texts} now");
            tell(context, node, (false, "CIDRAssigned"), note);
        }
        // Somebody was faster, perhaps this agent: until the watch shows who, nobody else gets it.
        Ok(false) => {}
        Err(error) => {
            context.metrics.duties.wrote(false);
            let pause = entry.again.map_or(SHORTEST, |(_, pause)| (pause * 2).min(LONGEST));
            if entry.again.is_none() {
                tracing::warn!("{}; trying again", kube::chain(&error));
            }
            entry.again = Some((Instant::now() + pause, pause));
        }
    }
}

fn tell(
    context: &Context,
    node: &NodeState,
    (is_warning, reason): (bool, &'static str),
    note: String,
) {
    let regarding = Regarding::Node(node.name.clone());
    context.teller.tell(Event { regarding, is_warning, reason, action: "Allocate", note });
}

/// Nodes that wait.
#[derive(Debug, Default)]
struct Book(BTreeMap<NodeName, Entry>);

#[derive(Debug)]
struct Entry {
    uid: Arc<str>,
    /// Since when it is known to wait.
    since: Instant,
    /// What was written, or may have been.
    promised: Vec<IpNet>,
    /// Why it got none, as was told last.
    said: String,
    /// After a failure: when to try again, and how long that was to wait.
    again: Option<(Instant, Duration)>,
}

impl Book {
    /// Has an entry for every Node that waits `now`, and for no other.
    fn look(&mut self, nodes: &Nodes, now: Instant) {
        let waits = |name: &NodeName, uid: &Arc<str>| {
            nodes.get(name).is_some_and(|node| node.uid == *uid && !node.has_pod_cidrs)
        };
        self.0.retain(|name, entry| waits(name, &entry.uid));
        for node in waiting(nodes) {
            self.0.entry(node.name.clone()).or_insert_with(|| Entry {
                uid: Arc::clone(&node.uid),
                since: now,
                promised: Vec::new(),
                said: String::new(),
                again: None,
            });
        }
    }

    fn is_ripe(&self, node: &NodeState, now: Instant) -> bool {
        self.0.get(&node.name).is_some_and(|entry| now.duration_since(entry.since) >= PATIENCE)
    }

    fn promised(&self) -> Promised {
        let promises = self.0.iter().filter(|(_, entry)| !entry.promised.is_empty());
        promises
            .map(|(name, entry)| (name.clone(), (Arc::clone(&entry.uid), entry.promised.clone())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(all: &[(&str, &str, &str)]) -> Nodes {
        let read = |(name, uid, spec): &(&str, &str, &str)| {
            let json =
                format!(r#"{{"metadata":{{"name":"{name}","uid":"{uid}"}},"spec":{{{spec}}}}}"#);
            let state = model::decode::node_state(json.as_bytes()).unwrap();
            (state.name.clone(), Arc::new(state))
        };
        all.iter().map(read).collect()
    }

    #[test]
    fn a_node_waits_from_when_it_is_seen_and_another_one_of_its_name_waits_anew() {
        let (mut book, start) = (Book::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let is_ripe = |book: &Book, nodes: &Nodes, now| {
            nodes.values().map(|node| book.is_ripe(node, now)).collect::<Vec<_>>()
        };
        let first = nodes(&[("a", "1", "")]);
        book.look(&first, at(0));
        book.look(&first, at(29));
        assert_eq!(is_ripe(&book, &first, at(29)), [false]);
        assert_eq!(is_ripe(&book, &first, at(30)), [true]);
        let both = nodes(&[("a", "2", ""), ("b", "1", "")]);
        book.look(&both, at(30));
        assert_eq!(is_ripe(&book, &both, at(59)), [false, false]);
        assert_eq!(is_ripe(&book, &both, at(60)), [true, true]);
        book.0.get_mut(&NodeName::from("a")).unwrap().promised =
            vec!["10.1.0.0/24".parse().unwrap()];
        assert_eq!(book.promised().len(), 1);
        book.look(&nodes(&[("a", "2", r#""podCIDR":"10.1.0.0/24""#), ("b", "1", "")]), at(61));
        assert_eq!((book.promised().len(), book.0.len()), (0, 1), "the watch shows it");
    }

    #[test]
    fn who_else_gives_pod_cidrs_is_named() {
        let (now, mut managers) = (Instant::now(), Managers::default());
        assert_eq!(obstacle(&nodes(&[("a", "1", "")]), &managers, now), None);
        let others = nodes(&[("a", "1", ""), ("b", "1", r#""podCIDR":"10.1.0.0/24""#)]);
        let why = obstacle(&others, &managers, now).unwrap();
        assert!(why.contains("10.1.0.0/24 of Node b"), "{why}");
        let (name, holder) = ("kube-controller-manager", "cp-1_x".to_owned());
        managers.look(vec![kube::Seat { name, holder, renewed: "1".to_owned() }], now);
        let why = obstacle(&nodes(&[("a", "1", "")]), &managers, now).unwrap();
        assert!(
            why.starts_with("Lease kube-system/kube-controller-manager of \"cp-1_x\""),
            "{why}"
        );
    }
}

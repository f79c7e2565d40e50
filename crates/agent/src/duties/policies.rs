//! Keeps the conditions of the cluster's policies what follows from them and from what nodes tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::{Client, Listed, kind};
use model::{
    ClusterPolicyKind, ClusterPolicyName, Condition, Node, NodeName, NodeTold, OrdMap, PolicyState,
    Rfc3339,
};
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::{Context, conditions};
use crate::reconcile::since_1970;

/// How long a change waits for others: most nodes go by a new policy within that, and it is written once.
const SETTLE: Duration = Duration::from_secs(1);

/// First pause after a write failed; it doubles up to [`LONGEST`]. Others don't wait for it.
const SHORTEST: Duration = Duration::from_secs(1);

/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

const KINDS: [ClusterPolicyKind; 3] = [
    ClusterPolicyKind::ClusterNetworkPolicy,
    ClusterPolicyKind::AdminNetworkPolicy,
    ClusterPolicyKind::BaselineAdminNetworkPolicy,
];

/// A policy, and the conditions that it should have and has not.
type Due = (Arc<PolicyState>, [Condition; 2]);

/// Does so until the future is dropped.
pub(super) async fn keep(
    context: &Context,
    client: &Client,
    told: Receiver<Listed<NodeName, NodeTold>>,
) {
    let mut tasks = JoinSet::new();
    let policies =
        KINDS.map(|kind| super::watch(&mut tasks, context, client, kind::policy_states(kind)));
    let mut seen = Seen { policies, told, nodes: context.watched.nodes.clone() };
    let mut book = Book::default();
    loop {
        tokio::time::sleep(SETTLE).await;
        if let Some(level) = seen.level() {
            let now = Rfc3339(since_1970());
            // Many policies on many nodes take a moment.
            let due = tokio::task::spawn_blocking(move || level.due(now)).await.unwrap_or_default();
            book.keep(&due);
            for due in due {
                write(context, client, due, &mut book).await;
            }
        }
        tokio::select! {
            () = seen.changed() => {}
            () = book.again() => {}
        }
    }
}

async fn write(context: &Context, client: &Client, (policy, wanted): Due, book: &mut Book) {
    if !book.is_due(&policy, &wanted, Instant::now()) || !context.leadership.borrow().is_held() {
        return;
    }
    let told = kube::tell_policy(client, &policy, &wanted).await;
    context.metrics.duties.wrote(told.is_ok());
    if let Err(error) = &told
        && book.is_first_failure(&policy.name)
    {
        tracing::warn!("{}; trying again", kube::chain(error));
    }
    book.note(policy, wanted, told.is_ok(), Instant::now());
}

/// What there is to go by, as the watches show it.
struct Seen {
    policies: [Receiver<Listed<ClusterPolicyName, PolicyState>>; 3],
    told: Receiver<Listed<NodeName, NodeTold>>,
    nodes: Receiver<Listed<NodeName, Node>>,
}

/// The same at one moment.
#[derive(Debug, Default)]
struct Level {
    policies: OrdMap<ClusterPolicyName, Arc<PolicyState>>,
    told: OrdMap<NodeName, Arc<NodeTold>>,
    nodes: OrdMap<NodeName, Arc<Node>>,
}

impl Seen {
    async fn changed(&mut self) {
        let [cluster, admin, baseline] = &mut self.policies;
        let changed = tokio::select! {
            changed = cluster.changed() => changed,
            changed = admin.changed() => changed,
            changed = baseline.changed() => changed,
            changed = self.told.changed() => changed,
            changed = self.nodes.changed() => changed,
        };
        if changed.is_err() {
            // Nobody watches any more.
            std::future::pending::<()>().await;
        }
    }

    /// `None` until all has been listed.
    fn level(&mut self) -> Option<Level> {
        let mut policies = OrdMap::new();
        for seen in &mut self.policies {
            policies = policies.union(seen.borrow_and_update().listed.clone()?);
        }
        let told = self.told.borrow_and_update().listed.clone()?;
        let nodes = self.nodes.borrow_and_update().listed.clone()?;
        Some(Level { policies, told, nodes })
    }
}

impl Level {
    /// What is to be written. Nodes that are gone are not waited for.
    fn due(&self, now: Rfc3339) -> Vec<Due> {
        let told = || {
            let told = self.told.values().filter(|told| self.nodes.contains_key(&told.node));
            told.map(|told| &**told)
        };
        let due = |policy: &Arc<PolicyState>| {
            Some((Arc::clone(policy), conditions::due(policy, told(), now)?))
        };
        self.policies.values().filter_map(due).collect()
    }
}

/// What was written last, and what could not be.
#[derive(Debug, Default)]
struct Book(BTreeMap<ClusterPolicyName, Tried>);

#[derive(Debug)]
struct Tried {
    /// What was known of the policy then.
    policy: Arc<PolicyState>,
    wanted: [Condition; 2],
    /// When it failed: when to try again, and how long that was to wait.
    again: Option<(Instant, Duration)>,
}

impl Book {
    /// Whether `wanted` is to be written `now`: not while the watch has not shown yet what was.
    fn is_due(&self, policy: &Arc<PolicyState>, wanted: &[Condition; 2], now: Instant) -> bool {
        self.0.get(&policy.name).is_none_or(|tried| match tried.again {
            Some((again, _)) => now >= again,
            None => {
                !Arc::ptr_eq(&tried.policy, policy) || !conditions::are_same(&tried.wanted, wanted)
            }
        })
    }

    fn is_first_failure(&self, name: &ClusterPolicyName) -> bool {
        self.0.get(name).is_none_or(|tried| tried.again.is_none())
    }

    fn note(
        &mut self,
        policy: Arc<PolicyState>,
        wanted: [Condition; 2],
        is_ok: bool,
        now: Instant,
    ) {
        let last = self.0.get(&policy.name).and_then(|tried| tried.again);
        let pause = last.map_or(SHORTEST, |(_, pause)| (pause * 2).min(LONGEST));
        let again = (!is_ok).then(|| (now + pause, pause));
        self.0.insert(policy.name.clone(), Tried { policy, wanted, again });
    }

    /// What is not `due` any more, the watch has shown, or it is gone.
    fn keep(&mut self, due: &[Due]) {
        let due: BTreeSet<_> = due.iter().map(|(policy, _)| &policy.name).collect();
        self.0.retain(|name, _| due.contains(name));
    }

    /// Waits until something is to be tried again.
    async fn again(&self) {
        match self.0.values().filter_map(|tried| tried.again).map(|(again, _)| again).min() {
            Some(again) => tokio::time::sleep_until(again.into()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Edition, decode};
    use serde_json::json;

    use super::*;

    fn state(name: &str) -> Arc<PolicyState> {
        let object = json!({"metadata": {"name": name, "uid": name, "generation": 1},
            "spec": {"priority": 1, "subject": {"namespaces": {}}}});
        let kind = ClusterPolicyKind::AdminNetworkPolicy;
        Arc::new(decode::policy_state(kind, object.to_string().as_bytes()).unwrap())
    }

    fn level(policies: &[&Arc<PolicyState>], told: &[(&str, bool)], nodes: &[&str]) -> Level {
        let mut level = Level::default();
        for policy in policies {
            level.policies.insert(policy.name.clone(), Arc::clone(policy));
        }
        let edition = Edition { uid: "p".into(), generation: 1 };
        for (node, has) in told {
            let node = NodeName::from(*node);
            let realised = has.then_some(&edition).into_iter().collect();
            level.told.insert(node.clone(), Arc::new(NodeTold { node, realised }));
        }
        for name in nodes {
            let json = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
            let node = decode::node(json.as_bytes()).unwrap();
            level.nodes.insert(node.name.clone(), Arc::new(node));
        }
        level
    }

    #[test]
    fn npc12_nodes_that_are_gone_and_nodes_that_tell_nothing_are_not_waited_for() {
        let policy = state("p");
        type Case<'a> = (&'a [(&'a str, bool)], &'a [&'a str], bool);
        let cases: [Case<'_>; 5] = [
            (&[("a", true), ("b", true)], &["a", "b"], true),
            (&[("a", true), ("b", false)], &["a", "b"], false),
            (&[("a", true), ("b", false)], &["a"], true),
            (&[("a", true)], &["a", "b"], true),
            (&[("a", true)], &["b"], false),
        ];
        for (told, nodes, is_programmed) in cases {
            let due = level(&[&policy], told, nodes).due(Rfc3339(Duration::ZERO));
            assert_eq!(due[0].1[1].is_true, is_programmed, "{told:?} of {nodes:?}");
        }
    }

    #[test]
    fn npc12_what_was_written_is_not_written_again_before_the_watch_has_shown_it() {
        let (mut book, now) = (Book::default(), Instant::now());
        let policy = state("p");
        let wanted = |told: &[(&str, bool)], seconds| {
            let due = level(&[&policy], told, &["a"]).due(Rfc3339(Duration::from_secs(seconds)));
            due.into_iter().next().unwrap().1
        };
        let (pending, later) = (wanted(&[("a", false)], 1), wanted(&[("a", false)], 2));
        assert!(book.is_due(&policy, &pending, now));
        book.note(Arc::clone(&policy), pending.clone(), true, now);
        assert!(!book.is_due(&policy, &later, now), "it says the same");
        assert!(book.is_due(&policy, &wanted(&[("a", true)], 2), now), "it says something else");
        assert!(book.is_due(&state("p"), &pending, now), "somebody has written something else");
        book.keep(&[(Arc::clone(&policy), pending.clone())]);
        assert!(!book.is_due(&policy, &pending, now));
        book.keep(&[]);
        assert!(book.is_due(&policy, &pending, now));
    }

    #[test]
    fn npc12_a_write_that_fails_is_tried_again_less_often_and_holds_up_no_other() {
        let (mut book, now) = (Book::default(), Instant::now());
        let (policy, other) = (state("p"), state("q"));
        let due = level(&[&policy, &other], &[], &[]).due(Rfc3339(Duration::ZERO));
        let wanted = due[0].1.clone();
        let mut at = now;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(book.is_due(&policy, &wanted, at));
            assert_eq!(book.is_first_failure(&policy.name), at == now);
            book.note(Arc::clone(&policy), wanted.clone(), false, at);
            let pause = Duration::from_secs(seconds);
            assert!(!book.is_due(&policy, &wanted, at + pause - Duration::from_millis(1)));
            assert!(book.is_due(&other, &due[1].1, at));
            at += pause;
        }
        book.note(Arc::clone(&policy), wanted.clone(), true, at);
        book.note(Arc::clone(&policy), wanted, false, at);
        assert_eq!(book.0[&policy.name].again, Some((at + SHORTEST, SHORTEST)));
    }
}

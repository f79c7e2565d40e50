//! Keeps one pod of a DaemonSet on every node that will have it.
//!
//! Source: Kubernetes, `pkg/controller/daemon`.

mod place;
mod status;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::claim::{claim, takers};
use super::history::{self, History};
use super::runtime::{Action, Change, Changed, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use super::{node_lifecycle, pods, selector};
use place::Fit;

/// Label of a pod that names the template it was made from.
const HASH: &str = "controller-revision-hash";

/// Most pods that one turn makes or removes.
const BURST: usize = 250;

/// A pod that failed is left for a look for this long before it is replaced.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// The controller of DaemonSets.
pub(super) struct DaemonSets;

impl Controller for DaemonSets {
    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::DaemonSet(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::ControllerRevision(changed) = change {
            keys.add_owner(changed, "DaemonSet");
        } else if let Change::Node(changed) = change {
            if is_other_place(changed) {
                cluster.daemon_sets.iter().for_each(|(key, _)| keys.add(key.clone()));
            }
        } else if let Change::Pod(changed) = change {
            keys.add_owner(changed, "DaemonSet");
            if let Some(pod) = &changed.new {
                keys.extend(takers(&cluster.daemon_sets, &**pod, |set| {
                    set.spec.as_ref().map(|spec| &spec.selector)
                }));
            }
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(set) = cluster.daemon_sets.get(key) else { return Plan::nothing() };
        let Some(spec) = set.spec.as_ref().filter(|spec| !selector::is_empty(&spec.selector))
        else {
            return Plan::nothing();
        };
        let claim = claim(&cluster.pods, &**set, &spec.selector, |_| true);
        if !claim.writes.is_empty() {
            return Plan { writes: claim.writes, ..Plan::default() };
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let history = match history::history(
            cluster,
            &**set,
            &spec.selector,
            &spec.template,
            (HASH, collisions),
        ) {
            Ok(history) => history,
            Err(writes) => return Plan { writes, ..Plan::default() },
        };
        State::new(cluster, set, spec, claim.own, history, turn.now).plan()
    }
}

/// Whether a node changed in a way that pods may care for.
fn is_other_place(changed: &Changed<Node>) -> bool {
    let (Some(old), Some(new)) = (&changed.old, &changed.new) else { return true };
    old.metadata.labels != new.metadata.labels
        || old.spec != new.spec
        || node_lifecycle::is_ready(old) != node_lifecycle::is_ready(new)
}

/// A DaemonSet, the nodes, and its pods on them.
struct State<'a> {
    set: &'a DaemonSet,
    spec: &'a DaemonSetSpec,
    history: History,
    nodes: BTreeMap<&'a str, (&'a Node, Fit)>,
    /// Pods by the node they are on or are meant for, the one that counts first.
    pods: BTreeMap<String, Vec<Arc<Pod>>>,
    now: Timestamp,
}

impl<'a> State<'a> {
    fn new(
        cluster: &'a Cluster,
        set: &'a DaemonSet,
        spec: &'a DaemonSetSpec,
        own: Vec<Arc<Pod>>,
        history: History,
        now: Timestamp,
    ) -> Self {
        let wanted = place::spec(spec);
        let fit = |(name, node): (&'a Arc<str>, &'a Arc<Node>)| {
            (&**name, (&**node, place::fit(&wanted, node)))
        };
        let nodes = cluster.nodes.iter().map(fit).collect();
        let mut pods: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in own {
            if let Some(node) = place::node_of(&pod) {
                pods.entry(node.to_owned()).or_default().push(pod);
            }
        }
        let made = |pod: &Arc<Pod>| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        for here in pods.values_mut() {
            here.sort_by_key(|pod| {
                (pods::node_of(pod).is_none(), made(pod), pod.metadata.name.clone())
            });
        }
        Self { set, spec, history, nodes, pods, now }
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::nothing();
        let status = status::of(self);
        if self.set.status.as_ref() != Some(&status) {
            let told = DaemonSet { status: Some(status), ..self.set.clone() };
            plan.writes.push(Write::new(Action::ReplaceStatus, told));
        }
        if self.set.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let all = self.pods.values().flatten();
        if let Some(time) = pods::next_available(all, min_ready, self.now) {
            plan.again_at(time);
        }
        let mut changes = self.keep(&mut plan);
        if changes.is_empty() {
            changes = update::step(self);
        }
        changes.truncate(BURST);
        plan.writes.extend(changes);
        let limit = self.spec.revision_history_limit;
        plan.writes.extend(self.history.clean_up(&self.used(), limit));
        plan
    }

    /// Makes pods where there is none, and removes those that are in the wrong place, ended, or doubled.
    fn keep(&self, plan: &mut Plan) -> Vec<Write> {
        let mut writes = Vec::new();
        for (name, (_, fit)) in &self.nodes {
            let here = self.pods.get(*name).map_or(&[][..], Vec::as_slice);
            let stays = here.iter().filter(|pod| !pods::is_leaving(pod));
            match fit {
                Fit::Runs if here.is_empty() => writes.push(self.create(name)),
                Fit::Runs | Fit::Stays => writes.extend(self.tidy(name, here, *fit, plan)),
                Fit::Refuses => writes.extend(stays.map(|pod| pods::delete(self.set, pod))),
            }
        }
        let lost = self.pods.iter().filter(|(node, _)| !self.nodes.contains_key(node.as_str()));
        let unbound = lost.flat_map(|(_, pods)| pods).filter(|pod| pods::node_of(pod).is_none());
        writes.extend(
            unbound.filter(|pod| !pods::is_leaving(pod)).map(|pod| pods::delete(self.set, pod)),
        );
        writes
    }

    /// What is to be done on one node where a pod is.
    fn tidy(&self, node: &str, here: &[Arc<Pod>], fit: Fit, plan: &mut Plan) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut running = Vec::new();
        for pod in here.iter().filter(|pod| !pods::is_leaving(pod)) {
            if !pods::is_over(pod) {
                running.push(pod);
                continue;
            }
            let made = pod.metadata.creation_timestamp.as_ref().map_or(self.now, |time| time.0);
            if made + PAUSE > self.now {
                plan.again_at(made + PAUSE);
                continue;
            }
            plan.events.push(self.replaces(pod, node));
            writes.push(pods::delete(self.set, pod));
        }
        let (surge, _) = update::limits(self);
        if surge == 0 {
            writes.extend(running.iter().skip(1).map(|pod| pods::delete(self.set, pod)));
            return writes;
        }
        if running.is_empty() && fit == Fit::Runs && here.iter().all(|pod| pods::is_leaving(pod)) {
            writes.push(self.create(node));
        }
        writes.extend(
            update::doubled(self, &running).into_iter().map(|pod| pods::delete(self.set, pod)),
        );
        writes
    }

    fn replaces(&self, pod: &Pod, node: &str) -> Note {
        let name = super::runtime::key(pod);
        let (verb, what) =
            if pods::phase(pod) == "Failed" { ("kill", "failed") } else { ("delete", "succeeded") };
        let message =
            format!("Found {what} daemon pod {name} on node {node}, will try to {verb} it");
        match what {
            "failed" => Note::warning(self.set, "FailedDaemonPod", message),
            _ => Note::normal(self.set, "SucceededDaemonPod", message),
        }
    }

    fn create(&self, node: &str) -> Write {
        pods::create(self.set, place::pod(self.set, self.spec, node, self.hash()))
    }

    /// The hash of the newest template.
    fn hash(&self) -> &str {
        let labels = self.history.newest.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(HASH)).map_or("", String::as_str)
    }

    fn is_newest(&self, pod: &Pod) -> bool {
        pods::label(pod, HASH) == Some(self.hash())
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn used(&self) -> BTreeSet<&str> {
        let has = |revision: &&Arc<ControllerRevision>| {
            let hash = revision.metadata.labels.as_ref().and_then(|labels| labels.get(HASH));
            let mut pods = self.pods.values().flatten();
            hash.is_some_and(|hash| pods.any(|pod| pods::label(pod, HASH) == Some(hash)))
        };
        let live = self.history.all.iter().filter(has).map(|revision| history::name(revision));
        live.chain([history::name(&self.history.newest)]).collect()
    }
}

#[cfg(test)]
mod tests;

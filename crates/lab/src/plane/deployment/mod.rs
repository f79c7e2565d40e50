//! Rolls the pods of a Deployment from one template to the next, by scaling ReplicaSets.
//!
//! One turn looks at the Deployment and its ReplicaSets as they are and takes the next step, so a rollout
//! goes on wherever it was when the control plane restarts.
//!
//! Source: Kubernetes, `pkg/controller/deployment`.

mod revision;
mod rollout;
mod scale;
mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::claim::{claim, takers};
use super::pods;
use super::runtime::{Action, Change, Cluster, Controller, Keys, Note, Plan, Turn, Write};
use super::runtime::{controller_of, owner_key};
use super::selector;
use rollout::Rollout;
use status::Progress;

/// The controller of Deployments.
pub(super) struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn concerns(&mut self, cluster: &Cluster, change: &Change, keys: &mut Keys) {
        if let Change::Deployment(changed) = change {
            keys.add(changed.key.clone());
        } else if let Change::ReplicaSet(changed) = change {
            keys.add_owner(changed, "Deployment");
            if let Some(set) = &changed.new {
                keys.extend(takers(&cluster.deployments, &**set, |deployment| {
                    deployment.spec.as_ref().map(|spec| &spec.selector)
                }));
            }
        } else if let Change::Pod(changed) = change {
            // Recreate waits for the end of the old pods.
            let ended = changed.new.as_ref().is_none_or(|pod| pods::is_over(pod));
            let pod = changed.last().filter(|_| ended);
            let set = pod.and_then(|pod| owner_key(&**pod, "ReplicaSet"));
            let set = set.and_then(|key| cluster.replica_sets.get(&key));
            keys.extend(set.and_then(|set| owner_key(&**set, "Deployment")));
        }
    }

    fn decide(&mut self, cluster: &Cluster, key: &str, turn: &Turn<'_>) -> Plan {
        let Some(deployment) = cluster.deployments.get(key) else { return Plan::nothing() };
        let Some(spec) = &deployment.spec else { return Plan::nothing() };
        if selector::is_empty(&spec.selector) {
            return selects_all(deployment);
        }
        let claim = claim(&cluster.replica_sets, &**deployment, &spec.selector, |_| true);
        if !claim.writes.is_empty() {
            return Plan { writes: claim.writes, ..Plan::default() };
        }
        let rollout = Rollout::new(deployment, spec, claim.own, turn);
        if deployment.metadata.deletion_timestamp.is_some() {
            return rollout.with_status(Vec::new(), Progress::Ignored);
        }
        step(cluster, &rollout)
    }
}

/// The next step of a rollout.
fn step(cluster: &Cluster, rollout: &Rollout<'_>) -> Plan {
    if let Some(write) = revision::mark_new(rollout) {
        return Plan { writes: vec![write], ..Plan::default() };
    }
    if let Some(write) = revision::mark_deployment(rollout) {
        return Plan { writes: vec![write], ..Plan::default() };
    }
    if rollout.is_paused() || rollout.was_scaled() {
        let mut writes = scale::all(rollout);
        if rollout.is_paused() && writes.is_empty() {
            writes = revision::clean_up(rollout);
        }
        return rollout.with_status(writes, Progress::Ignored);
    }
    let writes = match rollout.is_rolling() {
        true => rolling(cluster, rollout),
        false => recreate(cluster, rollout),
    };
    let writes = match writes {
        Step::Scale(writes) => writes,
        Step::Make(plan) => return plan,
        Step::Rest if status::is_complete(rollout) => revision::clean_up(rollout),
        Step::Rest => Vec::new(),
    };
    rollout.with_status(writes, Progress::Judged)
}

/// What comes next.
enum Step {
    /// ReplicaSets change their size, or the pods of old ones are waited for.
    Scale(Vec<Write>),
    /// The new ReplicaSet is made.
    Make(Plan),
    /// Nothing, for now.
    Rest,
}

fn rolling(cluster: &Cluster, rollout: &Rollout<'_>) -> Step {
    let Some(new) = &rollout.new else { return Step::Make(revision::make(cluster, rollout)) };
    let mut writes = scale::grow_new(rollout, new);
    if writes.is_empty() {
        writes = scale::shrink_old(rollout, new);
    }
    if writes.is_empty() { Step::Rest } else { Step::Scale(writes) }
}

fn recreate(cluster: &Cluster, rollout: &Rollout<'_>) -> Step {
    let active = rollout.old.iter().filter(|set| rollout::size(set) > 0);
    let writes: Vec<_> = active.map(|set| scale::to(rollout, set, 0)).collect();
    if !writes.is_empty() {
        return Step::Scale(writes);
    }
    if rollout.old.iter().any(|set| has_pods(cluster, set)) {
        return Step::Scale(Vec::new());
    }
    let Some(new) = &rollout.new else { return Step::Make(revision::make(cluster, rollout)) };
    match rollout::size(new) == rollout.want {
        true => Step::Rest,
        false => Step::Scale(vec![scale::to(rollout, new, rollout.want)]),
    }
}

fn has_pods(cluster: &Cluster, set: &Arc<ReplicaSet>) -> bool {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let thinks_so = set.status.as_ref().is_some_and(|status| status.replicas > 0);
    thinks_so || cluster.pods.owned_by(uid).any(|pod| !pods::is_over(pod))
}

fn selects_all(deployment: &Deployment) -> Plan {
    let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if seen >= deployment.metadata.generation {
        return Plan::nothing();
    }
    let mut told = deployment.clone();
    told.status.get_or_insert_default().observed_generation = deployment.metadata.generation;
    let why = "This deployment is selecting all pods. A non-empty selector is required.";
    Plan {
        writes: vec![Write::new(Action::ReplaceStatus, told)],
        events: vec![Note::warning(deployment, "SelectingAll", why.to_owned())],
        again: None,
    }
}

/// Whether `set` belongs to `deployment`.
fn is_owned(deployment: &Deployment, set: &ReplicaSet) -> bool {
    controller_of(set).is_some_and(|owner| Some(&owner.uid) == deployment.metadata.uid.as_ref())
}

#[cfg(test)]
mod tests;

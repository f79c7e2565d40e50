//! A Deployment and its ReplicaSets, seen as a rollout.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{DESIRED, HASH, annotation};
use super::status::{self, Progress};
use crate::plane::numbers::{Round, scaled};
use crate::plane::runtime::{Action, Plan, Turn, Write};

/// Where a Deployment is on its way to its newest template.
pub(super) struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub spec: &'a DeploymentSpec,
    /// How many pods there are to be.
    pub want: i32,
    /// The ReplicaSet of the newest template.
    pub new: Option<Arc<ReplicaSet>>,
    /// The others, the oldest first.
    pub old: Vec<Arc<ReplicaSet>>,
    pub turn: &'a Turn<'a>,
}

impl<'a> Rollout<'a> {
    /// Of several ReplicaSets with the newest template the oldest is the new one.
    pub(super) fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        mut own: Vec<Arc<ReplicaSet>>,
        turn: &'a Turn<'a>,
    ) -> Self {
        sort_by_age(&mut own);
        let place = own.iter().position(|set| has_template(set, &spec.template));
        let new = place.map(|place| own.remove(place));
        Self { deployment, spec, want: spec.replicas.unwrap_or(1), new, old: own, turn }
    }

    /// All ReplicaSets, the new one last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.spec.paused == Some(true)
    }

    pub(super) fn is_rolling(&self) -> bool {
        let strategy = self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy != Some("Recreate")
    }

    /// Whether the number of replicas is not what it was when ReplicaSets were last scaled.
    pub(super) fn was_scaled(&self) -> bool {
        let desired = |set: &Arc<ReplicaSet>| annotation(set, DESIRED)?.parse::<i32>().ok();
        let mut active = self.all().filter(|set| size(set) > 0);
        active.any(|set| desired(set).is_some_and(|desired| desired != self.want))
    }

    /// How many pods there may be beyond those wanted. A percentage is rounded up.
    pub(super) fn surge(&self) -> i32 {
        self.fence_posts().0
    }

    /// How many of the wanted pods may be unavailable. A percentage is rounded down, but if there may be
    /// no surge either, it is one: else nothing could ever move.
    pub(super) fn unavailable(&self) -> i32 {
        self.fence_posts().1.min(self.want)
    }

    fn fence_posts(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let rolling =
            self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable =
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = scaled(surge, self.want, Round::Up);
        let unavailable = scaled(unavailable, self.want, Round::Down);
        (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
    }

    /// How large the new ReplicaSet may be now, given the size it has.
    pub(super) fn room_for_new(&self, now: i32) -> i32 {
        if !self.is_rolling() {
            return self.want;
        }
        let total: i32 = self.all().map(size).sum();
        let room = (self.want + self.surge() - total).max(0);
        now + room.min(self.want - now)
    }

    /// `writes`, and the status that follows from what there is now.
    pub(super) fn with_status(&self, writes: Vec<Write>, progress: Progress) -> Plan {
        let mut plan = Plan { writes, ..Plan::default() };
        let status = status::of(self, progress);
        if let Some(time) = status::deadline(self, &status) {
            plan.again_at(time);
        }
        if self.deployment.status.as_ref() != Some(&status) {
            let told = Deployment { status: Some(status), ..self.deployment.clone() };
            plan.writes.push(Write::new(Action::ReplaceStatus, told));
        }
        plan
    }
}

/// How many pods the ReplicaSet is to have.
pub(super) fn size(set: &Arc<ReplicaSet>) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// How many of its pods are available.
pub(super) fn available(set: &Arc<ReplicaSet>) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The oldest first; of equal age by name.
pub(super) fn sort_by_age(sets: &mut [Arc<ReplicaSet>]) {
    let age = |set: &Arc<ReplicaSet>| {
        (set.metadata.creation_timestamp.as_ref().map(|time| time.0), set.metadata.name.clone())
    };
    sets.sort_by_key(age);
}

/// Whether the ReplicaSet's template is `template`, but for the hash among its labels.
pub(super) fn has_template(set: &ReplicaSet, template: &PodTemplateSpec) -> bool {
    let Some(own) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    if own.spec != template.spec {
        return false;
    }
    let bare = |template: &PodTemplateSpec| {
        let mut meta = template.metadata.clone().unwrap_or_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
        }
        meta.labels = meta.labels.filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.filter(|annotations| !annotations.is_empty());
        meta
    };
    bare(own) == bare(template)
}
